"""One process: `python -m recovery.worker DATABASE MARKS NAME QUEUES SETTINGS`; a SIGTERM ends it in order."""

import atexit
import json
import os
import sys
import threading
import time
from pathlib import Path

import zjobs
from crash.marks import Marks, now

HELD, NAP, TICK = "held", "nap", "tick"


def main(database: str, folder: str, name: str, queues: str, settings: str) -> None:
    marks = Marks(Path(folder), name)
    wanted = json.loads(settings)
    ticks, lingers = wanted.pop("ticks", False), wanted.pop("lingers", 0)
    # Registered first, so it comes last: the library has said by then that this process ends.
    atexit.register(time.sleep, lingers)
    jobs = zjobs.Supervisor(database, queues=dict.fromkeys(queues.split(","), 1), node=name, **wanted)

    @jobs.worker(name=HELD)
    def held(ctx: zjobs.JobContext) -> None:
        """The first who has it never lets go, and says all along that it runs."""
        marks.write("begin", ctx.job.id, ctx.job.lease, ctx.attempt, now())
        if ctx.job.lease == 1:
            with Path(folder, f"{name}.life").open("wb", buffering=0) as life:
                while True:
                    os.pwrite(life.fileno(), b"%020d" % now(), 0)
                    time.sleep(0.005)

    @jobs.worker(name=NAP)
    def nap(ctx: zjobs.JobContext, seconds: float) -> None:
        marks.write("begin", ctx.job.id, ctx.job.lease, ctx.attempt, now())
        threading.Event().wait(seconds)
        marks.write("end", ctx.job.id, ctx.job.lease, ctx.attempt, now(), "returned")

    @jobs.worker(name=TICK)
    def tick() -> None: ...

    if ticks:
        jobs.register_cron(TICK, "* * * * * *", tick, catch_up="all")
    jobs.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
