"""The supervisor and the workers of the crash test: each kind of job goes another way."""

import random
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import zjobs
from crash.marks import Marks, now

__all__ = [
    "CHORES", "FAILURES", "SECONDS", "SLOTS", "TICK", "Kinds", "keyed_in", "open_patiently", "open_supervisor",
    "patiently",
]  # fmt: skip

SLOTS = 8
"""Handlers that one worker process runs at once."""
CHORES = "chores"
"""The queue of jobs that a clerk looks after; it has two of the slots."""
SECONDS = "seconds"
"""The schedule that every worker process has: a tick each second."""
TICK = "tick"
"""The token of the jobs of ticks, which no enqueue meant."""
FAILURES = 2
"""Attempts of a flaky job that fail."""
KEYS = 50
"""Unique keys that jobs share."""


def open_supervisor(database: str, node: str | None = None) -> zjobs.Supervisor:
    """A supervisor that keeps every job for ever, so that each can be accounted for. Dead nodes are found soon."""
    kept = zjobs.Retention(completed=None, cancelled=None, discarded=None)
    queues = {"default": SLOTS - 2, CHORES: 2}
    return zjobs.Supervisor(database, queues=queues, retention=kept, rescue_interval_ms=1000, node=node)


def open_patiently(database: str, node: str | None = None) -> zjobs.Supervisor:
    """As `open_supervisor`, also while the server is being started again."""
    return patiently(lambda: open_supervisor(database, node))


def patiently(call: Callable[[], Any]) -> Any:
    """What the call returns once the store is there, which may be about to start."""
    for _ in range(200):
        try:
            return call()
        except zjobs.StoreUnavailable:
            threading.Event().wait(0.05)
    return call()


def keyed_in(entries: Iterable[object]) -> int:
    """How many of them have a unique key; pairs of a name and arguments have none."""
    return sum(isinstance(entry, zjobs.JobEntry) and "unique_key" in entry.options for entry in entries)


@dataclass(frozen=True, slots=True)
class Kinds:
    """The workers, registered with a supervisor; each run leaves its marks."""

    noop: zjobs.worker.ContextWorker
    nap: zjobs.worker.ContextWorker
    flaky: zjobs.worker.ContextWorker
    keyed: zjobs.worker.ContextWorker
    unwanted: zjobs.worker.ContextWorker
    chore: zjobs.worker.ContextWorker
    ticked: zjobs.worker.ContextWorker

    @classmethod
    def on(cls, jobs: zjobs.Supervisor, marks: Marks, name: str = "") -> "Kinds":
        """Each handler returns whose process it ran in, and under which lease."""

        @contextmanager
        def run(ctx: zjobs.JobContext) -> Iterator[tuple[str, int]]:
            about = ctx.job.id, ctx.job.lease, ctx.attempt
            marks.write("begin", *about, now())
            how = "raised"
            try:
                yield name, ctx.job.lease
                how = "returned"
            finally:
                marks.write("end", *about, now(), how)

        @jobs.worker
        def noop(ctx: zjobs.JobContext, token: str) -> tuple[str, int]:
            with run(ctx) as whose:
                return whose

        @jobs.worker
        def nap(ctx: zjobs.JobContext, token: str, seconds: float) -> tuple[str, int]:
            with run(ctx) as whose:
                ctx.progress(0, seconds)
                threading.Event().wait(seconds)
                return whose

        @jobs.worker(retry_strategy=zjobs.Constant(0.05))
        def flaky(ctx: zjobs.JobContext, token: str) -> tuple[str, int]:
            with run(ctx) as whose:
                if len([error for error in ctx.job.errors if error.kind == "ValueError"]) < FAILURES:
                    raise ValueError(token)
                return whose

        @jobs.worker
        def keyed(ctx: zjobs.JobContext, token: str, seconds: float) -> tuple[str, int]:
            with run(ctx) as whose:
                threading.Event().wait(seconds)
                return whose

        @jobs.worker
        def unwanted(ctx: zjobs.JobContext, token: str) -> tuple[str, int]:
            with run(ctx) as whose:
                for _ in range(100):
                    ctx.check_cancelled()
                    threading.Event().wait(0.01)
                return whose

        return cls(noop, nap, flaky, keyed, unwanted, *_upkeep(jobs, run))

    def batch(self, token: str, count: int, rng: random.Random) -> list[zjobs.JobEntry]:
        """So many entries of all kinds; most do nothing."""
        return [self._entry(token, rng) for _ in range(count)]

    def _entry(self, token: str, rng: random.Random) -> zjobs.JobEntry:
        dice = rng.random()
        makers: tuple[tuple[float, Callable[[], zjobs.JobEntry]], ...] = (
            (0.025, lambda: self.nap.job(token, rng.uniform(0.01, 0.3))),
            (0.040, lambda: self.flaky.job(token)),
            (0.050, lambda: self.keyed.options(unique_key=self._key(rng)).job(token, rng.uniform(0, 0.05))),
            (0.055, lambda: self.unwanted.job(token)),
            (0.100, lambda: self.noop.options(schedule_in=rng.uniform(0.05, 2)).job(token)),
            (0.200, lambda: self.noop.options(priority=rng.randrange(-3, 4)).job(token)),
            (1.000, lambda: self.noop.job(token)),
        )
        return next(make for upto, make in makers if dice < upto)()

    @staticmethod
    def _key(rng: random.Random) -> str:
        return f"key {rng.randrange(KEYS)}"


def _upkeep(jobs: zjobs.Supervisor, run: Callable[[zjobs.JobContext], Any]) -> tuple[zjobs.worker.ContextWorker, ...]:
    """What clerks enqueue, and what schedules do."""

    @jobs.worker(queue=CHORES)
    def chore(ctx: zjobs.JobContext, token: str) -> tuple[str, int]:
        with run(ctx) as whose:
            return whose

    @jobs.worker
    def ticked(ctx: zjobs.JobContext, token: str) -> tuple[str, int]:
        with run(ctx) as whose:
            return whose

    return chore, ticked
