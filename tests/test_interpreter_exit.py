"""The interpreter may end at any moment: no hang, no crash, the right exit code."""

import random
import subprocess
import sys
import textwrap
import time

import pytest

# What the process is doing when it ends: argv is (scene, way to end, milliseconds until then).
SCRIPT = """
    import asyncio, atexit, faulthandler, logging, os, random, sys, threading, time
    import zjobs

    scene, way, pause = sys.argv[1], sys.argv[2], float(sys.argv[3]) / 1000
    logging.disable()
    jobs = zjobs.Supervisor(queues={"default": 4, "loop": 8}, shutdown_timeout_seconds=0.2)

    @jobs.worker
    def quick(number: int) -> None:
        pass

    @jobs.worker(queue="loop")
    async def quick_too(number: int) -> None:
        await asyncio.sleep(0)

    @jobs.worker(retry_strategy=zjobs.Constant(0))
    def fails(number: int) -> None:
        raise ValueError(number)

    @jobs.worker
    def heeds(ctx: zjobs.JobContext) -> None:
        while not ctx.cancelled:
            time.sleep(0.001)

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
        threading.Lock().acquire() and threading.Event().wait()

    @jobs.worker
    def waits_for_another() -> None:
        jobs.wait(jobs.enqueue("nobody.knows"))

    @jobs.worker(queue="loop")
    async def swallows() -> None:
        while True:
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                pass

    @jobs.worker
    def forks() -> None:
        if os.fork() == 0:
            os._exit(0)

    def feed():
        while True:
            try:
                quick.enqueue(1)
                quick_too.enqueue(2)
                fails.enqueue(3)
                time.sleep(0)
            except zjobs.StoreFull:
                return

    match scene:
        case "idle":
            pass
        case "busy":
            jobs.enqueue_many([quick.job(1), quick_too.job(2), fails.job(3)] * 20_000)
        case "fed":
            for _ in range(2):
                threading.Thread(target=feed, daemon=True).start()
        case "watched":
            jobs.telemetry.attach(lambda event: None)
            zjobs.attach_logging(jobs.telemetry)
            jobs.enqueue_many([quick.job(1), quick_too.job(2), fails.job(3)] * 5_000)
        case "heeding":
            for worker in (heeds, sleeps, heeds, sleeps):
                worker.enqueue()
        case "stuck":
            for worker in (hangs, spins, locked, waits_for_another, swallows):
                worker.enqueue()
        case "scheduled":
            for number in range(1000):
                quick.options(schedule_in=number / 10_000).enqueue(number)
            jobs.register_cron("often", "* * * * * *", quick, {"number": 1})
        case "waiting":
            for _ in range(4):
                threading.Thread(target=lambda: jobs.wait(jobs.enqueue("nobody.knows")), daemon=True).start()
        case "forking":
            jobs.enqueue_many([forks.job()] * 20)
        case "several":
            others = [zjobs.Supervisor(jobs.store, shutdown_timeout_seconds=0.2) for _ in range(3)]
            for other in others:
                other.start()
    jobs.start()
    time.sleep(pause)
    match way:
        case "end":
            pass
        case "exit":
            sys.exit(3)
        case "raise":
            raise ZeroDivisionError
        case "interrupt":
            raise KeyboardInterrupt
        case "stop":
            jobs.stop()
        case "forget":
            del jobs
        case "thread":
            threading.Thread(target=time.sleep, args=(0.05,)).start()
        case "atexit":
            atexit.register(lambda: quick.enqueue(1))
"""
CODES = {"exit": 3, "raise": 1, "interrupt": -2}
SCENES = ("idle", "busy", "fed", "watched", "heeding", "scheduled", "waiting", "forking", "several")
WAYS = ("end", "exit", "raise", "interrupt", "stop", "forget", "thread", "atexit")


def exit_once(scene, way, pause):
    command = [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(SCRIPT), scene, way, str(pause)]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, errors="replace")
    seconds = time.monotonic() - began
    what = f"{scene}, {way} after {pause} ms: {seconds:.1f} s, code {done.returncode}\n{done.stderr}"
    assert done.returncode == CODES.get(way, 0), what
    for sign in ("Fatal", "panicked", "Exception ignored", "terminate called", "never awaited", "Segmentation"):
        assert sign not in done.stderr, what
    assert ("Traceback" in done.stderr) == (way in {"raise", "interrupt"}), what
    return seconds, what


@pytest.mark.parametrize("scene", SCENES)
def test_it_ends_cleanly_in_the_middle_of(scene):
    chance = random.Random(scene)  # noqa: S311 - where in the run it ends
    for way in chance.sample(WAYS, 5):
        seconds, what = exit_once(scene, way, round(chance.expovariate(1 / 15), 2))
        assert seconds < 10, what


@pytest.mark.parametrize("way", ["end", "exit", "raise"])
def test_handlers_that_never_end_delay_the_end_by_the_timeout_and_the_grace_only(way):
    seconds, what = exit_once("stuck", way, 30)
    # 0.2 s, 3 s of grace, a second for the loop, and the start of an interpreter on a busy machine.
    assert seconds < 15, what


def test_jobs_in_flight_are_finished_before_the_interpreter_ends(run_script):
    done = run_script("""
        import threading, time, zjobs
        from concurrent.futures import ThreadPoolExecutor
        jobs = zjobs.Supervisor()
        begun = threading.Event()

        @jobs.worker
        def slow() -> None:
            begun.set()
            time.sleep(0.3)
            # The hooks that end other thread pools come after ours.
            with ThreadPoolExecutor(1) as pool:
                print(pool.submit(lambda: "finished").result(), flush=True)

        slow.enqueue()
        jobs.start()
        begun.wait()
    """)
    assert (done.stdout, done.returncode) == ("finished\n", 0), done.stderr


def test_ctrl_c_at_the_end_does_not_wait_for_handlers(run_script):
    done = run_script("""
        import os, signal, threading, time, zjobs
        jobs = zjobs.Supervisor(shutdown_timeout_seconds=50)
        begun = threading.Event()

        @jobs.worker
        def heeds(ctx: zjobs.JobContext) -> None:
            begun.set()
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)
            while not ctx.cancelled:
                time.sleep(0.01)
            print("heeded", flush=True)

        heeds.enqueue()
        jobs.start()
        begun.wait()
    """)
    assert (done.stdout, done.returncode) == ("heeded\n", 0), done.stderr
