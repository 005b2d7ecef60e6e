"""*enqueue* and *stage*."""

from zjobs.job import JobState
from zjobs.options import UniqueStrategy
from zjobs.testing.harness import ALICE, End, Harness, ids, new_job

__all__ = ["Enqueueing"]

_REPLACE = UniqueStrategy.CANCEL_EXISTING
_WAITING = (JobState.AVAILABLE, JobState.RETRYABLE, JobState.SCHEDULED)
_FINAL = (JobState.COMPLETED, JobState.CANCELLED, JobState.DISCARDED)


class Enqueueing:
    """How jobs come in, and when they become due."""

    def test_every_part_of_a_job_comes_back(self, on: Harness) -> None:
        before = on.store.now()
        new = new_job(
            worker="app.Send:mail",
            args_bytes=b'{"to":"a@example.com","n":[1,2.5,null]}',
            queue="mail",
            priority=-17,
            max_attempts=9,
            schedule_in=33.0,
            timeout_seconds=77.5,
            unique_key="key-1",
            tags=("red", "blue"),
            meta_bytes=b'{"trace":"abc"}',
        )
        [reply] = on.store.enqueue([new])
        job, after = reply.job, on.store.now()
        assert not reply.conflict
        assert job.state is JobState.SCHEDULED
        assert (job.worker, job.queue, job.args_bytes) == (new.worker, new.queue, new.args_bytes)
        assert (job.priority, job.attempt, job.max_attempts, job.lease) == (-17, 0, 9, 0)
        assert (job.node, job.attempted_at, job.finished_at) == (None, None, None)
        assert (job.timeout_seconds, job.unique_key, job.tags) == (77.5, "key-1", ("red", "blue"))
        assert (job.meta_bytes, job.errors, job.result_bytes, job.progress) == (new.meta_bytes, (), None, None)
        assert before <= job.inserted_at <= after
        assert 33 <= (job.scheduled_at - before).total_seconds() <= 33 + (after - before).total_seconds()
        assert on.get(job) == job
        assert on.get(on.enqueue(timeout_seconds=None)).timeout_seconds is None

    def test_a_batch_comes_back_in_its_order_with_rising_ids(self, on: Harness) -> None:
        jobs = [reply.job for reply in on.store.enqueue([new_job(priority=n) for n in (5, 3, 4)])]
        assert [job.priority for job in jobs] == [5, 3, 4]
        assert 0 < jobs[0].id < jobs[1].id < jobs[2].id
        assert on.store.enqueue([]) == []

    def test_texts_of_every_script_come_back(self, on: Harness) -> None:
        args = '{"t":"äöü 漢字 🚀 \\"quoted\\" \'; drop table jobs; -- \\\\"}'.encode()
        job = on.enqueue(args_bytes=args, tags=("naïve '%_ tag",))
        assert (on.get(job).args_bytes, on.get(job).tags) == (args, ("naïve '%_ tag",))

    def test_a_job_for_later_is_scheduled_and_one_for_the_past_is_available(self, on: Harness) -> None:
        assert on.enqueue().state is JobState.AVAILABLE
        assert on.enqueue(schedule_in=60.0).state is JobState.SCHEDULED
        later, earlier = on.soon(60), on.soon(-60)
        assert on.enqueue(scheduled_at=later).scheduled_at == later
        past = on.enqueue(scheduled_at=earlier)
        assert (past.state, past.scheduled_at) == (JobState.AVAILABLE, earlier)

    # --- unique keys ---

    def test_a_key_that_is_taken_returns_the_job_that_has_it(self, on: Harness) -> None:
        first = on.enqueue(unique_key="k")
        met, other = on.store.enqueue([new_job(unique_key="k"), new_job(unique_key="l")])
        assert (met.conflict, met.job) == (True, first)
        assert not other.conflict
        assert other.job.id != first.id
        assert on.store.count(ids(first, other.job)) == 2

    def test_every_live_state_keeps_the_key(self, on: Harness) -> None:
        for state in _WAITING:
            job = on.finished(state, unique_key=str(state))
            assert on.enqueue(unique_key=str(state)).id == job.id, state
        job = on.running(unique_key="running")
        assert on.enqueue(unique_key="running").id == job.id

    def test_every_final_state_frees_the_key(self, on: Harness) -> None:
        for state in _FINAL:
            job = on.finished(state, unique_key=str(state))
            assert on.enqueue(unique_key=str(state)).id != job.id, state
            assert on.get(job).unique_key == str(state), "the key stays readable"

    def test_a_newer_job_replaces_a_waiting_one(self, on: Harness) -> None:
        for state in _WAITING:
            old = on.finished(state, unique_key=str(state))
            new = on.reply(unique_key=str(state), unique_strategy=_REPLACE)
            assert not new.conflict
            assert (on.state(old), on.state(new.job)) == (JobState.CANCELLED, JobState.AVAILABLE)
            assert on.get(old).finished_at is not None
            assert on.enqueue(unique_key=str(state)).id == new.job.id

    def test_a_newer_job_asks_a_running_one_to_stop_and_has_the_key_at_once(self, on: Harness) -> None:
        old = on.running(unique_key="k")
        new = on.enqueue(unique_key="k", unique_strategy=_REPLACE)
        assert (on.state(old), on.state(new)) == (JobState.EXECUTING, JobState.AVAILABLE)
        assert on.cancel_requested(old)
        assert on.enqueue(unique_key="k").id == new.id
        assert on.beat(ALICE, [old.id]).cancel == (old.id,)
        on.ack(old, End.cancelled())
        assert on.state(old) is JobState.CANCELLED
        assert on.enqueue(unique_key="k").id == new.id, "the end of the old one frees no key"

    def test_a_batch_with_one_key_twice_acts_as_one_after_the_other(self, on: Harness) -> None:
        batch = [new_job(unique_key="k"), new_job(unique_key="k"), new_job(unique_key="k", unique_strategy=_REPLACE)]
        first, second, third = on.store.enqueue(batch)
        assert [first.conflict, second.conflict, third.conflict] == [False, True, False]
        assert second.job.id == first.job.id
        assert (on.state(first.job), on.state(third.job)) == (JobState.CANCELLED, JobState.AVAILABLE)

    # --- stage ---

    def test_due_jobs_become_available_and_the_next_one_is_named(self, on: Harness) -> None:
        assert on.store.stage().next is None
        far, near = on.enqueue(schedule_in=30.0), on.enqueue(schedule_in=10.0)
        assert on.store.stage().next == near.scheduled_at
        on.advance(10)
        staged = on.store.stage()
        assert (staged.moved, staged.next) == (1, far.scheduled_at)
        assert (on.state(near), on.state(far)) == (JobState.AVAILABLE, JobState.SCHEDULED)
        assert on.get(near).scheduled_at == near.scheduled_at

    def test_a_limit_of_a_stage_leaves_the_rest_overdue(self, on: Harness) -> None:
        for _ in range(5):
            on.enqueue(schedule_in=1.0)
        on.advance(2)
        staged = on.store.stage(3)
        assert staged.moved == 3
        assert staged.next is not None
        assert staged.next <= staged.now
        staged = on.store.stage(3)
        assert (staged.moved, staged.next) == (2, None)

    def test_a_failed_job_comes_back_after_its_backoff(self, on: Harness) -> None:
        job = on.running()
        on.ack(job, End.failed(5))
        on.advance(4)
        assert on.store.stage().moved == 0
        on.advance(1)
        assert on.store.stage().moved == 1
        [again] = on.claim(ALICE)
        assert (again.id, again.attempt) == (job.id, 2)
