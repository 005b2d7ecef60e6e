"""Compares zjobs, and two other libraries, with the rule at one place."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cron_oracle import peers
from cron_oracle.rule import Clock, Meaning, Place, moment, next_tick, place, rule_of
from cron_oracle.zones import Change, Zone
from zjobs.cron import Schedule

_FOREVER = datetime(2200, 1, 1, tzinfo=UTC)


@dataclass
class Counts:
    """What was compared, and what was found."""

    comparisons: Counter[str] = field(default_factory=Counter)
    ticks: int = 0
    random: int = 0
    """Random expressions, those that zjobs refused wrongly among them."""
    refused: int = 0
    """Random texts that it refused."""
    explained: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: "Counts") -> None:
        """Takes in what another process found."""
        self.comparisons += other.comparisons
        self.ticks += other.ticks
        self.random += other.random
        self.refused += other.refused
        self.explained += other.explained
        self.reasons += other.reasons
        self.wrong += other.wrong


def zone_at_changes(zone: Zone, first: int, changes: list[Change], meanings: list[Meaning], counts: Counts) -> None:
    """Every expression at each of these changes, which are the ``first`` and following ones of the zone."""
    clock = Clock(zone)
    schedules = [Schedule(meaning.expression, zone.name) for meaning in meanings]
    twice = [Schedule(meaning.expression, zone.name, "twice") for meaning in meanings]
    for at, change in enumerate(changes, first):
        here = place(zone, change, clock)
        for number, meaning in enumerate(meanings):
            # A third of the fixed hours at each change in the other mode: in three changes, all of them.
            other = meaning.fields.fixed_hour and (at + number) % 3 == 0
            at_place(here, meaning, (schedules[number], twice[number] if other else None), number + at, counts)


def at_place(
    here: Place, meaning: Meaning, schedules: tuple[Schedule, Schedule | None], turn: int, counts: Counts
) -> None:
    """The ticks around the change and the next one after them, from before it and from within."""
    for schedule in schedules:
        if schedule is not None:
            ours(here, meaning, schedule, turn, counts)
    for peer in peers.PEERS:
        reasons = peers.judge(peer, here, meaning)
        counts.comparisons[peer] += 1
        counts.reasons.update(f"{peer} {reason}" for reason in reasons)
        counts.explained += reasons != peers.AGREES
        if peers.UNEXPLAINED in reasons:
            counts.wrong.append(f"{peer} differs from the rule, and no reason says so: {_where(here, meaning)}")


def ours(here: Place, meaning: Meaning, schedule: Schedule, turn: int, counts: Counts) -> None:
    """Notes where zjobs says something else than the rule."""
    rule = rule_of(meaning, "twice" if schedule.on_repeat.value == "twice" else "once")
    expected = here.walk.ticks(meaning, rule, here.start, here.end)
    later = next_tick(here.clock, meaning, rule, here.end)
    if later is not None:
        expected.append(later)
    found = [int(tick.timestamp()) for tick in schedule.between(moment(here.start), _FOREVER, len(expected) or 1)]
    counts.comparisons["zjobs"] += 1
    counts.ticks += len(expected)
    if found != expected:
        counts.wrong.append(f"zjobs: {_where(here, meaning)} {rule}: {_told(found)}, by the rule {_told(expected)}")
    # From within: just before the change, at it, in the midst of what it skips or repeats, and at its end.
    size = abs(here.change.after - here.change.before)
    inside = here.change.at + (-1, 0, size // 2, size - 1, size, -(size // 2))[turn % 6]
    after = next((tick for tick in expected if tick > inside), later)
    found_one = schedule.next_after(moment(inside))
    counts.comparisons["zjobs"] += 1
    if after != (None if found_one is None else int(found_one.timestamp())):
        told = _told([int(found_one.timestamp())] if found_one else [])
        counts.wrong.append(f"zjobs: {_where(here, meaning)} {rule}, after {moment(inside)}: {told}, not {after}")


def _where(here: Place, meaning: Meaning) -> str:
    change = here.change
    return (
        f"{meaning.expression!r} in {here.zone.name} at {moment(change.at)} ({change.before:+} to {change.after:+} s)"
    )


def _told(ticks: list[int]) -> str:
    return ", ".join(moment(at).strftime("%Y-%m-%d %H:%M:%S") for at in ticks[:8]) + (" ..." if ticks[8:] else "")
