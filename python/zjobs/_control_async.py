"""The async twins of what people do by hand: same names with ``_async``, never blocking the event loop."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeVar, Unpack

from zjobs._control import Control, JobRows, NodeRows, QueueRows, Which
from zjobs._runner import call_on
from zjobs._schedules import CronRows, Schedules
from zjobs.job import Job, JobState
from zjobs.options import Seconds, seconds

__all__ = ["AsyncControl", "Settling"]

R = TypeVar("R")

_SLICE = 0.1


class Settling:
    """Those on event loops who wait for jobs to settle, by one call at a time that the engine keeps for them all.

    In a process that only enqueues nothing may ever settle, so nothing of a wait that is over stays here or there.
    """

    def __init__(self) -> None:
        """Nobody waits."""
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._call: _Call | None = None

    def await_next(self, event: asyncio.Event, on_settled: Callable[[Callable[[], object]], None]) -> None:
        """Sets the event, of the loop that runs here, when a job settles from now on; until `forget`."""
        self._waiting[event] = asyncio.get_running_loop()
        if self._call is None or self._call.is_made:
            # Two threads may come here at the same time. Each has a call then, and hears of what it looks at next.
            call = _Call(self._waiting)
            on_settled(call)
            self._call = call

    def forget(self, event: asyncio.Event) -> None:
        """It is awaited no longer."""
        self._waiting.pop(event, None)


class _Call:
    """Wakes everybody, once. It knows nothing of the engine that keeps it."""

    def __init__(self, waiting: dict[asyncio.Event, asyncio.AbstractEventLoop]) -> None:
        self._waiting = waiting
        self.is_made = False

    def __call__(self) -> None:
        # Whoever comes from now on needs another one.
        self.is_made = True
        for event, loop in list(self._waiting.items()):
            call_on(loop, event.set)


class AsyncControl(Control, Schedules):
    """`Control` and `Schedules` for callers on an event loop.

    A store that never waits is called on the spot, others on a thread.
    """

    _settling: Settling

    async def _on_thread(self, call: Callable[[], R]) -> R:
        return await asyncio.to_thread(call) if self._store.blocks else call()

    async def get_async(self, job: Job | int) -> Job:
        """As `get`, without blocking the event loop."""
        return await self._on_thread(lambda: self.get(job))

    async def list_async(self, **which: Unpack[Which]) -> JobRows:
        """As `list`, without blocking the event loop."""
        return await self._on_thread(lambda: self.list(**which))

    async def count_async(self, **which: Unpack[Which]) -> int:
        """As `count`, without blocking the event loop."""
        return await self._on_thread(lambda: self.count(**which))

    async def count_by_state_async(self, queue: str | None = None) -> dict[JobState, int]:
        """As `count_by_state`, without blocking the event loop."""
        return await self._on_thread(lambda: self.count_by_state(queue))

    async def cancel_async(self, job: Job | int) -> Job:
        """As `cancel`, without blocking the event loop."""
        return await self._on_thread(lambda: self.cancel(job))

    async def cancel_many_async(self, **which: Unpack[Which]) -> int:
        """As `cancel_many`, without blocking the event loop."""
        return await self._on_thread(lambda: self.cancel_many(**which))

    async def retry_async(self, job: Job | int) -> Job:
        """As `retry`, without blocking the event loop."""
        return await self._on_thread(lambda: self.retry(job))

    async def retry_many_async(self, **which: Unpack[Which]) -> int:
        """As `retry_many`, without blocking the event loop."""
        return await self._on_thread(lambda: self.retry_many(**which))

    async def delete_async(self, job: Job | int) -> None:
        """As `delete`, without blocking the event loop."""
        return await self._on_thread(lambda: self.delete(job))

    async def delete_many_async(self, **which: Unpack[Which]) -> int:
        """As `delete_many`, without blocking the event loop."""
        return await self._on_thread(lambda: self.delete_many(**which))

    async def delete_completed_async(self, older_than: Seconds) -> int:
        """As `delete_completed`, without blocking the event loop."""
        return await self._on_thread(lambda: self.delete_completed(older_than))

    async def prune_async(self) -> int:
        """As `prune`, without blocking the event loop."""
        return await self._on_thread(self.prune)

    async def rescue_stuck_async(self) -> int:
        """As `rescue_stuck`, without blocking the event loop."""
        return await self._on_thread(self.rescue_stuck)

    async def pause_queue_async(self, queue: str) -> None:
        """As `pause_queue`, without blocking the event loop."""
        return await self._on_thread(lambda: self.pause_queue(queue))

    async def resume_queue_async(self, queue: str) -> None:
        """As `resume_queue`, without blocking the event loop."""
        return await self._on_thread(lambda: self.resume_queue(queue))

    async def scale_queue_async(self, queue: str, concurrency: int | None) -> None:
        """As `scale_queue`, without blocking the event loop."""
        return await self._on_thread(lambda: self.scale_queue(queue, concurrency))

    async def queue_list_async(self) -> QueueRows:
        """As `queue_list`, without blocking the event loop."""
        return await self._on_thread(self.queue_list)

    async def nodes_async(self) -> NodeRows:
        """As `nodes`, without blocking the event loop."""
        return await self._on_thread(self.nodes)

    async def crons_async(self) -> CronRows:
        """As `crons`, without blocking the event loop."""
        return await self._on_thread(self.crons)

    async def pause_cron_async(self, name: str) -> None:
        """As `pause_cron`, without blocking the event loop."""
        return await self._on_thread(lambda: self.pause_cron(name))

    async def resume_cron_async(self, name: str) -> None:
        """As `resume_cron`, without blocking the event loop."""
        return await self._on_thread(lambda: self.resume_cron(name))

    async def run_cron_async(self, name: str) -> Job:
        """As `run_cron`, without blocking the event loop."""
        return await self._on_thread(lambda: self.run_cron(name))

    async def delete_cron_async(self, name: str) -> None:
        """As `delete_cron`, without blocking the event loop."""
        return await self._on_thread(lambda: self.delete_cron(name))

    async def wait_async(self, job: Job | int, timeout: Seconds | None = None) -> Job:  # noqa: ASYNC109 - as `wait`
        """As `wait`, without blocking the event loop; it holds no thread while it waits."""
        left = None if timeout is None else seconds("timeout", timeout)
        loop = asyncio.get_running_loop()
        until = None if left is None else loop.time() + left
        settled = asyncio.Event()
        try:
            while True:
                settled.clear()
                self._settling.await_next(settled, self._engine.on_settled)
                found = await self.get_async(job)
                if found.state.is_final:
                    return found
                rest = None if until is None else until - loop.time()
                if rest is not None and rest <= 0:
                    raise TimeoutError(f"job {found.id} is still {found.state} after {left} seconds")
                # Another process may settle it without a signal, when the store is shared between processes.
                slices = [part for part in (rest, _SLICE if self._store.blocks else None) if part is not None]
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(settled.wait(), min(slices, default=None))
        finally:
            self._settling.forget(settled)

    async def result_async(self, job: Job | int, timeout: Seconds | None = None) -> Any:  # noqa: ANN401, ASYNC109 - as `result`
        """As `result`, without blocking the event loop."""
        return self._result(await self.wait_async(job, timeout))
