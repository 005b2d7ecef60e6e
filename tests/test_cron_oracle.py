"""The oracle's own tests, and its short form; `make cron-oracle` runs it whole."""

import os
import random
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest

from cron_oracle import __main__ as whole
from cron_oracle import chance, compare, peers
from cron_oracle.expressions import EXPRESSIONS
from cron_oracle.fields import date_matches, read
from cron_oracle.rule import Clock, Meaning, moment, next_tick, place
from cron_oracle.valid import why_not
from cron_oracle.zones import names, zones
from zjobs.cron import Schedule
from zjobs.errors import invalid

HERE = Path(__file__).parent


def utc(*parts):
    return int(datetime(*parts, tzinfo=UTC).timestamp())


@pytest.fixture(scope="module")
def berlin():
    """The zone, and its changes of 2026."""
    (zone,) = zones(["Europe/Berlin"])
    return zone, [change for change in zone.compared() if moment(change.at).year == 2026]


def test_two_hundred_expressions_are_listed_and_all_are_accepted():
    assert len(EXPRESSIONS) == len(set(EXPRESSIONS)) == 200
    for expression in EXPRESSIONS:
        Schedule(expression)


def test_the_zones_are_those_of_the_pinned_package_and_their_files_are_read_right(berlin):
    zone, changes = berlin
    assert version("tzdata") in (HERE.parent / "pyproject.toml").read_text("utf-8")
    assert [(change.at, change.before, change.after) for change in changes] == [
        (utc(2026, 3, 29, 1), 3600, 7200),
        (utc(2026, 10, 25, 1), 7200, 3600),
    ]
    assert len(zone.compared()) == 2 * 48
    assert len(names()) > 590
    # Moved over the date line: a day without a date.
    (apia,) = zones(["Pacific/Apia"])
    assert 86_400 in {change.after - change.before for change in apia.changes}


def test_zones_with_the_same_offsets_count_once():
    (zone,) = zones(["Europe/Berlin", "Europe/Vienna", "Europe/Rome"])
    assert (zone.name, zone.also) == ("Europe/Berlin", ("Europe/Vienna", "Europe/Rome"))


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        ("0 0 13 * 5", [6, 13, 20, 27]),
        ("0 0 L * *", [28]),
        ("0 0 15W * *", [16]),
        ("0 0 1W * *", [2]),
        ("0 0 30W * *", [27]),
        ("0 0 * * L5", [27]),
        ("0 0 * * sun#2", [8]),
        ("0 0 * * fri-sun#1", [1, 6, 7]),
        ("0 0 26-3 * *", [1, 2, 3, 26, 27, 28]),
        ("0 0 25-L * *", [25, 26, 27, 28]),
        ("0 0 */10 * ?", [1, 11, 21]),
        ("0 0 20/4 2-4 *", [20, 24, 28]),
        ("0 0 * mar *", []),
        ("0 0 ? * 1/2", [2, 4, 6, 9, 11, 13, 16, 18, 20, 23, 25, 27]),
        ("0 0 * * 5-7/2", [1, 6, 8, 13, 15, 20, 22, 27]),
    ],
)
def test_dates_of_february_2026_are_read_from_the_calendar(expression, days):
    fields = read(expression)
    assert [day for day in range(1, 29) if date_matches(fields, date(2026, 2, day))] == days


def test_the_walk_sees_what_a_change_skips_and_repeats(berlin):
    zone, (spring, autumn) = berlin
    clock = Clock(zone)
    gap, fold = place(zone, spring, clock), place(zone, autumn, clock)
    assert [at for at, _ in gap.walk.skipped] == [spring.at] * 60
    assert len(fold.walk.shown) - len(fold.walk.first) == 60
    half_past_two = Meaning("30 2 * * *")
    assert gap.walk.ticks(half_past_two, "once", gap.start, gap.end) == [spring.at]
    assert gap.walk.ticks(half_past_two, "real", gap.start, gap.end) == []
    assert fold.walk.ticks(half_past_two, "once", fold.start, fold.end) == [autumn.at - 1800]
    assert fold.walk.ticks(half_past_two, "twice", fold.start, fold.end) == [autumn.at - 1800, autumn.at + 1800]
    assert next_tick(clock, half_past_two, "once", spring.at) == spring.at + 23 * 3600 + 1800
    assert next_tick(clock, Meaning("0 0 29 2 *"), "once", spring.at) == utc(2028, 2, 28, 23)


