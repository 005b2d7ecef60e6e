"""The steps for a store in a SQLite file."""

from collections.abc import Sequence
from contextlib import suppress
from os import stat_result
from pathlib import Path
from typing import cast

from zjobs import _engine
from zjobs.connections.steps import Draft, Step, Steps, job_of
from zjobs.db import SqliteStore
from zjobs.errors import LeaseLost, invalid
from zjobs.job import EPOCH, Job

__all__ = ["complete", "enqueue"]

_SQL = _engine.SQL["sqlite"]


def enqueue(store: SqliteStore, drafts: Sequence[Draft]) -> Steps[list[Job]]:
    """Inserts the jobs, or finds those that have their keys."""
    yield from _check_file(store)
    if len(drafts) == 1 and drafts[0]["unique_key"] is None:
        return [(yield from _insert(drafts[0]))]
    # Nobody may take a key between the look and the insert, and all or nothing of it stays. A write that changes
    # nothing comes first: where the connection opens its transaction at the first write it does so now, and the
    # savepoint is within it (an outermost one would commit when it is released). Where each statement commits by
    # itself the savepoint is a transaction, which the second such write makes one of a writer.
    yield Step(_SQL["take_key"], {"id": 0})
    yield Step("SAVEPOINT zjobs", {})
    try:
        yield Step(_SQL["take_key"], {"id": 0})
        jobs = yield from _insert_all(drafts)
    except BaseException:
        # Some errors have taken the whole transaction back by themselves; the first one says why.
        with suppress(Exception):
            yield Step("ROLLBACK TO zjobs", {})
            yield Step("RELEASE zjobs", {})
        raise
    yield Step("RELEASE zjobs", {})
    return jobs


def complete(store: SqliteStore, job: Job, result: str | None) -> Steps[None]:
    """Ends the attempt of a running job."""
    yield from _check_file(store)
    now = (store.now() - EPOCH) // _MICROSECOND
    parameters = {"id": job.id, "lease": job.lease, "node": job.node, "now": now, "result": result}
    if not (yield Step(_SQL["complete"], parameters)).rows:
        raise LeaseLost(f"job {job.id} is not this attempt's to complete any more: roll back, its next attempt does it")


_MICROSECOND = EPOCH.resolution


def _insert(draft: Draft) -> Steps[Job]:
    return (yield from _read(cast("int", (yield Step(_SQL["enqueue"], _columns(draft))).inserted)))


def _insert_all(drafts: Sequence[Draft]) -> Steps[list[Job]]:
    jobs: list[Job] = []
    for draft in drafts:
        job = yield from _insert(draft) if draft["unique_key"] is None else _take_key(draft)
        jobs.append(job)
    return jobs


def _columns(draft: Draft) -> Draft:
    return {name: value for name, value in draft.items() if name not in {"at", "delay", "replaces"}}


def _take_key(draft: Draft) -> Steps[Job]:
    found = (yield Step(_SQL["find_key"], {"key": draft["unique_key"]})).rows
    if found and not draft["replaces"]:
        return (yield from _read(found[0][0])).replace(conflict=True)
    if found:
        holder = {"id": found[0][0]}
        if not (yield Step(_SQL["cancel"], holder | {"now": draft["now"]})).changed:
            yield Step(_SQL["take_key"], holder)
    return (yield from _insert(draft))


def _read(job_id: int) -> Steps[Job]:
    """The job as the transaction has it."""
    row = (yield Step(_SQL["get"], {"id": job_id})).rows[0]
    number = row[9]
    node = None if number is None else (yield Step(_SQL["node_id"], {"number": number})).rows[0][0]
    return job_of(row, node)


def _check_file(store: SqliteStore) -> Steps[None]:
    """Jobs in another file would never run."""
    rows = (yield Step("PRAGMA database_list", {})).rows
    files = [row[2] for row in rows if row[1] == "main"]
    path = files[0] if files else ""
    if not path or _identity(Path(path).stat()) != _identity(store.path.stat()):
        raise invalid("connection", f"must lead to the file of the store, {store.path}", path or "a database in memory")


def _identity(found: stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
