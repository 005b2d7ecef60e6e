"""Handlers that end the process: their job runs again elsewhere, three times at most, and other jobs run as ever."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import zjobs
from hostile.lives import DEATHS
from zjobs import JobState

TESTS = Path(__file__).parents[1]
POISONED = "its node died while it ran, 3 times now: it may be what kills them; retry it by hand"


def lives(url):
    """How each of the workers has ended."""
    command = [sys.executable, "-m", "hostile.lives", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, cwd=TESTS)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("lane", ["thread", "loop"])
def test_a_job_that_ends_its_process_three_times_is_given_up_and_others_are_not(lane, tmp_path):
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    jobs = zjobs.Supervisor(url)
    deadly = [jobs.enqueue(lane, {"death": death}, max_attempts=10) for death in DEATHS]
    good = [jobs.enqueue(worker, {"number": n}, priority=n % 2) for n in range(10) for worker in ("good", "good_too")]
    ends = lives(url)
    assert ends.pop() == "done"
    assert Counter(ends) == Counter([str(code) for _, code in DEATHS.values() for _ in range(3)])
    for job in map(jobs.get, deadly):
        assert (job.state, job.attempt, job.crashes) == (JobState.DISCARDED, 3, 3)
        assert [error.kind for error in job.errors] == ["NodeLost"] * 3
        assert job.errors[-1].message == POISONED
    for number, job in enumerate(map(jobs.get, good)):
        assert (job.state, job.result, job.attempt, job.errors) == (JobState.COMPLETED, number // 2, 1, ())


def test_on_a_server_the_job_of_a_dead_worker_runs_again_when_its_lease_has_ended(postgres_url):
    jobs = zjobs.Supervisor(postgres_url)
    deadly = jobs.enqueue("thread", {"death": "kill"}, max_attempts=2)
    good = [jobs.enqueue(worker, {"number": n}) for n in range(10) for worker in ("good", "good_too")]
    assert lives(postgres_url) == ["-9", "-9", "done"]
    job = jobs.get(deadly)
    assert (job.state, job.attempt, job.crashes) == (JobState.DISCARDED, 2, 2)
    assert [error.kind for error in job.errors] == ["NodeLost"] * 2
    for number, job in enumerate(map(jobs.get, good)):
        assert (job.state, job.result) == (JobState.COMPLETED, number // 2)
