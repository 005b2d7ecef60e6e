"""Calls that are wrong: both checkers must complain about exactly the lines that end in ``# wrong``."""

from datetime import datetime

import zjobs

jobs = zjobs.Supervisor()


@jobs.worker
def bare(to: str, subject: str = "Hello") -> int:
    return len(to + subject)


@jobs.worker(queue="mail")
def with_context(ctx: zjobs.JobContext, to: str) -> None: ...


@jobs.worker
async def coroutine(n: int) -> int:
    return n


@jobs.cron("@hourly")
def hourly(ctx: zjobs.JobContext) -> None: ...


def context() -> zjobs.JobContext:
    raise NotImplementedError


# Arguments.
bare.enqueue(to=5)  # wrong: type
bare.enqueue()  # wrong: missing
bare.enqueue("a", sbject="b")  # wrong: name
bare.enqueue("a", "b", "c")  # wrong: too many
bare.enqueue("a", queue="mail")  # wrong: an option is no argument
bare.job(to=5)  # wrong: type
bare.options(priority=1).enqueue(to=5)  # wrong: type
bare.options(priority=1).job()  # wrong: missing
coroutine.enqueue(n="1")  # wrong: type
hourly.enqueue(1)  # wrong: too many

# The context is the supervisor's to give.
with_context.enqueue(context(), "a")  # wrong: too many
with_context.enqueue(ctx=context(), to="a")  # wrong: name
with_context("a")  # wrong: called by hand it is needed
bare(context(), "a")  # wrong: type

# Options.
bare.options(priorty=1)  # wrong: name
bare.options(priority="high")  # wrong: type
bare.options(schedule_in="soon")  # wrong: type
bare.options(scheduled_at=5)  # wrong: type
bare.options(tags=[1])  # wrong: type
bare.options(unique_by=5)  # wrong: type
bare.options(unique_strategy="ignore_new")  # wrong: an enum
jobs.enqueue("bare", {"to": "a"}, priority="high")  # wrong: type
jobs.enqueue("bare", {"to": "a"}, countdown=5)  # wrong: name
jobs.enqueue(bare, {"to": "a"})  # wrong: by name only
jobs.enqueue_many([bare])  # wrong: an entry is bare.job(...)
jobs.enqueue_many(["bare"])  # wrong: a pair
zjobs.JobOpts("mail")  # wrong: by keyword only
zjobs.JobOpts(max_attempts="5")  # wrong: type


@jobs.worker(priorty=1)  # wrong: name
def misspelled() -> None: ...


@jobs.worker(retry_strategy=5)  # wrong: type
def five() -> None: ...


@jobs.worker(ack="sync")  # wrong: an enum
def text() -> None: ...


@jobs.cron("@hourly", catch_up="some")  # wrong: no such policy
def some() -> None: ...


# What comes back.
number: int = bare.enqueue(to="a")  # wrong: a Job
result: int = coroutine(1)  # wrong: a coroutine
when: datetime = jobs.get(1).completed_at  # wrong: may be None
jobs.get(1).priority = 5  # wrong: read-only
jobs.get(1).result(5)(6).nothing  # right: anything may have been kept  # noqa: B018
bare.enqueue(to="a").resut  # wrong: name  # noqa: B018


async def calls() -> None:
    _: zjobs.Job = bare.enqueue_async(to="a")  # wrong: not awaited
    await bare.enqueue_async(to=5)  # wrong: type
    await bare.enqueue(to="a")  # wrong: nothing to await
    await jobs.enqueue_async("bare", priority="high")  # wrong: type


# The rest of the supervisor.
zjobs.Supervisor(queues=["mail"])  # wrong: Queue("mail")
zjobs.Supervisor(5)  # wrong: a store or its URL
zjobs.DbStore(5)  # wrong: a URL
zjobs.Store()  # wrong: abstract
zjobs.Supervisor("memory://", {"mail": 5})  # wrong: by keyword only
jobs.list(queu="mail")  # wrong: name
jobs.list(queue=5)  # wrong: type
jobs.cancel_many(state=zjobs.JobState.AVAILABLE)  # wrong: name
jobs.count_by_state(5)  # wrong: type
jobs.get("7")  # wrong: type
jobs.wait(7, "soon")  # wrong: type
jobs.scale_queue("mail")  # wrong: missing
jobs.register_worker(bare)  # wrong: a WorkerDef
jobs.register_cron("n", "@hourly", bare, timezone=5)  # wrong: type
zjobs.Exponential("15")  # wrong: type
zjobs.Exponential(retry_on=5)  # wrong: type
zjobs.Snooze("soon")  # wrong: type
zjobs.Queue("mail", stuck="exit")  # wrong: an enum
