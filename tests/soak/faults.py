"""What happens to a soak: each fault by its name, with what it takes.

One that nobody could feel ends the run: a fault counts when it has been seen.
"""

import itertools
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

import zjobs
from crash.marks import Marks, now
from postgres_server import Server
from proxy import Proxy, Verdict
from soak.crew import Crew, Member
from soak.producer import enqueue

__all__ = ["FAULTS", "OF_STORE", "PAUSED", "QUEUE", "Faults", "UnfeltError", "kinds", "moments", "storm_of"]

ZOMBIE = 6.0
"""Seconds that a worker is stopped or cut off: longer than its lease and until somebody has looked."""
LEASES_HOLD = 2_000_000_000
"""Nanoseconds for which every lease lasts on when the server ends: four seconds less a beat, and some to spare."""
PAUSED = 3.0
STORM = 300
"""Jobs that are cancelled at once."""
QUEUE = "default"
SOON = 30.0
"""Seconds within which a fault is felt, on the busiest machine."""


class UnfeltError(Exception):
    """What was to go wrong has not."""


def felt(true: object, what: str) -> None:
    """Raises where that is not so."""
    if not true:
        raise UnfeltError(what)


@dataclass(slots=True)
class Faults:
    """What they may be done to.

    Args:
        crew: The processes.
        marks: Where the driver writes what it does.
        client: A supervisor on the same store that runs nothing; ``None`` where nobody but its process has the store.
        patience: Seconds that a lock or a snapshot is held.
        rng: Chance.
    """

    crew: Crew
    marks: Marks
    client: zjobs.Supervisor | None
    patience: float
    rng: random.Random
    file: Path | None = None
    server: Server | None = None
    proxy: Proxy | None = None
    cut_off: Member | None = None
    """The worker that reaches the server through the proxy."""
    done: list[tuple[str, int, int]] = field(default_factory=list)
    """What was done, from when to when."""

    def do(self, name: str) -> None:
        """Lets one fault happen, and waits until it is over."""
        began = now()
        FAULTS[name](self)
        self.done.append((name, began, now()))


def kinds(store: str, rng: random.Random) -> Iterator[str]:
    """The faults of a store for ever, each as often as the others, in an order of chance."""
    while True:
        bag = list(OF_STORE[store])
        rng.shuffle(bag)
        yield from bag


def moments(every: float, rng: random.Random) -> Iterator[float]:
    """When each fault begins, in seconds: one in each stretch of time, not always at the same place of it."""
    for number in itertools.count(1):
        yield (number + rng.uniform(-0.1, 0.1)) * every


def kill(on: Faults) -> None:
    victim = on.rng.choice(on.crew.mortals)
    before = now()
    victim.process.kill()
    felt(victim.process.wait(SOON) == -signal.SIGKILL, f"{victim.name} was not killed")
    on.marks.write("kill", victim.name, before, now())
    victim.start()


def freeze(on: Faults) -> None:
    """A zombie: others have taken its jobs when it goes on as if nothing had happened."""
    victim = on.rng.choice(on.crew.workers)
    before = now()
    victim.process.send_signal(signal.SIGSTOP)
    time.sleep(ZOMBIE)
    felt(psutil.Process(victim.process.pid).status() == psutil.STATUS_STOPPED, f"{victim.name} was not stopped")
    victim.process.send_signal(signal.SIGCONT)
    on.marks.write("stop", victim.name, before, now())


def server(on: Faults) -> None:
    began = on.server.began()
    before, how = now(), on.rng.choice([signal.SIGKILL, signal.SIGQUIT])
    on.server.stop(how)
    on.server.start()
    after = now()
    felt(on.server.began() != began, f"the server lives since {began}")
    on.marks.write("server", how.name, before, after)
    if after - before > LEASES_HOLD:
        # Nobody could prolong a lease for so long that whoever came back first may have taken what the others had.
        for one in on.crew.workers:
            on.marks.write("stop", one.name, before, after)


def snapshot(on: Faults) -> None:
    """A long read, which holds back the vacuum, or the copying of the log into the file."""
    if on.server is not None:
        with psycopg.connect(on.server.url) as reader:
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            hold(on, lambda: reader.execute("SELECT max(id) FROM zjobs.jobs").fetchone())
        return
    with closing(sqlite3.connect(on.file, isolation_level=None, timeout=15)) as reader:
        reader.execute("BEGIN")
        hold(on, lambda: reader.execute("SELECT max(id) FROM zjobs_jobs").fetchone())
        reader.execute("ROLLBACK")


