"""Bad input raises the typed error at the call, with value, rule and way out, and changes nothing."""

import math
import sys
from datetime import UTC, datetime, timedelta

import pytest

import zjobs
from zjobs import Invalid, JobOpts, MemoryStore, Queue, Retention, StoreFull, Supervisor, WorkerDef

NAME = "must match [A-Za-z0-9_.:-]{1,128}"
QUEUE = "must match [a-z0-9_.-]{1,64}"
TEN_YEARS = "must be from 0 to 315360000 seconds (ten years)"
SECONDS = "must be a number of seconds or a timedelta"
TAKES = "the worker takes (to: str, times: int = 1)"
CYCLE: list = []
CYCLE.append(CYCLE)
DEEP: list = []
for _ in range(10_000):
    DEEP = [DEEP]


def enqueue(worker="anything", args=None, **options):
    return lambda app: app.enqueue(worker, args, **options)


def send(*args, **kwargs):
    return lambda app: app.send.enqueue(*args, **kwargs)


# What is called, and the whole message.
TABLE = {
    # Names.
    "queue with a statement": (enqueue(queue="mail;--"), f"queue {QUEUE} (got 'mail;--')"),
    "empty queue": (enqueue(queue=""), f"queue {QUEUE} (got '')"),
    "upper case queue": (enqueue(queue="Mail"), f"queue {QUEUE} (got 'Mail')"),
    "queue of another script": (enqueue(queue="почта"), f"queue {QUEUE} (got 'почта')"),
    "queue with a line break": (enqueue(queue="a\n"), rf"queue {QUEUE} (got 'a\n')"),
    "queue from right to left": (enqueue(queue="\u202ea"), rf"queue {QUEUE} (got '\u{{202e}}a')"),
    "long queue": (enqueue(queue="q" * 65), f"queue {QUEUE} (got '{'q' * 65}')"),
    "queue that is no text": (enqueue(queue=7), "queue must be text (got 7)"),
    "queue with a lone surrogate": (enqueue(queue="\ud800"), "queue must not contain lone surrogates (got such text)"),
    "empty worker": (enqueue(""), f"worker {NAME} (got '')"),
    "worker with a call": (enqueue("os.system()"), f"worker {NAME} (got 'os.system()')"),
    "worker with NUL": (enqueue("a\0"), rf"worker {NAME} (got 'a\0')"),
    "worker with a lone surrogate": (enqueue("\ud800"), "worker must not contain lone surrogates (got such text)"),
    "worker that is no text": (
        enqueue(7),
        "worker must be a worker's name; a decorated function has an enqueue() of its own (got 7)",
    ),
    "paused queue": (lambda app: app.pause_queue("A"), f"queue {QUEUE} (got 'A')"),
    "resumed queue": (lambda app: app.resume_queue(None), f"queue {QUEUE} (got None)"),
    "scaled queue": (lambda app: app.scale_queue("a b", 3), f"queue {QUEUE} (got 'a b')"),
    "counted queue": (lambda app: app.count_by_state("a b"), f"queue {QUEUE} (got 'a b')"),
    "drained queue": (lambda app: app.drain("a b"), f"queue {QUEUE} (got 'a b')"),
    # Arguments of workers known elsewhere.
    "NaN": (enqueue(args={"a": [math.nan]}), 'args["a"][0] must be a finite number (got nan)'),
    "infinity": (enqueue(args=[-math.inf]), "args[0] must be a finite number (got -inf)"),
    "lone surrogate": (enqueue(args={"a": "\udfff"}), r"""args["a"] must not contain lone surrogates (got '\udfff')"""),
    "NUL": (enqueue(args="\0"), r"args must not contain the character U+0000 (got '\x00')"),
    "bytes": (
        enqueue(args={"a": b"x"}),
        (
            'args["a"] must be None, bool, int, float, str, list or dict, not bytes; '
            "annotate the worker's parameter to pass it (got b'x')"
        ),
    ),
    "set": (
        enqueue(args={1}),
        (
            "args must be None, bool, int, float, str, list or dict, not set; "
            "annotate the worker's parameter to pass it (got {1})"
        ),
    ),
    "key that is no text": (enqueue(args={1: 2}), "args must have only str as keys (got 1)"),
    "huge integer": (
        enqueue(args=[2**64]),
        "args[0] must fit into 64 bits; pass larger integers as text (got 18446744073709551616)",
    ),
    "cycle": (
        enqueue(args=CYCLE),
        "args must nest at most 128 levels deep and not contain itself (got a list at level 128)",
    ),
    "ten thousand levels": (
        enqueue(args=DEEP),
        "args must nest at most 128 levels deep and not contain itself (got a list at level 128)",
    ),
    "a mebibyte": (
        enqueue(args="x" * 2**20),
        "args must be at most 1048576 bytes of JSON; store large data elsewhere and pass its key (got 1048578 bytes)",
    ),
    "bytes that are no JSON": (
        enqueue(args=b"{"),
        "args must be valid JSON: EOF while parsing an object at index 1 (got {)",
    ),
    "bytes that are no UTF-8": (enqueue(args=b'"\xff"'), None),
    "bytes with NaN": (enqueue(args=b"[NaN]"), None),
    "bytes too deep": (enqueue(args=b"[" * 5000), None),
    # Arguments of a typed worker: send(to: str, times: int = 1).
    "no argument": (send(), f"missing a required argument: 'to'; {TAKES}"),
    "wrong type": (send(to=5), None),
    "wrong type by name": (enqueue("send", {"to": 5}), None),
    "unknown argument": (send("x", cc="y"), f"got an unexpected keyword argument 'cc'; {TAKES}"),
    "unknown argument by name": (
        enqueue("send", {"to": "x", "cc": "y"}),
        f"got an unexpected keyword argument 'cc'; {TAKES}",
    ),
    "too many arguments": (send("x", 1, 2), f"too many positional arguments; {TAKES}"),
    "surrogate in a typed argument": (send(to="\ud800"), None),
    "NUL in a typed argument": (send(to="\0"), None),
    "boolean for a number": (send(to="x", times=True), None),
    "huge typed integer": (send(to="x", times=2**64), None),
    "huge typed text": (send(to="x" * 2**20), None),
    "list for a typed worker": (
        enqueue("send", ["x"]),
        "args must be a dict with the handler's arguments by name (got ['x'])",
    ),
    # Options.
    "unknown option": (
        enqueue(priorty=1),
        (
            "option must be one of queue, priority, max_attempts, scheduled_at, schedule_in, unique_key, "
            "unique_strategy, unique_by, unique_period, timeout_seconds, meta, tags (got priorty)"
        ),
    ),
    "priority above 32 bits": (
        enqueue(priority=2**31),
        "priority must be a whole number from -2147483648 to 2147483647 (got 2147483648)",
    ),
    "priority beyond 64 bits": (
        enqueue(priority=-(2**70)),
        f"priority must be a whole number from -2147483648 to 2147483647 (got {-(2**70)})",
    ),
    "priority that is no integer": (
        enqueue(priority=1.0),
        "priority must be a whole number from -2147483648 to 2147483647 (got 1.0)",
    ),
    "boolean priority": (
        enqueue(priority=True),
        "priority must be a whole number from -2147483648 to 2147483647 (got True)",
    ),
    "no attempt": (enqueue(max_attempts=0), "max_attempts must be a whole number from 1 to 10000 (got 0)"),
    "fewer than no attempts": (
        enqueue(max_attempts=-1),
        "max_attempts must be a whole number from 1 to 10000 (got -1)",
    ),
    "endless attempts": (
        enqueue(max_attempts=2**31),
        "max_attempts must be a whole number from 1 to 10000 (got 2147483648)",
    ),
    "negative delay": (enqueue(schedule_in=-1), f"schedule_in {TEN_YEARS} (got -1)"),
    "negative timedelta": (enqueue(schedule_in=timedelta(seconds=-1)), None),
    "delay of NaN": (enqueue(schedule_in=math.nan), f"schedule_in {TEN_YEARS} (got nan)"),
    "endless delay": (enqueue(schedule_in=math.inf), f"schedule_in {TEN_YEARS} (got inf)"),
    "delay of ten thousand years": (
        enqueue(schedule_in=10_000 * 365 * 86400),
        f"schedule_in {TEN_YEARS} (got 315360000000)",
    ),
    "delay as text": (enqueue(schedule_in="5"), f"schedule_in {SECONDS} (got '5')"),
    "naive time": (
        enqueue(scheduled_at=datetime(2030, 1, 1)),  # noqa: DTZ001 - the point of it
        (
            "scheduled_at must know its time zone: use datetime.now(UTC), or .astimezone() on local time "
            "(got '2030-01-01T00:00:00')"
        ),
    ),
    "time as a number": (
        enqueue(scheduled_at=5),
        "scheduled_at must be an aware datetime, such as datetime.now(UTC) + timedelta(hours=1) (got 5)",
    ),
    "two times": (
        enqueue(scheduled_at=datetime(2030, 1, 1, tzinfo=UTC), schedule_in=5),
        "schedule_in excludes scheduled_at; give one of them (got both)",
    ),
    "timeout of nothing": (enqueue(timeout_seconds=0), "timeout_seconds must be more than 0 seconds (got 0)"),
    "negative timeout": (enqueue(timeout_seconds=-1), f"timeout_seconds {TEN_YEARS} (got -1)"),
    "timeout of NaN": (enqueue(timeout_seconds=math.nan), f"timeout_seconds {TEN_YEARS} (got nan)"),
    "empty unique key": (
        enqueue(unique_key=""),
        "unique_key must be 1 to 255 bytes without control characters (got '')",
    ),
    "long unique key": (enqueue(unique_key="k" * 256), None),
    "unique key with NUL": (enqueue(unique_key="a\0"), None),
    "two unique keys": (
        enqueue(unique_key="a", unique_by=("worker",)),
        "unique_by excludes unique_key; give one of them (got both)",
    ),
    "unique by no name": (
        enqueue(unique_by=("",)),
        "unique_by must be 1 to 255 bytes without control characters (got '')",
    ),
    "unique by a name with NUL": (enqueue(unique_by=("worker", "a\0")), None),
    "unique by text": (enqueue(unique_by="worker"), "unique_by must be a tuple of texts, such as ('a',) (got worker)"),
    "unique by an argument that there is not": (
        lambda app: app.send.options(unique_by=("worker", "too")).enqueue("x"),
        "unique_by must be made of worker, queue, args, to, times, as its worker takes them (got too)",
    ),
    "period of nothing": (
        enqueue(unique_period=60),
        "unique_period needs unique_by, such as ('worker', 'args') (got no unique_by)",
    ),
    "strategy as text": (
        enqueue(unique_key="a", unique_strategy="ignore"),
        "unique_strategy must be a member of UniqueStrategy (got ignore)",
    ),
    "meta that is no object": (enqueue(meta=5), "meta must be a mapping with string keys (got 5)"),
    "meta that is left out": (enqueue(meta=None), "meta must be a mapping with string keys (got None)"),
    "meta with NaN": (enqueue(meta={"a": math.nan}), 'meta["a"] must be a finite number (got nan)'),
    "large meta": (enqueue(meta={"a": "x" * 17_000}), None),
    "tags as text": (enqueue(tags="red"), "tags must be a tuple of texts, such as ('a',) (got red)"),
    "empty tag": (enqueue(tags=("",)), None),
    "tag that is no text": (enqueue(tags=(5,)), "tags must be text (got 5)"),
    "seventeen tags": (enqueue(tags=tuple("abcdefghijklmnopq")), None),
    "option of a worker's call": (lambda app: app.send.options(max_attempts=0).enqueue("x"), None),
    # Many at once: all or none.
    "one bad of many": (
        lambda app: app.enqueue_many([("a", None), ("b", math.nan)]),
        "args must be a finite number (got nan)",
    ),
    "entries of another kind": (
        lambda app: app.enqueue_many(["a"]),
        "jobs must hold worker.job(...) entries or pairs of worker name and arguments (got a)",
    ),
    # Workers.
    "registered twice": (
        lambda app: app.worker(name="send")(lambda: None),
        "worker must be registered once; choose another name (got 'send')",
    ),
    "worker definition registered twice": (
        lambda app: app.register_worker(WorkerDef("send", lambda args: None)),
        "worker must be registered once; choose another name (got 'send')",
    ),
    "nameless worker": (
        lambda app: app.worker(lambda: None),
        "name must be given for a lambda, such as worker(name='resize') (got '<lambda>')",
    ),
    "worker with a bad name": (lambda app: app.worker(name="a b")(lambda: None), f"worker {NAME} (got 'a b')"),
    "worker with bad options": (
        lambda app: app.worker(name="a", max_attempts=0)(lambda: None),
        "max_attempts must be a whole number from 1 to 10000 (got 0)",
    ),
    "worker with an unknown option": (
        lambda app: app.worker(name="a", retries=3)(lambda: None),
        (
            "option must be one of name, retry_strategy, keep_result, ack, queue, priority, max_attempts, "
            "scheduled_at, schedule_in, unique_key, unique_strategy, unique_by, unique_period, timeout_seconds, "
            "meta, tags (got 'retries')"
        ),
    ),
    "worker with an ack as text": (
        lambda app: app.worker(name="a", ack="sync")(lambda: None),
        "ack must be a member of Ack (got 'sync')",
    ),
    "worker with a keep_result as text": (
        lambda app: app.worker(name="a", keep_result="no")(lambda: None),
        "keep_result must be True or False (got 'no')",
    ),
    "worker that cannot be called": (
        lambda app: app.register_worker(WorkerDef("a", 5)),
        "handler must be a function of (args, ctx) (got 5)",
    ),
    "definition of another kind": (
        lambda app: app.register_worker("a"),
        "worker must be a WorkerDef(name, handler, ...) (got 'a')",
    ),
    "strategy class": (
        lambda app: app.worker(name="a", retry_strategy=zjobs.Constant)(lambda: None),
        None,
    ),
    # Schedules.
    "cron with four fields": (lambda app: app.register_cron("c", "* * * *", "send", {"to": "x"}), None),
    "cron with minute 60": (lambda app: app.register_cron("c", "60 * * * *", "send", {"to": "x"}), None),
    "cron that never comes": (lambda app: app.register_cron("c", "0 0 30 2 *", "send", {"to": "x"}), None),
    "unknown zone": (lambda app: app.register_cron("c", "@daily", "send", {"to": "x"}, timezone="Mars/North"), None),
    "bad cron name": (lambda app: app.register_cron("c d", "@daily", "send", {"to": "x"}), None),
    "cron twice": (lambda app: app.register_cron("nightly", "@daily", "send", {"to": "x"}), None),
    "cron with wrong arguments": (lambda app: app.register_cron("c", "@daily", "send", {"to": 5}), None),
    "cron with a bad option": (lambda app: app.register_cron("c", "@daily", "send", {"to": "x"}, max_attempts=0), None),
    "cron with an unknown option": (
        lambda app: app.register_cron("c", "@daily", "send", {"to": "x"}, retries=3),
        None,
    ),
    "cron by an argument that there is not": (
        lambda app: app.register_cron("c", "@daily", "send", {"to": "x"}, unique_by=("too",)),
        None,
    ),
    "cron of a bad worker": (lambda app: app.register_cron("c", "@daily", "a b"), f"worker {NAME} (got 'a b')"),
    # By hand.
    "job zero": (lambda app: app.get(0), "job must be a whole number from 1 to 9223372036854775807 (got 0)"),
    "job as text": (lambda app: app.cancel("1"), "job must be a whole number from 1 to 9223372036854775807 (got '1')"),
    "waiting for no job": (
        lambda app: app.wait(None, 1),
        "job must be a Job or its id, a whole number from 1 (got None)",
    ),
    "waiting for less than nothing": (lambda app: app.wait(1, -1), f"timeout {TEN_YEARS} (got -1)"),
    "cancelling everything": (
        lambda app: app.cancel_many(),
        "filter must say which jobs, such as queue='mail' or states=[JobState.DISCARDED] (got 'nothing')",
    ),
    "deleting everything": (lambda app: app.delete_many(), None),
    "deleting from a queue that is None": (
        lambda app: app.delete_many(queue=None, limit=None, newest_first=True),
        (
            "filter must say which jobs, such as queue='mail' or states=[JobState.DISCARDED] "
            "(got {'limit': None, 'newest_first': True, 'queue': None})"
        ),
    ),
    "cancelling ids that are None": (lambda app: app.cancel_many(ids=None), None),
    "retrying no state": (
        lambda app: app.retry_many(states=[]),
        "states must not be empty: it would mean any; leave it out to mean that (got ())",
    ),
    "cancelling no tag in a queue": (lambda app: app.cancel_many(queue="default", tags=()), None),
    "unknown filter": (lambda app: app.list(colour="red"), None),
    "negative limit": (lambda app: app.list(limit=-1), None),
    "filter of another kind": (lambda app: app.count(queue=5), None),
    "deleting the future": (lambda app: app.delete_completed(-1), f"older_than {TEN_YEARS} (got -1)"),
    "scaling to nothing": (
        lambda app: app.scale_queue("default", 0),
        "concurrency must be a whole number from 1 to 4096 (got 0)",
    ),
    "stopping in the past": (lambda app: app.stop(-1), f"timeout {TEN_YEARS} (got -1)"),
    # Telemetry.
    "coroutine listener": (lambda app: app.telemetry.attach(app.drain_async), None),
    "unknown event": (lambda app: app.telemetry.attach(print, "job_exploded"), None),
    # Settings.
    "queues as text": (
        lambda _: Supervisor(queues="default"),
        "queues must map names to concurrency, or be a list of Queue(name, ...) (got 'default')",
    ),
    "queues as a number": (
        lambda _: Supervisor(queues=5),
        "queues must map names to concurrency, or be a list of Queue(name, ...) (got 5)",
    ),
    "queue of no jobs": (
        lambda _: Supervisor(queues={"default": 0}),
        "concurrency must be a whole number from 1 to 4096 (got 0)",
    ),
    "queue twice": (
        lambda _: Supervisor(queues=[Queue("a"), Queue("a")]),
        "queues must name each queue once (got a)",
    ),
    "unknown store": (lambda _: Supervisor("redis://x"), None),
    "store of another kind": (
        lambda _: Supervisor(5),
        "store must be a Store, 'memory://', 'sqlite:///jobs.db' or 'postgresql://user@host/database' (got 'int')",
    ),
    "polling never": (
        lambda _: Supervisor(poll_interval_ms=0),
        "poll_interval_ms must be a whole number from 1 to 2147483648 (got 0)",
    ),
    "rescuing sometimes": (lambda _: Supervisor(rescue_interval_ms=1.5), None),
    "shutdown of NaN": (lambda _: Supervisor(shutdown_timeout_seconds=math.nan), None),
    "retention as a number": (
        lambda _: Supervisor(retention=60),
        "retention must be a Retention(completed=...), in seconds or timedelta (got 60)",
    ),
    "negative retention": (lambda _: Retention(completed=-1), f"completed {TEN_YEARS} (got -1)"),
    "node that is no text": (lambda _: Supervisor(node=5), "node must be text (got 5)"),
    "empty node": (lambda _: Supervisor(node=""), None),
    "store of no jobs": (lambda _: MemoryStore(max_jobs=-1), None),
    "options of no attempts": (
        lambda _: JobOpts(max_attempts=0),
        "max_attempts must be a whole number from 1 to 10000 (got 0)",
    ),
}


