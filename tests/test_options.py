import dataclasses
import math
import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zjobs.errors import Invalid
from zjobs.options import (
    Ack,
    CallOptions,
    Cancel,
    Discard,
    EnqueueOptions,
    JobOpts,
    Outcome,
    Queue,
    Retention,
    Snooze,
    StuckPolicy,
    UniqueStrategy,
    WorkerDef,
    newer,
    queue_name,
    seconds,
    worker_name,
)
from zjobs.retry import Constant, Custom, Exponential

TEN_YEARS = 3650 * 24 * 3600
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
NAIVE = NOON.replace(tzinfo=None)


def test_the_defaults_are_those_of_the_table():
    opts = JobOpts()
    assert (opts.queue, opts.priority, opts.max_attempts, opts.timeout_seconds) == ("default", 0, 20, 300)
    assert (opts.scheduled_at, opts.schedule_in, opts.unique_key) == (None, None, None)
    assert opts.unique_strategy is UniqueStrategy.IGNORE_NEW
    assert (opts.meta, opts.tags) == ({}, ())


def test_each_option_of_a_call_is_an_option_of_a_worker():
    assert set(EnqueueOptions.__annotations__) == {field.name for field in dataclasses.fields(JobOpts)}
    assert EnqueueOptions.__optional_keys__ == set(EnqueueOptions.__annotations__)
    assert CallOptions.__optional_keys__ == {*EnqueueOptions.__annotations__, "connection"}


def test_a_name_that_keeps_the_rule_is_given_back():
    assert (queue_name("mail"), worker_name("Mail:send")) == ("mail", "Mail:send")


@pytest.mark.parametrize(
    "options",
    [
        {"queue": "mail;--"},
        {"queue": ""},
        {"queue": "q" * 65},
        {"queue": "Mail"},
        {"queue": "mail\n"},
        {"queue": "m\u0430il"},
        {"queue": None},
        {"priority": 2**31},
        {"priority": -(2**31) - 1},
        {"priority": 1.5},
        {"priority": True},
        {"max_attempts": 0},
        {"max_attempts": -1},
        {"max_attempts": 2**31},
        {"scheduled_at": NAIVE},
        {"scheduled_at": "tomorrow"},
        {"scheduled_at": datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))},
        {"schedule_in": -1},
        {"schedule_in": math.nan},
        {"schedule_in": math.inf},
        {"schedule_in": TEN_YEARS + 1},
        {"schedule_in": timedelta(days=3_650_000)},
        {"schedule_in": timedelta(microseconds=-1)},
        {"schedule_in": "60"},
        {"schedule_in": True},
        {"schedule_in": 10**400},
        {"timeout_seconds": 0},
        {"timeout_seconds": -5},
        # The engine counts nanoseconds, and this is none.
        {"timeout_seconds": 5e-10},
        {"unique_key": ""},
        {"unique_key": "k" * 256},
        {"unique_key": "a\0b"},
        {"unique_key": "\ud800"},
        {"unique_key": 5},
        {"unique_key": "a\x1fb"},
        {"unique_key": "a\x7fb"},
        {"unique_key": "a\x9fb"},
        {"unique_key": chr(0xDFFF)},
        {"unique_by": "args"},
        {"unique_by": ("",)},
        {"unique_by": (5,)},
        {"unique_by": ("k" * 256,)},
        {"unique_strategy": "ignore_new"},
        {"meta": [1]},
        {"tags": "tag"},
        {"tags": ("a\nb",)},
        {"tags": tuple("abcdefghijklmnopq")},
    ],
)
def test_a_value_that_breaks_its_rule_is_refused_by_name(options):
    (name,) = options
    with pytest.raises(Invalid, match=f"^{name} ") as caught:
        JobOpts(**options)
    assert "(got " in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"queue": "q" * 64},
        {"priority": 2**31 - 1},
        {"priority": -(2**31)},
        {"max_attempts": 1},
        {"max_attempts": 10_000},
        {"schedule_in": 0},
        {"schedule_in": TEN_YEARS},
        {"timeout_seconds": 5.000000001e-10},
        {"unique_key": "k"},
        {"unique_key": "k" * 255},
        {"unique_key": "a key, with ~ \xa0 \ud7ff \ue000"},
        {"unique_by": ("k" * 255,)},
        {"tags": tuple("abcdefghijklmnop")},
    ],
)
def test_a_value_just_inside_its_limits_is_kept(options):
    ((name, value),) = options.items()
    assert getattr(JobOpts(**options), name) == value


