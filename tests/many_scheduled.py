"""Millions of jobs that wait for their time: what a claim beside them costs, and what it takes to stage many at once.

From the folder of the tests: `python -m many_scheduled --jobs 10000000`, which `make many-scheduled` does. Two stores
of a kind have the same jobs to claim, and in one of them so many others wait for tomorrow. They are claimed from by
turns, so that both meet the same moods of the machine. Then a tenth as many more become due at one moment, and a worker
in a process of its own makes them available: by how much its memory has grown at most is what the kernel says.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import postgres_server
import zjobs
from held_snapshot import percentile
from zjobs.rows import Heartbeat, NewJob

__all__ = ["Seen", "judge", "measured", "sentence"]

CLAIMS = 5_000
"""How many of each store are timed."""
AT_ONCE = 10
"""Jobs that one of them takes."""
TIMES = 2.0
"""What 99 of a hundred claims may take beside the others, times what they take without them."""
MOST = 64.0
"""MiB by which the memory of who stages may grow."""
BATCH = 10_000
"""Jobs in one insert."""
DAY = 24 * 3600.0
NODE = f"{1:032x}"
SCHEDULED = [zjobs.JobState.SCHEDULED]


@dataclass(frozen=True, slots=True)
class Seen:
    """What has happened on one kind of store; times in milliseconds, memory in MiB."""

    kind: str
    waiting: int
    """Jobs that were not due."""
    alone: float
    """What 99 of a hundred claims took where no others were."""
    beside: float
    """And where they were."""
    due: int
    """Jobs that became due at once, and waited when the process that staged them had started."""
    staged: int
    grown: float
    """By how much that process's memory grew at most."""


def judge(seen: Seen) -> list[str]:
    """What must not be."""
    found = []
    if seen.beside > TIMES * seen.alone:
        found.append(f"a claim took {seen.beside:.2f} ms beside {seen.waiting} that wait, {seen.alone:.2f} ms alone")
    if seen.due == 0:
        found.append("all were staged before the process had started that was to stage them")
    if seen.staged != seen.due:
        found.append(f"{seen.staged} of {seen.due} were staged")
    if seen.grown > MOST:
        found.append(f"who staged {seen.staged} took {seen.grown:.0f} MiB more memory, and may take {MOST:g} MiB")
    return [f"{seen.kind}: {problem}" for problem in found]


def sentence(seen: Seen) -> str:
    """The same for people."""
    claims = f"99 % of claims within {seen.beside:.2f} ms beside {seen.waiting} scheduled jobs, {seen.alone:.2f} alone"
    return f"{seen.kind}: {claims}; {seen.staged} that were due at once staged in {seen.grown:.1f} MiB"


def fill(store: zjobs.SqliteStore | zjobs.PostgresStore, count: int, queue: str, seconds: float | None) -> None:
    """So many jobs, due so many seconds from now on, or at once."""
    job = NewJob("w", b"{}", queue=queue, schedule_in=seconds)
    for first in range(0, count, BATCH):
        store.enqueue([job] * min(BATCH, count - first))


def claims(stores: list[zjobs.SqliteStore | zjobs.PostgresStore], count: int) -> list[float]:
    """What 99 of a hundred claims of each take, in milliseconds; by turns."""
    took: list[list[float]] = [[] for _ in stores]
    for store in stores:
        fill(store, count * AT_ONCE, "default", None)
        store.heartbeat(Heartbeat(NODE, "many", 1, DAY))
    for _ in range(count):
        for store, times in zip(stores, took, strict=True):
            began = time.perf_counter()
            claimed = store.claim(NODE, "default", AT_ONCE)
            times.append((time.perf_counter() - began) * 1000)
            assert len(claimed) == AT_ONCE
    return [percentile(times, 0.99) for times in took]


def staged(url: str, store: zjobs.SqliteStore | zjobs.PostgresStore, count: int) -> tuple[int, int, float]:
    """Lets so many become due at once; how many waited for the process that stages, how many it staged, and in what."""
    wait = 5.0 + count / 10_000
    fill(store, count, "due", wait)
    client = zjobs.Supervisor(url)
    command = [sys.executable, __file__, "--stage", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline(), "it has ended, and says above why"
        due = left = client.count(queue="due", states=SCHEDULED)
        end = time.monotonic() + 10 * wait + 60
        while left and time.monotonic() < end:
            time.sleep(0.5)
            left = client.count(queue="due", states=SCHEDULED)
        said, _ = process.communicate("over\n")
    return due, due - left, float(said)


def stage() -> None:
    """A process that works on another queue. It says when it has begun, and in the end by how much its memory grew."""
    with zjobs.Supervisor(sys.argv[-1], queues={"idle": 1}):
        time.sleep(1)
        # From here on the kernel notes the most anew.
        Path("/proc/self/clear_refs").write_text("5")
        before = mebibytes("VmRSS")
        print("begun", flush=True)
        sys.stdin.readline()
        print(mebibytes("VmHWM") - before)


def mebibytes(field: str) -> float:
    """What the kernel says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


Open = Callable[[str], tuple[str, "zjobs.SqliteStore | zjobs.PostgresStore"]]
"""Of a name: the URL of a store without jobs, and the store."""


def measured(kind: str, new: Open, jobs: int, count: int = CLAIMS) -> Seen:
    """Fills, claims, stages, and looks."""
    (_, few), (url, many) = new("few"), new("many")
    fill(many, jobs, "later", DAY)
    alone, beside = claims([few, many], count)
    due, moved, grown = staged(url, many, max(jobs // 10, 1))
    waiting = many.count_by_state("later")[zjobs.JobState.SCHEDULED]
    return Seen(kind, waiting, alone, beside, due, moved, grown)


def kinds(stack: ExitStack) -> Iterator[tuple[str, Open]]:
    """A server and a folder of their own."""
    server = stack.enter_context(postgres_server.running())
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

    def schema(name: str) -> tuple[str, zjobs.PostgresStore]:
        url = f"{server.url}?schema={name}"
        zjobs.migrate(url)
        return url, zjobs.PostgresStore(server.url, schema=name)

    def file(name: str) -> tuple[str, zjobs.SqliteStore]:
        return f"sqlite:///{folder}/{name}.db", zjobs.SqliteStore(folder / f"{name}.db")

    yield "PostgreSQL", schema
    yield "SQLite", file


def main() -> int:
    parser = argparse.ArgumentParser(prog="many_scheduled")
    parser.add_argument("--jobs", type=int, default=10_000_000, help="that wait for tomorrow; a tenth as many come due")
    parser.add_argument("--stage", metavar="URL", help="only be the worker that stages")
    asked = parser.parse_args()
    if asked.stage:
        stage()
        return 0
    with ExitStack() as stack:
        seen = [measured(kind, new, asked.jobs) for kind, new in kinds(stack)]
    found = [problem for one in seen for problem in judge(one)]
    for problem in found:
        print(problem, file=sys.stderr)
    print("failed:" if found else "proved:", "; ".join(map(sentence, seen)))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
