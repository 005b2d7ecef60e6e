"""What the engine tells, and that a listener harms no job whatever it does."""

import asyncio
import contextlib
import signal
import threading

import pytest

import zjobs
from zjobs import Constant, JobContext, JobState, telemetry
from zjobs._engine import ManualClock


@pytest.fixture
def heard():
    return []


def names(heard):
    return [type(event).__name__ for event in heard]


def test_the_life_of_a_job_is_told_in_order(jobs, heard):
    app = jobs()

    @app.worker(retry_strategy=Constant(0), max_attempts=2)
    def second_time(ctx: JobContext) -> None:
        if ctx.attempt == 1:
            raise ValueError("first")

    app.telemetry.attach(heard.append)
    job = second_time.enqueue()
    app.drain()
    assert names(heard) == ["JobEnqueued", "JobStarted", "JobFailed", "JobStarted", "JobCompleted"]
    assert heard[0].job.id == heard[1].job.id == job.id
    failed = heard[2].result
    assert (failed.job.state, failed.error_msg) == (JobState.RETRYABLE, "first")
    done = heard[4].result
    assert (done.job.state, done.error_msg) == (JobState.COMPLETED, None)
    assert 0 <= done.duration_ms < 10_000
    assert 0 <= done.queue_ms < 10_000


def test_a_job_whose_worker_is_unknown_here_has_taken_no_time(jobs, heard):
    app = jobs()
    app.telemetry.attach(heard.append, events=[telemetry.JobSnoozed])
    app.enqueue("elsewhere")
    app.drain()
    assert [event.result.duration_ms for event in heard] == [0]


def test_every_way_to_end_has_its_event(jobs, heard):
    app = jobs()

    @app.worker(max_attempts=1)
    def ends(how: str) -> object:
        match how:
            case "discard":
                return zjobs.Discard("why")
            case "last":
                raise ValueError
            case "cancel":
                return zjobs.Cancel("why")
            case "snooze":
                return zjobs.Snooze(1000)
            case _:
                return None

    app.telemetry.attach(
        heard.append,
        [telemetry.JobCompleted, "job_discarded", telemetry.JobCancelled, telemetry.JobSnoozed, "job_failed"],
    )
    for how in ("complete", "discard", "last", "cancel", "snooze"):
        ends.enqueue(how)
        app.drain()
    assert names(heard) == ["JobCompleted", "JobDiscarded", "JobDiscarded", "JobCancelled", "JobSnoozed"]


def test_pauses_releases_and_conflicts_are_told(jobs, heard, gate):
    app = jobs(queues={"default": 1})
    begun = threading.Event()

    @app.worker
    async def sleeps() -> None:
        begun.set()
        await asyncio.sleep(60)

    app.telemetry.attach(heard.append, ["queue_paused", "queue_resumed", "job_released", "job_enqueued"])
    sleeps.options(unique_key="k").enqueue()
    sleeps.options(unique_key="k").enqueue()
    app.pause_queue("mail")
    app.resume_queue("mail")
    with app:
        assert begun.wait(30)
        app.stop(0)
    assert names(heard) == ["JobEnqueued", "QueuePaused", "QueueResumed", "JobReleased"]
    assert heard[1].queue == "mail"


def test_rescues_and_lost_leases_are_told(jobs, heard):
    clock = ManualClock()
    store = zjobs.MemoryStore(clock=clock)
    sleeper, other = jobs(store=store), jobs(store=store)
    begun, finish = threading.Event(), threading.Event()

    @sleeper.worker
    def act() -> None:
        begun.set()
        finish.wait(30)

    sleeper.telemetry.attach(heard.append, telemetry.LeaseLost)
    other.telemetry.attach(heard.append, telemetry.JobRescued)
    with sleeper:
        job = act.enqueue()
        assert begun.wait(30)
        sleeper.pause_queue("default")
        clock.advance(3600)
        assert other.rescue_stuck() == 1
        assert other.get(job).state is JobState.AVAILABLE
        finish.set()
        sleeper.stop()
    assert names(heard) == ["JobRescued", "LeaseLost"]
    assert (heard[0].job.id, heard[0].reason) == (job.id, "node_died")
    assert heard[1].job.id == job.id
    assert other.get(job).state is JobState.AVAILABLE


