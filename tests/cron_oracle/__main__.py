"""``make cron-oracle``: every change of every zone's offset, 1990 to 2037, meets two hundred expressions."""

import argparse
import os
import random
import sys
import time
import zoneinfo
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache, partial

from cron_oracle import chance
from cron_oracle.compare import Counts, at_place, zone_at_changes
from cron_oracle.expressions import EXPRESSIONS
from cron_oracle.rule import Clock, Meaning, place
from cron_oracle.valid import why_not
from cron_oracle.zones import Change, Zone, names, version, zones
from zjobs.cron import Schedule
from zjobs.errors import Invalid

_CHANGES_AT_ONCE = 8
_RANDOM_AT_ONCE = 100
_SHOWN = 40


def main(arguments: list[str]) -> int:
    """Runs what was asked for, tells the reasons and the counts, and fails when anything is unexplained."""
    asked = _asked(arguments)
    if zoneinfo.TZPATH:
        sys.exit("PYTHONTZPATH must be set and empty: the zones are those of the package tzdata")
    draw = random.Random(asked.seed)
    known = names()
    named = [] if asked.zones.isdecimal() else asked.zones.split(",")
    chosen = named or draw.sample(known, min(int(asked.zones), len(known)))
    found = zones(sorted(chosen))
    expressions = EXPRESSIONS if asked.expressions >= len(EXPRESSIONS) else draw.sample(EXPRESSIONS, asked.expressions)
    changes = sum(len(zone.compared()) for zone in found)
    print(f"tzdata {version()}: {len(chosen)} names, {len(found)} zones that differ, {changes} changes 1990-2037")
    counts = Counts()
    began = time.monotonic()
    with ProcessPoolExecutor(asked.processes) as pool:
        tasks = list(_listed(found, expressions)) + list(_random(found, asked.random, asked.seed))
        waiting = [pool.submit(task) for task in tasks]
        for number, done in enumerate(as_completed(waiting)):
            if done.exception() is not None:
                pool.shutdown(cancel_futures=True)
            part = done.result()
            counts.add(part)
            for line in part.wrong[:3]:
                print(f"  {line}", file=sys.stderr, flush=True)
            if number % max(1, len(tasks) // 20) == 0:
                print(
                    f"  {number} of {len(tasks)} parts, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True
                )
            if len(counts.wrong) > 10 * _SHOWN:
                pool.shutdown(cancel_futures=True)
                break
    return _tell(counts, found, changes, expressions)


def _asked(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="cron_oracle")
    parser.add_argument("--expressions", type=int, default=len(EXPRESSIONS), help="how many of the listed ones")
    parser.add_argument("--zones", default="9999", help="how many, or names with commas between")
    parser.add_argument("--random", type=int, default=0, help="how many random expressions besides")
    parser.add_argument("--seed", type=int, default=1, help="what the chosen and the random ones come from")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    return parser.parse_args(arguments)


def _tell(counts: Counts, found: list[Zone], changes: int, expressions: list[str]) -> int:
    for reason, number in sorted(counts.reasons.items()):
        print(f"{number:>9}  {reason}")
    for line in counts.wrong[:_SHOWN]:
        print(f"WRONG {line}")
    if counts.wrong:
        print(f"{len(counts.wrong)} differences that no rule explains")
        return 1
    total = sum(counts.comparisons.values())
    print(
        f"proved: {changes} changes of {len(found)} zones (tzdata {version()}), {len(expressions)} expressions at each "
        f"and {counts.random} random ones ({counts.refused} more are none and were refused); {total} comparisons, "
        f"{counts.comparisons['zjobs']} of them with the oracle, all equal; "
        f"{counts.explained} differences of croniter and cronsim, each explained by a rule"
    )
    return 0


# --- the parts, which are made here and run in the pool ---


def _listed(found: list[Zone], expressions: list[str]) -> Iterator[Callable[[], Counts]]:
    for zone in found:
        changes = zone.compared()
        for first in range(0, len(changes), _CHANGES_AT_ONCE):
            yield partial(_run_listed, zone, first, changes[first : first + _CHANGES_AT_ONCE], tuple(expressions))


def _run_listed(zone: Zone, first: int, changes: list[Change], expressions: tuple[str, ...]) -> Counts:
    counts = Counts()
    zone_at_changes(zone, first, changes, _meanings(expressions), counts)
    return counts


@cache
def _meanings(expressions: tuple[str, ...]) -> list[Meaning]:
    return [Meaning(expression) for expression in expressions]


def _random(found: list[Zone], wanted: int, seed: int) -> Iterator[Callable[[], Counts]]:
    draw = random.Random(seed)
    moving = [zone for zone in found if zone.compared()]
    for part in range(0, wanted, _RANDOM_AT_ONCE):
        zone = draw.choice(moving)
        change = draw.choice(zone.compared())
        yield partial(_run_random, zone, change, min(_RANDOM_AT_ONCE, wanted - part), f"{seed} {part}")


def _run_random(zone: Zone, change: Change, count: int, seed: str) -> Counts:
    draw, counts = random.Random(seed), Counts()
    here = place(zone, change, Clock(zone))
    while counts.random < count:
        expression = chance.expression(draw)
        reason, turn = why_not(expression), counts.random
        counts.random += reason is None
        try:
            schedule = Schedule(expression, zone.name)
        except Invalid as error:
            counts.refused += 1
            if reason is None:
                counts.wrong.append(f"zjobs refuses {expression!r}, which is an expression: {error}")
            continue
        if reason is not None:
            counts.wrong.append(f"zjobs takes {expression!r}, which has {reason}")
            continue
        twice = Schedule(expression, zone.name, "twice") if turn % 3 == 0 else None
        at_place(here, Meaning(expression), (schedule, twice), turn, counts)
    return counts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
