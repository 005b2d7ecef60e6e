"""The values that say how jobs, queues and workers behave: checked when they are made, immutable afterwards."""

import enum
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, TypedDict, Unpack, cast

from zjobs._engine import LIMITS
from zjobs.errors import invalid, shown
from zjobs.retry import CustomFunction, RetryStrategy, as_strategy

__all__ = [
    "Ack",
    "CallOptions",
    "Cancel",
    "Discard",
    "EnqueueOptions",
    "JobOpts",
    "Outcome",
    "Queue",
    "Retention",
    "Seconds",
    "Snooze",
    "StuckPolicy",
    "UniqueStrategy",
    "WorkerDef",
    "aware",
    "check_ending",
    "integer",
    "label",
    "newer",
    "positive_seconds",
    "queue_name",
    "seconds",
    "worker_name",
]

Seconds: TypeAlias = float | timedelta
"""A length of time: a number of seconds or a ``timedelta``."""

_I32 = 2**31
_QUEUE = re.compile(rf"[a-z0-9_.-]{{1,{LIMITS['QUEUE_NAME_BYTES']}}}")
_WORKER = re.compile(rf"[A-Za-z0-9_.:-]{{1,{LIMITS['WORKER_NAME_BYTES']}}}")


class UniqueStrategy(enum.Enum):
    """What happens when a live job has the unique key of a new one."""

    IGNORE_NEW = "ignore_new"
    """Nothing is inserted; the caller gets the existing job, with ``job.conflict`` true."""
    CANCEL_EXISTING = "cancel_existing"
    """The existing job is cancelled (a running one is asked to stop) and the new one is inserted."""


class StuckPolicy(enum.Enum):
    """What a queue does about a handler that ignores its time limit and keeps its slot."""

    REPORT = "report"
    """Nothing more: the attempt is recorded as timed out, which telemetry tells; the slot stays taken until the handler
    ends."""
    REPLACE = "replace"
    """Start another thread in its place; the old one is left to itself."""
    EXIT = "exit"
    """Log which job it is and end the process by SIGTERM, so that whatever supervises it starts a clean one."""


class Ack(enum.Enum):
    """When the end of an attempt is written."""

    BATCHED = "batched"
    """With others, a moment later: the fastest. A crash in between runs the job again."""
    SYNC = "sync"
    """Before the slot takes another job."""


class Outcome(Exception):  # noqa: N818 - not an error: a verdict of the handler
    """What a handler may return or raise in place of a result."""


class Snooze(Outcome):
    """Run the job again later. Not a failure: the attempt is given back.

    Args:
        delay: How much later, in seconds or as a ``timedelta``; at most ten years.

    Raises:
        Invalid: The delay is negative, not finite or too long.
    """

    seconds: float

    def __init__(self, delay: Seconds) -> None:
        """Keeps the delay in seconds."""
        self.seconds = seconds("snooze", delay)
        super().__init__(self.seconds)


class Cancel(Outcome):
    """The job is not wanted any more: it becomes cancelled and is not tried again.

    Args:
        reason: Kept with the job.
    """

    reason: str

    def __init__(self, reason: str = "") -> None:
        """Keeps the reason."""
        self.reason = str(reason)
        super().__init__(self.reason)


class Discard(Outcome):
    """The job can never succeed: it becomes discarded, whatever attempts remain.

    Args:
        reason: Kept with the job.
    """

    reason: str

    def __init__(self, reason: str = "") -> None:
        """Keeps the reason."""
        self.reason = str(reason)
        super().__init__(self.reason)


class EnqueueOptions(TypedDict, total=False):
    """The options of one call; each absent one is the worker's, then the default of `JobOpts`."""

    queue: str
    priority: int
    max_attempts: int
    scheduled_at: datetime | None
    schedule_in: Seconds | None
    unique_key: str | None
    unique_strategy: UniqueStrategy
    unique_by: Sequence[str]
    unique_period: Seconds | None
    timeout_seconds: Seconds | None
    meta: Mapping[str, Any]
    tags: Sequence[str]


