"""`python -m exits.scenes STORE FOLDER SCENE WAY MILLISECONDS READY`: a process in the midst of something, and its end.

Each enqueue that returned, and each handler that ended, is one line in a file that outlives the process.
"""

import asyncio
import atexit
import contextlib
import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zjobs
from zjobs import JobContext, JobEntry, Supervisor

__all__ = ["SCENES", "STUCK", "WAYS"]

store, folder, scene, way, pause, ready = (
    sys.argv[1:] if __name__ == "__main__" else ("memory://", os.devnull, "", "", "0", "-1")
)

jobs = Supervisor(
    store,
    queues={"default": 4, "loop": 8},
    shutdown_timeout_seconds=0.2,
    poll_interval_ms=50,
)


class Record:
    """Lines of numbers, each written whole and at once."""

    def __init__(self, name: str) -> None:
        self._place = Path(folder, name)
        self._file = -1

    def open(self) -> None:
        self._file = os.open(self._place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, numbers: list[int]) -> None:
        os.write(self._file, "".join(f"{number}\n" for number in numbers).encode())


enqueued, ended = Record("enqueued"), Record("ended")


def put(entries: list[JobEntry], into: Supervisor = jobs) -> None:
    enqueued.write([job.id for job in into.enqueue_many(entries)])


# --- handlers ---


@jobs.worker
def quick(ctx: JobContext, number: int) -> None:
    ended.write([ctx.job.id])


@jobs.worker(queue="loop")
async def quick_too(ctx: JobContext, number: int) -> None:
    await asyncio.sleep(0)
    ended.write([ctx.job.id])


@jobs.worker(retry_strategy=zjobs.Constant(0), max_attempts=10_000)
def fails(number: int) -> None:
    raise ValueError(number)


@jobs.worker
def heeds(ctx: JobContext) -> None:
    while not ctx.cancelled:
        time.sleep(0.001)
    ctx.check_cancelled()


@jobs.worker(queue="loop")
async def sleeps() -> None:
    await asyncio.sleep(600)


@jobs.worker
def hangs() -> None:
    time.sleep(600)


@jobs.worker
def spins() -> None:
    while True:
        pass


@jobs.worker
def locked() -> None:
    threading.Event().wait()


@jobs.worker
def waits_for_another() -> None:
    jobs.wait(jobs.enqueue("nobody.knows"))


@jobs.worker(queue="loop")
async def swallows() -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.001)


@jobs.worker
def forks(ctx: JobContext) -> None:
    if os.fork() == 0:
        os._exit(0)
    ended.write([ctx.job.id])


@jobs.worker
def logs(ctx: JobContext, number: int) -> None:
    ctx.log.warning("number %d", number)
    ended.write([ctx.job.id])


# --- scenes ---


