"""Whatever a handler returns: what cannot be kept is the failure of its job."""

import asyncio
import gc
import types
from collections.abc import Coroutine

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
    "coroutine": (lambda: asyncio.sleep(0), "result must not be a coroutine"),
    "generator": (lambda: (number for number in range(3)), "result must not be a generator"),
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


class Compiled(Coroutine):
    """As a compiler other than Python's makes them."""

    def __await__(self):
        return iter(())

    def send(self, value):
        raise StopIteration

    def throw(self, *error):
        raise error[0]

    def close(self):
        raise SystemExit


def unawaited():
    return asyncio.sleep(0)


@types.coroutine
def pause():
    yield


async def clings():
    try:
        await pause()
    finally:
        await pause()


def suspended():
    # It has begun, and does not let itself be closed.
    coroutine = clings()
    coroutine.send(None)
    return coroutine


def unread():
    yield


async def unread_too():
    yield


@pytest.mark.parametrize("act", [unawaited, suspended, Compiled, unread, unread_too])
def test_a_job_whose_handler_only_made_what_would_do_the_work_has_failed(act, jobs, recwarn):
    app = jobs(queues={"default": 1})

    # As a decorator looks that knows plain functions only.
    def plain() -> object:
        return act()

    async def coroutine() -> object:
        return act()

    several = [
        app.worker(name=f"{handler.__name__}_{keep}", keep_result=keep, max_attempts=1)(handler)
        for handler in (plain, coroutine)
        for keep in (False, True)
    ]
    drained = [worker.enqueue() for worker in several]
    app.drain()
    with app:
        ended = [app.wait(worker.enqueue(), 30) for worker in several]
    for job in (*map(app.get, drained), *ended):
        assert (job.state, [error.kind for error in job.errors]) == (zjobs.JobState.DISCARDED, ["Invalid"])
        assert job.errors[0].message.startswith("result must not be a ")
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("keep_result", [False, True])
def test_a_task_that_a_coroutine_handler_hands_back_goes_on_by_itself(keep_result, jobs, eventually):
    app = jobs()
    done = []

    async def later() -> None:
        done.append(1)

    @app.worker(keep_result=keep_result, max_attempts=1)
    async def leaves() -> object:
        return asyncio.ensure_future(later())

    with app:
        # Nothing that JSON can carry; but nothing that nobody runs, either.
        state = zjobs.JobState.DISCARDED if keep_result else zjobs.JobState.COMPLETED
        assert app.wait(leaves.enqueue(), 30).state is state
        eventually(lambda: done)
