"""`tools/first_failure.py` waits for nothing once a test has failed, and hides no failure."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools/first_failure.py"
TESTS = """
#[test]
fn passes() {}

#[test]
fn fails() {
    println!("test said ... FAILED");
    assert!(std::env::args().all(|argument| argument != "fails"));
}

#[test]
fn hangs() {
    if std::env::args().any(|argument| argument == "hangs") {
        std::thread::park();
    }
}

#[test]
fn crashes() {
    if std::env::args().any(|argument| argument == "crashes") {
        std::process::abort();
    }
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("program")
    (folder / "tests.rs").write_text(TESTS, "utf-8")
    subprocess.run(["rustc", "--test", "-o", folder / "tests", folder / "tests.rs"], check=True)
    return folder / "tests"


def ended(program, *arguments):
    """How it ends, and its output. It hangs where the tool does not end it."""
    command = [sys.executable, TOOL, program, "--test-threads=2", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


def test_it_ends_at_the_first_failure_though_another_test_would_run_for_ever(program):
    status, out = ended(program, "fails", "hangs")
    assert status == 101
    assert "test fails ... FAILED" in out


def test_it_passes_where_all_tests_do_whatever_they_print(program):
    status, out = ended(program)
    assert status == 0
    assert "4 passed" in out


def test_a_program_that_dies_has_failed(program):
    assert ended(program, "crashes")[0] == 101
