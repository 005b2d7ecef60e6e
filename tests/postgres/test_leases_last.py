"""Code that lets nobody else run for longer than a lease lasts: its node lives all the same (F-17, F-18, F-93)."""

import subprocess
import sys
import textwrap

import pytest

import zjobs
from zjobs import JobState

BLOCKS = """
    import ctypes, logging, sys, time, zjobs
    from zjobs import _engine
    _engine._hasten(250)
    jobs = zjobs.Supervisor(sys.argv[1], rescue_interval_ms=250)
    LEASE, LONG = 1.0, 3.0

    @jobs.worker(keep_result=True)
    async def loop() -> bool:
        return block(lambda: time.sleep(LONG))

    @jobs.worker(keep_result=True)
    def interpreter() -> bool:
        # A call in C that does not give up the interpreter's lock, as an extension may.
        return block(lambda: ctypes.PyDLL(None).usleep(int(LONG * 1e6)))

    @jobs.worker(keep_result=True)
    def quick() -> bool:
        return True

    def say(what):
        # In one piece, though another thread says something at the same moment.
        sys.stdout.write(f"{what}\\n")

    def block(call):
        say("begun")
        began = time.monotonic()
        call()
        return time.monotonic() - began > 2 * LEASE

    def listen(event):
        jobs.telemetry.detach(handle)
        block(lambda: time.sleep(LONG))

    class Slow(logging.Handler):
        def emit(self, record):
            logging.getLogger("zjobs").removeHandler(self)
            block(lambda: time.sleep(LONG))

    with jobs:
        what = sys.argv[2]
        if what == "listener":
            handle = jobs.telemetry.attach(listen, "job_completed")
        if what == "log":
            logging.getLogger("zjobs").setLevel(logging.INFO)
            logging.getLogger("zjobs").addHandler(Slow())
            zjobs.attach_logging(jobs.telemetry)
        if what in ("listener", "log"):
            # What is told of the first holds up what is to be written of the second.
            jobs.wait(jobs.enqueue("quick"), 60)
            what = "quick"
        say(jobs.result(jobs.enqueue(what), 60))
"""


@pytest.mark.parametrize("what", ["loop", "interpreter", "listener", "log"])
def test_what_blocks_for_longer_than_a_lease_is_not_taken_for_dead_and_runs_once(what, postgres_url):
    others = zjobs.Supervisor(postgres_url)
    command = [sys.executable, "-u", "-c", textwrap.dedent(BLOCKS), postgres_url, what]
    looks = 0
    # Unbuffered: what comes with the first line is not for `readline` to keep.
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        said = [process.stdout.readline()]
        while process.poll() is None:
            assert others.rescue_stuck() == 0
            looks += 1
        said.append(process.communicate(timeout=60)[0])
    assert process.returncode == 0
    # Who listens may hear of the first job when the second has ended.
    assert sorted(said) == [b"True\n", b"begun\n"]
    assert looks > 10
    many = others.list()
    assert len(many) == (1 if what in {"loop", "interpreter"} else 2)
    assert {(job.state, job.attempt, job.crashes, job.errors) for job in many} == {(JobState.COMPLETED, 1, 0, ())}
