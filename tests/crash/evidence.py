"""What the processes wrote down and what is in the file, as values."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from crash import marks

__all__ = ["Batch", "Cancel", "Evidence", "Kill", "Row", "Run", "Stop", "gather"]


@dataclass(slots=True)
class Run:
    """One call of a handler."""

    job: int
    lease: int
    attempt: int
    begin: int
    process: str
    end: int | None = None
    returned: bool = False


@dataclass(frozen=True, slots=True)
class Kill:
    """A process was killed between two moments."""

    process: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Stop:
    """A process was stopped between two moments, longer than its lease, and went on."""

    process: str
    before: int
    after: int


@dataclass(slots=True)
class Batch:
    """One enqueue: how many jobs were meant, and which ids came back; ``None`` when it never returned."""

    token: str
    count: int
    made: list[int] | None = None
    met: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Cancel:
    """A cancel that returned."""

    job: int
    state: str
    at: int


@dataclass(frozen=True, slots=True)
class Row:
    """One job as the file has it."""

    id: int
    state: int
    worker: str
    token: str
    attempt: int
    lease: int
    crashes: int
    key: str | None
    errors: tuple[str, ...]


@dataclass(slots=True)
class Evidence:
    """Everything that is known."""

    rows: dict[int, Row]
    runs: list[Run]
    batches: list[Batch]
    cancels: list[Cancel]
    kills: list[Kill]
    damage: str = "ok"
    """What SQLite says about the file."""
    stops: list[Stop] = field(default_factory=list)
    servers: list[tuple[int, int]] = field(default_factory=list)
    """When the server was ended, and when it was there again."""


def gather(database: str, folder: Path) -> Evidence:
    """Reads the database and all marks. No process may be using a file."""
    rows, damage = read_server(database) if database.startswith("postgresql:") else read_file(database)
    evidence = Evidence(rows, [], [], [], [], damage)
    for path in sorted(folder.glob("*.marks")):
        _add(evidence, path.stem, marks.read(path))
    return evidence


def _add(evidence: Evidence, process: str, lines: Iterable[list[str]]) -> None:
    runs: dict[tuple[int, int], Run] = {}
    batches: dict[str, Batch] = {}
    for word, *rest in lines:
        match word:
            case "begin":
                run = Run(*map(int, rest), process=process)
                runs[run.job, run.lease] = run
                evidence.runs.append(run)
            case "end":
                run = runs[int(rest[0]), int(rest[1])]
                run.end, run.returned = int(rest[3]), rest[4] == "returned"
            case "intend":
                batches[rest[0]] = Batch(rest[0], int(rest[1]))
                evidence.batches.append(batches[rest[0]])
            case "enqueued":
                batch = batches[rest[0]]
                batch.made = [int(number) for number in rest[1:] if not number.startswith("+")]
                batch.met = [int(number) for number in rest[1:] if number.startswith("+")]
            case "cancelled":
                evidence.cancels.append(Cancel(int(rest[0]), rest[1], int(rest[2])))
            case "kill":
                evidence.kills.append(Kill(rest[0], int(rest[1]), int(rest[2])))
            case "stop":
                evidence.stops.append(Stop(rest[0], int(rest[1]), int(rest[2])))
            case "server":
                evidence.servers.append((int(rest[1]), int(rest[2])))
            case _:
                raise ValueError(f"{process} wrote the word {word!r}, which marks.py does not know")


def read_server(url: str) -> tuple[dict[int, Row], str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT id, state, worker, args ->> 'token', attempt, lease, crashes, unique_key, errors::text"
            " FROM zjobs.jobs"
        ).fetchall()
    return {row[0]: Row(*row[:8], errors=_kinds(row[8])) for row in rows}, "ok"


def read_file(url: str) -> tuple[dict[int, Row], str]:
    database = url.removeprefix("sqlite:///")
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        damage = connection.execute("PRAGMA integrity_check").fetchone()[0]
        rows = connection.execute(
            "SELECT id, state, worker, args ->> 'token', attempt, lease, crashes, unique_key, errors FROM zjobs_jobs"
        )
        return {row[0]: Row(*row[:8], errors=_kinds(row[8])) for row in rows}, damage
    finally:
        connection.close()


def _kinds(errors: str | None) -> tuple[str, ...]:
    return tuple(error["kind"] for error in json.loads(errors or "[]"))
