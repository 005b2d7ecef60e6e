"""When a failed job runs again.

``attempt`` is the attempt that just failed, counted from 1; delays are seconds. The built-in strategies do no
arithmetic here: they ask the engine's own function, so that what ``delay`` says is what happens.
"""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, cast

from zjobs._engine import LIMITS, Backoff
from zjobs.errors import invalid

__all__ = [
    "Constant",
    "Custom",
    "CustomFunction",
    "ErrorTypes",
    "Exponential",
    "Linear",
    "RetryStrategy",
    "again",
    "as_strategy",
]

ErrorTypes: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]
CustomFunction: TypeAlias = Callable[[int, BaseException], float | None]

_LOG = logging.getLogger("zjobs")
_HUGE = 1e300


class RetryStrategy(ABC):
    """How long a failed job waits for its next attempt. Derive from it to write one with state of its own."""

    __slots__ = ()

    @abstractmethod
    def delay(self, attempt: int, *, job_id: int = 0) -> float:
        """How long after the failure of ``attempt`` the job is due again.

        Args:
            attempt: The attempt that just failed, from 1.
            job_id: Whose attempt it was; jitter depends on it and on the attempt alone.

        Returns:
            Seconds from the failure; ``inf`` means that there is no further attempt.
        """

    def retries(self, error: BaseException) -> bool:
        """Whether a job that failed with ``error`` may run again at all; if not, it is discarded."""
        del error
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filtered(RetryStrategy):
    """What the built-in strategies share: which errors are worth another attempt.

    ``discard_on`` errors discard the job. When ``retry_on`` is given, all errors but those discard it too.
    """

    retry_on: ErrorTypes | None = None
    discard_on: ErrorTypes = ()

    def retries(self, error: BaseException) -> bool:
        """Whether a job that failed with ``error`` may run again at all; if not, it is discarded."""
        if isinstance(error, self.discard_on):
            return False
        return self.retry_on is None or isinstance(error, self.retry_on)

    def _check_errors(self) -> None:
        for field, given in (("retry_on", self.retry_on), ("discard_on", self.discard_on)):
            kinds = cast("tuple[object, ...]", given if isinstance(given, tuple) else (given,))
            if given is not None and not all(
                isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds
            ):
                raise invalid(
                    field, "must be an exception type or a tuple of them, such as (OSError, ValueError)", given
                )


@dataclass(frozen=True, slots=True)
class Exponential(_Filtered):
    """``min(base_seconds * 2 ** (attempt - 1), max_seconds)``, and up to a quarter more with ``jitter``.

    Raises:
        Invalid: A number is negative, not finite or above ten years.
    """

    base_seconds: float = 15
    max_seconds: float = 3600
    jitter: bool = True

    def __post_init__(self) -> None:
        """Refuses what the engine would refuse."""
        self._check_errors()
        _check_numbers(("base_seconds", self.base_seconds), ("max_seconds", self.max_seconds))
        _ = self._backoff

    @property
    def _backoff(self) -> Backoff:
        return Backoff.exponential(self.base_seconds, self.max_seconds, self.jitter)

    def delay(self, attempt: int, *, job_id: int = 0) -> float:
        """How long after the failure of ``attempt`` the job is due again, in seconds."""
        return self._backoff.delay(_attempt(attempt), job_id)


@dataclass(frozen=True, slots=True)
class Linear(_Filtered):
    """``min(delay_seconds * attempt, max_seconds)``, and up to a quarter more with ``jitter``.

    Raises:
        Invalid: A number is negative, not finite or above ten years.
    """

    delay_seconds: float = 60
    max_seconds: float | None = None
    jitter: bool = False

    def __post_init__(self) -> None:
        """Refuses what the engine would refuse."""
        self._check_errors()
        _check_numbers(
            ("delay_seconds", self.delay_seconds), ("max_seconds", 0 if self.max_seconds is None else self.max_seconds)
        )
        _ = self._backoff

    @property
    def _backoff(self) -> Backoff:
        return Backoff.linear(self.delay_seconds, self.max_seconds, self.jitter)

    def delay(self, attempt: int, *, job_id: int = 0) -> float:
        """How long after the failure of ``attempt`` the job is due again, in seconds."""
        return self._backoff.delay(_attempt(attempt), job_id)


