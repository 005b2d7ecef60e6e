import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from zjobs.cron import BOUND, CatchUp, Overlap, Schedule
from zjobs.crontab import RETRY, CronEntry, CronJob, Crontab, Ticked, TickReply
from zjobs.errors import Invalid, NotFound, StoreFull
from zjobs.options import JobOpts, UniqueStrategy
from zjobs.telemetry import CronMissed, CronTicked

MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclasses.dataclass
class Row:
    name: str
    expression: str
    timezone: str
    known_since: datetime
    paused: bool = False
    last_tick: datetime | None = None


class Shelf:
    """The schedule verbs of a store, on dictionaries; shared by as many nodes as a test wants."""

    def __init__(self):
        self.now = NOON
        self.rows: dict[str, Row] = {}
        self.recorded: dict[tuple[str, datetime], CronJob | None] = {}
        self.enqueued: list[CronJob] = []
        self.failing: set[str] = set()
        self.stale: list[Row] | None = None

    def save_cron(self, entry):
        self._maybe_fail("save_cron")
        row = self.rows.setdefault(entry.name, Row(entry.name, "", "", self.now))
        row.expression, row.timezone = entry.schedule.expression, entry.schedule.timezone

    def crons(self):
        self._maybe_fail("crons")
        return self.stale or [dataclasses.replace(row) for row in self.rows.values()]

    def tick(self, name, at, job):
        self._maybe_fail(name)
        row = self.rows.get(name)
        if row is None or row.paused:
            return Ticked(TickReply.RESTING)
        if (name, at) in self.recorded:
            return Ticked(TickReply.ALREADY)
        self.recorded[name, at] = job
        row.last_tick = max(row.last_tick or at, at)
        return Ticked(TickReply.INSERTED, job)

    def enqueue(self, name, job):
        self.enqueued.append(job)
        return job

    def _maybe_fail(self, what):
        if what in self.failing:
            raise StoreFull(what)


class Ended(Schedule):
    """A schedule without another tick, as at the end of time."""

    def next_after(self, moment):
        return None


class Node:
    """One driver and what it told."""

    def __init__(self, shelf):
        self.told: list[Any] = []
        self.crontab = Crontab(shelf, self.told.append)


def entry(name="minutely", expression="* * * * *", **options):
    return CronEntry(name=name, schedule=Schedule(expression), worker="work", **options)


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def node(shelf):
    return Node(shelf)


def drive(node, until, start=NOON):
    """Calls the driver whenever it asks to be called."""
    wake = start
    while wake is not None and wake <= until:
        wake = node.crontab.tick(wake)
    return wake


def ran(shelf, name="minutely"):
    return sorted(at for (of, at), job in shelf.recorded.items() if of == name and job is not None)


def test_a_new_schedule_has_missed_nothing_and_says_when_it_is_due(shelf, node):
    node.crontab.add(entry())
    assert node.crontab.tick(NOON + timedelta(seconds=5)) == NOON + MINUTE
    assert shelf.recorded == {}
    assert shelf.rows["minutely"].expression == "* * * * *"


def test_each_tick_enqueues_its_job_and_is_told(shelf, node):
    node.crontab.add(entry(args={"n": 1}, opts=JobOpts(queue="mail")))
    assert drive(node, NOON + 3 * MINUTE) == NOON + 4 * MINUTE
    expected = [NOON + n * MINUTE for n in (1, 2, 3)]
    assert ran(shelf) == expected
    job = CronJob("work", {"n": 1}, JobOpts(queue="mail"))
    assert node.told == [CronTicked("minutely", at, job) for at in expected]


def test_without_entries_the_driver_rests(node):
    assert node.crontab.tick(NOON) is None


def test_the_earliest_entry_decides_when_to_wake(shelf, node):
    node.crontab.add(entry("hourly", "@hourly"))
    node.crontab.add(dataclasses.replace(entry("never", "@yearly"), schedule=Ended("@yearly")))
    assert node.crontab.tick(NOON) == NOON + 60 * MINUTE
    node.crontab.add(entry())
    assert node.crontab.tick(NOON) == NOON + MINUTE
    node.crontab.remove("minutely")
    node.crontab.remove("minutely")
    assert node.crontab.tick(NOON) == NOON + 60 * MINUTE
    assert set(node.crontab.entries) == {"hourly", "never"}


def test_two_nodes_enqueue_each_tick_once(shelf, node):
    other = Node(shelf)
    for one in (node, other):
        one.crontab.add(entry())
        one.crontab.tick(NOON)
    for minute in range(1, 5):
        for one in (node, other):
            one.crontab.tick(NOON + minute * MINUTE + timedelta(seconds=1))
    assert len(ran(shelf)) == 4
    assert len(node.told + other.told) == 4


