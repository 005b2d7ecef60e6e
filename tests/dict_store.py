"""A store as a third party writes one: plain dictionaries behind one lock, on nothing but the public `Store`."""

import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import attrgetter

from zjobs.errors import LeaseLost, StoreFull
from zjobs.job import AttemptError, Job, JobState
from zjobs.options import Retention, UniqueStrategy
from zjobs.store import (
    ERRORS_KEPT,
    Acked,
    AckRow,
    Cancelled,
    CronEntry,
    CronInfo,
    Enqueued,
    Heartbeat,
    JobEvent,
    JobFilter,
    Listener,
    NewJob,
    NodeInfo,
    Pulse,
    QueueInfo,
    Report,
    Rescued,
    RescueReason,
    Retried,
    Staged,
    Store,
    Ticked,
    TickReply,
    rescued,
)

_WAITING = (JobState.SCHEDULED, JobState.RETRYABLE)


@dataclass
class Node:
    beat: Heartbeat
    started_at: datetime
    beat_at: datetime
    expires_at: datetime
    leaving: bool = False
    dead: RescueReason | None = None


@dataclass
class QueueSettings:
    paused: bool = False
    concurrency: int | None = None


@dataclass
class CronRow:
    entry: CronEntry
    known_since: datetime
    paused: bool = False
    ticks: set[datetime] = field(default_factory=set)


