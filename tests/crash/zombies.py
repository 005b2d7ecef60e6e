"""`python -m crash.zombies`: what a stopped worker writes when it wakes up is refused, round after round.

Each zombie works on a queue of its own and stops itself just before it asks the store to end an attempt (`ack.asked`).
Its lease of one second ends. The job is rescued, and then claimed, completed, failed, or cancelled by this process, or
left to wait. Only then the zombie goes on: the store must refuse what it writes, and leave the row as it was.
"""

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import postgres_server
import zjobs
from crash.actor import Actor
from crash.driver import MisbehavedError, prepare
from crash.marks import Marks, now, read
from crash.report import judged
from crash.zombie import WORKER
from zjobs import JobState
from zjobs.rows import AckRow, Failure, Heartbeat, JobEvent, NewJob

DRIVER = "driver"
NODE = "d" * 32
LOOK = 0.01
PATIENCE = 60.0
MEANWHILE = ("completed", "failed", "running", "waiting", "cancelled")
"""What has become of the job when the zombie wakes up."""
DISCARDED = "discarded"
"""The same, when its node was found dead too often: on a busy machine a lease of one second may end by itself."""


@dataclass(slots=True)
class Zombie:
    """One of them, and the round that it is in."""

    number: int
    actor: Actor
    queue: str
    step: str = "idle"
    since: float = 0.0
    job: int = 0
    meanwhile: str = ""
    held: int = 0
    """The lease that this process has."""
    seen_at: int = 0
    row: Any = None
    refused: int = 0


