"""Schedules through a running supervisor."""

import threading
from datetime import UTC, datetime

import pytest

import zjobs
from zjobs import Invalid, JobState, MemoryStore, NotFound, _scheduler, telemetry
from zjobs._engine import ManualClock


def test_a_schedule_enqueues_its_job_at_each_tick(jobs, eventually):
    app = jobs()
    ticks = []
    app.telemetry.attach(ticks.append, telemetry.CronTicked)

    @app.cron("* * * * * *", queue="default", priority=3)
    @app.worker(keep_result=True)
    def every_second() -> str:
        return "ticked"

    with app:
        eventually(lambda: len(ticks) >= 2)
        done = app.wait(ticks[0].job, 30)
    assert (done.result, done.priority, ticks[0].entry) == ("ticked", 3, "every_second")
    assert ticks[0].tick.microsecond == 0
    assert (ticks[1].tick - ticks[0].tick).total_seconds() == 1
    (row,) = app.crons()
    assert (row.name, row.worker, row.expression, row.paused) == ("every_second", "every_second", "* * * * * *", False)
    assert row.last_tick >= ticks[1].tick


def test_a_schedule_may_be_added_to_and_taken_from_a_running_supervisor(jobs, eventually):
    app = jobs()

    @app.worker
    async def act(text: str) -> None:
        pass

    with app:
        app.register_cron("late", "* * * * * *", act, {"text": "x"})
        eventually(lambda: app.count_by_state()[JobState.COMPLETED] >= 1)
        app.delete_cron("late")
        assert app.crons() == []
        with pytest.raises(NotFound, match="schedule not found: late"):
            app.pause_cron("late")
        app.register_cron("late", "@daily", act, {"text": "y"})
        eventually(lambda: [row.expression for row in app.crons()] in (["@daily"], ["0 0 * * *"]))


def test_many_supervisors_enqueue_a_tick_once(jobs, eventually):
    store = MemoryStore()
    crews = [jobs(store=store) for _ in range(5)]
    for app in crews:
        app.register_worker(zjobs.WorkerDef("act", lambda args: None))
        app.register_cron("often", "* * * * * *", "act")
    ticks = []
    lock = threading.Lock()

    def note(event):
        with lock:
            ticks.append(event.tick)

    for app in crews:
        app.telemetry.attach(note, "cron_ticked")
        app.start()
    eventually(lambda: len(ticks) >= 3)
    for app in crews:
        app.stop()
    assert len(set(ticks)) == len(ticks)
    assert crews[0].count(worker="act") == len(ticks)


def test_a_machine_that_was_suspended_beyond_a_tick_ticks_soon_after_it_wakes(monkeypatch, eventually):
    # What a wait counts stands still meanwhile; the wall clock and the store's do not.
    clock = ManualClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    monkeypatch.setattr(_scheduler, "_LOOK", 0.01)
    monkeypatch.setattr(_scheduler, "wall", lambda: clock.now().timestamp())
    app = zjobs.Supervisor(MemoryStore(clock=clock))
    ticks = []
    app.telemetry.attach(ticks.append, "cron_ticked")

    @app.cron("0 13 * * *", catch_up="none")
    def act() -> None: ...

    with app:
        eventually(app.crons)
        clock.advance(3605)
        eventually(lambda: ticks)
    assert [event.tick for event in ticks] == [datetime(2026, 3, 1, 13, tzinfo=UTC)]


def test_a_schedule_runs_by_hand_and_pauses(jobs):
    clock = ManualClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    app = jobs(store=MemoryStore(clock=clock))

    @app.cron("@hourly", tags=("cron",))
    def act() -> None:
        pass

    job = app.run_cron("act")
    assert (job.worker, job.tags) == ("act", ("cron",))
    with pytest.raises(NotFound, match="schedules are stored when a supervisor that has them runs"):
        app.pause_cron("act")
    with pytest.raises(Invalid):
        app.register_cron("act", "@daily", "act")
    assert app.drain() == {JobState.COMPLETED: 1}


def test_a_schedule_run_by_hand_has_its_own_options_where_another_runs_the_same(jobs):
    app = jobs()

    @app.worker(queue="mail", priority=5)
    def report() -> None:
        pass

    app.register_cron("hourly", "@hourly", report)
    # What the options of jobs are anyway, which is not what this worker's are.
    app.register_cron("daily", "@daily", report, queue="default", priority=0, max_attempts=20)
    by_hand = [app.run_cron(name) for name in ("hourly", "daily")]
    assert [(job.queue, job.priority) for job in by_hand] == [("mail", 5), ("default", 0)]


def test_an_overlap_is_skipped_while_the_last_job_lives(jobs, eventually, gate):
    app = jobs(queues={"default": 3})
    runs = []
    ticks = []

    @app.cron("* * * * * *", overlap="skip")
    def slow() -> None:
        runs.append(1)
        gate.wait()

    app.telemetry.attach(ticks.append, "cron_ticked")
    with app:
        eventually(lambda: len(ticks) >= 3)
        assert len(runs) == 1
        assert [event.job.conflict for event in ticks[:3]] == [False, True, True]
        gate.set()
        eventually(lambda: len(runs) == 2)


def test_no_schedule_is_no_thread(jobs):
    app = jobs()
    with app:
        assert "zjobs-cron" not in {thread.name for thread in threading.enumerate()}
    app.register_cron("daily", "@daily", "act")
    with app:
        assert "zjobs-cron" in {thread.name for thread in threading.enumerate()}
    assert "zjobs-cron" not in {thread.name for thread in threading.enumerate()}
