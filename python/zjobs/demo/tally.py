"""Counts telemetry events of this process: the numbers behind the live view, and how long attempts took.

Invariants: `finished <= enqueued` for every queue; an attempt is counted once, when it ends; a job is counted as
enqueued once, whoever told first (the enqueue itself or the cron entry that made it). What other lives of the jobs did,
before this process or beside it, telemetry cannot tell: `Tally.meet` takes that from the store.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from zjobs import Job, JobState
from zjobs.store import QueueInfo
from zjobs.telemetry import (
    CronTicked,
    Event,
    JobCancelled,
    JobCompleted,
    JobDiscarded,
    JobEnqueued,
    JobFailed,
    JobReleased,
    JobResult,
    JobStarted,
)

RATE_WINDOW_SECONDS = 2.0
"""Live rates look back this far."""


def percentile(values: Iterable[float], percent: float) -> float | None:
    """The nearest-rank percentile: the smallest value that at least `percent` of all values do not exceed.

    Returns `None` for no values. Rank is `ceil(percent / 100 * n)`, as in ISO 3534-1.
    """
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(1, math.ceil(percent / 100 * len(ordered))) - 1]


@dataclass(slots=True)
class Attempts:
    """One worker's attempts in this process: `waits` (due to claimed) and `runs` (handler time), in ms."""

    waits: list[float] = field(default_factory=list[float])
    runs: list[float] = field(default_factory=list[float])


@dataclass(slots=True)
class QueueTally:
    """One queue's numbers for the live view. Those of other lives stand apart: the store is asked for them."""

    slots: int
    enqueued: int = 0
    finished: int = 0
    enqueued_elsewhere: int = 0
    finished_elsewhere: int = 0
    peak_running: int = 0
    running: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    recent: deque[float] = field(default_factory=deque[float])

    @property
    def running_now(self) -> int:
        """How many jobs run: no more than there are slots. Further ones have ended, and wait to be told of."""
        return min(len(self.running), self.slots)


@dataclass(frozen=True, slots=True)
class QueueNow:
    """One queue at one moment. `rate` is jobs finished per second, of late."""

    name: str
    slots: int
    enqueued: int
    finished: int
    running: int
    rate: float


@dataclass(frozen=True, slots=True)
class Now:
    """Everything that the live view shows, at one moment. `retries` are those of this run, `continued` or not."""

    seconds: float
    queues: tuple[QueueNow, ...]
    continued: bool
    retrying: int
    retries: int
    discarded: int
    ticks: int
    finished_apart: int
    last_error: str

    @property
    def enqueued(self) -> int:
        """Jobs over all queues."""
        return sum(queue.enqueued for queue in self.queues)

    @property
    def finished(self) -> int:
        """Jobs in a final state, over all queues."""
        return sum(queue.finished for queue in self.queues)

    @property
    def running(self) -> int:
        """Jobs in flight, over all queues."""
        return sum(queue.running for queue in self.queues)

    @property
    def rate(self) -> float:
        """Jobs finished per second, of late, over all queues."""
        return sum(queue.rate for queue in self.queues)


