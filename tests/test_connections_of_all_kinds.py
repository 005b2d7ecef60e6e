"""Jobs that belong to a transaction of the user's own: the same on the connections of every library."""

# ruff: noqa: S608 - names of our own

import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiosqlite
import asyncpg
import django
import psycopg
import pytest
import sqlalchemy
from django.conf import settings as django_settings
from django.db.backends.postgresql.base import DatabaseWrapper
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

import zjobs


@dataclass
class Opened:
    """A connection in a transaction, and how that is ended."""

    connection: Any
    commit: Callable[[], Awaitable[None]]
    rollback: Callable[[], Awaitable[None]]


def plainly(call: Callable[[], object]) -> Callable[[], Awaitable[None]]:
    async def wait() -> None:
        call()

    return wait


def opened(connection: Any) -> Opened:
    return Opened(connection, plainly(connection.commit), plainly(connection.rollback))


@asynccontextmanager
async def a_sqlite3(jobs, url):

    connection = sqlite3.connect(jobs.store.path)
    yield opened(connection)
    connection.close()


@asynccontextmanager
async def an_aiosqlite(jobs, url):
    async with aiosqlite.connect(jobs.store.path) as connection:
        yield Opened(connection, connection.commit, connection.rollback)


@asynccontextmanager
async def a_psycopg(jobs, url):
    with psycopg.connect(url) as connection:
        yield opened(connection)


@asynccontextmanager
async def an_async_psycopg(jobs, url):
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield Opened(connection, connection.commit, connection.rollback)


@asynccontextmanager
async def an_asyncpg(jobs, url):
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()

    async def end(how: str) -> None:
        nonlocal transaction
        await getattr(transaction, how)()
        transaction = connection.transaction()
        await transaction.start()

    yield Opened(connection, lambda: end("commit"), lambda: end("rollback"))
    await connection.close()


def alchemy(jobs, url, driver):
    if isinstance(jobs.store, zjobs.SqliteStore):
        return f"sqlite{driver}:///{jobs.store.path}"
    return url.replace("postgresql://", f"postgresql{driver}://")


@asynccontextmanager
async def an_alchemy_connection(jobs, url):
    driver = "" if isinstance(jobs.store, zjobs.SqliteStore) else "+psycopg"
    engine = sqlalchemy.create_engine(alchemy(jobs, url, driver))
    with engine.connect() as connection:
        yield opened(connection)
    engine.dispose()


@asynccontextmanager
async def an_alchemy_session(jobs, url):
    driver = "" if isinstance(jobs.store, zjobs.SqliteStore) else "+psycopg"
    engine = sqlalchemy.create_engine(alchemy(jobs, url, driver))
    with Session(engine) as session:
        yield opened(session)
    engine.dispose()


@asynccontextmanager
async def an_async_alchemy_connection(jobs, url):
    driver = "+aiosqlite" if isinstance(jobs.store, zjobs.SqliteStore) else "+asyncpg"
    engine = create_async_engine(alchemy(jobs, url, driver))
    async with engine.connect() as connection:
        yield Opened(connection, connection.commit, connection.rollback)
    await engine.dispose()


@asynccontextmanager
async def an_async_alchemy_session(jobs, url):
    driver = "+aiosqlite" if isinstance(jobs.store, zjobs.SqliteStore) else "+psycopg"
    engine = create_async_engine(alchemy(jobs, url, driver))
    async with AsyncSession(engine) as session:
        yield Opened(session, session.commit, session.rollback)
    await engine.dispose()


@asynccontextmanager
async def a_django(jobs, url):
    if not django_settings.configured:
        django_settings.configure()
        django.setup()
    parts = psycopg.conninfo.conninfo_to_dict(url)
    settings = {
        "NAME": parts["dbname"], "USER": parts["user"], "HOST": parts["host"], "PORT": parts["port"], "PASSWORD": "",
        "OPTIONS": {}, "TIME_ZONE": None, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False, "AUTOCOMMIT": False,
        "ATOMIC_REQUESTS": False,
    }  # fmt: skip
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # each call here is over in a moment
    connection = DatabaseWrapper(settings)
    connection.inc_thread_sharing()
    connection.connect()
    connection.set_autocommit(False)
    yield opened(connection)
    connection.close()


