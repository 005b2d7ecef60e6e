"""Others at the same tables: locks, an operator's hand, races, the child of a fork."""

# ruff: noqa: S608 - names of our own

import contextlib
import os
import threading
import time

import psycopg
import pytest

import postgres_server
import zjobs

SOON = 30


def table(url):
    return f"{url.rsplit('=', 1)[1]}.jobs"


def test_a_lock_that_somebody_holds_is_told(server, schema):
    jobs = zjobs.Supervisor(zjobs.PostgresStore(server.url, schema=schema, call_timeout_seconds=0.5))
    jobs.enqueue("w")
    with psycopg.connect(server.url) as other:
        other.execute(f"LOCK TABLE {schema}.jobs")
        with pytest.raises((zjobs.StoreUnavailable, zjobs.EnqueueUncertain), match=r"pg_stat_activity|no answer"):
            jobs.enqueue("w")
        other.rollback()
    assert jobs.enqueue("w").id
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.mark.parametrize("by", ["the beat", "the end of the handler"])
def test_rows_that_an_operator_takes_away_are_leases_lost_and_the_worker_goes_on(server, url, eventually, by):
    jobs = zjobs.Supervisor(url, queues={"default": 4}, rescue_interval_ms=1000 if by == "the beat" else 60_000)
    gate, began, lost = threading.Event(), threading.Semaphore(0), []
    jobs.telemetry.attach(lost.append, zjobs.telemetry.LeaseLost)

    @jobs.worker
    def act(n: int) -> None:
        began.release()
        gate.wait(SOON)

    with jobs:
        jobs.enqueue_many([("act", {"n": n}) for n in range(4)])
        for _ in range(4):
            assert began.acquire(timeout=SOON)
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute(f"TRUNCATE {table(url)}")
        if by != "the beat":
            gate.set()
        eventually(lambda: len(lost) == 4)
        gate.set()
        assert jobs.wait(jobs.enqueue("act", {"n": 9}), SOON).state is zjobs.JobState.COMPLETED


def test_nonsense_by_hand_is_refused_by_the_tables_and_the_rest_is_taken(server, url):
    jobs = zjobs.Supervisor(url)

    @jobs.worker
    def act(n: int) -> None: ...

    job = jobs.enqueue("act", {"n": 1})
    with psycopg.connect(server.url, autocommit=True) as admin:
        for nonsense in ("state = 9", "state = 1", "attempt = 99", "max_attempts = 0", "queue = ''", "errors = '{}'"):
            with pytest.raises(psycopg.errors.CheckViolation):
                admin.execute(f"UPDATE {table(url)} SET {nonsense}")
        admin.execute(f"UPDATE {table(url)} SET errors = '[5, {{}}]', tags = '{{a}}', args = '[]', crashes = 2")
    assert (jobs.get(job).errors, jobs.get(job).tags) == ((), ("a",))
    jobs.drain()
    assert jobs.get(job).state in {zjobs.JobState.RETRYABLE, zjobs.JobState.DISCARDED}


def test_the_child_of_a_fork_is_refused_and_the_parent_goes_on(url):
    store = zjobs.DbStore(url)
    store.count(zjobs.JobFilter())
    child = os.fork()
    if child == 0:
        try:
            store.count(zjobs.JobFilter())
        except zjobs.StoreUnavailable as error:
            os._exit(0 if "fork" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert store.count(zjobs.JobFilter()) == 0


def test_opposite_orders_of_locking_are_tried_again(server, url):
    jobs = zjobs.Supervisor(url)
    ids = [job.id for job in jobs.enqueue_many([("w", {})] * 40)]
    failures = []

    def act(number):
        try:
            with psycopg.connect(server.url, autocommit=True) as admin:
                for turn in range(15):
                    order = ids if (number + turn) % 2 else ids[::-1]
                    # Whoever edits by hand locks one row after the other, in whatever order.
                    with contextlib.suppress(psycopg.errors.DeadlockDetected), admin.transaction():
                        for one in order:
                            admin.execute(f"UPDATE {table(url)} SET priority = {turn} WHERE id = {one}")
                    time.sleep(0.05)
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    def work():
        try:
            for _ in range(15):
                jobs.cancel_many(states=[zjobs.JobState.AVAILABLE])
                jobs.retry_many(states=[zjobs.JobState.CANCELLED])
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET deadlock_timeout = '20ms'")
        admin.execute("SELECT pg_reload_conf()")
    threads = [threading.Thread(target=act, args=(number,)) for number in range(2)]
    threads += [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert jobs.count() == 40


def test_notifications_that_find_no_room_fail_no_enqueue(schema):
    with postgres_server.running(18, {"max_notify_queue_pages": "64"}) as server:
        jobs = zjobs.Supervisor(f"{server.url}?schema={schema}", poll_interval_ms=200)

        @jobs.worker
        def act() -> None: ...

        with (
            psycopg.connect(server.url, autocommit=True) as stuck,
            psycopg.connect(server.url, autocommit=True) as admin,
        ):
            stuck.execute("LISTEN other")
            stuck.execute("BEGIN")
            with pytest.raises(psycopg.errors.Error, match="too many notifications"):
                fill(admin)
            client = zjobs.Supervisor(f"{server.url}?schema={schema}")
            with jobs:
                made = [client.enqueue("act") for _ in range(20)]
                assert all(jobs.wait(job, SOON).state is zjobs.JobState.COMPLETED for job in made)


def fill(admin):
    for number in range(100_000):
        admin.execute(f"SELECT pg_notify('other', repeat('x', 7900) || {number})")


def test_ids_that_are_used_up_are_told(server, url):
    jobs = zjobs.Supervisor(url)
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"ALTER TABLE {table(url)} ALTER COLUMN id RESTART WITH {2**63 - 1}")
    assert jobs.enqueue("w").id == 2**63 - 1
    with pytest.raises(zjobs.Error, match="maximum value of sequence"):
        jobs.enqueue("w")
    assert jobs.get(2**63 - 1).worker == "w"


def test_what_was_running_when_a_backup_was_taken_is_rescued_after_it_was_restored(server, url, eventually):
    jobs = zjobs.Supervisor(url, queues={"default": 1}, rescue_interval_ms=1000)
    gate, runs = threading.Event(), []

    @jobs.worker
    def act() -> None:
        runs.append(1)
        gate.wait(SOON)

    schema = url.rsplit("=", 1)[1]
    with jobs:
        job = jobs.enqueue("act")
        eventually(lambda: runs)
        kept = server.run(["pg_dump", "-n", schema, server.url]).stdout
        gate.set()
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE restored")
    there = server.url.rsplit("/", 1)[0] + "/restored"
    (server.folder / "backup.sql").write_text(kept)
    server.run(["psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(server.folder / "backup.sql"), there])
    again = zjobs.Supervisor(f"{there}?schema={schema}", queues={"default": 1}, rescue_interval_ms=1000)
    again.register_worker(zjobs.WorkerDef("act", lambda _: None))
    assert again.get(job).state is zjobs.JobState.EXECUTING
    with again:
        done = again.wait(job, SOON)
    assert (done.state, done.attempt, done.crashes) == (zjobs.JobState.COMPLETED, 2, 1)
