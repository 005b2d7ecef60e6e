"""Counts telemetry events: the numbers behind the live view and the closing table.

Invariants: `finished <= enqueued` for every kind; an attempt is counted once, when it ends; a job is counted as
enqueued once, whoever told first (the enqueue itself or the cron entry that made it).
"""

import math
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from zjobs import Job, JobState
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
class KindTally:
    """One worker's numbers. `waits` (due to claimed) and `runs` (handler time) have one entry per attempt, in ms."""

    queue: str
    priority: int
    enqueued: int = 0
    retries: int = 0
    final: dict[JobState, int] = field(default_factory=dict[JobState, int])
    waits: list[float] = field(default_factory=list[float])
    runs: list[float] = field(default_factory=list[float])

    @property
    def finished(self) -> int:
        """How many jobs are in a final state."""
        return sum(self.final.values())


@dataclass(slots=True)
class QueueTally:
    """One queue's numbers for the live view."""

    slots: int
    enqueued: int = 0
    finished: int = 0
    peak_running: int = 0
    running: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    recent: deque[float] = field(default_factory=deque[float])


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
    """Everything that the live view shows, at one moment."""

    seconds: float
    queues: tuple[QueueNow, ...]
    retrying: int
    retries: int
    discarded: int
    ticks: int
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
            apart: The worker that `busy_seconds` leaves out.
        """
        self.apart = apart
        self._lock = threading.Lock()
        self._seen: set[int] = set()
        self._retrying: set[int] = set()
        self._began = time.monotonic()
        self._last_finished = self._began
        self._last_error = ""
        self.ticks = 0
        self.kinds: dict[str, KindTally] = {}
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

    @property
    def busy_seconds(self) -> float:
        """From the start to the end of the last job, the worker set apart left out."""
        with self._lock:
            return self._last_finished - self._began

    def _enqueued(self, job: Job) -> None:
        if job.id in self._seen:
            return
        self._seen.add(job.id)
        self._kind(job).enqueued += 1
        self.queues[job.queue].enqueued += 1

    def _started(self, job: Job) -> None:
        queue = self.queues[job.queue]
        queue.running.add((job.id, job.attempt))
        queue.peak_running = max(queue.peak_running, len(queue.running))
        self._retrying.discard(job.id)

    def _failed(self, result: JobResult) -> None:
        self._ended(result).retries += 1
        self._retrying.add(result.job.id)
        self._last_error = f"{result.job.worker}: {result.error_msg}"

    def _finished(self, result: JobResult, state: JobState) -> None:
        kind = self._ended(result)
        kind.final[state] = kind.final.get(state, 0) + 1
        self._retrying.discard(result.job.id)
        queue = self.queues[result.job.queue]
        queue.finished += 1
        now = time.monotonic()
        queue.recent.append(now)
        if result.job.worker != self.apart:
            self._last_finished = now

    def _ended(self, result: JobResult) -> KindTally:
        job = result.job
        self.queues[job.queue].running.discard((job.id, job.attempt))
        kind = self._kind(job)
        kind.waits.append(result.queue_ms)
        kind.runs.append(result.duration_ms)
        return kind

    def _kind(self, job: Job) -> KindTally:
        return self.kinds.setdefault(job.worker, KindTally(job.queue, job.priority))

    def now(self) -> Now:
        """What the live view shows, taken in one piece."""
        with self._lock:
            moment = time.monotonic()
            return Now(
                seconds=moment - self._began,
                queues=tuple(self._queue_now(name, queue, moment) for name, queue in self.queues.items()),
                retrying=len(self._retrying),
                retries=sum(kind.retries for kind in self.kinds.values()),
                discarded=sum(kind.final.get(JobState.DISCARDED, 0) for kind in self.kinds.values()),
                ticks=self.ticks,
                last_error=self._last_error,
            )

    def _queue_now(self, name: str, queue: QueueTally, moment: float) -> QueueNow:
        while queue.recent and queue.recent[0] < moment - RATE_WINDOW_SECONDS:
            queue.recent.popleft()
        window = min(RATE_WINDOW_SECONDS, max(moment - self._began, 0.1))
        rate = len(queue.recent) / window
        return QueueNow(name, queue.slots, queue.enqueued, queue.finished, len(queue.running), rate)
