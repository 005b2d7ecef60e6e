"""Jobs that coroutines enqueue at about the same time share one write, so that an event loop never waits for each."""

import asyncio
import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from zjobs.errors import EnqueueUncertain, StoreUnavailable

if TYPE_CHECKING:
    from zjobs._engine import Prepared
    from zjobs.job import Job

__all__ = ["Together"]

_Write = Callable[[Sequence["Prepared"]], "Sequence[Job]"]
_Asked = tuple["Prepared", "asyncio.Future[Job]"]

_MOST = 2000
"""Jobs in one write: more would make the first of them wait for the last."""


class Together:
    """The lines of jobs to be enqueued, one for each event loop.

    One write is on its way at a time; who comes meanwhile shares the next. A lone call goes at once.

    Args:
        write: Inserts jobs in one write, all or none. It may wait, so it is called on a thread.
    """

    def __init__(self, write: _Write) -> None:
        self._write = write
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()

    async def enqueue(self, job: "Prepared") -> "Job":
        """Inserts the job, perhaps with others; its own error is its own.

        Raises:
            EnqueueUncertain: Nobody knows whether it was inserted; so it is for all that shared the write.
            StoreUnavailable: Nothing was inserted, unless it has a unique key: then it may be enqueued again as it is.
        """
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            line = self._lines[loop] = _Line(self._write)
        return await line.join(loop, job)


class _Line:
    def __init__(self, write: _Write) -> None:
        self._write = write
        self._waiting: list[_Asked] = []
        self._busy = False

    def join(self, loop: asyncio.AbstractEventLoop, job: "Prepared") -> "asyncio.Future[Job]":
        future: asyncio.Future[Job] = loop.create_future()
        self._waiting.append((job, future))
        if not self._busy:
            self._busy = True
            # Not now: all that are ready to run in this turn of the loop go together.
            loop.call_soon(self._send, loop)
        return future

    def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        try:
            written = loop.run_in_executor(None, self._replies, [job for job, _ in batch])
        except RuntimeError as error:  # the loop's threads have been shut down
            self._tell(batch, [error] * len(batch))
            self._busy = False
            return
        written.add_done_callback(lambda done: self._on_written(loop, batch, done))

    def _on_written(
        self, loop: asyncio.AbstractEventLoop, batch: list[_Asked], done: "asyncio.Future[list[Job | Exception]]"
    ) -> None:
        if done.cancelled():
            for _, future in batch:
                future.cancel()
        else:
            self._tell(batch, done.result())
        if self._waiting:
            self._send(loop)
        else:
            self._busy = False

    @staticmethod
    def _tell(batch: list[_Asked], replies: "Sequence[Job | Exception]") -> None:
        for (_, future), reply in zip(batch, replies, strict=True):
            if future.done():
                continue  # whoever asked was cancelled
            if isinstance(reply, Exception):
                # Raised in several tasks, one error would gather the tracebacks of all.
                future.set_exception(copy.copy(reply))
            else:
                future.set_result(reply)

    def _replies(self, jobs: "list[Prepared]") -> "list[Job | Exception]":
        try:
            return list(self._write(jobs))
        except (EnqueueUncertain, StoreUnavailable) as error:
            return [error] * len(jobs)
        except Exception as error:  # noqa: BLE001 - it is raised to whoever asked
            # Nothing was inserted. One of them is to blame: the others must not suffer for it.
            return [error] if len(jobs) == 1 else [reply for job in jobs for reply in self._replies([job])]
