"""Jobs that belong to a transaction of the user's own, on real files."""

import re
import sqlite3
import threading
from types import SimpleNamespace

import django
import pytest
import sqlalchemy
from django.conf import settings
from django.db import connections as django_connections
from django.db import transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

import zjobs
import zjobs.testing


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


@pytest.fixture
def jobs(path):
    return zjobs.Supervisor(f"sqlite:///{path}")


@pytest.fixture
def connection(path, jobs):
    del jobs
    connection = sqlite3.connect(path)
    yield connection
    connection.close()


def ids(jobs):
    return [job.id for job in jobs.list()]


def test_a_job_exists_when_its_transaction_commits_and_not_before(jobs, connection):
    job = jobs.enqueue("w", {"n": 1}, connection=connection, priority=-2, tags=("a",))
    assert ids(jobs) == []
    connection.commit()
    [found] = jobs.list()
    assert (found.id, found.args, found.priority, found.tags) == (job.id, {"n": 1}, -2, ("a",))


def test_a_job_is_gone_with_its_transaction(jobs, connection, path):
    jobs.enqueue("w", connection=connection)
    connection.rollback()
    connection.execute("BEGIN")
    connection.execute("SAVEPOINT inner_one")
    jobs.enqueue("w", connection=connection)
    connection.execute("ROLLBACK TO inner_one")
    connection.commit()
    left = sqlite3.connect(path)
    jobs.enqueue("w", connection=left)
    left.close()
    assert ids(jobs) == []


def test_a_typed_worker_takes_the_connection_among_its_options(jobs, connection):
    @jobs.worker(queue="mail")
    def send(to: str) -> None: ...

    assert send.options(connection=connection).enqueue(to="ann").queue == "mail"
    with pytest.raises(zjobs.Invalid):
        send.options(connection=connection).enqueue(1)  # type: ignore[arg-type]
    connection.commit()
    assert [job.args for job in jobs.list()] == [{"to": "ann"}]


def test_no_connection_is_as_if_the_option_were_not_there(jobs):
    assert jobs.enqueue("w", connection=None, priority=3).priority == 3
    assert len(ids(jobs)) == 1


def test_a_job_runs_when_its_transaction_has_committed(jobs, connection):
    @jobs.worker(keep_result=True)
    def double(n: int) -> int:
        return 2 * n

    with jobs:
        job = double.options(connection=connection).enqueue(21)
        connection.commit()
        assert jobs.result(job, timeout=20) == 42


@pytest.mark.parametrize("state", ["available", "scheduled", "executing"])
def test_a_key_that_is_taken_gives_its_job_or_replaces_it(jobs, connection, state):
    delay = 60 if state == "scheduled" else None
    first = jobs.enqueue("w", {"n": 1}, unique_key="k", schedule_in=delay)
    if state == "executing":
        jobs.store.heartbeat(zjobs.store.Heartbeat("a" * 32))
        jobs.store.claim("a" * 32, "default", 1)
    met = jobs.enqueue("w", {"n": 2}, unique_key="k", connection=connection)
    assert (met.id, met.conflict, str(met.state)) == (first.id, True, state)
    assert met.node == ("a" * 32 if state == "executing" else None)
    strategy = zjobs.UniqueStrategy.CANCEL_EXISTING
    second = jobs.enqueue("w", {"n": 3}, unique_key="k", unique_strategy=strategy, connection=connection)
    assert (second.id, second.conflict) == (first.id + 1, False)
    connection.commit()
    old = jobs.get(first)
    assert old.cancel_requested if state == "executing" else old.state is zjobs.JobState.CANCELLED
    assert jobs.enqueue("w", unique_key="k").id == second.id


@pytest.mark.parametrize("isolation", [None, "", "IMMEDIATE"])
@pytest.mark.parametrize("strategy", zjobs.UniqueStrategy)
def test_threads_that_want_one_key_insert_it_once(jobs, path, isolation, strategy):
    failed = []

    def race():
        connection = sqlite3.connect(path, timeout=30, isolation_level=isolation)
        try:
            for number in range(40):
                jobs.enqueue("w", unique_key=f"k{number}", unique_strategy=strategy, connection=connection)
                connection.commit()
        except sqlite3.Error as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    live = [job.unique_key for job in jobs.list(states=[zjobs.JobState.AVAILABLE], limit=1000)]
    assert sorted(live) == sorted(f"k{number}" for number in range(40))


