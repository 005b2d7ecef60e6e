"""Hostile handlers, on threads and on the event loop: the failure is recorded and the supervisor goes on."""

import asyncio
import contextlib
import contextvars
import gc
import os
import signal
import threading
from pathlib import Path

import pytest

import zjobs
from zjobs import Constant, JobContext, JobState


class OwnBaseError(BaseException):
    pass


class NoTextError(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class ExitingTextError(Exception):
    def __str__(self):
        raise SystemExit(3)

    __repr__ = __str__


class EndlessTextError(Exception):
    def __str__(self):
        return str(self)

    __repr__ = __str__


class GiantTextError(Exception):
    def __str__(self):
        return "x" * 50_000_000 + "the end"


class NumberTextError(Exception):
    def __str__(self):
        return 5  # noqa: PLE0307 - the point of it


class NamelessMeta(type):
    @property
    def __name__(cls):
        raise RuntimeError("no name")


class NamelessError(Exception, metaclass=NamelessMeta):
    pass


def recurse(depth=0):
    return recurse(depth + 1) + 1


def raising(error):
    def act():
        raise error()

    return act


def returning(value):
    return lambda: value


ZOO = {
    "SystemExit": (raising(SystemExit), "SystemExit", ""),
    "KeyboardInterrupt": (raising(KeyboardInterrupt), "KeyboardInterrupt", ""),
    "GeneratorExit": (raising(GeneratorExit), "GeneratorExit", ""),
    "CancelledError": (raising(asyncio.CancelledError), "CancelledError", ""),
    "OwnBaseError": (raising(OwnBaseError), "OwnBaseError", ""),
    "StopIteration": (raising(StopIteration), None, ""),
    "StopAsyncIteration": (raising(StopAsyncIteration), None, ""),
    "no text": (raising(NoTextError), "NoTextError", "(the text of NoTextError could not be read)"),
    "exiting text": (raising(ExitingTextError), "ExitingTextError", "could not be read)"),
    "endless text": (raising(EndlessTextError), "EndlessTextError", "could not be read)"),
    "giant text": (raising(GiantTextError), "GiantTextError", "the end"),
    "text that is none": (raising(NumberTextError), "NumberTextError", "could not be read)"),
    "no name": (raising(NamelessError), "NamelessError", ""),
    "NUL": (raising(lambda: ValueError("a\0b")), "ValueError", "a\ufffdb"),
    "lone surrogate": (raising(lambda: ValueError("a\ud800b")), "ValueError", "a?b"),
    "RecursionError": (recurse, "RecursionError", "maximum recursion depth"),
    "MemoryError": (raising(MemoryError), "MemoryError", ""),
    "what is no exception": (raising(lambda: 5), "TypeError", "exceptions must derive"),
    "exception group": (raising(lambda: BaseExceptionGroup("two", [SystemExit(), ValueError()])), None, "two"),
    "unserialisable result": (returning(object()), "Invalid", "result must be something that JSON can carry"),
    "NaN as result": (returning(float("nan")), "Invalid", "must be a finite number"),
    "giant result": (returning("x" * 2_000_000), "Invalid", "result must be at most 1048576 bytes of JSON"),
    "surrogate as result": (returning("\ud800"), "Invalid", "lone surrogates"),
    "coroutine as result": (lambda: asyncio.sleep(0), "Invalid", "result"),
    "bad snooze": (lambda: zjobs.Snooze(-1), "Invalid", "snooze must be from 0"),
}


@pytest.fixture(params=["thread", "loop"])
def lane(request):
    return request.param


@pytest.fixture
def worker(lane):
    """Registers a plain function as the handler, on a thread or as a coroutine."""

    def register(supervisor, act, name="hostile", **options):
        if lane == "thread":

            def handler(args, ctx):
                return act()
        else:

            async def handler(args, ctx):
                await asyncio.sleep(0)
                return act()

        options.setdefault("retry_strategy", Constant(1000))
        supervisor.register_worker(zjobs.WorkerDef(name, handler, keep_result=True, **options))

    return register


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("case", ZOO)
def test_whatever_a_handler_raises_or_returns_is_its_jobs_failure(case, jobs, worker, failed):
    act, kind, text = ZOO[case]
    app = jobs(queues={"default": 1})
    worker(app, act)
    worker(app, lambda: "fine", name="calm")
    with app:
        hostile, calm = app.enqueue("hostile"), app.enqueue("calm")
        error = failed(app, hostile)
        assert app.result(calm, timeout=30) == "fine"
    assert error.kind == kind or kind is None
    assert text in error.message
    assert len(error.message) <= 4096
    assert len(error.traceback.encode()) <= 16384
    assert app.get(hostile).state is JobState.RETRYABLE
    gc.collect()


@pytest.mark.parametrize("case", ["SystemExit", "KeyboardInterrupt", "CancelledError", "endless text", "no name"])
def test_a_hundred_hostile_jobs_take_no_slot_with_them(case, jobs, worker, eventually):
    app = jobs(queues={"default": 3})
    worker(app, ZOO[case][0], retry_strategy=lambda _attempt, _error: None)
    worker(app, lambda: None, name="calm")
    hundred = app.enqueue_many([("hostile", None)] * 100)
    with app:
        eventually(lambda: app.count(states=(JobState.DISCARDED,)) == len(hundred))
        calm = app.enqueue_many([("calm", None)] * 10)
        assert all(app.wait(job, 30).state is JobState.COMPLETED for job in calm)


@pytest.mark.parametrize("verdict", ["Cancel", "Discard"])
def test_a_verdict_with_an_unstorable_reason_is_still_that_verdict(verdict, jobs, worker):
    app = jobs()
    worker(app, lambda: getattr(zjobs, verdict)("a\ud800\0b"))
    with app:
        done = app.wait(app.enqueue("hostile"), 30)
    assert done.state is {"Cancel": JobState.CANCELLED, "Discard": JobState.DISCARDED}[verdict]


def test_a_traceback_begins_with_the_handlers_own_frame(jobs, worker, failed):
    app = jobs()
    worker(app, raising(ValueError))
    with app:
        frames = failed(app, app.enqueue("hostile")).traceback
    assert "zjobs/_runner.py" not in frames
    assert "in act" in frames


def test_memory_that_runs_out_fails_the_job_and_nothing_else(run_script):
    done = run_script("""
        import resource, zjobs
        jobs = zjobs.Supervisor()

        @jobs.worker(retry_strategy=lambda attempt, error: None)
        def greedy():
            block = []
            while True:
                block.append(bytearray(8_000_000))

        @jobs.worker(retry_strategy=lambda attempt, error: None)
        async def greedy_too():
            greedy()

        @jobs.worker(keep_result=True)
        def modest():
            return "fine"

        with jobs:
            jobs.wait(modest.enqueue(), 30)
            used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000,) * 2)
            for worker in (greedy, greedy_too) * 3:
                job = jobs.wait(worker.enqueue(), 30)
                print(job.state, job.errors[0].kind)
            print(jobs.result(modest.enqueue(), 30))
    """)
    assert done.stdout.splitlines() == ["discarded MemoryError"] * 6 + ["fine"], done.stderr
    assert done.returncode == 0


def test_a_handler_may_enqueue_and_control_its_own_supervisor(jobs, worker):
    app = jobs(queues={"default": 2})
    seen = []

    def act():
        inner = app.enqueue("calm")
        app.pause_queue("default")
        app.resume_queue("default")
        app.scale_queue("default", 3)
        seen.append(app.get(inner).id)
        app.telemetry.detach(app.telemetry.attach(seen.append))
        return app.count(worker="calm")

    worker(app, act)
    worker(app, lambda: None, name="calm")
    with app:
        assert app.result(app.enqueue("hostile"), 30) == 1
        assert app.wait(seen[0], 30).state is JobState.COMPLETED


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        ("start", "AlreadyStarted", "the supervisor is started already; call stop() first"),
        ("stop", "Invalid", "stop() waits for the handlers to end, so it must not be called from one"),
        ("drain", "AlreadyStarted", "drain() runs jobs in this thread, but the supervisor runs them on its own"),
        ("run", "NotStarted", "run() installs signal handlers and so needs the main thread"),
    ],
)
def test_a_handler_that_starts_or_stops_its_own_supervisor_is_told_why_not(call, kind, text, *, jobs, worker, failed):
    app = jobs()
    worker(app, getattr(app, call))
    with app:
        error = failed(app, app.enqueue("hostile"))
        assert (error.kind, error.message[: len(text)]) == (kind, text)
        assert app.is_running


