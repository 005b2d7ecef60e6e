"""`python -m recovery`: brings each event about so many times, and says how long it took until work went on."""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import postgres_server
import zjobs
from crash.report import commit_here
from recovery import scenes
from recovery.ticks import killed_among_ticks

FAST = {"rescue_interval_ms": 1000}


@dataclass(frozen=True, slots=True)
class Event:
    """What happens, what is measured, and the most that the project asks of the 99th of a hundred."""

    says: str
    bar: float
    """Seconds."""
    act: Callable[[postgres_server.Server, Path, int, random.Random], Iterable[float]]
    """Given a server, an empty folder, and how often."""


def _file(folder: Path) -> str:
    return f"sqlite:///{folder}/jobs.db"


EVENTS = {
    "killed-sqlite": Event(
        "a killed worker's job ran elsewhere on SQLite",
        1,
        lambda _, folder, times, rng: scenes.workers_killed(_file(folder), folder, times, rng),
    ),
    "killed-postgres": Event(
        "a killed worker's job ran elsewhere on PostgreSQL",
        30,
        lambda server, folder, times, rng: scenes.workers_killed(server.url, folder, times, rng),
    ),
    "killed-postgres-fast": Event(
        "the same with rescue_interval_ms=1000",
        6,
        lambda server, folder, times, rng: scenes.workers_killed(server.url, folder, times, rng, **FAST),
    ),
    "told-sqlite": Event(
        "a job that would not end ran elsewhere after the end of its worker, and not before, on SQLite",
        2,
        lambda _, folder, times, rng: scenes.told_to_stop(_file(folder), folder, times, rng),
    ),
    "told-postgres": Event(
        "the same on PostgreSQL",
        2,
        lambda server, folder, times, rng: scenes.told_to_stop(server.url, folder, times, rng),
    ),
    "listener": Event("a job ran though the connection that listens was lost", 1, scenes.listener_cut),
    "server": Event("ends were written and jobs ran after the server was there again", 2, scenes.server_ended),
    "ticks": Event("a tick of a schedule had its job while nodes were killed", 1, killed_among_ticks),
}


def told(seconds: list[float]) -> str:
    """The figures, as the sentence has them."""
    half, most = at(seconds, 0.5), at(seconds, 0.99)
    return f"p50 {half:.2f} s, p99 {most:.2f} s of {len(seconds)}"


def at(seconds: list[float], part: float) -> float:
    """The figure that so many are not above."""
    return sorted(seconds)[min(len(seconds) - 1, int(part * len(seconds)))]


def main() -> int:
    parser = argparse.ArgumentParser(prog="recovery")
    parser.add_argument("--times", type=int, default=100, help="how often each event is brought about")
    parser.add_argument("--only", nargs="*", choices=list(EVENTS), default=list(EVENTS))
    parser.add_argument("--patient", action="store_true", help="look at no bar")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--result", type=Path, default=Path("recovery.json"))
    asked = parser.parse_args()
    figures: dict[str, list[float]] = {}
    for name in asked.only:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"recovery-{name}-")))
            server = stack.enter_context(postgres_server.running())
            zjobs.migrate(server.url)
            figures[name] = list(EVENTS[name].act(server, folder, asked.times, random.Random(asked.seed)))
        print(f"{name}: {told(figures[name])}", flush=True)
    asked.result.write_text(json.dumps({"commit": commit_here(), "seconds": figures}, indent=2) + "\n")
    late = [name for name, seconds in figures.items() if at(seconds, 0.99) > EVENTS[name].bar and not asked.patient]
    for name in late:
        print(f"{name}: {told(figures[name])}, and the bar is {EVENTS[name].bar:g} s", file=sys.stderr)
    sentence = "; ".join(f"{EVENTS[name].says} ({told(seconds)})" for name, seconds in figures.items())
    print(f"{'refuted' if late else 'proved'}: {sentence}")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
