"""The async twins: they never block the event loop, and hold no thread."""

import asyncio
import gc
import inspect
import threading
import weakref

import pytest

from zjobs import Invalid, JobContext, JobState, NotFound, Supervisor


def test_every_blocking_call_has_a_twin():
    blocking = {
        "enqueue", "enqueue_many", "start", "stop", "drain", "get", "list", "count", "count_by_state", "cancel",
        "cancel_many", "retry", "retry_many", "delete", "delete_many", "delete_completed", "prune", "rescue_stuck",
        "pause_queue", "resume_queue", "scale_queue", "queue_list", "nodes", "wait", "result",
        "crons", "pause_cron", "resume_cron", "run_cron", "delete_cron",
    }  # fmt: skip
    for name in blocking:
        assert inspect.iscoroutinefunction(getattr(Supervisor, f"{name}_async")), name


async def test_a_thousand_coroutines_enqueue_at_once_and_each_gets_its_own_answer(jobs):
    app = jobs()

    @app.worker
    def act(n: int) -> None: ...

    app.enqueue("act", {"n": -1}, unique_key="taken")

    async def ask(n):
        if n % 100 == 99:
            return await act.enqueue_async("no number")
        if n % 100 == 50:
            return await act.options(unique_key="taken").enqueue_async(n)
        return await app.enqueue_async("act", {"n": n}, schedule_in=n % 2 * 60)

    replies = await asyncio.gather(*(ask(n) for n in range(1000)), return_exceptions=True)
    assert [type(reply) is Invalid for reply in replies] == [n % 100 == 99 for n in range(1000)]
    made = [reply for reply in replies if not isinstance(reply, Invalid)]
    fresh = [job for job in made if not job.conflict]
    assert len(made) - len(fresh) == 10
    assert len({job.id for job in fresh}) == 980
    assert sorted(job.id for job in fresh) == [job.id for job in fresh]
    assert app.count() == 981
    assert app.count(states=[JobState.SCHEDULED]) == 490


async def test_a_whole_life_without_blocking(jobs):
    app = jobs()

    @app.worker(keep_result=True)
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    @app.worker(keep_result=True)
    def treble(number: int) -> int:
        return 3 * number

    async with app:
        first = await double.enqueue_async(2)
        second = await app.enqueue_async("treble", {"number": 2})
        several = await app.enqueue_many_async([double.job(number) for number in range(3)])
        assert await app.result_async(first, 30) == 4
        assert await app.result_async(second, 30) == 6
        assert [await app.result_async(job, 30) for job in several] == [0, 2, 4]
        assert (await app.get_async(first)).state is JobState.COMPLETED
        assert await app.count_async(worker="double") == 4
        assert len(await app.list_async(worker="treble")) == 1
        assert (await app.count_by_state_async())[JobState.COMPLETED] == 5
        assert (await app.retry_async(first)).id == first.id
        assert (await app.wait_async(first, 30)).state is JobState.COMPLETED
        await app.pause_queue_async("default")
        waiting = await double.enqueue_async(1)
        assert (await app.queue_list_async())[0].paused
        assert (await app.cancel_async(waiting)).state is JobState.CANCELLED
        await app.delete_async(waiting)
        await app.scale_queue_async("default", 3)
        await app.resume_queue_async("default")
        assert len(await app.nodes_async()) == 1
        assert await app.retry_many_async(worker="treble") == 1
        assert await app.rescue_stuck_async() == 0
    assert not app.is_running
    assert await app.cancel_many_async(worker="nobody") == 0
    assert await app.delete_many_async(worker="nobody") == 0
    assert await app.prune_async() == 0
    assert await app.delete_completed_async(3600) == 0


async def test_schedules_are_controlled_without_blocking(jobs, monkeypatch):
    app = jobs()

    @app.cron("@yearly")
    def yearly() -> None:
        pass

    # Where the store may wait, no call is made on the loop's own thread.
    on_the_loop = []

    def noting(verb, call):
        def noted(*args, **kwargs):
            if app.store.blocks and threading.current_thread() is threading.main_thread():
                on_the_loop.append(verb)
            return call(*args, **kwargs)

        return noted

    for verb in ("run_cron", "crons", "_set_cron_paused", "delete_cron"):
        monkeypatch.setattr(app, verb, noting(verb, getattr(app, verb)))
    async with app:
        assert (await app.run_cron_async("yearly")).worker == "yearly"
        while not (rows := await app.crons_async()):  # noqa: ASYNC110 - another thread stores it
            await asyncio.sleep(0)
        assert [row.name for row in rows] == ["yearly"]
        await app.pause_cron_async("yearly")
        assert (await app.crons_async())[0].paused
        await app.resume_cron_async("yearly")
        assert not (await app.crons_async())[0].paused
        await app.delete_cron_async("yearly")
        assert await app.crons_async() == []
        with pytest.raises(NotFound):
            await app.run_cron_async("yearly")
    assert on_the_loop == []


