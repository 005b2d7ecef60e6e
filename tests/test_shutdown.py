"""Graceful stop, hurried stop, and signals."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from zjobs import JobContext, JobState, NotStarted, Queue, StuckPolicy, Supervisor


def test_a_stop_waits_for_jobs_in_flight_and_leaves_the_rest(jobs, gate, eventually):
    app = jobs(queues={"default": 2})
    begun = []

    @app.worker(keep_result=True)
    def slow() -> str:
        begun.append(1)
        gate.wait()
        return "done"

    many = app.enqueue_many([slow.job()] * 6)
    app.start()
    eventually(lambda: len(begun) == 2)
    stopped = []
    thread = threading.Thread(target=lambda: stopped.append(app.stop()))
    thread.start()
    eventually(lambda: not app.is_running)
    assert stopped == []
    gate.set()
    thread.join(30)
    assert stopped == [()]
    states = app.count_by_state()
    assert (states[JobState.COMPLETED], states[JobState.AVAILABLE]) == (2, 4)
    assert all(job.attempt == 0 for job in app.list(states=(JobState.AVAILABLE,)))
    assert len(many) == 6


def test_handlers_that_heed_a_stop_go_back_with_their_attempt(jobs, eventually):
    app = jobs(queues={"default": 4})
    begun = []

    @app.worker
    async def sleeps() -> None:
        begun.append(1)
        await asyncio.sleep(60)

    @app.worker
    def heeds(ctx: JobContext) -> None:
        begun.append(1)
        while True:
            ctx.check_cancelled()
            time.sleep(0.001)

    both = [sleeps.enqueue(), heeds.enqueue()]
    app.start()
    eventually(lambda: len(begun) == 2)
    assert app.stop(0) == ()
    assert [(job.state, job.attempt, job.errors) for job in map(app.get, both)] == [(JobState.AVAILABLE, 0, ())] * 2


def test_a_stop_names_the_handlers_that_ignore_it_and_they_keep_their_lease(jobs, eventually):
    app = jobs()
    begun, release = threading.Event(), threading.Event()

    @app.worker(keep_result=True)
    def ignores() -> str:
        begun.set()
        release.wait()
        return "in the end"

    try:
        job = ignores.enqueue()
        app.start()
        begun.wait(30)
        began = time.monotonic()
        assert app.stop(0) == (job.id,)
        assert 2.9 < time.monotonic() - began < 8
        with pytest.raises(Exception, match="some of its handlers have not ended yet"):
            app.start()
        assert app.rescue_stuck() == 0
    finally:
        release.set()
    assert app.result(job, 30) == "in the end"
    eventually(lambda: app.nodes() == [])
    with app:
        assert app.is_running


def test_a_thread_that_ended_late_is_replaced_at_the_next_start(jobs, eventually):
    app = jobs(queues={"default": 1})
    begun, release = threading.Event(), threading.Event()

    @app.worker
    def ignores() -> None:
        begun.set()
        release.wait()

    @app.worker(keep_result=True)
    def calm() -> str:
        return "fine"

    for _ in range(2):
        begun.clear()
        release.clear()
        job = ignores.enqueue()
        app.start()
        begun.wait(30)
        assert app.stop(0) == (job.id,)
        release.set()
        eventually(lambda: app.nodes() == [])
        with app:
            assert app.result(calm.enqueue(), 30) == "fine"


def test_of_two_stops_at_once_the_later_one_ends_no_coroutine_that_the_other_waits_for(
    jobs, gate, eventually, monkeypatch
):
    app = jobs()
    begun, entered = threading.Event(), threading.Event()
    raised = []

    @app.worker(keep_result=True, max_attempts=1)
    async def slow() -> str:
        begun.set()
        while not gate.is_set():  # noqa: ASYNC110 - an event of another thread
            await asyncio.sleep(0.001)
        return "fine"

    def late():
        if not entered.is_set():
            entered.set()
            eventually(lambda: not app.is_running)

    def stop():
        try:
            app.stop()
        except NotStarted as error:
            raised.append(error)

    app.start()
    job = slow.enqueue()
    assert begun.wait(30)
    monkeypatch.setattr(app._scheduler, "stop", late)
    stops = [threading.Thread(target=stop) for _ in range(2)]
    stops[0].start()
    assert entered.wait(30)
    stops[1].start()
    stops[0].join(30)
    gate.set()
    stops[1].join(30)
    assert (app.get(job).result, len(raised)) == ("fine", 1)


@pytest.fixture
def started(monkeypatch):
    """The names of the threads that were started, in order."""
    names = []

    class Noted(threading.Thread):
        def start(self):
            names.append(self.name)
            super().start()

    monkeypatch.setattr(threading, "Thread", Noted)
    return names


def test_a_queue_that_grows_while_it_stops_gets_no_more_threads(jobs, gate, eventually, started):
    app = jobs(queues={"default": 1})
    begun = threading.Event()

    @app.worker
    def slow() -> None:
        begun.set()
        gate.wait()

    app.start()
    job = slow.enqueue()
    assert begun.wait(30)
    stop = threading.Thread(target=app.stop)
    stop.start()
    eventually(lambda: not app.is_running)
    before = list(started)
    app.scale_queue("default", 3)
    gate.set()
    stop.join(30)
    assert app.get(job).state is JobState.COMPLETED
    assert started == before
    # The next start has as many as it is now.
    with app:
        assert [name for name in started[len(before) :] if "default" in name] == [
            f"zjobs-default-{n}" for n in (1, 2, 3)
        ]


def test_a_slot_that_hangs_while_its_queue_stops_is_not_replaced(gate, eventually, started):
    app = Supervisor(queues=[Queue("default", 1, stuck=StuckPolicy.REPLACE)])
    begun = threading.Event()

    @app.worker(timeout_seconds=0.05, max_attempts=1)
    def hangs() -> None:
        begun.set()
        gate.wait()

    @app.worker(keep_result=True)
    def calm() -> str:
        return "fine"

    job = hangs.enqueue()
    app.start()
    assert begun.wait(30)
    before = list(started)
    try:
        app.stop(0)
        # Its place was given up, during the stop or after it.
        eventually(lambda: app.get(job).state is JobState.DISCARDED)
    finally:
        gate.set()
    eventually(lambda: app.nodes() == [])
    assert started == before
    with app:
        assert app.result(calm.enqueue(), 30) == "fine"


def test_a_with_block_that_raises_stops_gracefully_all_the_same(jobs):
    app = jobs()

    @app.worker(keep_result=True)
    def act() -> str:
        return "done"

    def block():
        with app:
            made.append(act.enqueue())
            raise ZeroDivisionError

    made = []
    with pytest.raises(ZeroDivisionError):
        block()
    assert not app.is_running
    assert app.get(made[0]).state in {JobState.COMPLETED, JobState.AVAILABLE}


RUNS = """
    import signal, sys, threading, time, zjobs
    jobs = zjobs.Supervisor(queues={"default": 4}, shutdown_timeout_seconds=30)
    seconds = float(sys.argv[1])

    @jobs.worker
    def slow(ctx: zjobs.JobContext) -> None:
        print("started", flush=True)
        until = time.monotonic() + seconds
        while time.monotonic() < until and not (sys.argv[2] == "heeds" and ctx.cancelled):
            time.sleep(0.01)
        print("stopped" if ctx.cancelled else "finished", flush=True)

    slow.enqueue()
    jobs.run()
    print("clean", signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, flush=True)
