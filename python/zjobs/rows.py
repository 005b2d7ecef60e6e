"""What goes into a store and what comes out of it: plain values, one for each row, request and reply.

Times are aware and in UTC, lengths are in seconds, nodes are named by their incarnation (32 hexadecimal digits), and
JSON stays text (``args_bytes``, ``meta_bytes``, ``result_bytes``): a store keeps it and never looks inside.
"""

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypedDict, cast

from zjobs.errors import invalid
from zjobs.job import Job, JobState, Progress
from zjobs.options import UniqueStrategy, integer, queue_name, worker_name

__all__ = [
    "AckRow",
    "Acked",
    "Cancelled",
    "CronInfo",
    "Enqueued",
    "Failure",
    "Heartbeat",
    "JobEvent",
    "JobFilter",
    "NewJob",
    "NodeInfo",
    "Pulse",
    "QueueInfo",
    "Report",
    "RescueReason",
    "Rescued",
    "Retried",
    "Staged",
    "Which",
]

_I64 = 2**63 - 1


class JobEvent(enum.StrEnum):
    """What can happen to a job; the verbs of the state table."""

    STAGE = "stage"
    """Its time has come."""
    CLAIM = "claim"
    """A node takes it, with a lease."""
    COMPLETE = "complete"
    """The handler succeeded."""
    FAIL = "fail"
    """The attempt failed."""
    DISCARD = "discard"
    """The handler gave up for good."""
    SNOOZE = "snooze"
    """The handler asks to run later; not a failure."""
    CANCEL = "cancel"
    """A person or the handler wants it gone."""
    RELEASE = "release"
    """Handed back unrun."""
    RESCUE = "rescue"
    """Taken back because its node is gone."""
    RETRY = "retry"
    """A person starts it again."""


class Acked(enum.StrEnum):
    """The reply to one ack."""

    STORED = "stored"
    """Written now."""
    ALREADY = "already"
    """This very ack had been written before."""
    CANCEL_REQUESTED = "cancel_requested"
    """Somebody wants the job cancelled: nothing changed, settle it again as cancelled."""
    LEASE_LOST = "lease_lost"
    """The lease has moved on; nothing changed."""


class RescueReason(enum.StrEnum):
    """Why a job is taken back from its node."""

    NODE_DIED = "node_died"
    """The node stopped beating: it crashed, hangs or is cut off."""
    SHUTDOWN = "shutdown"
    """The node announced its end with the job still running; the attempt is refunded."""


