"""`Supervisor`: owns the store, the workers and the engine; what an application holds."""

import asyncio
import atexit
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack, cast, overload

from zjobs import connections
from zjobs._control import JobRows
from zjobs._control_async import AsyncControl, Settling
from zjobs._drain import Drain, count_ends, is_on_a_loop
from zjobs._engine import Engine, end_calls
from zjobs._exit import depart_at_exit, stop_at_exit
from zjobs._runner import LoopCrew, ThreadCrew
from zjobs._scheduler import Scheduler
from zjobs._schedules import Schedules
from zjobs._signals import StopSignals
from zjobs._together import Together
from zjobs.db import open_store
from zjobs.errors import AlreadyStarted, Invalid, NotFound, NotStarted, invalid
from zjobs.job import Job, JobContext, JobState
from zjobs.options import (
    Ack,
    CallOptions,
    EnqueueOptions,
    Queue,
    Retention,
    Seconds,
    WorkerDef,
    integer,
    label,
    queue_name,
    seconds,
)
from zjobs.retry import CustomFunction, RetryStrategy
from zjobs.store import Store
from zjobs.telemetry import Telemetry
from zjobs.worker import Anything, ContextWorker, Decorator, JobEntry, Registered, Worker, unknown_payload

__all__ = ["Supervisor"]

P = ParamSpec("P")
R = TypeVar("R")

_LOG = logging.getLogger("zjobs")
_GRACE = 5.0
_NODE_NAME = 255


