"""What two other libraries make of the same expressions, and which of our rules explains each difference.

A reason is not a wish. A peer's own rules are written down here as a `Reading`; the walk is asked what they give, and
only a peer that says exactly that has its difference explained by them. Three faults of theirs cannot be computed so;
`_fault` knows them by where they happen and by which ticks differ. Whatever is left is `UNEXPLAINED`, and fails.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter
from cronsim import CronSim, CronSimError

from cron_oracle.fields import ALIASES, FREE, MONTHS, WEEKDAYS, Fields, date_matches, days_of_week, numbers
from cron_oracle.rule import HOUR, Meaning, Place, moment

AGREES: tuple[str, ...] = ("agrees",)
NO_SUCH_WORD = "does not know the word W"
UNEXPLAINED = "unexplained"

_LOST_WITHIN = 26 * HOUR
_STEPS = 100_000
"""More than cronsim takes through all of the years in which it looks for a tick: then it goes in a circle."""
WEEKEND = {0, 6}


class StuckError(Exception):
    """A peer went back, or in a circle."""


@dataclass(frozen=True)
class Reading:
    """How a peer reads an expression: in our words, under one of our rules, and why that is not our own reading."""

    meaning: Meaning
    rule: str
    reasons: tuple[str, ...]
    late_seconds: bool = False
    never: bool = False


def judge(peer: str, here: Place, meaning: Meaning) -> tuple[str, ...]:
    """What explains what a peer says around a change: that it agrees, or why it does not."""
    reads, ask = (_cronsim_reads, _ask_cronsim) if peer == "cronsim" else (_croniter_reads, _ask_croniter)
    reading = reads(meaning.expression)
    if reading is None:
        return (NO_SUCH_WORD,)
    try:
        found = ask(here, meaning.expression, reading)
    except StuckError:
        return (_stuck(peer, here),)
    rule = "once" if meaning.fields.fixed_hour else "real"
    expected = here.walk.ticks(meaning, rule, here.start, here.end)
    if found == expected:
        return AGREES
    theirs = _theirs(reading, here)
    if found == theirs and reading.reasons:
        return reading.reasons
    return (_fault(peer, here, reading, found, theirs),)


PEERS = ("croniter", "cronsim")


def _theirs(reading: Reading, here: Place) -> list[int]:
    """What the walk gives for a peer's reading."""
    if reading.never:
        return []
    found = here.walk.ticks(reading.meaning, reading.rule, here.start, here.end)
    if not reading.late_seconds or not here.walk.skipped:
        return found
    # The first moment after the gap, plus the first of the seconds that were skipped.
    shown = here.walk.ticks(reading.meaning, "real", here.start, here.end)
    late = [at for at in found if at not in set(shown)]
    return sorted({*shown, *(at + reading.meaning.fields.seconds[0] for at in late)})


def _fault(peer: str, here: Place, reading: Reading, found: list[int], theirs: list[int]) -> str:
    """The known fault of a peer that fits: by where the clock is set, which ticks differ, and that none is invented."""
    at, size = here.change.at, abs(here.change.after - here.change.before)
    forward = here.change.after > here.change.before
    lost, invented = set(theirs) - set(found), set(found) - set(theirs)
    part_of_an_hour = bool(size % HOUR or here.clock.wall(at) % 60)
    over_midnight = here.clock.day(at - 1) != here.clock.day(at)
    if peer == "croniter":
        repeated = all(at <= tick < at + size for tick in lost) and not invented and not forward
        if repeated and part_of_an_hour:
            return "loses ticks in a repetition of less than an hour"
        # The days after it have no tick, and it looks for one that has before it looks at the hour again.
        up_to_midnight = (here.clock.wall(at - 1) + 1) % (24 * 60) == 0
        before_midnight = repeated and (over_midnight or up_to_midnight)
        return "loses ticks in a repetition before midnight" if before_midnight else UNEXPLAINED
    if reading.rule != "real" or not all(at - size <= tick <= at + _LOST_WITHIN for tick in lost | invented):
        return UNEXPLAINED
    if part_of_an_hour and not invented:
        return "counts in whole hours across a change by less than one"
    # It looks for a day from its midnight, and takes that for a moment where it is none.
    if forward and over_midnight and invented <= {at, at + size}:
        return "begins a day at the midnight that was skipped"
    return UNEXPLAINED


