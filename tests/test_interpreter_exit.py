"""The interpreter may end at any moment: no hang, no crash, the right exit code, no stored job lost (tests/exits)."""

import random
import signal
import subprocess
import sys
import textwrap
import time
from datetime import timedelta

import pytest

import zjobs
from exits import __main__ as many
from exits import driver
from exits.driver import Plan, carry_out
from exits.scenes import NOT_STARTED, SCENES, WAYS


@pytest.mark.parametrize("scene", SCENES)
def test_it_ends_cleanly_in_the_midst_of(scene, tmp_path):
    chance = random.Random(scene)  # noqa: S311 - where in the run it ends
    ways = [way for way in WAYS if not (scene in NOT_STARTED and way.startswith("run"))]
    for number, way in enumerate(chance.sample(ways, 2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        plan = Plan(("memory", "sqlite")[number], scene, way, round(chance.expovariate(1 / 15), 2))
        assert carry_out(plan, folder) == [], plan


@pytest.mark.parametrize("way", ["end", "sys.exit", "raise"])
def test_handlers_that_never_end_delay_the_end_by_the_timeout_and_the_grace_only(way, tmp_path):
    plan = Plan("memory", "stuck", way, 30)
    began = time.monotonic()
    assert carry_out(plan, tmp_path) == []
    # 0.2 s, 3 s of grace, a second for the loop, and the start of an interpreter on a busy machine.
    assert time.monotonic() - began < 30


LEFT_BEHIND = """
    import atexit, multiprocessing, sys, threading, time, zjobs

    def work(url):
        jobs = zjobs.Supervisor(url, shutdown_timeout_seconds=0)
        begun = threading.Event()

        @jobs.worker
        def held() -> None:
            begun.set()
            threading.Event().wait()

        if sys.argv[2] == "a slow end":
            atexit.register(time.sleep, 4)
        jobs.start()
        jobs.enqueue("held", max_attempts=1)
        begun.wait()
        if sys.argv[2] == "a stop":
            jobs.stop()

    if __name__ == "__main__":
        if sys.argv[2] == "a child":
            child = multiprocessing.get_context("forkserver").Process(target=work, args=sys.argv[1:2])
            child.start()
            child.join()
        else:
            work(sys.argv[1])
"""


@pytest.mark.parametrize("after", ["a stop", "no stop", "a child"])
@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
def test_a_job_whose_handler_is_left_behind_goes_back_with_its_attempt(after, url, tmp_path, eventually):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(LEFT_BEHIND))
    zjobs.migrate(url)
    subprocess.run([sys.executable, str(script), url, after], check=True, timeout=60)
    jobs = zjobs.Supervisor(url)
    eventually(jobs.rescue_stuck)
    [job] = jobs.list()
    assert (job.state, job.attempt, job.crashes) == (zjobs.JobState.AVAILABLE, 0, 0)


def test_a_process_that_takes_its_time_to_end_keeps_its_jobs_until_then(postgres_url, tmp_path, eventually):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(LEFT_BEHIND))
    jobs, leaving = zjobs.Supervisor(postgres_url), 0
    with subprocess.Popen([sys.executable, str(script), postgres_url, "a slow end"]) as process:
        while process.poll() is None:
            taken = jobs.rescue_stuck()
            assert not taken or process.poll() is not None
            # The grace of a departure is a second, a lease is twenty.
            leaving += any(node.expires_at - jobs.store.now() < timedelta(seconds=5) for node in jobs.nodes())
    assert process.returncode == 0
    assert leaving > 3
    eventually(lambda: taken or jobs.rescue_stuck())
    [job] = jobs.list()
    assert (job.state, job.attempt, job.crashes) == (zjobs.JobState.AVAILABLE, 0, 0)


def test_its_jobs_are_looked_for_when_it_has_ended_however_long_that_took(postgres_url, tmp_path, eventually):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(LEFT_BEHIND))
    # Its own look would come when nobody waits any more.
    with zjobs.Supervisor(postgres_url, queues={"elsewhere": 1}, rescue_interval_ms=600_000) as other:
        subprocess.run([sys.executable, str(script), postgres_url, "a slow end"], check=True, timeout=60)
        [job] = other.list()
        eventually(lambda: other.get(job).state is zjobs.JobState.AVAILABLE)
    assert other.get(job).attempt == 0


