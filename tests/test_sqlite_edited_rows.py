"""Rows that somebody edited by hand (F-105): others are claimed, acked, staged and rescued all the same."""

import sqlite3
from datetime import datetime

import pytest

import zjobs
from zjobs.rows import JobEvent
from zjobs.store import Acked, AckRow, Failure, Heartbeat, JobFilter, NewJob

STATES = zjobs.JobState
NODE = "a" * 32
OTHER = "b" * 32

EDITS = [
    "crashes = -1",
    "crashes = 70000",
    "lease = 4294967295",
    "scheduled_at = -9223372036854775808",
    "inserted_at = 9223372036854775807, attempted_at = 9223372036854775807",
    "worker = CAST(x'ff' AS TEXT)",
    "args = CAST(x'ff' AS TEXT)",
    "unique_key = CAST(x'ff' AS TEXT)",
    "tags = '[1, null, {}]', meta = '[', errors = '7', progress = CAST(x'ff' AS TEXT)",
    """errors = '[{"attempt": 1, "at": 9223372036854775807, "kind": "", "message": "", "traceback": ""}]'""",
    "errors = CAST(x'ff' AS TEXT)",
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


def put(store, count=2, **options):
    return [reply.job for reply in store.enqueue([NewJob("w", b'{"n":1}', **options) for _ in range(count)])]


def edit(path, statement, *values):
    with sqlite3.connect(path) as connection:
        connection.execute(statement, values)
    connection.close()


def running(store, node=NODE):
    store.heartbeat(Heartbeat(node))
    return sorted(store.claim(node, "default", 10), key=lambda job: job.id)


def failure(job, delay_seconds=None):
    to = STATES.DISCARDED if delay_seconds is None else STATES.RETRYABLE
    return AckRow(job.id, job.lease, JobEvent.FAIL, to, job.attempt, delay_seconds, Failure("ValueError", "no", ""))


def completion(job, result=b"1"):
    return AckRow(job.id, job.lease, JobEvent.COMPLETE, STATES.COMPLETED, job.attempt, result_bytes=result)


def test_a_row_that_was_edited_to_have_no_attempt_left_holds_up_nobody(path):
    store = zjobs.SqliteStore(path)
    bad, good = put(store)
    edit(path, "UPDATE zjobs_jobs SET attempt = max_attempts WHERE id = ?", bad.id)
    assert [job.id for job in running(store)] == [good.id]
    assert store.claim(NODE, "default", 10) == []


@pytest.mark.parametrize("change", EDITS)
@pytest.mark.parametrize("end", ["acked", "rescued"])
def test_whatever_the_schema_lets_into_a_row_keeps_no_other_from_its_way_and_can_be_looked_at(path, change, end):
    store = zjobs.SqliteStore(path)
    bad, good = put(store)
    edit(path, f"UPDATE zjobs_jobs SET {change} WHERE id = ?", bad.id)  # noqa: S608 - from the list above
    jobs = running(store)
    assert [job.id for job in jobs] == [bad.id, good.id]
    (job,) = store.get([bad.id])
    seen = (job.scheduled_at, job.inserted_at, job.attempted_at, job.errors, job.worker, job.unique_key, job.tags)
    assert all(value is None or isinstance(value, (datetime, str, tuple)) for value in seen)
    if end == "acked":
        assert store.ack(NODE, [failure(job) for job in jobs]) == [Acked.STORED] * 2
        kind = "ValueError"
    else:
        store.depart(NODE, 0.0)
        rescued = []
        while not rescued:
            rescued = store.rescue(10)
        assert {one.job.id for one in rescued} == {bad.id, good.id}
        kind = "NodeLost"
    assert [job.errors[-1].kind for job in store.get([bad.id, good.id])] == [kind] * 2


def test_a_row_whose_queue_is_no_text_keeps_no_other_from_being_staged_and_counted(path):
    store = zjobs.SqliteStore(path)
    bad, _ = put(store, schedule_in=0.001)
    edit(path, "UPDATE zjobs_jobs SET queue = CAST(x'ff' AS TEXT) WHERE id = ?", bad.id)
    while store.count(JobFilter(states=(STATES.AVAILABLE,))) < 2:
        store.stage(10)
    assert {queue.name for queue in store.queues()} == {"default", "\ufffd"}
    assert store.count_by_state()[STATES.AVAILABLE] == 2


def test_the_row_of_a_node_that_is_no_text_keeps_nobody_from_rescuing_the_jobs_of_others(path):
    store = zjobs.SqliteStore(path)
    (job,) = put(store, 1)
    store.heartbeat(Heartbeat(OTHER))
    edit(path, "UPDATE zjobs_nodes SET id = CAST(x'ff' AS TEXT), pid = -1, beat_at = 1 << 62")
    edit(path, "UPDATE zjobs_nodes SET name = id, queues = id")
    assert [claimed.id for claimed in running(store)] == [job.id]
    assert len(store.nodes()) == 2
    store.depart(NODE, 0.0)
    while not (rescued := store.rescue(10)):
        pass
    assert [one.job.id for one in rescued] == [job.id]


def test_what_no_queue_can_have_set_is_as_if_nothing_was(path):
    store = zjobs.SqliteStore(path)
    store.scale("default", 5)
    edit(path, "UPDATE zjobs_queues SET concurrency = -1, paused = 1")
    assert [(queue.paused, queue.concurrency) for queue in store.queues()] == [(True, None)]


def test_a_running_job_whose_attempts_somebody_lowered_ends_with_the_others(path):
    store = zjobs.SqliteStore(path)
    put(store)
    store.ack(NODE, [failure(job, 0.0) for job in running(store)])
    while store.count(JobFilter(states=(STATES.AVAILABLE,))) < 2:
        store.stage(10)
    bad, good = running(store)
    assert good.attempt == 2
    edit(path, "UPDATE zjobs_jobs SET attempt = 0, max_attempts = 1 WHERE id = ?", bad.id)
    assert store.ack(NODE, [completion(bad), completion(good)]) == [Acked.STORED] * 2
    ends = [(job.state, job.attempt) for job in store.get([bad.id, good.id])]
    assert ends == [(STATES.COMPLETED, 1), (STATES.COMPLETED, 2)]


def test_a_result_that_a_rule_in_the_file_refuses_is_left_out_and_keeps_no_other_from_its_end(path):
    store = zjobs.SqliteStore(path)
    put(store)
    edit(
        path,
        """
        CREATE TRIGGER short BEFORE UPDATE ON zjobs_jobs WHEN length(new.result) > 10
        BEGIN SELECT RAISE(ABORT, 'a result is short'); END
        """,
    )
    bad, good = running(store)
    assert store.ack(NODE, [completion(bad, b'"' + b"x" * 20 + b'"'), completion(good)]) == [Acked.STORED] * 2
    ended, other = store.get([bad.id, good.id])
    assert (ended.state, other.state) == (STATES.COMPLETED,) * 2
    assert [error.kind for error in ended.errors] == ["Unstorable"]
    assert (ended.result_bytes, other.result_bytes) == (None, b"1")
