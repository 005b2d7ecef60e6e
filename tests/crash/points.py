"""`python -m crash.points`: processes die, freeze and panic at every named place, while others go on.

A family of workers, clerks and a producer shares one store. Each seat goes through a list of places: a process that is
told to die there, another in its place, and so on. In the end all is settled, and the checker says what does not fit.
"""

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import postgres_server
from crash.actor import Actor
from crash.clerk import WITHOUT_JOBS
from crash.driver import MisbehavedError, prepare, settle
from crash.jobs import CHORES, open_patiently
from crash.marks import Marks, now
from crash.places import Place, places
from crash.report import judged, name_of

PATIENCE = 90.0
"""Seconds after which a place that was not passed never will be."""
LOOK = 0.01
BETWEEN = 0.3
"""Seconds between a start and a stop, and between a panic and the end."""
FROZEN = {"sqlite": 0.5, "postgres": 6.0}
"""Seconds that a process is frozen; where leases have a length, longer than they and the look that follows."""
SPARED = 2.0
"""Seconds that the victim lives."""
RATE = "200"
PANICKED = "failpoint {} panic"


@dataclass(slots=True)
class Seat:
    """One seat of the family: who has it, what it is told, and what comes next."""

    role: str
    number: int
    arguments: list[str]
    waiting: deque[Place] = field(default_factory=deque)
    lives: int = 0
    place: Place | None = None
    actor: Actor | None = None
    since: float = 0.0
    frozen: tuple[float, int] | None = None
    happened: float | None = None
    told: bool = False

    @property
    def is_done(self) -> bool:
        return self.place is None and not self.waiting


