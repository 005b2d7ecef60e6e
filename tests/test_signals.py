"""Signals: a host keeps its own, `run` takes three, and no thread of the engine takes any (F-94)."""

import signal
import subprocess
import sys
import textwrap

import pytest

JOBS = """
    import os, signal, sys, threading, time, zjobs
    jobs = zjobs.Supervisor(sys.argv[1], queues={"default": 2})

    @jobs.worker(keep_result=True)
    def plain() -> str:
        return "fine"

    @jobs.worker(keep_result=True)
    async def coroutine() -> str:
        return "fine"
"""


def test_a_supervisor_within_a_host_leaves_every_signal_as_it_is(url, run_script):
    done = run_script(
        JOBS
        + """
    def taken():
        return {number: signal.getsignal(number) for number in signal.valid_signals()}

    before = taken()
    ear = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(ear)
    with jobs:
        print(jobs.result(plain.enqueue(), 30), jobs.result(coroutine.enqueue(), 30))
        print(taken() == before, signal.set_wakeup_fd(-1) == ear)
    print(taken() == before)
    """,
        url,
    )
    assert done.stdout.splitlines() == ["fine fine", "True True", "True"], done.stderr


def test_threads_of_the_engine_take_no_signal_and_what_python_does_there_inherits_nothing_of_it(url, run_script):
    done = run_script(
        JOBS
        + """
    import pathlib, subprocess
    # Neither faults of the thread's own, nor what nobody can block.
    never = {"ABRT", "BUS", "FPE", "ILL", "SEGV", "SYS", "TRAP", "KILL", "STOP"}
    usual = {number for number in range(1, 32)} - {signal.Signals[f"SIG{name}"] for name in never}
    told = []
    is_dummy = lambda thread: isinstance(thread, threading._DummyThread)

    def blocked(thread):
        lines = pathlib.Path(f"/proc/self/task/{thread}/status").read_text().splitlines()
        [mask] = [int(line.split()[1], 16) for line in lines if line.startswith("SigBlk")]
        return {number for number in range(1, 32) if mask >> (number - 1) & 1}

    def hear(event):
        # What a program inherits that is started here.
        code = "import signal; print(len(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
        done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
        told.append((threading.get_native_id(), done.stdout.strip()))

    jobs.telemetry.attach(hear, "job_completed")
    with jobs:
        # When the second coroutine comes, the loop has answered what it was told of at the start.
        for worker in (plain, coroutine, coroutine):
            jobs.wait(worker.enqueue(), 30)
        pythons = {thread.native_id for thread in threading.enumerate() if not is_dummy(thread)}
        engine = {int(task.name) for task in pathlib.Path("/proc/self/task").iterdir()} - pythons
        until = time.monotonic() + 30
        # A thread that runs the listener is as Python's own just then.
        while len(told) < 3 or any(blocked(one) != usual for one in engine):
            assert time.monotonic() < until, [blocked(one) ^ usual for one in engine]
            time.sleep(0.001)
        print(sorted({pathlib.Path(f"/proc/self/task/{one}/comm").read_text().strip() for one in engine}))
        print([blocked(thread.native_id) for thread in threading.enumerate() if not is_dummy(thread)].count(set()) > 2)
    print({inherited for _, inherited in told}, any(one in engine for one, _ in told))
    """,
        url,
    )
    # In memory the thread of the handler tells, and the one that enqueues rings the loop.
    tells = not url.startswith("memory")
    threads = ["zjobs-ear", "zjobs-service", "zjobs-teller", "zjobs-usher"] if tells else ["zjobs-service"]
    assert done.stdout.splitlines() == [str(threads), "True", f"{{'0'}} {tells}"], done.stderr


# The call, and the function of Python that the main thread is in meanwhile.
WAITS = {
    "wait": ("jobs.wait(job)", "wait"),
    "result": ("jobs.result(job)", "wait"),
    "stop": ("jobs.stop()", "_stop"),
    "wait_async": ("asyncio.run(jobs.wait_async(job))", "select"),
    "stop_async": ("asyncio.run(jobs.stop_async())", "select"),
}


@pytest.mark.parametrize("way", WAITS)
def test_a_host_s_own_handler_is_called_while_its_main_thread_waits(way, url, run_script):
    call, place = WAITS[way]
    done = run_script(
        JOBS
        + f"""
    import asyncio
    heard = threading.Event()
    signal.signal(signal.SIGUSR1, lambda number, frame: heard.set())

    @jobs.worker(keep_result=True)
    def asks() -> bool:
        begun.set()
        main = threading.main_thread().ident
        while sys._current_frames()[main].f_code.co_name != "{place}":
            time.sleep(0.001)
        # Only the host's handler ends this, and only the main thread runs it. Again and again: Python does not look
        # at a signal that comes just before a call of the system in which it then waits.
        return any(os.kill(os.getpid(), signal.SIGUSR1) or heard.wait(1) for _ in range(60))

    begun = threading.Event()
    jobs.start()
    job = asks.enqueue()
    begun.wait()
    {call}
    print(jobs.get(job).result)
    """,
        url,
    )
    assert done.stdout == "True\n", done.stderr


RUN = """
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    {first}
    def act(ctx: zjobs.JobContext) -> None:
        print("begun", flush=True)
        while jobs.is_running:
            time.sleep(0.001)
        print("done", flush=True)

    jobs.worker(act).enqueue()
    jobs.run()
    print("clean", flush=True)
"""


@pytest.fixture
def running():
    """Starts a program that is in `run`, with a job in hand."""
    started = []

    def start(first=""):
        text = textwrap.dedent(JOBS) + textwrap.dedent(RUN).format(first=first)
        # Unbuffered: what comes with one line is not for `readline` to keep.
        process = subprocess.Popen([sys.executable, "-u", "-c", text, "memory://"], stdout=subprocess.PIPE, bufsize=0)
        started.append(process)
        assert process.stdout.readline() == b"begun\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_run_drains_when_it_is_asked_to_end_and_when_its_terminal_is_gone(number, running):
    process = running()
    process.send_signal(number)
    assert process.communicate(timeout=60)[0] == b"done\nclean\n"
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2])
def test_run_leaves_other_signals_to_the_system(number, running):
    process = running()
    process.send_signal(number)
    assert process.communicate(timeout=60)[0] == b""
    assert process.returncode == -number


def test_run_leaves_the_end_of_the_terminal_to_a_handler_of_the_program(running):
    process = running("signal.signal(signal.SIGHUP, lambda number, frame: print('heard', flush=True))")
    process.send_signal(signal.SIGHUP)
    assert process.stdout.readline() == b"heard\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == b"done\nclean\n"
    assert process.returncode == 0
