"""Enqueue on the user's own connection: the job belongs to its transaction.

``jobs.enqueue("send", {...}, connection=conn)`` and ``send.options(connection=conn).enqueue(...)`` insert the job by
the connection, in whatever transaction it is in: the job exists if and when that commits, and not otherwise. Nothing is
begun, committed or rolled back here. Workers find the job at their next look, at most a poll interval after the commit.

For a store in SQLite these are connections to the same file, made by ``sqlite3``, SQLAlchemy (a ``Connection`` or a
``Session``) or Django. None of the libraries is imported here; connections are known by the module of their class.
"""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import timedelta
from os import stat_result
from pathlib import Path
from typing import Any, Protocol, cast

from zjobs import _engine
from zjobs.db import SqliteStore
from zjobs.errors import SchemaMismatch, invalid
from zjobs.job import EPOCH, AttemptError, Job, JobState, Progress
from zjobs.store import Store

__all__ = ["enqueue"]

_SQL = _engine.SQL["sqlite"]
_KINDS = "a sqlite3, SQLAlchemy or Django connection to the file of the store"

Row = tuple[Any, ...]
Parameters = Mapping[str, Any]


class Runner(Protocol):
    """Runs one statement on a connection."""

    def __call__(self, sql: str, parameters: Parameters, /) -> tuple[list[Row], int, int | None]:
        """The rows, how many were changed, and the id of the one inserted."""
        ...


def enqueue(store: Store, connection: object, draft: dict[str, Any], replaces: bool) -> Job:  # noqa: FBT001 - the engine calls it
    """Inserts one job, or finds the one that has its unique key, as *enqueue* does.

    Args:
        store: The supervisor's own store; the connection must lead to the same database.
        connection: The user's.
        draft: The parameters of the statement *enqueue*; the engine has validated them.
        replaces: Whether a live job with the same key is cancelled, rather than returned.

    Returns:
        The job as it will be when the transaction commits.

    Raises:
        Invalid: The store has no transactions of others, or the connection leads elsewhere.
        SchemaMismatch: The database does not have the tables of this version.
    """
    if not isinstance(store, SqliteStore):
        raise invalid("connection", "needs a store in a database, such as sqlite:///jobs.db", type(store).__name__)
    run = _runner(connection)
    _check_file(store, run)
    try:
        return _insert(run, draft, replaces=replaces)
    except Exception as error:
        if "no such table: zjobs_" in str(error):
            message = f"{store.path} does not have the tables of this version of zjobs: run `zjobs migrate`"
            raise SchemaMismatch(message) from error
        raise


def _insert(run: Runner, draft: dict[str, Any], *, replaces: bool) -> Job:
    if draft["unique_key"] is None:
        return _read(run, cast("int", run(_SQL["enqueue"], draft)[2]))
    # Nobody may take the key between the look and the insert, and all or nothing of it stays. A write that changes
    # nothing comes first: where the connection opens its transaction at the first write it does so now, and the
    # savepoint is within it (an outermost one would commit when it is released). Where each statement commits by
    # itself the savepoint is a transaction, which the second such write makes one of a writer.
    run(_SQL["take_key"], {"id": 0})
    run("SAVEPOINT zjobs", {})
    try:
        run(_SQL["take_key"], {"id": 0})
        job = _take_key(run, draft, replaces=replaces)
    except BaseException:
        # Some errors have taken the whole transaction back by themselves; the first one says why.
        with suppress(Exception):
            run("ROLLBACK TO zjobs", {})
            run("RELEASE zjobs", {})
        raise
    run("RELEASE zjobs", {})
    return job


def _take_key(run: Runner, draft: dict[str, Any], *, replaces: bool) -> Job:
    found = run(_SQL["find_key"], {"key": draft["unique_key"]})[0]
    if found and not replaces:
        return _read(run, found[0][0]).replace(conflict=True)
    if found:
        holder = {"id": found[0][0]}
        if not run(_SQL["cancel"], holder | {"now": draft["now"]})[1]:
            run(_SQL["take_key"], holder)
    return _read(run, cast("int", run(_SQL["enqueue"], draft)[2]))