SQLITE = [a_sqlite3, an_aiosqlite]
POSTGRES = [a_psycopg, an_async_psycopg, an_asyncpg, a_django]
BOTH = [an_alchemy_connection, an_alchemy_session, an_async_alchemy_connection, an_async_alchemy_session]
KINDS = [(store, kind) for store, kinds in (("sqlite", SQLITE), ("postgres", POSTGRES)) for kind in [*kinds, *BOTH]]


@pytest.fixture
def url(database_url):
    return database_url


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]}-{kind[1].__name__}")
async def one(request, tmp_path):
    store, kind = request.param
    if store == "sqlite":
        jobs, url = zjobs.Supervisor(f"sqlite:///{tmp_path / 'jobs.db'}"), ""
    else:
        url = request.getfixturevalue("database_url")
        jobs = zjobs.Supervisor(request.getfixturevalue("postgres_url"))
    async with AsyncExitStack() as stack:
        yield jobs, await stack.enter_async_context(kind(jobs, url))


async def test_jobs_exist_when_the_transaction_commits_and_not_before(one):
    jobs, opened = one
    first = await jobs.enqueue_async("w", {"n": 1}, connection=opened.connection, priority=-2, tags=("a", "b"))
    rest = await jobs.enqueue_many_async([("w", {"n": n}) for n in (2, 3)], connection=opened.connection)
    assert jobs.list() == []
    await opened.commit()
    assert [(job.args["n"], job.tags) for job in jobs.list()] == [(1, ("a", "b")), (2, ()), (3, ())]
    assert [job.id for job in jobs.list()] == [first.id, *(job.id for job in rest)]
    assert jobs.get(first).scheduled_at == first.scheduled_at


async def test_jobs_are_gone_with_their_transaction(one):
    jobs, opened = one
    await jobs.enqueue_many_async([("w", {"n": n}) for n in range(3)], connection=opened.connection)
    await opened.rollback()
    assert jobs.list() == []


async def test_keys_that_are_taken_are_met_and_replaced_in_the_order_of_the_list(one):
    jobs, opened = one

    @jobs.worker(unique_by=("args",))
    def send(to: str) -> None: ...

    taken = send.enqueue(to="ann")
    entries = [send.job(to="ann"), send.job(to="bob"), send.job(to="bob")]
    met, new, again = await jobs.enqueue_many_async(entries, connection=opened.connection)
    assert (met.id, met.conflict) == (taken.id, True)
    assert (new.conflict, again.id, again.conflict) == (False, new.id, True)
    strategy = zjobs.UniqueStrategy.CANCEL_EXISTING
    other = await send.options(unique_strategy=strategy, connection=opened.connection).enqueue_async(to="ann")
    assert not other.conflict
    await opened.commit()
    assert jobs.get(taken).state is zjobs.JobState.CANCELLED
    assert [job.id for job in jobs.list(states=[zjobs.JobState.AVAILABLE])] == [new.id, other.id]


async def test_every_part_of_a_job_comes_back(one):
    jobs, opened = one
    options = {
        "queue": "mail", "priority": 7, "max_attempts": 3, "schedule_in": 3600.5, "timeout_seconds": 1.5,
        "unique_key": "k", "tags": ("é", "%s"), "meta": {"%": "100 %", "n": 2**53 + 1},
    }  # fmt: skip
    args = {"text": "ü $1 %s :name", "n": [1, None]}
    told = await jobs.enqueue_async("w", args, connection=opened.connection, **options)
    await opened.commit()
    found = jobs.get(told)
    for part in ("state", "queue", "worker", "args", "priority", "max_attempts", "scheduled_at", "inserted_at"):
        assert getattr(told, part) == getattr(found, part), part
    for part in ("timeout_seconds", "unique_key", "meta", "tags", "attempt", "errors", "node"):
        assert getattr(told, part) == getattr(found, part), part
    assert (found.args, found.meta, found.timeout_seconds) == (args, options["meta"], 1.5)
    assert found.state is zjobs.JobState.SCHEDULED
    assert found.scheduled_at - found.inserted_at == timedelta(seconds=3600.5)


async def test_a_moment_and_no_limit_are_kept(one):
    jobs, opened = one
    noon = datetime(2050, 1, 1, 12, 0, 0, 5, tzinfo=UTC)
    told = await jobs.enqueue_async("w", connection=opened.connection, scheduled_at=noon, timeout_seconds=None)
    await opened.commit()
    for job in (told, jobs.get(told)):
        assert (job.scheduled_at, job.timeout_seconds, job.args, job.meta) == (noon, None, {}, {})


