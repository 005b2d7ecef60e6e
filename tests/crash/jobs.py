"""The supervisor and the workers of the crash test: each kind of job goes another way."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import zjobs
from crash.marks import Marks, now

__all__ = ["FAILURES", "SLOTS", "Kinds", "open_patiently", "open_supervisor"]

SLOTS = 8
"""Handlers that one worker process runs at once."""
FAILURES = 2
"""Attempts of a flaky job that fail."""
KEYS = 50
"""Unique keys that jobs share."""


def open_supervisor(database: str) -> zjobs.Supervisor:
    """A supervisor that keeps every job for ever, so that each can be accounted for. Dead nodes are found soon."""
    kept = zjobs.Retention(completed=None, cancelled=None, discarded=None)
    return zjobs.Supervisor(database, queues={"default": SLOTS}, retention=kept, rescue_interval_ms=1000)


def open_patiently(database: str) -> zjobs.Supervisor:
    """As `open_supervisor`, also while the server is being started again."""
    for _ in range(200):
        try:
            return open_supervisor(database)
        except zjobs.StoreUnavailable:
            threading.Event().wait(0.05)
    return open_supervisor(database)


@dataclass(frozen=True, slots=True)
class Kinds:
    """The workers, registered with a supervisor; each run leaves its marks."""

    noop: zjobs.worker.ContextWorker
    nap: zjobs.worker.ContextWorker
    flaky: zjobs.worker.ContextWorker
    keyed: zjobs.worker.ContextWorker
    unwanted: zjobs.worker.ContextWorker

    @classmethod
    def on(cls, jobs: zjobs.Supervisor, marks: Marks) -> "Kinds":
        @contextmanager
        def run(ctx: zjobs.JobContext) -> Iterator[None]:
            about = ctx.job.id, ctx.job.lease, ctx.attempt
            marks.write("begin", *about, now())
            how = "raised"
            try:
                yield
                how = "returned"
            finally:
                marks.write("end", *about, now(), how)

        @jobs.worker
        def noop(ctx: zjobs.JobContext, token: str) -> None:
            with run(ctx):
                pass

        @jobs.worker
        def nap(ctx: zjobs.JobContext, token: str, seconds: float) -> None:
            with run(ctx):
                threading.Event().wait(seconds)

        @jobs.worker(retry_strategy=zjobs.Constant(0.05))
        def flaky(ctx: zjobs.JobContext, token: str) -> None:
            with run(ctx):
                if len([error for error in ctx.job.errors if error.kind == "ValueError"]) < FAILURES:
                    raise ValueError(token)

        @jobs.worker
        def keyed(ctx: zjobs.JobContext, token: str, seconds: float) -> None:
            with run(ctx):
                threading.Event().wait(seconds)

        @jobs.worker
        def unwanted(ctx: zjobs.JobContext, token: str) -> None:
            with run(ctx):
                for _ in range(100):
                    ctx.check_cancelled()
                    threading.Event().wait(0.01)

        return cls(noop, nap, flaky, keyed, unwanted)

    def batch(self, token: str, count: int, rng: random.Random) -> list[zjobs.JobEntry]:
        """So many entries of all kinds; most do nothing."""
        return [self._entry(token, rng) for _ in range(count)]

    def _entry(self, token: str, rng: random.Random) -> zjobs.JobEntry:
        dice = rng.random()
        if dice < 0.025:
            return self.nap.job(token, rng.uniform(0.01, 0.3))
        if dice < 0.04:
            return self.flaky.job(token)
        if dice < 0.05:
            return self.keyed.options(unique_key=f"key {rng.randrange(KEYS)}").job(token, rng.uniform(0, 0.05))
        if dice < 0.055:
            return self.unwanted.job(token)
        if dice < 0.10:
            return self.noop.options(schedule_in=rng.uniform(0.05, 2)).job(token)
        return self.noop.job(token)
