"""Attempts that run too long: asked to stop, recorded as timed out, and what becomes of the slot."""

import asyncio
import threading
import time

import pytest

from zjobs import Constant, JobContext, JobState, Queue, StuckPolicy

LAST = {"retry_strategy": lambda _attempt, _error: None, "max_attempts": 1}
TEXT = "the attempt ran longer than its timeout_seconds of 0.05"


def test_a_thread_that_heeds_its_flag_is_recorded_as_timed_out(jobs):
    app = jobs()

    @app.worker(timeout_seconds=0.05, **LAST)
    def heeds(ctx: JobContext) -> None:
        while not ctx.cancelled:
            time.sleep(0.001)
        assert ctx.timed_out

    with app:
        done = app.wait(heeds.enqueue(), 30)
    assert (done.state, done.errors[0].kind, done.errors[0].message) == (JobState.DISCARDED, "TimeoutError", TEXT)


def test_a_coroutine_is_cancelled_at_its_deadline(jobs):
    app = jobs()
    seen = []

    @app.worker(timeout_seconds=0.05, **LAST)
    async def sleeps() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with app:
        done = app.wait(sleeps.enqueue(), 30)
    assert (done.state, done.errors[0].kind, done.errors[0].message) == (JobState.DISCARDED, "TimeoutError", TEXT)
    assert seen == ["cancelled"]


def test_a_timed_out_attempt_is_retried_by_the_workers_strategy(jobs):
    app = jobs()

    @app.worker(timeout_seconds=0.05, retry_strategy=Constant(0), keep_result=True)
    async def slow_at_first(ctx: JobContext) -> int:
        await asyncio.sleep(60 if ctx.attempt == 1 else 0)
        return ctx.attempt

    with app:
        assert app.result(slow_at_first.enqueue(), 30) == 2


def test_no_limit_is_no_limit(jobs, gate):
    app = jobs()

    @app.worker(timeout_seconds=None, keep_result=True)
    def slow(ctx: JobContext) -> bool:
        gate.wait()
        return ctx.deadline is None

    with app:
        job = slow.enqueue()
        gate.set()
        assert app.result(job, 30) is True


@pytest.mark.parametrize("kind", ["lock", "busy", "swallows", "blocks the loop"])
def test_a_handler_that_ignores_its_deadline_is_recorded_and_reported(kind, jobs, eventually):
    app = jobs(queues={"default": 2})
    stop = threading.Event()
    ended = []

    def lock():
        stop.wait()

    def busy():
        while not stop.is_set():
            pass

    async def swallows():
        while not stop.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                ended.append("swallowed")

    async def blocks_the_loop():
        stop.wait()

    handler = {"lock": lock, "busy": busy, "swallows": swallows, "blocks the loop": blocks_the_loop}[kind]
    worker = app.worker(timeout_seconds=0.05, **LAST)(handler)

    @app.worker(keep_result=True)
    def calm() -> str:
        return "fine"

    try:
        with app:
            began = time.monotonic()
            done = app.wait(worker.enqueue(), 30)
            assert 3 <= time.monotonic() - began < 8
            assert (done.state, done.errors[0].kind, done.errors[0].message) == (
                JobState.DISCARDED,
                "TimeoutError",
                TEXT,
            )
            assert app.result(calm.enqueue(), 30) == "fine"
            stop.set()
    finally:
        stop.set()
    # What it does in the end changes nothing.
    assert app.get(done) == done


@pytest.mark.parametrize("lane", ["thread", "loop"])
def test_replace_gives_the_queue_another_slot(lane, jobs):
    app = jobs(queues=[Queue("default", 1, stuck=StuckPolicy.REPLACE)])
    stop = threading.Event()

    def hangs():
        stop.wait()

    async def hangs_too():
        while not stop.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    worker = app.worker(timeout_seconds=0.05, **LAST)(hangs if lane == "thread" else hangs_too)

    def calm():
        return "fine"

    async def calm_too():
        return "fine"

    calm = app.worker(name="calm", keep_result=True)(calm if lane == "thread" else calm_too)
    try:
        with app:
            stuck, waiting = worker.enqueue(), calm.enqueue()
            assert app.result(waiting, 30) == "fine"
            assert app.get(stuck).state is JobState.DISCARDED
            more = [app.result(calm.enqueue(), 30) for _ in range(5)]
            assert more == ["fine"] * 5
            stop.set()
            assert app.result(calm.enqueue(), 30) == "fine"
    finally:
        stop.set()


def test_exit_ends_the_process_so_that_a_clean_one_can_start(run_script):
    done = run_script("""
        import threading, zjobs
        jobs = zjobs.Supervisor(queues=[zjobs.Queue("default", 2, stuck=zjobs.StuckPolicy.EXIT)],
                                shutdown_timeout_seconds=0.2)

        @jobs.worker(timeout_seconds=0.05)
        def hangs() -> None:
            threading.Event().wait()

        hangs.enqueue()
        jobs.run()
        print("ended")
    """)
    assert (done.stdout, done.returncode) == ("ended\n", 0), done.stderr
    assert "job 1 goes on after its time limit" in done.stderr


def test_exit_without_run_is_a_sigterm_to_the_process(run_script):
    done = run_script("""
        import threading, zjobs
        jobs = zjobs.Supervisor(queues=[zjobs.Queue("default", 2, stuck=zjobs.StuckPolicy.EXIT)])

        @jobs.worker(timeout_seconds=0.05)
        def hangs() -> None:
            threading.Event().wait()

        hangs.enqueue()
        jobs.start()
        threading.Event().wait()
    """)
    assert done.returncode == -15, done.stderr
    assert "job 1 goes on after its time limit" in done.stderr


def test_exit_ends_the_process_also_when_the_handler_keeps_the_log_to_itself(run_script):
    done = run_script(
        """
        import logging, threading, zjobs
        jobs = zjobs.Supervisor(queues=[zjobs.Queue("default", 2, stuck=zjobs.StuckPolicy.EXIT)])
        log = logging.StreamHandler()
        logging.getLogger("zjobs").addHandler(log)

        @jobs.worker(timeout_seconds=0.05)
        def hangs() -> None:
            with log.lock:
                threading.Event().wait()

        hangs.enqueue()
        jobs.start()
        threading.Event().wait()
    """,
        timeout=30,
    )
    assert done.returncode == -15, done.stderr
