"""What callers see of a job."""

import enum
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from zjobs._engine import STATES, Job, JobContext
from zjobs.options import aware

__all__ = ["EPOCH", "AttemptError", "Job", "JobContext", "JobState", "Progress", "micros"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""From where the engine counts microseconds."""


class JobState(enum.IntEnum):
    """Where a job is in its life. The numbers are stored and never change; ``str()`` gives the lower-case name."""

    AVAILABLE = 0
    """Ready to be claimed."""
    EXECUTING = 1
    """Being processed."""
    COMPLETED = 2
    """Finished successfully."""
    RETRYABLE = 3
    """Failed, attempts remain, waits for its backoff."""
    DISCARDED = 4
    """Failed and has used up its attempts, or the handler gave up: the dead letters."""
    CANCELLED = 5
    """Cancelled by a person or the handler, or replaced by a unique job."""
    SCHEDULED = 6
    """Waits for its ``scheduled_at``."""

    def __str__(self) -> str:
        """The lower-case name."""
        return self.name.lower()

    @property
    def is_final(self) -> bool:
        """Completed, discarded or cancelled: only a retry or a delete by hand changes it."""
        return self in {JobState.COMPLETED, JobState.DISCARDED, JobState.CANCELLED}


if {str(state): int(state) for state in JobState} != STATES:
    message = "JobState and the engine's state table differ: the wheel is damaged, install it again"
    raise ImportError(message)


@dataclass(frozen=True, slots=True)
class AttemptError:
    """One failed attempt.

    Attributes:
        attempt: Which one, from 1.
        at: When, in UTC.
        kind: The exception's type name.
        message: Its text, bounded.
        traceback: Its traceback without local variables, bounded; empty when there is none.
    """

    attempt: int
    at: datetime
    kind: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running job says it is.

    Attributes:
        done: Units done.
        total: Units in all, when known.
        message: A short text.
    """

    done: float
    total: float | None = None
    message: str = ""


def micros(field: str, moment: object) -> int:
    """Microseconds since the epoch of an aware ``datetime``.

    Raises:
        Invalid: It is naive or no ``datetime``.
    """
    return (aware(field, moment) - EPOCH) // timedelta(microseconds=1)
