"""Runs schedules: a driver without threads or a clock of its own.

``tick(now)`` does what is due and says when it wants to be called again. Any number of nodes may drive the same
schedules on one store: each ``(entry, tick)`` is a row that only the first of them can insert, with its job, in one
transaction. So a tick is enqueued once, with no leader.

A tick is only taken as done when the store has said so. Whatever fails is tried again after `RETRY`, and neither a
failing entry nor a handler of events keeps the other entries from running.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Protocol, TypeAlias

from zjobs.cron import CatchUp, CatchUpName, Overlap, OverlapName, Schedule, member, missed
from zjobs.errors import NotFound, invalid, shown
from zjobs.options import JobOpts, UniqueStrategy, aware, worker_name
from zjobs.telemetry import CronMissed, CronTicked

__all__ = ["RETRY", "CronEntry", "CronJob", "CronRow", "CronStore", "Crontab", "TickReply", "Ticked"]

RETRY = timedelta(seconds=5)
"""How long after a failing store call the driver tries again."""

_LOG = logging.getLogger("zjobs")


@dataclass(frozen=True, slots=True, kw_only=True)
class CronEntry:
    """A schedule with a name and the job that each of its ticks enqueues.

    Attributes:
        name: ``[A-Za-z0-9_.:-]{1,128}``.
        schedule: When.
        worker: The worker of the jobs.
        args: Their payload, as the store adapter takes it.
        opts: Their options; times have no place among them.
        catch_up: Which late ticks are run, as a member or its name.
        overlap: What a tick does when an earlier job is still live, as a member or its name.

    Raises:
        Invalid: A value breaks its rule, or ``opts`` has a unique key where ``overlap`` needs its own.
    """

    name: str
    schedule: Schedule
    worker: str
    args: Any = None
    opts: JobOpts = field(default_factory=JobOpts)
    catch_up: CatchUp | CatchUpName = CatchUp.LATEST
    overlap: Overlap | OverlapName = Overlap.ALLOW

    def __post_init__(self) -> None:
        """Checks each value."""
        worker_name(self.name, "cron name")
        worker_name(self.worker)
        object.__setattr__(self, "catch_up", member(CatchUp, "catch_up", self.catch_up))
        object.__setattr__(self, "overlap", member(Overlap, "overlap", self.overlap))
        if self.opts.scheduled_at is not None:
            raise invalid("scheduled_at", "has no place in a schedule; its ticks say when", self.opts.scheduled_at)
        if self.overlap is not Overlap.ALLOW and (self.opts.unique_key or self.opts.unique_by):
            key = self.opts.unique_key or self.opts.unique_by
            raise invalid("unique_key", "excludes overlap='skip' and 'replace', which need the key themselves", key)

    def job(self) -> "CronJob":
        """The job of one tick."""
        if self.overlap is Overlap.ALLOW:
            return CronJob(self.worker, self.args, self.opts)
        skip = self.overlap is Overlap.SKIP
        strategy = UniqueStrategy.IGNORE_NEW if skip else UniqueStrategy.CANCEL_EXISTING
        opts = replace(self.opts, unique_key=f"cron:{self.name}", unique_strategy=strategy)
        return CronJob(self.worker, self.args, opts)


@dataclass(frozen=True, slots=True)
class CronJob:
    """What a tick enqueues."""

    worker: str
    args: Any
    opts: JobOpts


class TickReply(Enum):
    """What the store made of a tick."""

    INSERTED = "inserted"
    """It is recorded now, with its job when it has one."""
    ALREADY = "already"
    """It had been recorded before, by this node or another."""
    RESTING = "resting"
    """The schedule is paused or unknown."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """The store's reply to a tick, with the job as stored when it has one."""

    reply: TickReply
    job: Any = None