class Supervisor(AsyncControl, Schedules):
    """Runs the workers of an application and enqueues their jobs. One per application.

    A supervisor that is not started is a plain client: it enqueues and inspects, and costs no threads.

    Args:
        store: A `Store` or a URL: ``memory://``, ``sqlite:///relative.db``, ``sqlite:////absolute.db``,
            ``postgresql://user@host/database``.
        queues: Names with their concurrency, or `Queue` objects.
        poll_interval_ms: The longest that a job waits when its wake-up was lost, for stores that poll.
        rescue_interval_ms: Between two looks for jobs whose node died. A node says as often that it lives, at most each
            second, and counts as dead after four times as long: on PostgreSQL the job of a killed worker runs elsewhere
            within 25 seconds, and within 5 when this is 1000. Memory and SQLite see a death at once.
        shutdown_timeout_seconds: How long `stop` waits for handlers before it asks them to stop.
        retention: How long finished jobs are kept.
        node: A human name of this process; by default host and process id.

    Raises:
        Invalid: A value breaks its rule.
    """

    def __init__(
        self,
        store: Store | str = "memory://",
        *,
        queues: Mapping[str, int] | Iterable[Queue] | None = None,
        poll_interval_ms: int = 1000,
        rescue_interval_ms: int = 5000,
        shutdown_timeout_seconds: Seconds = 25,
        retention: Retention | None = None,
        node: str | None = None,
    ) -> None:
        """Opens the store; starts nothing."""
        self._queues = _queues({"default": 10} if queues is None else queues)
        self._store = open_store(store)
        self._shutdown_timeout = seconds("shutdown_timeout_seconds", shutdown_timeout_seconds)
        self._workers: dict[str, Registered] = {}
        self._telemetry = Telemetry(self._on_mask)
        kept = retention if retention is not None else Retention()
        if not isinstance(cast("object", kept), Retention):
            raise invalid("retention", "must be a Retention(completed=...), in seconds or timedelta", kept)
        name = f"{socket.gethostname()}:{os.getpid()}" if node is None else label("node", node, _NODE_NAME)
        self._retention = kept
        self._name = name
        self._poll = integer("poll_interval_ms", poll_interval_ms, 1, 2**31)
        self._rescue = integer("rescue_interval_ms", rescue_interval_ms, 1, 2**31)
        self._connect()
        self._scheduler = Scheduler(self._store, self._engine, self._payload, self._telemetry.emit)
        self._drainer: threading.Thread | None = None

    def _connect(self) -> None:
        """Makes the engine for the queues, and the slots that will run in it."""
        kept = self._retention
        self._engine = engine = Engine(
            self._store,
            [(q.name, q.concurrency, q.prefetch, q.stuck.value) for q in self._queues],
            self._telemetry,
            name=self._name,
            poll_interval_ms=self._poll,
            rescue_interval_ms=self._rescue,
            retention=(_age(kept.completed), _age(kept.cancelled), _age(kept.discarded)),
        )
        engine.set_event_mask(self._telemetry.mask)
        self._settling = Settling()
        self._together = Together(engine.enqueue_prepared)
        runs = lambda: engine.is_running  # noqa: E731
        self._threads = ThreadCrew(lambda queue: engine.slot(queue, False), [q.name for q in self._queues], runs)  # noqa: FBT003 - the lane
        self._loop = LoopCrew(engine.hear, lambda queue: engine.slot(queue, True))  # noqa: FBT003 - the lane
        if type(self).enqueue is Supervisor.enqueue:
            # The compiled method itself: a Python frame around it would be a fifth of the call.
            vars(self)["enqueue"] = engine.enqueue

    # --- workers ---

    @overload
    def worker(self, handler: Callable[Concatenate[Anything, ...], R], /) -> Worker[..., R]: ...
    @overload
    def worker(self, handler: Callable[Concatenate[JobContext, P], R], /) -> ContextWorker[P, R]: ...
    @overload
    def worker(self, handler: Callable[P, R], /) -> Worker[P, R]: ...
    @overload
    def worker(
        self,
        /,
        *,
        name: str | None = None,
        retry_strategy: RetryStrategy | CustomFunction | None = None,
        keep_result: bool = False,
        ack: Ack = Ack.BATCHED,
        **options: Unpack[EnqueueOptions],
    ) -> Decorator: ...
    def worker(
        self,
        handler: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        retry_strategy: RetryStrategy | CustomFunction | None = None,
        keep_result: bool = False,
        ack: Ack = Ack.BATCHED,
        **options: Unpack[EnqueueOptions],
    ) -> Any:
        """Registers a function as a worker; with or without parentheses. It still works as a plain function.

        A parameter annotated `JobContext` gets the context and is not part of the payload. Let it be the first
        one: only there can type checkers take it out of `enqueue`.

        Args:
            handler: The function: plain ones run on threads, coroutine functions on the event loop. A plain one that
                returns a coroutine, as under a decorator that knows only plain functions, fails its job.
            name: The worker's name; by default the function's.
            retry_strategy: When failed attempts are followed by another; by default ``Exponential()``.
            keep_result: Whether what it returns is stored with the job, as JSON. An attempt that returns what JSON
                cannot hold has failed, and is tried again like any other, though its work is done.
            ack: When the end of an attempt is written.
            options: The options of its jobs, where a call does not say otherwise.

        Raises:
            Invalid: A value breaks its rule, the name is taken, or the handler is a generator function.
        """

        def register(handler: Callable[..., Any]) -> Worker[..., Any]:
            registered = Registered.typed(
                handler, name=name, retry_strategy=retry_strategy, keep_result=keep_result, ack=ack, options=options
            )
            self._register(registered)
            return Worker(self, registered, handler)

        return register if handler is None else register(handler)

    def register_worker(self, definition: WorkerDef) -> None:
        """Registers a worker in its low-level form: ``handler(args, ctx)`` gets the decoded payload whole.

        Raises:
            Invalid: The name is taken, or the handler takes something else or is a generator function.
        """
        if not isinstance(cast("object", definition), WorkerDef):
            raise invalid("worker", "must be a WorkerDef(name, handler, ...)", definition)
        self._register(Registered.low_level(definition))

    def _register(self, registered: Registered) -> None:
        name = registered.name
        if name in self._workers:
            raise invalid("worker", "must be registered once; choose another name", name)
        self._tell(registered)
        self._workers[name] = registered
        if registered.coroutine and self.is_running:
            self._loop.start()

    def _tell(self, registered: Registered) -> None:
        """Makes a worker known to the engine."""
        self._engine.register(
            registered.name,
            registered.invoke,
            registered.payload,
            registered,
            dict(registered.options),
            coroutine=registered.coroutine,
            sync_ack=registered.ack is Ack.SYNC,
            takes_text=registered.takes_text,
            shape=registered.shape,
            backoff=registered.backoff,
            arguments=registered.arguments,
        )

    @property
    def workers(self) -> tuple[str, ...]:
        """The names of the registered workers."""
        return tuple(self._workers)

    @property
    def queues(self) -> tuple[Queue, ...]:
        """The queues that it works on when it is started."""
        return self._queues

    def work_on(self, queues: Mapping[str, int] | Iterable[Queue]) -> None:
        """Chooses other queues to work on than those it was made with, before it is started.

        For a process that takes only some of an application's queues, or more or less of one. Workers, schedules and
        telemetry stay.

        Args:
            queues: Names with their concurrency, or `Queue` objects.

        Raises:
            AlreadyStarted: It runs.
            Invalid: A value breaks its rule.
        """
        if self.is_running:
            raise AlreadyStarted("work_on() must come before start(); a queue that runs is changed by scale_queue()")
        chosen = _queues(queues)
        if not chosen:
            raise invalid("queues", "must name at least one queue", "none")
        before, self._queues = self._queues, chosen
        try:
            self._connect()
        except Invalid:
            self._queues = before
            raise
        for registered in self._workers.values():
            self._tell(registered)
        self._scheduler.follow(self._engine)

    @property
    def retention(self) -> Retention:
        """How long finished jobs are kept."""
        return self._retention

    # --- enqueue ---

    def enqueue(self, worker: str, args: object = None, **options: Unpack[CallOptions]) -> Job:
        """Enqueues one job by the name of its worker.

        Args:
            worker: The worker's name; one that only other processes know is fine.
            args: The arguments by name, or the payload whole; ``bytes`` are JSON text already.
            options: What differs from the worker's options; with ``connection`` the job belongs to that connection's
                transaction.

        Returns:
            The job inserted, or with ``conflict`` true the one that has its unique key already.

        Raises:
            Invalid: A value breaks its rule, or the arguments do not fit a worker known here. Nothing was inserted.
            StoreFull: The store's limit is reached. Nothing was inserted.
            EnqueueUncertain: Nobody knows whether it was inserted: the connection, or the disk, failed at the commit.
        """
        return self._engine.enqueue(worker, args, **options)

    async def enqueue_async(self, worker: str, args: object = None, **options: Unpack[CallOptions]) -> Job:
        """As `enqueue`, without blocking the event loop."""
        return await self._enqueue_async(worker, args, options)

    def enqueue_many(self, jobs: Iterable[JobEntry | tuple[str, object]], *, connection: object = None) -> JobRows:
        """Enqueues many jobs in one write: all or none.

        Args:
            jobs: Entries made by ``worker.job(...)``, or pairs of a worker's name and arguments.
            connection: Your own connection, whose transaction the jobs belong to; see `zjobs.connections`.

        Returns:
            The jobs, in the same order.

        Raises:
            Invalid: A value breaks its rule. Nothing was inserted.
            StoreFull: They do not all fit. Nothing was inserted.
            EnqueueUncertain: Nobody knows whether they were inserted, all or none.
        """
        entries = list(jobs)
        if connection is None:
            return self._engine.enqueue_many(entries)
        return connections.enqueue(self._store, connection, self._engine.drafts(entries))

    async def enqueue_many_async(
        self, jobs: Iterable[JobEntry | tuple[str, object]], *, connection: object = None
    ) -> JobRows:
        """As `enqueue_many`, without blocking the event loop."""
        entries = list(jobs)
        if connection is not None:
            return await connections.enqueue_async(self._store, connection, self._engine.drafts(entries))
        return await self._on_thread(lambda: self._engine.enqueue_many(entries))

    def _payload(self, worker: str, args: object) -> bytes:
        known = self._workers.get(worker)
        return known.payload(args) if known is not None else unknown_payload(args)

    def _enqueue(self, worker: str, payload: object, options: CallOptions) -> Job:
        return self._engine.enqueue(worker, payload, **options)

    async def _enqueue_async(self, worker: str, payload: object, options: CallOptions) -> Job:
        plain: dict[str, Any] = {name: value for name, value in options.items() if name != "connection"}
        if (connection := options.get("connection")) is not None:
            drafts = self._engine.drafts([(worker, payload, plain)])
            return (await connections.enqueue_async(self._store, connection, drafts))[0]
        if not self._store.blocks:
            return self._engine.enqueue(worker, payload, **plain)
        return await self._together.enqueue(self._engine.prepare(worker, payload, **plain))

    # --- life ---

    @property
    def is_running(self) -> bool:
        """Whether it is started and not stopped."""
        return self._engine.is_running

    def start(self) -> None:
        """Starts the threads, the event loop and the schedules.

        Raises:
            AlreadyStarted: It runs, or handlers of an earlier run have not ended.
            OSError: The process has no files left for the event loop, or RuntimeError: no threads. It does not run.
            StoreUnavailable: The store cannot be reached.
        """
        self._engine.start(self._loop.ring, self._threads.reinforce, self._give_up)
        self._threads.hold()
        try:
            stop_at_exit(self)
            for index in range(len(self._queues)):
                # Not the queue's own setting: it may have been scaled meanwhile.
                self._threads.reinforce(index, self._engine.limit(index))
            if any(worker.coroutine for worker in self._workers.values()):
                self._loop.start()
            self._scheduler.start()
        except BaseException:
            # No threads or no files left: half a supervisor is worse than none.
            self._threads.release()
            self._stop(0)
            raise
        self._threads.release()

    async def start_async(self) -> None:
        """As `start`, without blocking the event loop."""
        await asyncio.to_thread(self.start)

    def stop(self, timeout: Seconds | None = None) -> tuple[int, ...]:
        """Stops gracefully: takes no more jobs, waits for those in flight, then asks the handlers to stop.

        Jobs that were claimed but not begun go back unharmed. It returns within the timeout and a few seconds of
        grace, whatever handlers do. A second Ctrl-C while it waits makes it go on to the next step.

        Args:
            timeout: Seconds to wait for jobs in flight; by default ``shutdown_timeout_seconds``.

        Returns:
            The ids of jobs whose handlers ignore the stop. They stay leased to this process until they end; when the
            process ends first, they go back with their attempts.

        Raises:
            NotStarted: It does not run.
            Invalid: It is called from a handler of this supervisor, which it would wait for.
        """
        wait = self._shutdown_timeout if timeout is None else seconds("timeout", timeout)
        if not self.is_running:
            raise NotStarted("the supervisor is not running: call start() first, or use it in a with block")
        thread = threading.current_thread()
        if thread is self._drainer or self._threads.has(thread) or self._loop.has(thread):
            raise Invalid(
                "stop() waits for the handlers to end, so it must not be called from one: tell the main thread to "
                "call it, or send this process SIGTERM when it is in run()"
            )
        return self._stop(wait)

    def _stop(self, wait: float) -> tuple[int, ...]:
        self._scheduler.stop()
        self._threads.dismiss()
        try:
            # It looks for signals while it waits, and raises what a handler of signals raised when it is done.
            stuck = self._engine.stop(wait)
        except NotStarted:
            # Another thread was quicker; it looks after the rest, and may wait for coroutines.
            raise
        except BaseException:
            depart_at_exit(self._engine)
            self._end_crews(stuck=False)
            raise
        if stuck:
            depart_at_exit(self._engine)
        self._end_crews(stuck=bool(stuck))
        return tuple(stuck)

    def _end_crews(self, *, stuck: bool) -> None:
        if not stuck and not self.is_running:
            # Where another thread has started it again already, the threads work for that.
            self._threads.join(_GRACE)
        self._loop.stop(lambda: self.is_running)

    async def stop_async(self, timeout: Seconds | None = None) -> tuple[int, ...]:  # noqa: ASYNC109 - as `stop`
        """As `stop`, without blocking the event loop."""
        if self._loop.has(threading.current_thread()):
            return self.stop(timeout)  # from a handler: it says why not
        return await asyncio.to_thread(self.stop, timeout)

    def run(self) -> tuple[int, ...]:
        """Starts, and blocks until a signal: the first SIGTERM, SIGINT or SIGHUP drains, a second one stops hard.

        A third one, while that still waits for handlers, ends the process where it is, by that signal: whoever asks
        three times wants it gone. Jobs whose handlers were cut off so run again, as after any crash. SIGHUP is taken
        only where neither ``nohup`` nor a handler of yours has said what it does; all other signals are left alone.

        Returns:
            The ids of jobs whose handlers ignore the stop, as `stop` does.

        Raises:
            AlreadyStarted: It runs already.
            NotStarted: This is not the main thread, where signals arrive.
        """
        if threading.current_thread() is not threading.main_thread():
            message = "run() installs signal handlers and so needs the main thread; call start() and stop() here"
            raise NotStarted(message)
        with StopSignals(on_more=self._engine.hurry) as signals:
            self.start()
            signals.wait()
            _LOG.info(
                "draining: no job starts any more, those in flight have %g s; a second signal stops hard",
                self._shutdown_timeout,
            )
            # Somebody else may have stopped it meanwhile.
            with contextlib.suppress(NotStarted):
                return self.stop()
        return ()

    def _give_up(self, job_id: int) -> None:
        """A handler hangs and its queue says that the process should end."""
        message = "job %d goes on after its time limit and a grace; as its queue wants it, this process ends by SIGTERM"
        # On a thread of its own: what hangs may hold a lock of the log.
        with contextlib.suppress(BaseException):
            last_words = threading.Thread(target=_LOG.critical, args=(message, job_id), daemon=True)
            last_words.start()
            last_words.join(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    def __enter__(self) -> Self:
        """Starts."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stops gracefully, unless the block did."""
        if self.is_running:
            self.stop()

    async def __aenter__(self) -> Self:
        """Starts."""
        await self.start_async()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Stops gracefully, unless the block did."""
        if self.is_running:
            await self.stop_async()

    def drain(self, queue: str | None = None) -> dict[JobState, int]:
        """Runs everything that is due, in this thread, until nothing is; for tests and scripts.

        Retries and snoozes that become due meanwhile run too. Coroutines run one after another on an event loop that
        turns while one of them runs, so a task that a job leaves behind goes on only then. Ctrl-C ends it after the job
        in hand.

        Args:
            queue: Only this one; by default all queues of this supervisor.

        Returns:
            How many attempts led to each state.

        Raises:
            AlreadyStarted: It runs; its own threads do the work.
            Invalid: An event loop runs in this thread: await `drain_async` there. Or the queue's name breaks its rule.
            NotFound: It does not work on that queue.
            StoreUnavailable: The store cannot be reached; what was due stays due.
        """
        if self.is_running:
            message = "drain() runs jobs in this thread, but the supervisor runs them on its own; use wait(job)"
            raise AlreadyStarted(message)
        names = [q.name for q in self._queues]
        if queue is not None and queue_name(queue) not in names:
            raise NotFound(f"queue not found: {queue}; this supervisor works on {', '.join(names)}")
        if is_on_a_loop():
            raise Invalid("drain() blocks its thread, where an event loop runs: await drain_async() instead")
        indices = [index for index, name in enumerate(names) if queue in (None, name)]
        with count_ends(self._telemetry) as counts:
            self._drainer = threading.current_thread()
            try:
                Drain(self._engine, self._store, indices, queue).until_nothing_is_due()
            finally:
                self._drainer = None
        return counts

    async def drain_async(self, queue: str | None = None) -> dict[JobState, int]:
        """As `drain`, on a thread of its own, without blocking the event loop."""
        return await asyncio.to_thread(self.drain, queue)

    # --- parts ---

    @property
    def telemetry(self) -> Telemetry:
        """Where to attach handlers of events."""
        return self._telemetry

    @property
    def store(self) -> Store:
        """The store itself, with its verbs."""
        return self._store

    @property
    def node(self) -> str:
        """The incarnation of this node: 32 hexadecimal digits, new at each start."""
        return self._engine.node

    def _on_mask(self, mask: int) -> None:
        self._engine.set_event_mask(mask)

    def __repr__(self) -> str:
        """Its store and queues."""
        names = ", ".join(f"{q.name}:{q.concurrency}" for q in self._queues)
        return f"<Supervisor {self._store!r} {names} {'running' if self.is_running else 'not started'}>"


def _queues(given: Mapping[str, int] | Iterable[Queue]) -> tuple[Queue, ...]:
    if isinstance(given, Mapping):
        by_name = cast("Mapping[str, int]", given)
        return tuple(Queue(name, concurrency) for name, concurrency in by_name.items())
    several = isinstance(cast("object", given), Iterable) and not isinstance(given, str)
    queues = cast("tuple[object, ...]", tuple(given) if several else (given,))
    for queue in queues:
        if not isinstance(queue, Queue):
            raise invalid("queues", "must map names to concurrency, or be a list of Queue(name, ...)", queue)
    return cast("tuple[Queue, ...]", queues)


def _age(kept: Seconds | None) -> float | None:
    return kept.total_seconds() if isinstance(kept, timedelta) else kept


os.register_at_fork(after_in_child=Engine.forked)
# After the threads that are no daemons have been joined; those that are may still be in a call of ours.
atexit.register(end_calls)
