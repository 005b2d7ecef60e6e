"""A worker that stops itself whenever it is about to write what became of a job; `zombies` forks it.

With ``ack.asked=return(freeze)``; it goes on when its lease is over and its job is somebody else's.
"""

from pathlib import Path

import zjobs
from crash.marks import Marks, now
from zjobs import _engine

__all__ = ["BEAT_MS", "WORKER", "main"]

WORKER = "once"
BEAT_MS = 250
"""Milliseconds between two beats; a lease is four of them."""


def main(database: str, folder: str, name: str, queue: str) -> None:
    _engine._hasten(BEAT_MS)
    marks = Marks(Path(folder), name)
    kept = zjobs.Retention(completed=None, cancelled=None, discarded=None)
    jobs = zjobs.Supervisor(database, queues={queue: 1}, retention=kept, rescue_interval_ms=BEAT_MS, node=name)

    @jobs.worker(name=WORKER)
    def once(ctx: zjobs.JobContext, token: str) -> tuple[str, int]:
        about = ctx.job.id, ctx.job.lease, ctx.attempt
        marks.write("begin", *about, now())
        marks.write("end", *about, now(), "returned")
        return name, ctx.job.lease

    # Told by the engine when the store has refused a write, because the lease had moved on.
    jobs.telemetry.attach(lambda event: marks.write("refused", event.job.id, event.job.lease, now()), "lease_lost")
    jobs.run()
