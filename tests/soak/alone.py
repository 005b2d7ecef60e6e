"""The store in memory, whose jobs are its process's: `python -m soak.alone DATABASE MARKS NAME RATE SEED ROWS`.

It produces and works, and writes each job that has ended to ROWS. SIGUSR1 pauses and resumes its queue, SIGUSR2 is a
storm of cancels, a SIGTERM ends it in order: it waits for what it has enqueued, and writes down what is left.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import zjobs
from crash.jobs import SLOTS, Kinds
from crash.marks import Marks
from soak.faults import QUEUE, is_paused, storm_of
from soak.producer import produce
from soak.worker import open_worker
from zjobs import JobState, telemetry

STATES = {JobState.COMPLETED: 2, JobState.DISCARDED: 4, JobState.CANCELLED: 5}
LIVE = [state for state in JobState if state not in STATES]
STUCK = 0
PATIENCE = 60.0
TURN = 2.0
"""Seconds between two looks."""
ENDS = (telemetry.JobCompleted, telemetry.JobDiscarded, telemetry.JobCancelled)


def row(job: zjobs.Job) -> list[object]:
    """As the other stores have it in their table."""
    waited = (job.attempted_at - job.scheduled_at).total_seconds() if job.attempt == 1 else None
    kinds = [error.kind for error in job.errors]
    state = STATES.get(job.state, STUCK)
    about = job.attempt, job.lease, job.crashes, job.unique_key, kinds, waited
    return [job.id, state, job.worker, job.args["token"], *about]


def say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


class Alone:
    """The supervisor, and what it is told to do by signals."""

    def __init__(self, jobs: zjobs.Supervisor, marks: Marks, rows: str, rng: random.Random) -> None:
        self.jobs, self.marks, self.rng = jobs, marks, rng
        self.wanted: list[str] = []
        self._file = os.open(rows, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for kind in ENDS:
            jobs.telemetry.attach(lambda event: self.write(event.result.job), kind)

    def write(self, job: zjobs.Job) -> None:
        # One call for a line: it is told by many threads.
        os.write(self._file, json.dumps(row(job)).encode() + b"\n")

    def turn(self) -> None:
        """Does what it was told to, and writes down what nobody hears of: jobs that were cancelled before they ran."""
        while self.wanted:
            if self.wanted.pop(0) == "storm":
                # What is said here the driver waits for.
                say("cancelled" if storm_of(self.jobs, self.marks, self.rng) else "found nothing to stop")
                continue
            (self.jobs.resume_queue if is_paused(self.jobs) else self.jobs.pause_queue)(QUEUE)
            say("paused" if is_paused(self.jobs) else "resumed")
        for job in self.jobs.list(worker="unwanted", states=[JobState.CANCELLED], limit=None):
            self.write(job)

    def settle(self) -> None:
        for _ in range(int(PATIENCE / TURN)):
            self.turn()
            if not self.jobs.count(states=LIVE):
                return
            time.sleep(TURN)
        for job in self.jobs.list(states=LIVE, limit=None):
            self.write(job)


def main(database: str, folder: str, name: str, *more: str) -> None:
    rate, seed, rows = more
    jobs, marks, over = open_worker(database, 4 * SLOTS), Marks(Path(folder), name), threading.Event()
    kinds, alone = Kinds.on(jobs, marks), Alone(jobs, marks, rows, random.Random(seed))
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    signal.signal(signal.SIGUSR1, lambda *_: alone.wanted.append("pause"))
    signal.signal(signal.SIGUSR2, lambda *_: alone.wanted.append("storm"))
    producer = threading.Thread(
        target=produce, args=(jobs, kinds, marks, float(rate), int(seed)), kwargs={"over": over}
    )
    with jobs:
        producer.start()
        while not over.wait(TURN):
            alone.turn()
        producer.join()
        alone.settle()


if __name__ == "__main__":
    main(*sys.argv[1:])
