"""`tools/fuzz.py` counts what was tried, target by target, and takes no fewer executions than it was asked for."""

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.tally import NUMBERS, Tally, driven

ROOT = Path(__file__).parents[2]
LIBFUZZER = """
import sys
limits = dict(word.split("=") for word in sys.argv[1:] if "=" in word)
assert "-max_total_time" in limits
print("stat::number_of_executed_units:", min({made}, int(limits.get("-runs", {made}))))
sys.exit({code})
"""
ITSELF = """
import os, struct
enough = int(os.environ["ZJOBS_EXECUTIONS"] or 70)
open(os.environ["ZJOBS_TALLY"], "wb").write(struct.pack("=QQ", 100, min(enough, 70)))
"""


@pytest.fixture
def fuzz(tmp_path, monkeypatch):
    """The tool, in an empty clone."""
    spec = importlib.util.spec_from_file_location("tool_of_fuzz", ROOT / "tools" / "fuzz.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tool_of_fuzz", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "CLONE", tmp_path)
    monkeypatch.setenv("CARGO_TARGET_DIR", str(tmp_path / "target"))
    return module


def target(fuzz, script, **options):
    return fuzz.Target("words", [sys.executable, "-c", script], {}, **options)


def rust(fuzz, made, code=0):
    return target(fuzz, LIBFUZZER.format(made=made, code=code))


def test_a_target_in_rust_runs_for_its_time_or_until_it_was_executed_often_enough(fuzz, capsys):
    assert fuzz.fuzz(rust(fuzz, 500), 1, None) == 500
    assert fuzz.fuzz(rust(fuzz, 500), 1, 200) == 200
    assert capsys.readouterr().out == "words: 500 executions\nwords: 200 executions\n"


def test_a_target_in_python_says_itself_which_inputs_reached_a_test(fuzz, capsys):
    assert fuzz.fuzz(target(fuzz, ITSELF, counts_itself=True), 1, None) == 70
    assert fuzz.fuzz(target(fuzz, ITSELF, counts_itself=True), 1, 50) == 50
    assert capsys.readouterr().out.startswith("words: 70 executions, of 100 inputs\n")


def test_a_target_that_fails_or_counts_nothing_has_no_executions(fuzz, capsys):
    assert fuzz.fuzz(rust(fuzz, 500, code=1), 1, None) is None
    assert fuzz.fuzz(target(fuzz, "print('all is well')"), 1, None) is None
    assert fuzz.fuzz(target(fuzz, ITSELF, counts_itself=True), 1, None) == 70
    assert fuzz.fuzz(target(fuzz, "", counts_itself=True), 1, None) is None, "the count is that of the run before"
    assert "words: FAILED" in capsys.readouterr().out


def test_the_fewest_executions_are_named_beside_the_sum(fuzz):
    counts = [("life", 500), ("words", 20), ("life", 90)]
    assert fuzz.judge(counts, 60, None) == (
        True,
        "3 targets, 610 executions in 60 s each, the fewest 20 of words, 0 findings",
    )
    assert fuzz.judge(counts, 60, 20) == (
        True,
        "3 targets, 610 executions until each had 20, the fewest 20 of words, 0 findings",
    )


def test_fewer_executions_than_were_asked_for_are_told_and_fail(fuzz):
    counts = [("life", 500), ("words", 20)]
    assert fuzz.judge(counts, 60, 21) == (
        False,
        "fewer than 21 executions in 60 s: words with 20; 0 findings in 520",
    )
    assert fuzz.judge([("words", 0)], 60, None)[0] is False
    assert fuzz.judge([("life", 500), ("words", None)], 60, None) == (
        False,
        "words; 500 executions of the other targets without a finding",
    )


def test_an_input_that_hypothesis_makes_nothing_of_is_not_counted_as_executed(tmp_path):
    ran, ended = [], []

    @given(st.integers(0, 9).filter(lambda number: number < 5))
    def test(number):
        ran.append(number)

    tally = Tally(tmp_path / "counts", 40, lambda: ended.append(len(ran)))
    one = driven([test.hypothesis.fuzz_one_input] * 3, tally)
    for byte in range(256):
        one(bytes([byte] * 9))
    one(b"")
    one(b"\1")
    assert 40 < len(ran) < 256
    assert NUMBERS.unpack((tmp_path / "counts").read_bytes()) == (258, len(ran))
    assert ended == [40]
