"""Random expressions that people might write, and some that nobody would."""

import random

from cron_oracle.fields import MONTHS, WEEKDAYS


def expression(chance: random.Random) -> str:
    """Five fields, or six; mostly with hours that a change touches."""
    fields = [
        _field(chance, 0, 59, stars=5, often=(0, 1, 15, 29, 30, 31, 45, 59)),
        _field(chance, 0, 23, stars=3, often=(0, 1, 2, 2, 3, 3, 22, 23)),
        _day(chance),
        _field(chance, 1, 12, stars=9, names=MONTHS[1:], often=(3, 4, 10, 11)),
        _weekday(chance),
    ]
    if chance.random() < 0.15:
        fields.insert(0, _field(chance, 0, 59, stars=1, often=(0, 0, 1, 59)))
    return " ".join(fields)


def _field(
    chance: random.Random,
    least: int,
    most: int,
    *,
    stars: int,
    often: tuple[int, ...],
    names: list[str] | None = None,
) -> str:
    if chance.randrange(10) < stars:
        return "*"
    return ",".join(_term(chance, least, most, names, often) for _ in range(chance.choice((1, 1, 1, 2, 3))))


def _term(chance: random.Random, least: int, most: int, names: list[str] | None, often: tuple[int, ...]) -> str:
    def number() -> str:
        value = chance.choice(often) if often and chance.random() < 0.6 else chance.randint(least, most)
        return names[value - least] if names and chance.random() < 0.4 else str(value)

    step = chance.choice((1, 2, 3, 5, 7, 10, 15, 20, 30, chance.randint(1, most + 2)))
    kind = chance.random()
    if kind < 0.55:
        return number()
    if kind < 0.75:
        return f"*/{step}"
    if kind < 0.9:
        return f"{number()}-{number()}" + (f"/{step}" if chance.random() < 0.4 else "")
    return f"{number()}/{step}"


def _day(chance: random.Random) -> str:
    kind = chance.random()
    if kind < 0.6:
        return chance.choice(("*", "*", "*", "?"))
    if kind < 0.66:
        return chance.choice(("L", "l", f"{chance.randint(1, 31)},L", f"{chance.randint(1, 31)}-L"))
    if kind < 0.72:
        return chance.choice(("{}W", "w{}")).format(chance.randint(1, 31))
    return _field(chance, 1, 31, stars=1, often=(1, 28, 29, 30, 31))


def _weekday(chance: random.Random) -> str:
    kind = chance.random()
    if kind < 0.55:
        return chance.choice(("*", "*", "*", "?"))
    day = chance.choice((str(chance.randint(0, 7)), chance.choice(WEEKDAYS), "SUN", "0"))
    if kind < 0.65:
        return f"{day}#{chance.randint(1, 5)}"
    if kind < 0.7:
        return f"L{chance.randint(0, 7)}"
    if kind < 0.72:
        return f"{chance.choice(WEEKDAYS)}-{chance.choice(WEEKDAYS)}#{chance.randint(1, 5)}"
    return _field(chance, 0, 6, stars=1, names=WEEKDAYS, often=(0, 0, 6)) if kind < 0.95 else f"{day}-7"
