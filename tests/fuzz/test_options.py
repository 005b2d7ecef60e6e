"""Options, limits and strategies: any value is kept as it is meant or is refused (F-68, F-69, F-70)."""

import math
from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from fuzz import assert_shown, short
from zjobs import JobOpts, MemoryStore, Queue, Retention, Supervisor, UniqueStrategy
from zjobs.errors import Invalid
from zjobs.options import Snooze
from zjobs.retry import Constant, Custom, Exponential, Linear, again

EDGES = [0, 1, -1, 2**15, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**32, 2**63 - 1, 2**63, 2**64, 10**400, True]
NUMBER = st.one_of(st.sampled_from(EDGES), st.integers(), st.floats(), st.integers(0, 400_000_000))
LENGTH = st.one_of(NUMBER, st.timedeltas(), st.none())
TEXT = st.one_of(
    st.text(max_size=8), st.text(st.sampled_from("abc-._:é\u0301\0\n\ud800"), max_size=70), st.just("x" * 256)
)
MOMENT = st.one_of(st.datetimes(), st.datetimes(timezones=st.timezones()), st.none())
ODD = st.one_of(st.none(), st.binary(max_size=3), NUMBER, TEXT, st.just(object()))
TEXTS = st.one_of(
    st.lists(TEXT, max_size=18).map(tuple), st.lists(TEXT, max_size=3), TEXT, st.just({1: 2}), st.sets(TEXT, max_size=3)
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "queue": st.one_of(TEXT, st.just("default"), ODD),
        "priority": st.one_of(NUMBER, ODD),
        "max_attempts": st.one_of(NUMBER, ODD),
        "scheduled_at": st.one_of(MOMENT, ODD),
        "schedule_in": st.one_of(LENGTH, ODD),
        "unique_key": st.one_of(TEXT, ODD),
        "unique_strategy": st.one_of(st.sampled_from(UniqueStrategy), ODD),
        "unique_by": TEXTS,
        "unique_period": st.one_of(LENGTH, ODD),
        "timeout_seconds": st.one_of(LENGTH, ODD),
        "meta": st.one_of(st.dictionaries(TEXT, ODD, max_size=3), ODD),
        "tags": TEXTS,
    },
)
JOBS = Supervisor(MemoryStore())
YEARS = 3650 * 24 * 3600


@short(500)
@given(OPTIONS)
@example({"schedule_in": 3650 * 24 * 3600, "scheduled_at": None})
@example({"scheduled_at": datetime.max.replace(tzinfo=UTC)})
@example({"scheduled_at": datetime.min.replace(tzinfo=UTC)})
@example({"meta": {"a": "x" * 20_000}})
@example({"timeout_seconds": 1e-9})
@example({"unique_by": ("",)})
@example({"meta": None})
def test_options_are_kept_as_they_are_meant_or_refused(options):
    try:
        opts = JobOpts(**options)
    except Invalid as error:
        assert_shown(str(error))
        opts = None
    try:
        job = JOBS.enqueue("w", None, **options)
    except Invalid as error:
        assert_shown(str(error))
        return
    assert opts is not None, "a job has options that JobOpts refuses"
    assert (job.queue, job.priority, job.max_attempts) == (opts.queue, opts.priority, opts.max_attempts)
    assert set(job.tags) == set(opts.tags)
    if opts.scheduled_at is not None:
        assert job.scheduled_at == opts.scheduled_at
    if opts.unique_key is not None:
        assert job.unique_key == opts.unique_key
    if opts.timeout_seconds is None:
        assert job.timeout_seconds is None
    else:
        assert math.isclose(job.timeout_seconds, opts.timeout_seconds, abs_tol=1e-6)
    JOBS.cancel(job)


@short(300)
@given(st.one_of(TEXT, ODD), st.tuples(ODD, ODD), st.tuples(LENGTH, LENGTH, LENGTH), st.one_of(LENGTH, ODD))
def test_queues_retentions_and_snoozes_are_kept_or_refused(name, numbers, lengths, pause):
    for make in (
        lambda: Queue(name, numbers[0], prefetch=numbers[1]),
        lambda: Retention(completed=lengths[0], cancelled=lengths[1], discarded=lengths[2]),
        lambda: Snooze(pause),
    ):
        try:
            made = make()
        except Invalid as error:
            assert_shown(str(error))
            continue
        if isinstance(made, Retention):
            kept = [made.completed, made.cancelled, made.discarded]
            assert all(one is None or timedelta(0) <= one <= timedelta(seconds=YEARS) for one in kept)
        if isinstance(made, Snooze):
            assert 0 <= made.seconds <= YEARS
        if isinstance(made, Queue):
            assert 1 <= made.concurrency <= 4096


@short(400)
@given(st.sampled_from([Exponential, Linear, Constant]), st.one_of(NUMBER, ODD), st.one_of(NUMBER, ODD), NUMBER, NUMBER)
@example(Exponential, 1e-300, 1e9, 10**400, 2**63)
def test_a_strategy_waits_from_nothing_to_ten_years_or_is_refused(kind, first, most, attempt, job):
    try:
        strategy = kind(first) if kind is Constant else kind(first, most)
    except Invalid as error:
        assert_shown(str(error))
        return
    job = job if type(job) is int and abs(job) < 2**63 else 1
    try:
        delay = strategy.delay(attempt, job_id=job)
    except Invalid as error:
        assert_shown(str(error))
        assert type(attempt) is not int or attempt < 1
        return
    assert 0 <= delay <= YEARS
    assert strategy.delay(attempt + 1, job_id=job) <= YEARS
    assert again(strategy, attempt, job, ValueError()) == delay


@short(300)
@given(st.one_of(NUMBER, ODD, st.just(math.inf)), st.booleans(), st.integers(1, 2**32))
def test_whatever_a_strategy_says_the_attempt_ends(said, raises, attempt):
    def strategy(*_):
        if raises:
            raise KeyboardInterrupt
        return said

    found = again(Custom(strategy), attempt, 1, ValueError())
    assert found is None or 0 <= found <= YEARS
