"""`drain`: everything that is due, in this thread."""

import asyncio
import contextvars
import threading
import time

import pytest

from zjobs import (
    AlreadyStarted,
    Constant,
    Invalid,
    JobContext,
    JobState,
    MemoryStore,
    Snooze,
    SqliteStore,
    Supervisor,
    _engine,
)

LONG = 20
ONE = contextvars.ContextVar("one", default=None)
OTHER = contextvars.ContextVar("other", default=None)


def test_both_kinds_run_in_the_calling_thread_and_are_counted(jobs):
    app = jobs(queues={"default": 1, "mail": 1})
    threads = []

    @app.worker
    def plain() -> None:
        threads.append(threading.current_thread())

    @app.worker(queue="mail")
    async def coroutine() -> None:
        await asyncio.sleep(0)
        threads.append(threading.current_thread())

    app.enqueue_many([plain.job(), coroutine.job()] * 20)
    before = threading.active_count()
    assert app.drain() == {JobState.COMPLETED: 40}
    assert threads == [threading.current_thread()] * 40
    assert threading.active_count() == before
    assert app.drain() == {}


def test_every_attempt_is_counted_by_where_it_led(jobs):
    app = jobs()
    runs = []

    @app.worker(max_attempts=3, retry_strategy=Constant(0))
    def fails() -> None:
        raise ValueError

    @app.worker
    def snoozes() -> Snooze | None:
        runs.append(1)
        return Snooze(0) if len(runs) < 3 else None

    fails.enqueue()
    snoozes.enqueue()
    fails.options(schedule_in=3600).enqueue()
    assert app.drain() == {
        JobState.RETRYABLE: 2,
        JobState.DISCARDED: 1,
        JobState.SCHEDULED: 2,
        JobState.COMPLETED: 1,
    }
    assert app.count_by_state()[JobState.SCHEDULED] == 1


def test_jobs_that_jobs_enqueue_run_too(jobs):
    app = jobs(queues={"default": 2})

    @app.worker
    def chain(left: int) -> None:
        if left:
            chain_too.enqueue(left - 1)

    @app.worker
    async def chain_too(left: int) -> None:
        if left:
            await chain.enqueue_async(left - 1)

    chain.enqueue(50)
    assert app.drain() == {JobState.COMPLETED: 51}


def test_one_queue_alone_leaves_the_others_as_they_were(jobs):
    app = jobs(queues={"default": 2, "mail": 2})

    @app.worker
    def act() -> None:
        pass

    act.enqueue()
    other = act.options(queue="mail").enqueue()
    assert app.drain("default") == {JobState.COMPLETED: 1}
    assert (app.get(other).state, app.get(other).attempt) == (JobState.AVAILABLE, 0)


def test_a_paused_queue_is_not_drained(jobs):
    app = jobs()

    @app.worker
    def act() -> None:
        pass

    act.enqueue()
    app.pause_queue("default")
    assert app.drain() == {}
    app.resume_queue("default")
    assert app.drain() == {JobState.COMPLETED: 1}


def test_ctrl_c_ends_it_after_the_job_in_hand_and_the_rest_waits(jobs):
    app = jobs()
    runs = []

    @app.worker
    def act(ctx: JobContext) -> None:
        runs.append(ctx.job.id)
        if len(runs) == 2:
            raise KeyboardInterrupt

    app.enqueue_many([act.job()] * 4)
    with pytest.raises(KeyboardInterrupt):
        app.drain()
    assert len(runs) == 2
    states = app.count_by_state()
    assert (states[JobState.COMPLETED], states[JobState.RETRYABLE], states[JobState.AVAILABLE]) == (1, 1, 2)
    assert not app.is_running
    assert app.drain() == {JobState.COMPLETED: 2}


def test_system_exit_of_a_job_does_not_end_the_drain(jobs):
    app = jobs()

    @app.worker(max_attempts=1)
    def plain() -> None:
        raise SystemExit

    @app.worker(max_attempts=1)
    async def coroutine() -> None:
        raise SystemExit

    first, second = plain.enqueue(), coroutine.enqueue()
    assert app.drain() == {JobState.DISCARDED: 2}
    assert [app.get(job).errors[0].kind for job in (first, second)] == ["SystemExit"] * 2


def test_a_running_supervisor_is_not_drained(jobs):
    app = jobs()
    with app, pytest.raises(AlreadyStarted, match=r"use wait\(job\)"):
        app.drain()


def test_a_drained_coroutine_is_cancelled_at_its_deadline(jobs):
    app = jobs()
    seen = []

    @app.worker(timeout_seconds=0.05, max_attempts=1)
    async def sleeps() -> None:
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    @app.worker(keep_result=True)
    async def calm() -> str:
        await asyncio.sleep(0.001)
        return "fine"

    several = app.enqueue_many([calm.job(), sleeps.job(), calm.job()])
    began = time.monotonic()
    assert app.drain() == {JobState.COMPLETED: 2, JobState.DISCARDED: 1}
    assert time.monotonic() - began < LONG / 2
    assert seen == ["cancelled"]
    assert [error.kind for error in app.get(several[1]).errors] == ["TimeoutError"]
    assert [app.get(job).result for job in several] == ["fine", None, "fine"]


