"""The producer: `python -m crash.producer DATABASE MARKS NAME JOBS RATE SEED`.

It enqueues in batches at a steady rate until that many jobs have come in, over all its lives, and cancels some of them
by hand. What it did in an earlier life it reads from the marks.
"""

import random
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import zjobs
from crash.jobs import Kinds, keyed_in, open_patiently
from crash.marks import Marks, now, read

BATCHES = (1, 1, 1, 10, 100)
"""How many jobs one enqueue has, as parts of the rate."""
LARGE, RARELY, AFFORDED = 2_500, 0.01, 4
"""Jobs of a batch that a server takes in more than one statement, how often there is one, and how many seconds of work
it may be at most."""


def came_in(made: Iterable[str]) -> int:
    """How many of these are new jobs, not met by their unique key."""
    return sum(not job.startswith("+") for job in made)


def earlier(folder: Path) -> int:
    paths = folder.glob("producer-*.marks")
    return sum(came_in(words[2:]) for path in paths for words in read(path) if words[0] == "enqueued")


def size(pace: float, rng: random.Random) -> int:
    """How many jobs the next enqueue has."""
    if AFFORDED * pace >= LARGE and rng.random() < RARELY:
        return LARGE
    return max(1, round(rng.choice(BATCHES) * pace / 1000))


def main(*arguments: str) -> None:
    database, folder, name, total, rate, seed = arguments
    done, most, pace = earlier(Path(folder)), int(total), float(rate)
    rng = random.Random(f"{seed} {done}")
    marks = Marks(Path(folder), name)
    jobs = open_patiently(database)
    kinds = Kinds.on(jobs, marks, name)
    began, before = now(), done
    while done < most:
        count = min(most - done, size(pace, rng))
        token = f"{now():x}"
        entries = kinds.batch(token, count, rng)
        marks.write("intend", token, count, keyed_in(entries))
        try:
            made = jobs.enqueue_many(entries)
        except (zjobs.StoreUnavailable, zjobs.EnqueueUncertain) as error:
            # Cut off: it is there as a whole or not at all.
            print(error, file=sys.stderr, flush=True)
            threading.Event().wait(0.1)
            continue
        ids = [f"+{job.id}" if job.conflict else str(job.id) for job in made]
        marks.write("enqueued", token, *ids)
        done += came_in(ids)
        for job in made:
            if job.worker == "unwanted" and rng.random() < 0.7:
                threading.Event().wait(rng.uniform(0, 0.02))
                try:
                    state = jobs.cancel(job.id).state
                except zjobs.StoreUnavailable as error:
                    print(error, file=sys.stderr, flush=True)
                else:
                    marks.write("cancelled", job.id, state, now())
        ahead = (done - before) / pace - (now() - began) / 1e9
        threading.Event().wait(max(0.0, ahead))


if __name__ == "__main__":
    main(*sys.argv[1:])
