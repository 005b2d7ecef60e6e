"""Stores by URL, and stores that are written in Python, as the engine sees them."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from zjobs._engine import STATES, TRANSITIONS, Job, NativeStore, rescued
from zjobs.db import open_store
from zjobs.errors import (
    EnqueueUncertain,
    Error,
    Invalid,
    LeaseLost,
    NotFound,
    SchemaMismatch,
    StoreFull,
    StoreUnavailable,
)
from zjobs.job import AttemptError, JobState, Progress
from zjobs.store import (
    Acked,
    Heartbeat,
    JobEvent,
    JobFilter,
    MemoryStore,
    NewJob,
    RescueReason,
    Store,
)
from zjobs.supervisor import Supervisor

sys.path.insert(0, str(Path(__file__).parent))
from dict_store import DictStore

NODE = "a" * 32
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


# --- by URL ---


def test_a_store_is_itself_and_memory_is_a_new_one():
    store = DictStore()
    assert open_store(store) is store
    assert isinstance(open_store("memory://"), MemoryStore)
    assert isinstance(open_store("MEMORY://"), MemoryStore)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u:hunter2@host:x/hunter2", "must be postgresql://user@host/database"),
        ("redis://:hunter2@host", "there is no store for 'redis'"),
        ("memory://hunter2", "nothing after it"),
        ("hunter2", "must be a Store, 'memory://', 'sqlite:///jobs.db' or"),
        ("u:hunter2@x://", "must be a Store, 'memory://', 'sqlite:///jobs.db' or"),
        (5, "must be a Store, 'memory://', 'sqlite:///jobs.db' or"),
        (None, "must be a Store, 'memory://', 'sqlite:///jobs.db' or"),
    ],
)
def test_what_is_no_store_is_refused_without_telling_its_secrets(url, message):
    with pytest.raises(Invalid, match=message) as error:
        open_store(url)
    assert "hunter2" not in str(error.value)


# --- the words of the engine ---


def test_events_and_states_are_those_of_the_state_table():
    assert {event for _, event, _ in TRANSITIONS} == {str(event) for event in JobEvent}
    assert {str(state): int(state) for state in JobState} == STATES


def job(**parts):
    required = {"id": 7, "state": JobState.EXECUTING, "queue": "q", "worker": "w", "args_bytes": b"[1]"}
    return Job(**required, scheduled_at=NOON, inserted_at=NOON, **parts)


def test_a_job_is_built_of_its_parts():
    error = AttemptError(1, NOON, "ValueError", "no", "line 1")
    parts = {
        "priority": -3,
        "attempt": 2,
        "max_attempts": 5,
        "lease": 4,
        "node": NODE,
        "attempted_at": NOON,
        "finished_at": None,
        "timeout_seconds": 1.5,
        "unique_key": "k",
        "tags": ("a", "b"),
        "meta_bytes": b'{"x":1}',
        "errors": (error,),
        "result_bytes": b"2",
        "progress": Progress(1, 2, "half"),
        "cancel_requested": True,
        "crashes": 1,
        "conflict": True,
    }
    built = job(**parts)
    assert {name: getattr(built, name) for name in parts} == parts
    assert (built.args, built.meta, built.result) == ([1], {"x": 1}, 2)
    assert built.replace() == built
    changed = built.replace(state=JobState.COMPLETED, finished_at=NOON, tags=(), errors=())
    assert (changed.completed_at, changed.tags, changed.errors, changed.id) == (NOON, (), (), 7)
    assert built.state is JobState.EXECUTING


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"colour": 1}, "no such field"),
        ({"lease": -1}, "lease must be a whole number"),
        ({"node": "me"}, "node must be an incarnation"),
        ({"meta_bytes": "{}"}, "meta_bytes must be JSON text as bytes"),
        ({"attempted_at": datetime(2030, 1, 1)}, "must know its time zone"),  # noqa: DTZ001
        ({"progress": Progress(-1)}, "done must be a finite number"),
        ({"cancel_requested": 1}, "cancel_requested must be True or False"),
    ],
)
def test_a_job_of_wrong_parts_is_refused(parts, message):
    with pytest.raises(Invalid, match=message):
        job(**parts)
    with pytest.raises(Invalid, match=message):
        job().replace(**parts)


def test_a_job_needs_its_first_parts():
    with pytest.raises(Invalid, match="needs id, state, queue"):
        Job(id=1)


def test_a_rescue_follows_the_rule_of_the_engine():
    running = job(attempt=1, lease=1, node=NODE)
    back = rescued(running, RescueReason.NODE_DIED, NOON)
    assert (back.state, back.attempt, back.crashes, back.node) == (JobState.AVAILABLE, 1, 1, None)
    assert [error.kind for error in back.errors] == ["NodeLost"]
    assert rescued(running, RescueReason.SHUTDOWN, NOON).attempt == 0
    assert rescued(running.replace(cancel_requested=True), RescueReason.NODE_DIED, NOON).cancelled_at == NOON
    assert rescued(running.replace(max_attempts=1), RescueReason.NODE_DIED, NOON).discarded_at == NOON
    with pytest.raises(Invalid, match="a job that is completed cannot rescue"):
        rescued(job(finished_at=NOON).replace(state=JobState.COMPLETED), RescueReason.NODE_DIED, NOON)


# --- the adapter ---


class Wrong(DictStore):
    """Answers one verb as the test says: a value to return, or an exception to raise."""

    def __init__(self, verb, answer):
        super().__init__()

        def wrong(*_args, **_options):
            if isinstance(answer, BaseException):
                raise answer
            return answer

        setattr(self, verb, wrong)


def asked(verb, answer, *args):
    return getattr(NativeStore.adapted(Wrong(verb, answer)), verb)(*args)


@pytest.mark.parametrize(
    "error",
    [
        Invalid("queue must match [a-z0-9_.-]{1,64} (got 'mail;--')"),
        StoreFull(
            "the store is full: 3 unfinished jobs are its limit; run more workers, raise max_jobs, or use a DbStore"
        ),
        LeaseLost("lease lost: node is gone"),
        StoreUnavailable("the store is unavailable: no route"),
        SchemaMismatch("run zjobs migrate"),
        EnqueueUncertain("cut off"),
        NotFound("job not found: 99; it may have been pruned or deleted"),
        NotFound("schedule not found: x; schedules are stored when a supervisor that has them runs"),
    ],
)
def test_errors_of_zjobs_cross_the_border_unchanged(error):
    with pytest.raises(type(error)) as raised:
        asked("enqueue", error, [])
    assert type(raised.value) is type(error)
    assert str(raised.value) == str(error)


class MuteError(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "text"),
    [(OSError("disk on fire"), "OSError: disk on fire"), (KeyError("x"), "KeyError: 'x'"), (MuteError(), "MuteError")],
)
def test_any_other_exception_means_that_the_store_is_unavailable(error, text):
    with pytest.raises(StoreUnavailable, match=text):
        asked("stage", error)


@pytest.mark.parametrize(
    ("verb", "answer", "args", "message"),
    [
        ("enqueue", [], ([NewJob("w", b"{}")],), r"Wrong\.enqueue gave 0 replies to 1 requests"),
        ("enqueue", None, ([],), r"Wrong\.enqueue gave a wrong reply"),
        ("ack", [Acked.STORED], (NODE, []), r"Wrong\.ack gave 1 replies to 0 requests"),
        ("ack", ["perhaps"], (NODE, []), r"Wrong\.ack gave a wrong reply: Acked must be a member of Acked"),
        ("claim", [job(), job()], (NODE, "default", 1), r"Wrong\.claim gave 2 rows where 1 were asked for"),
        ("claim", ["job"], (NODE, "default", 1), r"Wrong\.claim gave a wrong reply: Job must be a Job"),
        ("stage", 5, (), r"Wrong\.stage gave a wrong reply: argument must be a Staged"),
        ("now", datetime(2030, 1, 1), (), r"Wrong\.now gave a wrong reply: now must know its time zone"),  # noqa: DTZ001
        ("delete", -1, (JobFilter(),), r"Wrong\.delete gave a wrong reply: number of jobs must be a whole number"),
        ("pause", "done", ("mail",), r"Wrong\.pause gave a wrong reply: reply must be None"),
        ("delete_cron", None, ("nightly",), r"Wrong\.delete_cron gave a wrong reply: reply must be True or False"),
        ("count_by_state", 5, (), r"Wrong\.count_by_state gave a wrong reply"),
        ("heartbeat", True, (Heartbeat(NODE),), r"Wrong\.heartbeat gave a wrong reply: argument must be a Pulse"),
    ],
)
def test_a_wrong_reply_names_the_store_and_the_verb(verb, answer, args, message):
    with pytest.raises(Error, match=message):
        asked(verb, answer, *args)


def test_a_store_that_is_none_is_refused():
    with pytest.raises(Invalid, match="store must be a Store"):
        NativeStore.adapted(object())


def test_a_store_blocks_unless_it_says_otherwise():
    class Slow(DictStore):
        blocks = True

    assert not NativeStore.adapted(DictStore()).blocks
    assert NativeStore.adapted(Slow()).blocks
    assert Store.blocks.fget(DictStore()) is True


# --- end to end ---


@pytest.mark.parametrize("blocks", [True, False])
def test_a_supervisor_works_on_a_store_that_is_written_in_python(blocks):
    store = type("OfThisTest", (DictStore,), {"blocks": blocks})()
    jobs = Supervisor(store, queues={"default": 4})

    @jobs.worker(keep_result=True)
    def add(a: int, b: int) -> int:
        return a + b

    @jobs.worker(keep_result=True)
    async def double(n: int) -> int:
        return 2 * n

    @jobs.worker(max_attempts=1)
    def fail() -> None:
        raise ValueError

    with jobs:
        sums = [add.enqueue(a=n, b=1) for n in range(20)]
        twice, failed = double.enqueue(n=21), fail.enqueue()
        assert [jobs.result(one, 20) for one in sums] == [n + 1 for n in range(20)]
        assert jobs.result(twice, 20) == 42
        assert jobs.wait(failed, 20).state is JobState.DISCARDED
    assert jobs.count_by_state()[JobState.COMPLETED] == 21
    assert store.nodes() == []


def test_a_waiting_job_starts_by_a_signal_long_before_the_poll():
    jobs = Supervisor(DictStore(), poll_interval_ms=60_000)

    @jobs.worker
    def ping() -> None: ...

    with jobs:
        for _ in range(5):
            assert jobs.wait(ping.enqueue(), 20).state is JobState.COMPLETED


# --- the end of a store ---


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_store_may_be_dropped_while_it_tells_its_listeners_of_others(kind, run_script, request, tmp_path):
    url = request.getfixturevalue("postgres_url") if kind == "postgres" else f"sqlite:///{tmp_path}/jobs.db"
    ended = run_script(
        """
        import sys, threading, zjobs
        from zjobs.rows import Heartbeat

        class Listener:
            def __init__(self):
                self.told = threading.Event()

            def control(self, queue):
                self.told.set()
                sum(range(3000))

            ready = due = cancel = control

            def settled(self): ...

            orphaned = missed = settled

        over = threading.Event()

        def talk():
            other = zjobs.DbStore(sys.argv[1])
            while not over.is_set():
                for number in range(20):
                    other.pause(f"q{number}")

        talking = threading.Thread(target=talk)
        talking.start()
        for number in range(40):
            store, listener = zjobs.DbStore(sys.argv[1]), Listener()
            store.subscribe(listener)
            store.heartbeat(Heartbeat(f"{number:032x}", "host", 1, 60.0))
            assert listener.told.wait(20)
            del store
        over.set()
        talking.join()
        """,
        url,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
