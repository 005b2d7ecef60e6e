"""The faults that `make mutants-python` makes, how a trial ends, and whether the list of survivors is sound."""

import ast
import os
import subprocess
import sys
import textwrap

from mutants import listed, trial
from mutants.changes import changes

HERE = trial.ROOT


def made(text):
    """The faults of a small module, as the lines they change."""
    return {(change.before, change.after) for change in changes(textwrap.dedent(text))}


def test_an_operator_is_replaced_by_those_beside_it():
    assert made("def f(a, b):\n    x = a < b\n") == {("x = a < b", "x = a <= b"), ("x = a < b", "x = a >= b")}
    assert ("x = a - 1", "x = a + 1") in made("def f(a):\n    x = a - 1\n")


def test_calls_errors_results_and_memberships_are_left_out_or_turned_round():
    faults = made(
        """
        def f(a):
            print(a)
            if a in (1,):
                raise KeyError
            return a
        """
    )
    assert {("print(a)", "pass"), ("raise KeyError", "pass"), ("return a", "return None")} <= faults
    assert ("if a in (1,):", "if (a not in (1,)):") in faults
    assert ("if a in (1,):", "if not a in (1,):") in faults


def test_types_docstrings_and_what_only_checkers_read_are_left_alone():
    assert not made(
        '''
        """Ten of 10."""
        from typing import TYPE_CHECKING, TypeAlias, cast

        if TYPE_CHECKING:
            from a import b
        Text: TypeAlias = str | None

        class Row(Protocol):
            @property
            def number(self) -> int:
                return 1

        def f(a: int | str, b: "list[1]") -> int | None:
            """One and 1."""
            x: int | str = cast("int | str", a)
        '''
    )


def test_a_fault_knows_where_it_is_and_which_lines_must_run():
    body = ["@property", "def f(self):", "    if (", "        self", "        and 3", "    ):", "        return 1"]
    text = "class C:\n\n" + textwrap.indent("\n".join(body), "    ")
    by_lines = {(change.scope, change.lines) for change in changes(text)}
    assert ("C.f", (5, 6, 7, 8)) in by_lines
    assert ("C.f", (9,)) in by_lines
    assert ("C.f", (3, 4)) in by_lines


def tried(script):
    """What a script prints that tries faults, in a process of its own: trials fork from one without the package."""
    environment = os.environ | {"PYTHONPATH": f"{HERE / 'tests'}{os.pathsep}{HERE / 'python'}"}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_fault_is_noticed_survives_or_does_not_import():
    script = """
        from mutants import trial
        source = trial.source_of("retry")
        tests = ["tests/test_retry.py::test_linear_and_constant_follow_their_formula"]
        faulty = source.replace("delay_seconds: float = 60", "delay_seconds: float = 61")
        for text in (source, faulty, "import no_such_module\\n" + source):
            print(trial.attempt("retry", text, tests, 1).name)
    """
    assert tried(script) == ["SURVIVED", "KILLED", "STILLBORN"]


def test_a_test_that_is_not_there_or_a_process_that_others_end_notices_nothing():
    script = """
        from mutants import trial
        source = trial.source_of("retry")
        here = "tests/test_retry.py::test_linear_and_constant_follow_their_formula"
        dies = "import os, signal\\nos.kill(os.getpid(), signal.SIGKILL)\\n"
        nowhere = "tests/test_retry.py::test_nothing"
        for before, test in (("", nowhere), ("", "tests/none.py"), (dies, here)):
            try:
                print(trial.attempt("retry", before + source, [test], 1).name)
            except trial.RigError as error:
                print(error)
        trial._pytest = None
        try:
            print(trial.attempt("retry", source, [here], 1).name)
        except trial.RigError as error:
            print(error)
    """
    told = "the tests ended with status {}, which is no failure of one of them: {}"
    here = "tests/test_retry.py::test_linear_and_constant_follow_their_formula"
    assert tried(script) == [
        told.format(4, "tests/test_retry.py::test_nothing"),
        told.format(4, "tests/none.py"),
        told.format(-9, here),
        told.format(70, here),
    ]


def test_a_fault_is_noticed_by_tests_that_do_not_import_by_ctrl_c_and_by_an_end_that_does_not_come(tmp_path):
    (tmp_path / "test_extra.py").write_text("from zjobs.retry import EXTRA\n\n\ndef test_it():\n    EXTRA()\n", "utf-8")
    script = f"""
        from mutants import trial
        trial._LEAST_SECONDS = 5
        source = trial.source_of("retry")
        for rest in (
            "EXTRA = lambda: 1",
            "",
            "def EXTRA():\\n    raise KeyboardInterrupt",
            "def EXTRA():\\n    while True: pass",
        ):
            print(trial.attempt("retry", source + rest, ["{tmp_path}/test_extra.py"], 0).name)
        trial._MOST_WAITING = 4
        waits = "def EXTRA():\\n    import time\\n    time.sleep(60)"
        print(trial.attempt("retry", source + waits, ["{tmp_path}/test_extra.py"], 60).name)
    """
    assert tried(script) == ["SURVIVED", "KILLED", "KILLED", "KILLED", "KILLED"]


def test_the_module_as_it_is_must_survive_before_any_fault_is_believed():
    script = """
        from mutants import trial
        base = trial.Baseline({"tests/test_retry.py::test_linear_and_constant_follow_their_formula": 0.1}, {}, True)
        trial.control("retry", base)
        print("it survived")
        original = trial.source_of
        faulty = original("retry").replace("delay_seconds: float = 60", "delay_seconds: float = 61")
        for text in (faulty, "import no_such_module"):
            trial.source_of = lambda module: text
            try:
                trial.control("retry", base)
            except trial.RigError as error:
                print(error)
    """
    told = "the module as it is ended as a fault would: "
    assert tried(script) == ["it survived", f"{told}killed", f"{told}does not import"]


def test_each_listed_survivor_can_still_be_made_has_a_reason_and_stands_once():
    entries = listed.survivors()
    assert len({(entry.module, *entry.key) for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.module in listed.TESTS
        assert len(entry.reason.split()) > 3, entry
        text = " ".join(line.strip() for line in trial.source_of(entry.module).splitlines())
        assert entry.before in text, f"{entry.module}: nothing has this line any more: {entry.before}"
        assert entry.before != entry.after


def test_the_tests_of_each_module_are_there_and_the_listed_modules_are_whole():
    for module, files in listed.TESTS.items():
        assert ast.parse(trial.source_of(module))
        assert all((HERE / file).exists() for file in files)
    assert set(listed.TESTS) >= listed.PURE
