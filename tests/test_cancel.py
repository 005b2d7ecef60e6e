"""Cancelling: a waiting job never starts, a running one is asked to stop; it ends or is cancelled, never both."""

import asyncio
import random
import time

import pytest

from zjobs import JobContext, JobState


def test_a_waiting_job_that_is_cancelled_never_starts(jobs):
    app = jobs()
    runs = []

    @app.worker
    def act(number: int) -> None:
        runs.append(number)

    kept, gone, later = act.enqueue(1), act.enqueue(2), act.options(schedule_in=3600).enqueue(3)
    assert app.cancel(gone).state is JobState.CANCELLED
    assert app.cancel(later).cancelled_at is not None
    app.drain()
    assert runs == [1]
    assert app.cancel(kept).state is JobState.COMPLETED


def test_a_running_thread_sees_its_flag_and_ends_cancelled(jobs, eventually):
    app = jobs()

    @app.worker
    def heeds(ctx: JobContext) -> None:
        while not ctx.cancelled:
            time.sleep(0.001)

    with app:
        job = heeds.enqueue()
        eventually(lambda: app.get(job).state is JobState.EXECUTING)
        asked = app.cancel(job)
        assert asked.cancel_requested or asked.state is JobState.CANCELLED
        assert app.wait(job, 30).state is JobState.CANCELLED


@pytest.mark.parametrize("ends", ["raises", "returns", "check_cancelled"])
def test_a_running_coroutine_is_interrupted_and_ends_cancelled_however_it_ends(ends, jobs, eventually):
    app = jobs()

    @app.worker(keep_result=True)
    async def sleeps(ctx: JobContext) -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if ends == "raises":
                raise ValueError from None
            if ends == "check_cancelled":
                ctx.check_cancelled()
        return "late"

    with app:
        job = sleeps.enqueue()
        eventually(lambda: app.get(job).state is JobState.EXECUTING)
        app.cancel(job)
        done = app.wait(job, 30)
    assert (done.state, done.result) == (JobState.CANCELLED, None)


def test_many_are_cancelled_by_filter(jobs):
    app = jobs()
    app.enqueue_many([("a", None)] * 5 + [("b", None)] * 3)
    assert app.cancel_many(worker="a") == 5
    assert app.cancel_many(states=(JobState.AVAILABLE,)) == 3
    assert app.count_by_state()[JobState.CANCELLED] == 8


def test_a_cancel_that_races_with_its_job_ends_it_once(jobs):
    app = jobs(queues={"default": 4})
    runs = []

    @app.worker
    def quick(number: int) -> None:
        runs.append(number)

    @app.worker
    async def quick_too(number: int) -> None:
        runs.append(number)

    chance = random.Random(4)  # noqa: S311 - a game
    with app:
        made = []
        for number in range(500):
            made.append(chance.choice((quick, quick_too)).enqueue(number))
            if chance.random() < 0.7:
                app.cancel(chance.choice(made[-4:]))
        ended = [app.wait(job, 30) for job in made]
    assert {job.state for job in ended} <= {JobState.COMPLETED, JobState.CANCELLED}
    assert len(set(runs)) == len(runs)
    completed = {job.args["number"] for job in ended if job.state is JobState.COMPLETED}
    assert completed <= set(runs)


def test_a_cancelled_job_can_be_retried(jobs):
    app = jobs()

    @app.worker(keep_result=True)
    def act() -> str:
        return "after all"

    job = act.enqueue()
    app.cancel(job)
    app.retry(job)
    app.drain()
    assert app.result(job) == "after all"
