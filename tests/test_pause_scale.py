"""Pausing, resuming and scaling queues while they work."""

import asyncio
import threading

import pytest

from zjobs import JobState, Queue


@pytest.fixture(params=["thread", "loop"])
def counting(request):
    """Registers a worker that counts how many of it run at once, and waits until it may end."""

    def register(app, gate):
        lock = threading.Lock()
        running, most = set(), [0]

        def enter(number):
            with lock:
                running.add(number)
                most[0] = max(most[0], len(running))

        if request.param == "thread":

            @app.worker
            def act(number: int) -> None:
                enter(number)
                gate.wait()
                with lock:
                    running.discard(number)
        else:

            @app.worker
            async def act(number: int) -> None:
                enter(number)
                while not gate.is_set():  # noqa: ASYNC110 - an event of another thread
                    await asyncio.sleep(0.002)
                with lock:
                    running.discard(number)

        return act, running, most

    return register


def test_a_paused_queue_starts_nothing_and_goes_on_when_it_is_resumed(jobs, gate, counting, eventually):
    app = jobs(queues={"default": 2})
    act, running, _ = counting(app, gate)
    with app:
        app.enqueue_many([act.job(number) for number in range(10)])
        eventually(lambda: len(running) == 2)
        app.pause_queue("default")
        assert app.queue_list()[0].paused
        gate.set()
        eventually(lambda: not running)
        eventually(lambda: app.count_by_state()[JobState.COMPLETED] == 2)
        assert app.count_by_state()[JobState.AVAILABLE] == 8
        late = act.enqueue(99)
        assert app.get(late).state is JobState.AVAILABLE
        app.resume_queue("default")
        assert app.wait(late, 30).state is JobState.COMPLETED
        eventually(lambda: app.count_by_state()[JobState.COMPLETED] == 11)


def test_a_pause_before_the_start_holds(jobs, gate, counting):
    app = jobs()
    gate.set()
    act, _, most = counting(app, gate)
    app.pause_queue("default")
    job = act.enqueue(1)
    with app:
        with pytest.raises(TimeoutError):
            app.wait(job, 0.05)
        assert most == [0]
        app.resume_queue("default")
        assert app.wait(job, 30).state is JobState.COMPLETED


def test_a_queue_grows_while_it_works(jobs, gate, counting, eventually):
    app = jobs(queues={"default": 1})
    act, running, most = counting(app, gate)
    with app:
        app.enqueue_many([act.job(number) for number in range(30)])
        eventually(lambda: len(running) == 1)
        app.scale_queue("default", 7)
        eventually(lambda: len(running) == 7)
        assert app.queue_list()[0].concurrency == 7
        gate.set()
        eventually(lambda: app.count_by_state()[JobState.COMPLETED] == 30)
    assert most == [7]


def test_a_queue_shrinks_as_its_jobs_end_and_goes_back_to_its_own_setting(jobs, counting, eventually):
    # Nothing is claimed ahead: what waits can be counted.
    app = jobs(queues=[Queue("default", 6, prefetch=0)])
    gate = threading.Event()
    act, running, most = counting(app, gate)
    try:
        with app:
            app.enqueue_many([act.job(number) for number in range(6)])
            eventually(lambda: len(running) == 6)
            app.scale_queue("default", 2)
            gate.set()
            eventually(lambda: app.count_by_state()[JobState.COMPLETED] == 6)
            gate.clear()
            most[0] = 0
            app.enqueue_many([act.job(number) for number in range(10)])
            eventually(lambda: len(running) == 2)
            assert app.count_by_state()[JobState.AVAILABLE] == 8
            app.scale_queue("default", None)
            eventually(lambda: len(running) == 6)
            assert most == [6]
            gate.set()
            eventually(lambda: app.count_by_state()[JobState.COMPLETED] == 16)
    finally:
        gate.set()


def test_a_scale_survives_a_restart(jobs, gate, counting, eventually):
    app = jobs(queues={"default": 1})
    act, running, _ = counting(app, gate)
    app.scale_queue("default", 3)
    app.enqueue_many([act.job(number) for number in range(5)])
    with app:
        eventually(lambda: len(running) == 3)
        gate.set()


def test_pauses_that_race_with_jobs_lose_none(jobs, eventually):
    app = jobs(queues={"default": 4})
    runs = []

    @app.worker
    def act(number: int) -> None:
        runs.append(number)

    @app.worker
    async def act_too(number: int) -> None:
        runs.append(number)

    with app:
        for number in range(300):
            (act if number % 2 else act_too).enqueue(number)
            if number % 3 == 0:
                app.pause_queue("default")
                app.scale_queue("default", 1 + number % 5)
                app.resume_queue("default")
        eventually(lambda: app.count_by_state()[JobState.COMPLETED] == 300)
    assert sorted(runs) == list(range(300))
