"""The command line's shell: help, version, exit codes."""

import subprocess
import sys
from importlib.metadata import version

import pytest


def zjobs(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "zjobs", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("demo", "--help")])
def test_help_documents_the_exit_codes(arguments):
    done = zjobs(*arguments)
    assert done.returncode == 0
    assert "0 fine, 1 failure, 2 wrong usage, 3 not found, 130 interrupted" in " ".join(done.stdout.split())


def test_help_names_every_command():
    said = zjobs("--help").stdout
    for command in ("run", "demo", "enqueue", "jobs", "queues", "stats", "nodes", "migrate", "prune"):
        assert command in said


def test_the_version_is_that_of_the_package():
    done = zjobs("--version")
    assert done.returncode == 0
    assert done.stdout.startswith(f"zjobs {version('zjobs')}, ")


@pytest.mark.parametrize("arguments", [("no-such-command",), ("--no-such-option",), ("demo", "--files", "0")])
def test_wrong_usage_is_exit_code_2_and_says_so_on_standard_error(arguments):
    done = zjobs(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Error" in done.stderr


def test_no_command_at_all_shows_the_help():
    done = zjobs()
    assert done.returncode == 2
    assert "Usage" in done.stdout + done.stderr
