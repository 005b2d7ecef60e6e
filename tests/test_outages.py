"""The short forms of `make cuts`, `make promotions` and `make disks`, and the proof that they see what is wrong."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import zjobs
from outages.account import Account


def proved(program, *arguments):
    command = [sys.executable, "-m", f"outages.{program}", *arguments]
    ended = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=140, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.timeout(150)
def test_cuts_lose_nothing_and_run_nothing_twice():
    assert proved("cuts", "--cuts", "12").startswith("proved: 12 cuts")


@pytest.mark.timeout(150)
def test_work_goes_on_at_a_follower_that_was_promoted_and_nothing_is_lost():
    assert proved("promotions", "--times", "2").startswith("proved: 2 deaths of the leader")


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("store", "kinds"), [("sqlite", 2), ("postgres", 3)])
def test_disks_that_are_full_read_only_or_fail_lose_nothing(store, kinds):
    said = proved("disks", "--rounds", "1", "--store", store)
    assert said.startswith(f"proved: {kinds} outages of the disk of {store}")


@pytest.fixture
def jobs():
    """A supervisor whose jobs `a` and `b` have ended."""
    jobs = zjobs.Supervisor("memory://")

    @jobs.worker
    def act(token: str) -> None: ...

    jobs.enqueue_many([("act", {"token": token}) for token in "ab"])
    jobs.drain()
    return jobs


def seen(**changes):
    found = Account()
    found.made, found.uncertain = {"a": 1}, {"b"}
    found.runs.update({"a": 1, "b": 1})
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def test_what_is_possible_is_no_problem(jobs):
    assert seen().problems(jobs) == []


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("c was enqueued and is not there", {"made": {"a": 1, "c": 2}}),
        ("b was refused and is there", {"refused": {"b"}}),
        ("a is there 1 times and ran 2 times", {"runs": {"a": 2, "b": 1}}),
        ("b is there 1 times and ran 0 times", {"runs": {"a": 1, "b": 0}}),
        ("a call took 15.5 seconds", {"slowest": 15.5}),
        ("p: oh", {"failures": ["p: oh"]}),
        ("nothing was enqueued", {"made": {}}),
    ],
)
def test_what_is_wrong_is_told(jobs, what, changes):
    assert seen(**changes).problems(jobs) == [what]


def test_a_job_that_never_ended_and_one_that_came_twice_are_told(jobs):
    jobs.enqueue("act", {"token": "a"}, schedule_in=timedelta(hours=1))
    found = seen(runs={"a": 2, "b": 1}).problems(jobs)
    assert found == ["a is scheduled", "a has no key and is there 2 times"]
