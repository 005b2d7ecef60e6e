"""*claim*, *ack* and progress reports."""

from dataclasses import replace

import pytest

from zjobs._engine import LIMITS
from zjobs.errors import LeaseLost
from zjobs.job import Job, JobState, Progress
from zjobs.store import Acked, Report
from zjobs.testing.harness import ALICE, BOB, NOBODY, TTL, End, Harness, ids

__all__ = ["Running"]

_LEAST, _MOST = -(2**31), 2**31 - 1


class Running:
    """How jobs are handed out, and what may be written about them."""

    def test_jobs_are_claimed_by_priority_then_due_time_then_id(self, on: Harness) -> None:
        now = on.store.now()

        def wish(priority: int, ago: float) -> int:
            return on.enqueue(priority=priority, scheduled_at=on.soon(-ago) if ago else now).id

        fourth, third, second = wish(0, 100), wish(0, 900), wish(-1, 0)
        last, first = wish(_MOST, 9000), wish(_LEAST, 0)
        on.beat(ALICE)
        got = [job.id for job in on.claim(ALICE, 2)] + [job.id for job in on.claim(ALICE)]
        assert got == [first, second, third, fourth, last]
        ties = [on.enqueue(scheduled_at=now).id for _ in range(3)]
        assert [job.id for job in on.claim(ALICE)] == ties

    def test_a_claim_leases_and_counts(self, on: Harness) -> None:
        job = on.running()
        assert (job.state, job.attempt, job.lease, job.node) == (JobState.EXECUTING, 1, 1, ALICE)
        assert job.attempted_at is not None
        assert job.attempted_at >= job.scheduled_at
        assert on.get(job) == job
        on.ack(job, End.released())
        [again] = on.claim(ALICE)
        assert (again.id, again.attempt, again.lease) == (job.id, 1, 2)

    def test_nothing_is_claimed_twice(self, on: Harness) -> None:
        wanted = [on.enqueue().id for _ in range(5)]
        on.beat(ALICE)
        on.beat(BOB)
        got = [job.id for job in [*on.claim(ALICE, 3), *on.claim(BOB, 3)]]
        assert sorted(got) == wanted
        assert on.claim(ALICE) == []

    def test_nothing_is_claimed_before_its_time(self, on: Harness) -> None:
        on.enqueue(schedule_in=10.0)
        on.beat(ALICE)
        assert on.store.stage().moved == 0
        assert on.claim(ALICE) == []
        on.advance(10)
        assert on.store.stage().moved == 1
        assert len(on.claim(ALICE)) == 1

    def test_queues_do_not_mix(self, on: Harness) -> None:
        mail = on.enqueue(queue="mail").id
        on.enqueue()
        on.beat(ALICE)
        assert [job.id for job in on.claim(ALICE, queue="mail")] == [mail]
        assert on.claim(ALICE, queue="nowhere") == []

    def test_a_limit_of_none_claims_none(self, on: Harness) -> None:
        job = on.enqueue()
        on.beat(ALICE)
        assert on.claim(ALICE, 0) == []
        assert on.state(job) is JobState.AVAILABLE

    def test_an_unknown_or_departed_node_may_not_claim(self, on: Harness) -> None:
        job = on.enqueue()
        on.beat(BOB)
        on.store.depart(BOB, 60)
        for node in (NOBODY, BOB):
            with pytest.raises(LeaseLost):
                on.claim(node)
        assert on.state(job) is JobState.AVAILABLE

    def test_a_silent_node_may_not_claim(self, on: Harness) -> None:
        on.enqueue()
        on.beat(ALICE)
        on.advance(TTL + 1)
        with pytest.raises(LeaseLost):
            on.claim(ALICE)
        on.store.rescue()
        with pytest.raises(LeaseLost):
            on.claim(ALICE)

    # --- ack ---

    def test_each_end_of_an_attempt_is_written(self, on: Harness) -> None:
        for end in (End.done(), End.failed(30), End.failed(), End.snoozed(30), End.cancelled(), End.released()):
            running = on.running()
            before = on.store.now()
            assert on.ack(running, end) is Acked.STORED
            job, after = on.get(running), on.store.now()
            refund = end.delay_seconds is not None and end.error is None
            attempt = 0 if refund or end == End.released() else 1
            assert (job.state, job.attempt, job.lease, job.node) == (end.to, attempt, 1, None)
            assert job.attempted_at == running.attempted_at
            assert (job.finished_at is not None) == end.to.is_final
            assert job.finished_at is None or before <= job.finished_at <= after
            if end.delay_seconds is None:
                assert job.scheduled_at == running.scheduled_at
            else:
                waits = (job.scheduled_at - before).total_seconds()
                assert 30 <= waits <= 30 + (after - before).total_seconds()
            on.store.delete(ids(job))

    def test_a_failure_keeps_its_error(self, on: Harness) -> None:
        running = on.running()
        before = on.store.now()
        on.ack(running, End.failed(1))
        [error] = on.get(running).errors
        assert (error.attempt, error.kind) == (1, "ValueError")
        assert (error.message, error.traceback) == ("no such address", "line 3")
        assert before <= error.at <= on.store.now()

    def test_only_the_newest_errors_are_kept(self, on: Harness) -> None:
        kept, job = LIMITS["ERRORS_KEPT"], on.enqueue()
        for _ in range(kept + 3):
            on.beat(ALICE)
            [running] = on.claim(ALICE)
            on.ack(running, End.failed(1))
            on.advance(1)
            on.store.stage()
        assert [error.attempt for error in on.get(job).errors] == list(range(4, kept + 4))

    def test_the_result_is_kept(self, on: Harness) -> None:
        job = on.running()
        on.ack(job, End.done(b"[1]"))
        assert on.get(job).result_bytes == b"[1]"

    def test_a_stale_lease_changes_nothing(self, on: Harness) -> None:
        first = on.running()
        on.ack(first, End.released())
        [second] = on.claim(ALICE)
        for end in (End.done(), End.failed(), End.cancelled(), End.released()):
            assert on.ack(first, end) is Acked.LEASE_LOST
        assert on.ack(second.replace(lease=3), End.done()) is Acked.LEASE_LOST
        assert on.get(first) == second
        assert on.ack(second, End.done()) is Acked.STORED

    def test_another_node_changes_nothing(self, on: Harness) -> None:
        job = on.running()
        assert on.ack(job, End.done(), BOB) is Acked.LEASE_LOST, "unknown to the store"
        on.beat(BOB)
        assert on.ack(job, End.done(), BOB) is Acked.LEASE_LOST
        assert on.get(job) == job

    def test_a_job_that_does_not_run_refuses_acks(self, on: Harness) -> None:
        for state in (JobState.AVAILABLE, JobState.RETRYABLE, JobState.SCHEDULED, JobState.COMPLETED):
            running = on.running()
            on.ack(running, End.at(state))
            before = on.get(running)
            assert on.ack(running, End.cancelled()) is Acked.LEASE_LOST, state
            assert on.get(running) == before
            on.store.delete(ids(running))
            assert on.ack(running, End.done()) is Acked.LEASE_LOST, "deleted"

    def test_the_same_ack_again_is_already_stored(self, on: Harness) -> None:
        for end in (End.done(), End.failed(9), End.snoozed(9), End.cancelled()):
            job = on.running()
            assert on.ack(job, end) is Acked.STORED
            before = on.get(job)
            assert on.ack(job, end) is Acked.ALREADY
            assert on.get(job) == before

    def test_acks_of_one_batch_do_not_harm_each_other(self, on: Harness) -> None:
        jobs = [on.running() for _ in range(3)]
        acks = [End.done().ack(job) for job in jobs]
        acks[1] = replace(acks[1], lease=99)
        replies = on.store.ack(ALICE, [*acks, acks[0]])
        assert replies == [Acked.STORED, Acked.LEASE_LOST, Acked.STORED, Acked.ALREADY]
        assert [on.state(job) for job in jobs] == [JobState.COMPLETED, JobState.EXECUTING, JobState.COMPLETED]

    def test_a_leaving_node_may_ack(self, on: Harness) -> None:
        job = on.running()
        on.store.depart(ALICE, 60)
        assert on.ack(job, End.done()) is Acked.STORED
        assert on.store.nodes() == [], "it holds nothing any more"

    # --- progress ---

    def test_progress_is_guarded_by_the_lease(self, on: Harness) -> None:
        job = on.running()
        on.beat(BOB)

        def report(node: str, of: Job, done: float) -> Progress | None:
            on.store.report(node, [Report(of.id, of.lease, Progress(done, 10.0, "halfway"))])
            return on.get(job).progress

        assert report(BOB, job, 1) is None
        assert report(ALICE, job.replace(lease=2), 2) is None
        assert report(ALICE, job, 4) == Progress(4, 10.0, "halfway")
        on.ack(job, End.done())
        assert report(ALICE, job, 5) == Progress(4, 10.0, "halfway")
