"""What the processes wrote down and what is in the file, as values."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg

from crash import history, marks

__all__ = ["Batch", "Cancel", "Evidence", "Kill", "Pause", "Row", "Run", "Stop", "gather"]


_LATER = -1
"""When a process died is not known until all marks are read."""


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
    keyed: int = 0
    """How many have a unique key, so that they may meet another job instead of coming in."""
    made: list[int] | None = None
    met: list[int] = field(default_factory=list)

    def allows(self, there: int) -> bool:
        """Whether it can have left so many jobs: none, or all but some of those with a key."""
        if self.made is not None:
            return there == len(self.made) and self.count - self.keyed <= there == self.count - len(self.met)
        return there == 0 or self.count - self.keyed <= there <= self.count


@dataclass(frozen=True, slots=True)
class Cancel:
    """A cancel that returned."""

    job: int
    state: str
    at: int


@dataclass(frozen=True, slots=True)
class Pause:
    """A queue was paused for certain between two moments, in microseconds since 1970."""

    queue: str
    since: int
    until: int


@dataclass(frozen=True, slots=True)
class Row:
    """One job as the file has it, or had it when it was deleted."""

    id: int
    state: int
    worker: str
    token: str
    attempt: int
    lease: int
    crashes: int
    key: str | None
    errors: tuple[str, ...]
    deleted: bool = False


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
    panics: set[str] = field(default_factory=set)
    """Processes of which a service has panicked."""
    frozen: list[Stop] = field(default_factory=list)
    """Processes that stopped by themselves; among the stops, once it is known since when."""
    handed_back: bool = False
    """Some attempts were given back: a worker was told to end, or the reply to its claim was lost."""
    pauses: list[Pause] = field(default_factory=list)
    without_jobs: set[str] = field(default_factory=set)
    """Schedules some of whose ticks have no jobs: they were missed, or meant so."""
    clocks: tuple[int, int] = (0, 0)
    """The boot-time clock and that of the day at one moment, in nanoseconds."""

    def wall_of(self, boot: int) -> int:
        """A time of the marks, in microseconds since 1970."""
        return (boot - self.clocks[0] + self.clocks[1]) // 1000


def gather(database: str, folder: Path) -> Evidence:
    """Reads the database and all marks. No process may be using a file."""
    rows, damage = read_server(database) if database.startswith("postgresql:") else read_file(database)
    for change in history.read(database):
        if change.what == "job" and change.after is None and change.before is not None:
            rows[change.id] = _deleted(change, change.before)
    evidence = Evidence(rows, [], [], [], [], damage)
    for path in sorted(folder.glob("*.marks")):
        _add(evidence, path.stem, marks.read(path))
    _date(evidence)
    return evidence


def _date(evidence: Evidence) -> None:
    """Nobody saw when a process died or froze by itself: it may have been just after the last of its marks."""
    marked = defaultdict(list)
    for run in evidence.runs:
        marked[run.process] += [run.begin] if run.end is None else [run.begin, run.end]

    def last(process: str, until: int) -> int:
        return max((time for time in marked[process] if time <= until), default=0)

    evidence.kills = [
        one if one.before != _LATER else replace(one, before=last(one.process, one.after)) for one in evidence.kills
    ]
    evidence.stops += [replace(one, before=last(one.process, one.before)) for one in evidence.frozen]


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
                batches[rest[0]] = Batch(rest[0], int(rest[1]), int(rest[2]))
                evidence.batches.append(batches[rest[0]])
            case "enqueued":
                batch = batches[rest[0]]
                batch.made = [int(number) for number in rest[1:] if not number.startswith("+")]
                batch.met = [int(number) for number in rest[1:] if number.startswith("+")]
            case "cancelled":
                evidence.cancels.append(Cancel(int(rest[0]), rest[1], int(rest[2])))
            case _:
                _add_of_driver(evidence, process, word, rest)


def _add_of_driver(evidence: Evidence, process: str, word: str, rest: list[str]) -> None:
    """What befell the processes, and what holds for the whole run."""
    match word:
        case "kill":
            evidence.kills.append(Kill(rest[0], int(rest[1]), int(rest[2])))
        case "stop":
            evidence.stops.append(Stop(rest[0], int(rest[1]), int(rest[2])))
        case "server":
            evidence.servers.append((int(rest[1]), int(rest[2])))
            evidence.handed_back = True
        case "clock":
            evidence.clocks = int(rest[0]), int(rest[1])
        case "by-hand":
            evidence.handed_back = True
        case "paused":
            evidence.pauses.append(Pause(rest[0], int(rest[1]), int(rest[2])))
        case "without-jobs":
            evidence.without_jobs.add(rest[0])
        case _:
            _add_of_itself(evidence, process, word, rest)


def _add_of_itself(evidence: Evidence, process: str, word: str, rest: list[str]) -> None:
    """What processes did to themselves, at places where they were told to."""
    match word:
        case "died":
            evidence.kills.append(Kill(rest[0], _LATER, int(rest[1])))
        case "frozen":
            evidence.frozen.append(Stop(rest[0], int(rest[1]), int(rest[2])))
        case "panicked":
            evidence.panics.add(rest[0])
        case "refused":
            pass
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


def _deleted(change: history.Change, last: history.Side) -> Row:
    errors = _kinds(change.errors)
    counts = last.attempt, last.lease, last.crashes
    return Row(change.id, last.state, change.name, change.token or "", *counts, change.unique_key, errors, deleted=True)


def _kinds(errors: str | None) -> tuple[str, ...]:
    return tuple(error["kind"] for error in json.loads(errors or "[]"))