class Family:
    """All seats."""

    def __init__(self, store: str, database: str, folder: Path, marks: Marks, seed: str) -> None:
        self.store, self.database, self.folder, self.marks = store, database, folder, marks
        self.workers = [Seat("worker", number, []) for number in range(3)]
        self.pauser, self.clerk = (Seat("clerk", number, []) for number in range(2))
        self.producer = Seat("producer", 0, [str(10**9), RATE, seed])
        # Two more, who are never told anything, take over; and one is killed all the time, so that there is a rescue.
        self.others = [Seat("worker", 3, []), Seat("clerk", 2, [])]
        self.victim = Seat("worker", 4, [])
        self.seats = [*self.workers, self.pauser, self.clerk, self.producer, *self.others, self.victim]
        self.done: list[Place] = []

    def assign(self, wanted: list[Place]) -> None:
        workers = cycle(self.workers)
        roles = {"pauser": self.pauser, "clerk": self.clerk, "producer": self.producer}
        for place in wanted:
            (roles.get(place.role) or next(workers)).waiting.append(place)

    def start(self, seat: Seat) -> None:
        seat.lives += 1
        seat.place = seat.waiting.popleft() if seat.waiting else None
        seat.since, seat.frozen, seat.happened, seat.told = time.monotonic(), None, None, False
        name = f"{seat.role}-{seat.number}-{seat.lives}"
        text = seat.place.text if seat.place else ""
        arguments = [self.database, str(self.folder), name, *seat.arguments]
        seat.actor = Actor(seat.role, name, arguments, text, self.folder / f"{name}.log")

    def run(self) -> None:
        for seat in self.seats:
            self.start(seat)
        while not all(seat.is_done for seat in self.seats):
            for seat in self.seats:
                self.look(seat)
            if time.monotonic() - self.victim.since > SPARED:
                self.sacrifice()
            threading.Event().wait(LOOK)

    def sacrifice(self) -> None:
        """Kills the victim, and starts the next."""
        actor = self.victim.actor
        assert actor is not None
        actor.signal(signal.SIGKILL)
        actor.wait(30)
        self.marks.write("died", actor.name, now())
        self.start(self.victim)

    def look(self, seat: Seat) -> None:
        """Follows one process; starts the next when it is over with this one."""
        actor, place, at = seat.actor, seat.place, time.monotonic()
        assert actor is not None
        status = actor.status
        if status is not None:
            self.ended(seat, status)
            self.start(seat)
            return
        if seat.frozen is None and actor.is_stopped():
            seat.frozen = at, now()
        if seat.frozen is not None and seat.frozen[0] and at - seat.frozen[0] > FROZEN[self.store]:
            actor.signal(signal.SIGCONT)
            self.marks.write("frozen", actor.name, seat.frozen[1], now())
            seat.frozen = 0.0, 0
            if place is not None and place.action == "freeze":
                seat.happened = at
        if place is None:
            return
        if place.action == "panic" and seat.happened is None and PANICKED.format(place.name) in actor.said():
            self.marks.write("panicked", actor.name)
            seat.happened = at
        if place.at_the_end and seat.happened is None and self.has_marked(actor.name):
            # It works, and listens to signals.
            seat.happened = at
        due = seat.happened
        if due is not None and at - due > BETWEEN and not seat.told:
            seat.told = True
            self.end(actor, seat.role)
        if at - seat.since > PATIENCE:
            raise MisbehavedError(f"{actor.name} did not {place} in {PATIENCE} s:\n{actor.said()[-4000:]}")

    def has_marked(self, name: str) -> bool:
        path = self.folder / f"{name}.marks"
        return path.exists() and path.stat().st_size > 0

    def end(self, actor: Actor, role: str) -> None:
        """Tells a process to end; a clerk or a producer dies of it."""
        actor.signal(signal.SIGTERM if role == "worker" else signal.SIGKILL)

    def ended(self, seat: Seat, status: int) -> None:
        actor, place = seat.actor, seat.place
        assert actor is not None
        killed = status == -signal.SIGKILL
        if killed:
            self.marks.write("died", actor.name, now())
        expected = place is not None and (
            killed if place.action == "kill" or seat.role != "worker" else seat.told and status == 0
        )
        if not expected:
            raise MisbehavedError(f"{actor.name} ({place}) ended with status {status}:\n{actor.said()[-4000:]}")
        if place.action == "kill" or seat.happened is not None:
            self.done.append(place)

    def stop(self) -> None:
        """Clerks and producer are killed; when all is settled the workers stop in order."""
        for seat in (self.pauser, self.clerk, self.producer, self.others[1], self.victim):
            actor = seat.actor
            assert actor is not None
            actor.signal(signal.SIGKILL)
            actor.wait(30)
            self.marks.write("died", actor.name, now())
        jobs = open_patiently(self.database)
        jobs.resume_queue(CHORES)
        settle(self.database, self.check)
        for seat in (*self.workers, self.others[0]):
            assert seat.actor is not None
            seat.actor.signal(signal.SIGTERM)
            if seat.actor.wait(40) != 0:
                raise MisbehavedError(
                    f"{seat.actor.name} stopped with {seat.actor.status}:\n{seat.actor.said()[-4000:]}"
                )

    def check(self) -> bool:
        """Nobody who is to live has ended."""
        for seat in (*self.workers, self.others[0]):
            assert seat.actor is not None
            if seat.actor.status is not None:
                raise MisbehavedError(f"{seat.actor.name} ended by itself:\n{seat.actor.said()[-4000:]}")
        return True

    def abandon(self) -> None:
        for seat in self.seats:
            if seat.actor is not None:
                seat.actor.signal(signal.SIGKILL)
                seat.actor.wait(30)


def migrations(store: str, database: str, folder: Path) -> list[Place]:
    """Each step of a migration is died at, on tables of its own; whoever comes next finishes it."""
    done = []
    for number, place in enumerate(place for place in places(store) if place.role == "opener"):
        home = f"{database}?schema=m{number}" if store == "postgres" else f"sqlite:///{folder / f'm{number}.db'}"
        for armed, wanted in ((place.text, -signal.SIGKILL), ("", 0)):
            actor = Actor("opener", place.name, [home], armed, folder / f"{place.name}.log")
            if actor.wait(PATIENCE) != wanted:
                raise MisbehavedError(
                    f"opener ({place}) ended with {actor.status}, not {wanted}:\n{actor.said()[-4000:]}"
                )
        done.append(place)
    return done


