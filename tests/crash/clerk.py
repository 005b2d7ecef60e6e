"""A clerk: `python -m crash.clerk DATABASE MARKS NAME`. Does by hand what people do, again and again.

It looks after chores: enqueues, cancels, retries and deletes them; pauses, resumes and scales their queue; prunes; and
has schedules, whose ticks all clerks ask for at once.
"""

import itertools
import random
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import zjobs
from crash.jobs import CHORES, TICK, Kinds, open_patiently
from crash.marks import Marks
from zjobs.cron import Schedule
from zjobs.crontab import CronEntry
from zjobs.rows import NewJob

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RARE", "WITHOUT_JOBS", "main"]

RARE = "rare"
"""A schedule whose ticks every clerk asks for."""
WITHOUT_JOBS = "idle"
"""A schedule that is paused, deleted, and declared anew."""
REFUSED = (zjobs.StoreUnavailable, zjobs.EnqueueUncertain, zjobs.NotFound, zjobs.Invalid)
"""What other clerks, a pause of the server, or a place that fails do to a clerk."""


class Clerk:
    """One clerk."""

    def __init__(self, database: str, marks: Marks, name: str, *, pauses: bool) -> None:
        self.jobs = open_patiently(database)
        self.kinds = Kinds.on(self.jobs, marks, name)
        self.pruner = zjobs.Supervisor(self.jobs.store, retention=zjobs.Retention(completed=0.5, cancelled=None))
        self.marks = marks
        self.rng = random.Random(name)
        self.count = itertools.count()
        self.pauses = pauses

    def chores(self, count: int, **options: float) -> list[zjobs.Job]:
        token = f"{time.time_ns():x}-{next(self.count)}"
        chore = self.kinds.chore.options(**options) if options else self.kinds.chore
        self.marks.write("intend", token, count, 0)
        made = self.jobs.enqueue_many([chore.job(token) for _ in range(count)])
        self.marks.write("enqueued", token, *(job.id for job in made))
        return list(made)

    def look_after(self) -> None:
        self.chores(2)
        first, second = self.chores(2, schedule_in=60)
        self.jobs.cancel(first)
        self.jobs.retry(first)
        self.jobs.delete(second)
        self.chores(1, schedule_in=0.02)

    def pause(self) -> None:
        self.jobs.pause_queue(CHORES)
        since = time.time_ns() // 1000
        self.chores(1)
        threading.Event().wait(0.02)
        self.marks.write("paused", CHORES, since, time.time_ns() // 1000)
        self.jobs.resume_queue(CHORES)

    def scale(self) -> None:
        self.jobs.scale_queue(CHORES, self.rng.randint(1, 2))

    def prune(self) -> None:
        self.pruner.prune()

    def tick(self) -> None:
        store, now = self.jobs.store, datetime.now(UTC)
        store.save_cron(CronEntry(name=RARE, schedule=Schedule("0 0 1 1 *"), worker="ticked"))
        # The same for all who ask within a tenth of a second.
        at = now.replace(microsecond=now.microsecond // 100_000 * 100_000)
        store.tick(RARE, at, NewJob("ticked", b'{"token": "%s"}' % TICK.encode()))

    def schedule(self) -> None:
        store = self.jobs.store
        store.save_cron(CronEntry(name=WITHOUT_JOBS, schedule=Schedule("0 0 1 1 *"), worker="ticked"))
        store.set_cron_paused(WITHOUT_JOBS, paused=True)
        store.set_cron_paused(WITHOUT_JOBS, paused=False)
        store.tick(WITHOUT_JOBS, datetime.now(UTC), None)
        store.delete_cron(WITHOUT_JOBS)

    def work(self) -> None:
        """Everything, in changing order."""
        duties: list[Callable[[], None]] = [
            self.look_after, self.scale, self.prune, self.tick, self.schedule,
        ]  # fmt: skip
        # Where two pause one queue, neither knows how long it was paused.
        if self.pauses:
            duties.append(self.pause)
        self.rng.shuffle(duties)
        for duty in duties:
            with suppress(*REFUSED):
                duty()


def main(database: str, folder: str, name: str) -> None:
    clerk = Clerk(database, Marks(Path(folder), name), name, pauses=name.startswith("clerk-0-"))
    while True:
        clerk.work()
        threading.Event().wait(0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
