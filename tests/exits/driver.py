"""Plans an end from a seed, runs it, and says what was wrong with it."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from exits.scenes import NOT_STARTED, SCENES, WAYS

__all__ = ["LONGEST", "Plan", "carry_out"]

TESTS = Path(__file__).parents[1]
LONGEST = 60.0
"""Seconds after which an end hangs: the slowest in order takes 0.2 s, 3 s of grace and the start of an interpreter."""
# In what a process says when something is wrong; the last two come with what Python itself says of Ctrl-C.
CRASHES = ("Fatal", "panicked", "terminate called", "Segmentation", "never awaited", "dumped core")
IGNORED = "Exception ignored"
# What it says when Ctrl-C comes in the moment in which a condition of Python's own takes its lock back.
TORN = ("in _acquire_restore", "RuntimeError: release unlocked lock")
LIVE, COMPLETED, EXECUTING = (0, 3, 6), 2, 1


@dataclass(frozen=True)
class Plan:
    """One end."""

    store: str
    """memory, sqlite or postgres."""
    scene: str
    way: str
    milliseconds: float
    """From when it says that it is ready."""

    @classmethod
    def of(cls, seed: int, stores: Sequence[str]) -> "Plan":
        """The end that this seed stands for."""
        chance = random.Random(seed)  # noqa: S311 - chance from a seed
        way = chance.choice(list(WAYS))
        scene = chance.choice([scene for scene in SCENES if fits(scene, way)])
        mean = chance.choice([1, 5, 15, 60])
        return cls(chance.choice(stores), scene, way, round(chance.expovariate(1 / mean), 2))

    def __str__(self) -> str:
        return f"{self.store}: {self.scene}, {self.way} after {self.milliseconds} ms"


def fits(scene: str, way: str) -> bool:
    """Whether the two can be had together."""
    # What starts by itself cannot be started by run().
    return not (scene in NOT_STARTED and way.startswith("run"))


def carry_out(plan: Plan, folder: Path, postgres: str | None = None) -> list[str]:
    """Ends one process so, and says what was wrong; nothing, if all was right."""
    url = {"memory": "memory://", "sqlite": f"sqlite:///{folder}/jobs.db", "postgres": postgres}[plan.store]
    assert url is not None
    here, there = os.pipe()
    command = [sys.executable, "-X", "faulthandler", "-m", "exits.scenes", url, str(folder), plan.scene, plan.way]
    process = subprocess.Popen(
        [*command, str(plan.milliseconds), str(there)],
        pass_fds=[there],
        start_new_session=True,
        cwd=TESTS,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    os.close(there)
    signals = [word for word in ("SIGTERM", "SIGINT") if word in plan.way]
    if plan.way == "SIGINT twice":
        signals *= 2
    threading.Thread(target=strike, args=(process, here, signals, plan.milliseconds / 1000), daemon=True).start()
    try:
        said = process.communicate(timeout=LONGEST)[1]
    except subprocess.TimeoutExpired:
        # Each thread's stack, for whoever mends it.
        process.send_signal(signal.SIGABRT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(LONGEST)
        # A child that hangs has its streams, too.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        said = process.communicate()[1]
        return [f"it hung for {LONGEST:g} s\n{said}"]
    wrong = judge(plan, process.returncode, said)
    if plan.store != "memory":
        wrong += missed(plan, url, folder, process.returncode)
    return wrong


def strike(process: subprocess.Popen[str], ready: int, signals: Sequence[str], seconds: float) -> None:
    with os.fdopen(ready) as told:
        if not told.read(1):
            return
    for name in signals:
        time.sleep(seconds)
        process.send_signal(signal.Signals[name])


def judge(plan: Plan, code: int, said: str) -> list[str]:
    wrong = [f"it said {sign!r}" for sign in CRASHES if sign in said]
    by_ctrl_c = "SIGINT" in plan.way
    if IGNORED in said and not (by_ctrl_c and "KeyboardInterrupt" in said):
        wrong.append(f"it said {IGNORED!r}")
    raises = plan.way == "raise" or by_ctrl_c
    if "Traceback" in said and not raises:
        wrong.append("it said 'Traceback'")
    allowed = WAYS[plan.way][1] | ({1} if by_ctrl_c and all(sign in said for sign in TORN) else set())
    if code not in allowed:
        wrong.append(f"its exit code was {code}")
    return [f"{one}\n{said}" for one in wrong]


def missed(plan: Plan, url: str, folder: Path, code: int) -> list[str]:
    """What was told to be in the store and is not, or not as it was told."""
    enqueued, ended = numbers(folder / "enqueued"), set(numbers(folder / "ended"))
    states = states_of(url)
    twice = [number for number, times in Counter(enqueued).items() if times > 1]
    wrong = [f"two enqueues got one id: {twice}"] if twice else []
    if lost := [number for number in enqueued if number not in states]:
        wrong.append(f"lost of {len(enqueued)}: {lost[:20]}")
    if odd := {number: state for number, state in states.items() if state not in {*LIVE, COMPLETED, EXECUTING}}:
        wrong.append(f"in states that nobody brought about: {odd}")
    if unrun := [n for n, state in states.items() if state == COMPLETED and n not in ended and n in enqueued]:
        wrong.append(f"completed and never run: {unrun[:20]}")
    # An end in order writes what has been done, and leaves nothing to be rescued. What stays of handlers that do not
    # stop, or of a process that was cut off, is rescued by others: tests/test_crash.py.
    if code >= 0 and plan.way not in {"os._exit", "SIGINT twice"} and plan.scene != "starting":
        if unwritten := [number for number in ended if states.get(number) not in {COMPLETED, None}]:
            wrong.append(f"done, and not written: {unwritten[:20]}")
        if left := [number for number, state in states.items() if state == EXECUTING]:
            wrong.append(f"left executing: {left[:20]}")
    return wrong


def numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def states_of(url: str) -> dict[int, int]:
    if not url.startswith("sqlite"):
        with psycopg.connect(url) as connection:
            return dict(connection.execute("SELECT id, state FROM zjobs.jobs").fetchall())
    path = url.removeprefix("sqlite:///")
    if not os.path.exists(path):  # noqa: PTH110 - it may have ended before it made one
        return {}
    with closing(sqlite3.connect(path)) as connection:
        if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
            return {}
        return dict(connection.execute("SELECT id, state FROM zjobs_jobs").fetchall())
