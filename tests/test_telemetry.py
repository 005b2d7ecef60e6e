import dataclasses
import logging
import re
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from zjobs import _engine, telemetry
from zjobs.errors import Invalid
from zjobs.telemetry import (
    EVENTS,
    CronMissed,
    JobCompleted,
    JobDiscarded,
    JobFailed,
    JobResult,
    QueuePaused,
    QueueResumed,
    StoreRecovered,
    StoreUnavailable,
    Telemetry,
    attach_logging,
)

JOB = SimpleNamespace(
    id=7, worker="send", queue="mail", attempt=2, max_attempts=5, args={"secret": "hunter2"}, args_bytes=b"hunter2"
)
PAUSED = QueuePaused("mail")
INDEX = {kind: index for index, kind in enumerate(EVENTS.values())}


def result(error=None):
    return JobResult(JOB, duration_ms=12.3456, queue_ms=4.5678, error_msg=error)


def test_the_table_is_the_engine_s():
    assert list(EVENTS) == list(_engine.EVENTS)


def test_names_are_those_of_the_classes_and_events_are_frozen():
    for name, kind in EVENTS.items():
        assert re.sub(r"(?<!^)([A-Z])", r"_\1", kind.__name__).lower() == name
        assert kind.__name__ in telemetry.__all__
        assert not hasattr(kind, "__dict__") or "__slots__" in vars(kind)
    for kind in (*EVENTS.values(), JobResult):
        for field in dataclasses.fields(kind):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(object.__new__(kind), field.name, 1)


def test_events_are_matched_with_match():
    match JobFailed(result("boom")):
        case JobFailed(JobResult(job, duration_ms, _, error)):
            assert (job.id, duration_ms, error) == (7, 12.3456, "boom")


def test_a_handler_hears_what_it_asked_for_until_it_is_detached():
    hub, heard, some = Telemetry(), [], []
    handle = hub.attach(heard.append)
    hub.attach(some.append, ["queue_resumed", JobCompleted])
    hub.emit(PAUSED)
    hub.emit(QueueResumed("mail"))
    hub.detach(handle)
    hub.detach(handle)
    hub.emit(JobCompleted(result()))
    assert heard == [PAUSED, QueueResumed("mail")]
    assert some == [QueueResumed("mail"), JobCompleted(result())]


def test_one_event_may_be_given_without_a_list():
    hub, heard = Telemetry(), []
    hub.attach(heard.append, "queue_paused")
    hub.attach(heard.append, QueuePaused)
    hub.emit(PAUSED)
    assert heard == [PAUSED, PAUSED]


def test_the_engine_learns_what_is_wanted_only_when_that_changes():
    masks = []
    hub = Telemetry(masks.append)
    one = hub.attach(print, QueuePaused)
    two = hub.attach(print, QueuePaused)
    hub.detach(one)
    three = hub.attach(print)
    assert hub.wants(INDEX[JobCompleted])
    hub.detach(three)
    hub.detach(two)
    everything = 2 ** len(EVENTS) - 1
    assert masks == [1 << INDEX[QueuePaused], everything, 1 << INDEX[QueuePaused], 0]
    assert hub.mask == 0
    assert not hub.wants(INDEX[QueuePaused])


def test_the_engine_is_asked_for_one_kind_when_one_is_wanted():
    for kind, index in INDEX.items():
        hub = Telemetry()
        hub.attach(print, kind)
        assert [other for other in INDEX.values() if hub.wants(other)] == [index]
        assert hub.wants(index) is True


class Own(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError, SystemExit, GeneratorExit, Own])
def test_a_handler_that_raises_is_logged_and_counted_and_harms_nobody(error, caplog):
    hub, heard = Telemetry(), []

    def bad(_):
        raise error

    hub.attach(bad)
    hub.attach(heard.append)
    hub.emit(PAUSED)
    assert heard == [PAUSED]
    assert hub.errors == 1
    assert "queue_paused" in caplog.text
    assert caplog.records[0].exc_info[0] is error