class CronRow(Protocol):
    """A schedule as stored."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def expression(self) -> str:
        """Its expression, as declared."""
        ...

    @property
    def timezone(self) -> str:
        """Its zone, as declared."""
        ...

    @property
    def paused(self) -> bool:
        """Whether its ticks are skipped."""
        ...

    @property
    def known_since(self) -> datetime:
        """When it was first declared."""
        ...

    @property
    def last_tick(self) -> datetime | None:
        """Its latest recorded tick."""
        ...


class CronStore(Protocol):
    """The calls of a store that the driver needs."""

    def save_cron(self, entry: CronEntry, /) -> object:
        """Declares a schedule, or changes it and keeps its pause and last tick."""
        ...

    def crons(self) -> Sequence[CronRow]:
        """The declared schedules."""
        ...

    def tick(self, name: str, at: datetime, job: CronJob | None, /) -> Ticked:
        """Records one tick and inserts its job, together; ``None`` records it as left out."""
        ...

    def enqueue(self, name: str, job: CronJob, /) -> Any:  # noqa: ANN401 - a job, as the store has them
        """Inserts the job of a schedule outside of its ticks and returns it."""
        ...


Emit: TypeAlias = Callable[[CronTicked | CronMissed], object]


class Crontab:
    """The entries of one supervisor and how far each has come.

    Args:
        store: Where ticks are recorded.
        emit: Told of each tick that this node enqueued, and of those that were left out.
    """

    def __init__(self, store: CronStore, emit: Emit) -> None:
        """Begins without entries."""
        self._store = store
        self._emit = emit
        self._lock = threading.Lock()
        # Replaced, never changed, so that a tick in progress sees one version.
        self._entries: dict[str, CronEntry] = {}
        # The rest belongs to the thread that ticks; an entry's place counts only for the very entry it was made for.
        self._saved: dict[str, CronEntry] = {}
        self._places: dict[str, datetime] = {}
        self._wakes: dict[str, datetime | None] = {}

    @property
    def entries(self) -> dict[str, CronEntry]:
        """The entries by name."""
        return dict(self._entries)

    def add(self, entry: CronEntry) -> None:
        """Adds an entry; from any thread. Wake the driver afterwards.

        Raises:
            Invalid: There is an entry of that name.
        """
        with self._lock:
            if entry.name in self._entries:
                raise invalid("cron name", "must be registered once; choose another", entry.name)
            self._entries = {**self._entries, entry.name: entry}

    def remove(self, name: str) -> None:
        """Forgets an entry here; from any thread. Without effect when there is none."""
        with self._lock:
            self._entries = {key: entry for key, entry in self._entries.items() if key != name}

    def run_now(self, name: str) -> Any:  # noqa: ANN401 - a job, as the store has them
        """Enqueues an entry's job outside of its ticks, also while it is paused; from any thread.

        Raises:
            NotFound: There is no entry of that name here.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise NotFound(f"schedule not found: {shown(name)}; register it with register_cron in this process")
        return self._store.enqueue(name, entry.job())

    def tick(self, now: datetime) -> datetime | None:
        """Does what is due.

        Args:
            now: The store's time, aware.

        Returns:
            When to call again at the latest, in UTC; ``None`` when no entry has a tick ahead. An `add` needs a call
            at once.
        """
        now = aware("now", now)
        entries = self._entries
        due = [entry for entry in entries.values() if self._is_due(entry, now)]
        if due:
            try:
                rows = {row.name: row for row in self._store.crons()}
                for entry in due:
                    if self._saved.get(entry.name) is not entry:
                        self._save(entry, rows.get(entry.name), now)
            except Exception:  # noqa: BLE001 - a store may be a third party's; the driver must live on
                _LOG.exception("the schedules cannot be read or saved; trying again in %s", RETRY)
                return now + RETRY
            for entry in due:
                self._wakes[entry.name] = self._run(entry, rows.get(entry.name), now)
        return min((wake for name in entries if (wake := self._wakes[name]) is not None), default=None)

    def _is_due(self, entry: CronEntry, now: datetime) -> bool:
        if self._saved.get(entry.name) is not entry:
            return True
        wake = self._wakes.get(entry.name)
        return wake is not None and wake <= now

    def _save(self, entry: CronEntry, row: CronRow | None, now: datetime) -> None:
        self._store.save_cron(entry)
        schedule = entry.schedule
        if row is not None and (row.expression, row.timezone) == (schedule.expression, schedule.timezone):
            self._places.pop(entry.name, None)
        else:
            # A new or changed schedule has missed nothing yet.
            self._places[entry.name] = now
        self._saved[entry.name] = entry

    def _run(self, entry: CronEntry, row: CronRow | None, now: datetime) -> datetime | None:
        """Runs the due ticks of one entry and says when it is due again."""
        if row is None or row.paused:
            # New, or resting: ticks of a pause are not missed, somebody wanted it so.
            self._places[entry.name] = now
            return entry.schedule.next_after(now)
        try:
            place = max(self._places.get(entry.name, row.known_since), row.last_tick or row.known_since)
            ticks, left_out = missed(entry.schedule, place, now, entry.catch_up)
            self._leave_out(entry, left_out)
            for tick in ticks:
                self._enqueue(entry, tick)
        except Exception:  # noqa: BLE001 - the other entries must run
            _LOG.exception("schedule %s failed; trying again in %s", entry.name, RETRY)
            return now + RETRY
        self._places[entry.name] = max(now, place)
        return entry.schedule.next_after(self._places[entry.name])

    def _leave_out(self, entry: CronEntry, ticks: list[datetime]) -> None:
        if not ticks:
            return
        # Recording the newest is enough: the store then knows how far the schedule has come, and one node alone tells.
        ticked = self._store.tick(entry.name, ticks[-1], None)
        if ticked.reply is TickReply.INSERTED:
            self._emit(CronMissed(entry.name, tuple(ticks)))
        self._places[entry.name] = ticks[-1]

    def _enqueue(self, entry: CronEntry, tick: datetime) -> None:
        ticked = self._store.tick(entry.name, tick, entry.job())
        self._places[entry.name] = tick
        if ticked.reply is TickReply.INSERTED:
            self._emit(CronTicked(entry.name, tick, ticked.job))