async def test_two_hundred_waits_hold_no_thread(jobs, gate):
    app = jobs(queues={"default": 300})

    @app.worker(keep_result=True)
    async def slow(number: int) -> int:
        while not gate.is_set():  # noqa: ASYNC110 - an event of another thread
            await asyncio.sleep(0.005)
        return number

    async with app:
        many = [await slow.enqueue_async(number) for number in range(200)]
        before = threading.active_count()
        waits = [asyncio.create_task(app.result_async(job, 60)) for job in many]
        await asyncio.sleep(0)
        # Where calls of the store may wait, a few threads make them for all.
        assert threading.active_count() < before + 20
        gate.set()
        assert await asyncio.gather(*waits) == list(range(200))


async def test_a_wait_that_is_given_up_leaves_nothing_behind(jobs, gate):
    app = jobs()
    begun = threading.Event()

    @app.worker
    def slow() -> None:
        begun.set()
        gate.wait()

    async with app:
        job = await slow.enqueue_async()
        while not begun.is_set():  # noqa: ASYNC110 - an event of another thread
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(app.wait_async(job), 0.01)
        with pytest.raises(TimeoutError, match=r"job 1 is still executing after 0.01 seconds"):
            await app.wait_async(job, 0.01)
        gate.set()
        assert (await app.wait_async(job, 30)).state is JobState.COMPLETED
    with pytest.raises(NotFound):
        await app.wait_async(99)


def live_events():
    gc.collect()
    return sum(type(one) is asyncio.Event for one in gc.get_objects())


async def test_waits_leave_nothing_behind_where_no_job_ever_ends(jobs):
    # A process that only enqueues and asks: nothing ends there that would clear up.
    app = jobs()
    final, never = app.enqueue("nobody"), app.enqueue("nobody")
    app.cancel(final)
    before = live_events()
    for _ in range(50):
        assert (await app.wait_async(final)).state is JobState.CANCELLED
        with pytest.raises(TimeoutError):
            await app.wait_async(never, 0)
    cut_off = [asyncio.create_task(app.wait_async(never)) for _ in range(50)]
    await asyncio.sleep(0.01)
    assert live_events() >= before + 50
    while cut_off:
        cut_off[-1].cancel()
        await asyncio.wait([cut_off.pop()])
    assert live_events() <= before + 1


def test_waits_on_loop_after_loop_keep_none_of_them(jobs):
    app = jobs()
    final, never = app.enqueue("nobody"), app.enqueue("nobody")
    app.cancel(final)

    async def wait():
        loops.append(weakref.ref(asyncio.get_running_loop()))
        # It outlives its loop, which ends it.
        outlives = asyncio.create_task(app.wait_async(never))
        await app.wait_async(final)
        assert not outlives.done()

    loops = []
    for _ in range(10):
        asyncio.run(wait())
    gc.collect()
    assert sum(loop() is not None for loop in loops) <= 1


async def test_every_one_of_those_who_wait_for_different_jobs_hears_of_its_own(jobs):
    app = jobs(queues={"default": 1})

    @app.worker(keep_result=True)
    async def act(number: int) -> int:
        await asyncio.sleep(0)
        return number

    waits = [asyncio.create_task(app.result_async(act.enqueue(number))) for number in range(100)]
    others = [asyncio.to_thread(asyncio.run, app.result_async(act.enqueue(number))) for number in range(100, 104)]
    await asyncio.sleep(0)
    async with app:
        assert await asyncio.wait_for(asyncio.gather(*waits, *others), 30) == list(range(104))


def test_an_abandoned_wait_does_not_keep_its_loop_from_ending(run_script):
    done = run_script(
        """
        import asyncio, zjobs
        jobs = zjobs.Supervisor()
        never = jobs.enqueue("never")

        async def main():
            try:
                await asyncio.wait_for(jobs.wait_async(never), 0.05)
            except TimeoutError:
                print("given up")

        asyncio.run(main())
    """,
        timeout=20,
    )
    assert (done.stdout, done.returncode) == ("given up\n", 0), done.stderr


async def test_a_coroutine_job_may_wait_for_another_on_the_same_loop(jobs):
    app = jobs(queues={"default": 2})

    @app.worker(keep_result=True)
    async def inner() -> str:
        return "inner"

    @app.worker(keep_result=True)
    async def outer(ctx: JobContext) -> str:
        return "outer of " + await app.result_async(await inner.enqueue_async(), 30)

    async with app:
        assert await app.result_async(await outer.enqueue_async(), 30) == "outer of inner"


async def test_the_loop_goes_on_while_a_stop_waits_for_handlers(jobs, gate):
    app = jobs()
    # A job that was claimed and has not begun would be handed back.
    begun = threading.Event()

    @app.worker
    def slow() -> None:
        begun.set()
        gate.wait()

    await app.start_async()
    job = await slow.enqueue_async()
    while not begun.is_set():  # noqa: ASYNC110 - an event of another thread
        await asyncio.sleep(0)
    stop = asyncio.create_task(app.stop_async())
    for _ in range(100):
        await asyncio.sleep(0)
    assert not stop.done()
    gate.set()
    assert await stop == ()
    assert app.get(job).state is JobState.COMPLETED
