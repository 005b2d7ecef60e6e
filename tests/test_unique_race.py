"""The short form of `make unique-race`, and the proof that it sees what is wrong."""

import pytest

import zjobs
from unique_race import POLICIES, Said, problems, race, unfelt


@pytest.fixture(params=["postgres", "sqlite"])
def url(request, tmp_path):
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else f"sqlite:///{tmp_path}/jobs.db"
    zjobs.migrate(url)
    return url


@pytest.mark.parametrize("policy", POLICIES)
def test_sixteen_clients_that_want_one_key_at_once_leave_one_live_job(url, policy):
    assert list(race(url, POLICIES[policy], rounds=10)) == []


@pytest.fixture
def rows():
    """Three jobs of one key, of which the last is live."""
    jobs = zjobs.Supervisor("memory://")
    for _ in range(3):
        jobs.enqueue("w", unique_key="k", unique_strategy=zjobs.UniqueStrategy.CANCEL_EXISTING)
    return list(jobs.list())


@pytest.mark.parametrize(
    ("policy", "said", "taken", "told"),
    [
        ("the last replaces", Said([1, 2, 3]), [1, 2, 3], []),
        ("the first is kept", Said([3], [3, 3]), [3], []),
        ("each by its own rule", Said([1, 2, 3], [1, 2]), [1, 2, 3], []),
        ("and some cancel", Said([1, 2], [1]), [1, 2], []),
        ("each by its own rule", Said([1, 2]), [1, 2], ["0 jobs are live"]),
        ("and some cancel", Said([3, 3]), [3, 3], ["2 calls inserted, and 2 rows are there", "2 jobs are live"]),
        ("the last replaces", Said([2, 3]), [1, 2, 3], ["2 calls inserted, and 3 rows are there"]),
        ("and some cancel", Said([3], [4]), [3], ["calls met [4], which are not there"]),
        ("the first is kept", Said([2, 3], [2]), [2, 3], ["2 rows are there, though the first is kept"]),
        ("the last replaces", Said([3], [3]), [3], ["1 calls met another, though the last replaces"]),
    ],
)
def test_what_is_wrong_is_told(rows, policy, said, taken, told):
    assert problems(POLICIES[policy], said, [rows[number - 1] for number in taken]) == told


AT_ONCE, ONE_BY_ONE = [(0.0, 2.0)] * 4, [(0.0, 1.0), (1.5, 2.0), (2.0, 3.0), (3.0, 4.0)]


@pytest.mark.parametrize(
    ("policy", "calls", "cancelled", "told"),
    [
        ("the first is kept", AT_ONCE, 0, []),
        ("and some cancel", AT_ONCE, 1, []),
        ("the first is kept", ONE_BY_ONE, 0, ["half of the keys had no more than 1 calls at one moment"]),
        ("and some cancel", AT_ONCE, 0, ["nothing was cancelled"]),
    ],
)
def test_clients_that_have_not_met_or_cancelled_nothing_are_told(policy, calls, cancelled, told):
    assert unfelt(POLICIES[policy], [Said(calls=calls, cancelled=cancelled)]) == told
