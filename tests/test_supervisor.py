"""The life of a supervisor, and what a client does with one that is not started."""

import asyncio
import gc
import os
import threading
import time
import weakref
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import zjobs
from zjobs import (
    AlreadyStarted,
    Constant,
    Invalid,
    JobContext,
    JobState,
    NotFound,
    NotStarted,
    PostgresStore,
    Retention,
    Supervisor,
)
from zjobs._engine import ManualClock


def test_what_was_enqueued_before_and_after_the_start_runs(jobs):
    app = jobs(queues={"default": 2, "mail": 2})

    @app.worker(queue="mail", keep_result=True)
    def double(number: int) -> int:
        return 2 * number

    @app.worker(keep_result=True)
    async def treble(number: int) -> int:
        return 3 * number

    early = [double.enqueue(1), treble.enqueue(number=2)]
    with app:
        late = [double.enqueue(number=3), treble.enqueue(4)]
        assert [app.result(job, 30) for job in early + late] == [2, 6, 6, 12]
    assert not app.is_running


def test_a_supervisor_that_is_not_started_costs_no_thread(jobs, eventually):
    def living():
        return {*Path("/proc/self/task").iterdir()}

    before, of_python = living(), threading.active_count()
    app = jobs()
    app.enqueue("anything")
    app.cancel_many(worker="anything")
    # Whoever enqueues into PostgreSQL tells the workers elsewhere, by a thread of the store's.
    teller = ["zjobs-ear"] if isinstance(app.store, PostgresStore) else []
    # A thread takes its name itself: until it ran, it has that of whoever began it.
    eventually(lambda: [task.joinpath("comm").read_text().strip() for task in living() - before] == teller)
    assert threading.active_count() == of_python


def test_a_stopped_supervisor_is_a_plain_client_again(jobs):
    app = jobs()

    @app.worker(keep_result=True)
    def act() -> str:
        return "done"

    app.start()
    app.stop()
    job = act.enqueue()
    assert app.get(job).state is JobState.AVAILABLE
    assert app.drain() == {JobState.COMPLETED: 1}
    assert app.result(job) == "done"


def test_starting_twice_and_stopping_twice_say_so(jobs):
    app = jobs()
    app.start()
    with pytest.raises(AlreadyStarted, match=r"the supervisor is started already; call stop\(\) first"):
        app.start()
    app.stop()
    with pytest.raises(NotStarted, match=r"the supervisor is not running: call start\(\) first"):
        app.stop()


def test_it_restarts_two_hundred_times_and_leaves_nothing_behind(jobs, eventually):
    app = jobs(queues={"default": 2, "other": 1})

    @app.worker
    def plain(number: int) -> None:
        pass

    @app.worker(queue="other")
    async def on_the_loop(number: int) -> None:
        pass

    def living():
        return len([*Path("/proc/self/task").iterdir()]), len([*Path("/proc/self/fd").iterdir()])

    def run(number):
        with app:
            first, second = plain.enqueue(number), on_the_loop.enqueue(number)
            assert app.wait(first, 30).state is JobState.COMPLETED
            assert app.wait(second, 30).state is JobState.COMPLETED

    # What the store opens when it is first needed stays.
    run(0)
    before = living()
    for number in range(1, 200):
        run(number)
    eventually(lambda: all(now <= then for now, then in zip(living(), before, strict=True)))
    assert app.count_by_state()[JobState.COMPLETED] == 400