@dataclass(frozen=True, slots=True)
class Constant(_Filtered):
    """``delay_seconds`` after each attempt, and up to a quarter more with ``jitter``.

    Raises:
        Invalid: The number is negative, not finite or above ten years.
    """

    delay_seconds: float = 30
    jitter: bool = False

    def __post_init__(self) -> None:
        """Refuses what the engine would refuse."""
        self._check_errors()
        _check_numbers(("delay_seconds", self.delay_seconds))
        _ = self._backoff

    @property
    def _backoff(self) -> Backoff:
        return Backoff.constant(self.delay_seconds, self.jitter)

    def delay(self, attempt: int, *, job_id: int = 0) -> float:
        """How long after the failure of ``attempt`` the job is due again, in seconds."""
        return self._backoff.delay(_attempt(attempt), job_id)


@dataclass(frozen=True, slots=True)
class Custom(_Filtered):
    """Whatever ``fn(attempt, error)`` says: seconds, or ``None`` to discard the job.

    Raises:
        Invalid: ``fn`` cannot be called.
    """

    fn: CustomFunction

    def __post_init__(self) -> None:
        """Refuses what cannot be called."""
        self._check_errors()
        if not callable(cast("object", self.fn)):
            raise invalid("fn", "must be a function of (attempt, error) that returns seconds or None", self.fn)

    def delay(self, attempt: int, *, job_id: int = 0) -> float:
        """What ``fn`` says of ``attempt`` and an unspecific ``Exception``; ``inf`` when it discards."""
        del job_id
        seconds = self.fn(_attempt(attempt), Exception())
        return math.inf if seconds is None else seconds


def as_strategy(value: RetryStrategy | CustomFunction | None) -> RetryStrategy:
    """The strategy that an option means: one as it is, a function as `Custom`, ``None`` as ``Exponential()``.

    Raises:
        Invalid: It is none of these; in particular the class where an instance is meant.
    """
    if value is None:
        return Exponential()
    if isinstance(value, RetryStrategy):
        return value
    if isinstance(value, type) or not callable(cast("object", value)):
        rule = "must be a strategy such as Exponential(base_seconds=15), or a function of (attempt, error)"
        raise invalid("retry_strategy", rule, value)
    return Custom(value)


def again(strategy: RetryStrategy, attempt: int, job_id: int, error: BaseException) -> float | None:
    """Whether and when a failed attempt is followed by another.

    A strategy that raises or says nonsense never costs the job its next attempt: this is logged and the default,
    ``Exponential()``, takes its place.

    Args:
        strategy: The worker's strategy.
        attempt: The attempt that just failed, from 1.
        job_id: Whose attempt it was.
        error: Why it failed.

    Returns:
        Seconds from now, at most ten years; ``None`` to discard the job.
    """
    try:
        return _asked(strategy, attempt, job_id, error)
    except BaseException:  # noqa: BLE001 - the attempt must end with an ack, whatever a strategy does
        name = type(strategy).__name__
        _LOG.exception("job %d: retry strategy %s failed; Exponential() takes its place", job_id, name)
        return Exponential().delay(attempt, job_id=job_id)


def _asked(strategy: RetryStrategy, attempt: int, job_id: int, error: BaseException) -> float | None:
    if not strategy.retries(error):
        return None
    by_error = isinstance(strategy, Custom)
    seconds = strategy.fn(attempt, error) if by_error else strategy.delay(attempt, job_id=job_id)
    if seconds is None or seconds == math.inf:
        return None
    _check_numbers(("the delay of a retry strategy", seconds))
    if seconds < 0:
        raise invalid("the delay of a retry strategy", "must not be negative", seconds)
    return float(min(seconds, LIMITS["DELAY"]))


def _attempt(attempt: int) -> int:
    if type(attempt) is not int or attempt < 1:
        raise invalid("attempt", "must be a whole number from 1: the attempt that just failed", attempt)
    # The engine counts in 32 bits.
    return min(attempt, 2**32 - 1)


def _check_numbers(*fields: tuple[str, object]) -> None:
    for field, value in fields:
        # Also refuses NaN, which compares with nothing, and integers that no float can hold.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _HUGE:
            raise invalid(field, "must be a finite number of seconds", value)