class Tally:
    """A telemetry handler that counts. Events come from many threads; a short lock keeps the counts whole."""

    def __init__(self, queues: dict[str, int], *, apart: str) -> None:
        """Start with nothing counted.

        Args:
            queues: Queue name to concurrency.
            apart: The worker that `busy_seconds` and `jobs_per_second` leave out.
        """
        self.apart = apart
        self._lock = threading.Lock()
        self._seen: set[int] = set()
        self._retrying: set[int] = set()
        self._began = time.monotonic()
        self._last_finished = self._began
        self._last_error = ""
        self._discarded = self._discarded_elsewhere = 0
        self.ticks = self.retries = self.finished = self.finished_apart = 0
        self.attempts: dict[str, Attempts] = {}
        self.queues = {name: QueueTally(slots) for name, slots in queues.items()}

    def __call__(self, event: Event) -> None:
        """Count one event."""
        with self._lock:
            match event:
                case JobEnqueued(job):
                    self._enqueued(job)
                case CronTicked(job=job):
                    self.ticks += 1
                    self._enqueued(job)
                case JobStarted(job):
                    self._started(job)
                case JobFailed(result):
                    self._failed(result)
                case JobCompleted(result):
                    self._finished(result, JobState.COMPLETED)
                case JobDiscarded(result):
                    self._finished(result, JobState.DISCARDED)
                case JobCancelled(result):
                    self._finished(result, JobState.CANCELLED)
                case JobReleased(job):
                    self.queues[job.queue].running.discard((job.id, job.attempt))
                case _:
                    pass

    def start_clock(self) -> None:
        """Rates and durations count from here."""
        with self._lock:
            self._began = self._last_finished = time.monotonic()

    def meet(self, queues: Iterable[QueueInfo], waiting_to_retry: Iterable[Job]) -> None:
        """Take from the store what telemetry cannot tell: the jobs of other lives.

        Args:
            queues: The store's counts, read when no job moves, or give or take those that move.
            waiting_to_retry: Jobs that failed before this process began.
        """
        with self._lock:
            discarded = 0
            for stored in queues:
                if (queue := self.queues.get(stored.name)) is None:
                    continue
                finished = sum(count for state, count in stored.counts.items() if state.is_final)
                queue.enqueued_elsewhere = max(sum(stored.counts.values()) - queue.enqueued, 0)
                queue.finished_elsewhere = max(finished - queue.finished, 0)
                discarded += stored.counts.get(JobState.DISCARDED, 0)
            self._discarded_elsewhere = max(discarded - self._discarded, 0)
            self._retrying.update(job.id for job in waiting_to_retry)

    @property
    def busy_seconds(self) -> float:
        """From the start to the end of the last job, the worker set apart left out."""
        with self._lock:
            return self._last_finished - self._began

    @property
    def jobs_per_second(self) -> float:
        """Jobs that this process finished, the worker set apart left out, over the time until the last of them."""
        seconds = self.busy_seconds
        return (self.finished - self.finished_apart) / seconds if seconds > 0 else 0.0

    def _enqueued(self, job: Job) -> None:
        if job.id in self._seen:
            return
        self._seen.add(job.id)
        self.queues[job.queue].enqueued += 1

    def _started(self, job: Job) -> None:
        queue = self.queues[job.queue]
        queue.running.add((job.id, job.attempt))
        queue.peak_running = max(queue.peak_running, queue.running_now)
        self._retrying.discard(job.id)

    def _failed(self, result: JobResult) -> None:
        self._ended(result)
        self.retries += 1
        self._retrying.add(result.job.id)
        self._last_error = f"{result.job.worker}: {result.error_msg}"

    def _finished(self, result: JobResult, state: JobState) -> None:
        self._ended(result)
        self._discarded += state is JobState.DISCARDED
        self._retrying.discard(result.job.id)
        queue = self.queues[result.job.queue]
        queue.finished += 1
        self.finished += 1
        now = time.monotonic()
        queue.recent.append(now)
        if result.job.worker == self.apart:
            self.finished_apart += 1
        else:
            self._last_finished = now

    def _ended(self, result: JobResult) -> None:
        job = result.job
        self.queues[job.queue].running.discard((job.id, job.attempt))
        attempts = self.attempts.setdefault(job.worker, Attempts())
        if not result.duration_ms:
            return  # nobody knows how long it ran: the process that ran it died
        attempts.waits.append(result.queue_ms)
        attempts.runs.append(result.duration_ms)

    def now(self) -> Now:
        """What the live view shows, taken in one piece."""
        with self._lock:
            moment = time.monotonic()
            return Now(
                seconds=moment - self._began,
                queues=tuple(self._queue_now(name, queue, moment) for name, queue in self.queues.items()),
                continued=any(queue.enqueued_elsewhere for queue in self.queues.values()),
                retrying=len(self._retrying),
                retries=self.retries,
                discarded=self._discarded + self._discarded_elsewhere,
                ticks=self.ticks,
                finished_apart=self.finished_apart,
                last_error=self._last_error,
            )

    def _queue_now(self, name: str, queue: QueueTally, moment: float) -> QueueNow:
        while queue.recent and queue.recent[0] < moment - RATE_WINDOW_SECONDS:
            queue.recent.popleft()
        window = min(RATE_WINDOW_SECONDS, max(moment - self._began, 0.1))
        rate = len(queue.recent) / window
        enqueued = queue.enqueued + queue.enqueued_elsewhere
        finished = min(queue.finished + queue.finished_elsewhere, enqueued)
        return QueueNow(name, queue.slots, enqueued, finished, queue.running_now, rate)