def test_a_coroutine_that_awaits_the_end_of_its_own_supervisor_is_told_why_not(jobs, failed):
    app = jobs()

    @app.worker
    async def stopping():
        await app.stop_async()

    with app:
        assert failed(app, stopping.enqueue()).kind == "Invalid"


def test_a_drained_handler_that_stops_the_drain_is_told_why_not(jobs):
    app = jobs()

    @app.worker(retry_strategy=lambda _attempt, _error: None)
    def stopping():
        app.stop()

    job = stopping.enqueue()
    assert app.drain() == {JobState.DISCARDED: 1}
    assert app.get(job).errors[0].kind == "Invalid"


def test_a_task_left_behind_by_a_coroutine_cannot_end_the_loop(jobs, eventually, caplog):
    app = jobs(queues={"default": 2})
    background = set()

    async def ends_everything():
        raise SystemExit(4)

    @app.worker
    async def careless():
        background.add(asyncio.create_task(ends_everything()))

    @app.worker
    async def stops_the_loop():
        asyncio.get_running_loop().stop()

    @app.worker(keep_result=True)
    async def calm():
        await asyncio.sleep(0)
        return "fine"

    with app:
        for worker in (careless, stops_the_loop, careless):
            assert app.wait(worker.enqueue(), 30).state is JobState.COMPLETED
            assert app.result(calm.enqueue(), 30) == "fine"
        eventually(lambda: all(task.done() for task in background))
        assert app.result(calm.enqueue(), 30) == "fine"
    assert "the loop goes on" in caplog.text
    with contextlib.suppress(SystemExit):
        [task.exception() for task in background]


