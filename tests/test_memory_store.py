"""What only the memory store has: its limits, its clock, and that it is not shared by a fork."""

import os
import sys
from datetime import UTC, datetime

import pytest

from zjobs import _engine
from zjobs.errors import Invalid, StoreFull, StoreUnavailable
from zjobs.job import JobState
from zjobs.store import Heartbeat, JobFilter, MemoryStore, NewJob, Store
from zjobs.testing import Harness, ManualClock

NODE = "a" * 32


def new_jobs(count, **parts):
    return [NewJob("w", b"{}", **parts) for _ in range(count)]


def test_it_is_a_store():
    assert isinstance(MemoryStore(), Store)
    assert not MemoryStore().blocks
    assert (MemoryStore().max_jobs, MemoryStore(max_jobs=3).max_jobs) == (None, 3)


def test_a_full_store_takes_all_of_a_batch_or_none():
    store = MemoryStore(max_jobs=3)
    store.enqueue(new_jobs(2))
    with pytest.raises(StoreFull, match="3 unfinished jobs"):
        store.enqueue(new_jobs(2))
    assert store.count(JobFilter()) == 2
    store.enqueue(new_jobs(1))


def test_it_keeps_no_more_finished_jobs_than_it_is_told():
    store = MemoryStore(max_finished=2)
    jobs = [reply.job for reply in store.enqueue(new_jobs(5))]
    store.cancel(JobFilter())
    assert [job.id for job in store.list(JobFilter())] == [job.id for job in jobs[3:]]


def test_a_manual_clock_moves_only_when_told_to():
    clock = ManualClock(datetime(2030, 5, 6, tzinfo=UTC))
    on = Harness(MemoryStore(clock=clock), lambda _, seconds: clock.advance(seconds))
    assert on.store.now() == clock.now() == datetime(2030, 5, 6, tzinfo=UTC)
    on.advance(90.5)
    assert on.store.now() == datetime(2030, 5, 6, 0, 1, 30, 500_000, tzinfo=UTC)
    with pytest.raises(Invalid, match="by must be from 0"):
        clock.advance(-1)
    with pytest.raises(Invalid, match="start must know its time zone"):
        ManualClock(datetime(2030, 5, 6))  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda store: store.list("x"), "argument must be a JobFilter"),
        (lambda store: store.enqueue("x"), "argument must be a list of NewJob"),
        (lambda store: store.enqueue([None]), "argument must be a NewJob"),
        (lambda store: store.enqueue([NewJob("w", b"{")]), "args must be valid JSON"),
        (lambda store: store.enqueue([NewJob("w", "{}")]), "args_bytes must be JSON text as bytes"),
        (lambda store: store.enqueue(new_jobs(1, queue="a b")), "queue must match"),
        (lambda store: store.enqueue(new_jobs(1, max_attempts=0)), "max_attempts must be a whole number from 1"),
        (lambda store: store.enqueue(new_jobs(1, schedule_in=-1.0)), "schedule_in must be from 0"),
        (lambda store: store.enqueue(new_jobs(1, scheduled_at=datetime(2030, 1, 1))), "must know its time zone"),  # noqa: DTZ001
        (lambda store: store.claim("nobody", "default", 1), "node must be an incarnation"),
        (lambda store: store.claim("+" + "a" * 31, "default", 1), "node must be an incarnation"),
        (lambda store: store.claim(NODE, "default", -1), "limit must be a whole number"),
        (lambda store: store.get([0]), "job must be a Job or its id"),
        (lambda store: store.scale("default", 1_000_000), "concurrency must be a whole number"),
        (lambda store: store.depart(NODE, float("nan")), "grace_seconds must be from 0"),
        (lambda store: store.delete_completed(-1), "older_than must be from 0"),
        (lambda store: store.tick("a b", store.now(), None), "cron name must match"),
        (lambda _: JobFilter(ids=[0]), "ids? must be a whole number from 1"),
        (lambda _: JobFilter(states=[9]), "states must hold members of JobState"),
        (lambda _: JobFilter(tags="red"), "tags must be a list or tuple"),
        (lambda _: JobFilter(limit=-1), "limit must be a whole number"),
        (lambda _: JobFilter(newest_first="no"), "newest_first must be True or False"),
    ],
)
def test_a_malformed_request_is_refused_and_changes_nothing(call, message):
    store = MemoryStore()
    with pytest.raises(Invalid, match=message):
        call(store)
    assert store.count(JobFilter()) == 0
    assert store.queues() == []


class Ears:
    def __init__(self):
        self.heard = []

    def ready(self, queue):
        self.heard.append(("ready", queue))

    def due(self, at):
        self.heard.append(("due", at))

    def cancel(self, ids):
        self.heard.append(("cancel", list(ids)))

    def control(self, queue):
        self.heard.append(("control", queue))

    def settled(self):
        self.heard.append(("settled",))


def test_a_listener_hears_what_commits():
    clock, ears = ManualClock(), Ears()
    store = MemoryStore(clock=clock)
    store.subscribe(ears)
    [first, later] = [reply.job for reply in store.enqueue([*new_jobs(1), *new_jobs(1, schedule_in=60.0)])]
    assert ears.heard == [("ready", "default"), ("due", later.scheduled_at)]
    ears.heard.clear()
    store.heartbeat(Heartbeat(NODE))
    store.claim(NODE, "default", 1)
    assert ears.heard == []
    store.cancel(JobFilter(ids=[first.id]))
    store.cancel(JobFilter(ids=[later.id]))
    store.pause("mail")
    assert ears.heard == [("cancel", [first.id]), ("settled",), ("control", "mail")]


def test_a_listener_that_raises_harms_no_call(monkeypatch):
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    class Deaf(Ears):
        def ready(self, queue):
            raise RuntimeError(queue)

    store = MemoryStore()
    store.subscribe(Deaf())
    assert store.enqueue(new_jobs(1))[0].job.state is JobState.AVAILABLE
    assert [type(one.exc_value) for one in unraisable] == [RuntimeError]


def test_it_is_refused_in_the_child_of_a_fork():
    store = MemoryStore()
    store.enqueue(new_jobs(1))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer = b"no error"
        try:
            _engine.Engine.forked()
            store.count(JobFilter())
        except StoreUnavailable:
            answer = b"refused"
        finally:
            os.write(writing, answer)
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"refused"
    os.close(reading)
    os.close(writing)
    assert store.count(JobFilter()) == 1