class Late(Schedule):
    """Runs a time that is skipped a second late."""

    def between(self, start, end, limit=1000):
        return [tick + (tick.minute == 0) * timedelta(seconds=1) for tick in super().between(start, end, limit)]


def test_a_peer_that_goes_back_or_in_a_circle_is_explained_only_where_one_does(berlin, monkeypatch):
    (goose_bay,) = zones(["America/Goose_Bay"])
    # At one minute past midnight it was eleven in the evening again.
    back = next(change for change in goose_bay.changes if change.at == utc(2010, 11, 7, 3, 1))
    here = place(goose_bay, back, Clock(goose_bay))
    reason = ("does not get past a clock that is set back to the day before within an hour",)
    goes_back, goes_in_a_circle = Meaning("0 */2 * * *"), Meaning("30 */2 * * *")
    assert peers.judge("cronsim", here, goes_back) == peers.judge("cronsim", here, goes_in_a_circle) == reason
    zone, (_, autumn) = berlin
    elsewhere = place(zone, autumn, Clock(zone))
    monkeypatch.setattr(peers, "_STEPS", 0)
    assert peers.judge("cronsim", elsewhere, Meaning("0 */2 * * *")) == (peers.UNEXPLAINED,)


def test_a_schedule_that_breaks_the_rule_is_found(berlin):
    zone, (spring, autumn) = berlin
    clock, meaning = Clock(zone), Meaning("30 2 * * *")

    def wrong(change, schedule):
        counts = compare.Counts()
        compare.ours(place(zone, change, clock), meaning, schedule, 0, counts)
        return len(counts.wrong)

    for change in (spring, autumn):
        assert wrong(change, Schedule("30 2 * * *", zone.name)) == 0
    assert wrong(spring, Late("30 2 * * *", zone.name)) == 1
    assert wrong(autumn, Schedule("31 2 * * *", zone.name)) == 2
    assert wrong(autumn, Schedule("30 2 * * *", "Europe/London")) == 2
    assert wrong(autumn, Schedule("30 2 * * *", zone.name, "twice")) == 0
    assert wrong(autumn, Schedule("30 */1 * * *", zone.name)) == 2


def test_a_peer_is_explained_only_by_doing_exactly_what_its_rule_says(berlin, monkeypatch):
    zone, (_, autumn) = berlin
    here, meaning = place(zone, autumn, Clock(zone)), Meaning("30 2 * * *")
    assert peers.judge("cronsim", here, meaning) == peers.AGREES
    assert peers.judge("croniter", here, meaning) == ("runs a fixed hour again when its time is repeated",)
    monkeypatch.setattr(peers, "_ask_croniter", lambda *_: [autumn.at + 1800])
    assert peers.judge("croniter", here, meaning) == (peers.UNEXPLAINED,)
    monkeypatch.setattr(peers, "_ask_cronsim", lambda *_: [])
    assert peers.judge("cronsim", here, meaning) == (peers.UNEXPLAINED,)


@pytest.mark.parametrize(
    ("name", "year", "expression", "verdict"),
    [
        ("America/Argentina/Buenos_Aires", 1992, "* * 29 2 *", "loses ticks in a repetition before midnight"),
        ("America/Argentina/Catamarca", 2004, "*/15 * L * *", "loses ticks in a repetition before midnight"),
        ("Europe/Berlin", 2026, "* * 25 10 *", "agrees"),
    ],
)
def test_a_peer_loses_the_hour_before_midnight_when_it_comes_twice(name, year, expression, verdict):
    (zone,) = zones([name])
    change = next(one for one in zone.compared() if moment(one.at).year == year and one.after < one.before)
    here, meaning = place(zone, change, Clock(zone)), Meaning(expression)
    assert peers.judge("croniter", here, meaning) == (verdict,)
    assert peers.judge("cronsim", here, meaning) == peers.AGREES


