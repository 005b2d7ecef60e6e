"""The second record: triggers write down every change of a row, in the transaction that makes it.

`install` puts them into the database of a test; `read` gives what they wrote, in the order in which it was written. On
SQLite that is the order of the commits, since one writes at a time. On PostgreSQL it is exact for each job and for each
unique key: whoever changes a row, or takes a key, waits until the one before has committed.

A run of hours has that of one job in so many, reads it while it grows, and has it taken away behind it.
"""

import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

__all__ = ["Change", "forget", "install", "read"]

# Each column: its name, and what it is of the old and of the new row.
_PAIRS: Final = ("state", "lease", "attempt", "node", "crashes", "cancel_requested", "live_key")
_MICROS: Final = "(EXTRACT(epoch FROM $1) * 1000000)::bigint"


@dataclass(frozen=True, slots=True)
class Side:
    """A row of a job, before or after a change."""

    state: int
    lease: int
    attempt: int
    node: int | None
    crashes: int
    cancel: bool
    key: str | None
    """The unique key, as long as it holds it."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one row.

    ``what`` is ``job``, or ``node`` (its standing), ``queue`` (whether it is paused), ``tick`` (of a schedule). Times
    are microseconds since 1970 by the store's clock, ``at`` is when the change was made.
    """

    number: int
    what: str
    at: int
    transaction: int
    id: int
    name: str
    """The job's worker, the node's name, the queue, or the schedule."""
    before: Side | None
    after: Side | None
    queue: str = ""
    priority: int = 0
    most: int = 0
    """Attempts that it may have."""
    scheduled_at: int = 0
    """When it is due; of a tick, which one it is; of a node, when its lease ends."""
    attempted_at: int = 0
    token: str | None = None
    unique_key: str | None = None
    result: str | None = None
    errors: str | None = None
    """Kept of a row that is deleted only."""


_COLUMNS: Final = (
    "number", "what", "at", "tx", "id", "name",
    *(f"{side}_{one}" for side in ("old", "new") for one in _PAIRS),
    "queue", "priority", "most", "scheduled_at", "attempted_at", "token", "unique_key", "result", "errors",
)  # fmt: skip
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)}"


def install(database: str, every: int = 1, last: int | None = None) -> None:
    """Adds the table and the triggers; the store's own tables are there.

    Args:
        database: The store.
        every: Of the jobs, those whose id it divides are written down.
        last: So many changes are kept in a file, if not all; at a server they are there until `forget`.
    """
    if database.startswith("postgresql:"):
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(_postgres(every))
        return
    connection = sqlite3.connect(_path(database))
    try:
        connection.executescript(_sqlite(every, last))
    finally:
        connection.close()


def read(database: str, after: int = 0) -> Iterator[Change]:
    """Every change with a higher number, in order."""
    if database.startswith("postgresql:"):
        with psycopg.connect(database) as connection, connection.cursor("history") as cursor:
            cursor.itersize = 10_000
            cursor.execute(f"{_SELECT} FROM crash_history.changes WHERE number > %s ORDER BY number", (after,))
            yield from map(_change, cursor)
        return
    connection = sqlite3.connect(f"file:{_path(database)}?mode=ro", uri=True)
    try:
        rows = connection.execute(f"{_SELECT} FROM crash_history WHERE number > ? ORDER BY number", (after,))
        yield from map(_change, rows)
    finally:
        connection.close()


