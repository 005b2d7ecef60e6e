"""Stores that last: jobs in a SQLite file or in PostgreSQL; how a store is found by its URL; the steps of a schema."""

import re
from abc import ABC
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Self, cast, final
from urllib.parse import parse_qsl, unquote

from zjobs import _engine
from zjobs.errors import invalid, shown
from zjobs.store import MemoryStore, Store

__all__ = ["DbStore", "Migration", "PostgresStore", "SqliteStore", "migrate", "migrations", "open_store"]

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_RULE = "must be a Store, 'memory://', 'sqlite:///jobs.db' or 'postgresql://user@host/database'"
# What SQLAlchemy and others call a database by its driver means the same database.
_SCHEMES = {
    "memory": "memory",
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "postgresql+psycopg": "postgresql",
    "postgresql+asyncpg": "postgresql",
}
_SYNCHRONOUS = ("full", "normal")
_MODES = ("rw", "ro")


if TYPE_CHECKING:

    class _Opened(_engine.NativeStore, Store):
        """What `DbStore` opens has every verb, of which type checkers must hear to let anybody call it."""

        __slots__ = ()
else:
    _Opened = Store


class DbStore(_Opened, ABC):
    """Jobs in a database: they survive the process.

    ``DbStore("sqlite:///jobs.db")`` or ``DbStore("postgresql://user@host/database")`` opens what the URL names;
    `SqliteStore` and `PostgresStore` take its parts.

    Args:
        url: ``sqlite:///relative.db`` or ``sqlite:////absolute.db``, with ``?synchronous=normal`` for commits that a
            power loss may take back, or ``?mode=ro`` to read only, as on a disk that cannot be written. Or
            ``postgresql://user@host/database`` with the options that libpq knows, and ``?schema=name``.

    Raises:
        Invalid: The URL names no database that zjobs works with. The message never repeats it: it may hold a password.
        StoreUnavailable: The database cannot be opened.
        SchemaMismatch: It has the tables of another version.
    """

    __slots__ = ()

    def __new__(cls, url: str) -> Self:
        """Opens the store that the URL names."""
        store = open_store(url)
        if not isinstance(store, DbStore):
            raise invalid("url", "must name a database, such as sqlite:///jobs.db", "memory://")
        return cast("Self", store)


@final
class SqliteStore(_engine.SqliteStore, DbStore):
    """Jobs in one SQLite file, shared by any number of processes of this machine.

    Args:
        path: The file; it is created with its tables when it is missing, readable by its owner only.
        synchronous: ``"full"``: what was enqueued or finished survives a power loss. ``"normal"``: it survives the end
            of the process, however sudden; a power loss may take back the last moments, and never damages the file.
        create: Whether a missing file is created.
        read_only: Only read, also where nothing can be written, as on a read-only disk. Whatever would change something
            raises `StoreUnavailable`.
        busy_timeout_seconds: How long a call waits for another program that holds the write lock; ``None`` is 15.
        clock: A `zjobs.testing.ManualClock`, for tests that own time; nodes are then gone when their lease has ended.

    Raises:
        StoreUnavailable: The file cannot be opened, is damaged, or is no SQLite database.
        SchemaMismatch: It has the tables of another version of zjobs.
        Invalid: The path is no file, or on a network file system.
    """

    __slots__ = ()


@final
class PostgresStore(_engine.PostgresStore, DbStore):
    """Jobs in a database of PostgreSQL (15 or newer), shared by any number of processes on any number of machines.

    Args:
        url: ``postgresql://user:password@host:5432/database?option=value``, as libpq takes it: several hosts with
            ``target_session_attrs``, each ``sslmode``. What it leaves out is taken from the ``PG*`` variables and
            ``~/.pgpass``.
        schema: The schema of the tables, ``zjobs`` unless told otherwise: several stores can share a database.
        create: Whether a database without the tables gets them.
        call_timeout_seconds: How long a call may take before it fails; ``None`` is 15. The tables are made without that
            limit.

    Raises:
        StoreUnavailable: The server cannot be reached, or lets nobody in.
        SchemaMismatch: The database has the tables of another version of zjobs, or the encoding SQL_ASCII.
        Invalid: The URL or the name of the schema breaks a rule. The message never repeats the URL.
    """

    __slots__ = ()


@final
@dataclass(frozen=True, slots=True)
class Migration:
    """One step of a schema."""

    version: int
    """From 1, without gaps."""
    name: str
    """What it is about."""
    sql: str
    """Its statements."""
    applied_at: datetime | None
    """When the database got it, in UTC; ``None``: it has not."""