class Round:
    """All zombies of one run."""

    def __init__(self, database: str, folder: Path, marks: Marks, asked: argparse.Namespace) -> None:
        self.folder, self.marks, self.left, self.rng = folder, marks, asked.rounds, random.Random(asked.seed)
        self.jobs = zjobs.Supervisor(database)
        self.store = self.jobs.store
        self.wrong: list[str] = []
        self.refused = self.beaten = 0
        self.counts = dict.fromkeys((*MEANWHILE, DISCARDED), 0)
        self.zombies = [self._zombie(database, number) for number in range(asked.zombies)]

    def _zombie(self, database: str, number: int) -> Zombie:
        name, queue = f"zombie-{number}-1", f"q{number}"
        log = self.folder / f"{name}.log"
        actor = Actor("zombie", name, [database, str(self.folder), name, queue], "ack.asked=return(freeze)", log)
        return Zombie(number, actor, queue)

    def run(self) -> None:
        last = 0.0
        while self.left or any(zombie.step != "idle" for zombie in self.zombies):
            at = time.monotonic()
            if at - last > 0.1:
                held = tuple(zombie.job for zombie in self.zombies if zombie.held)
                self.store.heartbeat(Heartbeat(NODE, name=DRIVER, ttl_seconds=600, holds=held))
                self.store.rescue(100)
                last = at
            for zombie in self.zombies:
                self.look(zombie, at)
            threading.Event().wait(LOOK)

    def look(self, zombie: Zombie, at: float) -> None:
        """One step of a round, when it can be taken."""
        if zombie.actor.status is not None:
            raise MisbehavedError(f"{zombie.actor.name} ended:\n{zombie.actor.said()[-4000:]}")
        step, done = zombie.step, getattr(self, f"_{zombie.step}")(zombie)
        if done:
            zombie.since = at
        elif step != "idle" and at - zombie.since > PATIENCE:
            raise MisbehavedError(f"{zombie.actor.name} stays at {step!r}:\n{zombie.actor.said()[-4000:]}")

    def _idle(self, zombie: Zombie) -> bool:
        if not self.left:
            return False
        self.left -= 1
        zombie.meanwhile = self.rng.choice(MEANWHILE)
        token = f"{zombie.number}-{self.left}"
        self.marks.write("intend", token, 1, 0)
        args = b'{"token": "%s"}' % token.encode()
        (made,) = self.store.enqueue([NewJob(WORKER, args, queue=zombie.queue)])
        self.marks.write("enqueued", token, made.job.id)
        zombie.job, zombie.step = made.job.id, "frozen"
        return True

    def _frozen(self, zombie: Zombie) -> bool:
        """Waits until it has stopped itself with its job, and until that is taken back."""
        if not zombie.actor.is_stopped():
            return False
        if not zombie.seen_at:
            zombie.seen_at = now()
        if self._job(zombie).state is JobState.EXECUTING:
            return False
        self._meanwhile(zombie)
        zombie.row = self._row(zombie)
        zombie.actor.signal(signal.SIGCONT)
        self.marks.write("frozen", zombie.actor.name, zombie.seen_at, now())
        zombie.seen_at, zombie.step = 0, "woken"
        return True

    def _meanwhile(self, zombie: Zombie) -> None:
        """Others do something with the job."""
        if self._job(zombie).state is JobState.DISCARDED:
            zombie.meanwhile = DISCARDED
        match zombie.meanwhile:
            case "cancelled":
                self.jobs.cancel(zombie.job)
            case "waiting":
                # Otherwise the zombie itself would take it again.
                self.jobs.pause_queue(zombie.queue)
            case "completed" | "failed" | "running":
                self._claim(zombie)
                if zombie.meanwhile != "running":
                    self._end(zombie)
        self.counts[zombie.meanwhile] += 1

    def _claim(self, zombie: Zombie) -> None:
        (job,) = self.store.claim(NODE, zombie.queue, 1)
        zombie.held = job.lease
        self.marks.write("begin", job.id, job.lease, job.attempt, now())

    def _end(self, zombie: Zombie) -> None:
        """This process ends the attempt that it has."""
        attempt = self._job(zombie).attempt
        failed = zombie.meanwhile == "failed"
        how = "raised" if failed else "returned"
        self.marks.write("end", zombie.job, zombie.held, attempt, now(), how)
        if failed:
            failure = Failure("ValueError", "as meant", "")
            ack = AckRow(zombie.job, zombie.held, JobEvent.FAIL, JobState.RETRYABLE, attempt, 3600.0, failure)
        else:
            result = b'["driver", %d]' % zombie.held
            ack = AckRow(zombie.job, zombie.held, JobEvent.COMPLETE, JobState.COMPLETED, attempt, result_bytes=result)
        self.store.ack(NODE, [ack])
        zombie.held = 0

    def _woken(self, zombie: Zombie) -> bool:
        """Waits until its write was refused; the row must be as it was."""
        refused = [words for words in self._marks_of(zombie) if words[0] == "refused"]
        if len(refused) == zombie.refused and self._row(zombie) == zombie.row:
            return False
        zombie.refused = len(refused)
        if self._row(zombie) != zombie.row:
            self.wrong.append(f"job {zombie.job} was {zombie.row} and is {self._row(zombie)}")
        elif int(refused[-1][1]) != zombie.job or (zombie.held and int(refused[-1][2]) >= zombie.held):
            self.wrong.append(f"{zombie.actor.name} was refused {refused[-1]}, and had job {zombie.job}")
        else:
            self.refused += 1
        zombie.step = "settle"
        return True

    def _settle(self, zombie: Zombie) -> bool:
        """Ends what is not ended, so that the zombie finds nothing but its next job."""
        match zombie.meanwhile:
            case "running":
                self._end(zombie)
            case "failed":
                self.jobs.cancel(zombie.job)
            case "waiting":
                self.jobs.cancel(zombie.job)
                self.jobs.resume_queue(zombie.queue)
        zombie.step = "idle"
        return True

    def _job(self, zombie: Zombie) -> zjobs.Job:
        return self.jobs.get(zombie.job)

    def _row(self, zombie: Zombie) -> tuple[object, ...]:
        job = self._job(zombie)
        return job.state, job.lease, job.attempt, job.node, job.result_bytes, len(job.errors), job.finished_at

    def _marks_of(self, zombie: Zombie) -> list[list[str]]:
        path = self.folder / f"{zombie.actor.name}.marks"
        return list(read(path)) if path.exists() else []

    def stop(self) -> None:
        for zombie in self.zombies:
            zombie.actor.signal(signal.SIGKILL)
            zombie.actor.wait(30)
            self.marks.write("died", zombie.actor.name, now())


def main() -> int:
    parser = argparse.ArgumentParser(prog="crash.zombies")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--zombies", type=int, default=8, help="how many are stopped at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the marks stay; otherwise they are removed")
    parser.add_argument("--result", type=Path, default=Path("crash-zombies.json"))
    asked = parser.parse_args()
    with ExitStack() as stack:
        if asked.folder is not None:
            asked.folder.mkdir(parents=True)
        folder = asked.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(postgres_server.running())
        return run(server.url, folder, asked)


def run(database: str, folder: Path, asked: argparse.Namespace) -> int:
    marks = Marks(folder, DRIVER)
    prepare(database, marks)
    marks.write("by-hand")
    rounds = Round(database, folder, marks, asked)
    try:
        rounds.run()
    finally:
        rounds.stop()
    for wrong in rounds.wrong[:10]:
        print(wrong, file=sys.stderr)
    about = {"rounds": asked.rounds, "refused": rounds.refused, "wrong": len(rounds.wrong)} | rounds.counts
    passed, verdict = judged(database, folder, about, asked.result)
    passed = passed and rounds.refused == asked.rounds and not rounds.wrong
    print(
        f"{'proved' if passed else 'refuted'}: {asked.rounds} rounds of a worker stopped beyond its lease of 1 s,"
        f" {rounds.refused} stale acks refused, {len(rounds.wrong)} accepted or mistaken, {verdict}"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