class DictStore(Store):
    def __init__(self, clock: Callable[[], datetime] | None = None, max_jobs: int | None = None) -> None:
        self._clock = clock or (lambda: datetime.now(UTC))
        self._max_jobs = max_jobs
        self._lock = threading.RLock()
        self._last_id = 0
        self._jobs: dict[int, Job] = {}
        self._keys: dict[str, int] = {}
        self._acked: set[int] = set()
        self._nodes: dict[str, Node] = {}
        self._gone: set[str] = set()
        self._settings: dict[str, QueueSettings] = {}
        self._crons: dict[str, CronRow] = {}
        self._listeners: list[Listener] = []
        self._news: list[Callable[[Listener], None]] = []

    @property
    def blocks(self) -> bool:
        return False

    @property
    def max_jobs(self) -> int | None:
        return self._max_jobs

    def subscribe(self, listener: Listener) -> None:
        self._listeners.append(listener)

    @contextmanager
    def _transaction(self):
        with self._lock:
            self._news.clear()
            yield self._clock()
            news, listeners = tuple(self._news), tuple(self._listeners)
        for listener in listeners:
            for tell in news:
                tell(listener)

    def now(self) -> datetime:
        return self._clock()

    def _put(self, job: Job) -> Job:
        """Writes a row, keeps the key's index in step, and notes what there is to tell."""
        before = self._jobs.get(job.id)
        self._jobs[job.id] = job
        if job.state.is_final and job.unique_key and self._keys.get(job.unique_key) == job.id:
            del self._keys[job.unique_key]
        if before is None or before.state is not job.state:
            if job.state is JobState.AVAILABLE:
                self._news.append(lambda listener: listener.ready(job.queue))
            elif job.state in _WAITING:
                self._news.append(lambda listener: listener.due(job.scheduled_at))
            elif job.state.is_final:
                self._news.append(lambda listener: listener.settled())
        return job

    # --- the walk of a job ---

    def enqueue(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        with self._transaction() as now:
            return self._insert(jobs, now)

    def _insert(self, jobs: Sequence[NewJob], now: datetime) -> Sequence[Enqueued]:
        before = self._jobs.copy(), self._keys.copy(), self._last_id
        replies = [self._enqueue_one(job, now) for job in jobs]
        unfinished = sum(not job.state.is_final for job in self._jobs.values())
        inserted = any(not reply.conflict for reply in replies)
        if inserted and self._max_jobs is not None and unfinished > self._max_jobs:
            self._jobs, self._keys, self._last_id = before
            self._news.clear()
            raise StoreFull(f"the store is full: {self._max_jobs} unfinished jobs are its limit")
        return replies

    def _enqueue_one(self, new: NewJob, now: datetime) -> Enqueued:
        holder = self._keys.get(new.unique_key) if new.unique_key else None
        if holder is not None:
            if new.unique_strategy is UniqueStrategy.IGNORE_NEW:
                return Enqueued(self._jobs[holder], conflict=True)
            self._cancel_one(self._jobs[holder], now)
            self._keys.pop(new.unique_key, None)
        due = new.scheduled_at or now + timedelta(seconds=new.schedule_in or 0)
        self._last_id += 1
        job = Job(
            id=self._last_id,
            state=JobState.SCHEDULED if due > now else JobState.AVAILABLE,
            queue=new.queue,
            worker=new.worker,
            args_bytes=new.args_bytes,
            priority=new.priority,
            max_attempts=new.max_attempts,
            scheduled_at=due,
            inserted_at=now,
            timeout_seconds=new.timeout_seconds,
            unique_key=new.unique_key,
            tags=new.tags,
            meta_bytes=new.meta_bytes,
        )
        if new.unique_key:
            self._keys[new.unique_key] = job.id
        return Enqueued(self._put(job))

    def claim(self, node: str, queue: str, limit: int) -> Sequence[Job]:
        with self._transaction() as now:
            known = self._nodes.get(node)
            if known is None or known.leaving or known.dead or known.expires_at < now:
                raise LeaseLost(f"node {node} is not alive in this store")
            if self._settings.get(queue, QueueSettings()).paused:
                return []
            ready = [job for job in self._jobs.values() if job.state is JobState.AVAILABLE and job.queue == queue]
            ready.sort(key=attrgetter("priority", "scheduled_at", "id"))
            self._acked -= {job.id for job in ready[:limit]}
            return [
                self._put(
                    job.replace(
                        state=JobState.EXECUTING,
                        attempt=job.attempt + 1,
                        lease=job.lease + 1,
                        node=node,
                        attempted_at=now,
                    )
                )
                for job in ready[:limit]
            ]

    def ack(self, node: str, acks: Sequence[AckRow]) -> Sequence[Acked]:
        with self._transaction() as now:
            return [self._ack_one(node, ack, now) for ack in acks]

    def _ack_one(self, node: str, ack: AckRow, now: datetime) -> Acked:
        job = self._jobs.get(ack.id)
        if job is None or job.lease != ack.lease:
            return Acked.LEASE_LOST
        if job.state is ack.to and job.id in self._acked:
            return Acked.ALREADY
        if not self._may_write(node, job):
            return Acked.LEASE_LOST
        if job.cancel_requested and ack.event is not JobEvent.CANCEL:
            return Acked.CANCEL_REQUESTED
        errors = job.errors
        if ack.error is not None:
            error = AttemptError(job.attempt, now, ack.error.kind, ack.error.message, ack.error.traceback)
            errors = (*errors, error)[-ERRORS_KEPT:]
        waits = ack.delay_seconds is not None
        self._put(
            job.replace(
                state=ack.to,
                attempt=ack.attempt,
                node=None,
                errors=errors,
                scheduled_at=now + timedelta(seconds=ack.delay_seconds) if waits else job.scheduled_at,
                result_bytes=job.result_bytes if ack.result_bytes is None else ack.result_bytes,
                finished_at=now if ack.to.is_final else None,
            )
        )
        self._acked.add(job.id)
        self._forget_if_empty(node)
        return Acked.STORED

    def _may_write(self, node: str, job: Job) -> bool:
        known = self._nodes.get(node)
        return known is not None and not known.dead and job.state is JobState.EXECUTING and job.node == node

    def report(self, node: str, reports: Sequence[Report]) -> None:
        with self._transaction():
            for report in reports:
                job = self._jobs.get(report.id)
                if job is not None and job.lease == report.lease and self._may_write(node, job):
                    self._put(job.replace(progress=report.progress))

    def stage(self, limit: int = 1000) -> Staged:
        with self._transaction() as now:
            waiting = [job for job in self._jobs.values() if job.state in _WAITING]
            waiting.sort(key=attrgetter("scheduled_at", "id"))
            due = [job for job in waiting if job.scheduled_at <= now][:limit]
            for job in due:
                self._put(job.replace(state=JobState.AVAILABLE))
            rest = waiting[len(due) :]
            return Staged(len(due), rest[0].scheduled_at if rest else None, now)

    # --- nodes ---

    def heartbeat(self, beat: Heartbeat) -> Pulse:
        with self._transaction() as now:
            known = self._nodes.get(beat.node)
            if beat.node in self._gone or (known is not None and known.dead):
                return Pulse(alive=False)
            expires_at = now + timedelta(seconds=beat.ttl_seconds)
            if known is None:
                self._nodes[beat.node] = Node(beat, now, now, expires_at)
            else:
                known.beat, known.beat_at = beat, now
                known.expires_at = known.expires_at if known.leaving else max(known.expires_at, expires_at)
            leased = {job.id: job for job in self._held(beat.node)}
            return Pulse(
                alive=True,
                cancel=tuple(id_ for id_ in sorted(beat.holds) if id_ in leased and leased[id_].cancel_requested),
                lost=tuple(id_ for id_ in sorted(beat.holds) if id_ not in leased),
                unknown=tuple((job.id, job.lease) for job in leased.values() if job.id not in beat.holds),
            )

    def depart(self, node: str, grace_seconds: float = 0.0) -> None:
        with self._transaction() as now:
            known = self._nodes.get(node)
            if known is not None and not known.dead:
                known.leaving = True
                known.expires_at = now + timedelta(seconds=grace_seconds)
                self._forget_if_empty(node)

    def rescue(self, limit: int = 500) -> Sequence[Rescued]:
        with self._transaction() as now:
            for node in self._nodes.values():
                if not node.dead and node.expires_at < now:
                    node.dead = RescueReason.SHUTDOWN if node.leaving else RescueReason.NODE_DIED
            orphans = [(job, node.dead) for name, node in self._nodes.items() if node.dead for job in self._held(name)]
            taken = [Rescued(self._put(rescued(job, reason, now)), reason) for job, reason in orphans[:limit]]
            for name in tuple(self._nodes):
                self._forget_if_empty(name)
            return taken

    def nodes(self) -> Sequence[NodeInfo]:
        with self._transaction():
            return [
                NodeInfo(
                    name,
                    node.beat.name,
                    node.beat.pid,
                    node.started_at,
                    node.beat_at,
                    node.expires_at,
                    node.beat.queues,
                    len(self._held(name)),
                )
                for name, node in self._nodes.items()
            ]

    def _held(self, node: str) -> list[Job]:
        return [job for job in self._jobs.values() if job.state is JobState.EXECUTING and job.node == node]

    def _forget_if_empty(self, name: str) -> None:
        node = self._nodes[name]
        if (node.leaving or node.dead) and not self._held(name):
            del self._nodes[name]
            self._gone.add(name)

    # --- by hand ---

    def cancel(self, filter: JobFilter) -> Sequence[Cancelled]:  # noqa: A002 - the word of the interface
        with self._transaction() as now:
            live = self._select(filter, lambda job: not job.state.is_final)
            return [self._cancel_one(job, now) for job in live]

    def _cancel_one(self, job: Job, now: datetime) -> Cancelled:
        if job.state is JobState.EXECUTING:
            self._put(job.replace(cancel_requested=True))
            self._news.append(lambda listener: listener.cancel([job.id]))
            return Cancelled(job.id, requested=True)
        self._put(job.replace(state=JobState.CANCELLED, finished_at=now))
        return Cancelled(job.id, requested=False)

    def retry(self, filter: JobFilter) -> Sequence[Retried]:  # noqa: A002 - the word of the interface
        with self._transaction() as now:
            resting = self._select(filter, lambda job: job.state not in {JobState.AVAILABLE, JobState.EXECUTING})
            return [self._retry_one(job, now) for job in resting]

    def _retry_one(self, job: Job, now: datetime) -> Retried:
        if job.unique_key:
            holder = self._keys.setdefault(job.unique_key, job.id)
            if holder != job.id:
                return Retried(job.id, holder)
        self._acked.discard(job.id)
        self._put(
            job.replace(
                state=JobState.AVAILABLE,
                scheduled_at=now,
                finished_at=None,
                max_attempts=max(job.max_attempts, job.attempt + 1),
                cancel_requested=False,
                progress=None,
                result_bytes=None,
                crashes=0,
            )
        )
        return Retried(job.id)

    def delete(self, filter: JobFilter) -> int:  # noqa: A002 - the word of the interface
        with self._transaction():
            return self._remove(self._select(filter, lambda job: job.state is not JobState.EXECUTING))

    def prune(self, retention: Retention, limit: int = 1000) -> int:
        ages = {
            JobState.COMPLETED: retention.completed,
            JobState.CANCELLED: retention.cancelled,
            JobState.DISCARDED: retention.discarded,
        }
        with self._transaction() as now:
            old = [
                job
                for job in self._jobs.values()
                if (age := ages.get(job.state)) is not None and job.finished_at <= now - age
            ]
            return self._remove(old[:limit])

    def _remove(self, jobs: list[Job]) -> int:
        for job in jobs:
            del self._jobs[job.id]
            if job.unique_key and self._keys.get(job.unique_key) == job.id:
                del self._keys[job.unique_key]
        if jobs:
            self._news.append(lambda listener: listener.settled())
        return len(jobs)

    def pause(self, queue: str) -> None:
        self._control(queue, paused=True)

    def resume(self, queue: str) -> None:
        self._control(queue, paused=False)

    def scale(self, queue: str, concurrency: int | None) -> None:
        self._control(queue, concurrency=concurrency)

    def _control(self, queue: str, **changes: bool | int | None) -> None:
        with self._transaction():
            settings = self._settings.setdefault(queue, QueueSettings())
            for name, value in changes.items():
                setattr(settings, name, value)
            self._news.append(lambda listener: listener.ready(queue))
            self._news.append(lambda listener: listener.control(queue))

    # --- reads ---

    def queues(self) -> Sequence[QueueInfo]:
        with self._transaction():
            set_up = {name for name, settings in self._settings.items() if settings != QueueSettings()}
            rows = []
            for name in sorted(set_up | {job.queue for job in self._jobs.values()}):
                settings = self._settings.get(name, QueueSettings())
                counts = dict.fromkeys(JobState, 0)
                for job in self._jobs.values():
                    counts[job.state] += job.queue == name
                rows.append(QueueInfo(name, settings.paused, settings.concurrency, counts))
            return rows

    def list(self, filter: JobFilter) -> Sequence[Job]:  # noqa: A002 - the word of the interface
        with self._transaction():
            return self._select(filter, lambda _: True)

    def _select(self, given: JobFilter, also: Callable[[Job], bool]):
        def matches(job: Job) -> bool:
            return (
                (given.ids is None or job.id in given.ids)
                and (not given.states or job.state in given.states)
                and given.queue in {None, job.queue}
                and given.worker in {None, job.worker}
                and set(given.tags) <= set(job.tags)
                and given.unique_key in {None, job.unique_key}
                and (given.after is None or (job.id < given.after if given.newest_first else job.id > given.after))
            )

        found = [job for job in self._jobs.values() if matches(job) and also(job)]
        found.sort(key=attrgetter("id"), reverse=given.newest_first)
        return found[: given.limit]

    # --- schedules ---

    def save_cron(self, entry: CronEntry, /) -> None:
        with self._transaction() as now:
            self._crons.setdefault(entry.name, CronRow(entry, now)).entry = entry

    def crons(self) -> Sequence[CronInfo]:
        with self._transaction():
            return [
                CronInfo(
                    name,
                    row.entry.schedule.expression,
                    row.entry.schedule.timezone,
                    row.entry.worker,
                    row.paused,
                    row.known_since,
                    max(row.ticks, default=None),
                )
                for name, row in sorted(self._crons.items())
            ]

    def set_cron_paused(self, name: str, *, paused: bool) -> bool:
        with self._transaction():
            if row := self._crons.get(name):
                row.paused = paused
            return row is not None

    def delete_cron(self, name: str) -> bool:
        with self._transaction():
            return self._crons.pop(name, None) is not None

    def tick(self, name: str, at: datetime, job: NewJob | None, /) -> Ticked:
        with self._transaction() as now:
            row = self._crons.get(name)
            if row is None or row.paused:
                return Ticked(TickReply.RESTING)
            if at in row.ticks:
                return Ticked(TickReply.ALREADY)
            reply = self._insert([job], now)[0] if job else None
            row.ticks.add(at)
            return Ticked(TickReply.INSERTED, reply and reply.job.replace(conflict=reply.conflict))
