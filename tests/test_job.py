"""What callers see of a job, as far as it is written in Python."""

import dataclasses
import importlib.util
from datetime import UTC, datetime, timedelta, timezone

import pytest

from zjobs import Supervisor, _engine
from zjobs.errors import Invalid
from zjobs.job import EPOCH, AttemptError, JobState, Progress, micros


def test_a_state_is_its_number_in_stores_and_its_name_in_texts():
    assert {str(state): int(state) for state in JobState} == _engine.STATES
    assert f"{JobState.EXECUTING}" == "executing"
    assert JobState(3) is JobState.RETRYABLE


def test_three_states_are_final():
    assert [state for state in JobState if state.is_final] == [
        JobState.COMPLETED,
        JobState.DISCARDED,
        JobState.CANCELLED,
    ]


def test_an_engine_with_other_states_is_not_used(monkeypatch):
    spec = importlib.util.find_spec("zjobs.job")
    monkeypatch.setattr(_engine, "STATES", _engine.STATES | {"lost": 7})
    with pytest.raises(ImportError, match="install it again"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.parametrize("kind", [AttemptError, Progress])
def test_what_is_told_of_a_job_cannot_be_changed(kind):
    for field in dataclasses.fields(kind):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(object.__new__(kind), field.name, 1)


def test_values_with_equal_parts_are_equal():
    assert Progress(1) == Progress(done=1, total=None, message="")
    assert Progress(1) != Progress(1, 2)
    assert AttemptError(1, EPOCH, "E", "no", "") == AttemptError(
        attempt=1, at=EPOCH, kind="E", message="no", traceback=""
    )


def test_a_job_that_was_read_twice_is_one_in_a_set():
    jobs = Supervisor("memory://")
    ids = [jobs.enqueue("w").id for _ in range(2)]
    assert len({jobs.get(number) for number in ids * 2}) == 2


def test_moments_are_counted_in_microseconds_since_1970():
    assert micros("at", datetime(1970, 1, 1, tzinfo=UTC)) == micros("at", EPOCH) == 0
    assert micros("at", datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC)) == 1_000_005
    assert micros("at", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)) == -1_000_000
    assert micros("at", datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))) == 0
    with pytest.raises(Invalid, match="at must know its time zone"):
        micros("at", datetime(1970, 1, 1))  # noqa: DTZ001 - the point of it
