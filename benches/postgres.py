"""The store in PostgreSQL beside the raw server: rates, latencies, and what a job costs the server.

``python benches/postgres.py`` measures all, ``python benches/postgres.py drain scale`` some. It starts a server with
default durability, or uses the one that ``ZJOBS_TEST_DATABASE_URL`` names. Client and server share the machine.
"""

# ruff: noqa: S608 - names of our own

import argparse
import asyncio
import gc
import itertools
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

import zjobs

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import postgres_server

ARGS = {"to": "user@example.com", "n": 1}
ROW = "0, 'default', 'noop', '{\"to\":\"user@example.com\",\"n\":1}', 0, 20, now(), now(), 300000000000"
INTO = "(state, queue, worker, args, priority, max_attempts, scheduled_at, inserted_at, timeout)"
SCHEMAS = itertools.count()


class Bench:
    """A server, and a schema for each measure."""

    def __init__(self, url: str, jobs: int) -> None:
        self.url, self.jobs = url, jobs
        self.admin = psycopg.connect(url, autocommit=True)
        self.clock = time.perf_counter

    @contextmanager
    def fresh(self) -> Iterator[str]:
        schema = f"bench{next(SCHEMAS)}"
        yield f"{self.url}?schema={schema}"
        self.admin.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")

    def wal(self) -> int:
        return int(self.admin.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()[0])

    def commits(self) -> tuple[int, int]:
        time.sleep(1.2)  # until the sessions have reported
        row = self.admin.execute(
            "SELECT (SELECT sum(xact_commit) FROM pg_stat_database), "
            "(SELECT sum(n_tup_upd + n_tup_del) FROM pg_stat_user_tables)"
        ).fetchone()
        return int(row[0]), int(row[1] or 0)

    def wait_until_done(self, url: str) -> None:
        """Until no job waits or runs: every acknowledgement is committed. It asks without counting what is finished."""
        jobs = f"{url.rsplit('=', 1)[1]}.jobs"
        left = f"SELECT EXISTS (SELECT FROM {jobs} WHERE state = 0) OR EXISTS (SELECT FROM {jobs} WHERE state = 1)"
        while self.admin.execute(left).fetchone()[0]:
            time.sleep(0.02)

    def per_second(self, count: int, act: Callable[[], object]) -> float:
        began = self.clock()
        act()
        return count / (self.clock() - began)

    def pgbench(self, clients: int, url: str) -> float:
        """Single inserts of an equal row into an equal table, one commit each."""
        schema = url.rsplit("=", 1)[1]
        zjobs.migrate(url)
        program = postgres_server._binaries(18, Path(tempfile.gettempdir()), None) / "pgbench"  # noqa: SLF001
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(f"INSERT INTO {schema}.jobs {INTO} VALUES ({ROW});\n")
            script.flush()
            command = [program, "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-T", "4", "-f", script.name]
            out = subprocess.run([*command, self.url], capture_output=True, text=True, check=True).stdout
        return float(next(line for line in out.splitlines() if line.startswith("tps")).split()[2])