@pytest.mark.parametrize(("is_cancelled", "end"), [(False, "JobDiscarded"), (True, "JobCancelled")])
def test_an_end_that_a_dead_node_leaves_behind_is_told_by_who_finds_it(is_cancelled, end, jobs, heard):
    clock = ManualClock()
    store = zjobs.MemoryStore(clock=clock)
    sleeper, other = jobs(store=store), jobs(store=store)
    begun, finish = threading.Event(), threading.Event()

    @sleeper.worker(max_attempts=1)
    def act() -> None:
        begun.set()
        finish.wait(30)

    other.telemetry.attach(heard.append)
    with sleeper:
        job = act.enqueue()
        assert begun.wait(30)
        if is_cancelled:
            sleeper.cancel(job)
        clock.advance(3600)
        assert other.rescue_stuck() == 1
        finish.set()
        sleeper.stop()
    assert names(heard) == ["JobRescued", end]
    result = heard[1].result
    assert (result.job.id, result.job.state) == (job.id, other.get(job).state)
    assert "its node died while it ran" in result.error_msg
    assert (result.duration_ms, result.queue_ms) == (0, 0)


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("lane", ["thread", "loop"])
def test_a_listener_that_raises_harms_no_job_and_is_counted(error, lane, jobs):
    app = jobs()

    def plain(number: int) -> int:
        return number

    async def coroutine(number: int) -> int:
        return number

    worker = app.worker(name="act", keep_result=True)(plain if lane == "thread" else coroutine)

    def listener(event):
        raise error

    app.telemetry.attach(listener, ["job_started", "job_completed"])
    with app:
        many = [worker.enqueue(number) for number in range(20)]
        assert [app.result(job, 30) for job in many] == list(range(20))
    assert app.telemetry.errors == 40


def test_ctrl_c_in_a_listener_reaches_the_program_when_the_call_is_done(jobs):
    app = jobs()

    def listener(event):
        app.telemetry.detach(handle)
        signal.raise_signal(signal.SIGINT)

    handle = app.telemetry.attach(listener, "job_enqueued")

    def program():
        app.enqueue("known")
        threading.Event().wait(30)

    with pytest.raises(KeyboardInterrupt):
        program()
    assert app.count(worker="known") == 1


def test_ctrl_c_in_a_listener_of_a_stop_reaches_the_program_when_it_has_stopped(jobs):
    app = jobs(queues={"default": 1})
    begun = threading.Event()

    @app.worker
    async def sleeps() -> None:
        begun.set()
        await asyncio.sleep(60)

    def listener(event):
        if threading.current_thread() is threading.main_thread():
            app.telemetry.detach(handle)
            signal.raise_signal(signal.SIGINT)

    handle = app.telemetry.attach(listener, "job_released")
    many = app.enqueue_many([sleeps.job()] * 3)
    app.start()
    begun.wait(30)
    with contextlib.suppress(KeyboardInterrupt):
        app.stop(0)
    assert not app.is_running
    assert [(job.state, job.attempt) for job in map(app.get, many)] == [(JobState.AVAILABLE, 0)] * 3


def test_a_listener_that_blocks_delays_its_own_job_only(jobs, gate):
    app = jobs(queues={"default": 3})

    @app.worker(keep_result=True)
    def act(number: int) -> int:
        return number

    def listener(event):
        if event.job.args["number"] == 0:
            gate.wait()

    app.telemetry.attach(listener, telemetry.JobStarted)
    with app:
        blocked = act.enqueue(0)
        others = [act.enqueue(number) for number in range(1, 50)]
        assert [app.result(job, 30) for job in others] == list(range(1, 50))
        assert app.get(blocked).state is JobState.EXECUTING
        gate.set()
        assert app.result(blocked, 30) == 0


