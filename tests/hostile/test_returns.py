"""Whatever a handler returns: what cannot be kept is the failure of its job."""

import asyncio
import gc

import pytest

import zjobs

LIMIT = 2**20


class Lazy:
    """Makes itself only when it is asked for what it is."""

    def __getattr__(self, name):
        raise SystemExit


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def ring():
    value = {}
    value["self"] = value
    return value


RETURNED = {
    "object": (object, "result must be something that JSON can carry"),
    "lazy object": (Lazy, "result"),
    "class": (lambda: Lazy, "result must be something that JSON can carry"),
    "set of objects": (lambda: {object()}, "result"),
    "generator": (lambda: (number for number in range(3)), "result must be something that JSON can carry"),
    "coroutine": (lambda: asyncio.sleep(0), "result"),
    "NaN": (lambda: float("nan"), "must be a finite number"),
    "infinity": (lambda: [float("inf")], "must be a finite number"),
    "huge integer": (lambda: 2**64, "result"),
    "lone surrogate": (lambda: "\ud800", "lone surrogates"),
    "giant text": (lambda: "x" * (2 * LIMIT), "result must be at most 1048576 bytes of JSON"),
    "enormous text": (lambda: "x" * 50_000_000, "result must be at most 1048576 bytes of JSON"),
    "giant list": (lambda: list(range(LIMIT)), "result must be at most 1048576 bytes of JSON"),
    "too deep": (lambda: deep(200), "result must nest at most 128 levels"),
    "very deep": (lambda: deep(100_000), "result must be something that JSON can carry: maximum recursion"),
    "itself": (ring, "result must be something that JSON can carry: maximum recursion"),
    "keys that are no text": (lambda: {1: 2, (3,): 4}, "result"),
    "bad snooze": (lambda: zjobs.Snooze(-1), "snooze must be from 0"),
    "snooze for ever": (lambda: zjobs.Snooze(1e300), "snooze must be from 0"),
}


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("case", RETURNED)
def test_what_cannot_be_kept_is_the_jobs_failure(case, pen):
    act, text = RETURNED[case]
    (error,) = pen(act).visit().errors
    assert error.kind == "Invalid" or case == "lazy object"
    assert text in error.message or case == "lazy object"
    assert len(error.message) <= 4096
    gc.collect()


@pytest.mark.parametrize("verdict", ["Cancel", "Discard"])
def test_a_returned_verdict_with_an_unstorable_reason_is_still_that_verdict(verdict, pen):
    state = {"Cancel": zjobs.JobState.CANCELLED, "Discard": zjobs.JobState.DISCARDED}[verdict]
    ended = pen(lambda: getattr(zjobs, verdict)("a\ud800\0b")).visit(state)
    assert [error.message for error in ended.errors] == ["a?\ufffdb"]
