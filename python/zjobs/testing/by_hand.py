"""*cancel*, *retry*, deletion, *prune*, *pause*, *resume* and scaling."""

from datetime import timedelta

from zjobs.job import JobState, Progress
from zjobs.options import Retention, UniqueStrategy
from zjobs.store import Acked, Cancelled, JobFilter, Report, Retried
from zjobs.testing.harness import ALICE, BOB, TTL, End, Harness, ids

__all__ = ["ByHand"]

_WAITING = (JobState.AVAILABLE, JobState.RETRYABLE, JobState.SCHEDULED)
_FINAL = (JobState.COMPLETED, JobState.CANCELLED, JobState.DISCARDED)
_ALL = Retention(completed=1, cancelled=1, discarded=1)


class ByHand:
    """What people do."""

    def test_waiting_jobs_are_cancelled_at_once(self, on: Harness) -> None:
        for state in _WAITING:
            job = on.finished(state)
            assert on.store.cancel(ids(job)) == [Cancelled(job.id, requested=False)]
            now = on.get(job)
            assert (now.state, now.lease, now.attempt) == (JobState.CANCELLED, job.lease, job.attempt)
            assert now.finished_at is not None

    def test_a_running_job_ends_cancelled_whatever_it_says(self, on: Harness) -> None:
        for end in (End.done(), End.failed(1), End.released(), End.snoozed(1)):
            job = on.running()
            assert on.store.cancel(ids(job)) == [Cancelled(job.id, requested=True)]
            asked = on.get(job)
            assert (asked.cancel_requested, asked.state, asked.node) == (True, JobState.EXECUTING, ALICE)
            assert on.ack(job, end) is Acked.CANCEL_REQUESTED
            assert on.get(job) == asked
            assert on.ack(job, End.cancelled()) is Acked.STORED
            assert on.state(job) is JobState.CANCELLED

    def test_final_jobs_are_not_cancelled(self, on: Harness) -> None:
        for state in _FINAL:
            job = on.finished(state)
            assert on.store.cancel(ids(job)) == []
            assert on.get(job) == job

    def test_a_cancelled_job_never_starts(self, on: Harness) -> None:
        on.enqueue()
        on.enqueue(schedule_in=1.0)
        other = on.enqueue(queue="mail")
        assert len(on.store.cancel(JobFilter(queue="default"))) == 2
        on.advance(2)
        on.beat(ALICE)
        assert on.store.stage().moved == 0
        assert on.claim(ALICE) == []
        assert on.state(other) is JobState.AVAILABLE

    def test_a_limit_counts_what_can_be_cancelled(self, on: Harness) -> None:
        on.finished(JobState.COMPLETED)
        first, second = on.enqueue(), on.enqueue()
        one = JobFilter(limit=1)
        assert on.store.cancel(one) == [Cancelled(first.id, requested=False)]
        assert on.store.cancel(one) == [Cancelled(second.id, requested=False)]
        assert on.store.cancel(one) == []

    # --- retry ---

    def test_a_retry_makes_every_resting_job_available(self, on: Harness) -> None:
        for state in (*_FINAL, JobState.RETRYABLE, JobState.SCHEDULED):
            job = on.finished(state)
            before = on.store.now()
            assert on.store.retry(ids(job)) == [Retried(job.id)]
            now = on.get(job)
            assert (now.state, now.attempt, now.lease) == (JobState.AVAILABLE, job.attempt, job.lease)
            assert now.finished_at is None
            assert now.scheduled_at >= before
            [again] = on.claim(ALICE)
            assert (again.id, again.lease) == (job.id, 2)
            assert on.ack(again, End.done()) is Acked.STORED

    def test_used_up_attempts_get_one_more(self, on: Harness) -> None:
        spent = on.finished(JobState.DISCARDED, max_attempts=1)
        fresh = on.finished(JobState.COMPLETED, max_attempts=7)
        on.store.retry(ids(spent, fresh))
        assert (on.get(spent).attempt, on.get(spent).max_attempts) == (1, 2)
        assert on.get(fresh).max_attempts == 7

    def test_a_retry_clears_the_marks_of_the_past(self, on: Harness) -> None:
        lost = on.running()
        on.advance(TTL + 1)
        on.store.rescue()
        on.beat(BOB)
        [job] = on.claim(BOB)
        assert job.id == lost.id
        on.store.report(BOB, [Report(job.id, job.lease, Progress(1))])
        on.store.cancel(ids(job))
        on.ack(job, End.cancelled(), BOB)
        on.store.retry(ids(job))
        now = on.get(job)
        assert (now.cancel_requested, now.progress, now.crashes) == (False, None, 0)
        assert len(now.errors) == 2, "the errors tell its history"

    def test_a_retry_whose_key_is_taken_names_the_holder(self, on: Harness) -> None:
        for state in _FINAL:
            old = on.finished(state, unique_key=str(state))
            new = on.enqueue(unique_key=str(state))
            assert on.store.retry(ids(old)) == [Retried(old.id, new.id)]
            assert on.get(old) == old
            on.store.cancel(ids(new))
            assert on.store.retry(ids(old)) == [Retried(old.id)]

    def test_a_retry_takes_a_free_key_back(self, on: Harness) -> None:
        job = on.finished(JobState.COMPLETED, unique_key="k")
        on.store.retry(ids(job))
        assert on.enqueue(unique_key="k").id == job.id
        newer = on.enqueue(unique_key="k", unique_strategy=UniqueStrategy.CANCEL_EXISTING)
        assert (on.state(job), on.state(newer)) == (JobState.CANCELLED, JobState.AVAILABLE)
        assert on.store.retry(ids(job, newer)) == [Retried(job.id, newer.id)]

    def test_running_and_available_jobs_are_not_retried(self, on: Harness) -> None:
        running = on.running()
        available = on.enqueue()
        assert on.store.retry(JobFilter()) == []
        assert (on.get(running), on.get(available)) == (running, available)

    # --- deletion and prune ---

    def test_jobs_that_do_not_run_can_be_deleted(self, on: Harness) -> None:
        gone = [on.finished(state) for state in (*_FINAL, JobState.RETRYABLE, JobState.SCHEDULED)]
        running = on.running()
        gone.append(on.enqueue())
        assert on.store.delete(ids(*gone, running)) == 6
        assert on.store.list(JobFilter()) == [running]
        on.beat(BOB)
        assert on.claim(BOB) == []
        assert on.store.delete(JobFilter()) == 0

    def test_a_deleted_job_frees_its_key(self, on: Harness) -> None:
        job = on.enqueue(unique_key="k")
        on.store.delete(ids(job))
        assert on.enqueue(unique_key="k").id != job.id

    def test_each_final_state_has_its_own_retention(self, on: Harness) -> None:
        completed, cancelled, discarded = old = [on.finished(state) for state in _FINAL]
        on.advance(100)
        young = [on.finished(state) for state in _FINAL]
        assert on.store.prune(Retention(completed=None, cancelled=None, discarded=None)) == 0
        for kept, gone in (
            (Retention(completed=50, cancelled=200, discarded=None), completed),
            (Retention(completed=None, cancelled=50, discarded=200), cancelled),
            (Retention(completed=50, cancelled=None, discarded=50), discarded),
        ):
            assert on.store.prune(kept) == 1
            assert on.store.get([gone.id]) == []
        assert on.store.list(JobFilter()) == young
        assert len(old) == len(young)

    def test_a_limit_bounds_one_prune(self, on: Harness) -> None:
        for state in (JobState.COMPLETED, JobState.COMPLETED, JobState.COMPLETED, JobState.DISCARDED):
            on.finished(state)
        on.advance(100)
        assert on.store.prune(_ALL, 2) == 2
        assert on.store.prune(_ALL, 9) == 2
        assert on.store.count(JobFilter()) == 0

    def test_the_age_of_a_job_counts_from_its_latest_end(self, on: Harness) -> None:
        job = on.finished(JobState.COMPLETED)
        on.advance(100)
        on.store.retry(ids(job))
        assert on.store.prune(_ALL) == 0
        on.store.cancel(ids(job))
        assert on.store.prune(_ALL) == 0
        on.advance(2)
        assert on.store.prune(_ALL) == 1

    def test_a_retention_of_nothing_lets_jobs_go_at_once(self, on: Harness) -> None:
        on.finished(JobState.COMPLETED)
        kept = on.finished(JobState.CANCELLED)
        assert on.store.prune(Retention(completed=0, cancelled=None, discarded=None)) == 1
        assert on.store.list(JobFilter()) == [kept]

    def test_live_jobs_are_never_pruned(self, on: Harness) -> None:
        on.running()
        for state in _WAITING:
            on.finished(state)
        on.advance(1_000_000)
        assert on.store.prune(_ALL) == 0
        assert on.store.count(JobFilter()) == 4

    def test_completed_jobs_of_an_age_can_be_deleted(self, on: Harness) -> None:
        on.finished(JobState.COMPLETED)
        kept = on.finished(JobState.DISCARDED)
        on.advance(60)
        young = on.finished(JobState.COMPLETED)
        assert on.store.delete_completed(timedelta(minutes=1)) == 1
        assert on.store.list(JobFilter()) == [kept, young]

    # --- queues ---

    def test_a_paused_queue_gives_nothing(self, on: Harness) -> None:
        on.beat(ALICE)
        on.store.pause("default")
        on.enqueue()
        on.enqueue(queue="mail")
        assert on.claim(ALICE) == []
        assert len(on.claim(ALICE, queue="mail")) == 1
        on.store.pause("default")
        on.store.resume("default")
        assert len(on.claim(ALICE)) == 1

    def test_running_jobs_go_on_in_a_pause(self, on: Harness) -> None:
        job = on.running()
        on.store.pause("default")
        assert on.ack(job, End.done()) is Acked.STORED
        assert on.state(job) is JobState.COMPLETED

    def test_settings_of_a_queue_are_listed(self, on: Harness) -> None:
        on.enqueue(queue="a")
        on.store.pause("c")
        on.store.scale("b", 3)
        on.store.scale("c", 4)
        on.store.scale("c", None)
        rows = on.store.queues()
        seen = [(row.name, row.paused, row.concurrency) for row in rows]
        assert seen == [("a", False, None), ("b", False, 3), ("c", True, None)]
        assert rows[0].counts[JobState.AVAILABLE] == 1
        assert sum(rows[1].counts.values()) == 0
