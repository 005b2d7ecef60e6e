"""Who is taken for dead on a file of jobs: processes that are killed, and living ones whose locks somebody touches."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import zjobs
from zjobs.rows import Heartbeat
from zjobs.store import NewJob

NEVER = 10_000.0
IN_ANOTHER_CONTAINER = ("unshare", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")

# Reads expressions, answers each with one line.
PROGRAM = """
import os, sys, zjobs
from zjobs.rows import Heartbeat
from zjobs.store import NewJob
if len(sys.argv) > 2:
    os.setgroups([]), os.setgid(int(sys.argv[2])), os.setuid(int(sys.argv[2]))
store = zjobs.SqliteStore(sys.argv[1])

def beat(node, ttl=10_000.0):
    return type(store.heartbeat(Heartbeat(node * 32, ttl_seconds=ttl))).__name__

def claim(node):
    return [job.id for job in store.claim(node * 32, "default", 1)]

def rescue():
    return [one.job.id for one in store.rescue(10)]

print("ready", flush=True)
for line in sys.stdin:
    try:
        print(eval(line), flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
"""


class Other:
    """Another process that has the file open and does what it is told."""

    def __init__(self, path, *arguments, before=()):
        command = [*before, sys.executable, "-c", PROGRAM, str(path), *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.line() == "ready", "unshare must be permitted for these tests"

    def do(self, expression):
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        return self.line()

    def line(self):
        return self.process.stdout.readline().rstrip("\n")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


@pytest.fixture
def other(path):
    """Starts others, which end with the test."""
    started = []

    def start(*arguments, at=path, before=()):
        started.append(Other(at, *arguments, before=before))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()


def put(path):
    (reply,) = zjobs.SqliteStore(path).enqueue([NewJob("w", b"{}")])
    return reply.job.id


def files(path, ending="lock"):
    return sorted(path.with_name("jobs.db-zjobs").glob(f"*.{ending}"))


def holds(other, path):
    """Whether somebody other than that process holds the lock of that name."""
    return other.do(f"__import__('fcntl').lockf(open({str(path)!r}, 'r+'), 6)") != "None"


def touch(lock):
    lock.open().close()


@pytest.mark.parametrize("harm", [touch, Path.unlink], ids=["read", "removed"])
def test_a_process_whose_lock_other_code_touches_keeps_its_jobs_and_has_the_lock_again_at_its_next_beat(
    path, other, harm
):
    store = zjobs.SqliteStore(path)
    job = put(path)
    beat = Heartbeat("a" * 32, ttl_seconds=NEVER, holds=(job,))
    store.heartbeat(beat)
    assert [claimed.id for claimed in store.claim("a" * 32, "default", 1)] == [job]
    (lock,) = files(path)
    neighbour = other()
    assert holds(neighbour, lock)
    harm(lock)
    assert neighbour.do("beat('b')") == "Pulse"
    assert lock.exists() == (harm is touch), "a newcomer sweeps nothing of a process that it can see alive"
    assert neighbour.do("rescue()") == "[]"
    assert store.heartbeat(beat).alive
    assert lock in files(path)
    assert holds(neighbour, lock)
    assert neighbour.do("rescue()") == "[]"


def test_when_the_folder_is_removed_nobody_is_taken_for_dead_and_all_meet_there_again(path, other):
    job = put(path)
    worker, newcomer = other(), other()
    assert (worker.do("beat('a')"), worker.do("claim('a')")) == ("Pulse", f"[{job}]")
    (lock,), (socket,) = files(path), files(path, "sock")
    shutil.rmtree(lock.parent)
    assert newcomer.do("beat('b')") == "Pulse"
    assert newcomer.do("rescue()") == "[]"
    assert worker.do("beat('a')") == "Pulse"
    assert lock in files(path)
    assert socket in files(path, "sock")
    assert holds(newcomer, lock)
    shutil.rmtree(lock.parent)
    worker.kill()
    # Nothing is left of it; its number and its beginning are known.
    assert newcomer.do("rescue()") == f"[{job}]"


def test_a_process_that_has_made_another_program_of_itself_has_ended(path, other):
    job = put(path)
    worker = other()
    assert (worker.do("beat('a')"), worker.do("claim('a')")) == ("Pulse", f"[{job}]")
    assert worker.do(f"os.execv(sys.executable, [sys.executable, '-c', {PROGRAM!r}, {str(path)!r}])") == "ready"
    assert worker.do("rescue()") == f"[{job}]"


def test_a_node_that_has_left_takes_nothing_from_its_process_when_its_jobs_are_rescued(path, other):
    store = zjobs.SqliteStore(path)
    job, later = put(path), put(path)
    store.heartbeat(Heartbeat("a" * 32, ttl_seconds=NEVER))
    store.claim("a" * 32, "default", 1)
    store.depart("a" * 32, 0.0)
    store.heartbeat(Heartbeat("b" * 32, ttl_seconds=NEVER))
    assert [claimed.id for claimed in store.claim("b" * 32, "default", 1)] == [later]
    left = files(path), files(path, "sock")
    while not (rescued := store.rescue(10)):
        pass
    assert [one.job.id for one in rescued] == [job]
    assert (files(path), files(path, "sock")) == left
    assert other().do("rescue()") == "[]"


def test_of_a_process_in_another_container_a_free_lock_alone_is_no_proof(path, other, eventually):
    job = put(path)
    worker, rescuer = other(before=IN_ANOTHER_CONTAINER), other()
    assert (worker.do("beat('a')"), worker.do("claim('a')")) == ("Pulse", f"[{job}]")
    (lock,) = files(path)
    assert worker.do(f"open({str(lock)!r}).close()") == "None"
    assert not holds(rescuer, lock)
    assert rescuer.do("rescue()") == "[]"
    assert worker.do("beat('a')") == "Pulse"
    assert holds(rescuer, lock)


def test_a_process_in_another_container_that_was_killed_is_dead_when_its_lease_is_over(path, other, eventually):
    jobs = put(path), put(path)
    worker, rescuer = other(before=IN_ANOTHER_CONTAINER), other()
    for node, ttl in (("a", 3), ("c", 1000)):
        assert worker.do(f"beat({node!r}, {ttl})") == "Pulse"
        assert worker.do(f"claim({node!r})") == f"[{jobs[node == 'c']}]"
    worker.kill()
    rescued = []
    eventually(lambda: rescued.append(rescuer.do("rescue()")) or rescued[-1] != "[]")
    assert rescued[-1] == f"[{jobs[0]}]"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_lock_that_may_not_be_looked_at_keeps_nobody_from_rescuing_the_jobs_of_others(other):
    somebody = 12345
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, somebody, somebody)
        path = Path(folder, "jobs.db")
        killed, rescuer = other(somebody, at=path), other(somebody, at=path)
        assert killed.do("beat('a')") == "Pulse"
        roots = other(at=path)
        assert roots.do("beat('b')") == "Pulse"
        assert {lock.stat().st_uid for lock in files(path)} == {somebody}, "root's is for the owner of the folder"
        for lock in files(path):
            os.chown(lock, 0, 0)
        job = int(killed.do("store.enqueue([NewJob('w', b'{}')])[0].job.id"))
        assert killed.do("claim('a')") == f"[{job}]"
        killed.kill()
        assert rescuer.do("rescue()") == f"[{job}]"
        # Nobody can say whether this one lives, and it does not beat.
        assert roots.do("beat('c', 0.0)") == "Pulse"
        assert "jobs.db-zjobs cannot be looked into: Permission denied" in rescuer.do("rescue()")
