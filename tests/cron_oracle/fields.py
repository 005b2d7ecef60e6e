"""Reads an expression from the documented rules: which seconds, minutes, hours and dates are meant."""

from datetime import date, timedelta
from typing import NamedTuple

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MONTHS = ["", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
FREE = {"*", "?"}


class Fields(NamedTuple):
    """What an expression means, field by field."""

    seconds: list[int]
    minutes: set[int]
    hours: set[int]
    day: str
    months: set[int]
    weekday: str
    fixed_hour: bool
    both: bool = False
    """Never by our rules: day and weekday must both match. For what other libraries do."""


def read(expression: str) -> Fields:
    """The meaning of an expression that zjobs accepts."""
    parts = ALIASES.get(expression.strip().lower(), expression.lower()).split()
    second = parts.pop(0) if len(parts) == 6 else "0"
    minute, hour, day, month, weekday = parts
    return Fields(
        sorted(numbers(second, 0, 59)),
        numbers(minute, 0, 59),
        numbers(hour, 0, 23),
        day,
        numbers(month, 1, 12, MONTHS),
        weekday,
        "*" not in hour,
    )


def numbers(text: str, least: int, most: int, names: list[str] | None = None) -> set[int]:
    """The numbers that a field of lists, ranges and steps means. A range may run over the end of its cycle."""

    def number(word: str) -> int:
        return names.index(word) if names and word in names else int(word)

    found: set[int] = set()
    for term in text.split(","):
        span, _, step = term.partition("/")
        first, dash, last = span.partition("-")
        if span in FREE:
            low, high = least, most
        elif dash:
            low, high = number(first), most if last == "l" else number(last)
        else:
            low, high = number(first), most if step else number(first)
        if high < low:
            high += most - least + 1
        found |= {(n - least) % (most - least + 1) + least for n in range(low, high + 1, int(step or 1))}
    return found


def date_matches(fields: Fields, day: date) -> bool:
    """Whether the calendar has the expression's day there: with both day fields restricted, either suffices."""
    if day.month not in fields.months:
        return False
    if fields.day in FREE:
        return fields.weekday in FREE or weekday_matches(fields.weekday, day)
    if fields.weekday in FREE:
        return day_matches(fields.day, day)
    sides = day_matches(fields.day, day), weekday_matches(fields.weekday, day)
    return all(sides) if fields.both else any(sides)


def last_day(day: date) -> date:
    """The last day of the month."""
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def day_matches(text: str, day: date) -> bool:
    """Whether the day of the month is one of these: numbers, ``L``, or the weekday nearest to one."""
    if "w" in text:
        return day == nearest_weekday(day.replace(day=min(int(text.strip("w")), last_day(day).day)))
    plain = ",".join(term for term in text.split(",") if term != "l")
    if "l" in text.split(",") and day == last_day(day):
        return True
    return bool(plain) and day.day in numbers(plain, 1, 31)


def nearest_weekday(day: date) -> date:
    """Monday to Friday, nearest to a day and in its month."""
    near = [day + timedelta(days=n) for n in (0, -1, 1, -2, 2)]
    return next(other for other in near if other.month == day.month and other.isoweekday() <= 5)


def weekday_matches(text: str, day: date) -> bool:
    """Whether it is one of these weekdays, or the n-th (``5#2``) or last (``L5``) of its month."""
    number = day.isoweekday() % 7
    for term in text.split(","):
        name, nth, which = term.partition("#")
        if nth:
            if number in days_of_week(name) and (day.day + 6) // 7 == int(which):
                return True
        elif term.startswith("l"):
            if number in days_of_week(term[1:]) and (day + timedelta(days=7)).month != day.month:
                return True
        elif number in days_of_week(term):
            return True
    return False


def days_of_week(term: str) -> set[int]:
    """Weekdays from 0, Sunday, which 7 is, too; a step without an end goes up to 6."""
    span, slash, step = term.partition("/")
    if slash and "-" not in span and span != "*":
        return numbers(f"{span}-6/{step}", 0, 6, WEEKDAYS)
    if span in FREE:
        return numbers(term, 0, 6)
    first, dash, last = (WEEKDAYS.index(part) if part in WEEKDAYS else part for part in span.partition("-"))
    low, high = int(first), int(last) if dash else int(first)
    if high < low:
        high += 7
    return {n % 7 for n in range(low, high + 1, int(step or 1))}