@pytest.mark.parametrize("catch_up", CatchUp)
@pytest.mark.parametrize("late", [timedelta(seconds=1), timedelta(minutes=3, seconds=30)])
def test_nodes_that_race_for_a_tick_tell_of_it_once(shelf, node, catch_up, late):
    other = Node(shelf)
    for one in (node, other):
        one.crontab.add(entry(catch_up=catch_up))
        one.crontab.tick(NOON)
    shelf.stale = shelf.crons()
    node.crontab.tick(NOON + MINUTE + late)
    other.crontab.tick(NOON + MINUTE + late)
    assert node.told
    assert other.told == []


@pytest.mark.parametrize(("catch_up", "late"), [("latest", 1), ("none", 0), ("all", 10)])
def test_after_all_nodes_were_down_late_ticks_follow_the_policy(shelf, node, catch_up, late):
    node.crontab.add(entry(catch_up=catch_up))
    drive(node, NOON + MINUTE)
    fresh = Node(shelf)
    fresh.crontab.add(entry(catch_up=catch_up))
    assert fresh.crontab.tick(NOON + timedelta(minutes=11, seconds=30)) == NOON + 12 * MINUTE
    assert len(ran(shelf)) == 1 + late
    missed = [event for event in fresh.told if isinstance(event, CronMissed)]
    assert sum(len(event.ticks) for event in missed) == 10 - late
    assert len(missed) == (late < 10)


def test_the_newest_of_the_ticks_that_are_left_out_is_recorded(shelf, node, caplog):
    node.crontab.add(entry(catch_up="none"))
    drive(node, NOON + MINUTE)
    half = MINUTE / 2
    for late in (1, 3):
        now = shelf.rows["minutely"].last_tick + late * MINUTE + half
        assert node.crontab.tick(now) == now + half
        assert shelf.rows["minutely"].last_tick == now - half
    assert [len(event.ticks) for event in node.told if isinstance(event, CronMissed)] == [1, 3]
    assert not caplog.records


def test_one_node_alone_tells_of_missed_ticks(shelf, node):
    node.crontab.add(entry(catch_up="none"))
    drive(node, NOON + MINUTE)
    nodes = [Node(shelf) for _ in range(3)]
    for one in nodes:
        one.crontab.add(entry(catch_up="none"))
        one.crontab.tick(NOON + timedelta(minutes=11, seconds=30))
    assert [len(one.told) for one in nodes] == [1, 0, 0]


def test_catching_up_is_bounded(shelf, node):
    node.crontab.add(entry(catch_up=CatchUp.ALL))
    drive(node, NOON + MINUTE)
    node.crontab.tick(NOON + timedelta(days=30))
    assert len(ran(shelf)) == 1 + BOUND
    (missed,) = [event for event in node.told if isinstance(event, CronMissed)]
    assert len(missed.ticks) == BOUND


def test_a_changed_schedule_has_missed_nothing_under_its_new_expression(shelf, node):
    node.crontab.add(entry(expression="@hourly"))
    drive(node, NOON)
    fresh = Node(shelf)
    fresh.crontab.add(entry())
    assert fresh.crontab.tick(NOON + timedelta(minutes=5, seconds=30)) == NOON + 6 * MINUTE
    assert shelf.recorded == {}
    assert fresh.told == []


def test_a_paused_schedule_enqueues_nothing_and_has_missed_nothing_when_it_is_resumed(shelf, node):
    node.crontab.add(entry())
    drive(node, NOON + MINUTE)
    shelf.rows["minutely"].paused = True
    drive(node, NOON + 5 * MINUTE, NOON + 2 * MINUTE)
    shelf.rows["minutely"].paused = False
    drive(node, NOON + 6 * MINUTE, NOON + 6 * MINUTE)
    assert ran(shelf) == [NOON + MINUTE, NOON + 6 * MINUTE]
    assert len(node.told) == 2


def test_a_failing_store_is_asked_again_and_no_tick_is_lost(shelf, node, caplog):
    node.crontab.add(entry())
    node.crontab.add(entry("other", "* * * * *"))
    drive(node, NOON)
    shelf.failing = {"minutely"}
    due = NOON + MINUTE
    assert node.crontab.tick(due) == due + RETRY
    assert ran(shelf, "other") == [due]
    assert ran(shelf) == []
    shelf.failing = set()
    assert node.crontab.tick(due + RETRY) == NOON + 2 * MINUTE
    assert ran(shelf) == [due]
    assert "schedule minutely failed" in caplog.text


@pytest.mark.parametrize("what", ["crons", "save_cron"])
def test_a_store_that_cannot_be_read_or_written_keeps_new_entries_waiting(shelf, node, what, caplog):
    assert timedelta(seconds=5) == RETRY
    node.crontab.add(entry())
    shelf.failing = {what}
    assert node.crontab.tick(NOON) == NOON + RETRY
    assert "cannot be read or saved" in caplog.text
    shelf.failing = set()
    assert node.crontab.tick(NOON + RETRY) == NOON + MINUTE


def test_a_failing_new_entry_keeps_no_other_from_waking_later(shelf, node):
    node.crontab.add(entry())
    drive(node, NOON)
    node.crontab.add(entry("other"))
    shelf.failing = {"save_cron"}
    assert node.crontab.tick(NOON + MINUTE) == NOON + MINUTE + RETRY
    shelf.failing = set()
    node.crontab.tick(NOON + MINUTE + RETRY)
    assert ran(shelf) == [NOON + MINUTE]


