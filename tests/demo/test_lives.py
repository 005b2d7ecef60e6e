"""Runs that go on with the file of another, or beside it."""

import json
import re
import signal
import subprocess

import pytest

import zjobs
from demo.running import DEADLINE_SECONDS, by_state, clean_environment, command, demo, signalled
from zjobs.demo.tree import standard_library


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    """A run that `kill -9` ends in the middle, another that continues it, and a third that finds nothing to do."""
    file = tmp_path_factory.mktemp("kept") / "jobs.db"
    code, killed = signalled(signal.SIGKILL, standard_library(), "--files", "300", "--keep", file)
    assert code == -signal.SIGKILL, killed
    between = zjobs.Supervisor(zjobs.SqliteStore(file)).count_by_state()
    second = demo("--keep", file, "--json", "--seconds", "0")
    assert second.returncode == 0, second.stderr
    return file, killed, between, json.loads(second.stdout), demo("--keep", file)


def test_a_killed_run_leaves_jobs_that_were_running(lives):
    _, killed, between, _, _ = lives
    assert "run the same command again: it continues" in killed
    assert between[zjobs.JobState.EXECUTING] > 0
    assert between[zjobs.JobState.COMPLETED] > 0


def test_the_second_run_continues_and_enqueues_nothing_anew(lives):
    _, killed, between, second, _ = lives
    enqueued = int(re.search(r"^([\d,]+) jobs enqueued", killed, re.MULTILINE)[1].replace(",", ""))
    assert second["enqueued"] - second["cron_ticks"] == enqueued
    inherited = second["inherited"]
    assert inherited["rescued"] == between[zjobs.JobState.EXECUTING]
    assert inherited["elsewhere"] == 0
    assert sum(inherited.values()) == sum(between.values())


def test_the_table_counts_both_lives(lives):
    _, _, between, second, _ = lives
    finished = sum(count for state, count in between.items() if state.is_final)
    assert second["inherited"]["finished"] == finished
    assert second["finished_by_this_run"] == second["enqueued"] - finished
    assert sum(second["states"].values()) == second["enqueued"]
    assert by_state(second) == second["states"]
    assert second["findings"]["files_hashed"] == second["files"] == 300
    assert second["path"] == str(standard_library().resolve())


def test_attempts_that_were_cut_off_are_counted_apart_from_failures(lives):
    _, _, between, second, _ = lives
    assert second["rescued"] == between[zjobs.JobState.EXECUTING]
    assert second["retries"] == sum(kind["retries"] for kind in second["kinds"].values())


def test_a_run_of_a_file_whose_jobs_are_done_says_so_and_does_nothing(lives):
    file, _, _, second, third = lives
    assert third.returncode == 0, third.stderr
    assert f"{file}: nothing is left to do: {second['enqueued']:,} jobs are done" in third.stdout
    assert re.search(rf"^all +{second['states']['completed']} ", third.stdout, re.MULTILINE)


def test_ctrl_c_keeps_what_waits_and_the_next_run_continues(tmp_path):
    code, output = signalled(signal.SIGINT, standard_library(), "--files", "300", "--keep", tmp_path / "jobs.db")
    assert code == 130, output
    assert "run the same command again to continue" in " ".join(output.split()), output  # lines are broken
    done = demo("--keep", tmp_path / "jobs.db", "--seconds", "0")
    assert done.returncode == 0, done.stderr
    assert re.search(r"continuing: [\d,]+ jobs wait; [\d,]+ jobs are done$", done.stdout, re.MULTILINE)
    assert "rescued" not in done.stdout


def test_two_at_once_share_the_work(tmp_path, eventually):
    file = tmp_path / "jobs.db"
    options = ("--keep", file, "--json", "--seconds", "0")
    with subprocess.Popen(
        command(standard_library(), *options), stdout=subprocess.PIPE, text=True, env=clean_environment()
    ) as process:
        eventually(lambda: file.exists() and zjobs.Supervisor(zjobs.SqliteStore(file)).count())
        second = demo(*options)
        first, code = process.stdout.read(), process.wait(DEADLINE_SECONDS)
    assert (code, second.returncode) == (0, 0), second.stderr
    both = [json.loads(first), json.loads(second.stdout)]
    assert both[1]["inherited"]["rescued"] == 0
    assert all(run["finished_by_this_run"] > 0 for run in both)
    assert sum(run["finished_by_this_run"] for run in both) == max(run["enqueued"] for run in both)
