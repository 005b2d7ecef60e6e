"""The demo, run as its users run it."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

DEADLINE_SECONDS = 90
FOLDERS, FILES = 4, 40
"""Of the tree that it works through."""


def clean_environment(**extra):
    unwanted = {"COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}
    return {name: value for name, value in os.environ.items() if name not in unwanted} | extra


def command(*arguments):
    return [sys.executable, "-m", "zjobs", "demo", *map(str, arguments)]


def demo(*arguments, **environment):
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        env=clean_environment(**environment),
        check=False,
    )


def in_a_terminal(*arguments, **environment):
    """Run the demo on a pseudo-terminal; return its exit code and all that it wrote."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(*arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=clean_environment(TERM="xterm-256color", COLUMNS="100", LINES="40", **environment),
    ) as process:
        os.close(theirs)
        written = b"".join(chunks(ours))
        os.close(ours)
        return process.wait(DEADLINE_SECONDS), written.decode()


def chunks(terminal):
    """What is written to a terminal until its other end is closed, which Linux tells with an error."""
    end = time.monotonic() + DEADLINE_SECONDS
    while select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            return
        if not chunk:
            return
        yield chunk
    pytest.fail(f"the demo still ran after {DEADLINE_SECONDS} s")


def signalled(number, tree, *arguments, **environment):
    """Send a signal when the run has begun; return the exit code and standard output."""
    with subprocess.Popen(
        command(tree, "--seconds", "3600", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=clean_environment(**environment),
    ) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if re.match(r" +\d+\.\d s", line):
                break
        process.send_signal(number)
        lines.extend(process.stdout)
        return process.wait(DEADLINE_SECONDS), "".join(lines)


def interrupted(tree, *arguments, **environment):
    return signalled(signal.SIGINT, tree, *arguments, **environment)


def by_state(summary):
    counts = {}
    for kind in summary["kinds"].values():
        for state, count in kind["states"].items():
            counts[state] = counts.get(state, 0) + count
    return counts
