"""A transaction that somebody forgot keeps PostgreSQL from clearing away what jobs leave behind; work goes on.

From the folder of the tests: `python -m held_snapshot --minutes 60`, which `make held-snapshot` does. Jobs come at a
steady rate; a snapshot is held open for so long. How long jobs wait until they start is compared: before it, in its
last minute, and after it was closed.
"""

import argparse
import sys
import threading
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field

import psycopg

import postgres_server
import zjobs

__all__ = ["Waits", "judge", "percentile"]

AT_ONCE = 20
"""Jobs in one enqueue."""
AROUND = 60
"""Seconds that are looked at before, at the end, and after: in the last of them it must be as before."""
BOUND = 1.0
"""Seconds: what 99 of a hundred jobs may wait at most while the snapshot is held, which is a poll."""
AS_BEFORE = 2.0
"""Times what they waited before it: the noise of a machine that does all of it."""


@dataclass(slots=True)
class Waits:
    """How long jobs waited until they started, by the second in which they did."""

    guard: threading.Lock = field(default_factory=threading.Lock)
    seconds: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def note(self, asked: float) -> None:
        now = time.monotonic()
        with self.guard:
            self.seconds[int(now)].append(now - asked)

    def between(self, begin: float, end: float) -> list[float]:
        with self.guard:
            return [wait for second, waits in self.seconds.items() if begin <= second < end for wait in waits]


def percentile(waits: list[float], part: float) -> float:
    """The wait that so many are not above; endless where nothing started."""
    return sorted(waits)[min(len(waits) - 1, int(part * len(waits)))] if waits else float("inf")


def judge(before: float, held: float, after: float) -> list[str]:
    """What must not be of these p99, in seconds."""
    found = []
    if held > BOUND:
        found.append(f"with the snapshot jobs waited {held:.3f} s, and may wait {BOUND:g} s")
    if after > max(AS_BEFORE * before, 0.05):
        found.append(f"{AROUND} s after it was closed jobs waited {after:.3f} s, and {before:.3f} s before it")
    return found


def produce(jobs: zjobs.Supervisor, rate: float, over: threading.Event) -> None:
    """So many jobs a second; what is late is made up for."""
    due = time.monotonic()
    while not over.is_set():
        due += AT_ONCE / rate
        over.wait(max(0.0, due - time.monotonic()))
        jobs.enqueue_many([("act", {"asked": time.monotonic()})] * AT_ONCE)


def main() -> int:
    """Works, holds, closes, and says what is proved."""
    parser = argparse.ArgumentParser(prog="held_snapshot")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=1000.0, help="jobs a second")
    asked = parser.parse_args()
    waits, over = Waits(), threading.Event()
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server.running())
        jobs = zjobs.Supervisor(server.url, queues={"default": 4}, retention=zjobs.Retention(completed=30.0))

        @jobs.worker
        def act(asked: float) -> None:
            waits.note(asked)

        stack.enter_context(jobs)
        admin = stack.enter_context(psycopg.connect(server.url, autocommit=True))
        producer = threading.Thread(target=produce, args=(zjobs.Supervisor(server.url), asked.rate, over))
        producer.start()
        stack.callback(producer.join)
        stack.callback(over.set)
        time.sleep(AROUND + 10)
        began = time.monotonic()
        before = percentile(waits.between(began - AROUND, began), 0.99)
        with psycopg.connect(server.url) as other:
            other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            other.execute("SELECT count(*) FROM zjobs.jobs")
            time.sleep(asked.minutes * 60)
            closed = time.monotonic()
            held = waits.between(closed - AROUND, closed)
            question = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE schemaname = 'zjobs' AND relname = 'jobs'"
            (dead,) = admin.execute(question).fetchone() or (0,)
        time.sleep(AROUND + 10)
        after = percentile(waits.between(closed + AROUND, closed + AROUND + 10), 0.99)
    problems = judge(before, percentile(held, 0.99), after)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(
        f"{'refuted' if problems else 'proved'}: a snapshot held for {asked.minutes:g} minutes at {asked.rate:g} jobs a"
        f" second, {dead} dead rows in the end: 99 % of jobs started within {before * 1000:.0f} ms before it,"
        f" {percentile(held, 0.99) * 1000:.0f} ms in its last minute ({len(held) / AROUND:.0f} jobs a second),"
        f" {after * 1000:.0f} ms a minute after it"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
