"""A transaction that somebody forgot keeps PostgreSQL from clearing away what jobs leave behind; work goes on.

From the folder of the tests: `python -m held_snapshot --minutes 60`, which `make held-snapshot` does. Jobs come at a
steady rate; some of them fail once, and a few come in a transaction of the caller's own that is committed late. A
snapshot is held open for so long. How long jobs wait until they start is compared: before it, in its last minute, and
after it was closed. None may wait for longer than ADR 0025 says, and all that came has ended soon after the last.

A short run proves nothing, and says so: while looks at the whole queue are quick, claims make them as always, and
whether marks and sweeps work nobody can tell.
"""

import argparse
import sys
import threading
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count

import psycopg

import postgres_server
import zjobs

__all__ = ["Ledger", "Seen", "judge", "percentile"]

AT_ONCE = 20
"""Jobs in one enqueue."""
FAILS = 100
"""One of so many fails once."""
RETRY = 1.0
"""Seconds until that is tried again."""
LATE = 1.5
"""Seconds from an enqueue to its commit, where it is late: claims look back a quarter of a second by themselves."""
AROUND = 60
"""Seconds that are looked at before, at the end, and after: in the last of them it must be as before."""
BOUND = 1.0
"""Seconds: what 99 of a hundred jobs may wait at most while the snapshot is held, which is a poll."""
AS_BEFORE = 2.0
"""Times what they waited before it: the noise of a machine that does all of it."""
NEARLY = 0.95
"""The part of the rate at which jobs must begin while the snapshot is held."""
LONG = 0.05
"""Seconds that a look at the whole takes in the end, at least: while it takes less, claims use no marks, no sweep."""
SWEEP = 5
"""Looks at the whole that a sweep takes, which finds what came in front of the marks: they take a fifth of the time."""
SOON = 60.0
"""Seconds after the last enqueue until all has ended."""
KINDS = ("plain", "retried", "late")
LIVE = [state for state in zjobs.JobState if state.name in {"AVAILABLE", "SCHEDULED", "RETRYABLE", "EXECUTING"}]
QUESTIONS = {
    "dead": "SELECT n_dead_tup FROM pg_stat_user_tables WHERE schemaname = 'zjobs' AND relname = 'jobs'",
    "behind": "SELECT age(backend_xmin) FROM pg_stat_activity WHERE pid = %s",
    "look": "SELECT count(*) FROM zjobs.jobs WHERE state = 0 AND queue = 'default' AND attempt < max_attempts",
}
AS_CLAIMS = " ".join(f"-c enable_{plan}=off" for plan in ("sort", "seqscan", "bitmapscan"))
"""Options of a session that walks along the index as claims do."""


@dataclass(slots=True)
class Ledger:
    """Which jobs are due, since when, and how long they waited until they began."""

    guard: threading.Lock = field(default_factory=threading.Lock)
    due: dict[int, tuple[str, float]] = field(default_factory=dict)
    """The kind of wait, and since when; only of those that wait."""
    waits: dict[tuple[str, int], "array[float]"] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    """How many seconds each wait took, by its kind and the second in which it was over."""
    unexpected: int = 0
    """Begins of jobs that were not due."""

    def expect(self, numbers: Iterable[int], kind: str, since: float) -> None:
        with self.guard:
            self.due.update(dict.fromkeys(numbers, (kind, since)))

    def begun(self, number: int, now: float) -> None:
        with self.guard:
            if number not in self.due:
                self.unexpected += 1
                return
            kind, since = self.due.pop(number)
            self.waits[kind, int(now)].append(now - since)

    def between(self, begin: float, end: float, *kinds: str) -> list[float]:
        """How long those waited whose wait was over then, of these kinds or of all."""
        with self.guard:
            some = [took for (kind, at), took in self.waits.items() if begin <= at < end and kind in (kinds or KINDS)]
        return [wait for took in some for wait in took]

    def longest(self, begin: float, end: float) -> dict[str, float]:
        """The longest wait of each kind: of those that were over then, and of those that were not over at its end."""
        with self.guard:
            left = [(kind, end - since) for kind, since in self.due.values()]
        return {
            kind: max([*self.between(begin, end, kind), *(wait for one, wait in left if one == kind)], default=0.0)
            for kind in KINDS
        }


