"""What stands before the server, and what takes its place."""

import contextlib
import shutil
import time

import psycopg
import pytest

import postgres_server
import zjobs

SOON = 30


def opened(url, **settings):
    """A supervisor on a server that may still be starting."""
    deadline = time.monotonic() + SOON
    while True:
        with contextlib.suppress(zjobs.StoreUnavailable):
            return zjobs.Supervisor(url, **settings)
        assert time.monotonic() < deadline


# It is no part of what a developer must have; PostgreSQL itself is started always.
NEEDS_POOLER = pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="PgBouncer is not installed")
SEE = """
CREATE TABLE seen (verb text, level text);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO public.seen VALUES (TG_OP, current_setting('transaction_isolation'));
  RETURN NULL;
END $$;
CREATE TRIGGER see AFTER INSERT OR UPDATE ON zjobs.jobs FOR EACH ROW EXECUTE FUNCTION see();
"""


@NEEDS_POOLER
@pytest.mark.parametrize(
    "told",
    [
        {},
        # As some that come with an operator or a compose file do: what we set is dropped without a word.
        {"ignore_startup_parameters": "extra_float_digits,options"},
    ],
    ids=["as it comes", "that drops what it is asked to set"],
)
def test_everything_works_behind_a_pooler_that_lends_sessions(server, schema, eventually, told):
    with postgres_server.pooler(server, **told) as port:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres?schema={schema}"
        jobs = opened(url, poll_interval_ms=200)

        @jobs.worker(keep_result=True, max_attempts=2, retry_strategy=zjobs.Constant(0.01))
        def half(n: int) -> int:
            if n % 2:
                raise ValueError("odd")
            return n // 2

        others = [zjobs.Supervisor(url) for _ in range(4)]
        with jobs:
            for number, other in enumerate(others * 5):
                other.enqueue("half", {"n": number}, unique_key=f"{number}")
            jobs.pause_queue("mail")
            ends = (zjobs.JobState.COMPLETED, zjobs.JobState.DISCARDED)
            eventually(lambda: sum(jobs.count_by_state()[state] for state in ends) == 20)
            assert jobs.result(jobs.enqueue("half", {"n": 42}), timeout=SOON) == 21
        assert jobs.count_by_state()[zjobs.JobState.COMPLETED] == 11
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"SET client_min_messages = error; DROP SCHEMA {schema} CASCADE")


@NEEDS_POOLER
def test_work_behind_a_pooler_is_read_committed_too_where_the_server_would_be_stricter():
    with (
        postgres_server.running(settings={"default_transaction_isolation": "serializable"}) as strict,
        postgres_server.pooler(strict) as port,
        psycopg.connect(strict.url, autocommit=True) as admin,
    ):
        jobs = opened(f"postgresql://postgres@127.0.0.1:{port}/postgres")
        admin.execute(SEE)

        @jobs.worker
        def act(n: int) -> None: ...

        act.enqueue(1)
        act.options(unique_key="k").enqueue(2)
        jobs.enqueue_many([("act", {"n": 3})])
        assert jobs.drain() == {zjobs.JobState.COMPLETED: 3}
        seen = admin.execute("SELECT DISTINCT verb, level FROM seen ORDER BY 1").fetchall()
        assert seen == [("INSERT", "read committed"), ("UPDATE", "read committed")]
        assert admin.execute("SHOW transaction_isolation").fetchone() == ("serializable",)


def test_a_leader_that_has_become_read_only_is_left_for_the_one_that_can_be_written(server):
    with postgres_server.running() as first:
        hosts = f"127.0.0.1:{first.port},127.0.0.1:{server.port}"
        jobs = zjobs.Supervisor(f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write&schema=moved")
        zjobs.migrate(f"{server.url}?schema=moved")
        jobs.enqueue("before")
        assert [job.worker for job in jobs.list()] == ["before"]
        with psycopg.connect(first.url, autocommit=True) as admin:
            # As a leader that was demoted: its sessions go on, and cannot write.
            admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            admin.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + SOON
        with psycopg.connect(first.url, autocommit=True) as session:
            while session.execute("SHOW default_transaction_read_only").fetchone() != ("on",):
                assert time.monotonic() < deadline
        jobs.enqueue("after")
        assert [job.worker for job in zjobs.Supervisor(f"{server.url}?schema=moved").list()] == ["after"]
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("SET client_min_messages = error; DROP SCHEMA moved CASCADE")