def enqueue(bench: Bench) -> None:
    with bench.fresh() as url:
        one, eight = bench.pgbench(1, url), bench.pgbench(8, url)
    with bench.fresh() as url:
        jobs = zjobs.Supervisor(url)
        count = bench.jobs // 20
        alone = bench.per_second(count, lambda: [jobs.enqueue("noop", ARGS) for _ in range(count)])

        def crowd() -> None:
            threads = [
                threading.Thread(target=lambda: [jobs.enqueue("noop", ARGS) for _ in range(bench.jobs // 32)])
                for _ in range(32)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        threads = bench.per_second(bench.jobs // 32 * 32, crowd)

        async def flight() -> None:
            async def go() -> None:
                for _ in range(bench.jobs // 1000):
                    await jobs.enqueue_async("noop", ARGS)

            await asyncio.gather(*(go() for _ in range(1000)))

        loop = bench.per_second(bench.jobs // 1000 * 1000, lambda: asyncio.run(flight()))
    print(f"enqueue, one thread: {alone:,.0f}/s; pgbench, 1 connection: {one:,.0f}/s; ratio {alone / one:.2f}")
    print(f"enqueue, 32 threads: {threads:,.0f}/s; pgbench, 8 connections: {eight:,.0f}/s; ratio {threads / eight:.2f}")
    print(f"enqueue_async, 1 000 in flight: {loop:,.0f}/s; ratio to the same {loop / eight:.2f}")


def bulk(bench: Bench) -> None:
    with bench.fresh() as url:
        schema = url.rsplit("=", 1)[1]
        zjobs.migrate(url)
        fields = ["0", "default", "noop", json.dumps(ARGS), "0", "20", "2026-01-01", "2026-01-01", "300000000000"]
        line = ("\t".join(fields) + "\n").encode()

        def copy() -> None:
            with bench.admin.cursor().copy(f"COPY {schema}.jobs {INTO} FROM STDIN") as out:
                for _ in range(bench.jobs // 1000):
                    out.write(line * 1000)

        raw = bench.per_second(bench.jobs // 1000 * 1000, copy)
    with bench.fresh() as url:
        jobs = zjobs.Supervisor(url)
        entries = [("noop", ARGS)] * 10_000
        mine = bench.per_second(
            bench.jobs // 10_000 * 10_000, lambda: [jobs.enqueue_many(entries) for _ in range(bench.jobs // 10_000)]
        )
    print(f"enqueue_many by 10 000: {mine:,.0f}/s; COPY of equal rows: {raw:,.0f}/s; ratio {mine / raw:.2f}")


def drained(bench: Bench, url: str, prefetch: int | None) -> Callable[[], None]:
    queue = zjobs.Queue("default", 10) if prefetch is None else zjobs.Queue("default", 10, prefetch=prefetch)
    jobs = zjobs.Supervisor(url, queues=[queue])
    jobs.register_worker(zjobs.WorkerDef("noop", lambda _: None))

    def drain() -> None:
        with jobs:
            bench.wait_until_done(url)

    return drain


def drain(bench: Bench) -> None:
    for prefetch in (None, 0):
        count = bench.jobs if prefetch is None else bench.jobs // 4
        with bench.fresh() as url:
            zjobs.Supervisor(url).enqueue_many([("noop", ARGS)] * count)
            bench.admin.execute("CHECKPOINT")
            act = drained(bench, url, prefetch)
            before, wal = bench.commits(), bench.wal()
            rate = bench.per_second(count, act)
            written = bench.wal() - wal
            commits, dead = (after - past for after, past in zip(bench.commits(), before, strict=True))
        what = "defaults" if prefetch is None else f"prefetch {prefetch}"
        print(
            f"drain, {what}: {rate:,.0f}/s; {written / count:.0f} bytes of WAL, {dead / count:.2f} dead rows and "
            f"{commits / count:.3f} commits a job"
        )


def latency(bench: Bench) -> None:
    with bench.fresh() as url:
        began: dict[int, float] = {}
        jobs = zjobs.Supervisor(url, queues={"default": 10})

        @jobs.worker
        def note(n: int) -> None:
            began[n] = bench.clock()

        waits = []
        with jobs:
            time.sleep(0.5)
            for n in range(500):
                before = bench.clock()
                jobs.wait(note.enqueue(n), 10)
                waits.append((began[n] - before) * 1000)
                time.sleep(0.01)
    cuts = statistics.quantiles(waits, n=100)
    print(f"enqueue to handler start in one idle process: p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms")


def claims(store: zjobs.PostgresStore, count: int) -> list[float]:
    """Milliseconds of single claims."""
    from zjobs.rows import Heartbeat, NewJob

    node = f"{1:032x}"
    store.enqueue([NewJob("noop", b"{}") for _ in range(count * 10)])
    store.heartbeat(Heartbeat(node, "bench", 1, 3600.0))
    waits = []
    for _ in range(count):
        before = time.perf_counter()
        store.claim(node, "default", 10)
        waits.append((time.perf_counter() - before) * 1000)
    return waits


def scale(bench: Bench) -> None:
    found = {}
    for name, finished, scheduled in (("empty", 0, 0), ("full", 100 * bench.jobs, 10 * bench.jobs)):
        with bench.fresh() as url:
            schema = url.rsplit("=", 1)[1]
            store = zjobs.PostgresStore(bench.url, schema=schema)
            into = f"INSERT INTO {schema}.jobs {INTO[:-1]}, attempt, lease, finished_at)"
            for count, row in (
                (finished, "2, 'default', 'noop', '{}', 0, 20, now(), now(), NULL::bigint, 1, 1, now()"),
                (scheduled, "6, 'default', 'noop', '{}', 0, 20, now() + '1 day', now(), NULL, 0, 0, NULL"),
            ):
                bench.admin.execute(f"{into} SELECT {row} FROM generate_series(1, {count})")
            bench.admin.execute(f"VACUUM ANALYZE {schema}.jobs")
            cuts = statistics.quantiles(claims(store, 2000), n=100)
            found[name] = cuts[98]
            beside = f"{finished:,} finished and {scheduled:,} scheduled"
            print(f"claim of 10 beside {beside}: p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms")
    print(f"ratio of p99: {found['full'] / found['empty']:.2f}")


def snapshot(bench: Bench, seconds: int = 600, rate: int = 2000) -> None:
    """The claim beside a transaction that stays open, while jobs come and are done."""
    with bench.fresh() as url:
        waits: list[tuple[float, float]] = []
        jobs = zjobs.Supervisor(url, queues={"default": 10, "probe": 1})
        jobs.register_worker(zjobs.WorkerDef("noop", lambda _: None))
        started: dict[int, float] = {}

        @jobs.worker(queue="probe")
        def probe(n: int) -> None:
            started[n] = bench.clock()

        old = psycopg.connect(bench.url)
        with jobs:
            old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            old.execute("SELECT count(*) FROM pg_class")
            began, n, ended = bench.clock(), 0, None
            while (past := bench.clock() - began) < seconds + 60:
                if ended is None and past > seconds:
                    old.rollback()
                    ended = past
                jobs.enqueue_many([("noop", ARGS)] * (rate // 10))
                before = bench.clock()
                jobs.wait(probe.enqueue(n), 30)
                waits.append((past, (started[n] - before) * 1000))
                n += 1
                time.sleep(max(0.0, began + n / 10 - bench.clock()))
        old.close()
        for first in range(0, seconds + 60, max(1, (seconds + 60) // 11)):
            part = sorted(wait for past, wait in waits if first <= past < first + (seconds + 60) // 11)
            if part:
                print(f"  {first:4d} s: p50 {part[len(part) // 2]:.1f} ms, p99 {part[len(part) * 99 // 100]:.1f} ms")
        behind = jobs.count(states=[zjobs.JobState.AVAILABLE, zjobs.JobState.EXECUTING])
        print(f"a snapshot held for {seconds} s at {rate} jobs a second: enqueue to start above; {behind} left behind")


def worker(url: str, ready: "multiprocessing.synchronize.Barrier") -> None:
    jobs = zjobs.Supervisor(url, queues={"default": 10})
    jobs.register_worker(zjobs.WorkerDef("noop", lambda _: None))
    ready.wait()
    jobs.run()


def processes(bench: Bench) -> None:
    context = multiprocessing.get_context("spawn")
    for count in (1, 2, 4, 8, 16):
        with bench.fresh() as url:
            client = zjobs.Supervisor(url)
            client.enqueue_many([("noop", ARGS)] * bench.jobs)
            ready = context.Barrier(count + 1)
            crew = [context.Process(target=worker, args=(url, ready)) for _ in range(count)]
            for one in crew:
                one.start()
            ready.wait()
            began = bench.clock()
            bench.wait_until_done(url)
            rate = bench.jobs / (bench.clock() - began)
            gc.collect()  # clients of earlier rounds
            query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            sessions = bench.admin.execute(query).fetchone()[0] - 1 - 3  # this one, and the client's
            print(f"drain by {count} processes: {rate:,.0f}/s; {sessions / count:.1f} connections each")
            for one in crew:
                one.terminate()
            for one in crew:
                one.join()


MEASURES = {one.__name__: one for one in (enqueue, bulk, drain, latency, scale, processes, snapshot)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measures", nargs="*", choices=[*MEASURES, []], help="all but the slow `snapshot` by default")
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs in one measure; `scale` has 110 times as many")
    parser.add_argument("--repeats", type=int, default=1)
    asked = parser.parse_args()
    with postgres_server.database() as url:
        for _ in range(asked.repeats):
            bench = Bench(url, asked.jobs)
            for name in asked.measures or [name for name in MEASURES if name != "snapshot"]:
                MEASURES[name](bench)
            bench.admin.close()


if __name__ == "__main__":
    main()
