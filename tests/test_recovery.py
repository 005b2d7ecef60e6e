"""The short form of `make recovery`: after each event the work goes on. How soon is not looked at here."""

import random
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from postgres_server import Server
from recovery import __main__ as recovery
from recovery.__main__ import EVENTS, Event
from recovery.crew import Member
from recovery.scenes import seconds_until
from recovery.ticks import late

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


def test_a_job_that_ran_elsewhere_while_its_old_process_lived_is_no_figure():
    assert seconds_until(3_500_000_000, 7, 2_000_000_000) == 1.5
    with pytest.raises(AssertionError, match=r"job 7 ran elsewhere, and 0\.500 s later its old process still lived"):
        seconds_until(1_500_000_000, 7, 2_000_000_000)


@pytest.mark.parametrize("status", [0, -signal.SIGTERM])
def test_a_process_that_was_to_be_killed_and_ended_otherwise_is_told(status):
    member = Member.__new__(Member)
    member.name, member.process = "node-1", SimpleNamespace(kill=print, wait=lambda _: status)
    with pytest.raises(AssertionError, match=f"node-1 was to be killed and ended with status {status}"):
        member.kill()


BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


def seen(*those):
    """Transactions, and their seconds after the begin."""
    return [(name, BEGIN + timedelta(seconds=seconds)) for name, seconds in those]


def test_each_tick_is_measured_to_its_own_job():
    ticks = seen(("a", 0), ("b", 1), ("c", 2))
    # By the order of their times alone, no job would be later than a second.
    assert late(ticks, seen(("c", 2.5), ("a", 3), ("b", 1.25))) == [3, 0.25, 0.5]


@pytest.mark.parametrize(
    ("ticks", "jobs", "what"),
    [
        ([("a", 0), ("c", 2)], [("a", 0), ("c", 2)], "2 ticks between .*: some are missing"),
        ([("a", 0), ("b", 1)], [("a", 0)], "2 ticks have 1 jobs"),
        ([("a", 0), ("b", 1)], [("a", 0), ("a", 0)], "2 ticks have 2 jobs, of 1 transactions"),
        ([("a", 0), ("b", 1)], [("a", 0), ("c", 1)], "2 ticks have 2 jobs, of 2 transactions, and not their own"),
        ([("a", 0), ("b", 1)], [("a", 0), ("b", 1), ("b", 1)], "2 ticks have 3 jobs"),
    ],
)
def test_a_tick_that_is_missing_or_has_not_one_job_is_told(ticks, jobs, what):
    with pytest.raises(AssertionError, match=what):
        late(seen(*ticks), seen(*jobs))
