"""Starts the processes, kills them at random, starts them anew, and waits until all is settled."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from crash.history import install
from crash.jobs import SECONDS, open_patiently
from crash.marks import Marks, now
from postgres_server import Server
from zjobs import JobState, NotFound

__all__ = ["MisbehavedError", "Plan", "Times", "drive", "prepare", "settle"]

WORKERS = 4
LOOK = 0.1
STOPPED = 6.0
"""Seconds that a worker is stopped: longer than the four of its lease and the one until somebody looks."""
SOON = 30.0
"""Seconds within which a process that is killed is gone."""
PATIENCE = 60.0
"""Seconds without any change after which what is not settled is stuck."""
STALLED = 20.0
"""Seconds without the end of any run after which a fault comes all the same."""
LIVE = (JobState.AVAILABLE, JobState.EXECUTING, JobState.RETRYABLE, JobState.SCHEDULED)


class MisbehavedError(Exception):
    """A process ended by itself, or did not end when it was told to."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it."""

    kills: int
    jobs: int
    seed: int
    pause: float
    """Seconds between two kills at least, on average: they are spread over all jobs."""
    stops: int = 0
    """How often a worker is stopped for longer than its lease, and goes on."""
    servers: int = 0
    """How often the server is killed, or stopped at once, and started again."""

    @property
    def rate(self) -> float:
        """Jobs a second, so that they last as long as the kills."""
        return self.jobs / max((self.kills + self.servers) * self.pause + self.stops * STOPPED, 1.0)


@dataclass(slots=True)
class Times:
    """Seconds that the parts took."""

    kills: float = 0.0
    settling: float = 0.0


