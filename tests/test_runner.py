"""Handlers and the supervisor that runs them: what they may call, and what each job has to itself."""

import asyncio
import contextvars
import threading
from dataclasses import dataclass

import pytest

import zjobs
from zjobs import Constant, JobContext, JobState
from zjobs._runner import LoopCrew


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


@dataclass
class Place:
    """A slot, as far as the loop looks at it."""

    attempt: tuple[int, int] | None


def test_a_coroutine_is_interrupted_by_its_attempt_and_not_by_its_job():
    async def story():
        loop_crew = LoopCrew(lambda: ([(7, 1)], []), Place)
        tasks = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(3)]
        for task, attempt in zip(tasks, [(7, 1), (7, 2), None], strict=True):
            loop_crew._slots[task] = (0, Place(attempt))
        await asyncio.sleep(0)
        loop_crew._answer()
        await asyncio.sleep(0)
        cancelled = [task.cancelled() for task in tasks]
        for task in tasks:
            task.cancel()
        return cancelled

    assert asyncio.run(story()) == [True, False, False]