@pytest.mark.parametrize(
    "options",
    [
        {"scheduled_at": NOON, "schedule_in": 5},
        {"unique_key": "k", "unique_by": ("args",)},
        {"unique_period": 60},
    ],
)
def test_options_that_exclude_or_need_each_other_are_refused(options):
    with pytest.raises(Invalid):
        JobOpts(**options)


def test_a_naive_datetime_is_told_the_way_out():
    with pytest.raises(Invalid, match=r"datetime\.now\(UTC\)"):
        JobOpts(scheduled_at=NAIVE)


def test_times_become_utc_and_seconds():
    local = NOON.astimezone(timezone(timedelta(hours=5)))
    assert JobOpts(scheduled_at=local).scheduled_at.tzinfo is UTC
    assert JobOpts(scheduled_at=local).scheduled_at == NOON
    assert JobOpts(schedule_in=timedelta(minutes=1)).schedule_in == 60.0
    assert JobOpts(timeout_seconds=timedelta(minutes=1)).timeout_seconds == 60.0
    # What the engine takes in a call: it counts nanoseconds.
    assert JobOpts(timeout_seconds=1e-9).timeout_seconds == 1e-9
    assert JobOpts(unique_by=["args"], unique_period=timedelta(hours=1)).unique_period == 3600.0
    assert JobOpts(timeout_seconds=None).timeout_seconds is None


@given(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(1, 10_000),
    st.floats(0, TEN_YEARS),
    st.from_regex(r"[a-z0-9_.-]{1,64}", fullmatch=True),
)
def test_everything_within_the_limits_is_accepted_and_kept(priority, max_attempts, delay, queue):
    opts = JobOpts(priority=priority, max_attempts=max_attempts, schedule_in=delay, queue=queue)
    assert (opts.priority, opts.max_attempts, opts.schedule_in, opts.queue) == (priority, max_attempts, delay, queue)
    assert pickle.loads(pickle.dumps(opts)) == opts  # noqa: S301 - its own


def test_a_call_s_options_replace_the_worker_s_and_leave_them_as_they_are():
    worker = JobOpts(queue="mail", priority=5, schedule_in=60)
    call = worker.merged(priority=-5)
    assert (call.queue, call.priority, call.schedule_in) == ("mail", -5, 60)
    assert worker.priority == 5
    assert worker.merged() is worker


def test_a_call_lifts_what_its_options_exclude():
    assert JobOpts(schedule_in=60).merged(scheduled_at=NOON).schedule_in is None
    assert JobOpts(scheduled_at=NOON).merged(schedule_in=0).scheduled_at is None
    by = JobOpts(unique_by=("args",), unique_period=60)
    keyed = by.merged(unique_key="k")
    assert (keyed.unique_key, keyed.unique_by, keyed.unique_period) == ("k", (), None)
    assert keyed.merged(unique_by=("worker",)).unique_key is None
    with pytest.raises(Invalid):
        JobOpts().merged(scheduled_at=NOON, schedule_in=5)


def test_of_two_calls_the_newer_one_lifts_what_its_options_exclude():
    before = {"queue": "mail", "schedule_in": 60, "unique_by": ("args",), "unique_period": 60}
    assert newer(before, {"priority": 1}) == {**before, "priority": 1}
    assert newer(before, {"scheduled_at": NOON, "unique_key": "k"}) == {
        "queue": "mail",
        "scheduled_at": NOON,
        "unique_key": "k",
    }
    # What says nothing lifts nothing.
    assert newer(before, {"scheduled_at": None, "unique_key": None}) == {
        **before,
        "scheduled_at": None,
        "unique_key": None,
    }
    assert newer({"unique_key": "k"}, {"unique_by": ["args"]}) == {"unique_by": ["args"]}
    for nothing in ((), []):
        assert newer({"unique_key": "k"}, {"unique_by": nothing}) == {"unique_key": "k", "unique_by": nothing}
    assert before == {"queue": "mail", "schedule_in": 60, "unique_by": ("args",), "unique_period": 60}


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(Invalid, match=r"queue, priority.*got 'qeue'"):
        JobOpts().merged(qeue="mail")


