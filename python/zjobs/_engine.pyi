"""The compiled part of zjobs."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import Any, Final, NoReturn, Self, TypeAlias, final

from typing_extensions import disjoint_base

from zjobs.crontab import CronEntry, Ticked
from zjobs.job import AttemptError, JobState, Progress
from zjobs.options import Retention, Seconds
from zjobs.rows import (
    Acked,
    AckRow,
    Cancelled,
    CronInfo,
    Enqueued,
    Heartbeat,
    JobFilter,
    NewJob,
    NodeInfo,
    Pulse,
    QueueInfo,
    Report,
    Rescued,
    RescueReason,
    Retried,
    Staged,
)
from zjobs.store import Listener, Store
from zjobs.telemetry import Telemetry
from zjobs.worker import Registered

__all__ = [
    "EVENTS",
    "LIMITS",
    "SQL",
    "STATES",
    "TRANSITIONS",
    "Backoff",
    "Engine",
    "Job",
    "JobContext",
    "ManualClock",
    "MemoryStore",
    "NativeStore",
    "Outcome",
    "PostgresStore",
    "Prepared",
    "Shape",
    "Signals",
    "Slot",
    "SqliteStore",
    "__version__",
    "check_plain",
    "end_calls",
    "postgres_migrate",
    "postgres_migrations",
    "rescued",
    "sqlite_migrate",
    "sqlite_migrations",
]

__version__: Final[str]

LIMITS: Final[dict[str, int]]
SQL: Final[dict[str, dict[str, str]]]
"""All limits by name; lengths of time in seconds."""
STATES: Final[dict[str, int]]
"""The states of a job with their stored numbers."""
TRANSITIONS: Final[list[tuple[str, str, str]]]
"""The state table: state, event, state afterwards."""
EVENTS: Final[list[str]]
"""The names of the events of telemetry, in the order of their bits in a mask."""

_Jobs: TypeAlias = list[Job]
_Args: TypeAlias = object
_Options: TypeAlias = Mapping[str, Any]
_Invoke: TypeAlias = Callable[[bytes, JobContext], object]
_Call: TypeAlias = tuple[Callable[[bytes, JobContext], Any], bytes, JobContext]

def check_plain(field: str, value: object) -> None:
    """Raises `Invalid` with the path of the first value that JSON would not give back unchanged.

    Plain are ``None``, ``bool``, ``int`` of 64 bits, finite ``float``, ``str`` without NUL and lone surrogates,
    ``list`` and ``dict`` with such keys, at most 128 levels deep.
    """

def end_calls() -> None:
    """The interpreter ends: from now on only this thread calls Python from Rust."""

def rescued(job: Job, reason: RescueReason, now: datetime) -> Job:
    """What becomes of an executing job whose node is gone; the rule of `Store.rescue`."""

@final
class Backoff:
    """A delay as a function of attempt and job: the function that the engine itself uses."""

    @staticmethod
    def exponential(base_seconds: float, max_seconds: float, jitter: bool) -> Backoff:
        """``min(base_seconds * 2 ** (attempt - 1), max_seconds)``."""
    @staticmethod
    def linear(delay_seconds: float, max_seconds: float | None, jitter: bool) -> Backoff:
        """``min(delay_seconds * attempt, max_seconds)``."""
    @staticmethod
    def constant(delay_seconds: float, jitter: bool) -> Backoff:
        """``delay_seconds``, always."""
    def delay(self, attempt: int, job_id: int) -> float:
        """Seconds from the failure of ``attempt`` (from 1) of the job until it is due again."""

@final
class Job:
    """A job as its store had it at one moment. Read-only; ask the supervisor again for news."""

    def __new__(
        cls,
        *,
        id: int,
        state: JobState,
        queue: str,
        worker: str,
        args_bytes: bytes,
        scheduled_at: datetime,
        inserted_at: datetime,
        priority: int = 0,
        attempt: int = 0,
        max_attempts: int = 20,
        lease: int = 0,
        node: str | None = None,
        attempted_at: datetime | None = None,
        finished_at: datetime | None = None,
        timeout_seconds: float | None = 300.0,
        unique_key: str | None = None,
        tags: Sequence[str] = (),
        meta_bytes: bytes | None = None,
        errors: Sequence[AttemptError] = (),
        result_bytes: bytes | None = None,
        progress: Progress | None = None,
        cancel_requested: bool = False,
        crashes: int = 0,
        conflict: bool = False,
    ) -> Self:
        """A job made of its parts, for stores that are written in Python.

        Raises:
            Invalid: A value breaks its rule.
        """
    def replace(
        self,
        *,
        id: int = ...,
        state: JobState = ...,
        queue: str = ...,
        worker: str = ...,
        args_bytes: bytes = ...,
        scheduled_at: datetime = ...,
        inserted_at: datetime = ...,
        priority: int = ...,
        attempt: int = ...,
        max_attempts: int = ...,
        lease: int = ...,
        node: str | None = ...,
        attempted_at: datetime | None = ...,
        finished_at: datetime | None = ...,
        timeout_seconds: float | None = ...,
        unique_key: str | None = ...,
        tags: Sequence[str] = ...,
        meta_bytes: bytes | None = ...,
        errors: Sequence[AttemptError] = ...,
        result_bytes: bytes | None = ...,
        progress: Progress | None = ...,
        cancel_requested: bool = ...,
        crashes: int = ...,
        conflict: bool = ...,
    ) -> Job:
        """The same job with some parts changed.

        Raises:
            Invalid: A value breaks its rule.
        """
    @property
    def id(self) -> int:
        """Its number in its store, from 1."""
    @property
    def state(self) -> JobState:
        """Where it is in its life."""
    @property
    def queue(self) -> str:
        """The queue it waits in."""
    @property
    def worker(self) -> str:
        """The name of its worker."""
    @property
    def args(self) -> Any:  # noqa: ANN401 - whatever was enqueued
        """The arguments, decoded anew at each call."""
    @property
    def args_bytes(self) -> bytes:
        """The arguments as JSON text."""
    @property
    def priority(self) -> int:
        """Lower runs first."""
    @property
    def attempt(self) -> int:
        """0 before the first run, counted from 1 while it runs."""
    @property
    def max_attempts(self) -> int:
        """How often it may run."""
    @property
    def lease(self) -> int:
        """How often it has been claimed; the number that guards every write about it while it runs."""
    @property
    def scheduled_at(self) -> datetime:
        """When it is or was due, in UTC."""
    @property
    def inserted_at(self) -> datetime:
        """When it was enqueued, in UTC."""
    @property
    def attempted_at(self) -> datetime | None:
        """When its last attempt was claimed, in UTC."""
    @property
    def finished_at(self) -> datetime | None:
        """When it reached its final state, whichever it is, in UTC."""
    @property
    def completed_at(self) -> datetime | None:
        """When it completed, in UTC."""
    @property
    def discarded_at(self) -> datetime | None:
        """When it was discarded, in UTC."""
    @property
    def cancelled_at(self) -> datetime | None:
        """When it was cancelled, in UTC."""
    @property
    def timeout_seconds(self) -> float | None:
        """The limit of one attempt in seconds; ``None`` is no limit."""
    @property
    def unique_key(self) -> str | None:
        """Its idempotency key."""
    @property
    def errors(self) -> tuple[AttemptError, ...]:
        """The newest failed attempts, oldest first."""
    @property
    def meta(self) -> dict[str, Any]:
        """The JSON object that the caller attached, decoded anew at each call."""
    @property
    def meta_bytes(self) -> bytes | None:
        """The same as JSON text, ``None`` when there is none."""
    @property
    def tags(self) -> tuple[str, ...]:
        """Labels."""
    @property
    def result(self) -> Any:  # noqa: ANN401 - whatever the handler returned
        """What the handler returned, when its worker keeps results; decoded anew at each call."""
    @property
    def result_bytes(self) -> bytes | None:
        """The same as JSON text."""
    @property
    def progress(self) -> Progress | None:
        """How far it is, when its handler reports."""
    @property
    def node(self) -> str | None:
        """The incarnation of the node that runs it, as 32 hexadecimal digits."""
    @property
    def crashes(self) -> int:
        """How often the node that ran it died."""
    @property
    def cancel_requested(self) -> bool:
        """Whether somebody asked to cancel it while it was running."""
    @property
    def conflict(self) -> bool:
        """Whether an enqueue found this job instead of inserting one."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class JobContext:
    """The attempt that a handler is in."""

    @property
    def job(self) -> Job:
        """The job as it was claimed."""
    @property
    def attempt(self) -> int:
        """The attempt, counted from 1."""
    @property
    def cancelled(self) -> bool:
        """Whether the handler should stop: shutdown, cancel, timeout or a lost lease. Cheap; look at it often."""
    @property
    def timed_out(self) -> bool:
        """Whether the attempt has run past its deadline."""
    @property
    def deadline(self) -> datetime | None:
        """When the attempt times out, in UTC; ``None`` without a limit."""
    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry ``job_id``, ``worker``, ``queue`` and ``attempt``."""
    @property
    def _worker(self) -> Registered: ...
    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Says how far the job is; others see it as ``job.progress``.

        Reports that come too fast for the store are dropped, but never the one with ``done == total``.

        Raises:
            Invalid: A number is negative or not finite.
        """
    @staticmethod
    def snooze(delay: Seconds) -> NoReturn:
        """Ends the attempt by raising `Snooze`: the job runs again after ``delay`` (seconds or ``timedelta``)."""
    def complete(self, *, connection: object, result: object = None) -> None:
        """Ends the attempt in the transaction of the handler's own connection.

        What the handler wrote there and that the job is completed are committed together, or not at all: exactly-once
        effects. The handler commits and returns; when it returns without a commit the attempt has failed.

        Args:
            connection: Leads to the database of the jobs; see `zjobs.connections` for the kinds.
            result: What the job is to keep.

        Raises:
            Invalid: The connection leads elsewhere.
            LeaseLost: The job is not this attempt's any more, or somebody wants it cancelled: roll back.
        """
    def complete_async(self, *, connection: object, result: object = None) -> Awaitable[None]:
        """As `complete`, on a connection of coroutines."""
    @property
    def _store(self) -> Store: ...
    def _hand_over(self) -> None: ...
    def check_cancelled(self) -> None:
        """Ends the attempt by raising ``CancelledError`` when it should stop; one stopped by shutdown goes back."""

