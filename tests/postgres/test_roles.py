"""The four roles of docs/postgresql-roles.sql: each can do what it is for, and no more."""

from pathlib import Path

import psycopg
import pytest

import zjobs

ROLES = Path(__file__).parents[2] / "docs" / "postgresql-roles.sql"
DENIED = (zjobs.StoreUnavailable, zjobs.SchemaMismatch)


@pytest.fixture(scope="module")
def urls(database_url):
    """A database of its own with the tables, and a URL for a user of each role."""
    server = database_url.rsplit("/", 1)[0]
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS roles")
        admin.execute("CREATE DATABASE roles")
    zjobs.migrate(f"{server}/roles")
    found = {}
    with psycopg.connect(f"{server}/roles", autocommit=True) as admin:
        for _ in range(2):  # once more is no harm
            admin.execute(ROLES.read_text("utf-8"))
        for role in ("migrate", "work", "enqueue", "read"):
            admin.execute(f"DROP ROLE IF EXISTS a_{role}")
            admin.execute(f"CREATE ROLE a_{role} LOGIN IN ROLE zjobs_{role}")
            found[role] = f"{server.replace('postgres@', f'a_{role}@')}/roles"
    yield found
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE roles WITH (FORCE)")
        for role in ("migrate", "work", "enqueue", "read"):
            admin.execute(f"DROP ROLE a_{role}")


def test_work_runs_jobs_and_does_what_people_do(urls):
    jobs = zjobs.Supervisor(urls["work"])

    @jobs.worker(keep_result=True)
    def double(n: int) -> int:
        return 2 * n

    with jobs:
        assert jobs.result(double.options(unique_key="k").enqueue(21), timeout=30) == 42
    jobs.pause_queue("mail")
    jobs.resume_queue("mail")
    assert jobs.delete_many(worker="double") == 1


def test_enqueue_inserts_and_sees_and_changes_nothing(urls):
    jobs = zjobs.Supervisor(urls["enqueue"])
    job = jobs.enqueue("w", {"secret": 1})
    with psycopg.connect(urls["enqueue"]) as connection:
        again = connection.execute("SELECT id FROM zjobs.enqueue('w', unique_key => 'k')").fetchone()
        assert connection.execute("SELECT * FROM zjobs.enqueue('w', unique_key => 'k')").fetchone() == (*again, True)
        for asked in ("args", "meta", "errors", "result", "*"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(f"SELECT {asked} FROM zjobs.jobs")  # noqa: S608 - our own words
    with pytest.raises(zjobs.StoreUnavailable, match=r"permission denied.*docs/postgresql\.md"):
        jobs.get(job)
    for forbidden in (lambda: jobs.cancel_many(worker="w"), lambda: jobs.delete_many(worker="w"), jobs.start):
        with pytest.raises(DENIED):
            forbidden()
    if jobs.is_running:
        jobs.stop()


def test_read_looks_and_does_no_more(urls):
    jobs = zjobs.Supervisor(urls["read"])
    assert isinstance(jobs.count(), int)
    assert jobs.nodes() == []
    with pytest.raises(DENIED):
        jobs.enqueue("w")
    with pytest.raises(DENIED):
        jobs.pause_queue("mail")


def test_migrate_makes_the_tables_of_another_schema(urls):
    url = f"{urls['migrate']}?schema=made"
    assert [step.version for step in zjobs.migrate(url)] == [1]
    assert zjobs.Supervisor(url).count() == 0
