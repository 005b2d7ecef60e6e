"""What runs handlers: threads, an event loop, and the verdict on how an attempt ended.

The loops are Python's and call the engine once per job, which takes the last outcome and gives the next job. No frame
of the engine lies below a handler, so that a handler which is still busy when the interpreter ends cannot abort the
process (ADR 0001).
"""

import asyncio
import contextlib
import contextvars
import logging
import os
import threading
import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from concurrent.futures import CancelledError as FutureCancelledError
from queue import SimpleQueue
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias, cast

from zjobs._engine import Backoff, JobContext, Outcome
from zjobs.codec import dump
from zjobs.errors import Invalid, StoreUnavailable, invalid
from zjobs.options import Cancel, Discard, Snooze
from zjobs.retry import again

if TYPE_CHECKING:
    from zjobs._engine import Slot
    from zjobs.worker import Registered

__all__ = ["LoopCrew", "ThreadCrew", "call_on", "failure", "job_logger", "run_thread_slot", "verdict"]

_LOG = logging.getLogger("zjobs")
_FRAMES = 60
_OUR_FRAMES = {"zjobs._runner", "zjobs.signature", "asyncio.runners", "asyncio.base_events"}
_BREATH = 32
_Verdict: TypeAlias = Snooze | Cancel | Discard
_VERDICTS = (Snooze, Cancel, Discard)
# Those of compilers other than Python's, too.
_UNRUN_WORK = (Coroutine, Generator, AsyncGenerator)


def run_thread_slot(slot: "Slot") -> None:
    """Runs jobs one after another until the engine needs the thread no more."""
    take = slot.take
    outcome = None
    try:
        while (call := take(outcome)) is not None:
            invoke, payload, ctx = call
            try:
                outcome = invoke(payload, ctx)
                if outcome is not None:
                    outcome = verdict(ctx, outcome)
            except BaseException as error:  # noqa: BLE001 - whatever a handler raises is its job's failure, never the thread's
                outcome = failure(ctx, error)
            # Nothing of this job may live on while the thread waits for the next.
            invoke = payload = ctx = call = None
    except StoreUnavailable:
        _end_child(slot)
        raise


def _end_child(slot: "Slot") -> None:
    """Ends the child of a fork that has come back from a handler: the job is the parent's, and so is the event loop."""
    if slot.is_inherited:
        _LOG.critical(
            "a handler forked, and the child came back from it, where nothing is its own: end it by os._exit()"
        )
        os._exit(1)


def _run_to_the_end(slot: "Slot") -> None:
    """As `run_thread_slot`, also when the machinery between two jobs breaks, for want of memory for example."""
    while True:
        try:
            run_thread_slot(slot)
        except BaseException as error:
            if slot.attempt is None:
                raise
            slot.put(_UNREADABLE)
            _LOG.error("a slot broke; its job fails and the slot goes on", exc_info=error)
        else:
            return


async def _run_loop_slot(slot: "Slot", pristine: contextvars.Context) -> bool:
    """Runs coroutine jobs until none is ready; true when the next one needs a fresh task."""
    outcome = None
    runs = 0
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    try:
        while (call := slot.take(outcome)) is not None:
            invoke, payload, ctx = call
            try:
                outcome = await invoke(payload, ctx)
                if outcome is not None:
                    outcome = verdict(ctx, outcome)
            except GeneratorExit as error:
                outcome = failure(ctx, error)
                if not _is_running(loop):
                    # Not the handler's own: the coroutine is thrown away, and must not begin another job.
                    slot.put(outcome)
                    return False
            except BaseException as error:  # noqa: BLE001 - SystemExit and CancelledError included: the loop must go on
                outcome = failure(ctx, error)
            invoke = payload = ctx = call = None
            # A cancellation that came too late stays with the task, before Python 3.13 even after `uncancel`. The
            # contexts are equal in constant time while nobody has set a variable: both share one tree.
            if (task is not None and task.cancelling()) or contextvars.copy_context() != pristine:
                slot.put(outcome)
                return True
            runs += 1
            if runs % _BREATH == 0:
                # Coroutines that never wait must not starve the loop. Whoever cancels this task now undoes no job.
                slot.put(outcome)
                outcome = None
                await asyncio.sleep(0)
    except StoreUnavailable:
        _end_child(slot)
        raise
    return False


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def verdict(ctx: JobContext, value: object) -> Outcome | None:
    """What a returned value means: a verdict of its own, a result to keep, or nothing."""
    if issubclass(type(value), _VERDICTS):
        return _said(cast("_Verdict", value))
    if issubclass(type(value), _UNRUN_WORK):
        raise _not_run(value)
    worker: Registered = ctx._worker  # noqa: SLF001 - the engine hands our own record back
    return Outcome.completed(dump("result", value)) if worker.keep_result else None


