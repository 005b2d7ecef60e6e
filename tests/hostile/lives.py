"""`python -m hostile.lives URL`: a worker and, whenever it has died, the next one, until no job waits.

Prints how each has ended, one line each.
"""

import asyncio
import ctypes
import os
import resource
import signal
import sys
import time

from zjobs import Ack, JobState, Queue, Supervisor

__all__ = ["DEATHS"]

LIVE = (JobState.AVAILABLE, JobState.EXECUTING, JobState.RETRYABLE, JobState.SCHEDULED)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def fault():
    ctypes.string_at(0)


def abort():
    os.abort()


def leave():
    os._exit(0)


def overflow():
    # One of the recursions that no interpreter bounds; that of calls has had a bound of its own since 3.12.
    deep = iter(())
    for _ in range(10**6):
        deep = zip(deep)
    return next(deep, None)


DEATHS = {
    "kill": (kill, -signal.SIGKILL),
    "fault": (fault, -signal.SIGSEGV),
    "abort": (abort, -signal.SIGABRT),
    "leave": (leave, 0),
    "overflow": (overflow, -signal.SIGSEGV),
}


def work(url):
    # One job at a time, none claimed ahead, each end written at once: a death is the death of one job.
    jobs = Supervisor(url, queues=[Queue("default", 1, prefetch=0)], rescue_interval_ms=1000)

    @jobs.worker
    def thread(death: str) -> None:
        DEATHS[death][0]()

    @jobs.worker
    async def loop(death: str) -> None:
        await asyncio.sleep(0)
        DEATHS[death][0]()

    @jobs.worker(keep_result=True, ack=Ack.SYNC)
    def good(number: int) -> int:
        return number

    @jobs.worker(keep_result=True, ack=Ack.SYNC)
    async def good_too(number: int) -> int:
        return number

    with jobs:
        while jobs.count(states=LIVE):
            time.sleep(0.01)


def main(url):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    done = False
    while not done:
        # What tells the worst death, a quiet exit, from the end of the work.
        here, there = os.pipe()
        worker = os.fork()
        if worker == 0:
            work(url)
            os.write(there, b"done")
            os._exit(0)
        os.close(there)
        code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
        done = os.read(here, 4) == b"done"
        os.close(here)
        print("done" if done else code, flush=True)  # noqa: T201 - it reports by printing


if __name__ == "__main__":
    main(*sys.argv[1:])