@pytest.mark.parametrize(
    "options", [{"concurrency": 0}, {"concurrency": 4097}, {"prefetch": -1}, {"prefetch": 2**31}, {"stuck": "exit"}]
)
def test_a_queue_s_values_are_checked(options):
    with pytest.raises(Invalid, match=f"^{next(iter(options))} "):
        Queue("mail", **options)


def test_a_queue_may_have_one_slot_or_thousands():
    assert (Queue("mail", 1).concurrency, Queue("mail", 4096).concurrency) == (1, 4096)
    assert (Queue("mail", prefetch=0).prefetch, Queue("mail", prefetch=2**31 - 1).prefetch) == (0, 2**31 - 1)


@pytest.mark.parametrize("value", [JobOpts(), Queue("mail"), Retention(), WorkerDef("w", print)])
def test_a_value_cannot_be_changed(value):
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, None)


def test_what_has_no_natural_order_is_given_by_name():
    for call in (lambda: JobOpts("mail"), lambda: Retention(1), lambda: Queue("mail", 1, 2)):
        with pytest.raises(TypeError, match="positional"):
            call()
    with pytest.raises(TypeError, match="positional"):
        Queue("mail", 1, None, StuckPolicy.EXIT)


def test_a_queue_runs_ten_jobs_at_once_unless_told_otherwise():
    assert Queue("mail") == Queue("mail", 10, prefetch=None, stuck=StuckPolicy.REPORT)
    with pytest.raises(Invalid, match=r"^queue "):
        Queue("Mail")


def test_retention_is_a_day_and_a_week_and_takes_seconds():
    assert Retention() == Retention(completed=86400, cancelled=timedelta(days=1), discarded=timedelta(weeks=1))
    assert Retention(completed=None).completed is None
    assert Retention(discarded=5).discarded == timedelta(seconds=5)
    with pytest.raises(Invalid, match=r"^completed "):
        Retention(completed=-1)


def test_a_worker_s_strategy_may_be_a_function():
    assert WorkerDef("w", print).retry_strategy == Exponential()
    assert WorkerDef("w", print, retry_strategy=divmod).retry_strategy == Custom(divmod)
    assert WorkerDef("w", print, retry_strategy=Constant(5)).retry_strategy == Constant(5)
    assert WorkerDef("w", print).ack is Ack.BATCHED
    assert WorkerDef("w", print).keep_result is False


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "os.system()"},
        {"handler": 5},
        {"opts": {}},
        {"ack": "sync"},
        {"keep_result": 1},
        {"retry_strategy": Exponential},
    ],
)
def test_a_worker_s_values_are_checked(bad):
    with pytest.raises(Invalid):
        WorkerDef(**({"name": "w", "handler": print} | bad))


def test_outcomes_can_be_returned_and_raised():
    assert Snooze(60).seconds == 60
    assert Snooze(timedelta(minutes=2)).seconds == 120
    assert Cancel("why").reason == "why"
    assert Discard().reason == ""
    assert (Snooze(timedelta(minutes=2)).args, Cancel().args, Discard().args) == ((120.0,), ("",), ("",))
    for outcome in (Snooze(1), Cancel("a"), Discard("b")):
        with pytest.raises(Outcome):
            raise outcome
        assert pickle.loads(pickle.dumps(outcome)).args == outcome.args  # noqa: S301 - its own
    for bad in (-1, math.nan, "5"):
        with pytest.raises(Invalid, match=r"^snooze "):
            Snooze(bad)


@given(st.floats(0, TEN_YEARS), st.timedeltas(timedelta(0), timedelta(days=3650)))
def test_a_length_of_time_is_seconds_either_way(number, delta):
    assert seconds("delay", number) == number
    assert seconds("delay", delta) == delta.total_seconds()