@pytest.mark.parametrize("expression", ["*/10 3 1W * sun", "0 3 1W * sat,sun", "0 3 1W * mon", "0 3 1W * sun,mon"])
def test_what_a_peer_makes_of_a_working_day_and_weekdays_is_known(expression):
    (zone,) = zones(["Africa/Sao_Tome"])
    change = next(one for one in zone.compared() if moment(one.at).year == 2018)
    verdict = peers.judge("croniter", place(zone, change, Clock(zone)), Meaning(expression))
    assert verdict == peers.AGREES or "takes day and weekday together when one of them is counted" in verdict


def test_random_expressions_use_the_whole_language_and_zjobs_takes_those_that_are_some():
    draw = random.Random(1)  # noqa: S311 - not for keys
    made = [chance.expression(draw) for _ in range(3000)]
    for sign in ("L", "W", "#", "?", "/", "-", ",", "sun", "mar", "*/"):
        assert any(sign in text for text in made), sign
    assert [text for text in made if _is_accepted(text) is (why_not(text) is not None)] == []
    assert sum(map(_is_accepted, made)) > 2000


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("0 0 * * *", None),
        ("5-5 0 * * *", "a range with one end"),
        ("0 0 * * 7-0", "a range with one end"),
        ("0 0 * * sun-0#2", "a range with one end"),
        ("0 0 * * SUN-7", None),
        ("0 0 * * 7-2", None),
        ("0 0 * jan-1 *", "a range with one end"),
        ("0 22-5 * * *", None),
        ("0 22-5/1 * * *", None),
        ("0 22-5/3 * * *", "a step over the end of a field"),
        ("0 0 * * fri-tue/2", "a step over the end of a field"),
        ("0 0 30 2 *", "a day that never comes"),
        ("0 0 31 apr,6 mon", "a day that never comes"),
        ("0 0 29 2 *", None),
        ("0 0 29-31 2 *", None),
        ("0 0 31,L 2 *", "a day that never comes"),
        ("0 0 31,L 2,3 *", None),
        ("0 0 31W 4 *", "a day that never comes"),
        ("0 0 w29 2 *", None),
        ("0 0 30-L 2 *", "a day that never comes"),
        ("0 0 3-L 2 *", None),
        ("0 0 31-L * *", "a range with one end"),
        ("0 0 L * *", None),
    ],
)
def test_what_is_no_expression_is_known_and_zjobs_says_the_same(expression, reason):
    assert why_not(expression) == reason
    assert _is_accepted(expression) is (reason is None)


def _is_accepted(text):
    try:
        Schedule(text)
    except ValueError:
        return False
    return True


def refuses(told):
    """A schedule that refuses the expressions of which this says so."""

    def schedule(expression, *rest):
        if told(expression):
            raise invalid("cron expression", "must please", expression)
        return Schedule(expression, *rest)

    return schedule


def test_a_random_expression_that_is_refused_or_taken_wrongly_is_found(berlin, monkeypatch):
    zone, (_, autumn) = berlin

    def found():
        counts = whole._run_random(zone, autumn, 30, "1 0")
        return counts.random, counts.refused, [line.split(" '")[0] for line in counts.wrong]

    valid, refused, wrong = found()
    assert (valid, wrong) == (30, [])
    assert refused > 0
    monkeypatch.setattr(whole, "Schedule", refuses(lambda _: True))
    assert found() == (30, 30 + refused, ["zjobs refuses"] * 30)
    monkeypatch.setattr(whole, "Schedule", lambda *_: Schedule("0 0 * * *", zone.name))
    monkeypatch.setattr(whole, "at_place", lambda *_: None)
    assert found() == (30, 0, ["zjobs takes"] * refused)


@pytest.mark.timeout(600)
def test_a_chance_sample_of_zones_and_expressions_agrees_with_the_oracle():
    command = [sys.executable, "-m", "cron_oracle", "--zones", "8", "--expressions", "6", "--random", "300"]
    environment = os.environ | {"PYTHONTZPATH": "", "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=HERE)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert done.stdout.splitlines()[-1].startswith("proved: ")