FAULTS = {
    "a crash": ("os.kill(os.getpid(), signal.SIGSEGV)", "its exit code was -11"),
    "a wrong exit code": ("os._exit(9)", "its exit code was 9"),
    "what nobody handled": ("sys.stderr.write('Exception ignored in: <thread>')", "it said 'Exception ignored'"),
    "a panic": ("sys.stderr.write('thread zjobs-service panicked at')", "it said 'panicked'"),
    "a lost job": ("rows.executescript('DELETE FROM zjobs_jobs WHERE id = 1')", "lost of"),
    "an unwritten end": ("rows.executescript('UPDATE zjobs_jobs SET state = 0')", "done, and not written"),
    "a job completed by nobody": ("os.truncate(os.path.join(sys.argv[2], 'ended'), 0)", "completed and never run"),
    "an odd state": ("rows.executescript('UPDATE zjobs_jobs SET state = 5')", "in states that nobody brought about"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_judge_sees(fault, tmp_path, monkeypatch):
    act, verdict = FAULTS[fault]
    # A process that does the same, and then what it should not; found before the other.
    (tmp_path / "exits").mkdir()
    (tmp_path / "exits" / "scenes.py").write_text(f"""
import os, runpy, signal, sqlite3, sys, zjobs._exit
runpy.run_path({str(driver.TESTS / "exits" / "scenes.py")!r}, run_name="__main__")
zjobs._exit._stop_all()
rows = sqlite3.connect(sys.argv[1].removeprefix("sqlite:///"))
{act}
""")
    monkeypatch.setattr(driver, "TESTS", tmp_path)
    wrong = carry_out(Plan("sqlite", "forking", "end", 300), tmp_path)
    assert any(one.startswith(verdict) for one in wrong), wrong


@pytest.mark.parametrize(
    ("way", "torn_in", "is_fine"),
    [("SIGINT", "_acquire_restore", True), ("SIGINT", "stop", False), ("end", "_acquire_restore", False)],
)
def test_the_judge_excuses_a_condition_of_python_s_own_that_ctrl_c_tears_and_nothing_else(way, torn_in, is_fine):
    said = f"Traceback\n  File threading.py, line 311, in {torn_in}\nRuntimeError: release unlocked lock\n"
    assert (driver.judge(Plan("memory", "waiting", way, 22), 1, said) == []) is is_fine


@pytest.mark.parametrize(
    ("exits", "each", "said"),
    [
        (10, (2, 1), "of {0} jobs in files and at servers, of which {1} ran, none lost"),
        (1, (0, 0), "of 0 jobs in files and at servers, of which 0 ran, none lost"),
        (10, (2, 0), "refuted: 10 interpreters enqueued {0} jobs and ran 0"),
        (10, (0, 0), "refuted: 10 interpreters enqueued 0 jobs and ran 0"),
    ],
)
def test_many_ends_prove_nothing_where_no_job_could_be_lost(exits, each, said, monkeypatch, capsys):
    files = []

    def act(plan, folder, _):
        files.append(plan.store != "memory")
        for name, count in zip(("enqueued", "ended"), each, strict=True):
            (folder / name).write_text("1\n" * count)
        return []

    monkeypatch.setattr(many, "carry_out", act)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["exits", "--exits", str(exits)])
    assert many.main() == said.startswith("refuted")
    assert said.format(*(sum(files) * count for count in each)) in capsys.readouterr().out


def test_jobs_in_flight_are_finished_before_the_interpreter_ends(run_script):
    done = run_script("""
        import threading, time, zjobs
        from concurrent.futures import ThreadPoolExecutor
        jobs = zjobs.Supervisor()
        begun = threading.Event()

        @jobs.worker
        def slow() -> None:
            with ThreadPoolExecutor(1) as pool:
                # Python 3.12 begins no thread while it ends.
                pool.submit(int).result()
                begun.set()
                time.sleep(0.3)
                # The hooks that end other thread pools come after ours.
                print(pool.submit(lambda: "finished").result(), flush=True)

        slow.enqueue()
        jobs.start()
        begun.wait()
    """)
    assert (done.stdout, done.returncode) == ("finished\n", 0), done.stderr


def test_ctrl_c_at_the_end_does_not_wait_for_handlers(run_script):
    done = run_script("""
        import os, signal, threading, time, zjobs
        jobs = zjobs.Supervisor(shutdown_timeout_seconds=50)
        begun = threading.Event()

        @jobs.worker
        def heeds(ctx: zjobs.JobContext) -> None:
            begun.set()
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)
            while not ctx.cancelled:
                time.sleep(0.01)
            print("heeded", flush=True)

        heeds.enqueue()
        jobs.start()
        begun.wait()
    """)
    assert (done.stdout, done.returncode) == ("heeded\n", 0), done.stderr