class CallOptions(EnqueueOptions, total=False):
    """The options of one call, and whose transaction the job belongs to."""

    connection: object
    """The user's own connection; see `zjobs.connections`."""


def _nothing() -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOpts:
    """How a job is queued and run.

    Attributes:
        queue: Where it waits.
        priority: 32-bit; lower runs first, ties by ``scheduled_at``, then ``id``.
        max_attempts: How often it may run, from 1.
        scheduled_at: When it is due: an aware ``datetime``, kept in UTC. Excludes ``schedule_in``.
        schedule_in: How long from now it is due; kept in seconds.
        unique_key: An idempotency key of your own. Excludes ``unique_by``.
        unique_strategy: What happens when a live job has the key.
        unique_by: Derives the key from these fields: ``worker``, ``queue``, ``args``, or names of arguments, which a
            worker known here must take. What a call leaves out counts as left out, not as its default: by ``args``,
            ``f.enqueue(1)`` and ``f.enqueue(1, full=False)`` are two jobs, and by name an argument that is left out
            is the same as ``None``.
        unique_period: Adds a time bucket of this length to a derived key; kept in seconds.
        timeout_seconds: The limit of one attempt, in seconds; ``None`` is no limit.
        meta: A JSON object of yours.
        tags: Labels to find it by.

    Raises:
        Invalid: A value breaks its rule, or two exclude each other.
    """

    queue: str = "default"
    priority: int = 0
    max_attempts: int = 20
    scheduled_at: datetime | None = None
    schedule_in: Seconds | None = None
    unique_key: str | None = None
    unique_strategy: UniqueStrategy = UniqueStrategy.IGNORE_NEW
    unique_by: Sequence[str] = ()
    unique_period: Seconds | None = None
    timeout_seconds: Seconds | None = 300.0
    meta: Mapping[str, Any] = field(default_factory=_nothing)
    tags: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Checks each value, and brings times to UTC and seconds."""
        queue_name(self.queue)
        integer("priority", self.priority, -_I32, _I32 - 1)
        integer("max_attempts", self.max_attempts, 1, LIMITS["MAX_ATTEMPTS"])
        self._check_times()
        self._check_unique()
        _keep(self, "tags", _labels("tags", self.tags, LIMITS["TAGS"], LIMITS["TAG_BYTES"]))
        if not isinstance(cast("object", self.meta), Mapping):
            raise invalid("meta", "must be a mapping with string keys", self.meta)

    def _check_times(self) -> None:
        if self.scheduled_at is not None:
            if self.schedule_in is not None:
                raise invalid("schedule_in", "excludes scheduled_at; give one of them", self.schedule_in)
            _keep(self, "scheduled_at", aware("scheduled_at", self.scheduled_at))
        if self.schedule_in is not None:
            _keep(self, "schedule_in", seconds("schedule_in", self.schedule_in))
        if self.timeout_seconds is not None:
            _keep(self, "timeout_seconds", positive_seconds("timeout_seconds", self.timeout_seconds))

    def _check_unique(self) -> None:
        if not isinstance(cast("object", self.unique_strategy), UniqueStrategy):
            raise invalid("unique_strategy", "must be a member of UniqueStrategy", self.unique_strategy)
        if self.unique_key is not None:
            label("unique_key", self.unique_key, LIMITS["UNIQUE_KEY_BYTES"])
            if self.unique_by:
                raise invalid("unique_by", "excludes unique_key; give one of them", self.unique_by)
        _keep(self, "unique_by", _labels("unique_by", self.unique_by))
        if self.unique_period is not None:
            if not self.unique_by:
                raise invalid("unique_period", "needs unique_by, such as ('worker', 'args')", self.unique_period)
            _keep(self, "unique_period", positive_seconds("unique_period", self.unique_period))

    def merged(self, **options: Unpack[EnqueueOptions]) -> "JobOpts":
        """These options with some of them replaced.

        A given ``schedule_in`` lifts ``scheduled_at`` and the reverse; so do ``unique_key`` and ``unique_by``.

        Raises:
            Invalid: A value breaks its rule, or there is no such option.
        """
        if not options:
            return self
        unknown = options.keys() - self.__dataclass_fields__.keys()
        if unknown:
            names = ", ".join(self.__dataclass_fields__)
            raise invalid("option", f"must be one of {names}", min(unknown))
        changes = cast("dict[str, Any]", options)
        for lifted in _lifted(changes):
            changes = changes | lifted
        return replace(self, **changes)


def newer(before: CallOptions, given: CallOptions) -> CallOptions:
    """The options ``before`` with those of ``given`` in their place, which lift what they exclude."""
    kept = cast("dict[str, Any]", before)
    gone = {name for lifted in _lifted(cast("dict[str, Any]", given)) for name in lifted}
    return cast("CallOptions", {name: value for name, value in kept.items() if name not in gone} | {**given})


def _lifted(changes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What goes because of these options: of two that exclude each other the newer one stays."""
    for one, other, lifted in _RIVALS:
        if changes.get(one) not in (None, (), []) and other not in changes:
            yield lifted


