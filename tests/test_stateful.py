"""The Python API beside a plain model: the same calls and clock steps must give the same observable jobs.

The model is written from what the API promises, in dictionaries. Handlers run in `drain`, and attempts of a node that
the test plays itself run through the verbs of the store, so that jobs are seen while they run, when they are rescued,
and when somebody writes too late. Time moves only between steps.

One walk goes over two stores at once, which get the same calls and must look the same after each (I-26).

`make walks WALKS=50000` walks more often, up to 60 steps each. Another store joins with a class that has `make_store`.
"""

import os
import sys
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import zjobs
from zjobs.cron import Schedule
from zjobs.crontab import CronEntry
from zjobs.rows import Acked, AckRow, Failure, Heartbeat, JobEvent, JobFilter, NewJob
from zjobs.testing import ManualClock

sys.path.insert(0, str(Path(__file__).parent))
from dict_store import DictStore
from plain_model import KEPT, LIVE, NAP, QUEUES, STEP, TTL, Model, Row, S
from twin_store import TwinStore

WALKS = settings(
    max_examples=int(os.environ.get("ZJOBS_WALKS", "100")),
    stateful_step_count=60 if "ZJOBS_WALKS" in os.environ else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


FILE, SERVER = (20, 50) if "ZJOBS_WALKS" in os.environ else (3, 5)
"""One walk in so many goes over a file, over a server, and as many over it and memory at once: they are slower."""


def every(share):
    return settings(WALKS, max_examples=max(1, WALKS.max_examples // share))


WORDS = st.sampled_from(["raise", "raise", "raise", "return", "snooze", "cancel", "discard"])


class Walk(RuleBasedStateMachine):
    """A random walk; subclasses say what it walks on."""

    def make_clock(self):
        """A clock that shows the same in the beginning of every walk, and moves when it is told to."""
        return ManualClock()

    def make_store(self, clock):
        """A new store that lives by this clock."""
        raise NotImplementedError

    @initialize(scripts=st.lists(st.lists(WORDS, min_size=1, max_size=4), min_size=2, max_size=6))
    def begin(self, scripts):
        """A new store, with a few jobs so that the other rules have something to work on from the first step."""
        self.clock = self.make_clock()
        self.jobs = zjobs.Supervisor(
            self.make_store(self.clock), queues=[zjobs.Queue(name, 1) for name in QUEUES], retention=KEPT
        )
        self.model = Model(self.clock.now())
        self.nodes = 0
        self.node, self.expires = None, None
        self.claimed = []
        self.ran = []

        @self.jobs.worker(keep_result=True, retry_strategy=zjobs.Linear(STEP))
        def act(ctx: zjobs.JobContext, script: list[str]) -> object:
            self.ran.append(ctx.job.id)
            match self.model.rows[ctx.job.id].word():
                case "return":
                    return "done"
                case "raise":
                    raise ValueError(script)
                case "snooze":
                    return zjobs.Snooze(NAP)
                case "cancel":
                    return zjobs.Cancel("why")
                case _:
                    return zjobs.Discard("why")

        self.worker = act
        plain = {"priority": 0, "delay": 0, "attempts": 5, "key": None, "newest": False, "count": 1}
        for number, script in enumerate(scripts):
            self.enqueue(queue=QUEUES[number % 2], script=script, **plain)

    # --- what callers do ---

    @rule(
        queue=st.sampled_from(QUEUES),
        priority=st.sampled_from([-(2**31), -1, 0, 0, 1, 2**31 - 1]),
        delay=st.sampled_from([0, 0, 0, 10, 60]),
        attempts=st.sampled_from([1, 2, 4, 20]),
        key=st.sampled_from([None, None, "a", "b"]),
        newest=st.booleans(),
        script=st.lists(WORDS, min_size=1, max_size=4),
        count=st.integers(1, 3),
    )
    def enqueue(self, *, queue, priority, delay, attempts, key, newest, script, count):
        strategy = zjobs.UniqueStrategy.CANCEL_EXISTING if newest else zjobs.UniqueStrategy.IGNORE_NEW
        bound = self.worker.options(
            queue=queue,
            priority=priority,
            schedule_in=delay,
            max_attempts=attempts,
            unique_key=key,
            unique_strategy=strategy,
        )
        made = self.jobs.enqueue_many([bound.job(script=script)] * count) if count > 1 else [bound.enqueue(script)]
        for job in made:
            holder = self.model.keys.get(key)
            assert job.conflict == (holder is not None and not newest)
            if job.conflict:
                assert job.id == holder
                continue
            if holder is not None:
                self.model.cancel(self.model.rows[holder])
            assert job.id > max(self.model.rows, default=0)
            due = self.model.now + timedelta(seconds=delay)
            state = S.SCHEDULED if delay else S.AVAILABLE
            self.model.rows[job.id] = Row(job.id, queue, priority, attempts, due, key, state, script)
            if key is not None:
                self.model.keys[key] = job.id

    @rule(queue=st.sampled_from([None, *QUEUES]))
    def drain(self, queue):
        """The engine runs what is due, in order; what a started engine does by itself is done before, by name."""
        self.rescue()
        self.prune()
        self.ran.clear()
        counts = self.jobs.drain(queue)
        self.model.stage()
        expected = {}
        order = {name: self.model.waiting(name) for name in QUEUES if queue in {None, name}}
        for name, rows in order.items():
            assert [one for one in self.ran if self.model.rows[one].queue == name] == [row.id for row in rows]
            for row in rows:
                self.model.claim(row, None)
                self.model.settle(row, row.word())
                expected[row.state] = expected.get(row.state, 0) + 1
        assert counts == expected
        assert len(self.ran) == sum(map(len, order.values()))

    @rule(data=st.data(), verb=st.sampled_from(["cancel", "retry", "retry", "delete"]))
    def by_hand(self, data, verb):
        """One job, by its id; sometimes one that is not there."""
        number = data.draw(st.sampled_from([*self.model.rows, 10**9]), label="job")
        row = self.model.rows.get(number)
        if row is None:
            with pytest.raises(zjobs.NotFound):
                getattr(self.jobs, verb)(number)
        elif verb == "cancel":
            self.model.cancel(row)
            assert self.jobs.cancel(number).state == row.state
        elif row.state is S.EXECUTING:
            with pytest.raises(zjobs.Invalid):
                getattr(self.jobs, verb)(number)
        elif verb == "delete":
            self.jobs.delete(number)
            self.model.remove([row])
        elif self.model.retry(row):
            assert self.jobs.retry(number).state is row.state
        else:
            with pytest.raises(zjobs.Invalid, match=f"live job {self.model.keys[row.key]}"):
                self.jobs.retry(number)

    @rule(verb=st.sampled_from(["cancel", "retry", "delete"]), queue=st.sampled_from(QUEUES), state=st.sampled_from(S))
    def by_filter(self, verb, queue, state):
        """All jobs of one queue in one state."""
        untouched = {"cancel": set(S) - LIVE, "retry": {S.AVAILABLE, S.EXECUTING}, "delete": {S.EXECUTING}}[verb]
        met = [row for row in self.model.rows.values() if (row.queue, row.state) == (queue, state)]
        met = [] if state in untouched else met
        done = getattr(self.jobs, f"{verb}_many")(queue=queue, states=[state])
        if verb == "retry":
            assert done == sum([self.model.retry(row) for row in met])
            return
        assert done == len(met)
        if verb == "delete":
            self.model.remove(met)
        for row in met:
            if verb == "cancel":
                self.model.cancel(row)

    @rule(queue=st.sampled_from(QUEUES), paused=st.booleans())
    def pause(self, queue, paused):
        (self.jobs.pause_queue if paused else self.jobs.resume_queue)(queue)
        (self.model.paused.add if paused else self.model.paused.discard)(queue)

    # --- what goes on by itself, by hand ---

    @rule(seconds=st.sampled_from([1, 9, 10, 30, 45, 60, 90, 150]))
    def time_passes(self, seconds):
        self.clock.advance(seconds)
        self.model.now += timedelta(seconds=seconds)

    @rule(rounds=st.integers(1, 5))
    def rounds_of_attempts(self, rounds):
        """Deep into retries and snoozes, which single steps hardly ever reach."""
        for _ in range(rounds):
            self.time_passes(150)
            self.drain(None)
            self.compare()

    @rule(queue=st.sampled_from(QUEUES), deaths=st.integers(1, 4), unwanted=st.integers(0, 1))
    def nodes_die(self, queue, deaths, unwanted):
        """One after another, with the same jobs."""
        for _ in range(deaths):
            self.claim(queue, 3, unwanted)
            self.time_passes(30)
            self.rescue()
            self.compare()

    @rule(role=st.sampled_from(["stage", "prune", "rescue"]))
    def upkeep(self, role):
        getattr(self, role)()

    def stage(self):
        due = {S.SCHEDULED, S.RETRYABLE}
        moved = sum(row.state in due and row.scheduled_at <= self.model.now for row in self.model.rows.values())
        assert self.jobs.store.stage().moved == moved
        self.model.stage()

    def prune(self):
        assert self.jobs.prune() == self.model.prune()

    def rescue(self):
        gone = self.node if self.expires is not None and self.model.now > self.expires else None
        held = [row for row in self.model.rows.values() if gone is not None and row.node == gone]
        assert self.jobs.rescue_stuck() == len(held)
        if gone is not None:
            self.model.rescue(gone)
            self.node, self.expires = None, None

    # --- a node that the test plays, so that jobs are seen while they run ---

    @rule(queue=st.sampled_from(QUEUES), limit=st.integers(1, 3), unwanted=st.integers(0, 1))
    def claim(self, queue, limit, unwanted):
        """Some are cancelled as soon as they run."""
        self.rescue()
        if self.node is None:
            self.nodes += 1
            self.node = f"{self.nodes:032x}"
        self.expires = self.model.now + timedelta(seconds=TTL)
        self.jobs.store.heartbeat(Heartbeat(self.node, ttl_seconds=TTL, holds=tuple(self.held_ids())))
        rows = self.model.waiting(queue)[:limit]
        claimed = self.jobs.store.claim(self.node, queue, limit)
        for row in rows:
            self.model.claim(row, self.node)
        assert [(job.id, job.attempt, job.lease) for job in claimed] == [(r.id, r.attempt, r.lease) for r in rows]
        self.claimed += claimed
        for row in rows[:unwanted]:
            self.model.cancel(row)
            assert self.jobs.cancel(row.id).cancel_requested

    def held_ids(self):
        return [row.id for row in self.model.rows.values() if row.node == self.node]

    @precondition(lambda self: self.claimed)
    @rule(ends=st.lists(st.tuples(WORDS, st.booleans()), min_size=1, max_size=3))
    def ack(self, ends):
        """Attempts end, the newest first, in time or too late; some stay to be acked once more."""
        for (word, stays), job in zip(ends, self.claimed[::-1], strict=False):
            self.ack_one(job, word)
            if not stays:
                self.claimed.remove(job)

    def ack_one(self, job, word):
        row = self.model.rows.get(job.id)
        write = settled(job, row.max_attempts if row else job.max_attempts, word)
        if row is not None and (row.state, row.lease, row.node) == (S.EXECUTING, job.lease, job.node):
            if row.cancel_requested and word != "cancel":
                assert self.jobs.store.ack(job.node, [write]) == [Acked.CANCEL_REQUESTED]
                self.compare()
                write = settled(job, row.max_attempts, "cancel")
            assert self.jobs.store.ack(job.node, [write]) == [Acked.STORED]
            assert self.jobs.store.ack(job.node, [write]) == [Acked.ALREADY]
            self.model.settle(row, word)
        else:
            assert self.jobs.store.ack(job.node, [write])[0] in {Acked.LEASE_LOST, Acked.ALREADY}

    # --- the same, seen from outside ---

    @invariant()
    def compare(self):
        if not hasattr(self, "model"):
            return
        jobs = self.jobs.list(limit=10_000)
        assert {job.id: observed(job) for job in jobs} == {row.id: promised(row) for row in self.model.rows.values()}
        for job in jobs:
            # A claim may be handed back unrun, so that a lease grows unseen; it never falls.
            row = self.model.rows[job.id]
            assert job.lease == row.lease if row.node is not None else job.lease >= row.lease
            row.lease = job.lease

    @invariant()
    def counts_agree(self):
        if not hasattr(self, "model"):
            return
        for queue in (None, *QUEUES):
            rows = [row for row in self.model.rows.values() if queue in {None, row.queue}]
            counts = self.jobs.count_by_state(queue)
            assert counts == {state: sum(row.state is state for row in rows) for state in S}
            assert self.jobs.count(queue=queue) == len(rows)

    @invariant()
    def at_most_one_live_job_has_a_key(self):
        if not hasattr(self, "model"):
            return
        live = [job for job in self.jobs.list(limit=10_000, states=sorted(LIVE)) if not job.cancel_requested]
        keys = [job.unique_key for job in live if job.unique_key is not None]
        assert len(keys) == len(set(keys))


def settled(job, max_attempts, word):
    """The write that ends the attempt that ``job`` is in."""
    spent = job.attempt >= max_attempts
    row = AckRow(job.id, job.lease, JobEvent.COMPLETE, S.COMPLETED, job.attempt)
    match word:
        case "return":
            return replace(row, result_bytes=b'"done"')
        case "raise":
            to, delay = (S.DISCARDED, None) if spent else (S.RETRYABLE, float(STEP * job.attempt))
            return replace(row, event=JobEvent.FAIL, to=to, delay_seconds=delay, error=Failure("ValueError", "no"))
        case "snooze":
            return replace(
                row, event=JobEvent.SNOOZE, to=S.SCHEDULED, attempt=job.attempt - 1, delay_seconds=float(NAP)
            )
        case "cancel":
            return replace(row, event=JobEvent.CANCEL, to=S.CANCELLED, error=Failure("Cancel", "why"))
        case _:
            return replace(row, event=JobEvent.DISCARD, to=S.DISCARDED, error=Failure("Discard", "why"))


def observed(job):
    """What a caller sees of a job."""
    finished = {S.COMPLETED: job.completed_at, S.DISCARDED: job.discarded_at, S.CANCELLED: job.cancelled_at}
    return {
        "state": job.state,
        "queue": job.queue,
        "worker": job.worker,
        "args": job.args,
        "priority": job.priority,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "scheduled_at": job.scheduled_at,
        "unique_key": job.unique_key,
        "errors": [error.kind for error in job.errors],
        "result": job.result,
        "finished_at": finished.get(job.state),
        "cancel_requested": job.cancel_requested,
        "crashes": job.crashes,
    }


def promised(row):
    """What the model says that a caller sees."""
    return {
        "state": row.state,
        "queue": row.queue,
        "worker": "act",
        "args": {"script": row.script},
        "priority": row.priority,
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "scheduled_at": row.scheduled_at,
        "unique_key": row.key,
        "errors": row.errors,
        "result": row.result,
        "finished_at": row.finished_at,
        "cancel_requested": row.cancel_requested,
        "crashes": row.crashes,
    }


class DictStoreWalk(Walk):
    """A store that is written in Python and may wait: the engine's other way, with its backlog of acks."""

    def make_store(self, clock):
        return DictStore(clock.now)


class MemoryStoreWalk(Walk):
    def make_store(self, clock):
        return zjobs.MemoryStore(clock=clock)


class OnDisk(Walk):
    """The file of a walk is in memory where the machine has a place for that, and gone after it."""

    def make_file(self):
        shared = Path("/dev/shm")  # noqa: S108 - the folder made there has a random name and is its owner's only
        self.folder = tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None)
        return Path(self.folder.name) / "jobs.db"

    def teardown(self):
        if hasattr(self, "folder"):
            self.folder.cleanup()


class SqliteStoreWalk(OnDisk):
    def make_store(self, clock):
        return zjobs.SqliteStore(self.make_file(), clock=clock)


class OnServer(Walk):
    """The tables of all walks are the same ones, emptied; their clock is a row."""

    SCHEMA = "walks"
    url: str

    def make_clock(self):
        return ServerClock(self.url, self.SCHEMA)

    def make_tables(self):
        store = zjobs.PostgresStore(self.url, schema=self.SCHEMA)
        self.clock.rewind()
        return store

    def teardown(self):
        if hasattr(self, "clock"):
            self.clock.close()


class ServerClock:
    """A manual clock that PostgreSQL reads too."""

    def __init__(self, url, schema):
        self.here = ManualClock()
        self.connection = psycopg.connect(url, autocommit=True)
        self.schema = schema

    def now(self):
        return self.here.now()

    def rewind(self):
        """Empties the tables, and lets the server live by this clock."""
        self.connection.execute(f"""
            TRUNCATE {self.schema}.jobs, {self.schema}.queues, {self.schema}.nodes, {self.schema}.crons,
                {self.schema}.ticks RESTART IDENTITY;
            CREATE TABLE IF NOT EXISTS {self.schema}.clock (at timestamptz);
            TRUNCATE {self.schema}.clock;
            INSERT INTO {self.schema}.clock VALUES ('{self.now()}');
            CREATE OR REPLACE FUNCTION {self.schema}.now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
                BEGIN ATOMIC SELECT at FROM {self.schema}.clock; END;
            CREATE OR REPLACE FUNCTION {self.schema}.heard_since(listened interval) RETURNS timestamptz
            LANGUAGE sql STABLE PARALLEL SAFE
                RETURN timestamptz '-infinity'
        """)  # noqa: S608

    def advance(self, by):
        self.here.advance(by)
        self.connection.execute(f"UPDATE {self.schema}.clock SET at = %s", [self.now()])  # noqa: S608

    def close(self):
        self.connection.close()


class PostgresStoreWalk(OnServer):
    def make_store(self, clock):
        return self.make_tables()


class Twins(Walk):
    """What only two stores together can be asked, since the model does not know it."""

    @rule(queue=st.sampled_from(QUEUES), concurrency=st.sampled_from([None, 1, 3]))
    def scale(self, queue, concurrency):
        self.jobs.scale_queue(queue, concurrency)

    @rule(
        ids=st.none() | st.lists(st.integers(1, 12), max_size=4),
        states=st.lists(st.sampled_from(S), max_size=3),
        queue=st.sampled_from([None, *QUEUES]),
        unique_key=st.sampled_from([None, None, "a"]),
        after=st.none() | st.integers(1, 12),
        newest_first=st.booleans(),
        limit=st.none() | st.integers(0, 4),
    )
    def read(self, *, limit, **which):
        """Whatever is asked for, both find the same, in the same order."""
        self.jobs.store.list(JobFilter(**which, limit=limit))
        self.jobs.store.count(JobFilter(**which))

    @rule(
        minute=st.integers(0, 3),
        key=st.sampled_from([None, "a"]),
        verb=st.sampled_from(["declare", "tick", "tick", "tick", "skip", "pause", "resume", "forget"]),
    )
    def schedule(self, minute, key, verb):
        """The model does not know the jobs of ticks, so they end at once."""
        store, at = self.jobs.store, self.clock.now().replace(second=0, microsecond=0) + timedelta(minutes=minute)
        match verb:
            case "declare":
                store.save_cron(CronEntry(name="nightly", schedule=Schedule("* * * * *"), worker="act"))
            case "tick" | "skip":
                job = NewJob("act", b'{"script":["return"]}', queue="ticks", unique_key=key and f"tick {key}")
                store.tick("nightly", at, job if verb == "tick" else None)
                store.delete(JobFilter(queue="ticks"))
            case "pause" | "resume":
                store.set_cron_paused("nightly", paused=verb == "pause")
            case _:
                store.delete_cron("nightly")


class MemoryBesideSqliteWalk(Twins, OnDisk):
    def make_store(self, clock):
        return TwinStore(zjobs.MemoryStore(clock=clock), zjobs.SqliteStore(self.make_file(), clock=clock))


class MemoryBesidePostgresWalk(Twins, OnServer):
    def make_store(self, clock):
        return TwinStore(zjobs.MemoryStore(clock=clock.here), self.make_tables())


# A failing walk takes its time to be shortened; cut off, it would not be shown at all.
@pytest.mark.timeout(900)
class TestMemoryStore(MemoryStoreWalk.TestCase):
    settings = WALKS


@pytest.mark.timeout(900)
class TestDictStore(DictStoreWalk.TestCase):
    settings = every(FILE)


@pytest.mark.timeout(900)
class TestSqliteStore(SqliteStoreWalk.TestCase):
    settings = every(FILE)


@pytest.mark.timeout(900)
class TestMemoryBesideSqlite(MemoryBesideSqliteWalk.TestCase):
    settings = every(FILE)


class AtServer:
    @pytest.fixture(autouse=True)
    def where(self, database_url):
        OnServer.url = database_url


@pytest.mark.timeout(900)
class TestPostgresStore(AtServer, PostgresStoreWalk.TestCase):
    settings = every(SERVER)


@pytest.mark.timeout(900)
class TestMemoryBesidePostgres(AtServer, MemoryBesidePostgresWalk.TestCase):
    settings = every(SERVER)


def test_stores_that_are_not_the_same_are_told_apart():
    clock = ManualClock()
    first, second = zjobs.MemoryStore(clock=clock), zjobs.MemoryStore(clock=clock)
    twins = TwinStore(first, second)
    twins.enqueue([NewJob("act", b"{}", unique_key="a")])
    second.cancel(JobFilter())
    with pytest.raises(AssertionError, match="jobs after pause"):
        twins.pause("default")
    with pytest.raises(AssertionError, match="enqueue"):
        twins.enqueue([NewJob("act", b"{}", unique_key="a")])


def test_a_job_that_has_just_become_due_runs_before_a_later_one():
    clock, ran = ManualClock(), []
    jobs = zjobs.Supervisor(zjobs.MemoryStore(clock=clock), queues={"default": 1})

    @jobs.worker
    def note(text: str) -> None:
        ran.append(text)

    note.options(schedule_in=10).enqueue("due earlier")
    clock.advance(20)
    note.enqueue("due now")
    jobs.drain()
    assert ran == ["due earlier", "due now"]