@dataclass(slots=True)
class Member:
    """One place in the crew, and who has it now."""

    role: str
    number: int
    arguments: list[str]
    lives: int = 0
    process: subprocess.Popen[bytes] | None = None
    name: str = ""

    def start(self, database: str, folder: Path) -> None:
        self.lives += 1
        self.name = f"{self.role}-{self.number}-{self.lives}"
        command = [sys.executable, "-m", f"crash.{self.role}", database, str(folder), self.name, *self.arguments]
        with (folder / f"{self.name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=Path(__file__).parents[1], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )


@dataclass(slots=True)
class Work:
    """How many runs have ended, by the marks."""

    folder: Path
    ended: int = 0
    _read: dict[Path, int] = field(default_factory=dict)

    def look(self) -> int:
        for path in self.folder.glob("*.marks"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                whole, _, _ = file.read().rpartition(b"\n")
            self.ended += sum(line.startswith(b"end ") for line in whole.splitlines())
            if whole:
                self._read[path] = self._read.get(path, 0) + len(whole) + 1
        return self.ended

    def wait_for(self, goal: float) -> None:
        """Until so many have ended, or none ends any more."""
        seen, since = self.look(), time.monotonic()
        while seen < goal and time.monotonic() - since < STALLED:
            time.sleep(LOOK)
            if self.look() != seen:
                seen, since = self.ended, time.monotonic()


@dataclass(slots=True)
class Crew:
    """All processes."""

    database: str
    folder: Path
    members: list[Member] = field(default_factory=list)

    def check(self) -> None:
        """Nobody has ended but a producer that is done."""
        for member in self.members:
            code = member.process.poll()
            if code is not None and (member.role, code) != ("producer", 0):
                log = (self.folder / f"{member.name}.log").read_text(errors="replace")
                raise MisbehavedError(f"{member.name} ended by itself with status {code}:\n{log[-4000:]}")

    def living(self) -> list[Member]:
        return [member for member in self.members if member.process.poll() is None]

    def stop(self, seconds: float) -> None:
        """Ends all in order."""
        for member in self.living():
            member.process.send_signal(signal.SIGTERM)
        for member in self.members:
            code = member.process.wait(seconds)
            # One that has only just been started does not listen to signals yet.
            if code not in {0, -signal.SIGTERM}:
                log = (self.folder / f"{member.name}.log").read_text(errors="replace")
                raise MisbehavedError(f"{member.name} stopped with status {code}:\n{log[-4000:]}")

    def abandon(self) -> None:
        for member in self.living():
            member.process.kill()
            member.process.wait()


def drive(plan: Plan, database: str, folder: Path, server: Server | None = None) -> Times:
    """Runs the plan until every job is settled, or nothing changes any more; the checker says which.

    Raises:
        MisbehavedError: A process did not behave.
    """
    rng, marks, times = random.Random(plan.seed), Marks(folder, "driver"), Times()
    prepare(database, marks)
    producer = Member("producer", 0, [str(plan.jobs), str(plan.rate), str(plan.seed)])
    crew = Crew(database, folder, [*(Member("worker", number, []) for number in range(WORKERS)), producer])
    faults = ["kill"] * plan.kills + ["stop"] * plan.stops + ["server"] * plan.servers
    rng.shuffle(faults)
    try:
        began = time.monotonic()
        for member in crew.members:
            member.start(database, folder)
        work = Work(folder)
        for number, fault in enumerate(faults):
            time.sleep(rng.uniform(0, 2 * plan.pause))
            # A machine that is slower than the plan has its faults spread over all of the work, too.
            work.wait_for(plan.jobs * number / len(faults))
            crew.check()
            match fault:
                case "kill":
                    kill(rng.choice(crew.living()), crew, marks)
                case "stop":
                    stop(rng.choice([member for member in crew.living() if member.role == "worker"]), marks)
                case "server":
                    assert server is not None
                    restart(server, rng.choice([signal.SIGKILL, signal.SIGQUIT]), marks)
        times.kills = time.monotonic() - began
        began = time.monotonic()
        settle(database, lambda: crew.check() or producer.process.poll() == 0)
        times.settling = time.monotonic() - began
        crew.stop(40)
    finally:
        crew.abandon()
    return times


def prepare(database: str, marks: Marks) -> None:
    """Makes the tables, and has every change of them written down."""
    jobs = open_patiently(database)
    jobs.count_by_state()
    del jobs
    install(database)
    marks.write("clock", now(), time.time_ns())
    marks.write("without-jobs", SECONDS)


def kill(victim: Member, crew: Crew, marks: Marks) -> None:
    before = now()
    victim.process.kill()
    if (code := victim.process.wait(SOON)) != -signal.SIGKILL:
        raise MisbehavedError(f"{victim.name} was to be killed and ended with status {code}")
    marks.write("kill", victim.name, before, now())
    victim.start(crew.database, crew.folder)


def stop(victim: Member, marks: Marks) -> None:
    """A zombie: it is stopped until others have taken its jobs, and then goes on as if nothing had happened."""
    before = now()
    victim.process.send_signal(signal.SIGSTOP)
    time.sleep(STOPPED)
    victim.process.send_signal(signal.SIGCONT)
    marks.write("stop", victim.name, before, now())


def restart(server: Server, how: signal.Signals, marks: Marks) -> None:
    before, began = now(), server.began()
    server.stop(how)
    server.start()
    if server.began() == began:
        raise MisbehavedError(f"the server lives since {began}, and was to be ended")
    marks.write("server", how.name, before, now())


def settle(database: str, check: Callable[[], bool]) -> None:
    """Waits until no job is live and ``check`` says that no more come, or nothing changes any more."""
    jobs = open_patiently(database)
    with suppress(NotFound):
        jobs.pause_cron(SECONDS)
    seen, since = None, time.monotonic()
    while time.monotonic() - since < PATIENCE:
        over = check()
        counts = jobs.count_by_state()
        if over and not any(counts[state] for state in LIVE):
            return
        if counts != seen:
            seen, since = counts, time.monotonic()
        time.sleep(0.2)
