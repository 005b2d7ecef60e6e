"""How each library runs a statement. None is imported: a connection is known by the module of its class."""

import re
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from typing import Any, TypeAlias, TypeVar, cast

from zjobs.connections.steps import Reply, Step, Steps
from zjobs.errors import invalid

__all__ = ["run", "run_async"]

Result = TypeVar("Result")
Runner: TypeAlias = Callable[[Step], Reply]
AsyncRunner: TypeAlias = Callable[[Step], Awaitable[Reply]]

_NUMBERED = re.compile(r"\$(\d+)")


def run(connection: object, steps: Steps[Result], kinds: str) -> Result:
    """Walks through the steps on a connection.

    Raises:
        Invalid: It is no connection that is known, or one of coroutines.
    """
    ask = _runner(connection)
    if ask is None:
        if _async_runner(connection) is not None:
            rule = "must not be one of coroutines here: use the form that ends in _async"
            raise invalid("connection", rule, type(connection).__name__)
        raise invalid("connection", f"must be {kinds}", type(connection).__name__)
    try:
        step = next(steps)
        while True:
            try:
                reply = ask(step)
            except BaseException as error:  # noqa: BLE001 - the steps say what is to be undone, and raise it again
                step = steps.throw(error)
            else:
                step = steps.send(reply)
    except StopIteration as done:
        return cast("Result", done.value)


async def run_async(connection: object, steps: Steps[Result], kinds: str) -> Result:
    """As `run`, on a connection of coroutines; one of threads is used as it is, where its library allows it."""
    ask = _async_runner(connection)
    if ask is None:
        if _runner(connection) is None:
            raise invalid("connection", f"must be {kinds}", type(connection).__name__)
        # It belongs to the thread that uses it, and its statement is over in microseconds.
        return run(connection, steps, kinds)
    try:
        step = next(steps)
        while True:
            try:
                reply = await ask(step)
            except BaseException as error:  # noqa: BLE001 - as in run
                step = steps.throw(error)
            else:
                step = steps.send(reply)
    except StopIteration as done:
        return cast("Result", done.value)


def _library(connection: object) -> str:
    for kind in type(connection).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in {"sqlite3", "aiosqlite", "sqlalchemy", "django", "psycopg", "asyncpg"}:
            return name
    return "django" if hasattr(connection, "settings_dict") else ""


def _runner(connection: Any) -> Runner | None:  # noqa: ANN401 - a class that is not imported
    """How statements are run on a connection of threads."""
    if isinstance(connection, sqlite3.Connection):
        return _sqlite3(connection)
    coroutines = type(connection).__name__.startswith("Async")
    match _library(connection):
        case "sqlalchemy" if not coroutines and "asyncio" not in type(connection).__module__:
            session = hasattr(connection, "get_bind")
            return _sqlalchemy(connection.connection() if session else connection)
        case "django":
            return _django(connection)
        case "psycopg" if not coroutines:
            return _psycopg(connection)
        case _:
            return None


def _async_runner(connection: Any) -> AsyncRunner | None:  # noqa: ANN401 - a class that is not imported
    """How statements are run on a connection of coroutines."""
    match _library(connection):
        case "aiosqlite":
            return _aiosqlite(connection)
        case "sqlalchemy" if "asyncio" in type(connection).__module__:
            return _sqlalchemy_async(connection)
        case "psycopg" if type(connection).__name__.startswith("Async"):
            return _psycopg_async(connection)
        case "asyncpg":
            return _asyncpg(connection)
        case _:
            return None


def _sqlite3(connection: sqlite3.Connection) -> Runner:
    def ask(step: Step) -> Reply:
        # A cursor of our own, with plain rows whatever the connection's factory makes.
        with closing(connection.cursor()) as cursor:
            cursor.row_factory = None
            cursor.execute(step.sql, step.parameters)
            return Reply(cursor.fetchall(), cursor.rowcount, cursor.lastrowid)

    return ask