def chosen(store: str, *, few: bool) -> list[Place]:
    """What is to be done; ``few``: all kills, on a server one of each step, and one or two of what else there is."""
    wanted = [place for place in places(store) if place.role != "opener"]
    if not few:
        return wanted
    of = {action: [place for place in wanted if place.action == action] for action in ("kill", "freeze", "panic")}
    if store == "postgres":
        return [place for place in of["kill"] if _stands_for_others(place)] + of["freeze"][:1]
    return of["kill"] + of["freeze"][:1] + of["panic"][:2]


def _stands_for_others(place: Place) -> bool:
    verb = place.name.split(".")[0]
    return verb in {"enqueue", "claim", "ack", "rescue", "claimer", "acker", "slot", "tick"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="crash.points")
    parser.add_argument("--stores", nargs="+", choices=["sqlite", "postgres"], default=["sqlite"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--few", action="store_true", help="a short form")
    parser.add_argument("--folder", type=Path, help="where the file and the marks stay; otherwise they are removed")
    parser.add_argument("--result", type=Path, default=Path("crash-points.json"))
    asked = parser.parse_args()
    all_passed, sentences = True, []
    for store in asked.stores:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            if asked.folder is not None:
                folder = asked.folder / store
                folder.mkdir(parents=True)
            server = stack.enter_context(postgres_server.running()) if store == "postgres" else None
            database = server.url if server is not None else f"sqlite:///{folder / 'jobs.db'}"
            result = asked.result.with_stem(f"{asked.result.stem}-{store}")
            passed, sentence = run(store, database, folder, result, rounds=asked.rounds, few=asked.few)
        all_passed &= passed
        sentences.append(sentence)
    print(f"{'proved' if all_passed else 'refuted'}: {'; '.join(sentences)}")
    return 0 if all_passed else 1


def missed(wanted: list[Place], done: list[Place], rounds: int) -> list[str]:
    """Where it did not happen as often as it was meant to."""
    times = Counter(done)
    return [f"{place}: {times[place]} times" for place in wanted if times[place] < rounds]


def run(store: str, database: str, folder: Path, result: Path, *, rounds: int, few: bool) -> tuple[bool, str]:
    """Whether all is well on a store, and what was done."""
    began, marks_of, logs = time.monotonic(), folder / "marks", folder / "migrations"
    marks_of.mkdir()
    logs.mkdir()
    migrated = migrations(store, database, logs)
    marks = Marks(marks_of, "driver")
    prepare(database, marks)
    marks.write("by-hand")
    marks.write("without-jobs", WITHOUT_JOBS)
    family = Family(store, database, marks_of, marks, str(os.getpid()))
    wanted = chosen(store, few=few)
    family.assign(wanted * rounds)
    try:
        family.run()
        family.stop()
    finally:
        family.abandon()
    done = {*family.done, *migrated}
    found = {
        "store": store,
        "rounds": rounds,
        "places": len({place.name for place in done}),
        "died_at": sum(place.action == "kill" for place in done),
        "frozen_at": sum(place.action == "freeze" for place in done),
        "panicked_at": sum(place.action == "panic" for place in done),
        "missed": missed(wanted, family.done, rounds),
        "seconds": round(time.monotonic() - began, 1),
    }
    passed, verdict = judged(database, marks_of, found, result)
    sentence = (
        f"{found['died_at']} places died at, {found['frozen_at']} frozen at and {found['panicked_at']} panicked at on"
        f" {name_of(database)}, each {rounds} times, {verdict}"
    )
    return passed and not found["missed"], sentence


if __name__ == "__main__":
    sys.exit(main())
