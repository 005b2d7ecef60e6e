"""`tools/check_paths.py`: what is tracked must make sense on every machine."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "check_paths.py"


@pytest.fixture
def repository(tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    return tmp_path


def check(repository):
    subprocess.run(["git", "add", "--all"], cwd=repository, check=True)
    return subprocess.run([sys.executable, SCRIPT, repository], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("folder", ["home/ada", "Users/ada", "root/x", "tmp/x"])
def test_a_path_of_one_machine_is_reported_with_its_line(repository, folder):
    (repository / "notes.md").write_text(f"fine\nsee /{folder}/notes\n", encoding="utf-8")
    done = check(repository)
    assert done.returncode == 1
    assert f"notes.md:2: /{folder}" in done.stderr


@pytest.mark.parametrize(
    "text", ["sqlite:////absolute.db", "docs/home/page", "https://site.test/home/page", "~/work/x"]
)
def test_urls_and_relative_paths_are_not_reported(repository, text):
    (repository / "notes.md").write_text(text, encoding="utf-8")
    assert check(repository).returncode == 0


def test_binary_files_are_not_read(repository):
    (repository / "logo.png").write_bytes(b"\xff\xfe /" + b"home/ada")
    assert check(repository).returncode == 0
