"""Which texts of the shape of `chance` are expressions: all but those of three kinds, which zjobs must refuse."""

from cron_oracle.fields import FREE, MONTHS, WEEKDAYS, numbers

LONGEST = [0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
"""Days of each month, in the years in which it has most."""


def why_not(expression: str) -> str | None:
    """What is wrong with it, in a word or two; nothing when it is an expression."""
    *times, day, month, weekday = expression.lower().split()
    for text, names in [*((one, []) for one in (*times, day)), (month, MONTHS), (weekday, WEEKDAYS)]:
        for term in text.split(","):
            reason = _wrong_range(term, names, is_weekday=names is WEEKDAYS)
            if reason is not None:
                return reason
    return None if _comes(day, month) else "a day that never comes"


def _wrong_range(term: str, names: list[str], *, is_weekday: bool) -> str | None:
    span, _, step = term.partition("/")
    first, dash, last = span.partition("#")[0].partition("-")
    if not dash:
        return None
    low, high = (names.index(end) if end in names else 31 if end == "l" else int(end) for end in (first, last))
    if is_weekday and low == 7:
        low = 0  # Sunday, with which a week may begin and, as 7, end: 0-7 has all days.
    if low == high or first == last:
        return "a range with one end"
    return "a step over the end of a field" if low > high and int(step or 1) > 1 else None


def _comes(day: str, month: str) -> bool:
    """Whether some month of these has one of the days that are numbered. Where none has, an L beside them helps not."""
    plain = ",".join(term for term in day.strip("w").split(",") if term != "l")
    if not plain or plain in FREE:
        return True
    return any(min(numbers(plain, 1, 31)) <= LONGEST[one] for one in numbers(month, 1, 12, MONTHS))