@final
class Outcome:
    """How an attempt ended, when it is not a plain return."""

    @staticmethod
    def completed(result: bytes) -> Outcome:
        """The handler returned something to keep: JSON text."""
    @staticmethod
    def failed(
        kind: str, message: str, traceback: str, *, backoff: Backoff | None = None, delay: Seconds | None = None
    ) -> Outcome:
        """The attempt failed and follows ``backoff``; or waits ``delay`` seconds; with neither it is the last."""
    @staticmethod
    def snoozed(delay: Seconds) -> Outcome:
        """The handler asked to run again ``delay`` seconds later."""
    @staticmethod
    def cancelled(reason: str) -> Outcome:
        """The handler wants the job gone."""
    @staticmethod
    def discarded(reason: str) -> Outcome:
        """The handler gave up for good."""
    @staticmethod
    def released() -> Outcome:
        """The job goes back with its attempt refunded."""

@final
class Shape:
    """The parameters of a handler that takes nothing but scalars: its arguments become JSON text in one call."""

    def __new__(cls, fields: Sequence[tuple[str, type, bool, bool]]) -> Self: ...
    def encode(self, args: _Args) -> bytes | None:
        """The JSON text of arguments that fit, ``None`` for all others."""

@final
class Prepared:
    """A job that was checked and is not enqueued yet."""

