"""The thread that drives schedules, and the view of a supervisor that they need."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from time import monotonic
from time import time as wall
from typing import TYPE_CHECKING, Any

from zjobs.crontab import CronEntry, CronJob, CronRow, Crontab, Emit, Ticked, TickReply

if TYPE_CHECKING:
    from zjobs._engine import Engine
    from zjobs.job import Job
    from zjobs.store import Store

__all__ = ["Scheduler"]

_LOG = logging.getLogger("zjobs")
_LONGEST = 3600.0
_LOOK = 5.0
"""Between two looks at the wall clock, which costs nothing else; as often as a node beats."""


class Scheduler:
    """Runs a `Crontab` on a thread of its own; no thread while there is no entry."""

    def __init__(self, store: "Store", engine: "Engine", payload: Callable[[str, object], bytes], emit: Emit) -> None:
        """No entry and no thread yet."""
        self._store = store
        self._engine = engine
        self._payload = payload
        self._given: dict[str, Mapping[str, Any]] = {}
        self.crontab = Crontab(self, emit)
        self._changed = threading.Event()
        self._running = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def follow(self, engine: "Engine") -> None:
        """Enqueues through another engine of the same store from now on."""
        self._engine = engine

    def add(self, entry: CronEntry, options: Mapping[str, Any]) -> None:
        """Adds an entry whose jobs have these options of their own.

        Raises:
            Invalid: There is an entry of that name.
        """
        self.crontab.add(entry)
        self._given[entry.name] = options
        self._begin()
        self._changed.set()

    def check(self, worker: str, args: object, options: Mapping[str, Any]) -> None:
        """Proves that a schedule's arguments and options fit its worker.

        Raises:
            Invalid: They do not.
        """
        self._engine.prepare(worker, args, **options)

    def remove(self, name: str) -> None:
        """Forgets an entry here."""
        self.crontab.remove(name)
        self._changed.set()

    def wake(self) -> None:
        """Looks again at once: a schedule was paused or resumed."""
        self._changed.set()

    def start(self) -> None:
        """Ticks from now on."""
        self._running = True
        self._begin()

    def stop(self) -> None:
        """Ticks no more."""
        self._running = False
        self._changed.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(5.0)

    def _begin(self) -> None:
        with self._lock:
            if self._running and self.crontab.entries and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="zjobs-cron", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while self._running:
            self._changed.clear()
            pause = _LONGEST
            try:
                wake = self.crontab.tick(self._store.now())
                if wake is not None:
                    pause = min(pause, max((wake - self._store.now()).total_seconds(), 0.0))
            except Exception:  # noqa: BLE001 - a third party's store; the thread must live on
                _LOG.exception("the scheduler failed; trying again in a second")
                pause = 1.0
            self._wait(pause)

    def _wait(self, seconds: float) -> None:
        """Waits so long, by either clock: while the machine is suspended the one that a wait goes by stands still."""
        began, until = wall(), monotonic() + seconds
        while self._running:
            left = min(until - monotonic(), began + seconds - wall())
            if left <= 0 or self._changed.wait(min(left, _LOOK)):
                return

    # What the crontab asks of a store.

    def save_cron(self, entry: CronEntry, /) -> None:
        """Declares a schedule in the store."""
        self._store.save_cron(entry)

    def crons(self) -> Sequence[CronRow]:
        """The schedules in the store."""
        return self._store.crons()

    def tick(self, name: str, at: datetime, job: CronJob | None, /) -> Ticked:
        """Records one tick and inserts its job, together."""
        if job is None:
            reply, stored = self._engine.tick(name, at)
        else:
            payload = self._payload(job.worker, job.args)
            reply, stored = self._engine.tick(name, at, job.worker, payload, self._options(name, job))
        return Ticked(TickReply(reply), stored)

    def enqueue(self, name: str, job: CronJob, /) -> "Job":
        """Inserts the job of a schedule outside of its ticks."""
        return self._engine.enqueue(job.worker, self._payload(job.worker, job.args), **self._options(name, job))

    def _options(self, name: str, job: CronJob) -> dict[str, Any]:
        options = dict(self._given.get(name, {}))
        if job.opts.unique_key is not None:
            # The overlap rule's own key, or the caller's.
            options |= {"unique_key": job.opts.unique_key, "unique_strategy": job.opts.unique_strategy}
        return options
