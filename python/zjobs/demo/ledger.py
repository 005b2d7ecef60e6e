"""What the store holds at one moment: every life of the jobs, whichever process lived it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from zjobs import Job, JobState, Supervisor
from zjobs.demo.findings import Findings
from zjobs.demo.jobs import ROOT

PAGE = 1000
"""How many jobs are read from the store at a time."""

NODE_LOST = "NodeLost"
"""The kind of the error entry that a rescue leaves."""

LIVE_STATES = tuple(state for state in JobState if not state.is_final)


@dataclass(slots=True)
class Kind:
    """One worker's jobs.

    Attributes:
        queue, priority: Where they run and before whom.
        enqueued: How many there are.
        retries: Failed attempts that were given another one.
        rescued: Attempts that ended with their process.
        final: How many are in each final state.
    """

    queue: str
    priority: int
    enqueued: int = 0
    retries: int = 0
    rescued: int = 0
    final: dict[JobState, int] = field(default_factory=dict[JobState, int])

    @property
    def finished(self) -> int:
        """How many are in a final state."""
        return sum(self.final.values())

    def add(self, job: Job) -> None:
        """Count one job."""
        self.enqueued += 1
        lost = sum(error.kind == NODE_LOST for error in job.errors)
        self.rescued += lost
        self.retries += len(job.errors) - lost
        if job.state.is_final:
            self.final[job.state] = self.final.get(job.state, 0) + 1
        if job.state is JobState.DISCARDED and job.errors[-1].kind != NODE_LOST:
            self.retries -= 1  # the last failure was given no other attempt


@dataclass(slots=True)
class Ledger:
    """All jobs of the store, by worker; what the completed ones found; the folder that they are about."""

    root: str = ""
    kinds: dict[str, Kind] = field(default_factory=dict[str, Kind])
    findings: Findings = field(default_factory=Findings)

    @property
    def enqueued(self) -> int:
        """All jobs, cron ticks among them."""
        return sum(kind.enqueued for kind in self.kinds.values())

    @property
    def finished(self) -> int:
        """Jobs in a final state."""
        return sum(kind.finished for kind in self.kinds.values())

    @property
    def retries(self) -> int:
        """Failed attempts that were given another one."""
        return sum(kind.retries for kind in self.kinds.values())

    @property
    def rescued(self) -> int:
        """Attempts that ended with their process."""
        return sum(kind.rescued for kind in self.kinds.values())

    def enqueued_by(self, worker: str) -> int:
        """How many jobs the worker has."""
        return self.kinds[worker].enqueued if worker in self.kinds else 0

    def add(self, job: Job) -> None:
        """Count one job, and take up its result."""
        if not self.root:
            self.root = job.meta.get(ROOT, "")
        self.kinds.setdefault(job.worker, Kind(job.queue, job.priority)).add(job)
        if job.state is JobState.COMPLETED:
            self.findings.add(job.worker, job.result)


def read(jobs: Supervisor) -> Ledger:
    """Read all jobs of the store, page by page."""
    ledger = Ledger()
    for job in _every(jobs):
        ledger.add(job)
    return ledger


def _every(jobs: Supervisor) -> Iterator[Job]:
    after: int | None = None
    while page := jobs.list(limit=PAGE, after=after):
        yield from page
        after = page[-1].id


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What an earlier run left in the store.

    Attributes:
        waiting: Jobs that wait.
        rescued: Jobs that ran when their process was killed, and are taken back now.
        elsewhere: Jobs that run in another process.
        finished: Jobs that are done.
    """

    waiting: int
    rescued: int
    elsewhere: int
    finished: int

    @property
    def left(self) -> int:
        """Jobs that are not done."""
        return self.waiting + self.rescued + self.elsewhere

    def sentence(self) -> str:
        """The same in words."""
        done = _said(self.finished, "job is done", "jobs are done")
        if not self.left:
            return f"nothing is left to do: {done}"
        words = "continuing: " + _said(self.waiting, "job waits", "jobs wait")
        if self.rescued:
            words += ", " + _said(
                self.rescued,
                "was running when it was killed and is taken back",
                "were running when it was killed and are taken back",
            )
        if self.elsewhere:
            words += ", " + _said(self.elsewhere, "runs in another process", "run in another process")
        return f"{words}; {done}"


def inherit(jobs: Supervisor) -> Inheritance | None:
    """Take back what killed runs left behind; say what there is. `None` for a store without jobs."""
    before = jobs.count_by_state()
    if not any(before.values()):
        return None
    rescued = jobs.rescue_stuck()
    running = before[JobState.EXECUTING]
    finished = sum(count for state, count in before.items() if state.is_final)
    return Inheritance(
        waiting=sum(before.values()) - finished - running,
        rescued=rescued,
        elsewhere=max(running - rescued, 0),
        finished=finished,
    )


def _said(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
