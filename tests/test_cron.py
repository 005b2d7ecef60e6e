import pickle
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from croniter import croniter
from cronsim import CronSim
from hypothesis import assume, given
from hypothesis import strategies as st

from zjobs.cron import BOUND, GRACE, CatchUp, OnRepeat, Schedule, missed
from zjobs.errors import Invalid

BERLIN = "Europe/Berlin"
ZONES = sorted(name for name in available_timezones() if "/" in name and not name.startswith(("posix", "right", "Etc")))
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


def ticks(schedule, start, count):
    """The next ticks as wall-clock times with their offsets."""
    found = schedule.between(start, start + timedelta(days=4000), count)
    return [tick.astimezone(ZoneInfo(schedule.timezone)).isoformat(" ", "minutes") for tick in found]


@cache
def changes(zone, year):
    """The moments of a year at which a zone's offset changes, found hour by hour."""
    info, found = ZoneInfo(zone), []
    moment, before = utc(year, 1, 1), None
    while moment.year == year:
        offset = moment.astimezone(info).utcoffset()
        if before is not None and offset != before:
            found.append(moment)
        moment, before = moment + HOUR, offset
    return found


def around_changes():
    """A zone, a moment shortly before one of its changes, and the size of the change; or an ordinary moment."""
    return st.builds(
        _around, st.sampled_from(ZONES), st.integers(1990, 2037), st.integers(0, 9), st.integers(-90, 1500)
    )


def _around(zone, year, which, minutes):
    found = changes(zone, year)
    middle = found[which % len(found)] if found else utc(year, 6, 15)
    info = ZoneInfo(zone)
    shift = (middle + HOUR).astimezone(info).utcoffset() - (middle - HOUR).astimezone(info).utcoffset()
    return zone, middle - timedelta(minutes=minutes), shift


# --- the rule table ---


def test_a_fixed_time_in_the_spring_gap_runs_once_at_the_first_moment_after_it():
    before = utc(2026, 3, 28, 12)
    assert ticks(Schedule("30 2 * * *", BERLIN), before, 2) == ["2026-03-29 03:00+02:00", "2026-03-30 02:30+02:00"]
    assert ticks(Schedule("*/15 2 * * *", BERLIN), before, 2) == ["2026-03-29 03:00+02:00", "2026-03-30 02:00+02:00"]
    assert ticks(Schedule("0 2,3 * * *", BERLIN), before, 2) == ["2026-03-29 03:00+02:00", "2026-03-30 02:00+02:00"]


def test_a_fixed_time_in_the_autumn_fold_runs_once_at_its_first_occurrence():
    before = utc(2026, 10, 24, 12)
    assert ticks(Schedule("30 2 * * *", BERLIN), before, 2) == ["2026-10-25 02:30+02:00", "2026-10-26 02:30+01:00"]
    lord_howe = Schedule("45 1 * * *", "Australia/Lord_Howe")
    assert ticks(lord_howe, utc(2026, 4, 4), 2) == ["2026-04-05 01:45+11:00", "2026-04-06 01:45+10:30"]


def test_from_inside_the_repetition_a_fixed_time_waits_for_the_next_day():
    inside = utc(2026, 10, 25, 1, 10)
    assert ticks(Schedule("30 2 * * *", BERLIN), inside, 1) == ["2026-10-26 02:30+01:00"]
    assert ticks(Schedule("0 3 * * *", BERLIN), inside, 1) == ["2026-10-25 03:00+01:00"]
    inside = utc(2026, 11, 1, 6, 10)
    assert ticks(Schedule("30 1 * * *", "America/New_York"), inside, 1) == ["2026-11-02 01:30-05:00"]
    assert ticks(Schedule("0 2 * * *", "America/New_York"), inside, 1) == ["2026-11-01 02:00-05:00"]


