"""What happens, told to whoever asked.

Handlers are called synchronously on the thread where the event happens. What happens on a thread of the engine is told
by one more thread, in order, so that a handler that blocks holds up no other job. A handler that raises is logged and
counted and harms no job; Ctrl-C that comes while one runs on the main thread still reaches the program. With no handler
for a kind of event, the engine does not even build it.

`EVENTS` is the one table of names, shared by logging, metrics and traces, in the order of the engine's own.
"""

import contextlib
import inspect
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from zjobs.errors import escaped, invalid

if TYPE_CHECKING:
    from zjobs.job import Job

__all__ = [
    "EVENTS",
    "CronMissed",
    "CronTicked",
    "Event",
    "JobCancelled",
    "JobCompleted",
    "JobDiscarded",
    "JobEnqueued",
    "JobFailed",
    "JobReleased",
    "JobRescued",
    "JobResult",
    "JobSnoozed",
    "JobStarted",
    "LeaseLost",
    "QueuePaused",
    "QueueResumed",
    "StoreRecovered",
    "StoreUnavailable",
    "Subscription",
    "Telemetry",
    "attach_logging",
]

_LOG = logging.getLogger("zjobs")
_DEEPEST = 8
_ERROR_TEXT = 500


@dataclass(frozen=True, slots=True)
class JobResult:
    """How an attempt ended, with its times.

    Attributes:
        job: The job with its state afterwards.
        duration_ms: From the handler's start to its end; 0 where no handler began, and where it ended with its process.
        queue_ms: From due to claimed.
        error_msg: The error's text, when there is one.
    """

    job: "Job"
    duration_ms: float
    queue_ms: float
    error_msg: str | None


@dataclass(frozen=True, slots=True)
class JobEnqueued:
    """A job was inserted here."""

    job: "Job"


@dataclass(frozen=True, slots=True)
class JobStarted:
    """A handler is about to run."""

    job: "Job"


@dataclass(frozen=True, slots=True)
class JobCompleted:
    """The completion is stored."""

    result: JobResult


@dataclass(frozen=True, slots=True)
class JobFailed:
    """The attempt failed and the job will be retried."""

    result: JobResult


@dataclass(frozen=True, slots=True)
class JobDiscarded:
    """The job has used up its attempts or gave up, or was taken back from a dead node and may not run again."""

    result: JobResult


@dataclass(frozen=True, slots=True)
class JobCancelled:
    """The job was cancelled while it ran. One that waits is cancelled by the call alone."""

    result: JobResult


@dataclass(frozen=True, slots=True)
class JobSnoozed:
    """The handler asked to run later."""

    result: JobResult


@dataclass(frozen=True, slots=True)
class JobRescued:
    """This node took a job back from one that is gone; ``reason`` says how that one ended."""

    job: "Job"
    reason: str


@dataclass(frozen=True, slots=True)
class JobReleased:
    """A claimed job went back unrun."""

    job: "Job"


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """A write about a job was refused because its lease had moved on."""

    job: "Job"


@dataclass(frozen=True, slots=True)
class QueuePaused:
    """A queue was paused here."""

    queue: str


@dataclass(frozen=True, slots=True)
class QueueResumed:
    """A queue was resumed here."""

    queue: str


@dataclass(frozen=True, slots=True)
class CronTicked:
    """This node enqueued the job of a schedule's tick; ``job.conflict`` when it met a live one and gave way."""

    entry: str
    tick: datetime
    job: "Job"


@dataclass(frozen=True, slots=True)
class CronMissed:
    """These ticks of a schedule were left out, as its catch-up policy says; the first thousand of them."""

    entry: str
    ticks: tuple[datetime, ...]


@dataclass(frozen=True, slots=True)
class StoreUnavailable:
    """The store stopped answering, or refuses the end of a job, which ``error`` then names; it is asked again."""

    error: Exception


@dataclass(frozen=True, slots=True)
class StoreRecovered:
    """The store answers again; ``downtime`` is in seconds."""

    downtime: float


Event: TypeAlias = (
    JobEnqueued
    | JobStarted
    | JobCompleted
    | JobFailed
    | JobDiscarded
    | JobCancelled
    | JobSnoozed
    | JobRescued
    | JobReleased
    | LeaseLost
    | QueuePaused
    | QueueResumed
    | CronTicked
    | CronMissed
    | StoreUnavailable
    | StoreRecovered
)
Handler: TypeAlias = Callable[[Any], object]