def _read(run: Runner, job_id: int) -> Job:
    """The job as the transaction has it; the columns come in the order of the engine's own reads."""
    row = run(_SQL["get"], {"id": job_id})[0][0]
    (number, state, queue, worker, args, priority, attempt, max_attempts, lease, node, *times) = row[:14]
    (timeout, cancel_requested, crashes, unique_key, tags, meta, errors, result, progress) = row[14:]
    scheduled_at, inserted_at, attempted_at, finished_at = (
        None if at is None else EPOCH + timedelta(microseconds=at) for at in times
    )
    return Job(
        id=number,
        state=JobState(state),
        queue=queue,
        worker=worker,
        args_bytes=args.encode(),
        priority=priority,
        attempt=attempt,
        max_attempts=max_attempts,
        lease=lease,
        node=None if node is None else run(_SQL["node_id"], {"number": node})[0][0][0],
        scheduled_at=cast("Any", scheduled_at),
        inserted_at=cast("Any", inserted_at),
        attempted_at=attempted_at,
        finished_at=finished_at,
        timeout_seconds=None if timeout is None else timeout / 1e9,
        cancel_requested=bool(cancel_requested),
        crashes=crashes,
        unique_key=unique_key,
        tags=json.loads(tags) if tags else (),
        meta_bytes=meta.encode() if meta else None,
        errors=[_error(error) for error in json.loads(errors)] if errors else (),
        result_bytes=result.encode() if result else None,
        progress=Progress(**json.loads(progress)) if progress else None,
    )


def _error(stored: Mapping[str, Any]) -> AttemptError:
    at = EPOCH + timedelta(microseconds=stored["at"])
    return AttemptError(stored["attempt"], at, stored["kind"], stored["message"], stored["traceback"])


def _check_file(store: SqliteStore, run: Runner) -> None:
    """Jobs in another file would never run."""
    files = [row[2] for row in run("PRAGMA database_list", {})[0] if row[1] == "main"]
    path = files[0] if files else ""
    if not path or _identity(Path(path).stat()) != _identity(store.path.stat()):
        raise invalid("connection", f"must lead to the file of the store, {store.path}", path or "a database in memory")


def _identity(found: stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _runner(connection: object) -> Runner:
    """How statements are run on a connection of that kind."""
    if isinstance(connection, sqlite3.Connection):
        return _sqlite3(connection)
    module = type(connection).__module__.partition(".")[0]
    any_connection = cast("Any", connection)
    if module == "sqlalchemy":
        session = hasattr(any_connection, "get_bind")
        return _sqlalchemy(any_connection.connection() if session else any_connection)
    if module == "django" or hasattr(any_connection, "settings_dict"):
        return _django(any_connection)
    raise invalid("connection", f"must be {_KINDS}", type(connection).__name__)


def _sqlite3(connection: sqlite3.Connection) -> Runner:
    def run(sql: str, parameters: Parameters) -> tuple[list[Row], int, int | None]:
        # A cursor of our own, with plain rows whatever the connection's factory makes.
        with closing(connection.cursor()) as cursor:
            cursor.row_factory = None
            cursor.execute(sql, parameters)
            return cursor.fetchall(), cursor.rowcount, cursor.lastrowid

    return run


def _sqlalchemy(connection: Any) -> Runner:  # noqa: ANN401 - a class that is not imported
    def run(sql: str, parameters: Parameters) -> tuple[list[Row], int, int | None]:
        done = connection.exec_driver_sql(sql, dict(parameters))
        rows = [tuple(row) for row in done.fetchall()] if done.returns_rows else []
        return rows, done.rowcount, None if done.returns_rows else done.lastrowid

    return run


def _django(connection: Any) -> Runner:  # noqa: ANN401 - a class that is not imported
    def run(sql: str, parameters: Parameters) -> tuple[list[Row], int, int | None]:
        with connection.cursor() as cursor:
            cursor.execute(sql, dict(parameters))
            rows = [tuple(row) for row in cursor.fetchall()] if cursor.description else []
            return rows, cursor.rowcount, cursor.lastrowid

    return run
