"""A neighbour that does not listen: its socket is full, and what it is told is lost until it looks by itself."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

import zjobs

WORKER = textwrap.dedent(
    """
    import sys, zjobs
    jobs = zjobs.Supervisor(sys.argv[1], queues={sys.argv[2]: 1}, poll_interval_ms=1000)

    @jobs.worker
    def act(n: int) -> None: ...

    jobs.start()
    print("up", flush=True)
    sys.stdin.read()
    jobs.stop()
    """
)


class Worker:
    """Another process that works on a queue of its own."""

    def __init__(self, url, queue):
        command = [sys.executable, "-c", WORKER, url, queue]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"up\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGCONT)
        self.process.communicate(timeout=40)
        assert self.process.returncode == 0

    def stop(self):
        """Stops it, and returns when it has read for the last time."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'jobs.db'}"


def fill(name):
    """Sends until nothing more goes in; says how many went."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
        mouth.settimeout(0)
        mouth.connect(name)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                mouth.send(b"nothing that anybody understands")
                sent += 1
        return sent


def test_a_neighbour_with_a_full_ear_blocks_nobody_and_finds_its_jobs_by_looking(
    tmp_path, url, eventually, monkeypatch
):
    folder = tmp_path / "jobs.db-zjobs"
    with Worker(url, "deaf") as deaf:
        monkeypatch.chdir(folder)  # a socket's path may not be long
        (ear,) = (path.name for path in folder.glob("*.sock"))
        with Worker(url, "hears"):
            client = zjobs.Supervisor(url)
            deaf.stop()
            assert fill(ear) > 0
            assert fill(ear) == 0
            # Each commit tells both: what the one cannot take must not hold up the call, nor keep it from the other.
            for n in range(200):
                client.enqueue("act", {"n": n}, queue="deaf")
                client.enqueue("act", {"n": n}, queue="hears")
            eventually(lambda: client.count(states=[zjobs.JobState.COMPLETED], queue="hears") == 200)
            assert client.count(states=[zjobs.JobState.AVAILABLE], queue="deaf") == 200
            assert fill(ear) == 0
            deaf.process.send_signal(signal.SIGCONT)
            eventually(lambda: client.count(states=[zjobs.JobState.COMPLETED], queue="deaf") == 200)
