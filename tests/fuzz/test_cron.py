"""Cron expressions: any text is a schedule or is refused, and a schedule has its ticks in order and soon (S-17)."""

import signal
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import available_timezones

from cronsim import CronSim, CronSimError
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fuzz import assert_shown, short
from zjobs.cron import CatchUp, OnRepeat, Schedule, missed
from zjobs.errors import Invalid

ZONES = sorted(available_timezones())
NUMBER = st.one_of(st.integers(0, 7), st.integers(0, 60), st.integers()).map(str)
NAME = st.sampled_from(["mon", "sun", "JAN", "dec", "L", "l", "?", "*", "W", "H", "R", "0", "00", "7"])
WORD = st.one_of(NUMBER, NAME, NUMBER)
PIECE = st.one_of(
    WORD,
    st.tuples(WORD, WORD).map("-".join),
    st.tuples(WORD, WORD).map("/".join),
    st.tuples(WORD, WORD, WORD).map(lambda parts: f"{parts[0]}-{parts[1]}/{parts[2]}"),
    st.tuples(WORD, NUMBER).map("#".join),
    st.tuples(WORD, NUMBER).map("".join),
)
FIELD = st.one_of(st.just("*"), st.lists(PIECE, min_size=1, max_size=4).map(",".join))
FIELDS = st.lists(FIELD, min_size=5, max_size=6).map(" ".join)
ALIAS = st.sampled_from(["@hourly", " @DAILY ", "@yearly", "@reboot", "@every 5m"])
EXPRESSION = st.one_of(FIELDS, FIELDS, ALIAS, st.text(max_size=300))
MOMENTS = st.datetimes(timezones=st.just(UTC))
# Seconds of work for one schedule, on a machine that is busy with other things.
PATIENCE = 60


@contextmanager
def soon():
    """Fails when what is inside takes far longer than any schedule may."""

    def late(*_):
        raise AssertionError(f"it took more than {PATIENCE} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@short(300)
@given(EXPRESSION, st.one_of(st.sampled_from(ZONES), st.text(max_size=20)), MOMENTS, st.sampled_from(list(OnRepeat)))
@example("0 0 30 2 *", "UTC", datetime.min.replace(tzinfo=UTC), OnRepeat.ONCE)
@example("* * * * *", "Europe/Berlin", datetime.max.replace(tzinfo=UTC), OnRepeat.TWICE)
@example("0 2 * * *", "Pacific/Apia", datetime.min.replace(tzinfo=UTC), OnRepeat.ONCE)
def test_any_text_is_a_schedule_with_rising_ticks_or_is_refused(expression, zone, moment, on_repeat):
    with soon():
        try:
            schedule = Schedule(expression, zone, on_repeat)
        except Invalid as error:
            assert_shown(str(error))
            return
        tick = schedule.next_after(moment)
        assert tick is None or (tick > moment and tick.utcoffset() == timedelta(0))
        end = moment + min(timedelta(days=40), datetime.max.replace(tzinfo=UTC) - moment)
        ticks = schedule.between(moment, end, 20)
        assert ticks[:1] == ([tick] if tick is not None and tick <= end else [])
        assert all(one < other for one, other in pairwise(ticks))
        assert all(moment < one <= end for one in ticks)


@short(150)
@given(FIELDS, MOMENTS)
def test_in_utc_it_agrees_with_cronsim_where_both_know_the_expression(fields, moment):
    assume(datetime(1970, 1, 1, tzinfo=UTC) < moment < datetime(2100, 1, 1, tzinfo=UTC))
    # Letters and `?` mean something else to each.
    assume(len(fields.split()) == 5 and all(c in "0123456789*,-/ " for c in fields))
    try:
        expected = list(islice(CronSim(fields, moment), 3))
    except CronSimError:
        return
    with soon():
        try:
            schedule = Schedule(fields)
        except Invalid:
            return
        found = list(islice(schedule.between(moment, moment + timedelta(days=4000), 3), 3))
    assert found == [tick for tick in expected if tick <= moment + timedelta(days=4000)]


@short(100)
@given(FIELDS, MOMENTS, st.timedeltas(timedelta(0), timedelta(days=400)), st.sampled_from(list(CatchUp)))
@example("0 0 1 1 *", datetime(1, 1, 1, tzinfo=UTC), timedelta(seconds=5), CatchUp.ALL)
@example("0 0 1 1 *", datetime(1, 1, 1, tzinfo=UTC), timedelta(seconds=5), CatchUp.NONE)
def test_what_was_missed_is_run_or_left_out_and_never_both(fields, last, away, policy):
    try:
        schedule = Schedule(fields)
        now = last + away
    except (Invalid, OverflowError):
        return
    with soon():
        run, left_out = missed(schedule, last, now, policy)
    assert all(last < tick <= now for tick in [*run, *left_out])
    assert not set(run) & set(left_out)
    assert run == sorted(set(run))
    assert left_out == sorted(set(left_out))
