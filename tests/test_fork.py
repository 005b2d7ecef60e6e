"""A fork takes nothing along that runs: the child is told so, and may make supervisors of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
    import os, sys, threading, warnings, zjobs
    warnings.simplefilter("ignore", DeprecationWarning)
    jobs = zjobs.Supervisor(queues={"default": 3})

    @jobs.worker(keep_result=True)
    def plain() -> str:
        return "fine"

    @jobs.worker(keep_result=True)
    async def coroutine() -> str:
        return "fine"

    def in_child(act):
        child = os.fork()
        if child == 0:
            try:
                act()
                os._exit(0)
            except BaseException as error:
                print("child:", type(error).__name__, error, flush=True)
                os._exit(7)
        print("exit", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def script(text):
    return CHILD + text


def test_the_child_of_a_running_supervisor_is_told_to_make_its_own(run_script):
    done = run_script(
        script("""
    def refused():
        calls = [
            plain.enqueue, lambda: jobs.enqueue("x"), lambda: jobs.enqueue_many([("x", None)]), jobs.start,
            lambda: jobs.get(1), jobs.list, jobs.count_by_state, lambda: jobs.cancel(1), jobs.drain, jobs.prune,
            jobs.rescue_stuck, lambda: jobs.pause_queue("default"), lambda: jobs.wait(1), jobs.nodes,
            lambda: jobs.worker(name="late")(print), lambda: jobs.store.count_by_state(),
        ]
        for number, call in enumerate(calls):
            try:
                call()
            except zjobs.StoreUnavailable as error:
                assert "belong to the process that was forked; make new ones in this process" in str(error)
            except zjobs.Invalid:
                assert number == 14
            else:
                raise AssertionError(number)
        assert not jobs.is_running
        repr(jobs), jobs.queues, jobs.workers

    with jobs:
        jobs.wait(plain.enqueue()), jobs.wait(coroutine.enqueue())
        in_child(refused)
        print(jobs.result(plain.enqueue(), 30), jobs.result(coroutine.enqueue(), 30))
    """)
    )
    assert done.stdout.splitlines() == ["exit 0", "fine fine"], done.stderr
    assert done.returncode == 0


def test_the_child_makes_a_supervisor_of_its_own(run_script):
    done = run_script(
        script("""
    def own():
        other = zjobs.Supervisor()

        @other.worker(keep_result=True)
        async def act() -> str:
            return "child"

        @other.worker(keep_result=True)
        def act_too() -> str:
            return "child"

        with other:
            print(other.result(act.enqueue(), 30), other.result(act_too.enqueue(), 30), flush=True)

    with jobs:
        jobs.wait(plain.enqueue())
        in_child(own)
        print(jobs.result(coroutine.enqueue(), 30))
    """)
    )
    assert done.stdout.splitlines() == ["child child", "exit 0", "fine"], done.stderr


def test_a_child_that_exits_the_normal_way_neither_hangs_nor_stops_the_parent(run_script):
    done = run_script(
        script("""
    with jobs:
        jobs.wait(plain.enqueue()), jobs.wait(coroutine.enqueue())
        child = os.fork()
        if child == 0:
            sys.exit(5)
        print("exit", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        print(jobs.result(plain.enqueue(), 30))
    """)
    )
    assert "exit 5\n" in done.stdout, done.stderr
    assert done.stdout.endswith("fine\n"), done.stderr
    assert done.returncode == 0


def test_a_handler_may_fork(run_script):
    done = run_script(
        script("""
    @jobs.worker(keep_result=True)
    def forks() -> int:
        child = os.fork()
        if child == 0:
            os._exit(3)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    with jobs:
        print([jobs.result(forks.enqueue(), 30) for _ in range(5)])
    """)
    )
    assert done.stdout == "[3, 3, 3, 3, 3]\n", done.stderr


def test_an_unstarted_supervisor_does_not_survive_a_fork_either(run_script):
    done = run_script(
        script("""
    def refused():
        plain.enqueue()

    in_child(refused)
    """)
    )
    assert "child: StoreUnavailable this supervisor and its store belong to the process that was forked" in done.stdout
    assert "exit 7" in done.stdout


def test_children_of_one_parent_are_nodes_of_their_own(run_script):
    done = run_script(
        script("""
    def own():
        other = zjobs.Supervisor()
        with other:
            print(other.node, flush=True)

    before = zjobs.Supervisor()
    for _ in range(3):
        in_child(own)
    """)
    )
    nodes = [line for line in done.stdout.splitlines() if not line.startswith("exit")]
    assert len(set(nodes)) == len(nodes) == 3, done.stderr


WAYS = {
    "fork",
    "process, fork",
    "pool, fork",
    "process, spawn",
    "pool, spawn",
    "process, forkserver",
    "pool, forkserver",
}


@pytest.mark.parametrize("situation", ["made", "running", "plain", "coroutine"])
def test_children_of_all_kinds_use_nothing_of_their_parent_and_harm_nothing_of_it(situation, url):
    """They are made by a supervisor's owner before or after its start, or by a handler of either kind."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "hostile.forks", situation],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=Path(__file__).parent,
        env=os.environ | {"ZJOBS_STORE": url},
    )
    assert done.returncode == 0, done.stderr
    wrong = json.loads(done.stdout)
    assert set(wrong) == WAYS | {"program"} | ({"onlooker"} if situation != "made" else set())
    assert set(wrong.values()) == {""}, (wrong, done.stderr)


@pytest.mark.parametrize("lane", ["def", "async def"])
def test_a_child_that_comes_back_from_a_handler_ends_there_and_the_job_is_the_parents(lane, url, run_script):
    done = run_script(
        f"""
    import os, sys, zjobs
    jobs = zjobs.Supervisor(sys.argv[1], queues={{"default": 2}})
    runs = []

    @jobs.worker(keep_result=True, ack=zjobs.Ack.SYNC)
    {lane} forks(name: str) -> str:
        child = os.fork()
        if child == 0:
            if name == "raises":
                raise ValueError
            return "child"
        return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    with jobs:
        many = [forks.enqueue(name) for name in ("returns", "raises", "returns")]
        print(*[jobs.result(job, 30) for job in many])
    print(*[(job.attempt, len(job.errors)) for job in map(jobs.get, many)])
    """,
        url,
    )
    assert done.stdout == "1 1 1\n(1, 0) (1, 0) (1, 0)\n", done.stderr
    assert done.stderr.count("end it by os._exit()") == 3
    assert done.returncode == 0


def test_a_child_that_drops_a_store_leaves_it_to_its_parent(url, run_script):
    done = run_script(
        """
    import gc, os, sys, time, zjobs
    from zjobs import db

    store = db.open_store(sys.argv[1])
    first = store.count_by_state()
    child = os.fork()
    if child == 0:
        del store
        gc.collect()
        sys.exit(3)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    began = time.monotonic()
    print(store.count_by_state() == first, time.monotonic() - began < 5)
    jobs = zjobs.Supervisor(store)
    job = jobs.enqueue("any")
    print(jobs.get(job).id == job.id)
    """,
        url,
    )
    assert done.stdout.splitlines() == ["3", "True True", "True"], done.stderr
