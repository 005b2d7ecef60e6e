"""The short form of `make recovery`: after each event the work goes on. How soon is not looked at here."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from postgres_server import Server
from recovery import __main__ as recovery
from recovery.__main__ import EVENTS, Event

TESTS = Path(__file__).parent
LONG = {"killed-postgres"}
"""Waits for a whole lease, as `killed-postgres-fast` does for a shorter one."""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("event", [event for event in EVENTS if event not in LONG])
def test_work_goes_on_after(event, tmp_path):
    command = [sys.executable, "-m", "recovery", "--times", "2", "--only", event, "--patient"]
    result = ["--result", str(tmp_path / "recovery.json")]
    ended = subprocess.run([*command, *result], cwd=TESTS, capture_output=True, text=True, timeout=170, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("proved: ")


def run(seconds, monkeypatch, tmp_path, *arguments):
    def act(server: Server, folder: Path, times: int, chance: random.Random):
        assert list(folder.iterdir()) == []
        return seconds[:times]

    monkeypatch.setattr(recovery, "EVENTS", {"one": Event("it went on", 1.0, act)})
    arguments = ["recovery", "--times", "200", "--result", str(tmp_path / "r.json"), *arguments]
    monkeypatch.setattr(sys, "argv", arguments)
    return recovery.main()


def test_less_than_one_in_a_hundred_may_be_late(monkeypatch, tmp_path, capsys):
    assert run([0.5] * 199 + [9.0], monkeypatch, tmp_path) == 0
    assert capsys.readouterr().out.endswith("proved: it went on (p50 0.50 s, p99 0.50 s of 200)\n")
    assert run([0.5] * 198 + [9.0] * 2, monkeypatch, tmp_path) == 1
    told = capsys.readouterr()
    assert told.out.endswith("refuted: it went on (p50 0.50 s, p99 9.00 s of 200)\n")
    assert told.err == "one: p50 0.50 s, p99 9.00 s of 200, and the bar is 1 s\n"


def test_whoever_is_patient_looks_at_no_bar(monkeypatch, tmp_path):
    assert run([9.0] * 3, monkeypatch, tmp_path, "--patient") == 0
