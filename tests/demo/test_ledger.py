"""What the store knows of a run and of earlier ones."""

import pytest

import zjobs
from zjobs.demo.ledger import Inheritance, Kind, inherit
from zjobs.demo.place import in_a_file


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (Inheritance(412, 3, 0, 9), "412 jobs wait, 3 were running when it was killed and are taken back; 9 jobs are"),
        (Inheritance(1, 1, 0, 1), "1 job waits, 1 was running when it was killed and is taken back; 1 job is done"),
        (Inheritance(5, 0, 2, 0), "5 jobs wait, 2 run in another process; 0 jobs are done"),
    ],
)
def test_what_an_earlier_run_left_is_said(left, words):
    assert left.sentence().startswith(f"continuing: {words}")


def test_jobs_that_run_in_another_process_are_not_taken_back(tmp_path, gate, eventually):
    first = zjobs.Supervisor(in_a_file(tmp_path / "jobs.db").store)
    first.register_worker(zjobs.WorkerDef("tick", lambda _: gate.wait(30)))
    with first:
        first.enqueue("tick")
        eventually(lambda: first.count(states=[zjobs.JobState.EXECUTING]))
        second = zjobs.Supervisor(zjobs.SqliteStore(tmp_path / "jobs.db"))
        assert inherit(second) == Inheritance(waiting=0, rescued=0, elsewhere=1, finished=0)
        gate.set()


def test_a_failure_that_ended_a_job_is_no_retry():
    supervisor = zjobs.Supervisor()
    supervisor.register_worker(zjobs.WorkerDef("tick", lambda _: 1 / 0, retry_strategy=zjobs.Constant(0)))
    job = supervisor.enqueue("tick", max_attempts=3)
    while supervisor.drain():
        pass
    kind = Kind("default", 0)
    kind.add(supervisor.get(job))
    assert (kind.retries, kind.finished) == (2, 1)
