"""Unique keys through the Python API: who meets whom, and what becomes of both."""

import threading

import pytest

from zjobs import Constant, Invalid, JobContext, JobOpts, JobState, UniqueStrategy, WorkerDef

CANCEL = UniqueStrategy.CANCEL_EXISTING


def test_a_second_job_with_the_key_is_the_first_one(jobs):
    app = jobs()
    first = app.enqueue("a", {"n": 1}, unique_key="k")
    second = app.enqueue("b", {"n": 2}, unique_key="k")
    assert not first.conflict
    assert second.conflict
    assert (second.id, second.worker, second.args) == (first.id, "a", {"n": 1})
    assert app.count() == 1


def test_a_final_job_gives_its_key_free(jobs):
    app = jobs()

    @app.worker(unique_key="k")
    def act() -> None:
        pass

    first = act.enqueue()
    app.drain()
    second = act.enqueue()
    assert not second.conflict
    assert second.id != first.id
    with pytest.raises(Invalid, match=rf"its unique key is taken by live job {second.id}; cancel that one first"):
        app.retry(first)
    assert app.get(first).state is JobState.COMPLETED
    assert app.retry_many(worker="act") == 0
    app.cancel(second)
    assert app.retry(first).state is JobState.AVAILABLE


def test_the_newer_job_replaces_a_waiting_one(jobs):
    app = jobs()
    first = app.enqueue("a", unique_key="k")
    second = app.enqueue("a", unique_key="k", unique_strategy=CANCEL)
    assert not second.conflict
    assert app.get(first).state is JobState.CANCELLED
    assert app.get(second).state is JobState.AVAILABLE


def test_the_newer_job_stops_a_running_one_and_has_the_key_at_once(jobs):
    app = jobs(queues={"default": 2})
    begun, finish = threading.Event(), threading.Event()
    runs = []

    @app.worker(unique_key="k", unique_strategy=CANCEL)
    def act(ctx: JobContext) -> None:
        runs.append(ctx.job.id)
        if len(runs) == 1:
            begun.set()
            while not ctx.cancelled:
                finish.wait(0.001)

    with app:
        first = act.enqueue()
        assert begun.wait(30)
        second = act.enqueue()
        assert not second.conflict
        assert app.wait(first, 30).state is JobState.CANCELLED
        assert app.wait(second, 30).state is JobState.COMPLETED
    assert runs == [first.id, second.id]


def test_of_many_enqueues_at_once_one_inserts(jobs):
    app = jobs()
    barrier = threading.Barrier(8)
    got = []

    def race():
        for turn in range(50):
            barrier.wait()
            got.append((turn, app.enqueue("a", unique_key=f"k{turn}")))

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert app.count() == 50
    assert sum(not job.conflict for _, job in got) == 50
    assert len({(turn, job.id) for turn, job in got}) == 50


def test_keys_are_derived_from_worker_queue_and_chosen_arguments(jobs):
    app = jobs()

    @app.worker(unique_by=("worker", "user"))
    def mail(user: int, text: str) -> None:
        pass

    @app.worker(unique_by=("worker", "user"))
    def call(user: int, text: str) -> None:
        pass

    first = mail.enqueue(1, "a")
    assert mail.enqueue(1, "b").id == first.id
    assert mail.options(queue="other").enqueue(1, "a").id == first.id
    assert not mail.enqueue(2, "a").conflict
    assert not call.enqueue(1, "a").conflict
    assert not mail.options(unique_by=("worker", "args")).enqueue(1, "a").conflict
    assert not mail.options(unique_by=()).enqueue(1, "a").conflict