def _aiosqlite(connection: Any) -> AsyncRunner:  # noqa: ANN401 - a class that is not imported
    async def ask(step: Step) -> Reply:
        async with await connection.execute(step.sql, step.parameters) as cursor:
            rows = [tuple(row) for row in await cursor.fetchall()]
            return Reply(rows, cursor.rowcount, cursor.lastrowid)

    return ask


def _sqlalchemy(connection: Any) -> Runner:  # noqa: ANN401 - a class that is not imported
    styled = _style(connection.dialect)

    def ask(step: Step) -> Reply:
        sql, parameters = styled(step)
        return _fetched(connection.exec_driver_sql(sql, parameters))

    return ask


def _sqlalchemy_async(connection: Any) -> AsyncRunner:  # noqa: ANN401 - a class that is not imported
    async def ask(step: Step) -> Reply:
        inner = await connection.connection() if hasattr(connection, "get_bind") else connection
        sql, parameters = _style(inner.dialect)(step)
        return _fetched(await inner.exec_driver_sql(sql, parameters))

    return ask


def _fetched(done: Any) -> Reply:  # noqa: ANN401 - a class that is not imported
    rows = [tuple(row) for row in done.fetchall()] if done.returns_rows else []
    return Reply(rows, done.rowcount, None if done.returns_rows else getattr(done, "lastrowid", None))


def _django(connection: Any) -> Runner:  # noqa: ANN401 - a class that is not imported
    def ask(step: Step) -> Reply:
        sql, parameters = _as_percent(step)
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            rows = [tuple(row) for row in cursor.fetchall()] if cursor.description else []
            return Reply(rows, cursor.rowcount, getattr(cursor, "lastrowid", None))

    return ask


def _psycopg(connection: Any) -> Runner:  # noqa: ANN401 - a class that is not imported
    from psycopg.rows import tuple_row  # noqa: PLC0415 - the user has imported it

    def ask(step: Step) -> Reply:
        sql, parameters = _as_percent(step)
        with connection.cursor() as cursor:
            cursor.row_factory = tuple_row
            cursor.execute(sql, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
            return Reply(rows, cursor.rowcount, None)

    return ask


def _psycopg_async(connection: Any) -> AsyncRunner:  # noqa: ANN401 - a class that is not imported
    from psycopg.rows import tuple_row  # noqa: PLC0415 - the user has imported it

    async def ask(step: Step) -> Reply:
        sql, parameters = _as_percent(step)
        async with connection.cursor() as cursor:
            cursor.row_factory = tuple_row
            await cursor.execute(sql, parameters)
            rows: list[tuple[Any, ...]] = await cursor.fetchall() if cursor.description else []
            return Reply(rows, cursor.rowcount, None)

    return ask


def _asyncpg(connection: Any) -> AsyncRunner:  # noqa: ANN401 - a class that is not imported
    async def ask(step: Step) -> Reply:
        rows = [tuple(row) for row in await connection.fetch(step.sql, *step.parameters)]
        return Reply(rows, len(rows), None)

    return ask


def _style(dialect: Any) -> Callable[[Step], tuple[str, Any]]:  # noqa: ANN401 - a class that is not imported
    """How the driver under SQLAlchemy writes parameters."""
    return _as_percent if dialect.paramstyle in {"format", "pyformat"} else _as_given


def _as_given(step: Step) -> tuple[str, Any]:
    parameters = step.parameters
    return step.sql, dict(parameters) if isinstance(parameters, Mapping) else tuple(parameters)


def _as_percent(step: Step) -> tuple[str, Any]:
    """``%s`` for each ``$n``; named parameters stay as they are."""
    parameters = step.parameters
    if isinstance(parameters, Mapping):
        return step.sql, dict(parameters)
    order = [int(number) - 1 for number in _NUMBERED.findall(step.sql)]
    return _NUMBERED.sub("%s", step.sql.replace("%", "%%")), tuple(parameters[place] for place in order)
