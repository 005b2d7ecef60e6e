"""The store in a SQLite file beside raw SQLite on the same disk: equal rows, equal indexes, the same durability.

``python benches/sqlite.py`` measures all; ``--repeats 5`` gives five lines of each, each ratio from one round.
"""

import argparse
import itertools
import json
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import zjobs

ARGS = {"to": "user@example.com", "n": 1}
INTO = "(state, queue, worker, args, priority, max_attempts, scheduled_at, inserted_at, timeout)"
INSERT = f"INSERT INTO zjobs_jobs {INTO} VALUES (0, 'default', 'noop', ?, 0, 20, ?, ?, 300000000000)"  # noqa: S608 - a text of our own
NOW = 1_767_225_600_000_000
ROW = (json.dumps(ARGS), NOW, NOW)


class Bench:
    """A folder on the disk that is measured, and a new file for each measure."""

    def __init__(self, folder: Path, jobs: int) -> None:
        self.folder, self.jobs = folder, jobs
        self.files = itertools.count()

    def fresh(self) -> Path:
        path = self.folder / f"{next(self.files)}.db"
        zjobs.migrate(f"sqlite:///{path}")
        return path

    def raw(self) -> sqlite3.Connection:
        """What a program would write to the tables by itself, one commit for each transaction."""
        connection = sqlite3.connect(self.fresh(), isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    def supervisor(self) -> zjobs.Supervisor:
        return zjobs.Supervisor(f"sqlite:///{self.fresh()}", queues={"default": 10})

    @staticmethod
    def per_second(count: int, act: Callable[[], object]) -> float:
        began = time.perf_counter()
        act()
        return count / (time.perf_counter() - began)


def enqueue(bench: Bench) -> None:
    raw, jobs, count = bench.raw(), bench.supervisor(), bench.jobs // 10
    single = bench.per_second(count, lambda: [raw.execute(INSERT, ROW) for _ in range(count)])
    alone = bench.per_second(count, lambda: [jobs.enqueue("noop", ARGS) for _ in range(count)])

    def crowd() -> None:
        each = range(bench.jobs // 16)
        threads = [threading.Thread(target=lambda: [jobs.enqueue("noop", ARGS) for _ in each]) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    threads = bench.per_second(bench.jobs // 16 * 16, crowd)
    print(f"enqueue, one thread: {alone:,.0f}/s; raw commits: {single:,.0f}/s; ratio {alone / single:.2f}")
    print(f"enqueue, 16 threads: {threads:,.0f}/s; ratio to one thread {threads / alone:.2f}")


def bulk(bench: Bench) -> None:
    raw, jobs, parts = bench.raw(), bench.supervisor(), bench.jobs // 10_000
    rows, entries = [ROW] * 10_000, [("noop", ARGS)] * 10_000

    def insert() -> None:
        for _ in range(parts):
            raw.execute("BEGIN IMMEDIATE")
            raw.executemany(INSERT, rows)
            raw.execute("COMMIT")

    many = bench.per_second(parts * 10_000, insert)
    mine = bench.per_second(parts * 10_000, lambda: [jobs.enqueue_many(entries) for _ in range(parts)])
    print(f"enqueue_many by 10 000: {mine:,.0f}/s; executemany of equal rows: {many:,.0f}/s; ratio {mine / many:.2f}")


def drain(bench: Bench) -> None:
    jobs = bench.supervisor()
    jobs.register_worker(zjobs.WorkerDef("noop", lambda _: None))
    jobs.enqueue_many([("noop", ARGS)] * bench.jobs)
    waiting = [zjobs.JobState.AVAILABLE, zjobs.JobState.EXECUTING]

    def work() -> None:
        with jobs:
            while jobs.count(states=waiting):
                time.sleep(0.01)

    print(f"drain until every acknowledgement is on the disk: {bench.per_second(bench.jobs, work):,.0f}/s")


MEASURES = {one.__name__: one for one in (enqueue, bulk, drain)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measures", nargs="*", choices=[*MEASURES, []])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--folder", help="a folder on the disk to measure")
    asked = parser.parse_args()
    for _ in range(asked.repeats):
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            bench = Bench(Path(folder), asked.jobs)
            for name in asked.measures or MEASURES:
                MEASURES[name](bench)


if __name__ == "__main__":
    main()
