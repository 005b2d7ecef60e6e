"""Schedules: cron expressions, time zones, and which ticks a late scheduler runs.

Expressions are croniter's (7 or later): five fields ``minute hour day month weekday``, six with **seconds first**, or
``@hourly``, ``@daily``, ``@midnight``, ``@weekly``, ``@monthly``, ``@yearly``, ``@annually``. When day and weekday are
both restricted, which all but ``*`` and ``?`` do, either of them suffices.

What happens when the zone changes its offset depends on the hour field alone:

==================  =================================  ===============================
hour field          wall-clock time that is skipped    wall-clock time that is repeated
==================  =================================  ===============================
no ``*`` in it      runs at the first moment after it  runs once, at the first occurrence
(``2``, ``9-17``)                                      (``on_repeat="twice"``: at both)
``*``, ``*/2``      does not run                       runs at each occurrence
==================  =================================  ===============================

So a nightly invoice is written every night and never twice, and ``*/30 * * * *`` runs every half hour of real time.
"""

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Literal, TypeAlias, TypeVar, cast
from zoneinfo import ZoneInfo

from croniter import croniter

from zjobs.errors import invalid
from zjobs.options import aware

__all__ = [
    "BOUND",
    "GRACE",
    "CatchUp",
    "CatchUpName",
    "OnRepeat",
    "OnRepeatName",
    "Overlap",
    "OverlapName",
    "Schedule",
    "member",
    "missed",
]

BOUND = 1000
"""At most this many ticks are caught up, and at most this many are named as missed."""
GRACE = timedelta(seconds=10)
"""A tick that is found less late than this is on time."""