def few(count: int) -> list[JobEntry]:
    return [quick.job(1), quick_too.job(2), fails.job(3)] * (count // 3)


def feed() -> None:
    while True:
        put(few(3))
        time.sleep(0)


def on_daemons(act: Callable[[], Any], count: int) -> None:
    for _ in range(count):
        threading.Thread(target=act, daemon=True).start()


def idle() -> None:
    pass


def busy() -> None:
    put(few(20_000 if store == "memory://" else 2000))


def fed() -> None:
    on_daemons(feed, 2)


def watched() -> None:
    jobs.telemetry.attach(lambda _: None)
    zjobs.attach_logging(jobs.telemetry)
    put(few(1500))


def heeding() -> None:
    put([heeds.job(), sleeps.job()] * 2)


def scheduled() -> None:
    put([quick.options(schedule_in=number / 1000).job(number) for number in range(300)])
    jobs.register_cron("often", "* * * * * *", quick, {"number": 1})


def waiting() -> None:
    on_daemons(lambda jobs=jobs: jobs.wait(jobs.enqueue("nobody.knows")), 4)


def forking() -> None:
    put([forks.job()] * 20)


def several() -> None:
    for number in range(3):
        other = Supervisor(jobs.store, queues={f"other{number}": 2}, shutdown_timeout_seconds=0.2)
        other.start()
        globals()[f"other{number}"] = other


def logging_all_along() -> None:
    # Without a buffer of Python's, whose lock another thread may have at a fork: the child then hangs in its flush.
    stream = io.TextIOWrapper(open(os.devnull, "wb", buffering=0), write_through=True)  # noqa: SIM115, PTH123 - it lives as long as we
    logging.basicConfig(stream=stream, level=logging.DEBUG)
    logging.disable(logging.NOTSET)
    zjobs.attach_logging(jobs.telemetry)
    put([logs.job(number) for number in range(500)])


def telling() -> None:
    def hear(_: object) -> None:
        seen.append(threading.current_thread().name)
        if len(seen) % 7 == 0:
            put([quick.job(0)])

    seen: list[str] = []
    jobs.telemetry.attach(hear)
    put(few(300))


def in_a_client() -> None:
    """Nothing is started: enqueues and reads only."""
    on_daemons(feed, 2)
    on_daemons(jobs.count_by_state, 2)


def starting() -> None:
    """Starts and stops over and over, until the end comes in one of them."""

    def turn(jobs: Supervisor = jobs) -> None:
        # When the interpreter ends it is stopped for us, and no thread can be started any more.
        with contextlib.suppress(zjobs.Error, RuntimeError):
            while True:
                jobs.start()
                put(few(30))
                jobs.stop()

    on_daemons(turn, 1)


def starting_here() -> None:
    """The same in the main thread."""
    until = time.monotonic() + float(pause) / 1000
    while time.monotonic() < until or way in {"SIGTERM", "SIGINT", "SIGINT twice"}:
        jobs.start()
        put(few(30))
        jobs.stop()
    jobs.start()


def stuck() -> None:
    put([worker.job() for worker in (hangs, spins, locked, waits_for_another, swallows)])


SCENES = {
    act.__name__: act
    for act in (
        *(idle, busy, fed, watched, heeding, scheduled, waiting, forking, several, logging_all_along, telling),
        *(in_a_client, starting, starting_here),
    )
}
STUCK = {"stuck": stuck}
NOT_STARTED = {"in_a_client", "starting", "starting_here"}


# --- ways to end ---


def end() -> None:
    pass


def exit_with_3() -> None:
    sys.exit(3)


def raise_an_error() -> None:
    raise ZeroDivisionError


def stop() -> None:
    if jobs.is_running:
        try:
            jobs.stop()
        except zjobs.NotStarted:
            assert scene == "starting"


def forget() -> None:
    global jobs  # noqa: PLW0603 - the point of it
    del jobs


def leave_a_thread() -> None:
    threading.Thread(target=time.sleep, args=(0.05,)).start()


def enqueue_at_exit() -> None:
    atexit.register(lambda: put([quick.job(1)]))


def log_at_exit() -> None:
    atexit.register(lambda: logging.getLogger("zjobs").error("the end"))
    atexit.register(logging.shutdown)


def listen_at_exit() -> None:
    atexit.register(lambda: jobs.telemetry.attach(lambda _: put([quick.job(1)]), "job_completed"))
    atexit.register(lambda: put([quick.job(1)]))


def fork() -> None:
    child = os.fork()
    if child == 0:
        sys.exit(0)
    os.waitpid(child, 0)


def fork_and_leave_it() -> None:
    if os.fork() == 0:
        os._exit(0)


def leave_at_once() -> None:
    os._exit(4)


def run() -> None:
    if jobs.is_running:
        jobs.stop()
    threading.Thread(target=tell_when_signals_are_taken, daemon=True).start()
    jobs.run()


def tell_when_signals_are_taken() -> None:
    while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        time.sleep(0.0005)
    os.write(int(ready), b"!")


def linger() -> None:
    """For ends that come from outside."""
    while True:
        time.sleep(0.05)


# The exit codes that are right.
WAYS: dict[str, tuple[Callable[[], None], set[int]]] = {
    "end": (end, {0}),
    "sys.exit": (exit_with_3, {3}),
    "raise": (raise_an_error, {1}),
    "stop": (stop, {0}),
    "forget": (forget, {0}),
    "leave a thread": (leave_a_thread, {0}),
    "enqueue at exit": (enqueue_at_exit, {0}),
    "log at exit": (log_at_exit, {0}),
    "listen at exit": (listen_at_exit, {0}),
    "fork": (fork, {0}),
    "fork and leave it": (fork_and_leave_it, {0}),
    "os._exit": (leave_at_once, {4}),
    # From outside.
    "SIGTERM": (linger, {-signal.SIGTERM}),
    "SIGINT": (linger, {-signal.SIGINT}),
    # The second one comes while it ends, or when it has ended.
    "SIGINT twice": (linger, {-signal.SIGINT, 1}),
    # In run(), which takes signals.
    "run, SIGTERM": (run, {0}),
    "run, SIGINT": (run, {0}),
    "run, SIGTERM and SIGINT": (run, {0, -signal.SIGINT}),
}


def main() -> None:
    logging.disable()
    enqueued.open()
    ended.open()
    if not way.startswith("run"):
        os.write(int(ready), b"!")
    if scene not in NOT_STARTED and not way.startswith("run"):
        jobs.start()
    (SCENES | STUCK)[scene]()
    if not way.startswith(("run", "SIG")):
        time.sleep(float(pause) / 1000)
    WAYS[way][0]()


if __name__ == "__main__":
    main()