def open_store(store: str | Store, *, create: bool = True) -> Store:
    """The store itself, or the one that a URL names.

    Args:
        store: A `Store`, ``memory://`` (each one is new), or a URL of `DbStore`.
        create: Whether a database that is not there, or has no tables, is made.

    Raises:
        Invalid: It is none of them. The message never repeats a URL: it may hold a password.
    """
    if isinstance(store, Store):
        return store
    scheme, rest = _split("store", store)
    if scheme == "sqlite":
        file = _file("store", rest)
        return SqliteStore(file.path, synchronous=file.synchronous, create=create, read_only=file.read_only)
    if scheme == "postgresql":
        server = _server(rest)
        return PostgresStore(server.url, schema=server.schema, create=create)
    if rest:
        raise invalid("store", "must be 'memory://' with nothing after it; each one is a new store", "more than that")
    return MemoryStore()


def migrations(url: str) -> list[Migration]:
    """The steps of this version's schema, and when the database of the URL got each of them.

    Raises:
        Invalid: The URL names no database.
        SchemaMismatch: The database has steps that this version does not know.
        StoreUnavailable: The database cannot be read.
    """
    scheme, rest = _database(url)
    if scheme == "postgresql":
        server = _server(rest)
        return _migrations(_engine.postgres_migrations(server.url, server.schema))
    return _migrations(_engine.sqlite_migrations(_file("url", rest).path))


def migrate(url: str) -> list[Migration]:
    """Brings the database of the URL up to this version's schema; a missing file is created.

    Returns:
        The steps that were applied now. Several processes may do it at once: each step is applied once.

    Raises:
        Invalid: The URL names no database.
        SchemaMismatch: The database has steps that this version does not know; nothing was changed.
        StoreUnavailable: The database cannot be written.
    """
    scheme, rest = _database(url)
    if scheme == "postgresql":
        server = _server(rest)
        return _migrations(_engine.postgres_migrate(server.url, server.schema))
    return _migrations(_engine.sqlite_migrate(_file("url", rest).path))


def _migrations(rows: Iterable[tuple[int, str, str, datetime | None]]) -> list[Migration]:
    return [Migration(*row) for row in rows]


def _database(url: str) -> tuple[str, str]:
    scheme, rest = _split("url", url)
    if scheme == "memory":
        raise invalid("url", "must name a database, such as sqlite:///jobs.db", f"{scheme}://...")
    return scheme, rest


def _split(field: str, url: object) -> tuple[str, str]:
    """The scheme, which is one of ours, and what follows it."""
    if not isinstance(url, str):
        raise invalid(field, _RULE, type(url).__name__)
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise invalid(field, _RULE, "text that is no URL")
    name = scheme[1].lower()
    if name not in _SCHEMES:
        raise invalid(field, f"{_RULE}: there is no store for {shown(name)}", f"{name}://...")
    return _SCHEMES[name], url[scheme.end() :]


@final
@dataclass(frozen=True, slots=True)
class _File:
    path: str
    synchronous: str
    read_only: bool


def _file(field: str, rest: str) -> _File:
    """What follows ``sqlite://``: the path and the options."""
    path, _, query = rest.partition("?")
    if not path.startswith("/") or path == "/" or path.endswith("/"):
        rule = "must be sqlite:///relative.db or sqlite:////absolute.db: three slashes, then the path of a file"
        raise invalid(field, rule, "sqlite://...")
    path = unquote(path[1:])
    if path.startswith(":memory:"):
        raise invalid(field, "must name a file: for jobs in memory use memory://", f"sqlite:///{path}")
    options = dict(parse_qsl(query, keep_blank_values=True))
    synchronous = options.pop("synchronous", "full")
    mode = options.pop("mode", "rw")
    if options or synchronous not in _SYNCHRONOUS or mode not in _MODES:
        rule = "takes the options ?synchronous=full or normal, and ?mode=rw or ro"
        raise invalid(field, rule, f"?{query}")
    return _File(path, synchronous, mode == "ro")


@final
@dataclass(frozen=True, slots=True)
class _Server:
    url: str
    schema: str | None


def _server(rest: str) -> _Server:
    """What follows ``postgresql://``: all but the schema is the engine's."""
    base, _, query = rest.partition("?")
    schema = None
    pairs: list[str] = []
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        if name == "schema":
            schema = unquote(value)
        else:
            pairs.append(pair)
    return _Server(f"postgresql://{base}" + (f"?{'&'.join(pairs)}" if pairs else ""), schema)