async def test_no_jobs_are_none(one):
    jobs, opened = one
    assert await jobs.enqueue_many_async([], connection=opened.connection) == []


async def test_nothing_is_enqueued_when_one_entry_is_wrong(one):
    jobs, opened = one
    with pytest.raises(zjobs.Invalid):
        await jobs.enqueue_many_async([("w", {}), ("no name", {})], connection=opened.connection)
    await opened.commit()
    assert jobs.list() == []


async def test_a_job_of_a_transaction_runs_once_it_has_committed(one):
    jobs, opened = one

    @jobs.worker(keep_result=True)
    def double(n: int) -> int:
        return 2 * n

    async with jobs:
        job = await double.options(connection=opened.connection).enqueue_async(21)
        await opened.commit()
        assert await jobs.result_async(job, 30) == 42


async def test_a_connection_of_coroutines_is_refused_where_nothing_can_be_awaited(one):
    jobs, opened = one
    if opened.commit.__name__ == "wait":
        # A connection of threads serves both forms.
        assert jobs.enqueue_many([("w", {})], connection=opened.connection)[0].id
        return
    with pytest.raises(zjobs.Invalid, match="use the form that ends in _async"):
        jobs.enqueue("w", connection=opened.connection)
    with pytest.raises(zjobs.Invalid, match="use the form that ends in _async"):
        jobs.enqueue_many([("w", {})], connection=opened.connection)


async def test_a_connection_to_another_database_is_refused(database_url, postgres_url):
    jobs = zjobs.Supervisor(postgres_url)
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS elsewhere")
        admin.execute("CREATE DATABASE elsewhere")
    elsewhere = database_url.rsplit("/", 1)[0] + "/elsewhere"
    with psycopg.connect(elsewhere) as connection:
        with pytest.raises(zjobs.SchemaMismatch, match="zjobs migrate"):
            jobs.enqueue("w", connection=connection)
        connection.rollback()
        zjobs.Supervisor(f"{elsewhere}?schema={jobs.store.schema}")
        with pytest.raises(zjobs.Invalid, match="must lead to the database of the store"):
            jobs.enqueue("w", connection=connection)
    assert jobs.list() == []


def test_what_is_no_connection_is_refused_with_those_that_are(postgres_url):
    with pytest.raises(zjobs.Invalid, match="connection must be a psycopg, asyncpg, SQLAlchemy or Django connection"):
        zjobs.Supervisor(postgres_url).enqueue("w", connection=postgres_url)


def test_an_error_of_the_drivers_own_stays_one(database_url, postgres_url):
    jobs = zjobs.Supervisor(postgres_url)
    with psycopg.connect(database_url) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1 / 0")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            jobs.enqueue("w", connection=connection)
        connection.rollback()
        jobs.enqueue("w", connection=connection)
    assert len(jobs.list()) == 1


def test_any_language_can_enqueue_by_the_function(database_url, postgres_url):
    jobs = zjobs.Supervisor(postgres_url)

    @jobs.worker(keep_result=True)
    def greet(name: str) -> str:
        return f"hello {name}"

    schema = jobs.store.schema
    with psycopg.connect(database_url) as connection:
        row = connection.execute(f"SELECT * FROM {schema}.enqueue('greet', '{{\"name\": \"ann\"}}')").fetchone()
        late = f"SELECT id FROM {schema}.enqueue('greet', delay => '1 hour', unique_key => 'k', tags => '{{a}}')"
        [late_id] = connection.execute(late).fetchone()
        [again, conflict] = connection.execute(f"SELECT * FROM {schema}.enqueue('greet', unique_key => 'k')").fetchone()
    assert (again, conflict) == (late_id, True)
    assert jobs.get(late_id).state is zjobs.JobState.SCHEDULED
    with jobs:
        assert jobs.result(row[0], timeout=30) == "hello ann"


# --- the end of an attempt in the handler's own transaction ---


@pytest.fixture(params=["sqlite", "postgres"])
def both(request, tmp_path):
    """Supervisors on both databases, and how a handler opens a connection and a table of its own."""
    if request.param == "sqlite":
        jobs = zjobs.Supervisor(f"sqlite:///{tmp_path / 'jobs.db'}")

        def connect():
            return closing(sqlite3.connect(tmp_path / "jobs.db", timeout=30))

        name = "effects"
    else:
        url = request.getfixturevalue("database_url")
        jobs = zjobs.Supervisor(request.getfixturevalue("postgres_url"))

        def connect():
            return psycopg.connect(url)

        name = f"{jobs.store.schema}.effects"
    with connect() as connection:
        connection.execute(f"CREATE TABLE {name} (n integer)")
        connection.commit()
    yield jobs, connect, name
    if jobs.is_running:
        jobs.stop(5)


