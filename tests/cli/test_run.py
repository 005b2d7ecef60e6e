"""`zjobs run` in real processes, with real signals."""

import os
import pty
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

import zjobs

APP = """
import os, pathlib, time, zjobs
jobs = zjobs.Supervisor("sqlite:///jobs.db", queues={"default": 2, "mail": 1})

@jobs.worker
def mark(name: str) -> None:
    pathlib.Path(name).write_text(str(os.getpid()))

@jobs.worker
def slow(name: str) -> None:
    pathlib.Path(name + ".began").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
    pathlib.Path(name).touch()

@jobs.worker(queue="mail")
def letter(name: str) -> None:
    pathlib.Path(name).touch()
"""
PATIENCE = 30


class Running:
    def __init__(self, folder, *options, program=APP, **settings):
        (folder / "app.py").write_text(program)
        self.folder = folder
        self.process = subprocess.Popen(
            [*settings.pop("before", ()), sys.executable, "-m", "zjobs", "run", "app:jobs", *options],
            cwd=folder,
            text=True,
            **({"stderr": subprocess.PIPE} | settings),
        )

    def enqueue(self, worker, name):
        zjobs.Supervisor(f"sqlite:///{self.folder}/jobs.db").enqueue(worker, {"name": name})

    def until(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not (met := condition()):
            assert time.monotonic() < deadline, "waited in vain"
            assert self.process.poll() is None or condition(), self.process.stderr.read()
            os.sched_yield()
        return met

    def there(self, name):
        return self.until((self.folder / name).exists)

    def end(self):
        error = self.process.communicate(timeout=PATIENCE)[1]
        return self.process.returncode, error


@pytest.fixture
def run(tmp_path):
    started = []

    def start(*options, **settings):
        started.append(Running(tmp_path, *options, **settings))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            for child in psutil.Process(running.process.pid).children(recursive=True):
                child.kill()
            running.process.kill()
            running.process.wait()
        if running.process.stderr:
            running.process.stderr.close()


def test_jobs_run_until_a_signal_and_those_in_flight_finish(run):
    app = run()
    app.enqueue("slow", "one")
    app.there("one.began")
    app.process.send_signal(signal.SIGTERM)
    app.enqueue("mark", "late")
    (app.folder / "go").touch()
    code, error = app.end()
    assert code == 0
    assert (app.folder / "one").exists()
    assert not (app.folder / "late").exists()
    assert "zjobs" in error
    assert "works on default:2, mail:1; workers: mark, slow, letter" in error
    assert "event=job_completed" in error


def test_a_second_signal_stops_hard(run):
    app = run()
    app.enqueue("slow", "one")
    app.there("one.began")
    app.process.send_signal(signal.SIGINT)
    app.until(lambda: "draining" in app.process.stderr.readline())
    app.process.send_signal(signal.SIGINT)
    app.end()
    assert not (app.folder / "one").exists()


def test_only_the_chosen_queues_are_worked_on(run):
    app = run("--queues", "mail:3")
    app.enqueue("mark", "mark")
    jobs = zjobs.Supervisor(f"sqlite:///{app.folder}/jobs.db")
    jobs.enqueue("letter", {"name": "letter"}, queue="mail")
    app.there("letter")
    assert not (app.folder / "mark").exists()
    assert [dict(node.queues) for node in jobs.nodes()] == [{"mail": 3}]


def test_several_processes_work_and_one_that_is_killed_is_started_again(run):
    app = run("--processes", "2")
    children = app.until(lambda: workers(app) if len(workers(app)) == 2 else None)
    os.kill(children[0], signal.SIGKILL)
    again = app.until(lambda: workers(app) if len(workers(app)) == 2 and children[0] not in workers(app) else None)
    assert children[1] in again
    app.enqueue("mark", "mark")
    app.there("mark")
    app.process.send_signal(signal.SIGTERM)
    code, error = app.end()
    assert code == 0
    assert "ended with SIGKILL; it is started again" in error


def test_processes_end_when_their_parent_was_killed(run):
    app = run("--processes", "2")
    children = app.until(lambda: workers(app) if len(workers(app)) == 2 else None)
    app.process.kill()
    deadline = time.monotonic() + PATIENCE
    while any(is_living(child) for child in children):
        assert time.monotonic() < deadline
        os.sched_yield()


def test_processes_that_have_not_begun_to_work_when_they_are_to_end_end_well(run):
    waits = (
        "\nimport os, sys\nif '--follow-parent' in sys.argv:\n    open(f'{os.getpid()}.here', 'w')\n    os.read(0, 1)\n"
    )
    app = run("--processes", "2", program=APP + waits)
    app.until(lambda: len(list(app.folder.glob("*.here"))) == 2)
    app.process.send_signal(signal.SIGTERM)
    code, error = app.end()
    assert code == 0, error


ON_A_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("options", [(), ("--processes", "2")])
def test_jobs_in_flight_finish_when_the_terminal_is_closed(run, options):
    ours, theirs = pty.openpty()
    before = (sys.executable, "-c", ON_A_TERMINAL)
    app = run(*options, before=before, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    app.enqueue("slow", "one")
    app.there("one.began")
    os.close(ours)
    (app.folder / "go").touch()
    assert app.process.wait(PATIENCE) == 0
    app.there("one")


def test_what_nohup_starts_outlives_its_terminal(run):
    app = run(before=("nohup",), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    app.enqueue("mark", "first")
    app.there("first")
    app.process.send_signal(signal.SIGHUP)
    app.enqueue("mark", "second")
    app.there("second")
    app.process.send_signal(signal.SIGTERM)
    assert app.end()[0] == 0


def test_what_was_mistyped_ends_all_processes_at_once(run, tmp_path):
    app = run("--processes", "2", "--queues", "unknown")
    code, error = app.end()
    assert code == 2
    assert "has no queue 'unknown'" in " ".join(error.replace("│", " ").split())
    assert "started again" not in error


def test_processes_that_end_at_once_are_given_up(run, tmp_path):
    broken = "\nimport os, sys\nif '--follow-parent' in sys.argv:\n    os._exit(7)\n"
    app = run("--processes", "2", program=APP + broken)
    code, error = app.end()
    assert code == 1
    assert "ended with exit code 7; it is started again" in error
    assert "it is given up" in error


def test_jobs_in_the_memory_of_one_process_are_not_given_to_several(run):
    code, error = run("--processes", "2", program=APP.replace("sqlite:///jobs.db", "memory://")).end()
    assert code == 2
    assert "each process would have jobs of its own" in " ".join(error.replace("│", " ").split())


def test_a_third_signal_ends_the_process_where_it_is(run):
    stubborn = APP.replace('while not pathlib.Path("go").exists():', "while True:")
    app = run(program=stubborn)
    app.enqueue("slow", "one")
    app.there("one.began")
    for _ in range(3):
        app.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    assert app.end()[0] in {-signal.SIGTERM, 1}


def test_a_line_of_the_log_is_one_line_in_utc_whatever_a_job_says(run):
    app = run(
        program=APP
        + "\n@jobs.worker\ndef talks(ctx: zjobs.JobContext, name: str) -> None:\n    ctx.log.warning(name)\n"
    )
    app.enqueue("talks", "a\n2026 ERROR forged \x1b[2J")
    lines = []
    app.until(lambda: lines.append(app.process.stderr.readline()) or "forged" in lines[-1])
    assert r"a\n2026 ERROR forged \x1b[2J" in lines[-1]
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z WARNING", lines[-1])
    app.process.send_signal(signal.SIGTERM)
    assert app.end()[0] == 0


def is_living(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def workers(app):
    """The processes that have registered as nodes."""
    if not (app.folder / "jobs.db").exists():
        return []
    nodes = zjobs.Supervisor(f"sqlite:///{app.folder}/jobs.db").nodes()
    living = [child.pid for child in psutil.Process(app.process.pid).children() if is_living(child.pid)]
    return [node.pid for node in nodes if node.pid in living]
