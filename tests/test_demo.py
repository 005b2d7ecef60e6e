"""The demo, run as its users run it, and its rooms one by one."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import zjobs
from zjobs.demo import jobs
from zjobs.demo.ledger import Inheritance, Kind, inherit
from zjobs.demo.place import in_a_file, in_a_temporary_file, in_memory
from zjobs.demo.session import FAILURE, Demo, Interrupts
from zjobs.demo.tally import Tally, percentile
from zjobs.demo.tree import MOST_BYTES, EmptyTreeError, standard_library, survey
from zjobs.telemetry import JobCompleted, JobDiscarded, JobEnqueued, JobResult, JobStarted

FOLDERS, FILES_PER_FOLDER = 4, 10
FILES = FOLDERS * FILES_PER_FOLDER
SOURCE = "class Box:\n    def open(self):\n        pass\n\nasync def close():\n    return {number}\n"
DEADLINE_SECONDS = 90


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Ten files in each of four folders: half Python, half text; two of the texts are equal."""
    root = tmp_path_factory.mktemp("tree")
    for number in range(FILES):
        folder = root / f"folder{number % FOLDERS}"
        folder.mkdir(exist_ok=True)
        if number < FILES // 2:
            (folder / f"{number}.py").write_text(SOURCE.format(number=number))
        else:
            (folder / f"{number}.txt").write_text(f"{max(number, FILES // 2 + 1)} of these " * 500)
    return root


def clean_environment(**extra):
    unwanted = {"COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}
    return {name: value for name, value in os.environ.items() if name not in unwanted} | extra


def command(*arguments):
    return [sys.executable, "-m", "zjobs", "demo", *map(str, arguments)]


def demo(*arguments, **environment):
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        env=clean_environment(**environment),
        check=False,
    )


