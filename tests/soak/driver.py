"""Lets a crew run for hours, faults happen to it, and samples be taken."""

import json
import random
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psycopg

from crash.jobs import open_patiently
from crash.marks import Marks, now
from postgres_server import Server
from proxy import Proxy
from soak.crew import Crew, Member
from soak.faults import Faults, kinds, moments
from soak.journal import Journal
from soak.ledger import Ledger
from soak.samples import Sample, look
from soak.stores import MemoryView, PostgresView, SqliteView, Unreachable, View
from soak.worker import KEPT

__all__ = ["Ground", "Plan", "Told", "TooSlowError", "measure_peak", "soak"]

WORKERS = 4
PEAK_SECONDS = 12.0
FLAT_OUT = {"memory": 60_000, "sqlite": 20_000, "postgres": 20_000}
"""Jobs a second that nobody works off."""
EPOCH = 15.0
"""Seconds between two looks at what is over."""
LOOKS = KEPT * 2 / 3
"""Seconds between two looks at the rows, at most: what is final longer may be gone."""
SETTLED = 90.0
"""Seconds without any change after which what is not settled is stuck."""


class TooSlowError(Exception):
    """The machine does less than is asked of it, so that nothing can be said."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, how fast, and how often something happens."""

    store: str
    seconds: float
    rate: float
    fault_every: float
    sample_every: float
    seed: int


@dataclass(slots=True)
class Told:
    """What came of it."""

    ledger: Ledger
    began: int
    witnesses: list[str]
    """Processes that nobody kills."""
    samples: list[Sample] = field(default_factory=list)
    faults: list[tuple[str, float, float]] = field(default_factory=list)
    """Which, and from which second to which."""
    failed: Exception | None = None
    """What a fault that could not be done has met."""


@dataclass(slots=True)
class Ground:
    """Where a soak takes place: the store, how to look at it, and the processes that may use it."""

    store: str
    folder: Path
    server: Server | None = None
    proxy: Proxy | None = None

    @property
    def url(self) -> str:
        if self.store == "memory":
            return "memory://"
        return f"sqlite:///{self.folder / 'jobs.db'}" if self.server is None else self.server.url

    def view(self) -> View:
        if self.store == "memory":
            return MemoryView(self.folder / "rows")
        return SqliteView(self.folder / "jobs.db") if self.server is None else PostgresView(self.server.url)

    def crew(self, rate: float, seed: int) -> Crew:
        """Workers and a producer. The first worker and the producer are never killed: their memory is watched."""
        marks = self.folder / "marks"
        marks.mkdir(parents=True)
        pace = [str(rate), str(seed)]
        if self.store == "memory":
            alone = Member("alone", 0, self.url, marks, [*pace, str(self.folder / "rows")])
            return Crew(alone, [alone])
        workers = [Member("worker", number, self.url, marks, mortal=number > 0) for number in range(WORKERS)]
        if self.proxy is not None:
            workers[1].database = self.url.replace(f":{self.server.port}/", f":{self.proxy.port}/")
        return Crew(Member("producer", 0, self.url, marks, pace), workers)

    @contextmanager
    def part(self, name: str) -> Iterator["Ground"]:
        """The same with a folder and tables of its own, which are gone afterwards."""
        part = Ground(self.store, self.folder / name, self.server, self.proxy)
        part.folder.mkdir()
        try:
            yield part
        finally:
            shutil.rmtree(part.folder)
            if self.server is not None:
                with psycopg.connect(self.server.url, autocommit=True) as admin:
                    admin.execute("SET client_min_messages = error; DROP SCHEMA IF EXISTS zjobs CASCADE")


def measure_peak(ground: Ground, seconds: float = PEAK_SECONDS) -> float:
    """Runs a second that a crew ends when there is always more to do than it can."""
    with ground.part("peak") as part:
        crew, ledger = part.crew(FLAT_OUT[part.store], 0), Ledger(part.folder / "marks", part.view())
        try:
            crew.start()
            time.sleep(seconds / 3)
            began, before = time.monotonic(), _ended(ledger)
            time.sleep(2 * seconds / 3)
            crew.check()
            return (_ended(ledger) - before) / (time.monotonic() - began)
        finally:
            crew.abandon()


def _ended(ledger: Ledger) -> int:
    ledger.read_marks()
    return ledger.ended


