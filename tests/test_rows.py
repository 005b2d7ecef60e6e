"""What goes into a store and what comes out of it: values that are checked, and stay as they are."""

import dataclasses
import inspect

import pytest

from zjobs import rows
from zjobs.errors import Invalid
from zjobs.job import JobState
from zjobs.options import JobOpts
from zjobs.rows import Enqueued, Heartbeat, JobFilter, NewJob, Pulse, Retried, Which

VALUES = [kind for _, kind in inspect.getmembers(rows, dataclasses.is_dataclass) if kind.__module__ == rows.__name__]
MOST = 2**63 - 1


def test_every_row_request_and_reply_is_a_value():
    plain = {"Acked", "JobEvent", "RescueReason", "Which"}
    assert {kind.__name__ for kind in VALUES} == set(rows.__all__) - plain


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_cannot_be_changed(kind):
    for field in dataclasses.fields(kind):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(object.__new__(kind), field.name, 1)


def test_what_is_not_said_of_a_new_job_is_as_in_its_options():
    job, opts = NewJob("w", b"{}"), JobOpts()
    shared = {field.name for field in dataclasses.fields(job)} & {field.name for field in dataclasses.fields(opts)}
    assert {name: getattr(job, name) for name in shared} == {name: getattr(opts, name) for name in shared}
    assert job.meta_bytes is None


def test_what_is_not_said_is_nothing():
    assert Heartbeat("n") == Heartbeat("n", name="", pid=0, ttl_seconds=30, queues={}, holds=())
    assert Pulse(alive=True) == Pulse(alive=True, cancel=(), lost=(), unknown=())
    assert (Enqueued(None).conflict, Retried(1).holder) == (False, None)


def test_a_filter_restricts_by_what_is_given_only():
    every = JobFilter()
    assert dataclasses.astuple(every) == (None, (), None, None, (), None, None, False, None)
    assert every == JobFilter(ids=None, states=[], tags=[])
    assert Which.__optional_keys__ == {field.name for field in dataclasses.fields(every)}


def test_a_filter_keeps_its_own_tuples():
    ids, states, tags = [1, MOST], [0, JobState.COMPLETED], ["red"]
    one = JobFilter(ids=ids, states=states, tags=tags)
    for given in (ids, states, tags):
        given.clear()
    assert (one.ids, one.states, one.tags) == ((1, MOST), (JobState.AVAILABLE, JobState.COMPLETED), ("red",))
    assert one.states[0] is JobState.AVAILABLE
    assert JobFilter(ids=()).ids == ()


def test_what_is_just_inside_the_limits_is_taken():
    one = JobFilter(ids={1}, queue="q", worker="A:b", tags=("",), unique_key="", after=1, newest_first=True, limit=0)
    assert (one.ids, one.queue, one.worker, one.tags, one.unique_key) == ((1,), "q", "A:b", ("",), "")
    assert (one.after, one.newest_first, one.limit) == (1, True, 0)
    assert (JobFilter(after=MOST).after, JobFilter(limit=MOST).limit) == (MOST, MOST)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("ids", 1, "ids must be a list or tuple"),
        ("ids", "1", "ids must be a list or tuple"),
        ("ids", b"1", "ids must be a list or tuple"),
        ("ids", [0], "id must be a whole number from 1"),
        ("ids", [MOST + 1], "id must be a whole number from 1"),
        ("ids", ["1"], "id must be a whole number from 1"),
        ("states", 0, "states must be a list or tuple"),
        ("states", [9], "states must hold members of JobState"),
        ("states", ["available"], "states must hold members of JobState"),
        ("queue", "a b", "queue must match"),
        ("queue", "", "queue must match"),
        ("worker", "a b", "worker must match"),
        ("worker", "", "worker must match"),
        ("tags", "red", "tags must be a list or tuple"),
        ("tags", [1], "tag must be text"),
        ("unique_key", 5, "unique_key must be text"),
        ("after", 0, "after must be a whole number from 1"),
        ("after", MOST + 1, "after must be a whole number from 1"),
        ("limit", -1, "limit must be a whole number from 0"),
        ("limit", MOST + 1, "limit must be a whole number from 0"),
        ("newest_first", 1, "newest_first must be True or False"),
    ],
)
def test_a_part_that_breaks_its_rule_is_refused_by_name(part, value, message):
    with pytest.raises(Invalid, match=f"^{message}"):
        JobFilter(**{part: value})
