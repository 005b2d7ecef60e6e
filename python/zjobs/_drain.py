"""What runs the jobs of a `drain`: the thread that called it, and an event loop that turns while a coroutine runs."""

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from zjobs._engine import JobContext, Outcome
from zjobs._runner import call_on, failure, verdict
from zjobs.job import JobState
from zjobs.rows import JobFilter
from zjobs.telemetry import JobCancelled, JobCompleted, JobDiscarded, JobFailed, JobSnoozed

if TYPE_CHECKING:
    from zjobs._engine import Engine, Slot
    from zjobs.store import Store
    from zjobs.telemetry import Telemetry

__all__ = ["Drain", "Here", "count_ends", "is_on_a_loop"]

_UNRUN = Outcome.released()
_LOOKS = 1000
"""For what another thread has claimed; what a paused queue holds never comes."""
_PAGE = 100


def is_on_a_loop() -> bool:
    """Whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextlib.contextmanager
def count_ends(telemetry: "Telemetry") -> Generator[dict[JobState, int]]:
    """How many attempts lead to each state while the block runs."""
    counts: dict[JobState, int] = {}

    def count(event: JobCompleted | JobFailed | JobDiscarded | JobCancelled | JobSnoozed) -> None:
        state = event.result.job.state
        counts[state] = counts.get(state, 0) + 1

    kinds = (JobCompleted, JobFailed, JobDiscarded, JobCancelled, JobSnoozed)
    handle = telemetry.attach(count, kinds)  # pyright: ignore[reportArgumentType] - only these kinds come
    try:
        yield counts
    finally:
        telemetry.detach(handle)


class Drain:
    """Lets an engine that is not started work in this thread, on some of its queues, until nothing is due."""

    def __init__(self, engine: "Engine", store: "Store", indices: list[int], queue: str | None) -> None:
        """The queues by their places in the engine, and the name when it is one."""
        self._engine = engine
        self._store = store
        self._indices = indices
        self._queue = queue

    def until_nothing_is_due(self) -> None:
        """Starts the engine, runs what is due and what becomes due meanwhile, and stops it."""
        # What has become due takes its place in the order before the engine claims for the first time.
        self._store.stage()
        # Its loop first: the engine rings as soon as it starts.
        with Here(self._engine.hear) as here:
            self._engine.start(here.ring, lambda _queue, _slots: None, lambda _job: None)
            try:
                looks = 0
                while looks < _LOOKS:
                    if self._once(here):
                        looks = 0
                    elif self._is_claiming():
                        looks += 1
                    else:
                        break
            finally:
                self._engine.stop(0)

    def _once(self, here: "Here") -> bool:
        self._store.stage()
        ran = False
        for index in self._indices:
            if self._store.blocks:
                # Its own thread claims from it, too late for whoever looks only once.
                self._engine.claim_here(index)
            for coroutines in (False, True):
                ran |= here.run(self._engine.slot(index, coroutines), coroutines=coroutines)
        if self._store.blocks:
            self._engine.flush()
        return ran

    def _is_claiming(self) -> bool:
        """Whether the engine's own thread has claimed a job that is not where it is taken from yet."""
        if self._store.blocks:
            return False  # `claim_here` claims on this thread.
        time.sleep(0)
        running = self._store.list(JobFilter(states=(JobState.EXECUTING,), queue=self._queue, limit=_PAGE))
        return any(job.node == self._engine.node for job in running)


class Here:
    """Runs jobs in this thread, one after another."""

    def __init__(self, hear: Callable[[], tuple[list[tuple[int, int]], list[int]]]) -> None:
        """No loop yet: it is made in the `with` block."""
        self._hear = hear
        self._runner = asyncio.Runner()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slot: Slot | None = None
        self._task: asyncio.Task[Any] | None = None
        # How often that task was asked to stop from here, and how it ended.
        self._asked = 0
        self._outcome: Outcome | None = None

    def __enter__(self) -> Self:
        """Makes the loop."""
        self._runner.__enter__()
        self._loop = self._runner.get_loop()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Ends the loop, and what jobs have left on it."""
        self._loop = None
        self._runner.__exit__(kind, error, at)

    def ring(self) -> None:
        """Tells the loop, from any thread, that there is somebody to interrupt. What may begin is looked for anyway."""
        call_on(self._loop, self._answer)

    def _answer(self) -> None:
        interrupted, _ = self._hear()
        if self._task is not None and self._slot is not None and self._slot.attempt in interrupted:
            self._asked += 1
            self._task.cancel("the job was asked to stop")

    def run(self, slot: "Slot", *, coroutines: bool) -> bool:
        """Runs the jobs of one slot until none is ready; true when there was one."""
        ran = False
        # What becomes of the job in hand when Ctrl-C comes: before its handler has begun it goes back as it was.
        outcome: Any = _UNRUN
        try:
            while (call := slot.try_take()) is not None:
                invoke, payload, ctx = call
                ran = True
                try:
                    outcome = invoke(payload, ctx)
                    if coroutines:
                        outcome = self._run(slot, ctx, outcome)
                    elif outcome is not None:
                        outcome = verdict(ctx, outcome)
                except KeyboardInterrupt as error:
                    outcome = failure(ctx, error)
                    raise
                except BaseException as error:  # noqa: BLE001 - the job's failure, not ours
                    outcome = failure(ctx, error)
                slot.put(outcome)
                outcome = _UNRUN
        except KeyboardInterrupt:
            slot.put(outcome)
            raise
        return ran

    def _run(self, slot: "Slot", ctx: JobContext, coroutine: Any) -> Outcome | None:  # noqa: ANN401 - what a coroutine function returned
        self._slot, self._asked, self._outcome = slot, 0, _UNRUN
        try:
            # Nothing of the caller's variables, nor of another job's.
            self._runner.run(self._ended(ctx, coroutine), context=contextvars.Context())
        except asyncio.CancelledError:
            # A handler that has ended may leave its task with a cancellation that came too late.
            if self._outcome is _UNRUN:
                raise
        finally:
            self._slot = self._task = None
        return self._outcome

    async def _ended(self, ctx: JobContext, coroutine: Any) -> None:  # noqa: ANN401 - what a coroutine function returned
        self._task = asyncio.current_task()
        try:
            value = await coroutine
            self._outcome = None if value is None else verdict(ctx, value)
        except asyncio.CancelledError:
            # The runner makes Ctrl-C of it where it is one, and nobody else has asked as well.
            if self._task is not None:
                for _ in range(self._asked):
                    self._task.uncancel()
            raise
        except BaseException as error:  # noqa: BLE001 - the loop would raise SystemExit again, out of this thread
            self._outcome = failure(ctx, error)