def test_a_fixed_time_may_run_at_both_occurrences():
    schedule = Schedule("30 2 * * *", BERLIN, on_repeat="twice")
    assert schedule.on_repeat is OnRepeat.TWICE
    assert ticks(schedule, utc(2026, 10, 24, 12), 2) == ["2026-10-25 02:30+02:00", "2026-10-25 02:30+01:00"]
    assert ticks(schedule, utc(2026, 3, 28, 12), 1) == ["2026-03-29 03:00+02:00"]


def test_a_wildcard_hour_follows_real_time():
    half_hours = Schedule("*/30 * * * *", BERLIN).between(utc(2026, 10, 24, 22), utc(2026, 10, 25, 4))
    assert {b - a for a, b in pairwise(half_hours)} == {timedelta(minutes=30)}
    even = Schedule("0 */2 * * *", BERLIN)
    assert ticks(even, utc(2026, 3, 28, 22, 30), 2) == ["2026-03-29 00:00+01:00", "2026-03-29 04:00+02:00"]
    assert ticks(even, utc(2026, 10, 24, 23), 2) == ["2026-10-25 02:00+02:00", "2026-10-25 02:00+01:00"]


def test_each_second_beside_a_change_runs_once():
    second = timedelta(seconds=1)
    for change in (utc(2026, 3, 29, 1), utc(2026, 10, 25, 1)):
        found = Schedule("* * * * * *", BERLIN).between(change - 4 * second, change + 3 * second)
        assert found == [change + n * second for n in range(-3, 4)]
    found = Schedule("* * 1-3 * * *", BERLIN).between(utc(2026, 3, 29, 0, 59, 56), utc(2026, 3, 29, 1, 0, 3))
    assert found == [utc(2026, 3, 29, 1) + n * second for n in range(-3, 4)]
    before, after = utc(2026, 10, 25, 1), utc(2026, 10, 25, 2)
    found = Schedule("* * 1-3 * * *", BERLIN).between(before - 3 * second, after + second)
    assert found == [before - 2 * second, before - second, after, after + second]


def test_the_hour_decides_about_a_change_also_after_seconds():
    before = utc(2026, 3, 28, 12)
    for fixed in ("0 30 2 * * *", "0 */30 2 * * *", "15 30 2 29-31 * *"):
        assert ticks(Schedule(fixed, BERLIN), before, 1) == ["2026-03-29 03:00+02:00"]
    assert ticks(Schedule("0 30 */2 29 * *", BERLIN), utc(2026, 3, 29, 0), 1) == ["2026-03-29 04:30+02:00"]


def test_a_zone_may_skip_a_whole_day():
    noon = Schedule("0 12 * * *", "Pacific/Apia")
    expected = ["2011-12-29 12:00-10:00", "2011-12-31 00:00+14:00", "2011-12-31 12:00+14:00"]
    assert ticks(noon, utc(2011, 12, 29, 12), 3) == expected


def test_ordinary_dates_follow_the_calendar():
    leap = Schedule("0 0 29 2 *").between(utc(2026, 1, 1), utc(2040, 1, 1))
    assert [tick.year for tick in leap] == [2028, 2032, 2036]
    long = Schedule("0 0 31 * *").between(utc(2026, 1, 1), utc(2027, 1, 1))
    assert [tick.month for tick in long] == [1, 3, 5, 7, 8, 10, 12]
    sevens = Schedule("*/7 * * * *").between(utc(2025, 12, 31, 22, 59), utc(2026, 1, 1, 0, 0))
    assert [tick.minute for tick in sevens] == [0, 7, 14, 21, 28, 35, 42, 49, 56, 0]
    either = Schedule("0 0 13 * 5").between(utc(2026, 2, 1), utc(2026, 2, 28))
    assert [tick.day for tick in either] == [6, 13, 20, 27]


