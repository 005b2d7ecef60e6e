"""Whoever names jobs by id hears of each that is left alone, and why."""

import json
import threading

import pytest

import zjobs


@pytest.fixture
def running(shell):
    """The id of a job whose handler runs until the test is over."""
    app = zjobs.Supervisor(shell.url)
    begun, finish = threading.Event(), threading.Event()

    @app.worker
    def slow() -> None:
        begun.set()
        finish.wait(60)

    with app:
        job = slow.enqueue()
        assert begun.wait(30)
        yield job.id
        finish.set()


def test_a_cancel_says_which_job_is_not_there_and_cancels_the_others(shell):
    job = shell.jobs.enqueue("send")
    done = shell("jobs", "cancel", str(job.id), "999", str(job.id))
    assert (done.stdout, done.returncode) == ("1 of 2 cancelled\n", 3)
    assert done.stderr == "zjobs: job not found: 999; it may have been pruned or deleted\n"
    again = shell("jobs", "cancel", "998", str(job.id))
    assert (again.stdout, again.returncode) == ("0 of 2 cancelled\n", 1)
    assert again.stderr == (
        "zjobs: job not found: 998; it may have been pruned or deleted\n"
        "zjobs: job 1 cannot be cancelled: it is cancelled already\n"
    )


def test_a_running_job_is_only_asked_to_stop(shell, running):
    shell.jobs.enqueue("send")
    told = shell("jobs", "cancel", str(running))
    assert (told.stdout, told.returncode) == ("0 of 1 cancelled, 1 asked to stop\n", 0)
    assert shell.json("jobs", "show", str(running))["cancel_requested"] is True
    both = shell("jobs", "cancel", "--all", "--yes", "--json")
    assert json.loads(both.stdout) == {"cancelled": 1, "asked_to_stop": 1}


def test_a_running_job_is_neither_retried_nor_deleted_and_the_reason_is_told(shell, running):
    for verb, done, reason in (
        ("retry", "started again", "cannot be retried while it runs; cancel it first"),
        ("delete", "deleted", "cannot be deleted while it is executing; cancel it first"),
    ):
        told = shell("jobs", verb, str(running))
        assert (told.stdout, told.returncode) == (f"0 of 1 {done}\n", 1)
        assert reason in told.stderr


def test_a_retry_names_the_job_that_has_the_key(shell):
    jobs = shell.jobs
    first = jobs.enqueue("send", unique_key="k")
    jobs.cancel(first)
    second = jobs.enqueue("send", unique_key="k")
    told = shell("jobs", "retry", str(first.id))
    assert (told.stdout, told.returncode) == ("0 of 1 started again\n", 1)
    assert f"its unique key is taken by live job {second.id}" in told.stderr
    many = shell("jobs", "retry", "--state", "cancelled", "--yes")
    assert (many.stdout, many.returncode) == ("0 of 1 started again, 1 held back by their unique key\n", 0)
    waiting = shell("jobs", "retry", str(second.id))
    assert (waiting.returncode, "it is available" in waiting.stderr) == (1, True)


def test_tools_read_what_was_left_alone_and_why(shell):
    job = shell.jobs.enqueue("send")
    done = shell("jobs", "delete", str(job.id), "7", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout) == {
        "deleted": 1,
        "left_alone": [{"id": 7, "why": "job not found: 7; it may have been pruned or deleted"}],
    }


def test_a_number_that_could_be_no_id_is_wrong_usage_and_changes_nothing(shell):
    job = shell.jobs.enqueue("send")
    done = shell("jobs", "cancel", str(job.id), "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert shell.jobs.get(job).state is zjobs.JobState.AVAILABLE


def test_an_empty_variable_of_the_shell_is_refused_and_means_no_job(shell):
    shell.jobs.enqueue("send", queue="mail")
    for option in ("--queue", "--worker", "--state", "--tag"):
        done = shell("jobs", "delete", option, "", "--yes")
        assert done.returncode == 2, option
    assert shell("jobs", "delete", "--queue", "", "--state", "available", "--yes").returncode == 2
    assert shell("jobs", "list", "--queue", "").returncode == 2
    assert shell.jobs.count() == 1