@dataclass(frozen=True, slots=True)
class Seen:
    """What has happened; times in seconds."""

    rate: float
    """Jobs that came in a second."""
    begun: float
    """Jobs that began in a second, while the snapshot was held."""
    seconds: float
    """How long it was held."""
    before: float
    """What 99 of a hundred waited at most; so, too, the next two."""
    held: float
    after: float
    longest: dict[str, float]
    """The longest wait of each kind while it was held."""
    look: float
    """How long a look at the whole queue took in the end."""
    dead: int
    behind: int
    """Transactions that had come since the snapshot was taken, when it was still held in the end."""
    left: int
    """Jobs that had not ended `SOON` after the last enqueue."""
    counts: dict[str, int]
    """Waits of each kind that were over while it was held."""
    unexpected: int = 0

    @property
    def patience(self) -> float:
        """What any job may wait while it is held: a sweep, for a busy machine twice as long, and a poll."""
        return 2 * SWEEP * self.look + BOUND


def percentile(waits: list[float], part: float) -> float:
    """The wait that so many are not above; endless where nothing started."""
    return sorted(waits)[min(len(waits) - 1, int(part * len(waits)))] if waits else float("inf")


def judge(seen: Seen) -> list[str]:
    """What must not be."""
    found = []
    if seen.held > BOUND:
        found.append(f"with the snapshot jobs waited {seen.held:.3f} s, and may wait {BOUND:g} s")
    if seen.begun < NEARLY * seen.rate:
        found.append(f"with the snapshot {seen.begun:.0f} jobs began in a second, of {seen.rate:g}")
    for kind in KINDS:
        if not seen.counts[kind]:
            found.append(f"with the snapshot no {kind} job has begun")
        if (wait := seen.longest[kind]) > seen.patience:
            found.append(f"with the snapshot a {kind} job waited {wait:.3f} s, and may wait {seen.patience:.3f} s")
    found += _unheld(seen)
    if seen.after > max(AS_BEFORE * seen.before, 0.05):
        found.append(
            f"{AROUND} s after it was closed jobs waited {seen.after:.3f} s, and {seen.before:.3f} s before it"
        )
    if seen.left:
        found.append(f"{seen.left} jobs had not ended {SOON:g} s after the last had come")
    if seen.unexpected:
        found.append(f"{seen.unexpected} jobs began again, or before they were there")
    return found


def _unheld(seen: Seen) -> list[str]:
    """What is wrong when the snapshot was none, has held nothing back, or too little to matter."""
    found = []
    if seen.look < LONG:
        found.append(f"a look at the whole took {seen.look:.3f} s in the end: it was not held for long enough")
    if seen.behind < seen.begun * seen.seconds / AT_ONCE:
        found.append(f"only {seen.behind} transactions had come since the snapshot in the end: it was not held")
    if seen.dead < seen.begun * seen.seconds:
        found.append(f"{seen.dead} rows were dead: the snapshot has held nothing back")
    return found


def produce(jobs: zjobs.Supervisor, ledger: Ledger, numbers: Iterable[int], rate: float, over: threading.Event) -> None:
    """So many jobs a second; what is late is made up for."""
    due, fresh = time.monotonic(), iter(numbers)
    while not over.is_set():
        due += AT_ONCE / rate
        over.wait(max(0.0, due - time.monotonic()))
        some = [next(fresh) for _ in range(AT_ONCE)]
        ledger.expect(some, "plain", time.monotonic())
        jobs.enqueue_many([("act", {"number": number}) for number in some])