_RIVALS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("scheduled_at", "schedule_in", {"schedule_in": None}),
    ("schedule_in", "scheduled_at", {"scheduled_at": None}),
    ("unique_key", "unique_by", {"unique_by": (), "unique_period": None}),
    ("unique_by", "unique_key", {"unique_key": None}),
)


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as one supervisor works on it.

    Attributes:
        name: ``[a-z0-9_.-]{1,64}``.
        concurrency: How many of its jobs run at once in this process.
        prefetch: How many claimed jobs may wait for a slot; ``None`` leaves it to the engine.
        stuck: What happens to a slot whose handler ignores its time limit.

    Raises:
        Invalid: A value breaks its rule.
    """

    name: str
    concurrency: int = 10
    prefetch: int | None = field(default=None, kw_only=True)
    stuck: StuckPolicy = field(default=StuckPolicy.REPORT, kw_only=True)

    def __post_init__(self) -> None:
        """Checks each value."""
        queue_name(self.name)
        integer("concurrency", self.concurrency, 1, LIMITS["CONCURRENCY"])
        if self.prefetch is not None:
            integer("prefetch", self.prefetch, 0, _I32 - 1)
        if not isinstance(cast("object", self.stuck), StuckPolicy):
            raise invalid("stuck", "must be a member of StuckPolicy", self.stuck)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long final jobs are kept; ``None`` keeps them for ever. Numbers are seconds and become ``timedelta``.

    Raises:
        Invalid: A length is negative, not finite or above ten years.
    """

    completed: Seconds | None = timedelta(days=1)
    cancelled: Seconds | None = timedelta(days=1)
    discarded: Seconds | None = timedelta(days=7)

    def __post_init__(self) -> None:
        """Checks each length."""
        for name, value in (
            ("completed", self.completed),
            ("cancelled", self.cancelled),
            ("discarded", self.discarded),
        ):
            if value is not None:
                _keep(self, name, timedelta(seconds=seconds(name, value)))


@dataclass(frozen=True, slots=True)
class WorkerDef:
    """A worker in its low-level form: ``handler(args, ctx)`` gets the decoded payload whole.

    Attributes:
        name: ``[A-Za-z0-9_.:-]{1,128}``.
        handler: A plain function (runs on a pool thread) or a coroutine function (runs on the event loop).
        opts: The options of its jobs, where a call does not say otherwise.
        retry_strategy: A strategy or a function of ``(attempt, error)``; ``None`` is ``Exponential()``.
        keep_result: Whether what the handler returns is stored with the job, as JSON; see `Supervisor.worker`.
        ack: When the end of an attempt is written.

    Raises:
        Invalid: A value breaks its rule.
    """

    name: str
    handler: Callable[..., Any]
    opts: JobOpts = field(default_factory=JobOpts)
    retry_strategy: RetryStrategy | CustomFunction | None = None
    keep_result: bool = False
    ack: Ack = Ack.BATCHED

    def __post_init__(self) -> None:
        """Checks each value and makes a strategy of ``retry_strategy``."""
        worker_name(self.name)
        if not callable(cast("object", self.handler)):
            raise invalid("handler", "must be a function of (args, ctx)", self.handler)
        if not isinstance(cast("object", self.opts), JobOpts):
            raise invalid("opts", "must be JobOpts(...)", self.opts)
        check_ending(self.ack, self.keep_result)
        _keep(self, "retry_strategy", as_strategy(self.retry_strategy))