def soak(plan: Plan, ground: Ground) -> Told:
    """Runs the plan until every job is settled, or nothing changes any more.

    Raises:
        EndedError: A process did not behave.
    """
    crew, view = ground.crew(plan.rate, plan.seed), ground.view()
    marks, over = Marks(ground.folder / "marks", "driver"), threading.Event()
    with ExitStack() as stack:
        stack.callback(crew.abandon)
        ledger = Ledger(ground.folder / "marks", view, _journal(ground))
        crew.start()
        witnesses = [one.name for one in crew.members if not one.mortal]
        told = Told(ledger, _work_begins(ground, crew), witnesses)
        faults = _faults(plan, ground, crew, marks)
        harm = threading.Thread(target=_harm, args=(plan, faults, told, over), daemon=True)
        harm.start()
        _watch(plan, ground, crew, told, over)
        harm.join()
        if told.failed is not None:
            raise told.failed
        _end(crew, view, plan)
    told.ledger.finish(view.damage())
    return told


def _journal(ground: Ground) -> Journal | None:
    """The tables are made, and some of what happens to them is written down; what is in memory has no triggers."""
    if ground.store == "memory":
        return None
    open_patiently(ground.url).count_by_state()
    return Journal(ground.url)


def _work_begins(ground: Ground, crew: Crew) -> int:
    """When the first handler was called: from then on everybody can bear what happens."""
    marks = ground.folder / "marks"
    while not any(b"begin" in path.read_bytes() for path in marks.glob("*.marks")):
        crew.check()
        time.sleep(0.05)
    return now()


def _faults(plan: Plan, ground: Ground, crew: Crew, marks: Marks) -> Faults:
    client = None if plan.store == "memory" else open_patiently(ground.url)
    faults = Faults(crew, marks, client, min(20.0, plan.fault_every / 2), random.Random(plan.seed))
    faults.file, faults.server, faults.proxy = ground.folder / "jobs.db", ground.server, ground.proxy
    faults.cut_off = crew.workers[1] if ground.proxy is not None else None
    return faults


def _watch(plan: Plan, ground: Ground, crew: Crew, told: Told, over: threading.Event) -> None:
    """Takes samples, and judges what is over, until the time has passed or a fault could not be done."""
    closed = looked = 0.0
    with (ground.folder / "samples.jsonl").open("w", encoding="ascii") as file:
        while (at := (now() - told.began) / 1e9) < plan.seconds and not over.wait(plan.sample_every):
            crew.check()
            _check_pace(at - looked)
            looked = at
            told.samples.append(_sample(crew, told.ledger.view, told))
            file.write(json.dumps(asdict(told.samples[-1])) + "\n")
            if at - closed > EPOCH:
                closed = at
                told.ledger.close(now())
    over.set()


def _check_pace(passed: float) -> None:
    if passed > LOOKS:
        raise TooSlowError(
            f"{passed:.0f} s passed between two looks at the rows, which are kept for {KEPT:g} s: this machine does"
            " less than is asked of it. Leave it to the soak alone, or ask for less with RATE="
        )


def _harm(plan: Plan, faults: Faults, told: Told, over: threading.Event) -> None:
    """A fault each so many seconds, until it is over."""
    try:
        for name, at in zip(kinds(plan.store, faults.rng), moments(plan.fault_every, faults.rng), strict=False):
            if over.wait(max(0.0, at - (now() - told.began) / 1e9)):
                return
            faults.do(name)
            told.faults[:] = [
                (what, (begin - told.began) / 1e9, (end - told.began) / 1e9) for what, begin, end in faults.done
            ]
    except Exception as error:  # noqa: BLE001 - told by the thread that waits for the end
        told.failed = error
        over.set()


def _sample(crew: Crew, view: View, told: Told) -> Sample:
    ledger = told.ledger
    sample, before = look((now() - told.began) / 1e9, crew, view), ledger.ended
    try:
        sample.waits = ledger.read(now())
    except Unreachable:
        ledger.read_marks()
    sample.ended = ledger.ended - before
    return sample


def _end(crew: Crew, view: View, plan: Plan) -> None:
    """Ends the producer, waits until all is settled, and ends the workers."""
    crew.producer.stop(SETTLED)
    seen, since = None, time.monotonic()
    while plan.store != "memory" and time.monotonic() - since < SETTLED:
        crew.check(crew.workers)
        unsettled = view.unsettled()
        if unsettled == 0:
            break
        if unsettled != seen:
            seen, since = unsettled, time.monotonic()
        time.sleep(0.2)
    for worker in crew.workers:
        if worker is not crew.producer:
            worker.stop(40)
