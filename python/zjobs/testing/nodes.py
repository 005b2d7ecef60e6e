"""*heartbeat*, departure and *rescue*."""

from zjobs.job import JobState
from zjobs.store import Acked, Pulse, RescueReason
from zjobs.testing.harness import ALICE, BOB, TTL, End, Harness, ids

__all__ = ["Nodes"]

_FOREVER_YOUNG = Pulse(alive=True)


class Nodes:
    """Who lives, and what becomes of the jobs of those who do not."""

    def test_the_first_beat_registers(self, on: Harness) -> None:
        assert on.store.nodes() == []
        before = on.store.now()
        assert on.beat(ALICE) == _FOREVER_YOUNG
        [node] = on.store.nodes()
        assert (node.node, node.name, node.pid, node.executing) == (ALICE, "host", 42, 0)
        assert node.queues == {"default": 10}
        assert before <= node.started_at <= on.store.now()
        assert node.beat_at == node.started_at
        assert (node.expires_at - node.beat_at).total_seconds() == TTL

    def test_a_beat_extends_the_lease(self, on: Harness) -> None:
        job = on.running()
        for _ in range(4):
            on.advance(TTL / 2)
            assert on.beat(ALICE, [job.id]) == _FOREVER_YOUNG
            assert on.store.rescue() == []
        [node] = on.store.nodes()
        assert node.beat_at > node.started_at
        assert ((node.expires_at - node.beat_at).total_seconds(), node.executing) == (TTL, 1)

    def test_a_beat_tells_what_is_wanted_lost_and_unknown(self, on: Harness) -> None:
        wanted, unknown, finished = on.running(), on.running(), on.running()
        foreign = on.running(BOB)
        on.store.cancel(ids(wanted))
        on.ack(finished, End.done())
        pulse = on.beat(ALICE, [foreign.id, wanted.id, finished.id])
        assert pulse == Pulse(
            alive=True,
            cancel=(wanted.id,),
            lost=(finished.id, foreign.id),
            unknown=((unknown.id, unknown.lease),),
        )

    def test_a_node_declared_dead_never_comes_back(self, on: Harness) -> None:
        on.running()
        on.beat(BOB)
        on.advance(TTL + 1)
        assert on.beat(BOB).alive, "nobody has declared it dead yet"
        assert len(on.store.rescue()) == 1
        for _ in range(3):
            assert not on.beat(ALICE).alive
            on.advance(TTL)

    def test_a_departed_node_without_jobs_is_gone(self, on: Harness) -> None:
        on.beat(ALICE)
        on.store.depart(ALICE, 30)
        assert on.store.nodes() == []
        assert not on.beat(ALICE).alive
        on.store.depart(BOB, 30)
        assert on.store.nodes() == []

    def test_a_departure_that_is_announced_again_has_a_new_grace(self, on: Harness) -> None:
        job = on.running()
        for _ in range(3):
            on.store.depart(ALICE, 5)
            on.advance(4)
            assert on.store.rescue() == []
            assert on.beat(ALICE).alive
        on.advance(2)
        assert [one.job.id for one in on.store.rescue()] == [job.id]
        on.store.depart(ALICE, 5)
        assert not on.beat(ALICE).alive

    # --- rescue ---

    def test_jobs_of_a_silent_node_are_taken_back(self, on: Harness) -> None:
        job = on.running()
        on.advance(TTL + 1)
        [rescued] = on.store.rescue()
        now = on.get(job)
        assert (rescued.job, rescued.reason) == (now, RescueReason.NODE_DIED)
        assert (now.id, now.state, now.attempt, now.lease, now.node) == (job.id, JobState.AVAILABLE, 1, 1, None)
        assert (now.crashes, [error.kind for error in now.errors]) == (1, ["NodeLost"])
        on.beat(BOB)
        [again] = on.claim(BOB)
        assert (again.id, again.attempt, again.lease) == (job.id, 2, 2)

    def test_a_living_node_keeps_its_jobs(self, on: Harness) -> None:
        job = on.running()
        on.advance(TTL / 2)
        assert on.store.rescue() == []
        assert on.get(job) == job

    def test_a_dead_node_writes_nothing_any_more(self, on: Harness) -> None:
        job = on.running()
        on.advance(TTL + 1)
        on.store.rescue()
        assert on.ack(job, End.done()) is Acked.LEASE_LOST
        on.beat(BOB)
        [second] = on.claim(BOB)
        assert on.ack(job, End.done()) is Acked.LEASE_LOST
        assert on.get(job) == second
        assert on.ack(second, End.done(), BOB) is Acked.STORED

    def test_the_third_crash_discards(self, on: Harness) -> None:
        job = on.enqueue()
        for crash, to in ((1, JobState.AVAILABLE), (2, JobState.AVAILABLE), (3, JobState.DISCARDED)):
            node = f"{crash:032x}"
            on.beat(node)
            assert len(on.claim(node)) == 1
            on.advance(TTL + 1)
            assert len(on.store.rescue()) == 1
            assert on.state(job) is to
        now = on.get(job)
        assert (now.crashes, len(now.errors)) == (3, 3)
        assert now.finished_at is not None

    def test_a_crash_of_the_last_attempt_discards(self, on: Harness) -> None:
        job = on.running(max_attempts=1)
        on.advance(TTL + 1)
        [rescued] = on.store.rescue()
        assert rescued.job == on.get(job)
        assert on.state(job) is JobState.DISCARDED

    def test_a_shutdown_is_refunded_after_its_grace(self, on: Harness) -> None:
        job = on.running(max_attempts=1)
        on.store.depart(ALICE, 5)
        on.advance(5)
        assert on.store.rescue() == [], "the grace is not over"
        on.advance(1)
        assert [one.reason for one in on.store.rescue()] == [RescueReason.SHUTDOWN]
        now = on.get(job)
        assert (now.state, now.attempt, now.crashes, len(now.errors)) == (JobState.AVAILABLE, 0, 0, 1)
        assert on.ack(job, End.done()) is Acked.LEASE_LOST

    def test_a_wanted_cancel_becomes_one_at_a_rescue(self, on: Harness) -> None:
        job = on.running()
        on.store.cancel(ids(job))
        on.advance(TTL + 1)
        [rescued] = on.store.rescue()
        assert rescued.job == on.get(job)
        assert on.state(job) is JobState.CANCELLED

    def test_a_limit_of_a_rescue_leaves_the_rest_for_the_next_call(self, on: Harness) -> None:
        jobs = [on.running() for _ in range(5)]
        on.advance(TTL + 1)
        assert len(on.store.rescue(3)) == 3
        left = next(job for job in jobs if on.state(job) is JobState.EXECUTING)
        assert on.ack(left, End.done()) is Acked.LEASE_LOST, "it is dead already"
        assert len(on.store.rescue(3)) == 2
        assert on.store.rescue(3) == []
        assert all(node.executing == 0 for node in on.store.nodes())
