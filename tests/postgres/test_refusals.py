"""A server that cannot be used, or tables that are not ours: errors that say what to do."""

# ruff: noqa: S608 - names of our own

import subprocess
import sys

import psycopg
import pytest

import zjobs

SOON = 30


def test_a_server_that_is_absent_is_named_with_the_way_out():
    with pytest.raises(zjobs.StoreUnavailable, match=r"127\.0\.0\.1:9/app: .*refused.*start the server") as error:
        zjobs.Supervisor("postgresql://ann:hunter2@127.0.0.1:9/app")
    assert "hunter2" not in str(error.value)


def test_a_wrong_password_and_a_database_that_is_not_there_are_told(server):
    there = server.url.replace("postgres@", "ann:{}@")
    assert zjobs.Supervisor(there.format("right")).count() == 0
    with pytest.raises(zjobs.StoreUnavailable, match=r"password authentication failed.*look at the user") as error:
        zjobs.Supervisor(there.format("hunter2"))
    assert "hunter2" not in str(error.value)
    with pytest.raises(zjobs.StoreUnavailable, match="createdb"):
        zjobs.Supervisor(server.url.rsplit("/", 1)[0] + "/nowhere")


def test_the_password_file_and_the_variables_are_those_of_libpq(server, tmp_path, monkeypatch, schema):
    secret = tmp_path / "pgpass"
    secret.write_text(f"127.0.0.1:{server.port}:postgres:ann:right\n")
    secret.chmod(0o600)
    for name, value in (
        ("PGHOST", "127.0.0.1"),
        ("PGPORT", server.port),
        ("PGUSER", "ann"),
        ("PGDATABASE", "postgres"),
    ):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("PGPASSFILE", str(secret))
    assert zjobs.Supervisor(f"postgresql://?schema={schema}").count() == 0


def test_too_many_connections_are_told(server, url):
    jobs = zjobs.Supervisor(url)
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("CREATE ROLE single LOGIN CONNECTION LIMIT 1")
        admin.execute(f"GRANT ALL ON SCHEMA {jobs.store.schema} TO single")
        admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {jobs.store.schema} TO single")
    single = url.replace("postgres@", "single@")
    first = zjobs.Supervisor(single)
    with pytest.raises(zjobs.StoreUnavailable, match=r"too many connections.*max_connections"):
        zjobs.Supervisor(single)
    assert first.count() == 0


def test_a_read_only_server_is_told_and_left_as_it_is(server, url, eventually):
    jobs = zjobs.Supervisor(url)
    jobs.enqueue("w")

    def refused():
        try:
            jobs.enqueue("w")
        except zjobs.StoreUnavailable as error:
            assert "target_session_attrs=read-write" in str(error)  # noqa: PT017 - the setting takes its time
            return True
        return False

    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        try:
            admin.execute("SELECT pg_reload_conf()")
            eventually(refused)
            before = jobs.count()
            assert refused()
            assert jobs.count() == before
        finally:
            admin.execute("SET default_transaction_read_only = off")
            admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
            admin.execute("SELECT pg_reload_conf()")
    eventually(lambda: not refused())
    assert jobs.count() == before + 1


def test_tables_of_another_version_and_missing_ones_are_refused(server, url):
    jobs = zjobs.Supervisor(url)
    schema = jobs.store.schema
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"INSERT INTO {schema}.migrations VALUES (99, 'later', 'x', now())")
        with pytest.raises(zjobs.SchemaMismatch, match=r"schema 99.*upgrade zjobs"):
            zjobs.Supervisor(url)
        admin.execute(f"DELETE FROM {schema}.migrations WHERE version = 99")
        admin.execute(f"UPDATE {schema}.migrations SET checksum = 'x'")
        with pytest.raises(zjobs.SchemaMismatch, match="made by a changed copy"):
            zjobs.Supervisor(url)
        admin.execute(f"DROP TABLE {schema}.jobs")
        with pytest.raises(zjobs.SchemaMismatch, match="zjobs migrate"):
            jobs.enqueue("w")
    with pytest.raises(zjobs.SchemaMismatch, match="zjobs migrate"):
        zjobs.PostgresStore(server.url, schema="never_made", create=False)


def test_eight_processes_that_start_at_once_make_the_tables_once(url):
    script = "import sys, zjobs; zjobs.Supervisor(sys.argv[1]).enqueue('w')"
    starting = [subprocess.Popen([sys.executable, "-c", script, url]) for _ in range(8)]
    assert [process.wait(SOON) for process in starting] == [0] * 8
    assert zjobs.Supervisor(url).count() == 8
    assert [step.version for step in zjobs.migrations(url)] == [1]
    assert zjobs.migrate(url) == []
