"""The standard library's `sqlite3` and ours, on one file in one process: neither harms the other, whoever is killed."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import zjobs

BEGIN = """
import os, signal, sqlite3, sys, zjobs
path = sys.argv[1]
def enqueue(jobs, count):
    for n in range(count):
        jobs.enqueue("w", {"n": n})
def die():
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def run(path, code):
    """Runs the code in a process of its own, which kills itself at the end."""
    program = BEGIN + textwrap.dedent(code) + "\ndie()\n"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


def rows(path):
    with sqlite3.connect(path) as connection:
        count = connection.execute("SELECT count(*) FROM zjobs_jobs").fetchone()[0]
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    return count


def test_jobs_survive_a_kill_after_the_other_copy_opened_read_and_closed_the_file(path):
    code = """
        jobs = zjobs.Supervisor(f"sqlite:///{path}")
        enqueue(jobs, 1)
        other = sqlite3.connect(path)
        other.execute("SELECT count(*) FROM zjobs_jobs").fetchone()
        other.close()
        enqueue(jobs, 500)
    """
    run(path, code)
    assert rows(path) == 501


def test_whoever_comes_to_the_file_later_sees_what_we_committed(path):
    code = """
        import subprocess
        jobs = zjobs.Supervisor(f"sqlite:///{path}")
        enqueue(jobs, 1)
        other = sqlite3.connect(path)
        other.execute("SELECT count(*) FROM zjobs_jobs").fetchone()
        other.close()
        enqueue(jobs, 10)
        look = (
            "import sqlite3, sys\\n"
            "print(sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM zjobs_jobs').fetchone()[0])"
        )
        print(subprocess.run([sys.executable, "-c", look, path], capture_output=True, text=True).stdout)
    """
    assert run(path, code).split() == ["11"]


def test_a_transaction_of_the_other_copy_keeps_its_lock_when_our_store_closes(path):
    code = """
        import gc, subprocess
        jobs = zjobs.Supervisor(f"sqlite:///{path}")
        enqueue(jobs, 1)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE mine (x)")
        del jobs
        gc.collect()
        intrude = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
        print(subprocess.run([sys.executable, "-c", intrude, path], capture_output=True, text=True).stderr)
        other.execute("COMMIT")
        again = zjobs.Supervisor(f"sqlite:///{path}")
        enqueue(again, 3)
    """
    assert "database is locked" in run(path, code)
    assert rows(path) == 4


def test_the_other_copy_waits_for_our_transaction_and_we_for_its(path):
    code = """
        import threading, time
        jobs = zjobs.Supervisor(f"sqlite:///{path}")
        enqueue(jobs, 1)
        other = sqlite3.connect(path, isolation_level=None, timeout=30)
        def both(count):
            for n in range(count):
                other.execute("BEGIN IMMEDIATE")
                other.execute("UPDATE zjobs_jobs SET priority = priority + 1 WHERE id = 1")
                other.execute("COMMIT")
        other.close()
        other = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        thread = threading.Thread(target=both, args=[200])
        thread.start()
        enqueue(jobs, 200)
        thread.join()
        print(jobs.get(1).priority)
    """
    assert run(path, code).split() == ["200"]
    assert rows(path) == 201


def test_opening_and_closing_by_turns_in_any_order_loses_nothing(path):
    code = """
        import gc
        count = 0
        for turn in range(20):
            stores = [zjobs.Supervisor(f"sqlite:///{path}") for _ in range(1 + turn % 3)]
            other = sqlite3.connect(path)
            for jobs in stores:
                enqueue(jobs, 5)
                count += 5
                jobs.store.count_by_state()
            if turn % 2:
                other.execute("SELECT count(*) FROM zjobs_jobs").fetchone()
                other.close()
            while stores:
                stores.pop(turn % len(stores))
                gc.collect()
            other.close()
        print(count, len(os.listdir("/proc/self/fd")))
    """
    count, descriptors = map(int, run(path, code).split())
    assert rows(path) == count
    assert descriptors < 20, "closed files stay open"


def test_no_descriptor_is_left_of_a_log_that_the_other_copy_deleted(path):
    code = """
        import gc
        for turn in range(20):
            jobs = zjobs.Supervisor(f"sqlite:///{path}")
            enqueue(jobs, 1)
            other = sqlite3.connect(path)
            other.execute("SELECT count(*) FROM zjobs_jobs").fetchone()
            del jobs
            gc.collect()
            other.close()
        jobs = zjobs.Supervisor(f"sqlite:///{path}")
        enqueue(jobs, 1)
        links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
        print(sum(os.readlink(link).endswith("(deleted)") for link in links if os.path.lexists(link)))
    """
    assert run(path, code).split() == ["0"]
    assert rows(path) == 21


def test_a_child_that_is_forked_amid_writing_opens_a_file_of_its_own(path):
    code = """
        import threading
        jobs = zjobs.Supervisor(f"sqlite:///{path}")
        over = threading.Event()
        def write():
            while not over.is_set():
                enqueue(jobs, 1)
                jobs.store.count_by_state()
        threads = [threading.Thread(target=write) for _ in range(3)]
        for thread in threads:
            thread.start()
        ends = []
        for turn in range(40):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
                kept = [link for link in links if os.path.exists(link) and os.path.samefile(link, path)]
                enqueue(zjobs.Supervisor(f"sqlite:///{path}.{turn}"), 1)
                os._exit(len(kept))
            ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            if ends[-1]:
                break
        over.set()
        for thread in threads:
            thread.join()
        print(ends == [0] * 40, ends[-1])
    """
    assert run(path, code).split() == ["True", "0"]


def test_a_parent_that_is_killed_leaves_no_lock_with_its_forked_child(path):
    code = """
        jobs = zjobs.Supervisor(f"sqlite:///{path}")
        enqueue(jobs, 1)
        child = os.fork()
        if child == 0:
            os.closerange(0, 3)
            signal.pause()
        print(child)
    """
    child = int(run(path, code))
    try:
        jobs = zjobs.Supervisor(f"sqlite:///{path}")
        jobs.enqueue("w", {})
        assert jobs.store.count_by_state()[zjobs.JobState.AVAILABLE] == 2
        locks = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
        held = [line for line in locks if f":{path.stat().st_ino} " in line]
        assert len(held) == 1, held
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_child_of_a_fork_is_refused_the_file_that_its_parent_has_open(path):
    code = """
        jobs = zjobs.Supervisor(f"sqlite:///{path}")
        enqueue(jobs, 1)
        child = os.fork()
        if child == 0:
            for attempt in (lambda: zjobs.Supervisor(f"sqlite:///{path}"), lambda: jobs.enqueue("w", {})):
                try:
                    attempt()
                except zjobs.StoreUnavailable as error:
                    print(error, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        enqueue(jobs, 10)
    """
    said = run(path, code)
    assert "was open when this process was forked" in said
    assert "belong to the process that was forked" in said
    assert rows(path) == 11
