"""What `make held-snapshot` makes of the waits that it saw."""

from dataclasses import replace

import pytest

from held_snapshot import KINDS, Ledger, Seen, judge, percentile, sentence

GOOD = Seen(
    rate=100.0,
    begun=99.0,
    seconds=600.0,
    before=0.02,
    held=0.9,
    after=0.05,
    longest={"plain": 2.0, "retried": 5.9, "late": 3.0},
    look=0.5,
    dead=120_000,
    behind=20_000,
    left=0,
    counts={"plain": 59_400, "retried": 594, "late": 2_000},
)
NONE = float("inf")


def test_work_goes_on_and_all_is_as_before():
    assert judge(GOOD) == []
    assert judge(replace(GOOD, before=0.1, held=0.1, after=0.2)) == []
    assert "at 100 jobs a second, of which 99 began; in the end 120000 dead rows" in sentence(GOOD)


@pytest.mark.parametrize(
    ("problem", "changes"),
    [
        ("with the snapshot jobs waited 1.100 s, and may wait 1 s", {"held": 1.1}),
        ("with the snapshot jobs waited inf s, and may wait 1 s", {"held": NONE}),
        ("60 s after it was closed jobs waited 0.070 s, and 0.030 s before it", {"before": 0.03, "after": 0.07}),
        ("with the snapshot 94 jobs began in a second, of 100", {"begun": 94.0}),
        *(
            (
                f"with the snapshot a {kind} job waited 6.100 s, and may wait 6.000 s",
                {"longest": GOOD.longest | {kind: 6.1}},
            )
            for kind in KINDS
        ),
        *((f"with the snapshot no {kind} job has begun", {"counts": GOOD.counts | {kind: 0}}) for kind in KINDS),
        ("only 0 transactions had come since the snapshot in the end: it was not held", {"behind": 0}),
        (
            "a look at the whole took 0.040 s in the end: it was not held for long enough",
            {"look": 0.04, "longest": dict.fromkeys(KINDS, 1.0)},
        ),
        ("0 rows were dead: the snapshot has held nothing back", {"dead": 0}),
        ("59399 rows were dead: the snapshot has held nothing back", {"dead": 59_399}),
        ("3 jobs had not ended 60 s after the last had come", {"left": 3}),
        ("2 jobs began again, or before they were there", {"unexpected": 2}),
    ],
)
def test_what_is_wrong_is_told(problem, changes):
    assert judge(replace(GOOD, **changes)) == [problem]


def test_waits_are_those_of_the_seconds_asked_for():
    ledger = Ledger()
    for second in range(100):
        for number in (second, second + 100):
            ledger.expect([number], "plain", second - second / 10)
            ledger.begun(number, float(second))
    assert sorted(ledger.between(98, 200)) == [pytest.approx(wait) for wait in (9.8, 9.8, 9.9, 9.9)]
    assert percentile(ledger.between(0, 100), 0.99) == pytest.approx(9.9)
    assert (ledger.between(0, 100, "late"), percentile([], 0.5)) == ([], NONE)


def test_a_job_that_has_not_begun_waits_until_the_end():
    ledger = Ledger()
    ledger.expect([1, 2], "plain", 10.0)
    ledger.expect([3], "late", 12.0)
    ledger.begun(1, 11.0)
    assert ledger.longest(10, 50) == {"plain": 40.0, "retried": 0.0, "late": 38.0}
    ledger.begun(2, 51.0)
    assert ledger.longest(10, 50) == {"plain": 1.0, "retried": 0.0, "late": 38.0}


def test_a_job_that_begins_twice_or_before_it_is_there_is_counted():
    ledger = Ledger()
    ledger.expect([1], "plain", 10.0)
    for number in (1, 1, 2):
        ledger.begun(number, 11.0)
    assert (ledger.unexpected, ledger.between(0, 20)) == (2, [1.0])