def test_a_listener_that_blocks_holds_up_no_other_job_s_end(jobs, gate, eventually):
    # In memory the slot that ran a job tells of its end, and waits.
    app = jobs(queues={"default": 10})
    told = []

    @app.worker
    def act() -> None:
        pass

    def listener(event):
        gate.wait()
        told.append(event.result.job.id)

    app.telemetry.attach(listener, "job_completed")
    with app:
        many = [act.enqueue() for _ in range(5)] + [act.options(schedule_in=0.2).enqueue() for _ in range(4)]
        eventually(lambda: all(app.get(job).state is JobState.COMPLETED for job in many))
        assert told == []
        gate.set()
    assert sorted(told) == [job.id for job in many]


def with_a_listener_that_waits(app, gate):
    """A worker, and the jobs of whose ends a listener has been told, which waits for the gate each time."""
    told = []

    @app.worker
    def act() -> None:
        pass

    def listener(event):
        told.append(event.result.job.id)
        gate.wait()

    app.telemetry.attach(listener, "job_completed")
    return act, told


def test_what_ten_thousand_waiting_events_leave_no_room_for_is_counted(tmp_path, gate, eventually):
    app = zjobs.Supervisor(f"sqlite:///{tmp_path}/jobs.db")
    act, told = with_a_listener_that_waits(app, gate)
    with app:
        act.enqueue()
        eventually(lambda: told)
        app.enqueue_many([act.job()] * 12_000)
        eventually(lambda: app.count_by_state()[JobState.COMPLETED] == 12_001)
        gate.set()
        eventually(lambda: len(told) + app.telemetry.dropped == 12_001)
    # The last ends are stored a moment before they are told.
    assert len(told) == len(set(told)) >= 10_001
    assert app.telemetry.dropped == 12_001 - len(told) > 0


def test_a_stop_does_not_wait_for_a_listener_that_never_returns(jobs, gate, eventually):
    app = jobs()
    act, told = with_a_listener_that_waits(app, gate)
    app.start()
    job = act.enqueue()
    eventually(lambda: told)
    app.stop(0)
    assert app.get(job).state is JobState.COMPLETED
    gate.set()


def test_a_listener_may_detach_itself_enqueue_and_control(jobs, eventually):
    app = jobs()
    seen = []

    @app.worker
    def act() -> None:
        pass

    def listener(event):
        app.telemetry.detach(handle)
        app.telemetry.attach(seen.append, "job_completed")
        act.enqueue()
        app.pause_queue("other")
        app.scale_queue("default", 4)

    handle = app.telemetry.attach(listener, "job_completed")
    with app:
        act.enqueue()
        eventually(lambda: len(seen) >= 1)
    assert app.telemetry.errors == 0
    assert app.count_by_state()[JobState.COMPLETED] == 2


@pytest.mark.parametrize("lane", ["thread", "loop"])
def test_a_listener_that_stops_the_supervisor_is_told_why_not(lane, jobs):
    app = jobs()
    said = []

    def plain() -> None:
        pass

    async def coroutine() -> None:
        pass

    worker = app.worker(name="act")(plain if lane == "thread" else coroutine)

    def listener(event):
        try:
            app.stop()
        except zjobs.Invalid as error:
            said.append(error)
            raise

    app.telemetry.attach(listener, "job_started")
    with app:
        assert app.wait(worker.enqueue(), 30).state is JobState.COMPLETED
    assert len(said) == 1


def test_a_listener_that_causes_its_own_event_ends(jobs):
    app = jobs()
    app.telemetry.attach(lambda event: app.enqueue("again"), "job_enqueued")
    app.enqueue("again")
    assert 1 < app.count() < 20
    assert app.telemetry.errors == 1


def test_an_event_nobody_wants_is_not_even_made(jobs):
    app = jobs()
    handle = app.telemetry.attach(lambda _: None, "job_started")
    assert app.telemetry.mask == 1 << 1
    app.telemetry.detach(handle)
    assert app.telemetry.mask == 0
