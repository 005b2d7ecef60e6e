"""What `make held-snapshot` makes of the waits that it saw."""

import pytest

from held_snapshot import Waits, judge, percentile


@pytest.mark.parametrize(
    ("before", "held", "after", "problems"),
    [
        (0.02, 0.9, 0.05, []),
        (0.1, 0.1, 0.2, []),
        (0.02, 1.1, 0.02, ["with the snapshot jobs waited 1.100 s, and may wait 1 s"]),
        (0.03, 0.1, 0.07, ["60 s after it was closed jobs waited 0.070 s, and 0.030 s before it"]),
        (float("inf"), float("inf"), 0.01, ["with the snapshot jobs waited inf s, and may wait 1 s"]),
    ],
)
def test_work_goes_on_and_all_is_as_before(before, held, after, problems):
    assert judge(before, held, after) == problems


def test_waits_are_those_of_the_seconds_asked_for():
    waits = Waits()
    for second in range(100):
        waits.seconds[second] += [second / 10, second / 10]
    assert sorted(waits.between(98, 200)) == [9.8, 9.8, 9.9, 9.9]
    assert (percentile(waits.between(0, 100), 0.99), percentile([], 0.5)) == (9.9, float("inf"))
