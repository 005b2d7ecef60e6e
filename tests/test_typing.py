"""The public types as mypy and pyright see them: right calls pass, wrong ones are refused, line by line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "tests" / "typing").glob("*.py"))
_MARK = re.compile(r"  # wrong: \w")


def wrong_lines(path):
    """The lines that are marked."""
    lines = path.read_text("utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if _MARK.search(line)}


def output(*command):
    done = subprocess.run(
        [sys.executable, "-m", *command, *FILES], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout


def by_mypy(tmp_path):
    """The errors of each file by line, and everything it says elsewhere."""
    said = output("mypy", "--no-error-summary", "--hide-error-context", "--output=json", f"--cache-dir={tmp_path}")
    for line in said.splitlines():
        error = json.loads(line)
        if error["severity"] == "error":
            yield Path(ROOT, error["file"]), error["line"], error["message"]


def by_pyright(tmp_path):
    """The same, by the other checker."""
    # Strict for the package only: in a file of wrong calls unknown types are no news.
    for error in json.loads(output("pyright", "--outputjson", "--pythonpath", sys.executable))["generalDiagnostics"]:
        if error["severity"] == "error":
            yield Path(error["file"]), error["range"]["start"]["line"] + 1, error["message"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("checker", [by_mypy, by_pyright], ids=["mypy", "pyright"])
def test_exactly_the_wrong_calls_are_refused(checker, tmp_path):
    found = list(checker(tmp_path))
    for path in FILES:
        said = {line: message for file, line, message in found if file == path}
        expected = wrong_lines(path)
        accepted = {line: path.read_text("utf-8").splitlines()[line - 1] for line in expected - said.keys()}
        assert accepted == {}, f"wrong lines of {path.name} that it accepts"
        refused = {line: message for line, message in said.items() if line not in expected}
        assert refused == {}, f"right lines of {path.name} that it refuses"
    assert {str(file) for file, _, _ in found} <= {str(path) for path in FILES}, found


def test_there_are_wrong_calls_to_find():
    assert sum(len(wrong_lines(path)) for path in FILES) > 40
    assert wrong_lines(ROOT / "tests" / "typing" / "right.py") == set()