def test_ctrl_c_ends_a_drain_whose_coroutine_goes_on_after_its_deadline(run_script):
    done = run_script("""
        import asyncio, os, signal, zjobs
        jobs = zjobs.Supervisor()

        @jobs.worker(timeout_seconds=0.05)
        async def clings() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.sleep(60)

        clings.enqueue()
        try:
            jobs.drain()
        except KeyboardInterrupt:
            print("interrupted", jobs.is_running)
    """)
    assert (done.stdout, done.returncode) == ("interrupted False\n", 0), done.stderr


def test_drained_coroutines_see_neither_the_callers_variables_nor_each_others(jobs):
    app = jobs()
    seen = []

    @app.worker
    async def sets(value: str) -> None:
        seen.append((ONE.get(), OTHER.get()))
        OTHER.set(value)

    token = ONE.set("of the caller")
    app.enqueue_many([sets.job(value) for value in "abc"])
    assert app.drain() == {JobState.COMPLETED: 3}
    assert seen == [(None, None)] * 3
    assert (ONE.get(), OTHER.get()) == ("of the caller", None)
    ONE.reset(token)


@pytest.mark.parametrize("lane", ["thread", "loop"])
async def test_on_a_running_loop_it_says_so_before_any_job_is_touched(lane, jobs):
    app = jobs()

    def plain() -> None: ...

    async def coroutine() -> None: ...

    job = app.worker(plain if lane == "thread" else coroutine).enqueue()
    with pytest.raises(Invalid, match=r"await drain_async\(\)"):
        app.drain()
    assert app.get(job) == job
    assert await app.drain_async() == {JobState.COMPLETED: 1}


async def test_it_does_not_block_the_loop_that_awaits_it(jobs):
    app = jobs()
    release = threading.Event()

    @app.worker
    def waits() -> None:
        assert release.wait(30)

    waits.enqueue()
    drain = asyncio.create_task(app.drain_async())
    await asyncio.sleep(0)
    release.set()
    assert await drain == {JobState.COMPLETED: 1}


def test_a_drain_finds_what_is_due_in_a_store_that_may_wait(tmp_path):
    app = Supervisor(SqliteStore(tmp_path / "jobs.db"), queues={"default": 2, "mail": 1})

    @app.worker
    def work() -> None:
        pass

    @app.worker(queue="mail")
    async def send() -> None:
        pass

    for _ in range(10):
        app.enqueue_many([work.job()] * 5 + [send.job()] * 5)
        assert app.drain() == {JobState.COMPLETED: 10}


def test_a_retry_that_is_due_at_once_runs_in_the_same_drain(jobs):
    app = jobs()

    @app.worker(max_attempts=3, retry_strategy=Constant(0))
    def third_time(ctx: JobContext) -> None:
        if ctx.attempt < 3:
            raise ValueError("not yet")

    for _ in range(20):
        job = third_time.enqueue()
        assert app.drain() == {JobState.RETRYABLE: 2, JobState.COMPLETED: 1}
        assert app.get(job).state is JobState.COMPLETED


@pytest.fixture
def slow_dispatch():
    """Between a claim and the pool, every job is on its way for a while."""
    _engine._arm("claimer.dispatch=sleep(10)")
    yield
    _engine._arm("claimer.dispatch=off")


def test_a_retry_that_the_engine_has_claimed_and_not_handed_over_yet_runs_in_the_same_drain(slow_dispatch, eventually):
    app = Supervisor(MemoryStore())

    @app.worker(max_attempts=2, retry_strategy=Constant(0))
    def second_time(ctx: JobContext) -> None:
        if ctx.attempt < 2:
            raise ValueError("not yet")

    # The drain goes on when the engine's own thread has claimed the retry, which it has not in hand yet.
    is_claimed = lambda: app.count(states=[JobState.EXECUTING])  # noqa: E731
    app.telemetry.attach(lambda _: eventually(is_claimed), "job_failed")
    job = second_time.enqueue()
    assert app.drain() == {JobState.RETRYABLE: 1, JobState.COMPLETED: 1}
    assert app.get(job).state is JobState.COMPLETED
    assert app.telemetry.errors == 0


@pytest.mark.parametrize("event", ["job_started", "job_completed"])
def test_ctrl_c_in_a_listener_ends_a_drain_and_no_job_is_lost_or_left(event):
    app = Supervisor(MemoryStore())
    runs = []

    @app.worker
    def act(ctx: JobContext) -> None:
        runs.append(ctx.job.id)

    def interrupt(_):
        app.telemetry.detach(handle)
        raise KeyboardInterrupt

    many = app.enqueue_many([act.job()] * 3)
    handle = app.telemetry.attach(interrupt, event)
    with pytest.raises(KeyboardInterrupt):
        app.drain()
    assert not app.is_running
    assert app.count(states=[JobState.EXECUTING]) == 0
    done = len(runs)
    assert app.drain() == {JobState.COMPLETED: 3 - done}
    assert sorted(runs) == [job.id for job in many]
