"""Calls that are right: neither checker may complain about any of them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import zjobs


@dataclass
class Address:
    street: str


jobs = zjobs.Supervisor("memory://", queues={"default": 10, "mail": 5})
opened = zjobs.DbStore("sqlite:///jobs.db")
lasting = zjobs.Supervisor(opened)
listed = zjobs.Supervisor(zjobs.MemoryStore(max_jobs=5), queues=[zjobs.Queue("mail", 5)])


def context() -> zjobs.JobContext:
    raise NotImplementedError


@jobs.worker
def bare(to: str, subject: str = "Hello") -> int:
    return len(to + subject)


@jobs.worker(queue="mail", max_attempts=5, retry_strategy=zjobs.Exponential(base_seconds=15), timeout_seconds=None)
def with_context(ctx: zjobs.JobContext, to: str, *, address: Address | None = None) -> str:
    assert_type(ctx.attempt, int)
    assert_type(ctx.cancelled, bool)
    ctx.progress(1, 2, "half")
    return to


@jobs.worker(keep_result=True, ack=zjobs.Ack.SYNC, retry_strategy=lambda attempt, error: attempt * 2.0)
async def coroutine(ctx: zjobs.JobContext, n: int) -> int:
    return n


@jobs.worker()
def nothing() -> None: ...


@jobs.worker
def lenient(payload: Any) -> None: ...


@jobs.worker
def about_anything(payload: object, more: int = 0) -> None: ...


@jobs.cron("@hourly", timezone="Europe/Berlin", catch_up="all", overlap="skip")
def hourly(ctx: zjobs.JobContext) -> None: ...


@jobs.cron("@daily")
@jobs.worker(queue="mail")
def daily() -> None: ...


assert_type(bare.enqueue("a"), zjobs.Job)
assert_type(bare.enqueue("a", subject="b"), zjobs.Job)
assert_type(bare("a"), int)
bare.options(priority=-5, schedule_in=timedelta(minutes=1), tags=("a", "b"), meta={"k": 1}).enqueue(to="a")
bare.options(scheduled_at=datetime.now(UTC)).options(unique_by=("worker", "to")).enqueue(to="a")
bare.options(tags=["a", "b"], unique_by=["worker", "to"]).enqueue(to="a")
assert_type(opened.count_by_state("default"), dict[zjobs.JobState, int])
assert_type(zjobs.JobOpts(tags=["a"], unique_by=["args"]), zjobs.JobOpts)
with_context.enqueue("a", address=Address("b"))
with_context.options(unique_key="k", unique_strategy=zjobs.UniqueStrategy.CANCEL_EXISTING).enqueue(to="a")
nothing.enqueue()
hourly.enqueue()
daily.enqueue()
lenient.enqueue(payload=1)
about_anything.enqueue(payload=1, more=2)

assert_type(jobs.enqueue("bare", {"to": "a"}, queue="mail", priority=1), zjobs.Job)
assert_type(jobs.enqueue_many([bare.job(to="a"), ("bare", {"to": "b"})]), list[zjobs.Job])
jobs.register_worker(zjobs.WorkerDef("low", lambda args, ctx: None, zjobs.JobOpts(queue="mail"), zjobs.Constant(1)))
jobs.register_cron("tick", "*/5 * * * *", bare, {"to": "a"})
jobs.register_cron("tock", "*/5 * * * *", "bare", {"to": "a"}, on_repeat="twice", priority=3)


async def calls(ctx: zjobs.JobContext) -> None:
    assert_type(await bare.enqueue_async(to="a"), zjobs.Job)
    assert_type(await with_context.options(queue="mail").enqueue_async(to="a"), zjobs.Job)
    assert_type(await coroutine(ctx, 1), int)
    assert_type(with_context(ctx, "a"), str)
    async with jobs:
        job = await jobs.enqueue_async("bare", {"to": "a"})
        assert_type(await jobs.wait_async(job, timedelta(seconds=1)), zjobs.Job)
        assert_type(await jobs.count_by_state_async(), dict[zjobs.JobState, int])


def reads() -> None:
    with jobs as running:
        assert_type(running, zjobs.Supervisor)
    found = jobs.list(queue="mail", states=(zjobs.JobState.DISCARDED,), limit=5, newest_first=True)
    assert_type(found, list[zjobs.Job])
    assert_type(jobs.count(worker="bare", tags=("a",)), int)
    assert_type(jobs.retry_many(states=(zjobs.JobState.DISCARDED,)), int)
    job = jobs.get(7)
    assert_type(job.state, zjobs.JobState)
    assert_type(job.scheduled_at, datetime)
    assert_type(job.completed_at, datetime | None)
    assert_type(job.errors, tuple[zjobs.AttemptError, ...])
    assert_type(job.progress, zjobs.Progress | None)
    meta: Mapping[str, Any] = job.meta
    assert_type(meta["k"], Any)
    asyncio.run(calls(context()))
    assert_type(jobs.result(job, 5), Any)


def verdict(n: int) -> zjobs.Snooze | zjobs.Cancel | zjobs.Discard:
    if n > 1:
        raise zjobs.Snooze(timedelta(minutes=1))
    return zjobs.Cancel("why") if n else zjobs.Discard("why")