def test_a_key_of_an_argument_that_the_worker_does_not_take_is_refused(jobs):
    app = jobs()

    def sync(ctx: JobContext, user_id: int, queue: str = "") -> None:
        pass

    rule = r"^unique_by must be made of worker, queue, args, user_id, as its worker takes them \(got {}\)$"
    for slip in ("user_ID", "ctx"):
        with pytest.raises(Invalid, match=rule.format(slip)):
            app.worker(unique_by=("worker", slip))(sync)
    assert app.workers == ()
    worker = app.worker(unique_by=("worker", "user_id"))(sync)
    assert [worker.enqueue(number).id for number in (1, 2, 1)] == [1, 2, 1]
    slip = {"unique_by": ("user_ID",)}
    with pytest.raises(Invalid, match=rule.format("user_ID")):
        worker.options(**slip).enqueue(1)
    with pytest.raises(Invalid, match=rule.format("user_ID")):
        app.enqueue("sync", {"user_id": 1}, **slip)
    with pytest.raises(Invalid, match=rule.format("user_ID")):
        app.enqueue_many([worker.options(**slip).job(1)])
    with pytest.raises(Invalid, match=rule.format("user_ID")):
        app.register_cron("hourly", "@hourly", worker, {"user_id": 1}, **slip)
    assert app.count() == 2


def test_a_key_of_one_s_own_goes_with_an_empty_unique_by(jobs):
    app = jobs()

    @app.worker(unique_by=("worker",))
    def act() -> None:
        pass

    for nothing in ((), []):
        assert act.options(unique_key="k").options(unique_by=nothing).enqueue().unique_key == "k"
        assert app.enqueue("act", unique_by=nothing, unique_key="k").conflict


def test_any_word_makes_a_key_where_nobody_knows_what_the_worker_takes(jobs):
    app = jobs()

    @app.worker(unique_by=("worker", "user"))
    def takes_all(**more: int) -> None:
        pass

    app.register_worker(WorkerDef("whole", lambda args: None, JobOpts(unique_by=("user",))))
    assert [takes_all.enqueue(user=number).conflict for number in (1, 2, 1)] == [False, False, True]
    assert [app.enqueue("whole", {"user": number}).conflict for number in (1, 2, 1)] == [False, False, True]
    by = {"unique_by": ("worker", "user")}
    assert [app.enqueue("elsewhere", {"user": number}, **by).conflict for number in (1, 2, 1)] == [False, False, True]


def test_an_argument_that_is_left_out_is_not_its_default(jobs):
    app = jobs()

    @app.worker(unique_by=("worker", "args"))
    def sync(user: int, depth: int | None = 0) -> None:
        pass

    assert not sync.enqueue(1).conflict
    assert not sync.enqueue(1, depth=0).conflict
    named = sync.options(unique_by=("worker", "user", "depth"))
    assert not named.enqueue(1).conflict
    assert not named.enqueue(1, depth=0).conflict
    assert named.enqueue(1, depth=None).conflict


def test_the_order_of_arguments_makes_no_key(jobs):
    app = jobs()
    first = app.enqueue("a", {"x": 1, "y": [2]}, unique_by=("args",))
    assert app.enqueue("a", b'{ "y": [2],\n"x":1 }', unique_by=("args",)).id == first.id
    assert not app.enqueue("a", {"x": 1, "y": [3]}, unique_by=("args",)).conflict


def test_a_period_separates_what_comes_later(jobs):
    app = jobs()
    options = {"unique_by": ("worker",), "unique_period": 3600 * 24 * 3650}
    first = app.enqueue("a", **options)
    assert app.enqueue("a", **options).id == first.id
    assert not app.enqueue("a", unique_by=("worker",), unique_period=1800).conflict
    assert not app.enqueue("a", unique_by=("worker",)).conflict


def test_a_job_that_waits_for_its_retry_keeps_its_key(jobs):
    app = jobs()

    @app.worker(unique_key="k", retry_strategy=Constant(1000))
    def fails() -> None:
        raise ValueError

    first = fails.enqueue()
    assert app.drain() == {JobState.RETRYABLE: 1}
    assert fails.enqueue().id == first.id


def test_in_a_batch_each_meets_those_before_it(jobs):
    app = jobs()

    @app.worker(unique_by=("worker", "args"))
    def act(number: int) -> None:
        pass

    batch = app.enqueue_many([act.job(1), act.job(2), act.job(1)])
    assert [job.conflict for job in batch] == [False, False, True]
    assert batch[2].id == batch[0].id