def _stuck(peer: str, here: Place) -> str:
    """Whether a peer that does not go forward is where one never does."""
    at = here.change.at
    to_the_day_before = here.clock.day(at) < here.clock.day(at - 1)
    if peer == "cronsim" and to_the_day_before and here.clock.wall(at) % 60:
        return "does not get past a clock that is set back to the day before within an hour"
    return UNEXPLAINED


def _until(ticks: "CronSim | croniter", end: int) -> list[int]:
    found: list[int] = []
    try:
        while not found or found[-1] <= end:
            found.append(int(next(ticks).timestamp()))
            if found[1:] and found[-1] <= found[-2]:
                raise StuckError
    except (StopIteration, CroniterBadDateError):
        return found
    return found[:-1]


# --- cronsim: Debian's cron ---


class _Cronsim(CronSim):
    """It says so when it goes in a circle."""

    steps = 0

    def tick(self, seconds: int = 1) -> None:
        self.steps += 1
        if self.steps > _STEPS:
            raise StuckError
        super().tick(seconds)

    def __next__(self) -> datetime:
        self.steps = 0
        return super().__next__()


def _ask_cronsim(here: Place, expression: str, _: Reading) -> list[int]:
    start = moment(here.start).astimezone(ZoneInfo(here.zone.name))
    return _until(_Cronsim(_for_cronsim(expression), start), here.end)


@lru_cache(1024)
def _cronsim_reads(expression: str) -> Reading | None:
    text = _for_cronsim(expression)
    try:
        CronSim(text, datetime(2026, 1, 1))  # noqa: DTZ001 - only to see whether it reads it
    except CronSimError:
        assert "w" in text, f"cronsim does not read {text!r}"
        return None
    parts = text.split()
    second, (minute, hour, day, _, weekday) = len(parts) == 6, parts[-5:]
    ours = Meaning(expression)
    reasons: list[str] = []
    fixed = not second and not minute.startswith("*") and not hour.startswith("*")
    if fixed != ours.fields.fixed_hour:
        if second:
            reasons.append("lets a fixed hour follow real time when there are seconds")
        elif minute.startswith("*") and not hour.startswith("*"):
            reasons.append("lets a fixed hour follow real time when the minute begins with a star")
        else:
            reasons.append("takes an hour for fixed when its star is not the first character")
    theirs = Meaning(expression)
    starred = [part.startswith("*") and part != "*" for part in (day, weekday)]
    if {day, weekday}.isdisjoint({"*"}) and any(starred):
        theirs.fields = theirs.fields._replace(both=True)
        reasons.append("wants day and weekday both when one begins with a star")
    if re.search(r"(^|,)\w+/", weekday):
        theirs.fields = theirs.fields._replace(weekday=re.sub(r"(^|,)(\w+)/", r"\1\2-7/", theirs.fields.weekday))
        reasons.append("counts weekdays up to 7 when a step has no end")
    return Reading(theirs, "once" if fixed else "real", tuple(reasons))


def _for_cronsim(expression: str) -> str:
    """The expression in cronsim's spelling: no aliases, no ``?``, ``5L`` for ``L5``, no range over an end."""
    parts = ALIASES.get(expression.lower(), expression.lower()).replace("?", "*").split()
    *seconds, minute, hour, day, month, weekday = parts
    seconds = [_without_wraps(text, 0, 59) for text in seconds]
    hour, minute = _without_wraps(hour, 0, 23), _without_wraps(minute, 0, 59)
    month = _without_wraps(month, 1, 12, MONTHS)
    day = _without_wraps(re.sub(r"-l\b", "-31", day), 1, 31)
    terms: list[str] = []
    for term in weekday.split(","):
        name, nth, which = term.partition("#")
        if nth and "-" in name:
            terms += [f"{number}#{which}" for number in sorted(days_of_week(name))]
        elif term.startswith("l"):
            terms.append(f"{term[1:]}l")
        else:
            terms.append(_weekdays_without_wraps(term))
    return " ".join([*seconds, minute, hour, day, month, ",".join(terms)])


