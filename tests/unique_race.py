"""Many clients that enqueue the same unique keys at the same moments: each key has one live job, and no call fails.

From the folder of the tests: `python -m unique_race --rounds 10000`, which `make unique-race` does. In a round every
client enqueues the same key: on PostgreSQL each by its own connection, on a SQLite file all by the one that a process
has, whose commits they share. Nothing runs, so what is live is what the calls left.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import postgres_server
import zjobs
from zjobs import JobState, UniqueStrategy

__all__ = ["POLICIES", "Policy", "Said", "problems", "race", "unfelt"]

CLIENTS = 16
AT_ONCE = 500
"""Rounds between two looks at all rows."""
AT_ONE_MOMENT = 4
"""Calls that are under way for half of the keys, at least, when the first returns. Of clients that start by themselves
it is 1 or 2, of those that wait for each other 13 to 16 on a busy machine."""
LIVE = {JobState.AVAILABLE, JobState.EXECUTING, JobState.RETRYABLE, JobState.SCHEDULED}
KEEP, REPLACE = UniqueStrategy.IGNORE_NEW, UniqueStrategy.CANCEL_EXISTING


@dataclass(frozen=True, slots=True)
class Policy:
    """What the clients of a round do with its key."""

    strategies: tuple[UniqueStrategy, ...]
    """The clients have them by turns."""
    cancels: bool = False
    """Whether every fifth client cancels the key's jobs afterwards."""


POLICIES = {
    "the first is kept": Policy((KEEP,)),
    "the last replaces": Policy((REPLACE,)),
    "each by its own rule": Policy((KEEP, REPLACE)),
    "and some cancel": Policy((KEEP, REPLACE), cancels=True),
}


@dataclass(slots=True)
class Said:
    """What the calls of one key replied: numbers of jobs."""

    inserted: list[int] = field(default_factory=list)
    met: list[int] = field(default_factory=list)
    calls: list[tuple[float, float]] = field(default_factory=list)
    """When each call began and returned."""
    cancelled: int = 0
    """Jobs that were live when a client cancelled them."""

    def at_once(self) -> int:
        """How many calls were under way when the first of them returned."""
        first = min((returned for _, returned in self.calls), default=0.0)
        return sum(began < first for began, _ in self.calls)


def problems(policy: Policy, said: Said, rows: list[zjobs.Job]) -> list[str]:
    """What must not be, of one key."""
    found: list[str] = []
    there, live = {job.id for job in rows}, sum(job.state in LIVE for job in rows)
    if sorted(said.inserted) != sorted(there):
        found.append(f"{len(said.inserted)} calls inserted, and {len(rows)} rows are there")
    if strangers := set(said.met) - there:
        found.append(f"calls met {sorted(strangers)}, which are not there")
    if live > 1 or (live == 0 and not policy.cancels):
        found.append(f"{live} jobs are live")
    if policy.strategies == (KEEP,) and len(rows) != 1:
        found.append(f"{len(rows)} rows are there, though the first is kept")
    if policy.strategies == (REPLACE,) and said.met:
        found.append(f"{len(said.met)} calls met another, though the last replaces")
    return found


def unfelt(policy: Policy, keys: list[Said]) -> list[str]:
    """What is wrong when the clients have not met, or nobody has cancelled anything."""
    found: list[str] = []
    if (at_once := median(one.at_once() for one in keys)) < AT_ONE_MOMENT:
        found.append(f"half of the keys had no more than {at_once:g} calls at one moment")
    if policy.cancels and not any(one.cancelled for one in keys):
        found.append("nothing was cancelled")
    return found


def race(url: str, policy: Policy, rounds: int) -> Iterator[str]:
    """So many keys, each enqueued by all clients at once; what must not be."""
    raced: list[Said] = []
    stores = [zjobs.Supervisor(url) for _ in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        for first in range(0, rounds, AT_ONCE):
            said = {f"key {number}": Said() for number in range(first, min(first + AT_ONCE, rounds))}
            start = threading.Barrier(CLIENTS)
            clients = [pool.submit(enqueue, jobs, number, policy, said, start) for number, jobs in enumerate(stores)]
            for client in clients:
                yield from client.result()
            rows: dict[str, list[zjobs.Job]] = defaultdict(list)
            for job in stores[0].list(limit=None):
                rows[str(job.unique_key)].append(job)
            for key, one in said.items():
                yield from (f"{key}: {problem}" for problem in problems(policy, one, rows[key]))
            raced += said.values()
            stores[0].delete_many(worker="w")
    yield from unfelt(policy, raced)


def enqueue(
    jobs: zjobs.Supervisor, client: int, policy: Policy, said: dict[str, Said], start: threading.Barrier
) -> list[str]:
    """One client's part; the errors that it met."""
    failed: list[str] = []
    strategy = policy.strategies[client % len(policy.strategies)]
    for key, one in said.items():
        start.wait()
        try:
            began = time.monotonic()
            job = jobs.enqueue("w", unique_key=key, unique_strategy=strategy)
            one.calls.append((began, time.monotonic()))
            (one.met if job.conflict else one.inserted).append(job.id)
            if policy.cancels and client % 5 == 0:
                one.cancelled += jobs.cancel_many(unique_key=key)
        except Exception as error:  # noqa: BLE001 - any is one too many
            failed.append(f"{key}: {error!r}")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="unique_race")
    parser.add_argument("--rounds", type=int, default=10_000, help="of each policy")
    asked = parser.parse_args()
    found: list[str] = []
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server.running())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for url in (server.url, f"sqlite:///{folder}/jobs.db"):
            zjobs.migrate(url)
            for name, policy in POLICIES.items():
                found += [f"{url}, {name}, {problem}" for problem in race(url, policy, asked.rounds)]
    for problem in found[:20]:
        print(problem, file=sys.stderr)
    what = f"{CLIENTS} clients x {asked.rounds} keys x {len(POLICIES)} policies on PostgreSQL and on SQLite"
    print(f"failed: {len(found)} problems" if found else f"proved: {what}: 0 duplicates, 0 errors")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
