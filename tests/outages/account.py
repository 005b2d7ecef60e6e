"""What producers and handlers were told during outages, held against what the store has in the end."""

import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise

import zjobs

__all__ = ["Account"]

DEADLINE = 15.0
"""Seconds that no call may take, however loaded the machine is, where nobody has said how long it may."""
SETTLED = 60.0
BEGUN = timedelta(seconds=1)
"""How long before it took effect a statement may have begun, which is the time that a row has."""


@dataclass(slots=True)
class Account:
    """What was done and what was seen."""

    kinds: Counter[str] = field(default_factory=Counter)
    """The outages, by their kind."""
    made: dict[str, int] = field(default_factory=dict)
    """Tokens of enqueues that returned, with the number of the job."""
    uncertain: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    runs: Counter[str] = field(default_factory=Counter)
    guard: threading.Lock = field(default_factory=threading.Lock)
    twins: int = 0
    """Jobs that had ended so shortly after their enqueue was cut off that it was done again."""
    slowest: float = 0.0
    most: float = DEADLINE
    """Seconds that a call may take."""
    failures: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Enqueues that did not return so far."""
        return len(self.uncertain) + len(self.refused)

    def work(self, jobs: zjobs.Supervisor) -> None:
        """Declares the handler that counts its runs."""

        @jobs.worker
        def act(token: str, pad: str = "") -> None:
            with self.guard:
                self.runs[token] += 1

    def produce(self, jobs: zjobs.Supervisor, name: str, over: threading.Event, pad: Callable[[], str] = str) -> None:
        """Enqueues one by one, every other with a unique key, and measures how long each takes."""
        try:
            number = 0
            while not over.wait(0.002):
                number += 1
                token = f"{name}-{number}"
                began = time.monotonic()
                try:
                    options = {"unique_key": token} if number % 2 else {}
                    self.made[token] = jobs.enqueue("act", {"token": token, "pad": pad()}, **options).id
                except zjobs.EnqueueUncertain:
                    self.uncertain.add(token)
                except zjobs.StoreUnavailable:
                    # With a key it was sent again until there was no more time: what became of it nobody knows.
                    (self.uncertain if number % 2 else self.refused).add(token)
                self.slowest = max(self.slowest, time.monotonic() - began)
        except Exception as error:  # noqa: BLE001 - told by the thread that judges
            self.failures.append(f"{name}: {error!r}")

    def outlast(
        self, producers: Iterable[zjobs.Supervisor], outages: Iterable[str], **options: Callable[[], str]
    ) -> None:
        """Produces with each of them while the outages come, and ends with the last."""
        over = threading.Event()
        threads = [
            threading.Thread(target=self.produce, args=(jobs, f"p{number}", over), kwargs=options)
            for number, jobs in enumerate(producers)
        ]
        for thread in threads:
            thread.start()
        try:
            for kind in outages:
                self.kinds[kind] += 1
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def settled(self, jobs: zjobs.Supervisor) -> list[str]:
        """Waits until the last job has ended; what must not be."""
        until = time.monotonic() + SETTLED
        while jobs.count(states=[zjobs.JobState.COMPLETED]) < jobs.count() and time.monotonic() < until:
            time.sleep(0.05)
        return self.problems(jobs)

    def problems(self, jobs: zjobs.Supervisor) -> list[str]:
        """What must not be."""
        rows: dict[str, list[zjobs.Job]] = defaultdict(list)
        for job in jobs.list(limit=None):
            rows[job.args["token"]].append(job)
        found = list(self.failures) if self.made else ["nothing was enqueued", *self.failures]
        found += [f"{token} was enqueued and is not there" for token in self.made if token not in rows]
        found += [f"{token} was refused and is there" for token in self.refused if token in rows]
        for token, some in rows.items():
            found += [f"{token} is {job.state}" for job in some if job.state != zjobs.JobState.COMPLETED]
            if len(some) != (ran := self.runs[token]):
                found.append(f"{token} is there {len(some)} times and ran {ran} times")
            if len(some) > 1:
                found += self._twins(token, some)
        if self.slowest > self.most:
            found.append(f"a call took {self.slowest:.1f} seconds of {self.most:g}")
        return found

    def _twins(self, token: str, some: list[zjobs.Job]) -> list[str]:
        """A job with a key that had ended before the enqueue was sent again is not met any more."""
        self.twins += 1
        if some[0].unique_key is None:
            return [f"{token} has no key and is there {len(some)} times"]
        early = [job for before, job in pairwise(some) if job.inserted_at < before.finished_at - BEGUN]
        return [f"{token} is there twice at once"] if early else []

    def tell(self, problems: list[str], outages: str, also: str = "") -> int:
        """Prints what is proved, or the first problems; the code to end with."""
        for problem in problems[:20]:
            print(problem, file=sys.stderr)
        print(f"failed: {len(problems)} problems" if problems else f"proved: {self.sentence(outages)}{also}")
        return 1 if problems else 0

    def sentence(self, outages: str) -> str:
        """All of it, when nothing was wrong."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        return (
            f"{self.kinds.total()} {outages} ({kinds}) during {len(self.made)} enqueues and {self.runs.total()}"
            f" runs: 0 lost, 0 run twice, {len(self.uncertain)} enqueues uncertain, {len(self.refused)} refused and"
            f" {self.twins} done again after their job had ended;"
            f" the longest call took {self.slowest:.1f} s of {self.most:g}"
        )
