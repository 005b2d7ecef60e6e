"""`tools/sanitize.py` counts what ran, and is not content with less."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "tools/sanitize.py"


@pytest.fixture
def sanitize():
    spec = importlib.util.spec_from_file_location("sanitize", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said(sanitize, text, status=0):
    program = f"import sys; print({text!r}); sys.exit({status})"
    return sanitize.run([sys.executable, "-c", program], dict(os.environ))


def test_all_results_are_added_up(sanitize):
    one, two = ("test result: ok. 3 passed; 0 failed; 1 ignored;", "test result: ok. 4 passed; 0 failed; 0 ignored;")
    assert said(sanitize, f"{one}\nother\n{two}") == (7, 1)


def test_a_status_a_failure_and_silence_are_no_results(sanitize):
    assert said(sanitize, "test result: ok. 3 passed; 0 failed; 1 ignored;", status=1) is None
    assert said(sanitize, "") is None
    assert said(sanitize, "test result: FAILED. 3 passed; 1 failed; 1 ignored;", status=101) is None


def test_what_cannot_be_had_is_said(sanitize, monkeypatch, capsys):
    monkeypatch.setattr(sanitize, "has", lambda _: False)
    assert sanitize.main("miri") == 2
    assert "cannot run miri here: it needs a nightly toolchain with rust-src and miri" in capsys.readouterr().out
