"""``make mutants-python``: makes each fault, and fails when one is noticed by no test and has no reason in the list."""

import argparse
import gc
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

# What every trial needs is imported once, before the forks; the package itself never.
import aiosqlite  # noqa: F401
import asyncpg  # noqa: F401
import croniter  # noqa: F401
import cronsim  # noqa: F401
import django.db.backends.postgresql.base  # noqa: F401
import hypothesis.stateful  # noqa: F401
import msgspec  # noqa: F401
import psycopg  # noqa: F401
import pydantic  # noqa: F401
import pytest_asyncio  # noqa: F401
import pytest_timeout  # noqa: F401
import sqlalchemy.ext.asyncio
import sqlalchemy.orm  # noqa: F401
import typer  # noqa: F401

import postgres_server
from mutants import listed, trial
from mutants.changes import Change, changes
from mutants.trial import End


def main(arguments: list[str]) -> int:
    """Tries the modules that were asked for."""
    parser = argparse.ArgumentParser(prog="mutants")
    parser.add_argument("--modules", default=",".join(listed.TESTS), help="names with commas between")
    parser.add_argument("--matching", default="", help="only faults in lines with this text; then nothing is proved")
    asked = parser.parse_args(arguments)
    assert "zjobs" not in sys.modules
    # Half of a trial's time would go into looking for garbage among all that was imported.
    gc.freeze()
    modules = asked.modules.split(",")
    with postgres_server.database() if listed.SERVED & set(modules) else nullcontext() as url:
        if url:
            os.environ[postgres_server.URL] = url
        results = [_try(module, asked.matching) for module in modules]
    made = sum(count for count, _, _ in results)
    killed = sum(count for _, count, _ in results)
    new = [line for _, _, lines in results for line in lines]
    for line in new:
        print(line)
    if new:
        print(f"{len(new)} lines above are neither a fault that a test notices nor one with a reason")
        return 1
    if asked.matching:
        return 0
    rest = [module for module in listed.TESTS if module not in modules]
    share = 100 * killed / max(1, made)
    print(
        f"proved: {made} faults in {', '.join(modules)}: {killed} noticed by a test ({share:.1f} %), "
        f"{made - killed} listed with a reason; not run: {', '.join(rest) or 'none'}"
    )
    return 0


def _ready(module: str) -> trial.Baseline:
    """The tests of a module, which pass without a fault, and pass when they are tried as with a fault.

    Raises:
        RigError: They do not.
    """
    files = listed.TESTS[module]
    with tempfile.TemporaryDirectory() as scratch:
        base = trial.baseline(module, files, Path(scratch))
    if not base.passed:
        raise trial.RigError(f"its tests fail without a fault: {' '.join(files)}")
    trial.control(module, base)
    return base


def _try(module: str, matching: str) -> tuple[int, int, list[str]]:
    """How many faults were made and noticed, and those that are neither noticed nor listed."""
    try:
        base = _ready(module)
    except trial.RigError as error:
        return 0, 0, [f"{module}: {error}"]
    known = {survivor.key: survivor for survivor in listed.survivors() if survivor.module == module}
    made = killed = equal = 0
    new: list[str] = []
    used: set[tuple[str, str, str]] = set()
    began = time.monotonic()
    for change in changes(trial.source_of(module)):
        if matching not in change.before:
            continue
        tests = base.reaching(change.lines)
        try:
            end = trial.attempt(module, change.source, tests, sum(base.seconds[test] for test in tests))
        except trial.RigError as error:
            new.append(f"NOT TRIED {_told(module, change, reached=True)}: {error}")
            continue
        if end is End.STILLBORN:
            continue
        made += 1
        if end is End.KILLED:
            killed += 1
            continue
        used.add(change.key)
        equal += change.key in known and not known[change.key].accepted
        if change.key not in known:
            told = _told(module, change, reached=any(line in base.tests for line in change.lines))
            new.append(f"NEW SURVIVOR {told}")
            print(f"  {new[-1]}", file=sys.stderr, flush=True)
    if matching:
        return made, killed, new
    new += [f"{module}: listed, but noticed by a test or not made any more: {key}" for key in known.keys() - used]
    share = 100 * killed / max(1, made - equal)
    print(
        f"{module}: {killed} of {made} faults noticed, {equal} change nothing: {share:.1f} % of the others, "
        f"{time.monotonic() - began:.0f} s",
        flush=True,
    )
    if share < listed.BAR[module in listed.PURE]:
        new.append(f"{module}: less than {listed.BAR[module in listed.PURE]} % of its faults are noticed")
    return made, killed, new


def _told(module: str, change: Change, *, reached: bool) -> str:
    return f"{module} {change.scope} | {change.before} | {change.after}" + (
        "" if reached else "   (reached by no test)"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
