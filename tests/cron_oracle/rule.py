"""The table of `zjobs.cron`'s documentation, applied to each minute of real time around a change of the offset.

Nothing is computed that can be looked at: the walk goes through real time minute by minute, writes down what the wall
clock shows, which of its minutes were skipped and which it shows for the second time.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property

from cron_oracle.fields import Fields, date_matches, read
from cron_oracle.zones import Change, Zone

MINUTE, HOUR = 60, 3600
_DAY_MINUTES = 1440
_EPOCH = date(1970, 1, 1).toordinal()
# Further back than any zone has set its clock, so that a wall time is known to be shown again.
_MEMORY = 26 * HOUR
_FAR = 60 * 366


@dataclass
class Meaning:
    """An expression, read once, and the days it was asked about."""

    expression: str
    fields: Fields = field(init=False)
    _days: dict[int, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fields = read(self.expression)

    @cached_property
    def minutes(self) -> list[bool]:
        """For each minute of a day, whether it matches."""
        return [n // 60 in self.fields.hours and n % 60 in self.fields.minutes for n in range(_DAY_MINUTES)]

    def on(self, day: int) -> bool:
        """Whether a day since 1970 matches."""
        found = self._days.get(day)
        if found is None:
            found = self._days[day] = date_matches(self.fields, date.fromordinal(_EPOCH + day))
        return found


class Clock:
    """The wall clock of a zone, from its list of changes."""

    def __init__(self, zone: Zone) -> None:
        self._changes = list(zone.changes)
        self._at = [change.at for change in self._changes]
        self._offsets = [zone.offset, *(change.after for change in self._changes)]
        self._walks: dict[int, Walk] = {}

    def wall(self, at: int) -> int:
        """What the wall shows, in minutes since the wall's 1970."""
        return (at + self._offsets[bisect_right(self._at, at)]) // MINUTE

    def day(self, at: int) -> int:
        """The day that the wall shows, since the wall's 1970."""
        return self.wall(at) // _DAY_MINUTES

    def ticks_of_day(self, meaning: Meaning, rule: str, day: int, after: int) -> list[int]:
        """The ticks of the day's wall times, later than a moment; and with a change nearby those of the day's next."""
        # The day may begin so early, anywhere on Earth, and last so long when the clock is set.
        start = day * _DAY_MINUTES * MINUTE - 15 * HOUR
        end = start + 56 * HOUR
        place = bisect_right(self._at, start - _MEMORY)
        if place == bisect_right(self._at, end):
            base = day * _DAY_MINUTES * MINUTE - self._offsets[place]
            return [
                at
                for minute, ok in enumerate(meaning.minutes)
                if ok
                for second in meaning.fields.seconds
                if (at := base + minute * MINUTE + second) > after
            ]
        if day not in self._walks:
            self._walks = {day: Walk(self, start, end), **dict(list(self._walks.items())[:3])}
        return self._walks[day].ticks(meaning, rule, after, end)


class Walk:
    """Each minute of real time from ``start`` to ``end``.

    Attributes:
        shown: Moments and the wall minutes that they show.
        first: The same without those that the wall shows for the second time.
        skipped: Wall minutes that are never shown, each with the first moment after it.
    """

    def __init__(self, clock: Clock, start: int, end: int) -> None:
        self.shown: list[tuple[int, int]] = []
        self.first: list[tuple[int, int]] = []
        self.skipped: list[tuple[int, int]] = []
        seen: set[int] = set()
        before = clock.wall(start - _MEMORY - MINUTE)
        for at in range(start - _MEMORY, end + 1, MINUTE):
            wall = clock.wall(at)
            if at >= start:
                self.shown.append((at, wall))
                if wall not in seen:
                    self.first.append((at, wall))
                # What lies between was shown before when the clock has been set back meanwhile.
                self.skipped += [(at, gone) for gone in range(before + 1, wall) if gone not in seen]
            seen.add(wall)
            before = wall

    def ticks(self, meaning: Meaning, rule: str, after: int, until: int) -> list[int]:
        """The ticks in the walk, under the rule of a fixed hour (``once``, ``twice``) or a wildcard one (``real``)."""
        ok, on, seconds = meaning.minutes, meaning.on, meaning.fields.seconds
        minutes = self.first if rule == "once" else self.shown
        hits = [at for at, wall in minutes if ok[wall % _DAY_MINUTES] and on(wall // _DAY_MINUTES)]
        found = hits if seconds == [0] else [at + second for at in hits for second in seconds]
        if rule != "real" and self.skipped:
            late = {at for at, wall in self.skipped if ok[wall % _DAY_MINUTES] and on(wall // _DAY_MINUTES)}
            found = sorted(late.union(found))
        return [at for at in found if after < at <= until]


def rule_of(meaning: Meaning, on_repeat: str = "once") -> str:
    """Which rule the table gives an expression."""
    return on_repeat if meaning.fields.fixed_hour else "real"


def next_tick(clock: Clock, meaning: Meaning, rule: str, after: int) -> int | None:
    """The first tick after a moment, however far: day by day, and minute by minute where the offset changes."""
    # Yesterday, too: a change may carry its last minutes over its end.
    day = clock.wall(after) // _DAY_MINUTES - 1
    for ahead in range(day, day + _FAR):
        if meaning.on(ahead):
            found = clock.ticks_of_day(meaning, rule, ahead, after)
            if found:
                return found[0]
    return None


@dataclass(frozen=True)
class Place:
    """A change of a zone's offset, with the walk around it."""

    zone: Zone
    change: Change
    clock: Clock
    walk: Walk
    start: int
    end: int


def place(zone: Zone, change: Change, clock: Clock) -> Place:
    """From an hour before anything that the change touches to an hour after it."""
    reach = abs(change.after - change.before) + HOUR
    start, end = change.at - reach, change.at + reach
    return Place(zone, change, clock, Walk(clock, start, end), start, end)


def moment(at: int) -> datetime:
    """The moment as zjobs takes it."""
    return datetime.fromtimestamp(at, UTC)