EVENTS: Final[dict[str, type[Event]]] = {
    "job_enqueued": JobEnqueued,
    "job_started": JobStarted,
    "job_completed": JobCompleted,
    "job_failed": JobFailed,
    "job_discarded": JobDiscarded,
    "job_cancelled": JobCancelled,
    "job_snoozed": JobSnoozed,
    "job_rescued": JobRescued,
    "job_released": JobReleased,
    "lease_lost": LeaseLost,
    "queue_paused": QueuePaused,
    "queue_resumed": QueueResumed,
    "cron_ticked": CronTicked,
    "cron_missed": CronMissed,
    "store_unavailable": StoreUnavailable,
    "store_recovered": StoreRecovered,
}
"""Each event's class by its name; a kind's index is its place here."""

_INDEX: Final = {kind: index for index, kind in enumerate(EVENTS.values())}
_NAMES: Final = {kind: name for name, kind in EVENTS.items()}


class Subscription:
    """The handle of one `Telemetry.attach`, for `Telemetry.detach`."""

    __slots__ = ("handler", "kinds")

    def __init__(self, handler: Handler, kinds: frozenset[int]) -> None:
        """Keeps who is called for which kinds, by index."""
        self.handler: Final = handler
        self.kinds: Final = kinds


class Telemetry:
    """Who is told of what. Safe to use from any thread, also from inside a handler.

    Args:
        on_mask: Called with the mask of wanted kinds, bit *n* for the *n*-th of `EVENTS`, whenever it changes.
    """

    def __init__(self, on_mask: Callable[[int], object] | None = None) -> None:
        """Begins with nobody to tell."""
        self._lock = threading.RLock()
        self._depth = threading.local()
        self._subscriptions: tuple[Subscription, ...] = ()
        # Read without the lock: each tuple is replaced, never changed.
        self._handlers: list[tuple[Handler, ...]] = [()] * len(EVENTS)
        self._mask = 0
        self._errors = 0
        self._dropped = 0
        self._on_mask = on_mask

    @property
    def mask(self) -> int:
        """The kinds that somebody wants, as bits."""
        return self._mask

    @property
    def errors(self) -> int:
        """How many times a handler has raised, or was not called because handlers nested too deep."""
        return self._errors

    @property
    def dropped(self) -> int:
        """How many events nobody was told of: 10 000 before them still waited for handlers that took too long."""
        return self._dropped

    def wants(self, kind_index: int) -> bool:
        """Whether anybody wants events of the kind with this place in `EVENTS`."""
        return bool(self._mask >> kind_index & 1)

    def attach(
        self, handler: Handler, events: Iterable[type[Event] | str] | type[Event] | str | None = None
    ) -> Subscription:
        """Calls ``handler(event)`` for each event from now on.

        Args:
            handler: A plain function. It is called on the thread where the event happens, which waits for it: that of
                the call that enqueues, or of the job. What the engine itself finds out (ends that are stored, rescues,
                outages) is told by a thread for that alone; up to 10 000 events wait for it.
            events: Classes or names of `EVENTS`, one or many; ``None`` means all.

        Returns:
            The handle for `detach`.

        Raises:
            Invalid: The handler is a coroutine function or cannot be called, or there is no such event.
        """
        if not callable(cast("object", handler)) or inspect.iscoroutinefunction(handler):
            rule = "must be a plain function of one event; let it hand the event to a loop or thread of yours"
            raise invalid("handler", rule, handler)
        subscription = Subscription(handler, _indices(events))
        with self._lock:
            self._subscribe((*self._subscriptions, subscription))
        return subscription

    def detach(self, handle: Subscription) -> None:
        """Stops calling the handler of one `attach`. Without effect when it is detached already."""
        with self._lock:
            self._subscribe(tuple(one for one in self._subscriptions if one is not handle))

    def emit(self, event: Event) -> None:
        """Tells everybody who wants to know. Raises nothing but Ctrl-C, on the main thread, whatever a handler does."""
        handlers = self._handlers[_INDEX[type(event)]]
        if not handlers:
            return
        depth = getattr(self._depth, "now", 0)
        if depth >= _DEEPEST:
            self._count(
                f"telemetry handlers cause events {depth} levels deep; this one is dropped: {_NAMES[type(event)]}"
            )
            return
        self._depth.now = depth + 1
        interrupt = None
        try:
            for handler in handlers:
                try:
                    handler(event)
                except BaseException as error:  # noqa: BLE001 - a listener's SystemExit must not end the worker that it listens to
                    self._count(f"telemetry handler {_named(handler)} failed on {_NAMES[type(event)]}", exc_info=True)
                    if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                        # Ctrl-C means the program, wherever it is just then.
                        interrupt = error
        finally:
            self._depth.now = depth
        if interrupt is not None:
            raise interrupt

    def count_dropped(self, count: int) -> None:
        """Notes that so many events were dropped, for whoever hands events over."""
        with self._lock:
            self._dropped += count
        with contextlib.suppress(BaseException):
            _LOG.warning("telemetry handlers are too slow: %d events were dropped, and nobody was told of them", count)

    def _subscribe(self, subscriptions: tuple[Subscription, ...]) -> None:
        self._subscriptions = subscriptions
        for index in range(len(EVENTS)):
            self._handlers[index] = tuple(one.handler for one in subscriptions if index in one.kinds)
        mask = sum(1 << index for index, handlers in enumerate(self._handlers) if handlers)
        if mask != self._mask:
            self._mask = mask
            if self._on_mask is not None:
                self._on_mask(mask)

    def _count(self, message: str, *, exc_info: bool = False) -> None:
        with self._lock:
            self._errors += 1
        # A broken logging handler is one more listener that must harm nobody.
        with contextlib.suppress(BaseException):
            _LOG.error("%s", message, exc_info=exc_info)