_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MOST_TEXT = 255
_WITH_SECONDS = 6
_LAST = 99
_SECOND = timedelta(seconds=1)
# No zone goes away from an offset and back to it within so short a time; the tests look at every zone.
_SAMPLE = timedelta(hours=12)
_WEEKDAYS = {name: number for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
# L is the last day that any month has: 5-L goes up to it, and 31-L is a range with one end.
_NAMES = _WEEKDAYS | {name: number for number, name in enumerate(_MONTHS, 1)} | {"l": 31}
_RANGE = re.compile(r"(?:^|,)([^,/-]+)-([^,/#-]+)(?:/0*(\d+))?")
_RANDOM = re.compile(r"(^|[\s,])[rRhH](?=$|[\s,(/])")


class OnRepeat(enum.Enum):
    """What a fixed hour does with a wall-clock time that a zone repeats."""

    ONCE = "once"
    TWICE = "twice"


class CatchUp(enum.Enum):
    """Which of the ticks that nobody ran in time are run afterwards."""

    LATEST = "latest"
    """The newest one."""
    NONE = "none"
    """None."""
    ALL = "all"
    """All of them, up to `BOUND`, the newest ones."""


class Overlap(enum.Enum):
    """What a tick does when the job of an earlier tick is still live."""

    ALLOW = "allow"
    """Enqueues another job."""
    SKIP = "skip"
    """Enqueues none."""
    REPLACE = "replace"
    """Cancels the earlier job and enqueues its own."""


OnRepeatName: TypeAlias = Literal["once", "twice"]
CatchUpName: TypeAlias = Literal["latest", "none", "all"]
OverlapName: TypeAlias = Literal["allow", "skip", "replace"]
_Member = TypeVar("_Member", bound=enum.Enum)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something happens again and again.

    Attributes:
        expression: Five fields, six with seconds first, or an alias such as ``@daily``.
        timezone: The IANA name of the zone whose wall clock is meant.
        on_repeat: What a fixed hour does with a repeated wall-clock time, as a member or its name.

    Raises:
        Invalid: The expression or the zone is not understood, or the expression names a day that never comes.
    """

    expression: str
    timezone: str = "UTC"
    on_repeat: OnRepeat | OnRepeatName = OnRepeat.ONCE

    def __post_init__(self) -> None:
        """Refuses what could never run as meant."""
        object.__setattr__(self, "on_repeat", member(OnRepeat, "on_repeat", self.on_repeat))
        _check_expression(self.expression)
        _check_zone(self.timezone)

    def next_after(self, moment: datetime) -> datetime | None:
        """The first tick after a moment, in UTC; ``None`` when there is none within fifty years.

        Raises:
            Invalid: The moment does not know its zone.
        """
        return next(self._ticks(aware("moment", moment)), None)

    def between(self, start: datetime, end: datetime, limit: int = BOUND) -> list[datetime]:
        """The first ticks after ``start`` and up to and including ``end``, in UTC, at most ``limit``.

        Raises:
            Invalid: A moment does not know its zone.
        """
        start, end = aware("start", start), aware("end", end)
        return list(islice(takewhile(lambda tick: tick <= end, self._ticks(start)), limit))

    @property
    def _fields(self) -> str:
        return _ALIASES.get(self.expression.strip().lower(), self.expression)

    def _ticks(self, moment: datetime) -> Iterator[datetime]:
        """All ticks after a moment.

        Wall-clock times stand as if they were UTC. Between two changes of the zone's offset they differ from real time
        by that offset, so a candidate counts unless a change comes first; then the rule of the module decides.
        """
        fields, zone = self._fields.split(), ZoneInfo(self.timezone)
        fixed_hour = "*" not in fields[2 if len(fields) == _WITH_SECONDS else 1]
        once = fixed_hour and self.on_repeat is OnRepeat.ONCE
        walls = [croniter(side, moment, ret_type=datetime, second_at_beginning=True) for side in _sides(fields)]
        try:
            at, offset = moment, _offset(zone, moment)
            wall = at + offset
            if once:
                wall = max(wall, _end_of_repetition(zone, at) - _SECOND)
            while True:
                found = min(side.get_next(start_time=wall) for side in walls)
                change = _first_change(zone, at, found - offset)
                if change is None:
                    at, wall = found - offset, found
                    yield at
                    continue
                before, offset, at = offset, _offset(zone, change), change
                if fixed_hour and found < change + offset:
                    wall = change + offset
                    yield change
                else:
                    wall = change + (max(before, offset) if once else offset) - _SECOND
        except (ValueError, OverflowError):
            # croniter's "failed to find next date" is a ValueError too: the schedule has no more ticks.
            return


def missed(
    schedule: Schedule, last_tick: datetime, now: datetime, catch_up: CatchUp | CatchUpName = CatchUp.LATEST
) -> tuple[list[datetime], list[datetime]]:
    """Which ticks since the last one to run now, and which to leave out.

    Ticks less than `GRACE` old are on time and always run. The cost is bounded, however long ago the last tick was.

    Args:
        schedule: Whose ticks.
        last_tick: The last tick that was run or left out.
        now: Up to when.
        catch_up: What to do about ticks that are late.

    Returns:
        The ticks to run and those to leave out, each oldest first and at most `BOUND` long.
    """
    policy = member(CatchUp, "catch_up", catch_up)
    last_tick, now = aware("last_tick", last_tick), aware("now", now)
    if now <= last_tick:
        return [], []
    if policy is CatchUp.ALL:
        run = _newest(schedule, last_tick, now, BOUND)
    else:
        run = schedule.between(now - min(GRACE, now - last_tick), now)
        if not run and policy is CatchUp.LATEST:
            run = _newest(schedule, last_tick, now, 1)
    left_out = schedule.between(last_tick, run[0] if run else now, BOUND + 1)
    return run, [tick for tick in left_out if not run or tick < run[0]][:BOUND]


def _newest(schedule: Schedule, start: datetime, end: datetime, count: int) -> list[datetime]:
    """The newest ``count`` ticks in ``(start, end]``, by looking back twice as far each time."""
    reach = timedelta(minutes=1)
    while True:
        # Not `end - reach`, which may lie before the first day there is.
        since = end - min(reach, end - start)
        ticks = schedule.between(since, end, 2 * count)
        if len(ticks) >= 2 * count:
            return _newest_of_many(schedule, since, end, count)
        if len(ticks) >= count or since == start:
            return ticks[-count:]
        reach *= 2


def _newest_of_many(schedule: Schedule, start: datetime, end: datetime, count: int) -> list[datetime]:
    """The same where too many ticks are in reach to count them: halves the span until it has not too many."""
    least, most = start, end
    while most - least > _SECOND:
        middle = least + (most - least) / 2
        ticks = schedule.between(middle, end, 2 * count)
        if len(ticks) >= 2 * count:
            least = middle
        elif len(ticks) < count:
            most = middle
        else:
            return ticks[-count:]
    return schedule.between(least, end, 2 * count)[-count:]


def member(kind: type[_Member], field: str, value: object) -> _Member:
    """The member of an enumeration that a value means: itself, or the one of that name.

    Raises:
        Invalid: There is none.
    """
    try:
        return kind(value)
    except ValueError:
        names = ", ".join(repr(one.value) for one in kind)
        raise invalid(field, f"must be one of {names}", value) from None


def _check_expression(expression: object) -> None:
    rule = "must have five fields, or six with seconds first, or be an alias such as '@hourly'"
    if not isinstance(expression, str) or len(expression) > _MOST_TEXT:
        raise invalid("cron expression", rule, expression)
    fields = _ALIASES.get(expression.strip().lower(), expression)
    if len(fields.split()) not in {_WITH_SECONDS - 1, _WITH_SECONDS}:
        raise invalid("cron expression", rule, expression)
    if _RANDOM.search(fields):
        raise invalid("cron expression", "must not be random (R, H): give each schedule its own minute", expression)
    for number, field in enumerate(fields.lower().split()[::-1]):
        _check_ranges(field, expression, is_weekday=number == 0)
    try:
        croniter.expand(" ".join(fields.split()), second_at_beginning=True, strict=True)
    except Exception as error:  # noqa: BLE001 - a parser of free text: whatever it says, the text is wrong
        raise invalid("cron expression", f"{rule}; {error}", expression) from None


def _check_ranges(field: str, expression: str, *, is_weekday: bool) -> None:
    """Refuses the ranges that croniter takes for something else: 5-5 for all, and it loses count in 22-5/3."""
    for first, last, step in _RANGE.findall(field):
        low, high = (_NAMES.get(end, _LAST) if not end.isdecimal() else int(end) for end in (first, last))
        if is_weekday:
            low %= 7  # 0 is Sunday and 7 is, too: 7-2 begins with it, 0-7 is the whole week
        if low == high or first == last:
            raise invalid("cron expression", f"must not have a range with one end: write {first} or *", expression)
        if low > high and step not in {"", "1"}:
            raise invalid("cron expression", "must not step over the end of a field: write two ranges", expression)


def _sides(fields: list[str]) -> list[str]:
    """The expression, or its two sides when day and weekday are both restricted and either of them suffices.

    croniter knows this rule, too, but takes both sides together when one of them is ``5#2``, ``L5`` or ``15W``.
    """
    *head, day, month, weekday = fields
    if {day, weekday} & {"*", "?"}:
        return [" ".join(fields)]
    return [" ".join([*head, day, month, "*"]), " ".join([*head, "*", month, weekday])]


def _check_zone(name: object) -> None:
    rule = "must be the name of a time zone such as 'Europe/Berlin'; where the machine has none, install tzdata"
    try:
        if isinstance(name, str) and name:
            ZoneInfo(name)
            return
    except (LookupError, ValueError, OSError):
        pass
    raise invalid("timezone", rule, name)


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return cast("timedelta", moment.astimezone(zone).utcoffset())


def _first_change(zone: ZoneInfo, start: datetime, end: datetime) -> datetime | None:
    """The first moment in ``(start, end]`` at which the zone has another offset than at ``start``."""
    if zone.utcoffset(None) is not None:
        return None
    offset, low = _offset(zone, start), start
    while low < end:
        high = min(low + _SAMPLE, end)
        if _offset(zone, high) != offset:
            while high - low > _SECOND:
                middle = low + (high - low) / 2
                low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
            return high.replace(microsecond=0)
        low = high
    return None


def _end_of_repetition(zone: ZoneInfo, moment: datetime) -> datetime:
    """The wall-clock time at which the repetition ends that the moment is in; otherwise long ago."""
    local = moment.astimezone(zone)
    if not local.fold:
        return datetime.min.replace(tzinfo=moment.tzinfo) + _SECOND
    before = cast("timedelta", local.replace(fold=0).utcoffset())
    first_time = moment - (before - _offset(zone, moment))
    change = cast("datetime", _first_change(zone, first_time, moment))
    return change + before