"""

STOPS = RUNS.replace(
    "jobs.run()", "jobs.start()\n    try:\n        threading.Event().wait()\n    finally:\n        jobs.stop()"
)


class Child:
    def __init__(self, text, *arguments):
        command = [sys.executable, "-u", "-c", textwrap.dedent(text), *arguments]
        # Unbuffered: what comes with one line is not for `readline` to keep.
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)

    def expect(self, line):
        assert self.process.stdout.readline().decode() == line + "\n"

    def end(self, seconds):
        out, err = self.process.communicate(timeout=seconds)
        return out.decode().splitlines(), self.process.returncode, err.decode()


@pytest.fixture
def child():
    children = []

    def make(text, *arguments):
        children.append(Child(text, *arguments))
        return children[-1]

    yield make
    for one in children:
        if one.process.poll() is None:
            os.kill(one.process.pid, signal.SIGKILL)
        one.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_lets_jobs_in_flight_finish(number, child):
    running = child(RUNS, "0.5", "heeds")
    running.expect("started")
    running.process.send_signal(number)
    out, code, err = running.end(20)
    assert (out, code) == (["finished", "clean True"], 0), err


@pytest.mark.parametrize("order", [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)])
def test_the_second_signal_asks_the_handlers_to_stop(order, child):
    running = child(RUNS, "60", "heeds")
    running.expect("started")
    for number in order:  # two kinds: two of one kind that arrive together are one
        running.process.send_signal(number)
    out, code, err = running.end(20)
    assert (out, code) == (["stopped", "clean True"], 0), err


def test_the_second_signal_ends_the_process_in_order_whatever_handlers_do(child):
    running = child(RUNS, "60", "ignores")
    running.expect("started")
    running.process.send_signal(signal.SIGINT)
    running.process.send_signal(signal.SIGTERM)
    out, code, err = running.end(20)
    assert code == 0, err
    assert out[-1:] == ["clean True"]


def test_the_third_signal_ends_the_process_where_it_is(child):
    running = child(RUNS, "60", "ignores")
    running.expect("started")
    until = time.monotonic() + 20
    while running.process.poll() is None and time.monotonic() < until:
        running.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(0.1)
    out, code, err = running.end(20)
    assert (out, code) == ([], -signal.SIGTERM), err


def test_ctrl_c_in_a_stop_makes_it_hurry_and_is_raised(child):
    running = child(STOPS, "60", "heeds")
    running.expect("started")
    running.process.send_signal(signal.SIGINT)
    until = time.monotonic() + 20
    while running.process.poll() is None and time.monotonic() < until:
        running.process.send_signal(signal.SIGINT)
        try:
            running.process.wait(0.3)
        except subprocess.TimeoutExpired:
            continue
    out, _, err = running.end(20)
    assert out[:1] == ["stopped"]
    assert "KeyboardInterrupt" in err


def test_run_ends_when_another_thread_stops_it_and_a_signal_comes(child):
    running = child(
        """
        import os, signal, threading, time, zjobs
        jobs = zjobs.Supervisor()

        def stop():
            while not jobs.is_running:
                time.sleep(0.001)
            jobs.stop()
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=stop).start()
        jobs.run()
        print("clean")
        """
    )
    out, code, err = running.end(20)
    assert (out, code) == (["clean"], 0), err
