"""What can be seen of a store from outside: rows that are final, and how large it is."""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psycopg

from crash.evidence import Row

__all__ = ["Final", "MemoryView", "PostgresView", "Size", "SqliteView", "Unreachable", "View"]

Unreachable = (OSError, sqlite3.OperationalError, psycopg.OperationalError)
MARGIN = 10.0
"""Seconds that a look goes back beyond the one before it: rows are not seen in the order of their times."""
COLUMNS = "id, state, worker, args ->> 'token', attempt, lease, crashes, unique_key, errors"
COUNTS = "SELECT (SELECT count(*) FROM {table} WHERE state = 0), (SELECT count(*) FROM {table} WHERE state = 1)"
MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Final:
    """A job, and how long it waited from due to claimed, in seconds."""

    row: Row
    waited: float | None


@dataclass(frozen=True, slots=True)
class Size:
    """How large a store is; what it does not have is ``None``."""

    table: float | None = None
    """MiB of the table with its indices, or of the file."""
    wal: float | None = None
    """MiB of the log."""
    dead: int | None = None
    """Rows that wait for a vacuum."""
    connections: int | None = None
    """That the server has from everybody."""


class View(Protocol):
    """One store, looked at from another process than those that use it."""

    def newly_final(self) -> Iterator[Final]:
        """What has ended since the last call; some of it twice."""
        ...

    def final(self, ids: Iterable[int]) -> Iterator[Final]:
        """Those of these jobs that have ended."""
        ...

    def rows(self) -> Iterator[Final]:
        """All jobs that are there, in whatever state."""
        ...

    def of(self, tokens: Iterable[str]) -> Iterator[Final]:
        """All jobs of these enqueues that are there, in whatever state."""
        ...

    def size(self) -> Size: ...

    def lengths(self) -> tuple[int | None, int | None]:
        """How many jobs wait and how many run."""
        ...

    def unsettled(self) -> int:
        """How many jobs are not final."""
        ...

    def damage(self) -> str:
        """What the store says about itself; ``ok`` when nothing is wrong."""
        ...


def final(columns: tuple) -> Final:
    *row, errors, waited = columns
    kinds = tuple(error["kind"] for error in json.loads(errors or "[]"))
    return Final(Row(*row, errors=kinds), waited if row[4] == 1 else None)


class SqliteView:
    """The store in a file, by the standard library's SQLite."""

    _WAITED = "(attempted_at - scheduled_at) / 1e6"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._since = 0.0

    def _ask(self, condition: str, *values: object) -> Iterator[tuple]:
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=5)
        with contextlib.closing(connection):
            yield from connection.execute(
                f"SELECT {COLUMNS}, {self._WAITED}, finished_at / 1e6 FROM zjobs_jobs WHERE {condition}",  # noqa: S608 - our own words
                values,
            ).fetchall()

    def newly_final(self) -> Iterator[Final]:
        last = self._since
        for row in self._ask("state IN (2, 4, 5) AND finished_at > ?", int((last - MARGIN) * 1e6)):
            self._since = max(self._since, row[-1])
            yield final(row[:-1])

    def final(self, ids: Iterable[int]) -> Iterator[Final]:
        chosen = "state IN (2, 4, 5) AND id IN (SELECT value FROM json_each(?))"
        return (final(row[:-1]) for row in self._ask(chosen, json.dumps(list(ids))))

    def rows(self) -> Iterator[Final]:
        return (final(row[:-1]) for row in self._ask("1"))

    def of(self, tokens: Iterable[str]) -> Iterator[Final]:
        chosen = "args ->> 'token' IN (SELECT value FROM json_each(?))"
        return (final(row[:-1]) for row in self._ask(chosen, json.dumps(list(tokens))))

    def size(self) -> Size:
        wal = self._path.with_name(f"{self._path.name}-wal")
        return Size(self._path.stat().st_size / MEBIBYTE, wal.stat().st_size / MEBIBYTE if wal.exists() else 0.0)

    def lengths(self) -> tuple[int | None, int | None]:
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=5)
        with contextlib.closing(connection):
            return connection.execute(COUNTS.format(table="zjobs_jobs")).fetchone()

    def unsettled(self) -> int:
        return sum(1 for _ in self._ask("state NOT IN (2, 4, 5)"))

    def damage(self) -> str:
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
        with contextlib.closing(connection):
            return connection.execute("PRAGMA integrity_check").fetchone()[0]


class PostgresView:
    """The store at a server, by psycopg."""

    _WAITED = "extract(epoch FROM attempted_at - scheduled_at)::float8"
    _COLUMNS = COLUMNS.replace("errors", "errors::text")
    _SIZE = """
        SELECT pg_total_relation_size('zjobs.jobs'), (SELECT sum(size) FROM pg_ls_waldir())::float8,
               (SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = 'zjobs.jobs'::regclass),
               (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._since = 0.0

    def _ask(self, condition: str, *values: object) -> Iterator[tuple]:
        with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection:
            yield from connection.execute(
                f"SELECT {self._COLUMNS}, {self._WAITED}, extract(epoch FROM finished_at)::float8"  # noqa: S608 - our own words
                f" FROM zjobs.jobs WHERE {condition}",
                values,
            ).fetchall()

    def newly_final(self) -> Iterator[Final]:
        since = max(0.0, self._since - MARGIN)
        for row in self._ask("state IN (2, 4, 5) AND finished_at > to_timestamp(%s)", since):
            self._since = max(self._since, row[-1])
            yield final(row[:-1])

    def final(self, ids: Iterable[int]) -> Iterator[Final]:
        return (final(row[:-1]) for row in self._ask("state IN (2, 4, 5) AND id = ANY(%s)", list(ids)))

    def rows(self) -> Iterator[Final]:
        return (final(row[:-1]) for row in self._ask("true"))

    def of(self, tokens: Iterable[str]) -> Iterator[Final]:
        return (final(row[:-1]) for row in self._ask("args ->> 'token' = ANY(%s)", list(tokens)))

    def size(self) -> Size:
        with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection:
            table, wal, dead, connections = connection.execute(self._SIZE).fetchone()
        return Size(table / MEBIBYTE, wal / MEBIBYTE, dead, connections)

    def lengths(self) -> tuple[int | None, int | None]:
        with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection:
            return connection.execute(COUNTS.format(table="zjobs.jobs")).fetchone()

    def unsettled(self) -> int:
        return sum(1 for _ in self._ask("state NOT IN (2, 4, 5)"))

    def damage(self) -> str:
        return "ok"


class MemoryView:
    """The store in a process, which writes down each job that has ended, and in the end what is left."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def newly_final(self) -> Iterator[Final]:
        if not self._path.exists():
            return
        with self._path.open("rb") as lines:
            lines.seek(self._at)
            for line in lines:
                if line.endswith(b"\n"):
                    self._at += len(line)
                    *row, errors, waited = json.loads(line)
                    yield Final(Row(*row, errors=tuple(errors)), waited)

    def final(self, ids: Iterable[int]) -> Iterator[Final]:
        return iter(())

    def rows(self) -> Iterator[Final]:
        return self.newly_final()

    def of(self, tokens: Iterable[str]) -> Iterator[Final]:
        return iter(())  # its process alone can say; a job that comes later is found to have run for nobody

    def size(self) -> Size:
        return Size()

    def lengths(self) -> tuple[int | None, int | None]:
        return None, None

    def unsettled(self) -> int:
        return 0  # its process waits for that itself

    def damage(self) -> str:
        return "ok"
