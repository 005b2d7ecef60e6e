"""What the server reads for a claim does not grow with what waits, whatever its planner thinks of it."""

import contextlib
import shutil

import psycopg
import pytest

import postgres_server
import zjobs
from zjobs import Progress
from zjobs.rows import Heartbeat, JobFilter, NewJob, Report

NODE = "a" * 32
WAITING = 5_000


@pytest.fixture(params=["direct", "pooled"])
def way(request, server, schema):
    """The URL of a store without a pooler and with one."""
    if request.param == "direct":
        yield f"{server.url}?schema={schema}"
        return
    if shutil.which("pgbouncer") is None:
        # It is no part of what a developer must have; PostgreSQL itself is started always.
        pytest.skip("PgBouncer is not installed")
    with postgres_server.pooler(server) as port:
        yield f"{server.url.replace(str(server.port), str(port))}?schema={schema}"


def opened(url, eventually):
    def there():
        with contextlib.suppress(zjobs.StoreUnavailable):
            return zjobs.DbStore(url)

    eventually(there)
    return zjobs.DbStore(url)


def rows_read(server, schema, changed):
    """What all sessions have read of the jobs, once they have told that so many were changed."""
    with psycopg.connect(server.url, autocommit=True) as admin:
        told, by_table, by_index = admin.execute(
            "SELECT n_tup_upd, seq_tup_read, (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes AS i"
            " WHERE i.relid = t.relid) FROM pg_stat_user_tables AS t WHERE schemaname = %s AND relname = 'jobs'",
            [schema],
        ).fetchone()
    return int(by_table) + int(by_index) if told == changed else None


@pytest.fixture
def misled(server):
    """A planner that would rather sort all that waits than walk along an index, as for want of statistics."""
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("ALTER ROLE postgres SET enable_indexscan = off")
        yield
        admin.execute("ALTER ROLE postgres RESET enable_indexscan")


@pytest.mark.parametrize("delay", [None, 0.2])
@pytest.mark.usefixtures("misled")
def test_a_claim_reads_what_it_takes_and_little_more(way, server, schema, eventually, delay):
    store = opened(way, eventually)
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"ALTER TABLE {schema}.jobs SET (autovacuum_enabled = off)")
    store.enqueue([NewJob("w", b"{}", schedule_in=delay)] * WAITING)
    store.heartbeat(Heartbeat(NODE, "host", 1, 600.0))
    if delay:
        # Looks that find nothing due yet would be counted, too.
        with psycopg.connect(server.url) as admin:
            admin.execute("SELECT pg_sleep(%s)", [delay])
    staged = 0
    while delay and staged < 100:
        staged += store.stage(10).moved
    for _ in range(10):
        assert len(store.claim(NODE, "default", 10)) == 10
    store = None  # its sessions end, and tell what they have read
    eventually(lambda: rows_read(server, schema, staged + 100) is not None)
    assert rows_read(server, schema, staged + 100) < WAITING


def test_what_a_node_does_all_along_reads_nothing_of_jobs_that_are_over(way, server, schema, eventually):
    store = opened(way, eventually)
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"ALTER TABLE {schema}.jobs SET (autovacuum_enabled = off)")
    store.enqueue([NewJob("w", b"{}")] * WAITING)
    assert len(store.cancel(JobFilter())) == WAITING
    store.heartbeat(Heartbeat(NODE, "host", 1, 600.0))
    store.enqueue([NewJob("w", b"{}")])
    (job,) = store.claim(NODE, "default", 1)
    store = None
    eventually(lambda: rows_read(server, schema, WAITING + 1) is not None)
    before = rows_read(server, schema, WAITING + 1)
    store = opened(way, eventually)
    for _ in range(10):
        assert store.heartbeat(Heartbeat(NODE, "host", 1, 600.0, holds=(job.id,))).lost == ()
        assert (store.rescue(), store.stage(10).moved) == ([], 0)
    store.report(NODE, [Report(job.id, job.lease, Progress(1.0))])
    store = None
    eventually(lambda: rows_read(server, schema, WAITING + 2) is not None)
    assert rows_read(server, schema, WAITING + 2) - before < 1_000