def hold(on: Faults, newest: Callable[[], object]) -> None:
    """From now on sees what it sees now, whatever comes meanwhile, for as long as it has patience."""
    before = newest()
    time.sleep(on.patience)
    felt(newest() == before, "the snapshot was not held: it shows jobs that came later")


def lock(on: Faults) -> None:
    """Another program that writes, and takes its time: meanwhile nobody can write the end of a job."""
    before = now()
    with closing(sqlite3.connect(on.file, isolation_level=None, timeout=15)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        time.sleep(min(on.patience, 8.0))
        felt(is_locked(on.file), "the file was not locked")
        writer.execute("ROLLBACK")
    on.marks.write("server", "lock", before, now())


def is_locked(file: Path | None) -> bool:
    """Whether nobody else can write, for longer than our own commits take."""
    with closing(sqlite3.connect(file, isolation_level=None, timeout=0.5)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        other.execute("ROLLBACK")
        return False


def pause(on: Faults) -> None:
    if on.client is None:
        tell(on.crew.producer, signal.SIGUSR1, "paused")
        time.sleep(PAUSED)
        tell(on.crew.producer, signal.SIGUSR1, "resumed")
        return
    on.client.pause_queue(QUEUE)
    time.sleep(PAUSED)
    felt(is_paused(on.client), "the queue was not paused")
    on.client.resume_queue(QUEUE)


def is_paused(jobs: zjobs.Supervisor) -> bool:
    return any(queue.paused for queue in jobs.store.queues() if queue.name == QUEUE)


def tell(whom: Member, number: signal.Signals, answer: str) -> None:
    """Has a process do something, and waits until it has said that it is done."""
    log, until = whom.folder / f"{whom.name}.log", time.monotonic() + SOON
    before = log.read_text().splitlines().count(answer)
    whom.process.send_signal(number)
    while log.read_text().splitlines().count(answer) == before:
        felt(time.monotonic() < until, f"{whom.name} has not {answer}")
        time.sleep(0.1)


def storm(on: Faults) -> None:
    """Many jobs that are enqueued only to be cancelled."""
    if on.client is None:
        tell(on.crew.producer, signal.SIGUSR2, "cancelled")
        return
    # One enqueue may be cut off by what was before it.
    felt(any(storm_of(on.client, on.marks, on.rng) for _ in range(5)), "there was nothing to cancel")


def storm_of(jobs: zjobs.Supervisor, marks: Marks, rng: random.Random) -> int:
    """Some are cancelled one by one, and what is left together; how many these were."""
    token = f"{now():x}"
    enqueue(jobs, marks, token, [("unwanted", {"token": token})] * STORM, rng)
    return jobs.cancel_many(worker="unwanted")


def cut(on: Faults) -> None:
    """Every connection of one worker is reset, which has some."""
    before, until = now(), time.monotonic() + SOON
    while not on.proxy.cut():
        felt(time.monotonic() < until, f"{on.cut_off.name} has no connection")
        time.sleep(0.01)
    time.sleep(0.5)
    on.marks.write("server", "cut", before, now())


def hole(on: Faults) -> None:
    """The network of one worker drops every packet, for longer than its lease."""
    before, dropped = now(), list[bytes]()

    def drop(message: bytes) -> Verdict:
        dropped.append(message[:1])
        return "hold"

    on.proxy.judge = drop
    time.sleep(ZOMBIE)
    felt(dropped, f"nothing came from {on.cut_off.name}")
    on.proxy.judge = lambda _: "pass"
    on.proxy.cut()
    on.marks.write("stop", on.cut_off.name, before, now())


FAULTS: dict[str, Callable[[Faults], None]] = {
    "kill": kill,
    "freeze": freeze,
    "server": server,
    "snapshot": snapshot,
    "lock": lock,
    "pause": pause,
    "storm": storm,
    "cut": cut,
    "hole": hole,
}
OF_STORE = {
    "memory": ("freeze", "pause", "storm"),
    "sqlite": ("kill", "kill", "freeze", "snapshot", "lock", "pause", "storm"),
    "postgres": ("kill", "kill", "freeze", "server", "snapshot", "pause", "storm", "cut", "hole"),
}