def _named(handler: Handler) -> str:
    try:
        return f"{handler!r:.200}"
    except BaseException:  # noqa: BLE001 - a foreign __repr__ may raise anything
        return object.__repr__(handler)


def _indices(events: Iterable[type[Event] | str] | type[Event] | str | None) -> frozenset[int]:
    if events is None:
        return frozenset(_INDEX.values())
    chosen = [events] if isinstance(events, (str, type)) else list(events)
    indices: set[int] = set()
    for one in chosen:
        kind = EVENTS.get(one) if isinstance(one, str) else one
        if kind not in _INDEX:
            raise invalid("events", f"must be classes or names of {', '.join(EVENTS)}", one)
        indices.add(_INDEX[kind])
    return frozenset(indices)


_Logged: TypeAlias = (
    JobCompleted | JobFailed | JobDiscarded | JobCancelled | JobSnoozed | StoreUnavailable | StoreRecovered
)
_LEVELS: Final[dict[type[Event], int]] = {
    JobCompleted: logging.INFO,
    JobFailed: logging.WARNING,
    JobDiscarded: logging.ERROR,
    JobCancelled: logging.INFO,
    JobSnoozed: logging.INFO,
    StoreUnavailable: logging.WARNING,
    StoreRecovered: logging.INFO,
}


def attach_logging(telemetry: Telemetry, logger: str = "zjobs") -> Subscription:
    """Writes one structured line per finished attempt, and per outage of the store, through the standard ``logging``.

    Completed, cancelled and snoozed attempts are INFO, failed ones WARNING, discarded ones ERROR. The fields are in
    the line and, for structured formatters, attributes of the record: ``event``, ``job_id``, ``worker``, ``queue``,
    ``attempt``, ``max_attempts``, ``duration_ms``, ``queue_ms``, ``error``. Arguments are never logged. A store that
    stops answering is a WARNING with its ``error``, and that it answers again INFO, with ``downtime_seconds``.

    Args:
        telemetry: Whose events.
        logger: The name of the logger to write to.

    Returns:
        The handle for `Telemetry.detach`.
    """
    log = logging.getLogger(logger)

    def write(event: _Logged) -> None:
        level = _LEVELS[type(event)]
        if log.isEnabledFor(level):
            extra = _line(_NAMES[type(event)], event)
            log.log(level, "%s", " ".join(f"{key}={value}" for key, value in extra.items()), extra=extra)

    return telemetry.attach(write, list(_LEVELS))


def _line(name: str, event: _Logged) -> dict[str, object]:
    match event:
        case StoreUnavailable(error):
            return {"event": name, "error": escaped(str(error), _ERROR_TEXT)}
        case StoreRecovered(downtime):
            return {"event": name, "downtime_seconds": round(downtime, 3)}
        case _:
            result, job = event.result, event.result.job
    fields: dict[str, object] = {
        "event": name,
        "job_id": job.id,
        "worker": job.worker,
        "queue": job.queue,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "duration_ms": round(result.duration_ms, 3),
        "queue_ms": round(result.queue_ms, 3),
    }
    if result.error_msg is not None:
        fields["error"] = escaped(result.error_msg, _ERROR_TEXT)
    return fields
