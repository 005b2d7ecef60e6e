"""Enqueue on the user's own connection: the job belongs to its transaction.

``jobs.enqueue("send", {...}, connection=conn)`` and ``send.options(connection=conn).enqueue(...)`` insert the job by
the connection, in whatever transaction it is in: the job exists if and when that commits, and not otherwise. So do
``jobs.enqueue_many([...], connection=conn)`` and, on the connections of coroutines, the forms that end in ``_async``.
``ctx.complete(connection=conn)`` ends the attempt that a handler is in together with what it has written. Nothing is
begun, committed or rolled back here. Workers find the job at their next look, at most a poll interval after the commit.

For a store in SQLite these are connections to the same file, made by ``sqlite3``, ``aiosqlite``, SQLAlchemy or Django;
for one in PostgreSQL, connections to the same database made by psycopg 3, asyncpg, SQLAlchemy or Django. None of the
libraries is imported here; connections are known by the module of their class.
"""

from collections.abc import Sequence

from zjobs.codec import dump
from zjobs.connections import postgres, sqlite
from zjobs.connections.drivers import run, run_async
from zjobs.connections.steps import Draft, Steps
from zjobs.db import PostgresStore, SqliteStore
from zjobs.errors import SchemaMismatch, invalid
from zjobs.job import Job, JobContext
from zjobs.store import Store

__all__ = ["complete", "complete_async", "enqueue", "enqueue_async"]


def enqueue(store: Store, connection: object, drafts: Sequence[Draft]) -> list[Job]:
    """Inserts jobs, or finds those that have their unique keys, as *enqueue* does: all or none, in their order.

    Args:
        store: The supervisor's own store; the connection must lead to the same database.
        connection: The user's.
        drafts: The jobs, as the engine has validated them.

    Returns:
        The jobs as they will be when the transaction commits.

    Raises:
        Invalid: The store has no transactions of others, or the connection leads elsewhere.
        SchemaMismatch: The database does not have the tables of this version.
    """
    with _Teaching(store):
        return run(connection, _enqueue(store, drafts), _kinds(store))


async def enqueue_async(store: Store, connection: object, drafts: Sequence[Draft]) -> list[Job]:
    """As `enqueue`, on a connection of coroutines."""
    with _Teaching(store):
        return await run_async(connection, _enqueue(store, drafts), _kinds(store))


def complete(ctx: JobContext, connection: object, result: object) -> None:
    """Ends the attempt that a handler is in, in its connection's transaction; see `JobContext.complete`.

    Args:
        ctx: The handler's.
        connection: The handler's own.
        result: What the job is to keep, or ``None``.

    Raises:
        Invalid: The store has no transactions of others, or the connection leads elsewhere.
        LeaseLost: The job is not this attempt's any more, or somebody wants it cancelled: roll back.
    """
    store = _store_of(ctx)
    with _Teaching(store):
        run(connection, _complete(store, ctx.job, _text(result)), _kinds(store))
    ctx._hand_over()  # noqa: SLF001 - the engine must look at the row


async def complete_async(ctx: JobContext, connection: object, result: object) -> None:
    """As `complete`, on a connection of coroutines."""
    store = _store_of(ctx)
    with _Teaching(store):
        await run_async(connection, _complete(store, ctx.job, _text(result)), _kinds(store))
    ctx._hand_over()  # noqa: SLF001 - as in complete


def _store_of(ctx: JobContext) -> Store:
    return ctx._store  # noqa: SLF001 - nobody else needs it


def _text(result: object) -> str | None:
    return None if result is None else dump("result", result).decode()


def _enqueue(store: Store, drafts: Sequence[Draft]) -> Steps[list[Job]]:
    if isinstance(store, SqliteStore):
        return sqlite.enqueue(store, drafts)
    if isinstance(store, PostgresStore):
        return postgres.enqueue(store, drafts)
    raise _no_database(store)


def _complete(store: Store, job: Job, result: str | None) -> Steps[None]:
    if isinstance(store, SqliteStore):
        return sqlite.complete(store, job, result)
    if isinstance(store, PostgresStore):
        return postgres.complete(store, job, result)
    raise _no_database(store)


def _kinds(store: Store) -> str:
    if isinstance(store, SqliteStore):
        return "a sqlite3, aiosqlite, SQLAlchemy or Django connection to the file of the store"
    return "a psycopg, asyncpg, SQLAlchemy or Django connection to the database of the store"


def _no_database(store: Store) -> Exception:
    return invalid("connection", "needs a store in a database, such as sqlite:///jobs.db", type(store).__name__)


class _Teaching:
    """Tells of missing tables in the words of this library; every other error is the driver's own."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if not isinstance(error, Exception):
            return
        text = str(error)
        place = getattr(self._store, "path", None) or getattr(self._store, "place", "the database")
        missing = "no such table: zjobs_" in text or (
            "does not exist" in text and isinstance(self._store, PostgresStore)
        )
        if missing:
            message = f"{place} does not have the tables of this version of zjobs: run `zjobs migrate`"
            raise SchemaMismatch(message) from error
