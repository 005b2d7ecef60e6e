"""Commands that destroy ask first, at a terminal."""

import json
import os
import pty
import signal
import subprocess
import sys

import pytest


@pytest.fixture
def ask(shell):
    """Starts a command whose input is a terminal; gives the process and the terminal's other end."""
    started = []

    def start(*arguments):
        ours, its = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "zjobs", *arguments, "--store", shell.url],
            stdin=its,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=shell.folder,
        )
        os.close(its)
        started.append((process, ours))
        question = b""
        while not question.endswith(b"[y/N]: "):
            char = process.stderr.read(1)
            assert char, question
            question += char
        return process, ours, question.decode()

    yield start
    for process, ours in started:
        os.close(ours)
        process.kill()
        process.communicate()


def test_the_question_is_no_part_of_the_answer(shell, ask):
    shell.jobs.enqueue_many([("send", None)] * 2)
    process, terminal, question = ask("jobs", "cancel", "--all", "--json")
    assert question == "Cancel 2 jobs? [y/N]: "
    os.write(terminal, b"y\n")
    out, _ = process.communicate(timeout=30)
    assert json.loads(out) == {"cancelled": 2, "asked_to_stop": 0}
    assert out.startswith(b"{")
    assert process.returncode == 0


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"what\n", b"\x04"])
def test_whatever_is_no_yes_is_a_no(shell, ask, answer):
    shell.jobs.enqueue("send")
    process, terminal, _ = ask("jobs", "delete", "--all")
    os.write(terminal, answer)
    out, _ = process.communicate(timeout=30)
    assert (out, process.returncode, shell.jobs.count()) == (b"", 1, 1)


def test_ctrl_c_at_the_question_is_exit_code_130(shell, ask):
    shell.jobs.enqueue("send")
    process, _, _ = ask("prune", "--older-than", "0")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (out, process.returncode) == (b"", 130)
    assert b"Traceback" not in err
