"""One worker process: `python -m soak.worker DATABASE MARKS NAME`. A SIGTERM ends it in order."""

import sys
from pathlib import Path

import zjobs
from crash.jobs import SLOTS, Kinds, patiently
from crash.marks import Marks

__all__ = ["KEPT"]

KEPT = 90.0
"""Seconds for which a final job is kept: the ledger reads it long before it is pruned."""


def open_worker(database: str, slots: int = SLOTS, node: str | None = None) -> zjobs.Supervisor:
    """A supervisor that prunes, as one must that runs for days; the server may be about to start."""
    kept = zjobs.Retention(completed=KEPT, cancelled=KEPT, discarded=KEPT)
    settings = {"queues": {"default": slots}, "retention": kept, "rescue_interval_ms": 1000, "node": node}
    return patiently(lambda: zjobs.Supervisor(database, **settings))


def main(database: str, folder: str, name: str) -> None:
    jobs = open_worker(database, node=name)
    Kinds.on(jobs, Marks(Path(folder), name), name)
    patiently(jobs.run)


if __name__ == "__main__":
    main(*sys.argv[1:])
