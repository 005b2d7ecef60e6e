"""Whatever a handler raises, the failure is recorded as far as it can be read, and the slot goes on."""

import asyncio
import gc

import pytest

import zjobs
from hostile.zoo import RAISED, raising
from zjobs import JobState


@pytest.mark.parametrize("case", RAISED)
def test_what_a_handler_raises_is_its_jobs_failure(case, pen):
    act, kind, text = RAISED[case]
    (error,) = pen(act).visit().errors
    assert error.kind == kind or kind is None
    assert text in error.message
    assert len(error.message) <= 4096
    assert len(error.traceback.encode()) <= 16384
    gc.collect()


@pytest.mark.parametrize("case", ["SystemExit", "KeyboardInterrupt", "CancelledError", "endless text", "no name"])
def test_a_hundred_hostile_jobs_take_no_slot_with_them(case, jobs, worker, eventually):
    app = jobs(queues={"default": 3})
    worker(app, RAISED[case].act, retry_strategy=lambda _attempt, _error: None)
    worker(app, lambda: None, name="calm")
    hundred = app.enqueue_many([("hostile", None)] * 100)
    with app:
        eventually(lambda: app.count(states=(JobState.DISCARDED,)) == len(hundred))
        calm = app.enqueue_many([("calm", None)] * 10)
        assert all(app.wait(job, 30).state is JobState.COMPLETED for job in calm)


@pytest.mark.parametrize("verdict", ["Cancel", "Discard"])
def test_a_verdict_with_an_unstorable_reason_is_still_that_verdict(verdict, pen):
    state = {"Cancel": JobState.CANCELLED, "Discard": JobState.DISCARDED}[verdict]

    def act():
        raise getattr(zjobs, verdict)("a\ud800\0b" + "c" * 1_000_000)

    (error,) = pen(act).visit(state).errors
    assert error.message.startswith("a?\ufffdb")
    assert len(error.message) <= 4096


def test_a_traceback_begins_with_the_handlers_own_frame(pen):
    (error,) = pen(raising(ValueError)).visit().errors
    assert "zjobs/_runner.py" not in error.traceback
    assert "in act" in error.traceback


def test_memory_that_runs_out_fails_the_job_and_nothing_else(run_script):
    done = run_script("""
        import resource, zjobs
        jobs = zjobs.Supervisor()

        @jobs.worker(retry_strategy=lambda attempt, error: None)
        def greedy():
            block = []
            while True:
                block.append(bytearray(8_000_000))

        @jobs.worker(retry_strategy=lambda attempt, error: None)
        async def greedy_too():
            greedy()

        @jobs.worker(keep_result=True)
        def modest():
            return "fine"

        with jobs:
            jobs.wait(modest.enqueue(), 30)
            used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000,) * 2)
            for worker in (greedy, greedy_too) * 3:
                job = jobs.wait(worker.enqueue(), 30)
                print(job.state, job.errors[0].kind)
            print(jobs.result(modest.enqueue(), 30))
    """)
    assert done.stdout.splitlines() == ["discarded MemoryError"] * 6 + ["fine"], done.stderr
    assert done.returncode == 0


def test_memory_that_runs_out_as_a_job_is_handed_over_fails_the_job_and_leaves_its_slot(run_script):
    done = run_script("""
        import ctypes, resource, zjobs
        # Each large block is a mapping of its own, and what is freed is not there for the next.
        MMAP_THRESHOLD, ARENA_MAX = -3, -8
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, 65536)
        ctypes.CDLL(None).mallopt(ARENA_MAX, 1)
        jobs = zjobs.Supervisor(queues={"default": 1})

        @jobs.worker(max_attempts=1)
        def big(text: str) -> None:
            pass

        @jobs.worker(keep_result=True)
        def modest() -> str:
            return "fine"

        with jobs:
            jobs.wait(modest.enqueue(), 30)
            jobs.pause_queue("default")
            job = big.enqueue("x" * 1_000_000)
            used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            before = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (used + 600_000, before[1]))
            jobs.resume_queue("default")
            try:
                job = jobs.wait(job, 10)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, before)
            print(job.state, len(job.errors))
            print(jobs.result(modest.enqueue(), 10))
    """)
    assert (done.stdout.splitlines(), done.returncode) == (["discarded 1", "fine"], 0), done.stderr


def test_a_custom_strategy_that_fails_costs_no_attempt(pen):
    def confused(attempt, error):
        raise SystemExit

    (error,) = pen(raising(ValueError), retry_strategy=confused).visit().errors
    assert error.kind == "ValueError"


def test_a_coroutine_that_swallows_being_closed_is_still_one_failure(jobs, failed):
    app = jobs(queues={"default": 1})

    @app.worker
    async def clings() -> None:
        try:
            raise GeneratorExit
        finally:
            await asyncio.sleep(0)

    @app.worker(keep_result=True)
    async def calm() -> str:
        return "fine"

    with app:
        assert failed(app, clings.enqueue()).kind == "GeneratorExit"
        assert app.result(calm.enqueue(), 30) == "fine"