@pytest.mark.parametrize("error", [ValueError, SystemExit, RecursionError])
def test_a_handler_that_cannot_even_be_named_harms_nobody(error, caplog):
    class Nameless:
        def __call__(self, _):
            raise ValueError("of the handler")

        def __repr__(self):
            raise error

    hub, heard = Telemetry(), []
    hub.attach(Nameless())
    hub.attach(heard.append)
    hub.emit(PAUSED)
    assert (heard, hub.errors) == ([PAUSED], 1)
    assert "Nameless object at" in caplog.records[0].message
    assert "failed on queue_paused" in caplog.text
    assert "of the handler" in caplog.text


def test_events_that_nobody_was_told_of_are_counted_and_logged(caplog):
    hub = Telemetry()
    assert hub.dropped == 0
    hub.count_dropped(2)
    hub.count_dropped(3)
    assert (hub.dropped, hub.errors) == (5, 0)
    assert "too slow: 3 events were dropped" in caplog.records[1].message


def test_ctrl_c_in_a_handler_reaches_the_program_when_everybody_has_been_told(caplog):
    hub, heard = Telemetry(), []

    def interrupted(_):
        raise KeyboardInterrupt

    hub.attach(interrupted)
    hub.attach(heard.append)
    with pytest.raises(KeyboardInterrupt):
        hub.emit(PAUSED)
    assert heard == [PAUSED]
    assert hub.errors == 1
    # On another thread it is no Ctrl-C, but a handler that raises.
    thread = threading.Thread(target=hub.emit, args=[PAUSED])
    thread.start()
    thread.join()
    assert (heard, hub.errors) == ([PAUSED] * 2, 2)
    assert "failed on queue_paused" in caplog.text


def test_a_broken_logging_setup_harms_nobody_either(monkeypatch):
    def explode(*_args, **_kwargs):
        raise SystemExit

    monkeypatch.setattr(telemetry._LOG, "error", explode)
    hub = Telemetry()
    hub.attach(lambda _: 1 / 0)
    hub.emit(PAUSED)
    assert hub.errors == 1


def test_a_handler_may_attach_and_detach():
    hub, heard = Telemetry(), []

    def once(_):
        hub.detach(handle)
        hub.attach(heard.append)

    handle = hub.attach(once)
    hub.emit(PAUSED)
    assert heard == []
    hub.emit(PAUSED)
    assert heard == [PAUSED]


def test_handlers_that_cause_events_end_somewhere(caplog):
    hub, calls = Telemetry(), []

    def echo(event):
        calls.append(event)
        hub.emit(event)

    hub.attach(echo)
    hub.emit(PAUSED)
    assert len(calls) == 8
    assert hub.errors == 1
    assert "dropped: queue_paused" in caplog.text
    assert not caplog.records[0].exc_info
    hub.emit(PAUSED)
    assert len(calls) == 16


def test_nesting_is_counted_per_thread():
    hub, names = Telemetry(), []

    def hand_over(event):
        names.append(threading.current_thread().name)
        if len(names) < 20:
            thread = threading.Thread(target=hub.emit, args=(event,))
            thread.start()
            thread.join()

    hub.attach(hand_over)
    hub.emit(PAUSED)
    assert len(names) == 20
    assert hub.errors == 0


@pytest.mark.parametrize("bad", ["job_exploded", ["queue_paused", 5], [int], int])
def test_an_unknown_event_is_refused_with_the_known_ones(bad):
    with pytest.raises(Invalid, match="queue_paused"):
        Telemetry().attach(print, bad)


def test_only_plain_functions_are_handlers():
    async def slow(_):
        pass

    for bad in (slow, 5):
        with pytest.raises(Invalid, match="plain function"):
            Telemetry().attach(bad)


def test_attaching_from_many_threads_loses_nobody():
    hub, barrier = Telemetry(), threading.Barrier(8)
    heard = [[] for _ in range(8)]

    def work(mine):
        barrier.wait()
        for _ in range(50):
            hub.detach(hub.attach(print, "job_started"))
        hub.attach(mine.append, QueuePaused)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in heard]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hub.emit(PAUSED)
    assert heard == [[PAUSED]] * 8
    assert hub.mask == 1 << INDEX[QueuePaused]