def _not_run(value: object) -> Invalid:
    """The error for a handler that has only made what would do the work: nobody runs that."""
    if not issubclass(type(value), Coroutine):
        return invalid("result", "must not be a generator that nobody goes through: make a list of it", value)
    rule = "must not be a coroutine that nobody awaits: let the handler and what decorates it be 'async def', and await"
    error = invalid("result", rule, value)
    # Else the interpreter says, some time later, that it was never awaited; this error says more.
    with contextlib.suppress(BaseException):
        cast("Coroutine[object, object, object]", value).close()
    return error


def _said(value: _Verdict) -> Outcome:
    match value:
        case Snooze():
            return Outcome.snoozed(value.seconds)
        case Cancel():
            return Outcome.cancelled(_storable(value.reason))
        case Discard():
            return Outcome.discarded(_storable(value.reason))


def failure(ctx: JobContext, error: BaseException) -> Outcome:
    """The outcome of an attempt that raised. Never raises itself, whatever the exception does."""
    try:
        # Its type, not `isinstance`, which believes what a foreign `__class__` says.
        if issubclass(type(error), _VERDICTS):
            return _said(cast("_Verdict", error))
        stopped = issubclass(type(error), (asyncio.CancelledError, FutureCancelledError)) and ctx.cancelled
        if stopped and not ctx.timed_out:
            # Asked to stop, and did: unless somebody wants the job cancelled, it goes back with its attempt.
            return Outcome.released()
        kind, message, frames = _name(error), _text(error), _traceback(error)
        worker: Registered = ctx._worker  # noqa: SLF001 - the engine hands our own record back
        backoff = worker.backoff
        if backoff is not None and worker.strategy.retries(error):
            return Outcome.failed(kind, message, frames, backoff=backoff)
        delay = again(worker.strategy, ctx.attempt, ctx.job.id, error)
        return Outcome.failed(kind, message, frames, delay=delay)
    except BaseException:  # noqa: BLE001 - out of memory, out of stack, or a hostile exception: this form cannot fail
        return _UNREADABLE


_FALLBACK = Backoff.exponential(15.0, 3600.0, True)  # noqa: FBT003 - the engine's own order
# Made beforehand: it is for when there is no memory, no stack or no way to read the exception.
_UNREADABLE = Outcome.failed("Exception", "(the exception could not be read)", "", backoff=_FALLBACK)
_LONGEST_TEXT = 100_000


def _storable(text: str) -> str:
    # The engine keeps less, of the head and of the tail; this only spares it a walk through a giant.
    bounded = text if len(text) <= 2 * _LONGEST_TEXT else text[:_LONGEST_TEXT] + text[-_LONGEST_TEXT:]
    return str.encode(bounded, errors="replace").decode()


def _name(error: BaseException) -> str:
    # A metaclass may hide the name; what it hides is still there.
    return str(type.__dict__["__name__"].__get__(type(error)))


def _text(error: BaseException) -> str:
    try:
        return _storable(str(error))
    except BaseException:  # noqa: BLE001 - a foreign __str__ may raise anything
        return f"(the text of {_name(error)} could not be read)"


def _traceback(error: BaseException) -> str:
    try:
        start = _handlers_own(error.__traceback__)
        lines = traceback.format_exception(type(error), error, start, limit=-_FRAMES)
        return _storable("".join(lines))
    except BaseException:  # noqa: BLE001 - formatting walks foreign objects
        return ""


