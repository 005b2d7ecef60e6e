"""Schedules and their ticks."""

from datetime import datetime, timedelta

from zjobs.cron import Schedule
from zjobs.crontab import CronEntry, Ticked, TickReply
from zjobs.options import Retention
from zjobs.store import JobFilter, NewJob
from zjobs.testing.harness import Harness, new_job

__all__ = ["Schedules"]

_NAME = "nightly"


def _declare(on: Harness, expression: str) -> None:
    on.store.save_cron(CronEntry(name=_NAME, schedule=Schedule(expression, "Europe/Berlin"), worker="w"))


def _tick(on: Harness, at: datetime, job: NewJob | None = None) -> Ticked:
    return on.store.tick(_NAME, at, job)


class Schedules:
    """Ticks: each once."""

    def test_a_tick_fires_once(self, on: Harness) -> None:
        before = on.store.now()
        _declare(on, "0 3 * * *")
        at = on.soon(-5)
        fired = _tick(on, at, new_job())
        assert fired.reply is TickReply.INSERTED
        assert on.get(fired.job) == fired.job
        assert _tick(on, at, new_job()) == Ticked(TickReply.ALREADY)
        assert on.store.count(JobFilter()) == 1
        later = at + timedelta(seconds=1)
        assert _tick(on, later, new_job()).reply is TickReply.INSERTED
        [row] = on.store.crons()
        assert (row.name, row.expression, row.timezone, row.worker) == (_NAME, "0 3 * * *", "Europe/Berlin", "w")
        assert (row.paused, row.last_tick) == (False, later)
        assert row.known_since >= before

    def test_a_paused_or_unknown_schedule_rests(self, on: Harness) -> None:
        at = on.store.now()
        assert _tick(on, at, new_job()) == Ticked(TickReply.RESTING)
        assert not on.store.set_cron_paused(_NAME, paused=True)
        _declare(on, "@daily")
        assert on.store.set_cron_paused(_NAME, paused=True)
        assert _tick(on, at, new_job()) == Ticked(TickReply.RESTING)
        assert (on.store.count(JobFilter()), on.store.crons()[0].last_tick) == (0, None)
        assert on.store.set_cron_paused(_NAME, paused=False)
        assert _tick(on, at, new_job()).reply is TickReply.INSERTED

    def test_a_tick_that_is_left_out_is_recorded(self, on: Harness) -> None:
        _declare(on, "@daily")
        at = on.store.now()
        assert _tick(on, at) == Ticked(TickReply.INSERTED)
        assert _tick(on, at, new_job()) == Ticked(TickReply.ALREADY)
        assert (on.store.count(JobFilter()), on.store.crons()[0].last_tick) == (0, at)

    def test_declaring_again_keeps_pause_and_last_tick(self, on: Harness) -> None:
        _declare(on, "@daily")
        at = on.store.now()
        _tick(on, at)
        on.store.set_cron_paused(_NAME, paused=True)
        [before] = on.store.crons()
        _declare(on, "@hourly")
        [after] = on.store.crons()
        assert after.expression == "@hourly"
        assert (after.paused, after.last_tick, after.known_since) == (True, at, before.known_since)

    def test_a_tick_follows_uniqueness(self, on: Harness) -> None:
        _declare(on, "@daily")
        at = on.store.now()
        waiting = on.enqueue(unique_key="k")
        met = _tick(on, at, new_job(unique_key="k"))
        assert (met.reply, met.job.id, met.job.conflict) == (TickReply.INSERTED, waiting.id, True)
        assert _tick(on, at, new_job()) == Ticked(TickReply.ALREADY)

    def test_an_old_tick_never_fires_again(self, on: Harness) -> None:
        _declare(on, "@daily")
        at = on.store.now()
        _tick(on, at, new_job())
        on.advance(9 * 24 * 3600)
        on.store.prune(Retention())
        assert _tick(on, at, new_job()) == Ticked(TickReply.ALREADY)
        assert on.store.count(JobFilter()) == 1

    def test_a_late_tick_between_others_fires(self, on: Harness) -> None:
        _declare(on, "@daily")
        at = on.store.now()
        _tick(on, at, new_job())
        assert _tick(on, at - timedelta(minutes=1), new_job()).reply is TickReply.INSERTED
        assert on.store.crons()[0].last_tick == at, "the latest tick stays the latest"

    def test_a_deleted_schedule_is_forgotten(self, on: Harness) -> None:
        assert not on.store.delete_cron(_NAME)
        _declare(on, "@daily")
        at = on.store.now()
        _tick(on, at)
        assert on.store.delete_cron(_NAME)
        assert on.store.crons() == []
        _declare(on, "@daily")
        assert _tick(on, at, new_job()).reply is TickReply.INSERTED