class Subscriptions(RuleBasedStateMachine):
    """The mask and the calls follow from who is attached, whatever the order of events."""

    def __init__(self):
        super().__init__()
        self.mask = 0
        self.hub = Telemetry(lambda mask: setattr(self, "mask", mask))
        self.model = {}

    @rule(kinds=st.none() | st.lists(st.sampled_from(list(EVENTS)), max_size=4))
    def attach(self, kinds):
        heard = []
        handle = self.hub.attach(heard.append, kinds)
        self.model[handle] = (heard, set(EVENTS if kinds is None else kinds))

    @rule(data=st.data())
    def detach(self, data):
        if self.model:
            handle = data.draw(st.sampled_from(list(self.model)))
            self.hub.detach(handle)
            del self.model[handle]

    @rule(name=st.sampled_from(list(EVENTS)))
    def emit(self, name):
        kind = EVENTS[name]
        event = kind(*([name] * len(dataclasses.fields(kind))))
        self.hub.emit(event)
        for heard, kinds in self.model.values():
            assert (heard[-1:] == [event]) == (name in kinds)
            heard.clear()

    @invariant()
    def the_mask_is_the_union(self):
        wanted = set().union(*(kinds for _, kinds in self.model.values()))
        assert self.mask == self.hub.mask == sum(1 << i for i, name in enumerate(EVENTS) if name in wanted)


TestSubscriptions = Subscriptions.TestCase


def test_the_logging_subscriber_writes_one_structured_line_per_attempt(caplog):
    hub = Telemetry()
    attach_logging(hub)
    with caplog.at_level(logging.INFO, "zjobs"):
        hub.emit(JobCompleted(result()))
        hub.emit(JobDiscarded(result("no\nroute\x1b[31m")))
        hub.emit(PAUSED)
    done, lost = caplog.records
    assert done.getMessage() == (
        "event=job_completed job_id=7 worker=send queue=mail attempt=2 max_attempts=5 duration_ms=12.346 queue_ms=4.568"
    )
    assert (done.levelno, lost.levelno) == (logging.INFO, logging.ERROR)
    assert (done.event, done.job_id, done.duration_ms) == ("job_completed", 7, 12.346)
    assert lost.error == r"no\nroute\u{1b}[31m"
    assert lost.getMessage().isprintable()
    assert "hunter2" not in caplog.text


def test_the_logging_subscriber_writes_when_the_store_does_not_answer_and_when_it_does_again(caplog):
    hub = Telemetry()
    attach_logging(hub)
    with caplog.at_level(logging.INFO, "zjobs"):
        hub.emit(StoreUnavailable(OSError("no\nroute")))
        hub.emit(StoreRecovered(2.34567))
    down, up = caplog.records
    assert (down.levelno, down.getMessage()) == (logging.WARNING, r"event=store_unavailable error=no\nroute")
    assert (up.levelno, up.getMessage()) == (logging.INFO, "event=store_recovered downtime_seconds=2.346")
    assert (down.error, up.downtime_seconds) == (r"no\nroute", 2.346)


def test_logging_goes_to_the_named_logger_and_stops_when_detached(caplog):
    hub = Telemetry()
    handle = attach_logging(hub, "mine.jobs")
    with caplog.at_level(logging.WARNING, "mine.jobs"):
        hub.emit(JobCompleted(result()))
        hub.emit(JobFailed(result("x" * 10_000)))
        hub.detach(handle)
        hub.emit(JobFailed(result("y")))
    (record,) = caplog.records
    assert record.name == "mine.jobs"
    assert len(record.error) == 501


def test_missed_ticks_are_named():
    ticks = (datetime(2030, 1, 1, tzinfo=UTC),)
    assert CronMissed("nightly", ticks).ticks == ticks