@final
class Slot:
    """One place in a queue where one job runs at a time."""

    @property
    def attempt(self) -> tuple[int, int] | None:
        """The attempt that runs here now: the id of its job, and its lease."""
    @property
    def is_inherited(self) -> bool:
        """Whether this is the child of a fork, whose parent's slot it is."""
    @property
    def is_replaced(self) -> bool:
        """Whether the job that runs here hangs and another slot has taken the place of this one."""
    def take(self, outcome: Outcome | None = None) -> _Call | None:
        """Hands back the outcome of the job that was taken before and takes the next: ``(invoke, args_bytes, ctx)``.

        A thread slot waits for work; ``None`` tells it to end. A loop slot never waits; ``None`` means that there is
        nothing for it now.
        """
    def try_take(self, outcome: Outcome | None = None) -> _Call | None:
        """Takes a job if there is one now, whatever the lane of the slot."""
    def put(self, outcome: Outcome | None = None) -> None:
        """Hands back the outcome of the job that was taken before, without taking another."""

@final
class Engine:
    """One node: a store, its slots and the roles between them."""

    def __new__(
        cls,
        store: Store,
        queues: Sequence[tuple[str, int, int | None, str]],
        telemetry: Telemetry,
        *,
        name: str,
        poll_interval_ms: int,
        rescue_interval_ms: int,
        retention: tuple[float | None, float | None, float | None],
    ) -> Self:
        """An engine that is not started; a plain client until then."""
    @property
    def is_running(self) -> bool:
        """Whether it is started and not stopped."""
    @property
    def node(self) -> str:
        """The incarnation now, as 32 hexadecimal digits."""
    @staticmethod
    def forked() -> None:
        """Notes, in the child, that the process was forked."""
    def set_event_mask(self, mask: int) -> None:
        """Tells which kinds of events are wanted: one bit for each of `EVENTS`."""
    def register(
        self,
        name: str,
        invoke: _Invoke,
        payload: Callable[[_Args], bytes],
        worker: Registered,
        options: _Options,
        *,
        coroutine: bool,
        sync_ack: bool,
        takes_text: bool = False,
        shape: Shape | None = None,
        backoff: Backoff | None = None,
        arguments: Sequence[str] | None = None,
    ) -> None:
        """Makes a worker known. ``invoke(args_bytes, ctx)`` runs it; ``options`` are the options of its jobs.

        ``arguments`` are the names of all that it takes, where that is known.
        """
    def enqueue(self, worker: str, args: _Args = None, **options: Any) -> Job:  # noqa: ANN401 - checked one by one
        """Enqueues one job; ``args`` is what its worker takes or JSON text."""
    def prepare(self, worker: str, args: _Args = None, **options: Any) -> Prepared:  # noqa: ANN401 - as `enqueue`
        """Checks one job; nothing is inserted."""
    def enqueue_prepared(self, jobs: Sequence[Prepared]) -> _Jobs:
        """Enqueues what was prepared in one write, all or none."""
    def drafts(self, jobs: list[Any]) -> list[dict[str, Any]]:
        """The same jobs as ``zjobs.connections`` takes them; nothing is inserted."""
    def enqueue_many(self, jobs: list[Any]) -> _Jobs:
        """Enqueues many jobs in one write, all or none: ``(worker, args, options)`` each."""
    def limit(self, queue: int) -> int:
        """How many of the queue's jobs may run at once now."""
    def slot(self, queue: int, coroutine: bool) -> Slot:
        """The thread or loop side of one slot of a queue."""
    def wait_final(self, job: Job | int, most: Seconds) -> Job:
        """The job when it is final or that many seconds have passed. Raises `NotFound`."""
    def on_settled(self, call: Callable[[], object]) -> None:
        """Calls ``call()`` once, from whichever thread it is, when the next jobs have settled."""
    def start(
        self, ring: Callable[[], object], reinforce: Callable[[int, int], object], give_up: Callable[[int], object]
    ) -> None:
        """Registers the node, starts its services and opens its slots."""
    def stop(self, timeout: float | None) -> list[int]:
        """Stops; see `Supervisor.stop`. Returns the ids of jobs whose handlers still run."""
    def depart(self) -> None:
        """Says that the process ends while handlers run on. Nothing while it runs, or when they have ended."""
    def hurry(self) -> None:
        """Makes a stop that waits for handlers go on to its next step."""
    def claim_here(self, queue: int) -> None:
        """Claims for a queue, in this thread."""
    def flush(self) -> None:
        """Writes the acks that wait."""
    def hear(self) -> tuple[list[tuple[int, int]], list[int]]:
        """The loop answers a ring: the attempts to interrupt, and how many jobs could start now in each queue."""
    def tick(
        self,
        name: str,
        at: datetime,
        worker: str | None = None,
        args: _Args = None,
        options: _Options | None = None,
    ) -> tuple[str, Job | None]:
        """Records the tick of a schedule together with its job; without a worker as left out."""
    def prune(self) -> int:
        """Deletes what the retention no longer keeps; says how many jobs."""
    def rescue(self) -> int:
        """Takes back the jobs of dead nodes; says how many."""