def test_closed_files_break_the_loop_but_not_the_supervisor(run_script):
    done = run_script("""
        import asyncio, logging, os, threading, zjobs
        logging.disable()
        jobs = zjobs.Supervisor(queues={"default": 3})
        waiting = threading.Event()
        last = lambda attempt, error: None

        @jobs.worker(retry_strategy=last)
        async def patient():
            waiting.set()
            await asyncio.sleep(60)

        @jobs.worker(retry_strategy=last)
        async def destroyer():
            os.closerange(3, 256)

        @jobs.worker(keep_result=True)
        async def calm():
            await asyncio.sleep(0)
            return "fine"

        with jobs:
            first = patient.enqueue()
            waiting.wait(30)
            destroyer.enqueue()
            print(jobs.result(calm.enqueue(), 30))
            print(jobs.get(first).errors[0].kind)
    """)
    assert done.stdout.splitlines() == ["fine", "LoopBroken"], done.stderr
    assert done.returncode == 0


def test_a_handler_that_changes_the_process_changes_nothing_for_others(jobs, worker, tmp_path, failed):
    app = jobs()
    before, collects = Path.cwd(), gc.isenabled()

    def act():
        os.chdir(tmp_path)
        gc.disable()
        threading.settrace(lambda *_: None)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    worker(app, act)
    worker(app, lambda: "fine", name="calm")
    try:
        with app:
            assert "main thread" in failed(app, app.enqueue("hostile")).message
            assert app.result(app.enqueue("calm"), 30) == "fine"
    finally:
        os.chdir(before)
        threading.settrace(None)  # type: ignore[arg-type]
        if collects:
            gc.enable()


def test_context_variables_do_not_leak_from_one_coroutine_job_to_the_next(jobs):
    app = jobs(queues={"default": 1})
    user = contextvars.ContextVar("user", default="nobody")

    @app.worker(keep_result=True)
    async def who(name: str) -> str:
        found = user.get()
        user.set(name)
        await asyncio.sleep(0)
        return f"{found}, {user.get()}"

    with app:
        many = [who.enqueue(name=str(number)) for number in range(40)]
        assert [app.result(job, 30) for job in many] == [f"nobody, {number}" for number in range(40)]


def test_a_thread_local_belongs_to_one_of_the_queues_threads(jobs):
    app = jobs(queues={"default": 3})
    local = threading.local()

    @app.worker(keep_result=True)
    def count() -> int:
        local.runs = getattr(local, "runs", 0) + 1
        return local.runs

    with app:
        runs = [app.result(job, 30) for job in app.enqueue_many([count.job()] * 60)]
    assert runs.count(1) <= 3
    assert max(runs) >= 20


def test_a_custom_strategy_that_fails_costs_no_attempt(jobs, worker, failed, eventually):
    app = jobs()

    def confused(attempt, error):
        raise SystemExit

    worker(app, raising(ValueError), retry_strategy=confused)
    with app:
        job = app.enqueue("hostile")
        assert failed(app, job).kind == "ValueError"
        assert app.get(job).state is JobState.RETRYABLE


def test_a_context_kept_after_its_job_harms_nobody(jobs):
    app = jobs()
    kept: list[JobContext] = []

    @app.worker
    def keeps(ctx: JobContext) -> None:
        kept.append(ctx)

    with app:
        job = app.wait(keeps.enqueue(), 30)
        kept[0].progress(1, 2)
        assert app.get(job).progress is None
    assert kept[0].job.id == job.id
    assert not kept[0].cancelled