def produce_late(
    jobs: zjobs.Supervisor, url: str, ledger: Ledger, numbers: Iterable[int], over: threading.Event
) -> None:
    """A few in a transaction that takes its time."""
    fresh = iter(numbers)
    with psycopg.connect(url) as connection:
        while not over.is_set():
            some = [next(fresh) for _ in range(AT_ONCE // 4)]
            jobs.enqueue_many([("act", {"number": number}) for number in some], connection=connection)
            over.wait(LATE)
            ledger.expect(some, "late", time.monotonic())
            connection.commit()


def until(look: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in so long."""
    end = time.monotonic() + seconds
    while not (done := look()) and time.monotonic() < end:
        time.sleep(0.1)
    return done


def measured(server: postgres_server.Server, minutes: float, rate: float) -> Seen:
    """Works, holds, closes, and looks."""
    ledger, over = Ledger(), threading.Event()
    with ExitStack() as stack:
        jobs = zjobs.Supervisor(server.url, queues={"default": 4}, retention=zjobs.Retention(completed=30.0))

        @jobs.worker(retry_strategy=zjobs.Constant(RETRY))
        def act(ctx: zjobs.JobContext, number: int) -> None:
            now = time.monotonic()
            ledger.begun(number, now)
            if number % FAILS == 0 and ctx.attempt == 1:
                ledger.expect([number], "retried", now + RETRY)
                raise ValueError(number)

        stack.enter_context(jobs)
        client = zjobs.Supervisor(server.url)
        admin = stack.enter_context(psycopg.connect(server.url, autocommit=True, options=AS_CLAIMS))
        producers = [
            threading.Thread(target=produce, args=(client, ledger, count(1), rate, over)),
            threading.Thread(target=produce_late, args=(client, server.url, ledger, count(-1, -1), over)),
        ]
        for producer in producers:
            stack.callback(producer.join)
            producer.start()
        stack.callback(over.set)
        time.sleep(AROUND + 10)
        with psycopg.connect(server.url) as other:
            other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            other.execute("SELECT count(*) FROM zjobs.jobs")
            began = time.monotonic()
            time.sleep(minutes * 60)
            closed = time.monotonic()
            longest = ledger.longest(began, closed)
            counts = {kind: len(ledger.between(began, closed, kind)) for kind in KINDS}
            now = time.monotonic()
            admin.execute(QUESTIONS["look"])
            look = time.monotonic() - now
            (behind,) = admin.execute(QUESTIONS["behind"], [other.info.backend_pid]).fetchone() or (None,)
            (dead,) = admin.execute(QUESTIONS["dead"]).fetchone() or (0,)
        time.sleep(AROUND + 10)
        over.set()
        for producer in producers:
            producer.join()
        until(lambda: not ledger.due and jobs.count(states=LIVE) == 0, SOON)
        left = max(len(ledger.due), jobs.count(states=LIVE))
    return Seen(
        rate=rate,
        begun=counts["plain"] / (closed - began),
        seconds=closed - began,
        before=percentile(ledger.between(began - AROUND, began), 0.99),
        held=percentile(ledger.between(closed - AROUND, closed), 0.99),
        after=percentile(ledger.between(closed + AROUND, closed + AROUND + 10), 0.99),
        longest=longest,
        look=look,
        dead=dead,
        behind=behind or 0,
        left=left,
        counts=counts,
        unexpected=ledger.unexpected,
    )


def sentence(seen: Seen) -> str:
    """All of it."""
    before, held, after = (f"{seconds * 1000:.0f} ms" for seconds in (seen.before, seen.held, seen.after))
    plain, retried, late = (f"{seen.longest[kind]:.1f} s" for kind in KINDS)
    return (
        f"a snapshot held for {seen.seconds / 60:.0f} minutes at {seen.rate:g} jobs a second, of which {seen.begun:.0f}"
        f" began; in the end {seen.dead} dead rows, and {seen.look:.2f} s for a look at the whole: 99 % of jobs started"
        f" within {before} before it, {held} in its last minute, {after} a minute after it; while it was held no job"
        f" waited longer than {plain}, none of {seen.counts['retried']} that failed once longer than {retried}, none of"
        f" {seen.counts['late']} that were committed late longer than {late}, and {seen.patience:.1f} s is the most;"
        f" {seen.left} had not ended soon after"
    )


def main() -> int:
    """Says what is proved."""
    parser = argparse.ArgumentParser(prog="held_snapshot")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=1000.0, help="jobs a second")
    asked = parser.parse_args()
    with postgres_server.running() as server:
        seen = measured(server, asked.minutes, asked.rate)
    problems = judge(seen)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{'refuted' if problems else 'proved'}: {sentence(seen)}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
