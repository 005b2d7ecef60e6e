"""What the cases need of a store under test, and the few words they are written in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypedDict, Unpack

from zjobs._engine import NativeStore
from zjobs.job import Job, JobState
from zjobs.options import UniqueStrategy
from zjobs.store import (
    Acked,
    AckRow,
    Enqueued,
    Failure,
    Heartbeat,
    JobEvent,
    JobFilter,
    NewJob,
    Pulse,
    Store,
)

__all__ = ["ALICE", "BOB", "NOBODY", "TTL", "End", "Harness", "Parts", "ids", "new_job"]

TTL = 20.0
ALICE = f"{0xA11CE:032x}"
BOB = f"{0xB0B:032x}"
NOBODY = f"{0x404:032x}"
_PLENTY = 10_000


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ends, as the engine would settle it."""

    event: JobEvent
    to: JobState
    delay_seconds: float | None = None
    error: Failure | None = None
    result_bytes: bytes | None = None

    def ack(self, job: Job) -> AckRow:
        """The write that ends the attempt that ``job`` is in."""
        refund = self.event in {JobEvent.SNOOZE, JobEvent.RELEASE}
        attempt = job.attempt - 1 if refund else job.attempt
        return AckRow(
            job.id, job.lease, self.event, self.to, attempt, self.delay_seconds, self.error, self.result_bytes
        )

    @classmethod
    def done(cls, result_bytes: bytes | None = None) -> "End":
        """The handler returned."""
        return cls(JobEvent.COMPLETE, JobState.COMPLETED, result_bytes=result_bytes)

    @classmethod
    def failed(cls, delay_seconds: float | None = None) -> "End":
        """The handler raised; without a delay for good."""
        to = JobState.DISCARDED if delay_seconds is None else JobState.RETRYABLE
        return cls(JobEvent.FAIL, to, delay_seconds, Failure("ValueError", "no such address", "line 3"))

    @classmethod
    def snoozed(cls, delay_seconds: float) -> "End":
        """The handler asked to run later."""
        return cls(JobEvent.SNOOZE, JobState.SCHEDULED, delay_seconds)

    @classmethod
    def cancelled(cls) -> "End":
        """The handler, or a person, wanted it gone."""
        return cls(JobEvent.CANCEL, JobState.CANCELLED, error=Failure("Cancel", "not needed"))

    @classmethod
    def released(cls) -> "End":
        """It never ran."""
        return cls(JobEvent.RELEASE, JobState.AVAILABLE)

    @classmethod
    def at(cls, state: JobState) -> "End":
        """The end that leads to that state; those that wait do so for a minute."""
        return {
            JobState.COMPLETED: cls.done(),
            JobState.CANCELLED: cls.cancelled(),
            JobState.DISCARDED: cls.failed(),
            JobState.RETRYABLE: cls.failed(60),
            JobState.SCHEDULED: cls.snoozed(60),
            JobState.AVAILABLE: cls.released(),
        }[state]


class Parts(TypedDict, total=False):
    """The parts of a `NewJob`, by keyword."""

    worker: str
    args_bytes: bytes
    queue: str
    priority: int
    max_attempts: int
    scheduled_at: datetime | None
    schedule_in: float | None
    timeout_seconds: float | None
    unique_key: str | None
    unique_strategy: UniqueStrategy
    tags: tuple[str, ...]
    meta_bytes: bytes | None


def new_job(**parts: Unpack[Parts]) -> NewJob:
    """A job to insert, with some parts of its own."""
    return replace(NewJob("w", b"{}"), **parts)


def ids(*jobs: Job | int) -> JobFilter:
    """A filter for these jobs."""
    return JobFilter(ids=tuple(job if isinstance(job, int) else job.id for job in jobs))


class Harness:
    """A store under test.

    Args:
        made: The store.
        advance: Lets time pass on its clock.
    """

    def __init__(self, made: Store, advance: Callable[[Store, float], None]) -> None:
        """Takes the store as the engine does."""
        self.made = made
        self.store = made if isinstance(made, NativeStore) else NativeStore.adapted(made)
        self._advance = advance

    def advance(self, seconds: float) -> None:
        """Lets time pass on the store's clock."""
        self._advance(self.made, seconds)

    def soon(self, seconds: float) -> datetime:
        """The store's now, and some seconds more."""
        return self.store.now() + timedelta(seconds=seconds)

    def enqueue(self, **parts: Unpack[Parts]) -> Job:
        """Inserts a job; the reply's job."""
        return self.reply(**parts).job

    def reply(self, **parts: Unpack[Parts]) -> Enqueued:
        """Inserts a job; the reply."""
        [reply] = self.store.enqueue([new_job(**parts)])
        return reply

    def beat(self, node: str, holds: Sequence[int] = ()) -> Pulse:
        """Registers the node or extends its lease."""
        return self.store.heartbeat(Heartbeat(node, "host", 42, TTL, {"default": 10}, tuple(holds)))

    def claim(self, node: str, limit: int = _PLENTY, queue: str = "default") -> Sequence[Job]:
        """Claims for a node that has registered."""
        return self.store.claim(node, queue, limit)

    def running(self, node: str = ALICE, **parts: Unpack[Parts]) -> Job:
        """A job that runs under a living node."""
        self.beat(node)
        wanted = self.enqueue(**parts).id
        [job] = [job for job in self.claim(node) if job.id == wanted]
        return job

    def ack(self, job: Job, end: End, node: str = ALICE) -> Acked:
        """Ends an attempt."""
        [reply] = self.store.ack(node, [end.ack(job)])
        return reply

    def get(self, job: Job | int) -> Job:
        """The job as it is now."""
        [now] = self.store.get([job if isinstance(job, int) else job.id])
        return now

    def state(self, job: Job | int) -> JobState:
        """The state it is in now."""
        return self.get(job).state

    def finished(self, state: JobState, **parts: Unpack[Parts]) -> Job:
        """A job whose attempt ended in that state."""
        job = self.running(**parts)
        assert self.ack(job, End.at(state)) is Acked.STORED
        now = self.get(job)
        assert now.state is state
        return now

    def cancel_requested(self, job: Job | int) -> bool:
        """Whether its handler is asked to stop."""
        return self.get(job).cancel_requested
