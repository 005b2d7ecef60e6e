"""The producer: `python -m soak.producer DATABASE MARKS NAME RATE SEED`. A SIGTERM ends it in order."""

import random
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import zjobs
from crash.jobs import Kinds, keyed_in, open_patiently
from crash.marks import Marks, now

__all__ = ["enqueue", "produce"]

BATCHES = (1, 1, 1, 10, 100)
"""How many jobs one enqueue has, as thousandths of the rate."""
Entries = Sequence[zjobs.JobEntry | tuple[str, object]]
CUT_OFF = (zjobs.StoreUnavailable, zjobs.EnqueueUncertain, zjobs.StoreFull)


def produce(
    jobs: zjobs.Supervisor, kinds: Kinds, marks: Marks, pace: float, seed: int, *, over: threading.Event
) -> None:
    """Enqueues at a steady rate, and cancels some of it, until it is told to stop."""
    rng, began, done = random.Random(seed), now(), 0
    while not over.is_set():
        count = max(1, round(rng.choice(BATCHES) * pace / 1000))
        token = f"{now():x}"
        done += enqueue(jobs, marks, token, kinds.batch(token, count, rng), rng)
        ahead = done / pace - (now() - began) / 1e9
        over.wait(max(0.0, ahead))


def enqueue(jobs: zjobs.Supervisor, marks: Marks, token: str, entries: Entries, rng: random.Random) -> int:
    """Enqueues one batch, and says of how many jobs it is known to be there."""
    marks.write("intend", token, len(entries), keyed_in(entries))
    try:
        made = jobs.enqueue_many(entries)
    except CUT_OFF as error:
        # It is there as a whole or not at all.
        print(error, file=sys.stderr, flush=True)
        threading.Event().wait(0.1)
        return 0
    marks.write("enqueued", token, *(f"+{job.id}" if job.conflict else job.id for job in made))
    for job in made:
        if job.worker == "unwanted" and rng.random() < 0.7:
            cancel(jobs, marks, job)
    return len(made)


def cancel(jobs: zjobs.Supervisor, marks: Marks, job: zjobs.Job) -> None:
    try:
        state = jobs.cancel(job).state
    except zjobs.StoreUnavailable as error:
        print(error, file=sys.stderr, flush=True)
    else:
        marks.write("cancelled", job.id, state, now())


def main(database: str, folder: str, name: str, rate: str, seed: str) -> None:
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    jobs, marks = open_patiently(database), Marks(Path(folder), name)
    produce(jobs, Kinds.on(jobs, marks), marks, float(rate), int(seed), over=over)


if __name__ == "__main__":
    main(*sys.argv[1:])
