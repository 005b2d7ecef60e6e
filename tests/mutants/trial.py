"""Runs tests on a module with a fault, in a forked process that has everything but the package imported."""

import contextlib
import importlib.util
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import Enum
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any

import coverage
import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "zjobs"
PROFILE = "mutants"
# Fewer examples, and the same ones each time: a fault is noticed or it is not.
hypothesis.settings.register_profile(PROFILE, max_examples=20, derandomize=True, deadline=None, database=None)
# What does not end within so much time of the processor has been changed into a loop without end.
_LEAST_SECONDS = 20
# What one test may wait for, at least.
_LEAST_WAITING = 10
_MOST_WAITING = 900


class End(Enum):
    """How a trial ended."""

    SURVIVED = "survived"
    KILLED = "killed"
    STILLBORN = "does not import"


class RigError(Exception):
    """A trial ended in a way that says nothing about the fault."""


@dataclass
class Baseline:
    """The tests of a module without a fault: how long each takes, and which lines it runs."""

    seconds: dict[str, float] = field(default_factory=dict)
    tests: dict[int, list[str]] = field(default_factory=dict)
    passed: bool = False

    def reaching(self, lines: tuple[int, ...]) -> list[str]:
        """The tests that run one of these lines, the quickest first; all of them when it runs on import.

        All of them, too, when none is known to: it may run in a process of the test's own.
        """
        found = {test for line in lines for test in self.tests.get(line, [])}
        on_import = "" in found
        return sorted(self.seconds if on_import or not found else found, key=lambda test: self.seconds.get(test, 0.0))


class _Told:
    """Sees that a fault stops pytest: a module of tests does not import any more, or Ctrl-C comes out of a test."""

    def __init__(self) -> None:
        self.stopped = False

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.stopped |= report.failed

    def pytest_keyboard_interrupt(self) -> None:
        self.stopped = True


class _Watch:
    """Tells the coverage which test runs, and writes down how long each takes."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self.measured = measured
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self.measured.switch_context(item.nodeid)
        began = time.process_time()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.process_time() - began
            self.measured.switch_context("")


def baseline(module: str, files: list[str], scratch: Path) -> Baseline:
    """Runs the tests of a module as it is."""
    told = scratch / "baseline.json"

    def run() -> int:
        measured = coverage.Coverage(
            data_file=None, config_file=False, include=[str(_path(module))], concurrency=["thread", "greenlet"]
        )
        watch = _Watch(measured)
        measured.start()
        code = _pytest(files, [watch])
        measured.stop()
        data = measured.get_data()
        lines = data.contexts_by_lineno(str(_path(module)))
        told.write_text(json.dumps([watch.seconds, {str(line): tests for line, tests in lines.items()}]), "utf-8")
        return code

    code = _forked(run, 600)
    if code != 0:
        return Baseline()
    seconds, tests = json.loads(told.read_text("utf-8"))
    return Baseline(seconds, {int(line): names for line, names in tests.items()}, passed=True)


def attempt(module: str, source: str, tests: list[str], seconds: float) -> End:
    """Whether one of these tests notices the fault.

    Raises:
        RigError: None has failed, and they did not pass: they were not found, or the process was killed by others.
    """

    def run() -> int:
        sys.meta_path.insert(0, _Finder(module, source))
        try:
            import zjobs  # noqa: F401, PLC0415 - here, with the fault in it
        except BaseException:  # noqa: BLE001 - whatever the fault breaks
            return _NO_IMPORT
        told = _Told()
        # A test that waits for what never comes.
        code = _pytest(tests, [told], "-o", f"timeout={_LEAST_WAITING + 10 * seconds:.0f}")
        return int(pytest.ExitCode.TESTS_FAILED) if told.stopped else code

    code = _forked(run, _LEAST_SECONDS + 10 * seconds)
    if code not in _ENDS:
        raise RigError(f"the tests ended with status {code}, which is no failure of one of them: {' '.join(tests[:3])}")
    return _ENDS[code]


def control(module: str, base: Baseline) -> None:
    """Tries the module as it is, which is no fault, in the way of all faults.

    Raises:
        RigError: It did not survive, so the end of a fault would say nothing either.
    """
    end = attempt(module, source_of(module), base.reaching(()), sum(base.seconds.values()))
    if end is not End.SURVIVED:
        raise RigError(f"the module as it is ended as a fault would: {end.value}")


_NO_IMPORT, _RAISED = 77, 70
_TIMED_OUT = -signal.SIGXCPU
_ENDS = {
    int(pytest.ExitCode.OK): End.SURVIVED,
    int(pytest.ExitCode.TESTS_FAILED): End.KILLED,
    _TIMED_OUT: End.KILLED,
    _NO_IMPORT: End.STILLBORN,
}


def _path(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def source_of(module: str) -> str:
    """The text of a module, which is named without the package."""
    return _path(module).read_text("utf-8")


class _Finder:
    """Finds the one module with another text."""

    def __init__(self, module: str, source: str) -> None:
        self.name, self.source, self.path = f"zjobs.{module}", source, _path(module)

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(
            name, self.path, loader=_Loader(name, str(self.path), self.source)
        )


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> Any:
        return compile(self._source, self.path, "exec")


def _pytest(tests: list[str], extra: list[object], *more: str) -> int:
    options = [
        "-x",
        "-q",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
        "-p",
        "no:cacheprovider",
        f"--hypothesis-profile={PROFILE}",
        f"--rootdir={ROOT}",
        *more,
    ]
    os.chdir(ROOT)
    return int(pytest.main([*options, *tests], plugins=extra))


def _forked(run: Callable[[], int], seconds: float) -> int:
    """What a function returns in a process of its own, or the signal that ended it, below zero."""
    child = os.fork()
    if child == 0:
        code = _RAISED
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 5))
            os.setsid()
            quiet = os.open(os.environ.get("MUTANTS_OUTPUT", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            code = run()
        except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
            traceback.print_exc()
        finally:
            os._exit(code)
    until, late = time.monotonic() + _MOST_WAITING, False
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
            until, late = until + _MOST_WAITING, True
        time.sleep(0.01)
    # What the tests started and a fault left behind.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    return _TIMED_OUT if late else os.waitstatus_to_exitcode(status)