def check_ending(ack: object, keep_result: object) -> None:
    """Checks what a worker says about the end of its attempts, or raises `Invalid`."""
    if not isinstance(ack, Ack):
        raise invalid("ack", "must be a member of Ack", ack)
    if not isinstance(keep_result, bool):
        raise invalid("keep_result", "must be True or False", keep_result)


def queue_name(name: object) -> str:
    """The queue's name, or `Invalid` when it breaks the rule."""
    if isinstance(name, str) and _QUEUE.fullmatch(name):
        return name
    raise invalid("queue", f"must match {_QUEUE.pattern}", name)


def worker_name(name: object, field: str = "worker") -> str:
    """The name of a worker, or of what follows the same rule; `Invalid` when it breaks it."""
    if isinstance(name, str) and _WORKER.fullmatch(name):
        return name
    raise invalid(field, f"must match {_WORKER.pattern}", name)


def integer(name: str, value: object, least: int, most: int) -> int:
    """A whole number within ``least..most``, or `Invalid`; ``True`` and ``1.0`` are none."""
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    raise invalid(name, f"must be a whole number from {least} to {most}", value)


def seconds(name: str, value: object) -> float:
    """A length of time in seconds: finite, not negative, at most ten years; or `Invalid`."""
    length = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(length, (int, float)) or isinstance(length, bool):
        raise invalid(name, "must be a number of seconds or a timedelta", value)
    if not 0 <= length <= LIMITS["DELAY"]:
        raise invalid(name, f"must be from 0 to {LIMITS['DELAY']} seconds (ten years)", value)
    return float(length)


def positive_seconds(name: str, value: object) -> float:
    """As `seconds`, and more than zero."""
    length = seconds(name, value)
    # The engine counts nanoseconds.
    if not round(length * 1e9):
        raise invalid(name, "must be more than 0 seconds", value)
    return length


def aware(name: str, value: object) -> datetime:
    """A moment in UTC, or `Invalid` when it is no ``datetime`` or does not know its zone."""
    if not isinstance(value, datetime):
        raise invalid(name, "must be an aware datetime, such as datetime.now(UTC) + timedelta(hours=1)", value)
    if value.utcoffset() is None:
        rule = "must know its time zone: use datetime.now(UTC), or .astimezone() on local time"
        raise invalid(name, rule, value.isoformat())
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise invalid(name, "must be between the years 1 and 9999 in UTC", value.isoformat()) from None


def label(name: str, value: object, most: int) -> str:
    """One line of text of 1 to ``most`` bytes, or `Invalid`."""
    if not isinstance(value, str):
        raise invalid(name, "must be text", value)
    if 0 < len(value.encode(errors="replace")) <= most and _storable(value):
        return value
    raise invalid(name, f"must be 1 to {most} bytes without control characters", value)


def _storable(text: str) -> bool:
    return not any(c < " " or "\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\udfff" for c in text)


def _labels(name: str, values: object, most: int | None = None, most_bytes: int = 255) -> tuple[str, ...]:
    if not isinstance(values, (tuple, list, set, frozenset)):
        raise invalid(name, f"must be a tuple of texts, such as ({shown('x')},)", values)
    texts = tuple(label(name, value, most_bytes) for value in cast("tuple[object, ...]", values))
    if most is not None and len(texts) > most:
        raise invalid(name, f"must be at most {most}", len(texts))
    return texts


def _keep(owner: object, name: str, value: object) -> None:
    """Writes one field of a frozen value while it is being made."""
    object.__setattr__(owner, name, value)