def _without_wraps(text: str, least: int, most: int, names: list[str] | None = None) -> str:
    def plain(term: str) -> str:
        low, dash, high = term.partition("/")[0].partition("-")
        if dash and max(numbers(low, least, most, names)) > max(numbers(high, least, most, names)):
            return ",".join(str(number) for number in sorted(numbers(term, least, most, names)))
        return term

    return ",".join(plain(term) for term in text.split(","))


def _weekdays_without_wraps(term: str) -> str:
    low, dash, high = term.partition("/")[0].partition("-")
    ends = [WEEKDAYS.index(end) if end in WEEKDAYS else int(end) for end in (low, high) if dash]
    if dash and ends[0] > ends[1]:
        return ",".join(str(number) for number in sorted(days_of_week(term)))
    return term


# --- croniter, which zjobs asks about wall clocks only, here with its own rules for zones ---


def _ask_croniter(here: Place, expression: str, reading: Reading) -> list[int]:
    start = moment(here.start).astimezone(ZoneInfo(here.zone.name))
    # What is further away than a year is not beside the change; but to join two sides, it may need all its years.
    joins = any("together" in reason for reason in reading.reasons) and not reading.never
    years = 50 if joins else 1
    ticks = croniter(expression, start, datetime, second_at_beginning=True, max_years_between_matches=years)
    return _until(ticks, here.end)


@lru_cache(1024)
def _croniter_reads(expression: str) -> Reading:
    ours = Meaning(expression)
    theirs = Meaning(expression)
    fields = theirs.fields
    reasons: list[str] = []
    rule = "real" if len(fields.hours) == 24 else "twice"
    if ours.fields.fixed_hour:
        reasons.append("runs a fixed hour again when its time is repeated")
    elif rule == "twice":
        reasons.append("runs a wildcard hour with a step late when its time is skipped")
    counted_day, counted_weekday = "w" in fields.day, "#" in fields.weekday or "l" in fields.weekday
    never = False
    if FREE.isdisjoint({fields.day, fields.weekday}):
        if counted_day or counted_weekday:
            reasons.append("takes day and weekday together when one of them is counted")
            never, fields = _together(theirs)
        elif "l" not in fields.day and len(numbers(fields.day, 1, 31)) == 31 and "*" in fields.weekday:
            reasons.append("takes a day field with all its numbers for no restriction")
            fields = fields._replace(day="*")
        elif len(_all_weekdays(fields.weekday)) == 7 and "*" in fields.day:
            reasons.append("takes a weekday field with all its numbers for no restriction")
            fields = fields._replace(weekday="*")
    theirs.fields = fields
    late_seconds = rule == "twice" and fields.seconds != [0]
    if late_seconds:
        reasons.append("adds the seconds when a time is skipped")
    return Reading(theirs, rule, tuple(reasons), late_seconds, never)


def _together(meaning: Meaning) -> tuple[bool, Fields]:
    """What is left where croniter joins a counted side with the other one, and whether that never comes."""
    fields = meaning.fields
    if "w" in fields.day:
        if "#" in fields.weekday or "l" in fields.weekday:
            return False, fields._replace(both=True)
        # A working day is no Saturday and no Sunday; any other weekday does not count.
        return _all_weekdays(fields.weekday) <= WEEKEND, fields._replace(weekday="*")
    both = fields._replace(both=True)
    first = date(1990, 1, 1).toordinal()
    # After twenty-eight years the calendar begins anew.
    never = not any(date_matches(both, date.fromordinal(first + day)) for day in range(28 * 366))
    return never, fields._replace(day="*")


def _all_weekdays(text: str) -> set[int]:
    return {number for term in text.split(",") for number in days_of_week(term)}