class Which(TypedDict, total=False):
    """The parts of a `JobFilter`, by keyword."""

    ids: Sequence[int] | None
    states: Sequence[JobState]
    queue: str | None
    worker: str | None
    tags: Sequence[str]
    unique_key: str | None
    after: int | None
    newest_first: bool
    limit: int | None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are meant. Parts that are not given do not restrict.

    Attributes:
        ids: These jobs; an empty tuple means none.
        states: In one of these states.
        queue: In this queue.
        worker: Of this worker.
        tags: With all of these tags.
        unique_key: Enqueued with this key.
        after: The cursor: only jobs that come after this id in the order.
        newest_first: By falling id instead of by rising id.
        limit: At most this many.

    Raises:
        Invalid: A value breaks its rule.
    """

    ids: Sequence[int] | None = None
    states: Sequence[JobState] = ()
    queue: str | None = None
    worker: str | None = None
    tags: Sequence[str] = ()
    unique_key: str | None = None
    after: int | None = None
    newest_first: bool = False
    limit: int | None = None

    def __post_init__(self) -> None:
        """Checks each value, and makes tuples of sequences."""
        if self.ids is not None:
            _keep(self, "ids", tuple(integer("id", one, 1, _I64) for one in _items("ids", self.ids)))
        _keep(self, "states", tuple(_state(one) for one in _items("states", self.states)))
        _keep(self, "tags", tuple(_text("tag", one) for one in _items("tags", self.tags)))
        if self.queue is not None:
            queue_name(self.queue)
        if self.worker is not None:
            worker_name(self.worker)
        if self.unique_key is not None:
            _text("unique_key", self.unique_key)
        if self.after is not None:
            integer("after", self.after, 1, _I64)
        if self.limit is not None:
            integer("limit", self.limit, 0, _I64)
        if not isinstance(cast("object", self.newest_first), bool):
            raise invalid("newest_first", "must be True or False", self.newest_first)


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to insert.

    Attributes:
        worker: The kind of work.
        args_bytes: The arguments as JSON text.
        queue: Where it waits.
        priority: 32-bit; lower runs first, ties by ``scheduled_at``, then ``id``.
        max_attempts: How often it may run.
        scheduled_at: When it is due, on the store's clock. Excludes ``schedule_in``.
        schedule_in: How many seconds after the store's now it is due. With neither it is due at once.
        timeout_seconds: The limit of one attempt; ``None`` is no limit.
        unique_key: Its idempotency key.
        unique_strategy: What happens when a live job has the key.
        tags: Labels.
        meta_bytes: A JSON object of the caller's, as text.
    """

    worker: str
    args_bytes: bytes
    queue: str = "default"
    priority: int = 0
    max_attempts: int = 20
    scheduled_at: datetime | None = None
    schedule_in: float | None = None
    timeout_seconds: float | None = 300.0
    unique_key: str | None = None
    unique_strategy: UniqueStrategy = UniqueStrategy.IGNORE_NEW
    tags: tuple[str, ...] = ()
    meta_bytes: bytes | None = None


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The reply to one new job.

    Attributes:
        job: The job inserted, or the live one that has the unique key.
        conflict: Whether ``job`` is one that had been there.
    """

    job: Job
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong in one attempt; the texts are bounded and storable.

    Attributes:
        kind: The exception's type name.
        message: Its text.
        traceback: Its traceback without locals; empty when there is none.
    """

    kind: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class AckRow:
    """The write that ends one attempt. The engine has decided it; a store guards and writes it.

    Attributes:
        id: Which job.
        lease: The lease that allows the write.
        event: What happened.
        to: The state that it leads to.
        attempt: The attempt number to store, after any refund.
        delay_seconds: For a job that waits again: how long from the store's now.
        error: The error entry to add; it is of the attempt that ran, and the store stamps its time.
        result_bytes: The result to keep, as JSON text.
    """

    id: int
    lease: int
    event: JobEvent
    to: JobState
    attempt: int
    delay_seconds: float | None = None
    error: Failure | None = None
    result_bytes: bytes | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Progress of one running job.

    Attributes:
        id: Which job.
        lease: The lease that allows the write.
        progress: How far it is.
    """

    id: int
    lease: int
    progress: Progress


@dataclass(frozen=True, slots=True)
class Staged:
    """The reply to *stage*.

    Attributes:
        moved: How many jobs became available now.
        next: When the next waiting job is due, if one waits; in the past when the limit was reached.
        now: The store's clock at the time.
    """

    moved: int
    next: datetime | None
    now: datetime


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A node says that it lives.

    Attributes:
        node: Which incarnation.
        name: Its human name; two nodes may share one.
        pid: The process id.
        ttl_seconds: How long it may be silent before its jobs are rescued.
        queues: The queues it works on, with their concurrency.
        holds: The jobs it runs, for reconciliation.
    """

    node: str
    name: str = ""
    pid: int = 0
    ttl_seconds: float = 30.0
    queues: Mapping[str, int] = field(default_factory=dict[str, int])
    holds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Pulse:
    """The reply to a heartbeat.

    Attributes:
        alive: Whether its lease is extended; if not, it had been declared dead, must drop everything and start a new
            incarnation.
        cancel: Of the jobs it holds: those that somebody wants cancelled, by id.
        lost: Of the jobs it holds: those that are not its own any more, by id.
        unknown: Jobs leased to it that it does not hold, by id: ``(id, lease)``.
    """

    alive: bool
    cancel: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    unknown: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One node as the store knows it.

    Attributes:
        node: Which incarnation.
        name: Its human name.
        pid: The process id.
        started_at: When it registered.
        beat_at: When it last beat.
        expires_at: When its lease ends.
        queues: The queues it works on, with their concurrency.
        executing: How many jobs are leased to it.
    """

    node: str
    name: str
    pid: int
    started_at: datetime
    beat_at: datetime
    expires_at: datetime
    queues: Mapping[str, int]
    executing: int


@dataclass(frozen=True, slots=True)
class Rescued:
    """One job taken back: as it is after the move, and why."""

    job: Job
    reason: RescueReason


@dataclass(frozen=True, slots=True)
class Cancelled:
    """One job that a cancel met.

    Attributes:
        id: Which job.
        requested: Whether it runs and its handler is asked to stop; if not, it was waiting and is cancelled.
    """

    id: int
    requested: bool


@dataclass(frozen=True, slots=True)
class Retried:
    """One job that a retry met.

    Attributes:
        id: Which job.
        holder: The live job that has its unique key, for whose sake it stays as it was; ``None`` when it is available
            again.
    """

    id: int
    holder: int | None = None


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """One queue as the store knows it.

    Attributes:
        name: Its name.
        paused: Whether nothing is claimed from it.
        concurrency: The cluster-wide concurrency per node, when it was scaled.
        counts: How many jobs it has in each state.
    """

    name: str
    paused: bool
    concurrency: int | None
    counts: Mapping[JobState, int]


@dataclass(frozen=True, slots=True)
class CronInfo:
    """A schedule as stored.

    Attributes:
        name: Its name.
        expression: When it ticks, as declared.
        timezone: The zone whose wall clock is meant.
        worker: What it enqueues.
        paused: Whether its ticks are skipped.
        known_since: When it was first declared.
        last_tick: Its latest recorded tick.
    """

    name: str
    expression: str
    timezone: str
    worker: str
    paused: bool
    known_since: datetime
    last_tick: datetime | None


def _items(name: str, values: object) -> Iterable[object]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise invalid(name, "must be a list or tuple", values)
    return cast("Iterable[object]", values)


def _text(name: str, value: object) -> str:
    # Whatever no job can have finds none.
    if isinstance(value, str):
        return value
    raise invalid(name, "must be text", value)


def _state(value: object) -> JobState:
    try:
        return JobState(cast("JobState", value))
    except ValueError:
        raise invalid("states", "must hold members of JobState", value) from None


def _keep(owner: JobFilter, name: str, value: object) -> None:
    """Writes one field of a frozen value while it is being made."""
    object.__setattr__(owner, name, value)