def _handlers_own(start: TracebackType | None) -> TracebackType | None:
    """From the handler's first frame on: those above it are ours and the event loop's, the same for all jobs."""
    place = start
    while place is not None and place.tb_frame.f_globals.get("__name__") in _OUR_FRAMES:
        place = place.tb_next
    return start if place is None else place


def job_logger(job_id: int, worker: str, queue: str, attempt: int) -> logging.LoggerAdapter[logging.Logger]:
    """The logger of one attempt."""
    extra = {"job_id": job_id, "worker": worker, "queue": queue, "attempt": attempt}
    return logging.LoggerAdapter(logging.getLogger(f"zjobs.job.{worker}"), extra)


class ThreadCrew:
    """The threads that run plain functions."""

    def __init__(self, new_slot: Callable[[int], "Slot"], names: list[str], is_running: Callable[[], bool]) -> None:
        """No thread yet."""
        self._new_slot = new_slot
        self._is_running = is_running
        self._names = names
        self._crews: list[dict[threading.Thread, Slot]] = [{} for _ in names]
        self._wanted = [0] * len(names)
        # Reentrant: a signal handler may scale a queue on the thread that is starting it.
        self._lock = threading.RLock()
        self._gate = threading.Event()

    def hold(self) -> None:
        """New threads wait at a gate until `release`.

        Each start of a thread needs the interpreter's lock several times. Handlers that compute give it up only every
        five milliseconds, so the last of many threads would be seconds late if the first began at once.
        """
        self._gate.clear()

    def release(self) -> None:
        """Lets the threads begin."""
        self._gate.set()

    def reinforce(self, queue: int, slots: int) -> None:
        """Brings the queue to so many threads that are free to take jobs, and keeps it there until `dismiss`.

        Not while the supervisor stops and afterwards: a new thread would be told to end at once, and be replaced.
        """
        with self._lock:
            if self._is_running():
                self._wanted[queue] = max(self._wanted[queue], slots)
                self._fill(queue)

    def dismiss(self) -> None:
        """Threads that end are not replaced any more."""
        with self._lock:
            self._wanted = [0] * len(self._names)

    def join(self, seconds: float) -> None:
        """Waits for threads that are on their way out, at most so long in all."""
        until = monotonic() + seconds
        for thread in self._living():
            if thread is not threading.current_thread():
                thread.join(max(until - monotonic(), 0.0))

    def has(self, thread: threading.Thread) -> bool:
        """Whether the thread is one of these."""
        return thread in self._living()

    def _living(self) -> list[threading.Thread]:
        with self._lock:
            return [thread for crew in self._crews for thread in crew]

    def _fill(self, queue: int) -> None:
        crew = self._crews[queue]
        for thread, slot in list(crew.items()):
            if slot.is_replaced:
                del crew[thread]
        for _ in range(len(crew), self._wanted[queue]):
            slot = self._new_slot(queue)
            name = f"zjobs-{self._names[queue]}-{len(crew) + 1}"
            # Daemons: a handler that never returns must not keep the interpreter.
            thread = threading.Thread(target=self._serve, args=(queue, slot), name=name, daemon=True)
            crew[thread] = slot
            try:
                thread.start()
            except BaseException:
                del crew[thread]
                raise

    def _serve(self, queue: int, slot: "Slot") -> None:
        self._gate.wait()
        try:
            _run_to_the_end(slot)
        finally:
            with self._lock:
                self._crews[queue].pop(threading.current_thread(), None)
                # It may have been told to end by a stop that a start has followed since.
                if self._is_running():
                    self._fill(queue)


def call_on(loop: asyncio.AbstractEventLoop | None, call: Callable[[], object]) -> None:
    """Calls on an event loop, from any thread; nothing where there is none any more.

    Raises:
        RuntimeError: There is too little stack for it, and the loop has not heard: the engine calls again.
    """
    if loop is None:
        return
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:  # a closed loop is such an error, too
        if not loop.is_closed():
            raise