def test_starts_and_stops_from_many_threads_at_once_end_in_one_state(jobs):
    app = jobs()
    said = []

    @app.worker
    def act() -> None:
        pass

    def toggle():
        for _ in range(40):
            for call in (app.start, app.stop):
                try:
                    call()
                except (AlreadyStarted, NotStarted):
                    pass
                except BaseException as error:  # noqa: BLE001 - any other is the failure looked for
                    said.append(error)

    threads = [threading.Thread(target=toggle) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == []
    if app.is_running:
        app.stop()
    with app:
        assert app.wait(act.enqueue(), 30).state is JobState.COMPLETED


@pytest.mark.parametrize("used", ["new", "with a worker that knows it", "after it ran"])
def test_a_supervisor_that_nobody_holds_is_collected(used):
    def make():
        app = Supervisor()
        if used != "new":

            @app.worker
            def chain(ctx: JobContext) -> None:
                app.enqueue("nothing")

            @app.worker
            async def chain_too() -> None:
                app.enqueue("nothing")

            app.register_cron("daily", "@daily", chain)
        if used == "after it ran":
            with app:
                app.wait(chain.enqueue(), 30)
                app.wait(chain_too.enqueue(), 30)
            app.drain()
        return weakref.ref(app)

    reference = make()
    gc.collect()
    gc.collect()
    assert reference() is None


def test_an_idle_supervisor_wakes_for_nothing_but_its_heartbeat(run_script):
    # In a process of its own: whatever else a test run does would be counted too.
    done = run_script("""
        import os, re, time, zjobs
        jobs = zjobs.Supervisor(queues={"default": 10, "mail": 5})

        @jobs.worker
        def plain() -> None: ...

        @jobs.worker
        async def coroutine() -> None: ...

        def switches():
            found = 0
            for task in os.listdir("/proc/self/task"):
                text = open(f"/proc/self/task/{task}/status").read()
                found += int(re.search(r"voluntary_ctxt_switches:\\t(\\d+)", text)[1])
            return found

        with jobs:
            for _ in range(100):
                jobs.wait(plain.enqueue())
                jobs.wait(coroutine.enqueue())
            time.sleep(1.5)
            before, cpu = switches(), time.process_time()
            time.sleep(6)
            print(switches() - before, time.process_time() - cpu)
    """)
    assert done.returncode == 0, done.stderr
    switched, cpu = done.stdout.split()
    # One or two heartbeats, a rescue with each, and our own sleep.
    assert int(switched) <= 8
    assert float(cpu) < 0.05


def test_jobs_can_be_looked_at_by_state_queue_worker_and_tag(jobs):
    app = jobs()
    first = app.enqueue("a", {"n": 1}, queue="x", tags=("red", "big"))
    second = app.enqueue("b", {"n": 2}, queue="y", tags=("red",))
    third = app.enqueue("a", {"n": 3}, queue="y", schedule_in=60)

    def ids(**which):
        return [job.id for job in app.list(**which)]

    assert ids() == [first.id, second.id, third.id]
    assert ids(newest_first=True, limit=2) == [third.id, second.id]
    assert ids(after=first.id, limit=1) == [second.id]
    assert ids(queue="y") == [second.id, third.id]
    assert ids(worker="a") == [first.id, third.id]
    assert ids(tags=("red",)) == [first.id, second.id]
    assert ids(states=[JobState.SCHEDULED]) == [third.id]
    assert app.count(queue="y") == 2
    assert app.count_by_state("y")[JobState.AVAILABLE] == 1
    assert sum(app.count_by_state().values()) == 3
    assert app.get(first).args == {"n": 1}


def test_a_job_tells_its_whole_story(jobs):
    app = jobs(node="here")

    @app.worker(keep_result=True, max_attempts=3, priority=-7, meta={"a": [1]}, tags=("t",), timeout_seconds=9)
    def act(ctx: JobContext, text: str) -> str:
        ctx.progress(1, 2, "half")
        assert ctx.job.attempt == ctx.attempt == 1
        assert ctx.job.node == app.node
        assert ctx.deadline is not None
        assert timedelta(0) < ctx.deadline - datetime.now(UTC) <= timedelta(seconds=9)
        return text.upper()

    began = datetime.now(UTC)
    with app:
        done = app.wait(act.enqueue(text="ä"), 30)
    assert done.state is JobState.COMPLETED
    assert (done.queue, done.worker, done.args, done.args_bytes) == (
        "default",
        "act",
        {"text": "ä"},
        b'{"text":"\xc3\xa4"}',
    )
    assert (done.priority, done.attempt, done.max_attempts, done.timeout_seconds) == (-7, 1, 3, 9.0)
    assert (done.meta, done.tags, done.result, done.errors) == ({"a": [1]}, ("t",), "Ä", ())
    slack = timedelta(milliseconds=5)
    assert began - slack <= done.inserted_at <= done.attempted_at <= done.completed_at <= datetime.now(UTC) + slack
    assert done.cancelled_at is done.discarded_at is None


def test_results_and_waits_reach_every_thread(jobs, gate):
    app = jobs(queues={"default": 4})

    @app.worker(keep_result=True)
    def slow(number: int) -> int:
        gate.wait()
        return number

    got = {}
    with app:
        many = [slow.enqueue(number) for number in range(20)]
        threads = [
            threading.Thread(target=lambda number=number, job=job: got.update({number: app.result(job, 30)}))
            for number, job in enumerate(many)
        ]
        for thread in threads:
            thread.start()
        with pytest.raises(TimeoutError, match=r"job 1 is still executing after 0.01 seconds"):
            app.wait(many[0], 0.01)
        gate.set()
        for thread in threads:
            thread.join(30)
    assert got == {number: number for number in range(20)}


def test_the_result_of_a_job_that_failed_for_good_is_its_error(jobs):
    app = jobs()

    @app.worker(max_attempts=1)
    def broken() -> None:
        raise ValueError("the reason")

    with app:
        job = broken.enqueue()
        with pytest.raises(zjobs.Error, match=rf"job {job.id} of broken was discarded: ValueError: the reason"):
            app.result(job, 30)


def test_failures_are_retried_until_one_attempt_succeeds(jobs):
    app = jobs()

    @app.worker(keep_result=True, retry_strategy=Constant(0))
    def third_time(ctx: JobContext) -> int:
        if ctx.attempt < 3:
            raise ValueError(ctx.attempt)
        return ctx.attempt

    with app:
        done = app.wait(third_time.enqueue(), 30)
    assert (done.result, done.attempt) == (3, 3)
    assert [(error.attempt, error.kind, error.message) for error in done.errors] == [
        (1, "ValueError", "1"),
        (2, "ValueError", "2"),
    ]


def test_only_the_newest_errors_are_kept(jobs):
    app = jobs()

    @app.worker(max_attempts=25, retry_strategy=Constant(0))
    def broken(ctx: JobContext) -> None:
        raise ValueError(ctx.attempt)

    with app:
        done = app.wait(broken.enqueue(), 30)
    assert done.state is JobState.DISCARDED
    assert [error.attempt for error in done.errors] == list(range(16, 26))


@pytest.mark.parametrize("raised", [False, True])
def test_a_snooze_gives_the_attempt_back(raised, jobs):
    app = jobs()
    runs = []

    @app.worker(max_attempts=1)
    def patient(ctx: JobContext) -> zjobs.Snooze | None:
        runs.append(ctx.attempt)
        if len(runs) > 3:
            return None
        if raised:
            ctx.snooze(0)
        return zjobs.Snooze(timedelta(0))

    with app:
        done = app.wait(patient.enqueue(), 30)
    assert (done.state, done.attempt, done.errors) == (JobState.COMPLETED, 1, ())
    assert runs == [1, 1, 1, 1]


def test_priority_decides_then_time_then_id(jobs):
    app = jobs(queues={"default": 1})
    order = []

    @app.worker
    def note(name: str) -> None:
        order.append(name)

    note.options(priority=5).enqueue("last")
    note.enqueue("second")
    note.enqueue("third")
    note.options(priority=-1, scheduled_at=datetime.now(UTC) - timedelta(seconds=5)).enqueue("first")
    note.options(priority=-1).enqueue("first but younger")
    app.drain()
    assert order == ["first", "first but younger", "second", "third", "last"]


def test_a_finished_job_is_retried_by_hand(jobs):
    app = jobs()
    runs = []

    @app.worker(max_attempts=1)
    def act() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError

    with app:
        job = act.enqueue()
        assert app.wait(job, 30).state is JobState.DISCARDED
        app.retry(job)
        assert app.wait(job, 30).state is JobState.COMPLETED
        assert app.retry_many(worker="act") == 1
        assert app.wait(job, 30).state is JobState.COMPLETED
    assert len(runs) == 3


def test_what_is_gone_is_not_found(jobs):
    app = jobs()
    job = app.enqueue("anything")
    app.delete(job)
    for call in (app.get, app.cancel, app.retry, app.delete, app.wait, app.result):
        with pytest.raises(NotFound, match=rf"job not found: {job.id}"):
            call(job)
    assert app.delete_many(worker="anything") == 0


def test_a_running_job_can_be_neither_deleted_nor_retried(jobs, gate, eventually):
    app = jobs()

    @app.worker
    def slow() -> None:
        gate.wait()

    with app:
        job = slow.enqueue()
        eventually(lambda: app.get(job).state is JobState.EXECUTING)
        with pytest.raises(
            Invalid, match=rf"job cannot be deleted while it is executing; cancel it first \(got {job.id}\)"
        ):
            app.delete(job)
        with pytest.raises(Invalid, match=rf"job cannot be retried while it runs; cancel it first \(got {job.id}\)"):
            app.retry(job)
        assert app.delete_many(worker="slow") == app.retry_many(worker="slow") == 0
        gate.set()
        assert app.wait(job, 30).state is JobState.COMPLETED
        app.delete(job)
        assert app.count() == 0


def test_prune_keeps_what_the_retention_keeps(jobs):
    clock = ManualClock()
    retention = Retention(completed=3600, cancelled=timedelta(days=1), discarded=None)
    app = jobs(store=zjobs.MemoryStore(clock=clock), retention=retention)

    @app.worker
    def act(fails: bool) -> None:  # noqa: FBT001 - a payload
        if fails:
            raise zjobs.Discard

    good, bad, gone = act.enqueue(fails=False), act.enqueue(fails=True), act.options(schedule_in=60).enqueue(fails=True)
    app.cancel(gone)
    assert app.drain() == {JobState.COMPLETED: 1, JobState.DISCARDED: 1}
    assert app.prune() == 0
    clock.advance(3601)
    assert app.prune() == 1
    with pytest.raises(NotFound):
        app.get(good)
    clock.advance(timedelta(days=1))
    assert app.prune() == 1
    assert [job.id for job in app.list()] == [bad.id]


def test_completed_jobs_are_deleted_by_age(jobs):
    app = jobs()

    @app.worker
    def act() -> None:
        pass

    act.enqueue()
    app.drain()
    waiting = act.enqueue()
    assert app.delete_completed(3600) == 0
    assert app.delete_completed(timedelta(0)) == 1
    assert [job.id for job in app.list()] == [waiting.id]


def test_a_thousand_waiting_coroutines_run_at_once(jobs, eventually):
    app = jobs(queues={"default": 1000})
    waiting = []
    done = threading.Event()

    @app.worker
    async def wait() -> None:
        waiting.append(1)
        while not done.is_set():  # noqa: ASYNC110 - an event of another thread
            await asyncio.sleep(0.01)

    app.enqueue_many([wait.job()] * 1200)
    with app:
        eventually(lambda: len(waiting) == 1000)
        assert app.count_by_state()[JobState.EXECUTING] == 1000
        done.set()
        eventually(lambda: app.count_by_state()[JobState.COMPLETED] == 1200)


def test_threads_and_coroutines_share_the_queues_concurrency(jobs):
    app = jobs(queues={"default": 3})
    running, most = set(), []
    lock = threading.Lock()

    def enter(job):
        with lock:
            running.add(job)
            most.append(len(running))

    def leave(job):
        with lock:
            running.remove(job)

    @app.worker
    def plain(ctx: JobContext) -> None:
        enter(ctx.job.id)
        time.sleep(0.001)
        leave(ctx.job.id)

    @app.worker
    async def coroutine(ctx: JobContext) -> None:
        enter(ctx.job.id)
        await asyncio.sleep(0.001)
        leave(ctx.job.id)

    many = app.enqueue_many([plain.job(), coroutine.job()] * 150)
    with app:
        for job in many:
            assert app.wait(job, 30).state is JobState.COMPLETED
    assert max(most) == 3


def test_an_unknown_worker_is_put_back_without_costing_an_attempt(jobs, eventually):
    app = jobs()
    with app:
        job = app.enqueue("from.another.deploy")
        eventually(lambda: app.get(job).state is JobState.SCHEDULED)
        put_back = app.get(job)
        assert (put_back.attempt, put_back.errors) == (0, ())
        assert timedelta(seconds=10) < put_back.scheduled_at - put_back.inserted_at < timedelta(seconds=20)

        @app.worker(name="from.another.deploy")
        def known() -> None:
            pass

        app.retry(job)
        assert app.wait(job, 30).state is JobState.COMPLETED


def test_a_job_that_no_process_knows_fails_after_an_hour(jobs):
    clock = ManualClock()
    app = jobs(store=zjobs.MemoryStore(clock=clock))
    job = app.enqueue("nobody.knows", max_attempts=1)
    assert app.drain() == {JobState.SCHEDULED: 1}
    clock.advance(3601)
    assert app.drain() == {JobState.DISCARDED: 1}
    (error,) = app.get(job).errors
    assert error.kind == "UnknownWorker"
    assert "no worker is registered as 'nobody.knows' in the processes that work on queue 'default'" in error.message


def test_arguments_that_a_newer_handler_cannot_take_fail_the_job_and_stay(jobs):
    app = jobs()
    job = app.enqueue("act", b'{"number":"seven"}')

    @app.worker(max_attempts=1)
    def act(number: int) -> None:
        pass

    app.drain()
    assert app.get(job).state in {JobState.RETRYABLE, JobState.DISCARDED}
    assert app.get(job).args_bytes == b'{"number":"seven"}'
    assert "Expected `int`, got `str`" in app.get(job).errors[0].message


def test_a_worker_can_be_registered_while_it_runs(jobs):
    app = jobs()
    with app:

        @app.worker(keep_result=True)
        async def late() -> str:
            return "in time"

        assert app.result(late.enqueue(), 30) == "in time"


def test_a_start_that_fails_half_way_leaves_it_stopped(run_script):
    done = run_script("""
        import resource, zjobs
        jobs = zjobs.Supervisor()

        @jobs.worker(keep_result=True)
        async def act():
            return "fine"

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            jobs.start()
        except OSError as error:
            print(type(error).__name__, jobs.is_running)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with jobs:
            print(jobs.result(act.enqueue(), 30))
    """)
    assert done.stdout.splitlines() == ["OSError False", "fine"], done.stderr


def test_its_name_says_where_it_runs_and_each_start_is_a_new_incarnation(jobs):
    app = jobs(node="web-1")
    seen = set()
    for _ in range(3):
        with app:
            (node,) = app.nodes()
            assert (node.name, node.pid, node.node) == ("web-1", os.getpid(), app.node)
            assert node.queues == {"default": 10}
            seen.add(node.node)
    assert len(seen) == 3
    assert app.nodes() == []