def test_overlap_is_a_unique_key(shelf, node):
    assert entry().job().opts == JobOpts()
    skip = entry(overlap="skip").job().opts
    assert (skip.unique_key, skip.unique_strategy) == ("cron:minutely", UniqueStrategy.IGNORE_NEW)
    replace = entry(overlap=Overlap.REPLACE).job().opts
    assert (replace.unique_key, replace.unique_strategy) == ("cron:minutely", UniqueStrategy.CANCEL_EXISTING)


def test_run_now_enqueues_outside_of_the_ticks_even_when_paused(shelf, node):
    node.crontab.add(entry(args=[1]))
    drive(node, NOON)
    shelf.rows["minutely"].paused = True
    assert node.crontab.run_now("minutely") == CronJob("work", [1], JobOpts())
    assert len(shelf.enqueued) == 1
    assert shelf.recorded == {}
    with pytest.raises(NotFound, match="'nightly'"):
        node.crontab.run_now("nightly")


def test_a_name_is_registered_once(node):
    node.crontab.add(entry())
    with pytest.raises(Invalid, match="registered once"):
        node.crontab.add(entry())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "a b"}, "cron name"),
        ({"name": "n" * 129}, "cron name"),
        ({"worker": "os.system()"}, "worker"),
        ({"catch_up": "some"}, "catch_up"),
        ({"overlap": "some"}, "overlap"),
        ({"opts": JobOpts(scheduled_at=NOON)}, "scheduled_at"),
        ({"overlap": "skip", "opts": JobOpts(unique_key="k")}, "unique_key"),
        ({"overlap": "replace", "opts": JobOpts(unique_by=("args",))}, "unique_key"),
    ],
)
def test_an_entry_s_values_are_checked(options, words):
    with pytest.raises(Invalid, match=f"^{words} "):
        CronEntry(**({"name": "n", "schedule": Schedule("@daily"), "worker": "work"} | options))


def test_what_excludes_a_key_of_its_own_is_told():
    with pytest.raises(Invalid, match=r"\(got 'k'\)"):
        entry(overlap="skip", opts=JobOpts(unique_key="k"))
    with pytest.raises(Invalid, match=r"\(got \('args',\)\)"):
        entry(overlap="skip", opts=JobOpts(unique_by=("args",)))


def test_entries_jobs_and_replies_are_values():
    job = entry(args=("a",)).job()
    for value in (entry(), job, Ticked(TickReply.ALREADY)):
        assert value == dataclasses.replace(value)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, "other")
    with pytest.raises(TypeError):
        CronEntry("n", Schedule("@daily"), "work")


class Cluster(RuleBasedStateMachine):
    """Nodes come, go, stall and fail; each tick is enqueued at most once, and with ``all`` exactly once."""

    def __init__(self):
        super().__init__()
        self.shelf = Shelf()
        self.nodes = []
        self.expected_from = None

    @initialize(expression=st.sampled_from(["* * * * *", "*/3 * * * *", "*/20 * * * * *"]))
    def begin(self, expression):
        self.expression = expression
        self.join()

    def join(self):
        node = Node(self.shelf)
        node.crontab.add(entry(expression=self.expression, catch_up="all"))
        node.crontab.tick(self.shelf.now)
        self.nodes.append(node)
        self.expected_from = self.expected_from or self.shelf.now

    @rule()
    def another_node_starts(self):
        if len(self.nodes) < 4:
            self.join()

    @rule(data=st.data())
    def a_node_dies(self, data):
        if len(self.nodes) > 1:
            self.nodes.remove(data.draw(st.sampled_from(self.nodes)))

    @rule(seconds=st.integers(0, 400))
    def time_passes(self, seconds):
        self.shelf.now += timedelta(seconds=seconds)

    @rule(data=st.data())
    def a_node_ticks(self, data):
        data.draw(st.sampled_from(self.nodes)).crontab.tick(self.shelf.now)

    @rule(data=st.data())
    def a_node_ticks_while_the_store_fails(self, data):
        self.shelf.failing = {"minutely"}
        data.draw(st.sampled_from(self.nodes)).crontab.tick(self.shelf.now)
        self.shelf.failing = set()

    @invariant()
    def each_tick_is_enqueued_once_and_nothing_is_invented(self):
        times = ran(self.shelf)
        told = [event.tick for node in self.nodes for event in node.told if isinstance(event, CronTicked)]
        assert len(told) == len(set(told))
        assert not set(times) - set(Schedule(self.expression).between(self.expected_from, self.shelf.now))

    def teardown(self):
        if self.nodes:
            for node in self.nodes:
                node.crontab.tick(self.shelf.now + RETRY)
            end = self.shelf.now + RETRY
            assert ran(self.shelf) == Schedule(self.expression).between(self.expected_from, end)


TestCluster = Cluster.TestCase