class LoopCrew:
    """The event loop that runs coroutines, on a thread of its own."""

    def __init__(
        self, hear: Callable[[], tuple[list[tuple[int, int]], list[int]]], new_slot: Callable[[int], "Slot"]
    ) -> None:
        """No thread and no loop yet."""
        self._hear = hear
        self._new_slot = new_slot
        # None also tells a loop that still runs that it is not wanted any more.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._slots: dict[asyncio.Task[bool], tuple[int, Slot]] = {}
        # Never closed: the numbers of the files that they had may belong to others by now.
        self._broken: list[object] = []
        self._pristine = contextvars.Context()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Starts the loop, once.

        Raises:
            OSError: There are too many open files for another loop.
        """
        with self._lock:
            if self._loop is not None:
                return
            began: SimpleQueue[BaseException | None] = SimpleQueue()
            self._thread = threading.Thread(target=self._run, args=(began,), name="zjobs-loop", daemon=True)
            self._thread.start()
            failed = began.get()
            if failed is not None:
                raise failed

    def ring(self) -> None:
        """Tells the loop, from any thread, that there is work or somebody to interrupt."""
        call_on(self._loop, self._answer)

    def has(self, thread: threading.Thread) -> bool:
        """Whether the loop runs on this thread."""
        return thread is self._thread

    def _run(self, began: "SimpleQueue[BaseException | None]") -> None:
        runner = asyncio.Runner()
        try:
            loop = runner.get_loop()
            # Here, where no Ctrl-C cuts it short: jobs may wait that were claimed before there was a loop.
            loop.call_soon(self._answer)
            self._loop = loop
        except BaseException as error:  # noqa: BLE001 - raised again by `start`, on the thread that waits for it
            began.put(error)
            return
        began.put(None)
        while self._loop is loop:
            try:
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                # Out of a task or a callback that a handler left behind; the loop itself is sound.
                _LOG.error("%s in the event loop, outside of any job; the loop goes on", type(error).__name__)
            except BaseException as error:  # noqa: BLE001 - such as its files closed by a handler
                _LOG.critical("the event loop broke; its jobs fail and a new loop takes over", exc_info=error)
                self._broken.append((runner, *self._slots))
                self._take_over(loop, error)
                return
        with contextlib.suppress(BaseException):
            runner.close()

    def _take_over(self, broken: asyncio.AbstractEventLoop, error: BaseException) -> None:
        text = f"the event loop of this job broke: {type(error).__name__}: {error}"
        for task, (_, slot) in list(self._slots.items()):
            if task.get_loop() is broken:
                del self._slots[task]
                slot.put(Outcome.failed("LoopBroken", text, "", backoff=_FALLBACK))
        with self._lock:
            if self._loop is not broken:
                return
            self._loop = None
        try:
            self.start()
        except BaseException:  # noqa: BLE001 - the last words of this thread
            _LOG.exception("no new event loop can start; coroutine jobs wait until this supervisor is started again")

    def _answer(self) -> None:
        interrupted, ready = self._hear()
        if interrupted:
            wanted = set(interrupted)
            for task, (_, slot) in list(self._slots.items()):
                if slot.attempt in wanted:
                    task.cancel("the job was asked to stop")
        for queue, count in enumerate(ready):
            for _ in range(count):
                self._open(queue, self._new_slot(queue))

    def _open(self, queue: int, slot: "Slot") -> None:
        # Not by the loop's factory of tasks, which a handler may have changed.
        loop = asyncio.get_running_loop()
        task = asyncio.Task(_run_loop_slot(slot, self._pristine), loop=loop, context=self._pristine.copy())
        self._slots[task] = (queue, slot)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[bool]) -> None:
        place = self._slots.pop(task, None)
        if place is None:
            return
        queue, slot = place
        # Somebody else may have cancelled it, between two jobs.
        broken = task.cancelled() or task.exception() is not None
        if broken:
            slot.put(_UNREADABLE)
        if (broken or task.result()) and task.get_loop() is self._loop:
            # Before anything is said: jobs may wait here for which nobody else comes.
            self._open(queue, slot)
        if broken and not task.cancelled():
            _LOG.error("a coroutine slot broke; its job fails and the slot goes on", exc_info=task.exception())

    def stop(self, is_running: Callable[[], bool]) -> None:
        """Ends the loop; coroutines that still run are cancelled. Not when another thread has started it all again."""
        with self._lock:
            if is_running():
                # That start has found this loop, or will.
                return
            loop, self._loop = self._loop, None
            thread = self._thread
        if loop is None or thread is None:
            return
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join(1.0)
