"""What people write on a command line, as values: lengths and points of time, states, JSON."""

import json
import re
from datetime import datetime, timedelta
from typing import Any, Final

import typer

from zjobs import JobState

__all__ = ["FINAL", "decoded", "duration", "final_state", "moment"]

FINAL: Final = (JobState.COMPLETED, JobState.CANCELLED, JobState.DISCARDED)
_UNITS: Final = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LENGTH: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")


def duration(word: str | timedelta) -> timedelta:
    """A length of time: ``90``, ``90s``, ``30m``, ``12h``, ``7d``."""
    if isinstance(word, timedelta):
        return word  # a default
    found = _LENGTH.fullmatch(word)
    if found is None:
        raise typer.BadParameter(f"{word!r} must be a length of time such as 90s, 30m, 12h or 7d")
    try:
        return timedelta(**{_UNITS[found[2]]: float(found[1])})
    except OverflowError as error:
        raise typer.BadParameter(f"{word!r} is longer than any time") from error


def moment(word: str) -> datetime:
    """A point of time in ISO 8601; without an offset it is local time."""
    try:
        found = datetime.fromisoformat(word)
    except ValueError as error:
        rule = "must be a time such as 2026-12-24T18:00:00+01:00"
        raise typer.BadParameter(f"{word!r} {rule}") from error
    try:
        return found if found.tzinfo is not None else found.astimezone()
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{word!r} is at an end of time, where no local time is known; give an offset"
        ) from error


def final_state(word: str) -> JobState:
    """The final state of that name."""
    names = {str(one): one for one in FINAL}
    if word not in names:
        raise typer.BadParameter(f"{word!r} is none of {', '.join(names)}")
    return names[word]


def decoded(text: str, place: str, what: str = "the arguments") -> Any:  # noqa: ANN401 - whatever JSON can hold
    """The value of a JSON text; ``place`` says where it stood, ``what`` what it was to be."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{what} must be JSON ({error})", param_hint=place) from error
