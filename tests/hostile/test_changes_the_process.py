"""Handlers that change what all of a process share: nothing of ours rests on it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hostile.changes import CHANGES

WELL = [1, "completed", 2, 3, "discarded", "once", "once", 0]


@pytest.mark.parametrize("lane", ["thread", "loop"])
def test_good_jobs_run_and_failures_are_recorded_after_a_handler_has_changed(lane, tmp_path):
    command = [sys.executable, "-m", "hostile.changes", lane, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, timeout=110, check=False, cwd=Path(__file__).parents[1])
    found = json.loads(done.stdout)
    assert found == dict.fromkeys(CHANGES, WELL), done.stderr
    assert [file.name for file in (tmp_path / "the_folder" / "elsewhere").iterdir()] == []
