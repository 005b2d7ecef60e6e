"""Handlers that leave something running: it ends no loop, holds no slot, and keeps no stop waiting."""

import asyncio
import contextlib

import pytest

from zjobs import JobState


def test_a_task_left_behind_by_a_coroutine_cannot_end_the_loop(jobs, eventually, caplog):
    app = jobs(queues={"default": 2})
    background = set()

    async def ends_everything():
        raise SystemExit(4)

    @app.worker
    async def careless():
        background.add(asyncio.create_task(ends_everything()))

    @app.worker
    async def stops_the_loop():
        asyncio.get_running_loop().stop()

    @app.worker(keep_result=True)
    async def calm():
        await asyncio.sleep(0)
        return "fine"

    with app:
        for worker in (careless, stops_the_loop, careless):
            assert app.wait(worker.enqueue(), 30).state is JobState.COMPLETED
            assert app.result(calm.enqueue(), 30) == "fine"
        eventually(lambda: all(task.done() for task in background))
        assert app.result(calm.enqueue(), 30) == "fine"
    assert "the loop goes on" in caplog.text
    with contextlib.suppress(SystemExit):
        [task.exception() for task in background]


def test_a_callback_that_cancels_every_task_takes_no_slot_with_it(jobs):
    app = jobs(queues={"default": 1})

    def cancel_all():
        for task in asyncio.all_tasks():
            task.cancel()

    @app.worker(keep_result=True)
    async def careless(n: int) -> int:
        # The slot comes to the loop between two jobs, after so many that never waited.
        asyncio.get_running_loop().call_soon(cancel_all)
        return n

    with app:
        hundred = app.enqueue_many([careless.job(n) for n in range(100)])
        assert [app.result(job, 30) for job in hundred] == list(range(100))
        assert all(app.get(job).attempt == 1 for job in hundred)


def test_a_coroutine_job_cancelled_by_another_fails_and_is_tried_again(jobs, eventually):
    app = jobs(queues={"default": 2})
    waiting = []

    @app.worker(retry_strategy=lambda _attempt, _error: 0.0, keep_result=True)
    async def patient() -> str:
        waiting.append(asyncio.current_task())
        if len(waiting) == 1:
            await asyncio.sleep(60)
        return "fine"

    @app.worker
    async def cancels() -> None:
        waiting[0].cancel()

    with app:
        job = patient.enqueue()
        eventually(lambda: waiting)
        cancels.enqueue()
        assert app.result(job, 30) == "fine"
        assert [error.kind for error in app.get(job).errors] == ["CancelledError"]


def test_a_job_that_cancels_its_own_task_and_ends_leaves_no_cancellation_to_the_next(jobs):
    app = jobs(queues={"default": 1})

    @app.worker(max_attempts=1)
    async def cancels_itself() -> None:
        asyncio.current_task().cancel()

    @app.worker(max_attempts=1, keep_result=True)
    async def patient() -> str:
        await asyncio.sleep(0)
        return "fine"

    several = app.enqueue_many([cancels_itself.job(), patient.job()] * 3)
    # Where it runs changes nothing.
    app.drain()
    assert [app.get(job).state for job in several] == [JobState.COMPLETED] * 6
    with app:
        several = app.enqueue_many([cancels_itself.job(), patient.job()] * 20)
        assert [app.wait(job, 30).state for job in several] == [JobState.COMPLETED] * 40


@pytest.mark.parametrize("lane", ["thread", "loop"])
def test_threads_and_processes_outlive_their_job_and_the_supervisor(lane, tmp_path, run_script):
    done = run_script(
        """
        import multiprocessing, os, subprocess, sys, threading, time, zjobs
        jobs = zjobs.Supervisor(f"sqlite:///{sys.argv[1]}/jobs.db", queues={"default": 1}, shutdown_timeout_seconds=60)
        left = []

        def spawns() -> None:
            for daemon in (True, False):
                left.append(threading.Thread(target=stop.wait, daemon=daemon))
                left[-1].start()
            left.append(subprocess.Popen(["sleep", "600"]))
            left.append(multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True))
            left[-1].start()
            left.append(multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,), daemon=True))
            left[-1].start()

        async def spawns_too() -> None: plain()
        def good() -> str: return "fine"
        async def good_too() -> str: return "fine"

        plain = spawns
        if __name__ == "__main__":
            stop = threading.Event()
            spawns = jobs.worker(name="spawns")(spawns if sys.argv[2] == "thread" else spawns_too)
            good = jobs.worker(name="good", keep_result=True)(good if sys.argv[2] == "thread" else good_too)
            jobs.start()
            print(jobs.wait(spawns.enqueue(), 30).state, jobs.result(good.enqueue(), 30))
            began = time.monotonic()
            print(jobs.stop(), time.monotonic() - began < 30)
            print([one.is_alive() for one in left if hasattr(one, "is_alive")], left[2].poll())
            stop.set()
            left[2].kill(), left[2].wait()
            # The store is not kept from others by what was forked.
            print(zjobs.Supervisor(f"sqlite:///{sys.argv[1]}/jobs.db").nodes())
        """,
        str(tmp_path),
        lane,
    )
    assert done.stdout.splitlines() == ["completed fine", "() True", "[True, True, True, True] None", "[]"], done.stderr
    assert done.returncode == 0