@disjoint_base
class NativeStore:
    """A compiled store: the verbs of `zjobs.store.Store`, with the meaning that it gives them."""

    @staticmethod
    def adapted(store: Store) -> NativeStore:
        """A store that is written in Python, as the engine sees it: every call crosses the border twice."""
    @property
    def blocks(self) -> bool:
        """Whether a call may wait for a disk or a network."""
    def subscribe(self, listener: Listener) -> None:
        """Asks to be told what commits, for as long as this object lives."""
    def now(self) -> datetime:
        """The store's clock."""
    def enqueue(self, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """*enqueue*: inserts jobs, or finds those whose unique key is taken."""
    def claim(self, node: str, queue: str, limit: int) -> _Jobs:
        """*claim*: takes due jobs of one queue, best first, and leases them to a living node."""
    def ack(self, node: str, acks: Sequence[AckRow]) -> list[Acked]:
        """*ack*: ends attempts, each guarded by its lease."""
    def report(self, node: str, reports: Sequence[Report]) -> None:
        """Stores progress of running jobs, each guarded by its lease."""
    def stage(self, limit: int = 1000) -> Staged:
        """*stage*: makes due jobs available."""
    def heartbeat(self, beat: Heartbeat) -> Pulse:
        """*heartbeat*: registers a node, or extends its lease on all its jobs."""
    def depart(self, node: str, grace_seconds: float = 0.0) -> None:
        """The node ends; jobs that still run under it may be rescued ``grace_seconds`` from now."""
    def rescue(self, limit: int = 500) -> list[Rescued]:
        """*rescue*: takes back jobs whose node is gone."""
    def nodes(self) -> list[NodeInfo]:
        """The nodes that the store knows."""
    def cancel(self, filter: JobFilter) -> list[Cancelled]:
        """*cancel*: waiting jobs are cancelled, running ones asked to stop."""
    def retry(self, filter: JobFilter) -> list[Retried]:
        """*retry*: starts jobs again."""
    def delete(self, filter: JobFilter) -> int:
        """Deletes jobs that do not run; returns how many."""
    def prune(self, retention: Retention, limit: int = 1000) -> int:
        """*prune*: deletes final jobs older than their retention; returns how many."""
    def delete_completed(self, older_than: Seconds) -> int:
        """Deletes completed jobs that finished longer ago than this; returns how many."""
    def pause(self, queue: str) -> None:
        """*pause*: nothing is claimed from the queue until it is resumed."""
    def resume(self, queue: str) -> None:
        """*resume*: undoes a pause."""
    def scale(self, queue: str, concurrency: int | None) -> None:
        """Sets how many jobs of the queue each node runs at once; ``None`` goes back to the node's own setting."""
    def get(self, ids: Sequence[int]) -> _Jobs:
        """The jobs with these ids that exist, by id."""
    def count(self, filter: JobFilter) -> int:
        """How many jobs match, without the filter's limit."""
    def count_by_state(self, queue: str | None = None) -> dict[JobState, int]:
        """How many jobs there are in each state, of one queue or of all."""
    def queues(self) -> list[QueueInfo]:
        """The queues that have jobs or settings."""
    def save_cron(self, entry: CronEntry, /) -> None:
        """Declares a schedule, or changes it and keeps its pause and last tick."""
    def crons(self) -> list[CronInfo]:
        """The declared schedules, by name."""
    def set_cron_paused(self, name: str, *, paused: bool) -> bool:
        """Pauses or resumes a schedule; ``False`` when there is none of that name."""
    def delete_cron(self, name: str) -> bool:
        """Forgets a schedule and its ticks; ``False`` when there is none of that name."""
    def tick(self, name: str, at: datetime, job: NewJob | None, /) -> Ticked:
        """Inserts the row of one ``(entry, tick)`` and its job together."""
    def list(self, filter: JobFilter) -> _Jobs:
        """Jobs that match, by id in the filter's order, up to its limit."""

@disjoint_base
class MemoryStore(NativeStore):
    """Jobs in this process's memory."""

    def __new__(
        cls, max_jobs: int | None = None, max_finished: int | None = None, *, clock: ManualClock | None = None
    ) -> Self: ...
    @property
    def max_jobs(self) -> int | None:
        """How many unfinished jobs it may hold."""

@disjoint_base
class SqliteStore(NativeStore):
    """Jobs in a SQLite file."""

    def __new__(
        cls,
        path: str | PathLike[str],
        *,
        synchronous: str = "full",
        create: bool = True,
        read_only: bool = False,
        busy_timeout_seconds: float | None = None,
        clock: ManualClock | None = None,
    ) -> Self: ...
    @property
    def path(self) -> Path:
        """The file, absolute and with links resolved."""
    @property
    def synchronous(self) -> str:
        """How hard commits are pressed onto the disk: "full" or "normal"."""

def sqlite_migrations(path: str | PathLike[str]) -> list[tuple[int, str, str, datetime | None]]:
    """The steps of this version's schema for a file: (version, name, sql, applied_at or None)."""

def sqlite_migrate(path: str | PathLike[str]) -> list[tuple[int, str, str, datetime | None]]:
    """Brings a file up to this version's schema; returns the steps that were applied now."""

@disjoint_base
class PostgresStore(NativeStore):
    """Jobs in a database of PostgreSQL."""

    def __new__(
        cls,
        url: str = "postgresql://",
        *,
        schema: str | None = None,
        create: bool = True,
        call_timeout_seconds: float | None = None,
    ) -> Self: ...
    @property
    def place(self) -> str:
        """The server and the database, without user and password."""
    @property
    def born_at(self) -> int:
        """When the database got its tables, in microseconds since 1970: what tells it from another one."""
    @property
    def schema(self) -> str:
        """The schema of the tables."""

def postgres_migrations(url: str, schema: str | None = None) -> list[tuple[int, str, str, datetime | None]]:
    """The steps of this version's schema for a database: (version, name, sql, applied_at or None)."""

def postgres_migrate(url: str, schema: str | None = None) -> list[tuple[int, str, str, datetime | None]]:
    """Brings a database up to this version's schema; returns the steps that were applied now."""

@final
class ManualClock:
    """A clock for tests; it shows 2026-01-01T00:00:00Z, or ``start``, until it is advanced."""

    def __new__(cls, start: datetime | None = None) -> Self: ...
    def now(self) -> datetime:
        """What it shows, in UTC."""
    def advance(self, by: float | timedelta) -> None:
        """Lets time pass: seconds or a ``timedelta``."""

@final
class Signals:
    """The engine's listener, for a store that is written in Python."""

    @property
    def gone(self) -> bool:
        """Whether nobody listens any more: the store may forget it."""
    def ready(self, queue: str) -> None:
        """The queue has jobs to claim."""
    def due(self, at: datetime) -> None:
        """A job becomes due then."""
    def cancel(self, ids: Sequence[int]) -> None:
        """Somebody wants these running jobs to stop."""
    def control(self, queue: str) -> None:
        """The queue was paused, resumed or scaled."""
    def settled(self) -> None:
        """Jobs have reached a final state."""
    def orphaned(self) -> None:
        """A node may have ended: its jobs wait to be rescued."""
    def missed(self) -> None:
        """Others may have told something that could not be heard: look for everything now."""
