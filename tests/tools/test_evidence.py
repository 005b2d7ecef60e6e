"""`tools/evidence.py`: the page says what was run, and each invariant is checked by something that exists."""

import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest

from named_tests import missing_tests

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("evidence", ROOT / "tools" / "evidence.py")
evidence = importlib.util.module_from_spec(_SPEC)
sys.modules["evidence"] = evidence
_SPEC.loader.exec_module(evidence)

INVARIANTS = tomllib.loads(evidence.INVARIANTS.read_text("utf-8"))["invariant"]
MAKEFILE = """
good:
\t@echo proved: 3 things, $(SIZE) deep$(ARGS)
silent:
\t@echo all is well
broken:
\t@echo proved: nothing; exit 1
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "Makefile").write_text(MAKEFILE, "utf-8")
    monkeypatch.setattr(evidence, "ROOT", tmp_path)
    monkeypatch.setattr(evidence, "LOGS", tmp_path / "logs")
    return tmp_path


def claim(target, **depths):
    return evidence.Claim(target, "Nothing is lost", "1 000", target, depths)


def test_every_claim_names_a_target_of_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert [one.name for one in evidence.claims() if one.target not in targets] == []


def test_claims_have_names_of_their_own_and_a_deepest_form():
    names = [one.name for one in evidence.claims()]
    assert len(names) == len(set(names)) >= 10


def test_all_invariants_are_there_and_each_is_checked():
    assert [one["number"] for one in INVARIANTS] == list(range(1, 40))
    assert [one["number"] for one in INVARIANTS if not one.get("simulator") and not one.get("tests")] == []


def test_the_simulator_checks_what_the_table_says_it_does():
    source = (ROOT / "rust" / "sim" / "src" / "oracle.rs").read_text("utf-8")
    table = source.split("pub const CHECKS")[1].split("];")[0]
    checked = {int(number) for number in re.findall(r"^    \((\d+),", table, re.MULTILINE)}
    assert {one["number"] for one in INVARIANTS if one.get("simulator")} == checked


def test_every_test_that_an_invariant_names_exists():
    named = ", ".join(f"`{test}`" for one in INVARIANTS for test in one.get("tests", []))
    assert missing_tests(named) == []
    assert missing_tests("`tests/none.py::test_nothing`") != []


def test_a_proof_is_shown_by_its_last_word_and_its_exit_code(folder):
    good = evidence.prove(claim("good", full={"SIZE": 7}), "full", "abc")
    assert (good.passed, good.said, good.commit) == (True, "3 things, 7 deep", "abc")
    assert good.command == "make good SIZE=7"
    assert not evidence.prove(claim("silent"), "short", "abc").passed
    assert not evidence.prove(claim("broken"), "short", "abc").passed


def test_what_the_run_itself_was_given_is_not_handed_on_to_the_proof(folder, monkeypatch):
    monkeypatch.setenv("MAKEFLAGS", " -- ARGS=!\\ --only\\ good SIZE=9")
    monkeypatch.setenv("ARGS", "! --only good")
    assert evidence.prove(claim("good", full={"SIZE": 8}), "full", "1234567").said == "3 things, 8 deep"


def test_a_depth_that_a_claim_does_not_have_is_the_next_that_is_less_deep():
    one = claim("good", short={"SIZE": 1}, full={"SIZE": 9})
    assert [one.command(depth)[-1] for depth in evidence.DEPTHS] == ["SIZE=1", "SIZE=1", "SIZE=9"]


def test_a_claim_that_is_too_slow_for_a_depth_is_not_run_there():
    slow = claim("good", session={"SIZE": 5})
    assert [slow.runs_at(depth) for depth in evidence.DEPTHS] == [False, True, True]
    assert all(claim("good").runs_at(depth) for depth in evidence.DEPTHS)


def test_a_proof_is_run_at_a_depth_between_those_of_the_table():
    one = claim("good", session={"SIZE": 5, "KIND": "a b"})
    assert one.at("full", ["SIZE=7"]).command("full") == ["make", "good", "SIZE=7", "KIND=a b"]
    with pytest.raises(ValueError, match="good has no SISE at this depth; it has SIZE, KIND"):
        one.at("full", ["SISE=7"])
    with pytest.raises(ValueError, match="SIZE has no value: write SIZE=VALUE"):
        one.at("full", ["SIZE"])


def test_the_page_tells_what_was_shown_what_was_not_and_what_was_not_run(folder):
    claims = [claim("good", full={"SIZE": 7}), claim("broken"), claim("silent", full={"SIZE": 2})]
    results = {one.name: evidence.prove(one, "full", "abc") for one in claims[:2]}
    page = evidence.page(claims, results, [{"number": 1, "says": "All is kept", "tests": ["tests/a.py::b"]}])
    assert "3 claims: 1 shown, 1 not shown, 1 not run." in page
    assert "| Nothing is lost | shown | 3 things, 7 deep | 1 000 |" in page
    assert "| Nothing is lost | **not shown** | nothing | 1 000 |" in page
    assert "| Nothing is lost | **not run** |  | 1 000 |" in page
    assert "| `make silent SIZE=2` | not run | | | |" in page
    assert "| I-1 | All is kept | `tests/a.py::b` |" in page


def test_the_page_is_that_of_the_results():
    page = evidence.page(evidence.claims(), evidence.known(), INVARIANTS)
    assert evidence.PAGE.read_text("utf-8") == page, "run: make evidence ARGS=--page"