def in_a_terminal(*arguments, **environment):
    """Run the demo on a pseudo-terminal; return its exit code and all that it wrote."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(*arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=clean_environment(TERM="xterm-256color", COLUMNS="100", LINES="40", **environment),
    ) as process:
        os.close(theirs)
        written = b"".join(chunks(ours))
        os.close(ours)
        return process.wait(DEADLINE_SECONDS), written.decode()


def chunks(terminal):
    """What is written to a terminal until its other end is closed, which Linux tells with an error."""
    end = time.monotonic() + DEADLINE_SECONDS
    while select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            return
        if not chunk:
            return
        yield chunk
    pytest.fail(f"the demo still ran after {DEADLINE_SECONDS} s")


@pytest.fixture(scope="module")
def summary(tree):
    """The summary of one run that is long enough for a tick."""
    done = demo(tree, "--json", "--seconds", "1.5")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_enqueued_job_ends_in_a_final_state(summary):
    assert set(summary["states"]) == {"completed", "discarded"}
    assert sum(summary["states"].values()) == summary["enqueued"]
    assert all(kind["unfinished"] == 0 for kind in summary["kinds"].values())


def test_what_telemetry_told_is_what_the_store_counts(summary):
    assert summary["finished_by_this_run"] == sum(summary["states"].values())


def test_the_table_adds_up_to_what_the_store_counts(summary):
    assert by_state(summary) == summary["states"]


def by_state(summary):
    counts = {}
    for kind in summary["kinds"].values():
        for state, count in kind["states"].items():
            counts[state] = counts.get(state, 0) + count
    return counts


def test_jobs_that_always_fail_are_discarded_and_no_others(summary):
    assert summary["states"]["discarded"] == summary["always_failing"] == 2
    assert summary["kinds"]["open_lost"]["states"] == {"discarded": 2}


def test_each_refused_attempt_is_retried(summary):
    published = FILES // 20
    assert summary["kinds"]["publish"]["states"] == {"completed": published}
    assert summary["kinds"]["publish"]["retries"] == published * jobs.FLAKY_FAILURES
    assert summary["kinds"]["open_lost"]["retries"] == 2 * (jobs.LOST_ATTEMPTS - 1)
    assert summary["retries"] == sum(kind["retries"] for kind in summary["kinds"].values()) == 8


def test_unique_jobs_refuse_duplicates(summary):
    assert summary["duplicates_refused"] == FILES - FOLDERS
    assert summary["kinds"]["index_folder"]["enqueued"] == FOLDERS


def test_the_cron_entry_ticks(summary):
    assert 1 <= summary["cron_ticks"] == summary["kinds"]["tick"]["enqueued"]
    assert summary["findings"]["peak_memory"] > 0


def test_the_findings_are_those_of_the_tree(summary, tree):
    sizes = [path.stat().st_size for path in tree.rglob("*.*")]
    assert (
        summary["findings"].items()
        >= {
            "files_hashed": FILES,
            "files_with_twins": 2,
            "bytes_hashed": sum(sizes),
            "sources_parsed": FILES // 2,
            "functions": FILES,
            "classes": FILES // 2,
            "folders_indexed": FOLDERS,
            "folder_entries": FILES,
            "files_probed": FILES,
            "text_files": FILES,
        }.items()
    )
    assert 0 < summary["findings"]["compressed_ratio"] < 1


def test_latency_is_measured_for_every_kind(summary):
    for kind in summary["kinds"].values():
        assert 0 <= kind["wait_ms"]["p50"] <= kind["wait_ms"]["p99"]
        assert 0 <= kind["run_ms"]["p50"] <= kind["run_ms"]["p99"]
    assert summary["jobs_per_second"] > 0


def test_json_is_all_that_is_printed(tree):
    done = demo(tree, "--json", "--seconds", "0", "--files", "3")
    assert json.loads(done.stdout)["files"] == 3
    assert done.stderr == ""


def test_plain_output_has_lines_and_a_table_and_no_escape_codes(tree):
    done = demo(tree, "--seconds", "1.5")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert re.search(r"^ +1\.\d s +\d+/\d+ jobs, .* read \d+/\d+, ", done.stdout, re.MULTILINE)
    assert re.search(r"^parse_source +cpu +0 +20 ", done.stdout, re.MULTILINE)
    assert max(map(len, done.stdout.splitlines())) <= 200


def test_a_terminal_shows_bars_that_are_drawn_again(tree):
    code, written = in_a_terminal(tree, "--seconds", "0")
    assert code == 0, written
    assert "━" in written
    assert re.search(r"\x1b\[\d*A", written), "the cursor never went up to draw again"
    assert re.search(r"of 2 running", written)
    assert "\x1b[?25h" in written, "the cursor was not shown again"
    assert "parse_source" in written


def test_no_color_is_respected_in_a_terminal(tree):
    _, coloured = in_a_terminal(tree, "--seconds", "0", "--files", "5")
    _, plain = in_a_terminal(tree, "--seconds", "0", "--files", "5", NO_COLOR="1")
    colour = re.compile(r"\x1b\[[\d;]*\b3[0-7]\b[\d;]*m|\x1b\[[\d;]*38;")
    assert colour.search(coloured)
    assert not colour.search(plain)


def signalled(number, tree, *arguments, **environment):
    """Send a signal when the run has begun; return the exit code and standard output."""
    with subprocess.Popen(
        command(tree, "--seconds", "3600", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=clean_environment(**environment),
    ) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if re.match(r" +\d+\.\d s", line):
                break
        process.send_signal(number)
        lines.extend(process.stdout)
        return process.wait(DEADLINE_SECONDS), "".join(lines)


def interrupted(tree, *arguments, **environment):
    return signalled(signal.SIGINT, tree, *arguments, **environment)


def test_ctrl_c_drains_prints_the_table_and_is_exit_code_130(tree):
    code, output = interrupted(tree)
    assert code == 130, output
    assert "Ctrl-C: draining." in output
    assert "Drained in" in output
    assert re.search(r"^hash_file +read ", output, re.MULTILINE)
    assert "Stopped early" in output
    assert "Traceback" not in output


def test_ctrl_c_in_the_middle_leaves_no_job_executing():
    code, output = interrupted(standard_library())
    assert code == 130, output
    assert re.search(r"left: [\d,]+ available", output), output
    assert "executing" not in output


@pytest.mark.parametrize("ending", ["to the end", signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=str)
def test_nothing_is_left_behind_whatever_ends_the_run(tree, tmp_path, eventually, ending):
    if ending == "to the end":
        demo(tree, "--json", "--seconds", "0", TMPDIR=str(tmp_path))
    else:
        _, output = signalled(ending, tree, TMPDIR=str(tmp_path))
        assert "a temporary SQLite file" in output
    eventually(lambda: not list(tmp_path.iterdir()))


def test_the_temporary_file_is_there_while_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with in_a_temporary_file() as place:
        (folder,) = tmp_path.iterdir()
        assert place.store.path == folder / "jobs.db"
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


def test_in_memory_no_file_is_made(tree, tmp_path):
    done = demo(tree, "--memory", "--seconds", "0", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "into this process's memory" in done.stdout
    assert not list(tmp_path.iterdir())


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


def test_a_file_of_another_application_is_refused_and_unchanged(tmp_path):
    other = zjobs.Supervisor(zjobs.SqliteStore(tmp_path / "jobs.db"))
    job = other.enqueue("send_email", {"to": "user@example.com"})
    done = demo("--keep", tmp_path / "jobs.db")
    assert done.returncode == 2
    assert "send_email" in done.stderr
    assert [job.id] == [job.id for job in other.list()]


def test_a_file_and_memory_at_once_are_wrong_usage(tmp_path):
    done = demo("--memory", "--keep", tmp_path / "jobs.db")
    assert done.returncode == 2
    assert "choose one" in done.stderr


def test_a_terminal_keeps_its_cursor_when_the_run_may_be_killed(tree, tmp_path):
    _, written = in_a_terminal(tree, "--seconds", "0", "--files", "5", "--keep", tmp_path / "jobs.db")
    assert written.rindex("\x1b[?25l") < written.index("\x1b[?25h") < written.index("━")


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


def test_a_run_in_which_nothing_but_ticks_finishes_gives_up(tree, monkeypatch):
    monkeypatch.setattr("zjobs.demo.session.STALLED_SECONDS", 2.5)  # longer than from one tick to the next
    run = Demo(in_memory(), lambda: survey(tree, most_files=1), seconds=0, as_json=True)
    run._jobs.pause_queue("net")
    assert run.run() == FAILURE


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (Inheritance(412, 3, 0, 9), "412 jobs wait, 3 were running when it was killed and are taken back; 9 jobs are"),
        (Inheritance(1, 1, 0, 1), "1 job waits, 1 was running when it was killed and is taken back; 1 job is done"),
        (Inheritance(5, 0, 2, 0), "5 jobs wait, 2 run in another process; 0 jobs are done"),
    ],
)
def test_what_an_earlier_run_left_is_said(left, words):
    assert left.sentence().startswith(f"continuing: {words}")


def test_jobs_that_run_in_another_process_are_not_taken_back(tmp_path, gate, eventually):
    first = zjobs.Supervisor(in_a_file(tmp_path / "jobs.db").store)
    first.register_worker(zjobs.WorkerDef("tick", lambda _: gate.wait(30)))
    with first:
        first.enqueue("tick")
        eventually(lambda: first.count(states=[zjobs.JobState.EXECUTING]))
        second = zjobs.Supervisor(zjobs.SqliteStore(tmp_path / "jobs.db"))
        assert inherit(second) == Inheritance(waiting=0, rescued=0, elsewhere=1, finished=0)
        gate.set()


def test_a_failure_that_ended_a_job_is_no_retry():
    supervisor = zjobs.Supervisor()
    supervisor.register_worker(zjobs.WorkerDef("tick", lambda _: 1 / 0, retry_strategy=zjobs.Constant(0)))
    job = supervisor.enqueue("tick", max_attempts=3)
    while supervisor.drain():
        pass
    kind = Kind("default", 0)
    kind.add(supervisor.get(job))
    assert (kind.retries, kind.finished) == (2, 1)


def test_a_second_ctrl_c_does_not_wait_for_jobs_in_flight(tree, monkeypatch):
    run = Demo(in_memory(), lambda: survey(tree, most_files=1), seconds=0, as_json=True)
    never = threading.Event()
    monkeypatch.setattr(run._jobs, "stop", lambda: never.wait(10))
    interrupts = Interrupts()
    interrupts.count = 2
    try:
        assert run._drain(run._view(), interrupts) is False
    finally:
        never.set()


def test_signals_are_given_back_after_the_run():
    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        assert interrupts.count == 1
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("make", [lambda _: None, Path.mkdir], ids=["missing", "empty"])
def test_a_path_without_files_is_wrong_usage(tmp_path, make):
    path = tmp_path / "nothing"
    make(path)
    done = demo(path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "PATH" in done.stderr
    assert "must" in done.stderr


def test_a_survey_takes_files_evenly_and_leaves_out_what_it_cannot_use(tmp_path):
    for number in range(10):
        (tmp_path / f"{number}.txt").write_text("x")
    (tmp_path / "huge.bin").write_bytes(b"\0" * (MOST_BYTES + 1))
    (tmp_path / "link.txt").symlink_to(tmp_path / "0.txt")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("x")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "0.pyc").write_text("x")
    tree = survey(tmp_path, most_files=5)
    assert [Path(path).name for path in tree.files] == ["0.txt", "2.txt", "4.txt", "6.txt", "8.txt"]
    assert (tree.found, tree.left_out) == (10, 3)


def test_a_survey_of_one_file_is_that_file(tmp_path):
    (tmp_path / "one.txt").write_text("x")
    assert survey(tmp_path / "one.txt", most_files=5).files == (str((tmp_path / "one.txt").resolve()),)


def test_a_survey_of_nothing_says_what_to_do(tmp_path):
    with pytest.raises(EmptyTreeError, match=r"must be a folder that exists .*standard library"):
        survey(tmp_path / "missing", most_files=5)


def test_a_source_that_does_not_parse_is_a_finding(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def (")
    assert jobs.parse_source(str(path))["broken"] == 1


def test_the_longest_function_is_found(tmp_path):
    path = tmp_path / "two.py"
    path.write_text("def short(): pass\n\ndef long():\n    pass\n    pass\n")
    census = jobs.parse_source(str(path))
    assert (census["longest_name"], census["longest_lines"]) == ("long", 3)


def test_a_job_that_was_given_up_with_its_process_is_counted_and_nobody_knows_how_long_it_ran():
    tally = Tally({"mail": 2}, apart="tick")
    ran, lost = (SimpleNamespace(id=number, worker="send", queue="mail", attempt=1) for number in (1, 2))
    for job in (ran, lost):
        tally(JobEnqueued(job))
        tally(JobStarted(job))
    tally(JobCompleted(JobResult(ran, duration_ms=3.0, queue_ms=1.0, error_msg=None)))
    tally(JobDiscarded(JobResult(lost, duration_ms=0.0, queue_ms=2.0, error_msg="NodeLost")))
    now = tally.now()
    assert (now.finished, now.running, now.discarded) == (2, 0, 1)
    assert (tally.attempts["send"].runs, tally.attempts["send"].waits) == ([3.0], [1.0])


def test_percentiles_are_of_nearest_rank():
    assert percentile([], 50) is None
    assert percentile([7], 99) == 7
    assert [percentile(range(1, 101), percent) for percent in (1, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([1, 2, 3, 4], 50) == 2
