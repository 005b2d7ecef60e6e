"""The history of one job in so many, which a soak reads while it grows."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from crash.evidence import Evidence, Row, Run
from crash.history import read
from crash.marks import now
from soak.journal import EVERY, Journal
from zjobs import DbStore, JobState, SqliteStore
from zjobs.rows import AckRow, Heartbeat, JobEvent, JobFilter, NewJob

COMPLETED = 2
NODE = "a" * 32


@pytest.fixture(params=["sqlite", "postgres"])
def kept(request, tmp_path):
    """A store with a journal, and a node that works."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("server_of_its_own")
    store = SqliteStore(tmp_path / "jobs.db") if request.param == "sqlite" else DbStore(url)
    journal = Journal(url)
    store.heartbeat(Heartbeat(NODE, name="worker-0-1"))
    return store, journal


def worked_off(store, count):
    """So many jobs, with what is known of them."""
    store.enqueue([NewJob("noop", b'{"token": "a"}') for _ in range(count)])
    jobs = store.claim(NODE, "default", count)
    runs = [Run(job.id, job.lease, job.attempt, now(), "worker-0-1", now(), returned=True) for job in jobs]
    ended = {"event": JobEvent.COMPLETE, "to": JobState.COMPLETED, "attempt": 1}
    store.ack(NODE, [AckRow(run.job, run.lease, **ended, result_bytes=b'["worker-0-1", 1]') for run in runs])
    about = {"worker": "noop", "token": "a", "attempt": 1, "lease": 1, "crashes": 0, "key": None, "errors": ()}
    return Evidence({job.id: Row(job.id, COMPLETED, **about) for job in jobs}, runs, [], [], [])


def test_one_job_in_so_many_has_a_history_that_is_audited_and_forgotten(kept):
    store, journal = kept
    evidence = worked_off(store, 2 * EVERY)
    assert journal.read() == []
    assert journal.left() == [EVERY, 2 * EVERY]
    assert list(journal.judge(evidence)) == []
    assert (journal.audited, journal.left()) == (6, [])
    store.delete(JobFilter(ids=(EVERY,)))
    journal.read()
    assert (journal.left(), list(journal.judge(Evidence({}, [], [], [], [])))) == ([], [])


def test_the_journal_sees_a_job_that_was_completed_by_nobody(kept):
    store, journal = kept
    evidence = worked_off(store, EVERY)
    evidence.runs[-1].returned = False
    journal.read()
    assert {rule for rule, _ in journal.judge(evidence)} == {"stale"}


def test_a_job_that_changes_after_all_was_over_is_left(kept):
    store, journal = kept
    evidence = worked_off(store, EVERY)
    journal.read()
    assert list(journal.judge(evidence)) == []
    store.retry(JobFilter(ids=(EVERY,)))
    journal.read()
    assert journal.left() == [EVERY]


def test_a_file_keeps_no_more_than_the_last_changes_and_one_who_reads_too_late_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("soak.journal.LAST", 50)
    monkeypatch.setattr("soak.journal.EVERY", 2)
    store, journal = SqliteStore(tmp_path / "jobs.db"), Journal(f"sqlite:///{tmp_path / 'jobs.db'}")
    store.enqueue([NewJob("noop", b"{}") for _ in range(80)])
    assert journal.read() == []
    store.enqueue([NewJob("noop", b"{}") for _ in range(480)])
    assert journal.read() == ["changes 41 to 150 were forgotten before they were read"]
    assert len(list(read(f"sqlite:///{tmp_path / 'jobs.db'}"))) < 150


def test_at_a_server_what_was_read_is_taken_away_and_read_once_when_that_fails(server_of_its_own, monkeypatch):
    store, journal = DbStore(server_of_its_own), Journal(server_of_its_own)
    store.heartbeat(Heartbeat(NODE, name="worker-0-1"))
    evidence = worked_off(store, EVERY)
    with monkeypatch.context() as broken:
        broken.setattr("crash.history.forget", cut_off)
        journal.read()
        assert len(list(read(server_of_its_own))) >= 4
    journal.read()
    assert list(read(server_of_its_own)) == []
    assert list(journal.judge(evidence)) == []
    assert journal.audited == 3


def cut_off(*_):
    raise ConnectionResetError
