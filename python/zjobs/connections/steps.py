"""What has to be asked of a connection, one statement after the other, whoever asks it.

A step is the text of a statement and its parameters; it is answered with the rows and how many were changed. Drivers of
all libraries walk through the same steps, in threads and in coroutines.
"""

import json
from collections.abc import Generator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

from zjobs.job import EPOCH, AttemptError, Job, JobState, Progress

__all__ = ["Draft", "Reply", "Step", "Steps", "job_of"]

Result = TypeVar("Result")

Row: TypeAlias = tuple[Any, ...]
Draft: TypeAlias = Mapping[str, Any]
"""A job to insert, as the engine's ``drafts`` gives it."""


class Step(NamedTuple):
    """One statement and its parameters: by name for SQLite, in order for PostgreSQL."""

    sql: str
    parameters: Mapping[str, Any] | Sequence[Any]


class Reply(NamedTuple):
    """The rows, how many were changed, and the id of the one inserted where the library tells."""

    rows: list[Row]
    changed: int
    inserted: int | None


Steps: TypeAlias = Generator[Step, Reply, Result]


def job_of(row: Row, node: str | None) -> Job:
    """A job of the columns in the order of the engine's own reads; times are microseconds since 1970."""
    (number, state, queue, worker, args, priority, attempt, max_attempts, lease, _, *times) = row[:14]
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
        node=node,
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