@pytest.mark.parametrize(
    ("fields", "days"),
    [
        ("0 0 1 * 5#3", [1, 16]),
        ("0 0 15 * L5", [15, 30]),
        ("0 0 13W * 6", [3, 10, 13, 17, 24, 31]),
        ("0 0 L * sat#2", [10, 31]),
        ("0 0 30-31 * */6", [3, 4, 10, 11, 17, 18, 24, 25, 30, 31]),
        ("0 0 30-L * */6", [3, 4, 10, 11, 17, 18, 24, 25, 30, 31]),
        ("0 0 ? * 5#3", [16]),
        ("0 0 1 * ?", [1]),
    ],
)
def test_a_day_or_a_weekday_suffices_also_where_one_of_them_is_counted(fields, days):
    found = Schedule(fields).between(utc(2025, 12, 31, 12), utc(2026, 1, 31, 12))
    assert [tick.day for tick in found] == days


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ("0 22-1 2 1 *", [0, 1, 22, 23]),
        ("0 22-1/1 2 1 *", [0, 1, 22, 23]),
        ("0 1-7/3 2 oct-12,1-2/1 7-2/2,fri-7/2,sun-7", [1, 4, 7]),
    ],
)
def test_a_range_may_run_over_the_end_of_its_field(fields, found):
    ticks = Schedule(fields).between(utc(2026, 1, 1, 23, 59), utc(2026, 1, 2, 23, 59))
    assert [tick.hour for tick in ticks] == found


def test_six_fields_have_the_seconds_first():
    schedule = Schedule("*/20 30 6 * * *")
    found = schedule.between(utc(2026, 1, 1), utc(2026, 1, 2))
    assert [tick.time().isoformat() for tick in found] == ["06:30:00", "06:30:20", "06:30:40"]


@pytest.mark.parametrize(
    ("alias", "fields"),
    [("@hourly", "0 * * * *"), ("@daily", "0 0 * * *"), ("@WEEKLY", "0 0 * * 0"), ("@yearly", "0 0 1 1 *")],
)
def test_an_alias_is_its_fields(alias, fields):
    start, end = utc(2026, 3, 1), utc(2026, 4, 1)
    assert Schedule(alias, BERLIN).between(start, end) == Schedule(fields, BERLIN).between(start, end)


# --- what is refused ---


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "x",
        "* * * *",
        "* * * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "0 0 30 2 *",
        "0 0 31 4,6 *",
        "*/0 * * * *",
        "a b c d e",
        "@reboot",
        "R * * * *",
        "H(0-5) * * * *",
        "* * * * *\0",
        "* " * 1000,
        "\u0661 * * * *",
        "0 5-5 * * *",
        "0 0 * jan-1 *",
        "0 0 31-L * *",
        "0 0 1,031-l/2 * *",
        "0 0 * * sun-sun",
        "0 0 * * 7-0",
        "0 0 * * 7-7",
        "0 0 * * 5-5#2",
        "0 22-5/3 * * *",
        "0 0 * nov-feb/2 *",
        "* * * * * 1,fri-mon/2",
        5,
        None,
        b"* * * * *",
    ],
)
def test_a_bad_expression_is_refused_with_the_way_out(bad):
    with pytest.raises(Invalid, match=r"^cron expression must .*\(got "):
        Schedule(bad)


@pytest.mark.parametrize("bad", ["", "Mars/Phobos", "../etc/passwd", "/etc/passwd", "Europe", "UTC\0", None, UTC])
def test_a_bad_zone_is_refused_with_the_way_out(bad):
    with pytest.raises(Invalid, match=r"^timezone must .*tzdata \(got "):
        Schedule("@daily", bad)


def test_the_limits_are_those_that_are_documented():
    assert BOUND == 1000
    assert timedelta(seconds=10) == GRACE
    longest = "0 0 1 1 " + "1," * 123 + "1"
    assert len(longest) == 255
    assert Schedule(longest).next_after(utc(2026, 1, 1)) == utc(2026, 1, 5)
    with pytest.raises(Invalid, match=r"^cron expression "):
        Schedule(longest + " ")