@pytest.fixture
def app(jobs):
    supervisor = jobs()

    @supervisor.worker
    def send(to: str, times: int = 1) -> None:
        pass

    supervisor.send = send
    supervisor.register_cron("nightly", "@daily", send, {"to": "x"})
    return supervisor


@pytest.mark.parametrize("case", TABLE)
def test_bad_input_is_refused_where_it_is_given_and_changes_nothing(case, app):
    call, message = TABLE[case]
    before = app.workers, app.count(), [*app._scheduler.crontab.entries], app.queue_list(), app.is_running
    with pytest.raises(Invalid) as caught:
        call(app)
    text = str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert message is None or text == message
    assert text.isprintable()
    assert len(text) < 500
    assert "(got " in text or text.endswith(TAKES)
    assert (app.workers, app.count(), [*app._scheduler.crontab.entries], app.queue_list(), app.is_running) == before


ACCEPTED = {
    "longest queue": enqueue(queue="q" * 64),
    "longest worker": enqueue("w" * 128),
    "integers at their ends": enqueue(args=[2**64 - 1, -(2**63), sys.float_info.max, -0.0, 5e-324]),
    "128 levels": enqueue(args=__import__("json").loads("[" * 127 + "]" * 127)),
    "a mebibyte less its quotes": enqueue(args="x" * (2**20 - 2)),
    "priority at its ends": enqueue(priority=-(2**31)),
    "ten thousand attempts": enqueue(max_attempts=10_000),
    "ten years": enqueue(schedule_in=timedelta(days=3650)),
    "long ago": enqueue(scheduled_at=datetime(1, 1, 1, tzinfo=UTC)),
    "far away": enqueue(scheduled_at=datetime(9999, 12, 31, tzinfo=UTC)),
    "longest key": enqueue(unique_key="k" * 255),
    "sixteen tags": enqueue(tags=tuple("abcdefghijklmnop")),
    "text beyond the first plane": enqueue(args={"🙂": "𝄞"}),
    "no limit": enqueue(timeout_seconds=None),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_is_just_inside_the_limits_is_taken_and_read_back(case, app):
    job = ACCEPTED[case](app)
    again = app.get(job)
    assert (again, again.args, again.scheduled_at) == (job, job.args, job.scheduled_at)


def test_a_full_store_refuses_the_whole_batch(jobs):
    app = jobs(store=MemoryStore(max_jobs=3))
    app.enqueue("a")
    with pytest.raises(StoreFull, match="3"):
        app.enqueue_many([("a", None)] * 3)
    assert app.count() == 1
    app.enqueue_many([("a", None)] * 2)
    with pytest.raises(StoreFull, match="max_jobs"):
        app.enqueue("a")


def test_an_unknown_queue_of_this_supervisor_is_not_found(app):
    with pytest.raises(zjobs.NotFound, match=r"queue not found: mail; this supervisor works on default"):
        app.drain("mail")


def test_unknown_schedules_are_not_found(app):
    for call in (app.pause_cron, app.resume_cron, app.run_cron, app.delete_cron):
        with pytest.raises(zjobs.NotFound):
            call("never")