def effects(connect, name):
    with connect() as connection:
        return [row[0] for row in connection.execute(f"SELECT n FROM {name} ORDER BY n").fetchall()]


def test_what_a_handler_writes_and_that_its_job_is_completed_are_committed_together(both):
    jobs, connect, name = both
    ended = []
    jobs.telemetry.attach(lambda event: ended.append(type(event).__name__))

    @jobs.worker(max_attempts=3, retry_strategy=zjobs.Constant(0.01))
    def act(ctx: zjobs.JobContext, n: int) -> None:
        with connect() as connection:
            connection.execute(f"INSERT INTO {name} VALUES ({n})")
            ctx.complete(connection=connection, result={"done": n})
            if ctx.attempt == 1:
                connection.rollback()
                raise ValueError("not yet")
            connection.commit()

    job = act.enqueue(n=5)
    with jobs:
        done = jobs.wait(job, 30)
    assert (done.state, done.attempt, done.result) == (zjobs.JobState.COMPLETED, 2, {"done": 5})
    assert effects(connect, name) == [5]
    assert ended.count("JobCompleted") == 1
    assert "LeaseLost" not in ended


def test_an_attempt_that_was_completed_and_never_committed_has_failed(both):
    jobs, connect, name = both

    @jobs.worker(max_attempts=2, retry_strategy=zjobs.Constant(0.01))
    def act(ctx: zjobs.JobContext) -> None:
        with connect() as connection:
            connection.execute(f"INSERT INTO {name} VALUES ({ctx.attempt})")
            ctx.complete(connection=connection)
            if ctx.attempt == 1:
                connection.rollback()
            connection.commit()

    job = act.enqueue()
    with jobs:
        done = jobs.wait(job, 30)
    assert (done.state, done.attempt) == (zjobs.JobState.COMPLETED, 2)
    assert [error.kind for error in done.errors] == ["NotCommitted"]
    assert effects(connect, name) == [2]


def test_what_a_handler_raises_after_its_commit_changes_nothing(both):
    jobs, connect, name = both

    @jobs.worker
    def act(ctx: zjobs.JobContext) -> None:
        with connect() as connection:
            connection.execute(f"INSERT INTO {name} VALUES (1)")
            ctx.complete(connection=connection)
            connection.commit()
        raise ValueError("too late")

    job = act.enqueue()
    with jobs:
        assert jobs.wait(job, 30).state is zjobs.JobState.COMPLETED
    assert (jobs.get(job).errors, effects(connect, name)) == ((), [1])


def test_an_attempt_that_has_lost_its_lease_cannot_complete(both):
    jobs, connect, name = both
    told = []

    @jobs.worker
    def act(ctx: zjobs.JobContext) -> None:
        jobs.cancel(ctx.job)
        with connect() as connection:
            connection.execute(f"INSERT INTO {name} VALUES (1)")
            try:
                ctx.complete(connection=connection)
            except zjobs.LeaseLost as error:
                told.append(str(error))
                connection.rollback()

    job = act.enqueue()
    with jobs:
        assert jobs.wait(job, 30).state is zjobs.JobState.CANCELLED
    assert "roll back" in told[0]
    assert effects(connect, name) == []


async def test_a_coroutine_completes_its_job_on_a_connection_of_coroutines_once_that_commits(
    database_url, postgres_url
):
    jobs = zjobs.Supervisor(postgres_url)

    @jobs.worker(max_attempts=2, retry_strategy=zjobs.Constant(0.01))
    async def act(ctx: zjobs.JobContext) -> None:
        connection = await asyncpg.connect(database_url)
        transaction = connection.transaction()
        await transaction.start()
        await ctx.complete_async(connection=connection, result=[ctx.attempt])
        await (transaction.rollback() if ctx.attempt == 1 else transaction.commit())
        await connection.close()

    async with jobs:
        job = await act.enqueue_async()
        assert await jobs.result_async(job, 30) == [2]
    assert [error.kind for error in jobs.get(job).errors] == ["NotCommitted"]