def test_other_bad_values_are_refused():
    with pytest.raises(Invalid, match=r"^on_repeat must be one of 'once', 'twice'"):
        Schedule("@daily", on_repeat="thrice")
    with pytest.raises(Invalid, match="time zone"):
        Schedule("@daily").next_after(datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test
    with pytest.raises(Invalid, match=r"^catch_up "):
        missed(Schedule("@daily"), utc(2026, 1, 1), utc(2026, 1, 2), "some")


@given(st.text(max_size=30) | st.text("0123456789*/,-?LW#@ ", max_size=30))
def test_any_text_is_a_schedule_or_invalid_and_its_next_tick_is_found_or_none(text):
    try:
        schedule = Schedule(text)
    except Invalid:
        return
    tick = schedule.next_after(utc(2026, 1, 1))
    assert tick is None or tick > utc(2026, 1, 1)


def test_the_search_ends_at_the_end_of_time():
    assert Schedule("@yearly").next_after(datetime.max.replace(tzinfo=UTC)) is None
    assert Schedule("@yearly", "Asia/Tokyo").next_after(utc(9999, 12, 31)) is None


def test_a_schedule_is_a_value():
    schedule = Schedule("@daily", BERLIN)
    assert schedule == pickle.loads(pickle.dumps(schedule))  # noqa: S301 - its own
    assert hash(schedule) == hash(Schedule("@daily", BERLIN, OnRepeat.ONCE))


# --- second opinions ---

FIXED = st.builds("{} {} * * *".format, st.integers(0, 59), st.integers(0, 23))
WILD = st.builds(
    "{} {} * * *".format,
    st.integers(0, 59).map(str) | st.sampled_from(["*/5", "*/7", "*/30", "10-20", "*"]),
    st.sampled_from(["*", "*/2", "*/3", "*/5"]),
)
CALENDAR = st.builds(
    "{} {} {} {} {}".format,
    st.integers(0, 59),
    st.integers(0, 23) | st.just("*"),
    st.integers(1, 28) | st.just("*"),
    st.integers(1, 12) | st.just("*"),
    st.integers(0, 7) | st.sampled_from(["*", "MON-FRI", "sat,sun"]),
)


@given(FIXED, around_changes())
def test_fixed_times_agree_with_cronsim(fields, place):
    zone, start, shift = place
    # cronsim looks for a skipped time within the hours that summer time moves, not across a skipped day.
    assume(abs(shift) <= 2 * HOUR)
    # From before the change: started inside a repetition, cronsim takes its times for new ones.
    oracle = CronSim(fields, (start - 2 * DAY).astimezone(ZoneInfo(zone)))
    ahead = (tick.astimezone(UTC) for tick in oracle)
    expected = list(islice((tick for tick in ahead if tick > start), 4))
    assert Schedule(fields, zone).between(start, start + 30 * DAY, 4) == expected


@given(WILD, around_changes())
def test_wildcard_hours_are_the_real_moments_whose_wall_clock_matches(fields, place):
    zone, start, _ = place
    info = ZoneInfo(zone)
    found = Schedule(fields, zone).between(start, start + 8 * HOUR)
    assert found == sorted(set(found))
    whole = start.replace(second=0, microsecond=0)
    minutes = [whole + timedelta(minutes=n) for n in range(8 * 60 + 1)]
    walls = [(tick, tick.astimezone(info).replace(tzinfo=None)) for tick in minutes if tick > start]
    assume(all(not wall.second for _, wall in walls))
    assert found == [tick for tick, wall in walls if croniter.match(fields, wall)]


@given(CALENDAR, st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_without_changes_of_the_offset_croniter_is_right(fields, start):
    oracle = croniter(fields, start, ret_type=datetime)
    expected = [oracle.get_next() for _ in range(3)]
    schedule = Schedule(fields)
    assert schedule.between(start, expected[-1]) == expected
    assert schedule.next_after(start) == expected[0]


@given(FIXED | WILD | CALENDAR, around_changes(), st.sampled_from(OnRepeat))
def test_ticks_go_forward_and_do_not_depend_on_where_one_starts(fields, place, on_repeat):
    zone, start, _ = place
    schedule = Schedule(fields, zone, on_repeat)
    first = schedule.next_after(start)
    second = schedule.next_after(first)
    assert start < first < second
    between = start + (first - start) / 2
    assert schedule.next_after(between) == first
    assert schedule.next_after(first + (second - first) / 2) == second


@pytest.mark.parametrize("zone", ["Africa/Casablanca", "America/Sao_Paulo", "Antarctica/Troll", "Asia/Gaza", BERLIN])
def test_no_change_of_an_offset_hides_between_two_samples(zone):
    for year in range(1990, 2038):
        found = changes(zone, year)
        assert all(later - earlier > DAY for earlier, later in pairwise(found))


# --- late ---

MINUTELY = Schedule("* * * * *")
NOW = utc(2026, 1, 1, 12, 0, 3)
ON_TIME = NOW.replace(second=0)


def test_a_tick_that_is_on_time_runs_whatever_the_policy():
    for policy in CatchUp:
        assert missed(MINUTELY, ON_TIME - timedelta(minutes=1), NOW, policy) == ([ON_TIME], [])


def test_late_ticks_follow_the_policy():
    now, last = utc(2026, 1, 1, 12, 0, 30), utc(2026, 1, 1, 11, 57)
    late = [utc(2026, 1, 1, 11, 58), utc(2026, 1, 1, 11, 59), utc(2026, 1, 1, 12)]
    assert missed(MINUTELY, last, now) == (late[2:], late[:2])
    assert missed(MINUTELY, last, now, "none") == ([], late)
    assert missed(MINUTELY, last, now, "all") == (late, [])


def test_with_a_tick_on_time_the_late_ones_are_left_out():
    last = ON_TIME - timedelta(minutes=3)
    for policy in ("latest", "none"):
        run, left_out = missed(MINUTELY, last, NOW, policy)
        assert run == [ON_TIME]
        assert left_out == [ON_TIME - timedelta(minutes=2), ON_TIME - timedelta(minutes=1)]


def test_every_second_of_a_short_delay_runs():
    run, left_out = missed(Schedule("* * * * * *"), NOW - timedelta(seconds=5), NOW)
    assert (len(run), left_out) == (5, [])


def test_nothing_is_due_before_the_next_tick_or_when_the_clock_went_back():
    assert missed(MINUTELY, ON_TIME, NOW) == ([], [])
    assert missed(MINUTELY, NOW + DAY, NOW) == ([], [])


@pytest.mark.parametrize("expression", ["* * * * * *", "* * * 1 *", "*/5 3 * * 1"])
def test_catching_up_after_years_is_bounded_and_takes_the_newest(expression):
    schedule, last = Schedule(expression, BERLIN), utc(2010, 1, 1)
    run, left_out = missed(schedule, last, NOW, "all")
    assert len(run) == BOUND
    assert schedule.next_after(run[-1]) > NOW
    assert left_out[0] == schedule.next_after(last)
    assert len(left_out) == BOUND
    latest, _ = missed(schedule, last, NOW, "latest")
    assert latest[-1] == run[-1]


@given(
    FIXED | WILD | CALENDAR,
    around_changes(),
    st.timedeltas(timedelta(0), 60 * DAY),
    st.sampled_from(CatchUp),
)
def test_each_tick_since_the_last_is_run_or_left_out_once(fields, place, delay, policy):
    zone, last, _ = place
    schedule, now = Schedule(fields, zone), last + delay
    every = schedule.between(last, now, BOUND)
    assume(len(every) < BOUND)
    run, left_out = missed(schedule, last, now, policy)
    assert left_out + run == every
    on_time = [tick for tick in every if tick > now - GRACE]
    if policy is CatchUp.ALL:
        assert run == every
    else:
        assert run == on_time or (policy is CatchUp.LATEST and not on_time and run == every[-1:])
