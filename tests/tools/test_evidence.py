"""`tools/evidence.py`: the page says what was run, and each invariant is checked by something that exists."""

import dataclasses
import importlib.util
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from named_tests import missing_tests

ROOT = Path(__file__).parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules.setdefault(name, module))
    return sys.modules[name]


commits = load("commits")
evidence = load("evidence")

INVARIANTS = tomllib.loads(evidence.INVARIANTS.read_text("utf-8"))["invariant"]
MAKEFILE = """
good:
\t@echo proved: 3 things, $(SIZE) deep$(ARGS)
silent:
\t@echo all is well
broken:
\t@echo proved: nothing; exit 1
failing:
\t@echo failed: 2 lost; exit 1
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "Makefile").write_text(MAKEFILE, "utf-8")
    monkeypatch.setattr(evidence, "ROOT", tmp_path)
    monkeypatch.setattr(evidence, "LOGS", tmp_path / "logs")
    return tmp_path


def claim(target, departs="", **depths):
    return evidence.Claim(target, "Nothing is lost", "1 000", target, depths, departs)


def result(command="make good", said="3 things", at="abc"):
    """Of a proof that passed."""
    return evidence.Result(command, passed=True, said=said, seconds=1, day="2026-01-01", commit=at, machine="one")


def ages_on(page):
    """What a page says of ages: the newest commit, and how much changed since each."""
    newest = re.search(r"the commit of the proof and `(\w+)`", page)
    rows = re.findall(r"^\| `make .*\| (\S+) \| (\d+) \| [^|]* \|$", page, re.MULTILINE)
    return commits.Ages(newest and newest[1], {name: int(files) for name, files in rows})


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
    assert evidence.prove(claim("failing"), "short", "abc").said == "failed: 2 lost"


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


def test_the_page_tells_what_was_shown_how_deep_what_was_not_and_what_was_not_run(folder):
    claims = [claim("good", full={"SIZE": 7}), claim("broken", "not on a server"), claim("silent", full={"SIZE": 2})]
    results = {one.name: evidence.prove(one, "full", "abc") for one in claims[:2]}
    bars = [evidence.Bar("No unsafe code", note="not tested"), evidence.Bar("All is kept", ("tests/a.py::b",), "here")]
    invariants = [{"number": 1, "says": "All is kept", "tests": ["tests/a.py::b"]}]
    ages = commits.Ages("def", {"abc": 12})
    page = evidence.page(claims, results, bars, invariants, ages)
    assert "3 claims: 1 shown, 0 shown less deep, 1 not shown, 1 not run. 2 ran on older code" in page
    assert "| Nothing is lost | shown | 3 things, 7 deep | 1 000 |" in page
    assert "| Nothing is lost | **not shown** | nothing | 1 000. *Departs*: not on a server |" in page
    assert "| Nothing is lost | **not run** |  | 1 000 |" in page
    assert "| `make silent SIZE=2` | not run | | | | |" in page
    assert re.search(r"\| `make good SIZE=7` \| \d+ s \| [\d-]+ \| abc \| 12 \| ", page)
    assert "| No unsafe code | not tested |" in page
    assert "| All is kept | `tests/a.py::b`, here |" in page
    assert "| I-1 | All is kept | `tests/a.py::b` |" in page
    assert ages_on(page) == ages
    page = evidence.page(claims, results, bars, invariants, commits.Ages(None, {}))
    assert "and the newest of them, which git did not know." in page
    assert re.search(r"\| abc \| not known \| ", page)
    assert ages_on(page) == commits.Ages(None, {})


def test_what_was_not_run_as_deep_as_the_bar_asks_or_not_whole_is_shown_less_deep():
    one = claim("good", short={"SIZE": 1}, full={"SIZE": 9, "STORE": "both"})

    def mark(*words):
        return evidence.mark(one, result(*words))

    assert mark("make good SIZE=9 STORE=both") == "shown"
    assert mark("make good SIZE=10 STORE=both") == "shown"
    assert mark("make good SIZE=8 STORE=both") == "shown less deep"
    assert mark("make good SIZE=9 STORE=one") == "shown less deep"
    assert mark("make good SIZE=9") == "shown less deep"
    assert mark("make good SIZE=9 STORE=both KIND=easy") == "shown less deep"
    assert mark("make good SIZE=9 STORE=both", "one. Did not run: two") == "shown less deep"
    assert mark("make good SIZE=9 STORE=both", "one; not run: two") == "shown less deep"
    assert mark("make good SIZE=9 STORE=both", "one. Did not run: none") == "shown"


def test_the_age_of_the_results_is_a_sentence():
    ages = commits.Ages("new", {"old": 7, "older": 9, "new": 0})
    assert evidence.age([result(at=name) for name in ("new", "old", "older", "gone")], ages) == (
        "2 ran on older code, of which up to 9 files have changed until `new`, the newest commit below; "
        "1 on the code of that, 1 on code that git did not know."
    )
    assert evidence.age([result(at="gone")], commits.Ages(None, {})).endswith("1 on code that git did not know.")


@pytest.fixture
def kept(folder, monkeypatch):
    """Records a proof while the code is what these answers say, and gives what was kept of it."""
    monkeypatch.setattr(evidence, "RESULTS", folder / "evidence.json")
    monkeypatch.setattr(commits, "same", lambda one, other: one == other and "-dirty" not in one)

    def record(target, *answers):
        said = iter(answers)
        monkeypatch.setattr(commits, "here", lambda: next(said))
        one, results = claim(target), {}
        recorded = evidence.record(one, "full", [one], results)
        told = json.loads(evidence.RESULTS.read_text("utf-8")) if evidence.RESULTS.exists() else {}
        assert told == {name: dataclasses.asdict(result) for name, result in results.items()}
        return recorded, {name: (result.passed, result.commit) for name, result in results.items()}

    return record


def test_a_proof_is_recorded_under_the_commit_that_it_ran_on(kept):
    assert kept("good", "abc", "abc") == (True, {"good": (True, "abc")})


def test_a_proof_during_which_the_code_changed_is_not_recorded(kept, capsys):
    assert kept("good", "abc", "def") == (False, {})
    assert "good: the code was abc when it began, and def when it ended" in capsys.readouterr().out
    assert kept("good", "abc", "abc-dirty") == (False, {})


def test_a_proof_of_files_that_are_in_no_commit_is_not_even_run(kept, folder, capsys):
    assert kept("good", "abc-dirty") == (False, {})
    assert "good: not run: files differ from abc" in capsys.readouterr().out
    assert not (folder / "logs").exists()


def test_a_failure_is_recorded_even_when_the_code_changed(kept):
    assert kept("broken", "abc", "def") == (False, {"broken": (False, "abc-dirty")})


def test_every_bar_without_a_claim_has_a_test_that_exists_or_says_that_there_is_none():
    bars = evidence.bars()
    assert len(bars) >= 5
    assert [bar.says for bar in bars if not bar.tests and not bar.note] == []
    assert missing_tests(", ".join(f"`{test}`" for bar in bars for test in bar.tests)) == []


def test_at_full_depth_nothing_of_the_supply_may_be_left_out():
    (supply,) = [one for one in evidence.claims() if one.name == "supply"]
    assert supply.command("full") == ["make", "audit", "STRICT=1"]
    assert supply.runs_at("short")


def test_the_page_is_that_of_the_results():
    page = evidence.PAGE.read_text("utf-8")
    # What changed since is known where the history is: the next test looks at that.
    again = evidence.page(evidence.claims(), evidence.known(), evidence.bars(), INVARIANTS, ages_on(page))
    assert page == again, "run: make evidence ARGS=--page"


def test_the_ages_on_the_page_are_those_that_git_tells():
    """Of the commits that this clone has, and up to the one that the page names: later ones change nothing."""
    ages = ages_on(evidence.PAGE.read_text("utf-8"))
    told = {name: commits.changed(name, ages.newest) for name in ages.changed if ages.newest}
    assert {name: files for name, files in told.items() if files is not None}.items() <= ages.changed.items()
