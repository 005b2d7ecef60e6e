"""`tools/covered.py` counts the lines that are shipped, and asks for all of the core."""

import importlib.util
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def covered(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    spec = importlib.util.spec_from_file_location("covered", TOOLS / "covered.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "covered", module)
    spec.loader.exec_module(module)
    return module


def record(tree, name, **lines):
    told = "".join(f"DA:{line[1:]},{count}\n" for line, count in lines.items())
    return f"SF:{tree / name}\n{told}end_of_record\n"


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "rust/src").mkdir(parents=True)
    (tmp_path / "rust/src/state.rs").write_text("one\ntwo\n#[cfg(test)]\nmod tests {\n}\n", "utf-8")
    (tmp_path / "rust/src/other.rs").write_text("one\ntwo\n", "utf-8")
    return tmp_path


def test_a_line_has_run_when_any_build_has_run_it_and_tests_are_not_counted(covered, tree):
    report = (
        record(tree, "rust/src/state.rs", L1=0, L2=3, L4=0)
        + record(tree, "rust/src/state.rs", L1=7, L2=0)
        + record(tree, "rust/sim/src/lib.rs", L1=0)
        + record(Path("/elsewhere"), "rust/src/lib.rs", L1=0)
    )
    assert covered.lines_run(report, tree) == {"rust/src/state.rs": {1: True, 2: True}}


FILES = {"rust/src/state.rs": {1: True, 2: True}, "rust/src/other.rs": dict.fromkeys(range(38), True) | {38: False}}


def test_all_of_the_core_and_most_of_the_rest_is_enough(covered):
    problems, sentence = covered.judge(FILES, ["rust/src/state.rs"])
    assert problems == []
    assert sentence.startswith("97.6 % of the 41 lines of the engine and its bindings are run by tests, 100.0 %")


def test_a_line_of_the_core_a_file_that_nobody_looked_at_and_too_few_lines_are_told(covered):
    files = FILES | {"rust/src/more.rs": {1: False, 2: False}}
    problems, _ = covered.judge(files, ["rust/src/other.rs", "rust/src/gone.rs"])
    assert problems == [
        "rust/src/gone.rs has no line that was looked at",
        "rust/src/other.rs:38 is of the core, and no test runs it",
        "93.0 % of all lines are run, and 95 % must be",
    ]
