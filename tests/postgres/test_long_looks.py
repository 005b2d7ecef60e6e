"""Looks along all that runs, which take long while somebody holds a snapshot: what is urgent does not wait for them."""

import contextlib
import time

import psycopg
import pytest

import zjobs
from zjobs.rows import Acked, Heartbeat, NewJob, Pulse
from zjobs.testing.harness import End

NODE, OTHER = "a" * 32, "b" * 32
TIME = 1.5
"""Seconds: what a call may take."""


@pytest.fixture
def store(server, url, schema):
    return zjobs.PostgresStore(server.url, schema=schema, call_timeout_seconds=TIME)


@pytest.fixture
def nobody_reads_jobs(server, schema):
    """As long as this is entered, every look at the jobs takes as long as it may."""

    @contextlib.contextmanager
    def locked():
        with psycopg.connect(server.url) as admin:
            admin.execute(f"LOCK TABLE {schema}.jobs IN ACCESS EXCLUSIVE MODE")
            yield

    return locked


def beat(store, *holds, node=NODE, ttl=600.0):
    return store.heartbeat(Heartbeat(node, "host", 1, ttl, holds=holds))


def test_a_beat_is_not_held_up_for_long_and_the_next_not_at_all(store, nobody_reads_jobs):
    beat(store)
    with nobody_reads_jobs():
        began = time.monotonic()
        assert beat(store) == Pulse(alive=True)
        assert time.monotonic() - began < TIME, "the look was given up in time"
        began = time.monotonic()
        assert all(beat(store).alive for _ in range(10))
        assert time.monotonic() - began < TIME / 3, "there was no other look"


def test_jobs_that_a_node_does_not_know_are_found_after_a_claim_without_a_reply(store, nobody_reads_jobs):
    beat(store)
    with nobody_reads_jobs():
        beat(store)
    store.enqueue([NewJob("w", b"{}")])
    (job,) = store.claim(NODE, "default", 1)
    unknown = Pulse(alive=True, unknown=((job.id, job.lease),))
    assert beat(store, job.id) == Pulse(alive=True)
    assert beat(store) == Pulse(alive=True), "the last look took long"
    with nobody_reads_jobs(), pytest.raises(zjobs.StoreUnavailable):
        store.claim(NODE, "default", 1)
    assert [beat(store), beat(store)] == [unknown, unknown]
    assert beat(store, job.id) == Pulse(alive=True)


def test_jobs_of_the_dead_do_not_wait_for_a_look_for_strays(store, server, schema, nobody_reads_jobs, eventually):
    store.enqueue([NewJob("w", b"{}")] * 2)
    beat(store)
    (stray,) = store.claim(NODE, "default", 1)
    with psycopg.connect(server.url) as admin:
        question = f"UPDATE {schema}.jobs SET node = 4711 WHERE id = %s"  # noqa: S608 - our own words
        admin.execute(question, [stray.id])
    with nobody_reads_jobs(), pytest.raises(zjobs.StoreUnavailable):
        store.rescue()
    assert store.rescue() == [], "the last look took long"
    beat(store, node=OTHER, ttl=0.2)
    (job,) = store.claim(OTHER, "default", 1)
    found = []
    eventually(lambda: found.extend(store.rescue()) or found)
    assert {one.job.id for one in found} == {stray.id, job.id}


@pytest.fixture
def slow_walks(store, server, schema):
    """A user of the same store for whom each walk along what a node runs takes a while, and nothing else does."""
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("CREATE ROLE slow LOGIN")
        admin.execute(f"GRANT ALL ON SCHEMA {schema} TO slow; GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO slow")
        admin.execute(
            f"CREATE POLICY slow ON {schema}.jobs"
            " USING (current_query() NOT LIKE '%WHERE state = 1 AND node =%' OR pg_sleep(0.1) IS NOT NULL)"
        )
        admin.execute(f"ALTER TABLE {schema}.jobs ENABLE ROW LEVEL SECURITY")
        yield zjobs.PostgresStore(server.url.replace("postgres@", "slow@"), schema=schema)
        admin.execute("DROP OWNED BY slow; DROP ROLE slow")


def test_a_job_that_was_found_to_be_unknown_is_so_until_it_is_over(store, slow_walks):
    beat(slow_walks)
    store.enqueue([NewJob("w", b"{}")] * 2)
    (first,) = slow_walks.claim(NODE, "default", 1)
    unknown = Pulse(alive=True, unknown=((first.id, first.lease),))
    assert beat(slow_walks) == unknown
    (second,) = slow_walks.claim(NODE, "default", 1)
    assert [beat(slow_walks, second.id), beat(slow_walks)] == [unknown, unknown], "there was no other walk"
    assert store.ack(NODE, [End.done().ack(first)]) == [Acked.STORED]
    assert beat(slow_walks) == Pulse(alive=True)
