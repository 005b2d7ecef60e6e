"""Many cuts of the connections between workers, a producer and PostgreSQL: nothing is lost, nothing hangs.

From the folder of the tests: `python -m cuts --cuts 500`, which `make cuts` does. A cut is one of: every connection is
reset; the network drops everything for a while; a request is lost; the reply to a request is lost. The leases outlast
the longest of them, so no job may run twice.
"""

import argparse
import random
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise

import postgres_server
import zjobs
from proxy import Proxy

__all__ = ["Cuts", "run"]

WORKERS, PRODUCERS = 2, 3
PATIENCE = 1.0
"""Seconds that a call may take here."""
DEADLINE = 15.0
"""Seconds that no call may take, however loaded the machine is."""
SETTLED = 60.0
BEGUN = timedelta(seconds=1)
"""How long before it took effect a statement may have begun, which is the time that a row has."""
KINDS = ("reset", "hole", "request lost", "reply lost")


@dataclass(slots=True)
class Cuts:
    """What was done and what was seen."""

    kinds: Counter[str] = field(default_factory=Counter)
    made: dict[str, int] = field(default_factory=dict)
    """Tokens of enqueues that returned, with the number of the job."""
    uncertain: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    runs: Counter[str] = field(default_factory=Counter)
    guard: threading.Lock = field(default_factory=threading.Lock)
    twins: int = 0
    """Jobs that had ended so shortly after their enqueue was cut off that it was done again."""
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)

    def problems(self, jobs: zjobs.Supervisor) -> list[str]:
        """What must not be."""
        rows: dict[str, list[zjobs.Job]] = defaultdict(list)
        for job in jobs.list(limit=None):
            rows[job.args["token"]].append(job)
        found = list(self.failures)
        found += [f"{token} was enqueued and is not there" for token in self.made if token not in rows]
        found += [f"{token} was refused and is there" for token in self.refused if token in rows]
        for token, some in rows.items():
            found += [f"{token} is {job.state}" for job in some if job.state != zjobs.JobState.COMPLETED]
            if len(some) != (ran := self.runs[token]):
                found.append(f"{token} is there {len(some)} times and ran {ran} times")
            if len(some) > 1:
                found += self._twins(token, some)
        if self.slowest > DEADLINE:
            found.append(f"a call took {self.slowest:.1f} seconds")
        return found

    def _twins(self, token: str, some: list[zjobs.Job]) -> list[str]:
        """A job with a key that had ended before the enqueue was sent again is not met any more."""
        self.twins += 1
        if some[0].unique_key is None:
            return [f"{token} has no key and is there {len(some)} times"]
        early = [job for before, job in pairwise(some) if job.inserted_at < before.finished_at - BEGUN]
        return [f"{token} is there twice at once"] if early else []

    def sentence(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        return (
            f"proved: {self.kinds.total()} cuts ({kinds}) during {len(self.made)} enqueues and {self.runs.total()}"
            f" runs: 0 lost, 0 run twice, {len(self.uncertain)} enqueues uncertain, {len(self.refused)} refused and"
            f" {self.twins} done again after their job had ended;"
            f" the longest call took {self.slowest:.1f} s of {DEADLINE:g}"
        )


def supervisor(server: postgres_server.Server, proxy: Proxy, **settings: object) -> zjobs.Supervisor:
    url = server.url.replace(f":{server.port}/", f":{proxy.port}/")
    return zjobs.Supervisor(zjobs.PostgresStore(url, call_timeout_seconds=PATIENCE), **settings)


def work(jobs: zjobs.Supervisor, cuts: Cuts) -> None:
    @jobs.worker
    def act(token: str) -> None:
        with cuts.guard:
            cuts.runs[token] += 1


def produce(jobs: zjobs.Supervisor, name: str, cuts: Cuts, over: threading.Event) -> None:
    """Enqueues one by one, every other with a unique key, and measures how long each takes."""
    try:
        number = 0
        while not over.wait(0.002):
            number += 1
            token = f"{name}-{number}"
            began = time.monotonic()
            try:
                options = {"unique_key": token} if number % 2 else {}
                cuts.made[token] = jobs.enqueue("act", {"token": token}, **options).id
            except zjobs.EnqueueUncertain:
                cuts.uncertain.add(token)
            except zjobs.StoreUnavailable:
                # With a key it was sent again until there was no more time: what became of it nobody knows.
                (cuts.uncertain if number % 2 else cuts.refused).add(token)
            cuts.slowest = max(cuts.slowest, time.monotonic() - began)
    except Exception as error:  # noqa: BLE001 - told by the thread that judges
        cuts.failures.append(f"{name}: {error!r}")


def once(proxy: Proxy, verdict: str, over: threading.Event) -> Callable[[bytes], str]:
    """Gives one verdict, to the next message that comes."""

    def judge(_: bytes) -> str:
        proxy.judge = lambda _: "pass"
        over.set()
        return verdict

    return judge


def cut(proxy: Proxy, kind: str, rng: random.Random) -> None:
    match kind:
        case "reset":
            proxy.cut()
        case "hole":
            proxy.judge = lambda _: "hold"
            time.sleep(rng.uniform(0.1, 2 * PATIENCE))
            proxy.judge = lambda _: "pass"
            proxy.cut()
        case _:
            done = threading.Event()
            proxy.judge = once(proxy, {"request lost": "cut", "reply lost": "cut after"}[kind], done)
            done.wait(PATIENCE)
            proxy.judge = lambda _: "pass"


def run(count: int, seed: int) -> tuple[Cuts, list[str]]:
    """Cuts so often, waits until all is settled, and says what must not be."""
    cuts, rng, over = Cuts(), random.Random(seed), threading.Event()
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server.running())
        proxies = [stack.enter_context(closing(Proxy(server.port))) for _ in range(WORKERS + PRODUCERS)]
        workers = [supervisor(server, proxy, queues={"default": 4}) for proxy in proxies[:WORKERS]]
        producers = [
            threading.Thread(target=produce, args=(supervisor(server, proxy), f"p{number}", cuts, over))
            for number, proxy in enumerate(proxies[WORKERS:])
        ]
        for jobs in workers:
            work(jobs, cuts)
            stack.enter_context(jobs)
        for producer in producers:
            producer.start()
        for _ in range(count):
            kind = rng.choice(KINDS)
            cut(rng.choice(proxies), kind, rng)
            cuts.kinds[kind] += 1
            time.sleep(rng.uniform(0, 0.2))
        over.set()
        for producer in producers:
            producer.join()
        client = zjobs.Supervisor(server.url)
        until = time.monotonic() + SETTLED
        while client.count(states=[zjobs.JobState.COMPLETED]) < client.count() and time.monotonic() < until:
            time.sleep(0.05)
        return cuts, cuts.problems(client)


def main() -> int:
    parser = argparse.ArgumentParser(prog="cuts")
    parser.add_argument("--cuts", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    cuts, problems = run(asked.cuts, asked.seed)
    for problem in problems[:20]:
        print(problem, file=sys.stderr)
    print(f"failed: {len(problems)} problems" if problems else cuts.sentence())
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
