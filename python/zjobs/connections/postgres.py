"""The steps for a store in PostgreSQL: one call of a function that any language may call, and a read."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from zjobs import _engine
from zjobs.connections.steps import Draft, Step, Steps, job_of
from zjobs.db import PostgresStore
from zjobs.errors import LeaseLost, invalid
from zjobs.job import EPOCH, Job

__all__ = ["complete", "enqueue"]

_SQL = _engine.SQL["postgres"]


def enqueue(store: PostgresStore, drafts: Sequence[Draft]) -> Steps[list[Job]]:
    """Inserts the jobs, or finds those that have their keys."""
    if not drafts:
        return []
    listed = f"[{','.join(_document(draft) for draft in drafts)}]"
    made = (yield Step(_named(store, "enqueue_many"), (listed, store.born_at))).rows
    if not made:
        raise invalid("connection", f"must lead to the database of the store, {store.place}", "another database")
    ids = [row[0] for row in made]
    rows = (yield Step(_named(store, "get_plain"), (ids,))).rows
    jobs = {row[0]: job_of(row, row[9]) for row in rows}
    return [jobs[number].replace(conflict=True) if conflict else jobs[number] for number, conflict in made]


def complete(store: PostgresStore, job: Job, result: str | None) -> Steps[None]:
    """Ends the attempt of a running job."""
    if not (yield Step(_named(store, "complete"), (job.id, job.lease, job.node, result))).rows:
        raise LeaseLost(f"job {job.id} is not this attempt's to complete any more: roll back, its next attempt does it")


def _named(store: PostgresStore, statement: str) -> str:
    """The statement in the schema of the store."""
    text = _SQL[statement]
    return text if store.schema == "zjobs" else text.replace("zjobs.", f'"{store.schema}".')


def _document(draft: Draft) -> str:
    """The arguments of ``zjobs.enqueue`` by name. The caller's own JSON is kept letter by letter."""
    at, delay, timeout = draft["at"], draft["delay"], draft["timeout"]
    plain: dict[str, Any] = {
        "worker": draft["worker"],
        "queue": draft["queue"],
        "priority": draft["priority"],
        "max_attempts": draft["max_attempts"],
        "scheduled_at": None if at is None else (EPOCH + timedelta(microseconds=at)).isoformat(),
        "delay_seconds": None if delay is None else delay / 1e6,
        "timeout_seconds": None if timeout is None else timeout / 1e9,
        "unique_key": draft["unique_key"],
        "replaces": draft["replaces"],
    }
    texts = [("args", draft["args"]), ("tags", draft["tags"]), ("meta", draft["meta"])]
    parts = [json.dumps(plain, ensure_ascii=False)[1:-1]]
    parts += [f'"{name}": {text}' for name, text in texts if text is not None]
    return f"{{{', '.join(parts)}}}"
