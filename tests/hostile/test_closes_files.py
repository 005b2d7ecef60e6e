"""Handlers that close files which are not theirs: what is somebody else's is not written, and others do the work."""

import sqlite3
from contextlib import closing

import pytest

import zjobs
from zjobs import JobState


def test_closed_files_break_the_loop_but_not_the_supervisor(run_script):
    done = run_script("""
        import asyncio, logging, os, threading, zjobs
        logging.disable()
        jobs = zjobs.Supervisor(queues={"default": 3})
        waiting = threading.Event()
        last = lambda attempt, error: None

        @jobs.worker(retry_strategy=last)
        async def patient():
            waiting.set()
            await asyncio.sleep(60)

        @jobs.worker(retry_strategy=last)
        async def destroyer():
            os.closerange(3, 256)

        @jobs.worker(keep_result=True)
        async def calm():
            await asyncio.sleep(0)
            return "fine"

        with jobs:
            first = patient.enqueue()
            waiting.wait(30)
            destroyer.enqueue()
            print(jobs.result(calm.enqueue(), 30))
            print(jobs.get(first).errors[0].kind)
    """)
    assert done.stdout.splitlines() == ["fine", "LoopBroken"], done.stderr
    assert done.returncode == 0


CLOSES = """
    import logging, os, sys, threading, time, zjobs
    logging.disable()
    url, kind = sys.argv[1:]
    jobs = zjobs.Supervisor(url, queues={"default": 2}, shutdown_timeout_seconds=1)
    closed = threading.Event()
    theirs = os.path.dirname(url.removeprefix("sqlite:///"))

    @jobs.worker
    def closes() -> None:
        os.closerange(3, 256)
        if kind == "taken":
            for number in range(60):
                os.write(os.open(f"{theirs}/{number}", os.O_RDWR | os.O_CREAT), b"mine" * 4096)
        closed.set()

    @jobs.worker
    def good() -> None:
        pass

    jobs.start()
    jobs.wait(good.enqueue(), 30)
    jobs.enqueue_many([("closes", None), ("good", None)])
    closed.wait(30)
    began = time.monotonic()
    for call in (good.enqueue, jobs.count_by_state, good.enqueue):
        try:
            call()
        except zjobs.StoreUnavailable as error:
            print(error)
    jobs.stop()
    print(time.monotonic() - began < 20, flush=True)
"""


@pytest.mark.parametrize("kind", ["free", "taken"])
def test_a_worker_whose_files_were_closed_says_so_and_writes_into_no_file_of_others(kind, tmp_path, run_script):
    url = f"sqlite:///{tmp_path}/jobs.db"
    done = run_script(CLOSES, url, kind)
    *said, quick = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert quick == "True"
    assert said
    assert all("other code of this process has closed files" in line and "start a new one" in line for line in said)
    assert all((tmp_path / str(n)).read_bytes() == b"mine" * 4096 for n in range(60 if kind == "taken" else 0))
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    # Its jobs are another's now.
    jobs = zjobs.Supervisor(url)
    jobs.worker(name="closes")(lambda: None)
    jobs.worker(name="good")(lambda: None)
    jobs.rescue_stuck()
    jobs.drain()
    assert jobs.count_by_state()[JobState.COMPLETED] == jobs.count() >= 3


IDLE_CLIENT = """
    import os, socket, sys, zjobs
    url, kind = sys.argv[1:]
    jobs = zjobs.Supervisor(url)
    jobs.count()
    # Nothing is on its way.
    os.closerange(3, 256)
    theirs = [end for _ in range(40) for end in socket.socketpair()] if kind == "taken" else []
    print(jobs.count(), jobs.enqueue("w").state, jobs.count())
    del jobs
    for here, there in zip(theirs[::2], theirs[1::2]):
        here.setblocking(False)
        there.setblocking(False)
        for one, other in ((here, there), (there, here)):
            one.send(b"mine")
            assert other.recv(1000) == b"mine"
    print(len(theirs))
"""


@pytest.mark.parametrize("kind", ["free", "taken"])
def test_a_client_whose_connections_were_closed_opens_others_and_touches_none_of_theirs(kind, postgres_url, run_script):
    done = run_script(IDLE_CLIENT, postgres_url, kind)
    assert done.stdout.splitlines() == ["0 available 1", "80" if kind == "taken" else "0"], done.stderr
    assert done.returncode == 0