def forget(url: str, numbers: Collection[int]) -> None:
    """Takes changes away, at a server."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM crash_history.changes WHERE number = ANY(%s)", (list(numbers),))


def _path(database: str) -> Path:
    return Path(database.removeprefix("sqlite:///"))


def _change(row: tuple) -> Change:
    head, pairs = row[:6], len(_PAIRS)
    sides = (row[6 : 6 + pairs], row[6 + pairs : 6 + 2 * pairs])
    before, after = (None if one[0] is None else Side(*one[:5], cancel=bool(one[5]), key=one[6]) for one in sides)
    return Change(*head, before, after, *row[6 + 2 * pairs :])


def _job(operation: str, old: str, new: str, micros: str) -> tuple[str, str]:
    """The columns and the values of a change of a job; ``micros`` says how a time becomes a number."""
    row = {"what": "'job'", "id": f"{new or old}.id", "name": f"{new or old}.worker"}
    row |= {f"old_{one}": f"{old}.{one}" for one in _PAIRS if old}
    row |= {f"new_{one}": f"{new}.{one}" for one in _PAIRS if new}
    row |= {one: f"{new or old}.{one}" for one in ("queue", "priority", "unique_key")}
    row |= {one: micros.format(f"{new or old}.{one}") for one in ("scheduled_at", "attempted_at")}
    row |= {"most": f"{new or old}.max_attempts", "token": f"{new or old}.args ->> 'token'"}
    if operation == "DELETE":
        row["errors"] = f"CAST({old}.errors AS text)"
    elif operation == "UPDATE":
        row["result"] = f"CASE WHEN {new}.state = 2 AND {old}.state = 1 THEN CAST({new}.result AS text) END"
    return ", ".join(row), ", ".join(row.values())


def _sqlite(every: int, last: int | None) -> str:
    types = dict.fromkeys(("what", "name", "queue", "token", "unique_key", "result", "errors"), "TEXT")
    types |= {f"{side}_live_key": "TEXT" for side in ("old", "new")}
    columns = ", ".join(f"{one} {types.get(one, 'INTEGER')}" for one in _COLUMNS[1:])
    script = [f"CREATE TABLE crash_history (number INTEGER PRIMARY KEY AUTOINCREMENT, {columns});"]
    now = "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"

    def trigger(name: str, when: str, columns: str, values: str) -> None:
        script.append(
            f"CREATE TRIGGER crash_history_{name} AFTER {when} BEGIN"
            f" INSERT INTO crash_history (at, tx, {columns}) SELECT {now}, 0, {values}; END;"
        )

    for operation, old, new in (("INSERT", "", "new"), ("UPDATE", "old", "new"), ("DELETE", "old", "")):
        when = f"{operation} ON zjobs_jobs WHEN {new or old}.id % {every} = 0"
        trigger(f"job_{operation.lower()}", when, *_job(operation, old, new, "{}"))
    sides = "old.number, old.name, old.standing, 0, 0, 0, new.standing, 0, 0, 0, new.expires_at"
    node = "id, name, old_state, old_lease, old_attempt, old_crashes, new_state, new_lease, new_attempt, new_crashes"
    changed = "UPDATE ON zjobs_nodes WHEN old.standing <> new.standing OR old.expires_at <> new.expires_at"
    trigger("node", changed, f"what, {node}, scheduled_at", f"'node', {sides}")
    fresh = "new.number, new.name, new.standing, 0, 0, 0, new.expires_at"
    columns = "what, id, name, new_state, new_lease, new_attempt, new_crashes, scheduled_at"
    trigger("node_insert", "INSERT ON zjobs_nodes", columns, f"'node', {fresh}")
    for operation in ("INSERT", "UPDATE"):
        columns = "what, id, name, new_state, new_lease, new_attempt, new_crashes"
        trigger(
            f"queue_{operation.lower()}",
            f"{operation} ON zjobs_queues",
            columns,
            "'queue', 0, new.name, new.paused, 0, 0, 0",
        )
    trigger("tick", "INSERT ON zjobs_ticks", "what, id, name, scheduled_at", "'tick', 0, new.name, new.at")
    if last is not None:
        older = f"DELETE FROM crash_history WHERE number <= new.number - {last}"  # noqa: S608 - our own names
        when = "AFTER INSERT ON crash_history WHEN new.number % 100 = 0"
        script.append(f"CREATE TRIGGER crash_history_last {when} BEGIN {older}; END;")
    return "\n".join(script)


def _postgres(every: int) -> str:
    types = dict.fromkeys(("what", "name", "queue", "token", "unique_key", "result", "errors"), "text")
    types |= {f"{side}_live_key": "text" for side in ("old", "new")}
    types |= {f"{side}_cancel_requested": "boolean" for side in ("old", "new")}
    columns = ", ".join(f"{one} {types.get(one, 'bigint')}" for one in _COLUMNS[1:])
    script = [
        "CREATE SCHEMA crash_history;",
        f"CREATE TABLE crash_history.changes (number bigserial PRIMARY KEY, {columns});",
        f"CREATE FUNCTION crash_history.micros(timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE RETURN {_MICROS};",
    ]
    head = "crash_history.micros(clock_timestamp()), pg_current_xact_id()::text::bigint"

    def trigger(name: str, when: str, body: str, which: str = "true") -> None:
        script.append(
            f"CREATE FUNCTION crash_history.{name}() RETURNS trigger LANGUAGE plpgsql"
            f" AS $$ BEGIN {body} RETURN NULL; END $$;"
            f" CREATE TRIGGER crash_history_{name} AFTER {when} FOR EACH ROW WHEN ({which})"
            f" EXECUTE FUNCTION crash_history.{name}();"
        )

    def insert(columns: str, values: str) -> str:
        return f"INSERT INTO crash_history.changes (at, tx, {columns}) VALUES ({head}, {values});"  # noqa: S608 - our own names

    for operation, old, new in (("INSERT", "", "NEW"), ("UPDATE", "OLD", "NEW"), ("DELETE", "OLD", "")):
        body = insert(*_job(operation, old, new, "crash_history.micros({})"))
        trigger(f"job_{operation.lower()}", f"{operation} ON zjobs.jobs", body, f"{new or old}.id % {every} = 0")
    end = "crash_history.micros(NEW.expires_at)"
    node = "what, id, name, new_state, new_lease, new_attempt, new_crashes, scheduled_at"
    fresh = f"'node', NEW.number, NEW.name, NEW.standing, 0, 0, 0, {end}"
    trigger("node_insert", "INSERT ON zjobs.nodes", insert(node, fresh))
    node += ", old_state, old_lease, old_attempt, old_crashes"
    trigger("node_update", "UPDATE ON zjobs.nodes", insert(node, f"{fresh}, OLD.standing, 0, 0, 0"))
    columns = "what, id, name, new_state, new_lease, new_attempt, new_crashes"
    queue = insert(columns, "'queue', 0, NEW.name, NEW.paused::int, 0, 0, 0")
    trigger("queue", "INSERT OR UPDATE ON zjobs.queues", queue)
    tick = insert("what, id, name, scheduled_at", "'tick', 0, NEW.name, crash_history.micros(NEW.at)")
    trigger("tick", "INSERT ON zjobs.ticks", tick)
    return "\n".join(script)
