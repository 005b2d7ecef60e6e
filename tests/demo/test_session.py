"""How a run ends: at its end, by a signal, or because nothing goes on."""

import re
import signal
import threading

from demo.running import interrupted
from zjobs.demo.place import in_memory
from zjobs.demo.session import FAILURE, Demo, Interrupts
from zjobs.demo.tree import standard_library, survey


def test_ctrl_c_drains_prints_the_table_and_is_exit_code_130(tree):
    code, output = interrupted(tree)
    assert code == 130, output
    assert "Ctrl-C: draining." in output
    assert "Drained in" in output
    assert re.search(r"^hash_file +read ", output, re.MULTILINE)
    assert "Stopped early" in output
    assert "Traceback" not in output


def test_ctrl_c_in_the_middle_leaves_no_job_executing():
    code, output = interrupted(standard_library())
    assert code == 130, output
    assert re.search(r"left: [\d,]+ available", output), output
    assert "executing" not in output


def test_a_second_ctrl_c_does_not_wait_for_jobs_in_flight(tree, monkeypatch):
    run = Demo(in_memory(), lambda: survey(tree, most_files=1), seconds=0, as_json=True)
    never = threading.Event()
    monkeypatch.setattr(run._jobs, "stop", lambda: never.wait(10))
    interrupts = Interrupts()
    interrupts.count = 2
    try:
        assert run._drain(run._view(), interrupts) is False
    finally:
        never.set()


def test_signals_are_given_back_after_the_run():
    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        assert interrupts.count == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_in_which_nothing_but_ticks_finishes_gives_up(tree, monkeypatch):
    monkeypatch.setattr("zjobs.demo.session.STALLED_SECONDS", 2.5)  # longer than from one tick to the next
    run = Demo(in_memory(), lambda: survey(tree, most_files=1), seconds=0, as_json=True)
    run._jobs.pause_queue("net")
    assert run.run() == FAILURE
