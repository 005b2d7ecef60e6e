"""*get*, *list* and counts."""

from collections.abc import Sequence

from zjobs.job import JobState
from zjobs.store import JobFilter
from zjobs.testing.harness import Harness, ids

__all__ = ["Reads"]


def _found(on: Harness, **parts: object) -> list[int]:
    asked = JobFilter(**parts)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    jobs = on.store.list(asked)
    assert on.store.count(asked) == len(jobs)
    return [job.id for job in jobs]


class Reads:
    """What people see."""

    def test_each_part_of_a_filter_restricts(self, on: Harness) -> None:
        plain, mail = on.enqueue().id, on.enqueue(queue="mail").id
        other = on.enqueue(worker="other").id
        red, blue = on.enqueue(tags=("red", "big")).id, on.enqueue(tags=("blue", "big")).id
        unique = on.enqueue(unique_key="k").id
        on.store.cancel(ids(plain))
        assert _found(on) == [plain, mail, other, red, blue, unique]
        assert _found(on, queue="mail") == [mail]
        assert _found(on, queue="nowhere") == []
        assert _found(on, worker="other") == [other]
        assert _found(on, worker="nobody") == []
        assert _found(on, tags=("big",)) == [red, blue]
        assert _found(on, tags=("big", "red")) == [red]
        assert _found(on, unique_key="k") == [unique]
        assert _found(on, states=(JobState.CANCELLED, JobState.COMPLETED)) == [plain]
        assert _found(on, states=(JobState.AVAILABLE,), queue="mail") == [mail]
        assert _found(on, ids=(red, plain, red)) == [plain, red]
        assert _found(on, ids=()) == []

    def test_a_cursor_walks_through_all_jobs_in_both_orders(self, on: Harness) -> None:
        expected = [on.enqueue().id for _ in range(7)]
        for newest_first in (False, True):
            seen: list[int] = []
            while page := self._page(on, seen, newest_first=newest_first):
                seen += page
            assert seen == (expected[::-1] if newest_first else expected)
        assert _found(on, ids=tuple(expected), after=expected[3]) == expected[4:]

    @staticmethod
    def _page(on: Harness, seen: Sequence[int], *, newest_first: bool) -> list[int]:
        after = seen[-1] if seen else None
        return [job.id for job in on.store.list(JobFilter(after=after, newest_first=newest_first, limit=3))]

    def test_counts_ignore_the_limit(self, on: Harness) -> None:
        for _ in range(5):
            on.enqueue()
        two = JobFilter(worker="w", limit=2)
        assert (len(on.store.list(two)), on.store.count(two)) == (2, 5)

    def test_counts_by_state_and_queue_agree_with_the_jobs(self, on: Harness) -> None:
        for state in JobState:
            if state not in {JobState.AVAILABLE, JobState.EXECUTING}:
                on.finished(state)
        on.running()
        on.enqueue(queue="mail")
        on.enqueue()
        one_each = dict.fromkeys(JobState, 1)
        none = dict.fromkeys(JobState, 0)
        assert on.store.count_by_state() == one_each | {JobState.AVAILABLE: 2}
        assert on.store.count_by_state("default") == one_each
        assert on.store.count_by_state("mail") == none | {JobState.AVAILABLE: 1}
        assert on.store.count_by_state("nowhere") == none

    def test_missing_ids_are_left_out(self, on: Harness) -> None:
        first, second = on.enqueue(), on.enqueue()
        assert on.store.get([second.id, 2**63 - 1, first.id, second.id]) == [first, second]