def test_another_file_or_kind_of_store_is_refused(jobs, tmp_path, connection):
    with sqlite3.connect(tmp_path / "other.db") as other, pytest.raises(zjobs.Invalid, match=r"must lead to the file"):
        jobs.enqueue("w", connection=other)
    other.close()
    with sqlite3.connect(":memory:") as memory, pytest.raises(zjobs.Invalid, match="a database in memory"):
        jobs.enqueue("w", connection=memory)
    memory.close()
    with pytest.raises(zjobs.Invalid, match="connection must be a sqlite3, aiosqlite, SQLAlchemy or Django connection"):
        jobs.enqueue("w", connection="sqlite:///jobs.db")
    with pytest.raises(zjobs.Invalid, match="needs a store in a database"):
        zjobs.Supervisor().enqueue("w", connection=connection)
    with pytest.raises(zjobs.Invalid, match="priority"):
        jobs.enqueue("w", connection=connection, priority="high")  # type: ignore[arg-type]
    assert not connection.in_transaction


def test_tables_that_are_gone_are_told(jobs, connection, path):
    connection.execute("DROP TABLE zjobs_jobs")
    with pytest.raises(zjobs.SchemaMismatch, match=f"^{re.escape(str(path))} does not have .*zjobs migrate"):
        jobs.enqueue("w", connection=connection)


def test_rows_of_the_connections_own_kind_are_understood(jobs, connection):
    connection.row_factory = sqlite3.Row
    jobs.enqueue("w", unique_key="k", connection=connection)
    assert jobs.enqueue("w", unique_key="k", connection=connection).conflict


async def test_the_async_form_uses_the_connection_where_it_is(jobs, connection):
    await jobs.enqueue_async("w", connection=connection)
    connection.commit()
    assert len(ids(jobs)) == 1


def test_sqlalchemy_connections_and_sessions_keep_to_their_transaction(jobs, path):
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        jobs.enqueue("w", {"by": "rolled back"}, connection=connection)
        connection.rollback()
        jobs.enqueue("w", {"by": "connection"}, connection=connection, unique_key="k")
        assert jobs.enqueue("w", connection=connection, unique_key="k").conflict
        connection.commit()
    with Session(engine) as session:
        jobs.enqueue("w", {"by": "session"}, connection=session)
        session.commit()
    engine.dispose()
    assert [job.args["by"] for job in jobs.list()] == ["connection", "session"]


class Before:
    """Stands before a connection, as what traces statements does."""

    def __init__(self, connection):
        self._connection = connection

    def __getattr__(self, name):
        return getattr(self._connection, name)


def test_django_connections_keep_to_their_transaction(jobs, path):
    if not settings.configured:
        settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}})
        django.setup()
    connection = django_connections["default"]
    with transaction.atomic():
        jobs.enqueue("w", {"by": "rolled back"}, connection=connection)
        transaction.set_rollback(True)
    with transaction.atomic():
        jobs.enqueue("w", {"by": "100 %s"}, connection=connection, unique_key="k")
        assert jobs.enqueue("w", connection=connection, unique_key="k").conflict
        assert ids(jobs) == []
        jobs.enqueue("w", {"by": "what stands before it"}, connection=Before(connection))
    connection.close()
    assert [job.args["by"] for job in jobs.list()] == ["100 %s", "what stands before it"]


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "queue": st.sampled_from(["default", "mail"]),
        "priority": st.integers(-(2**31), 2**31 - 1),
        "max_attempts": st.integers(1, 50),
        "schedule_in": st.integers(0, 10**6),
        "unique_key": st.sampled_from(["a", "b"]),
        "unique_strategy": st.sampled_from(zjobs.UniqueStrategy),
        "timeout_seconds": st.none() | st.integers(1, 10**6),
        "meta": st.dictionaries(
            st.text("aé%:", max_size=3), st.integers(-(2**63), 2**63 - 1) | st.text("aé%:", max_size=3), max_size=2
        ),
        "tags": st.lists(st.sampled_from(["x", "y"]), unique=True).map(tuple),
    },
)
PARTS = (
    *("id", "state", "queue", "worker", "args", "priority", "attempt", "max_attempts", "scheduled_at", "inserted_at"),
    *("timeout_seconds", "unique_key", "meta", "tags", "errors", "cancel_requested", "conflict", "completed_at"),
)


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(calls=st.lists(OPTIONS, min_size=1, max_size=6))
def test_a_connection_gives_the_same_jobs_as_the_store(tmp_path_factory, calls):
    clock = zjobs.testing.ManualClock()
    sides = []
    for by_connection in (False, True):
        path = tmp_path_factory.mktemp("same") / "jobs.db"
        jobs = zjobs.Supervisor(zjobs.SqliteStore(path, clock=clock))
        connection = sqlite3.connect(path) if by_connection else None
        told = [jobs.enqueue("w", {"n": 1}, connection=connection, **options) for options in calls]
        if connection is not None:
            connection.commit()
            connection.close()
        sides.append(SimpleNamespace(told=told, found=jobs.list()))
    for one, two in zip(*[[*side.told, *side.found] for side in sides], strict=True):
        assert [getattr(one, part) for part in PARTS] == [getattr(two, part) for part in PARTS]
