"""What goes wrong between a program and PostgreSQL: each with a real server, and an error that says what to do."""

# ruff: noqa: S608 - names of our own

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import pytest

import postgres_server
import zjobs
from proxy import Proxy, TlsProxy

SOON = 30


@pytest.fixture(scope="module")
def server():
    """A server that these tests may end, with a user who needs a password."""
    with postgres_server.running() as server:
        rules = server.data / "pg_hba.conf"
        rules.write_text("host all ann 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute("CREATE ROLE ann LOGIN PASSWORD 'right' SUPERUSER")
            admin.execute("SELECT pg_reload_conf()")
        yield server


@pytest.fixture
def url(server, schema):
    yield f"{server.url}?schema={schema}"
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"SET client_min_messages = error; DROP SCHEMA IF EXISTS {schema} CASCADE")


@pytest.fixture
def proxy(server):
    with contextlib.closing(Proxy(server.port)) as proxy:
        yield proxy


def through(url, server, proxy):
    return url.replace(f":{server.port}/", f":{proxy.port}/")


def table(url):
    return f"{url.rsplit('=', 1)[1]}.jobs"


# --- the server cannot be used ---


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


# --- the connection ends ---


def is_insert(data):
    return b"worker" in data or b"default" in data


@pytest.mark.parametrize("fate", ["cut", "cut after"])
def test_an_enqueue_that_was_cut_off_is_uncertain_and_never_guessed(server, url, proxy, fate):
    jobs = zjobs.Supervisor(through(url, server, proxy))
    jobs.enqueue("before")
    proxy.judge = lambda data: fate if b"lost" in data else "pass"
    with pytest.raises(zjobs.EnqueueUncertain, match="unique key"):
        jobs.enqueue("lost")
    proxy.judge = lambda _: "pass"
    jobs.enqueue("after")
    found = [job.worker for job in jobs.list()]
    assert found == (["before", "after"] if fate == "cut" else ["before", "lost", "after"])


@pytest.mark.parametrize("fate", ["cut", "cut after"])
def test_a_unique_enqueue_that_was_cut_off_is_sent_again(server, url, proxy, fate):
    jobs = zjobs.Supervisor(through(url, server, proxy))
    cuts = []

    def once(data):
        if b"lost" in data and not cuts:
            cuts.append(1)
            return fate
        return "pass"

    jobs.enqueue("before")
    proxy.judge = once
    job = jobs.enqueue("lost", unique_key="k")
    assert cuts == [1]
    assert [one.id for one in jobs.list(worker="lost")] == [job.id]


def test_a_network_that_drops_everything_blocks_no_call_for_long(server, schema, proxy):
    url = through(server.url, server, proxy)
    store = zjobs.PostgresStore(url, schema=schema, call_timeout_seconds=1)
    jobs = zjobs.Supervisor(store)
    jobs.enqueue("w")
    proxy.judge = lambda _: "hold"
    began = time.monotonic()
    with pytest.raises((zjobs.EnqueueUncertain, zjobs.StoreUnavailable), match="no answer within 1 second"):
        jobs.enqueue("w")
    assert time.monotonic() - began < 5
    proxy.judge = lambda _: "pass"
    assert jobs.enqueue("w").id
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"DROP SCHEMA {schema} CASCADE")


def test_a_worker_goes_on_after_cuts_and_after_the_server_was_killed(server, url, proxy):
    jobs = zjobs.Supervisor(through(url, server, proxy), queues={"default": 4})

    @jobs.worker
    def act(n: int) -> None: ...

    client = zjobs.Supervisor(url)
    with jobs:
        for number in range(3):
            client.enqueue_many([("act", {"n": n}) for n in range(50)])
            proxy.cut()
            if number == 1:
                server.stop(signal.SIGKILL)
                server.start()
        deadline = time.monotonic() + SOON
        while client.count_by_state()[zjobs.JobState.COMPLETED] < 150:
            assert time.monotonic() < deadline, client.count_by_state()
            time.sleep(0.05)
    assert client.count() == 150


def test_a_listener_that_is_lost_delays_a_job_by_a_poll_at_most_and_listens_again(server, url):
    jobs = zjobs.Supervisor(url, poll_interval_ms=500)

    @jobs.worker
    def act() -> None: ...

    listening = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    with jobs, psycopg.connect(server.url, autocommit=True) as admin:
        client = zjobs.Supervisor(url)
        deadline = time.monotonic() + SOON
        while not (before := admin.execute(listening).fetchall()):
            assert time.monotonic() < deadline
        admin.execute("SELECT pg_terminate_backend(%s)", before[0])
        assert jobs.wait(client.enqueue("act"), SOON).state is zjobs.JobState.COMPLETED
        while not (after := admin.execute(listening).fetchall()) or after == before:
            assert time.monotonic() < deadline


# --- others at the tables ---


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


def test_rows_that_an_operator_takes_away_are_leases_lost_and_the_worker_goes_on(server, url, eventually):
    jobs = zjobs.Supervisor(url, queues={"default": 4})
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
        gate.set()
        eventually(lambda: len(lost) == 4)
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


def test_one_key_is_taken_once_by_sixteen_clients_whatever_they_do(server, url):
    zjobs.Supervisor(url)
    failures, kinds = [], list(zjobs.UniqueStrategy)

    def race(number):
        try:
            jobs = zjobs.Supervisor(url)
            for turn in range(30):
                strategy = kinds[(number + turn) % len(kinds)]
                jobs.enqueue("w", {"n": number}, unique_key=f"k{turn % 3}", unique_strategy=strategy)
                if turn % 7 == number % 7:
                    jobs.cancel_many(unique_key=f"k{turn % 3}")
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with psycopg.connect(server.url) as connection:
        live = connection.execute(
            f"SELECT unique_key, count(*) FROM {table(url)} WHERE state IN (0, 1, 3, 6) GROUP BY 1"
        )
        assert all(count == 1 for _, count in live.fetchall())


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


# --- TLS ---


@pytest.fixture(scope="module")
def secure(server, tmp_path_factory):
    """The port of a server with a certificate for `localhost`, and the folder of the authority that signed it."""
    assert shutil.which("openssl"), "openssl makes the certificates of this test: install it"
    folder = tmp_path_factory.mktemp("tls")
    signed = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"]
    make_certificate(folder, "ca", "/CN=authority")
    make_certificate(folder, "other", "/CN=stranger")
    make_certificate(folder, "server", "/CN=localhost", *signed, "-CA", "ca.crt", "-CAkey", "ca.key")
    with contextlib.closing(TlsProxy(server.port, folder / "server.crt", folder / "server.key")) as proxy:
        yield proxy.port, folder


def make_certificate(folder, name, subject, *more):
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    files = ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
    command = ["openssl", "req", "-x509", *curve, "-nodes", "-days", "2", "-subj", subject, *files, *more]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def folder_for_anyone():
    """A folder that a server's own user may enter; pytest's are closed to others."""
    with tempfile.TemporaryDirectory(prefix="zjobs-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize(
    ("host", "options", "message"),
    [
        ("localhost", "sslmode=require", None),
        ("localhost", "sslmode=prefer", None),
        ("localhost", "sslmode=verify-ca&sslrootcert={0}/ca.crt", None),
        ("localhost", "sslmode=verify-full&sslrootcert={0}/ca.crt", None),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert={0}/ca.crt", None),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert={0}/ca.crt", "certificate"),
        ("localhost", "sslmode=verify-ca&sslrootcert={0}/other.crt", "certificate"),
        ("localhost", "sslmode=require&sslrootcert={0}/other.crt", "certificate"),
        ("localhost", "sslmode=verify-full&sslrootcert=system", "certificate"),
        ("localhost", "sslmode=disable", "pg_hba.conf"),
        ("localhost", "sslmode=verify-full", "sslrootcert must name the file"),
        ("localhost", "sslmode=verify-full&sslrootcert={0}/none.crt", "must be a PEM file"),
        ("localhost", "sslmode=sometimes", "must be disable, allow, prefer"),
    ],
)
def test_each_sslmode_means_what_it_does_in_libpq(secure, monkeypatch, host, options, message):
    port, folder = secure
    monkeypatch.setenv("HOME", str(folder / "nowhere"))
    url = f"postgresql://postgres@{host}:{port}/postgres?{options.format(folder)}"
    if message is None:
        assert zjobs.Supervisor(url).enqueue("w").id
    else:
        with pytest.raises((zjobs.StoreUnavailable, zjobs.Invalid), match=message):
            zjobs.Supervisor(url)


# --- poolers and followers ---


@contextlib.contextmanager
def pooler(server):
    """PgBouncer in transaction mode before the server; its port."""
    port = postgres_server.free_port()
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "auth_type": "trust",
        "pool_mode": "transaction",
        "default_pool_size": 3,
        "unix_socket_dir": "",
    }
    with folder_for_anyone() as folder:
        (folder / "users").write_text('"postgres" ""\n')
        lines = ["[databases]", f"postgres = host=127.0.0.1 port={server.port}", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in {**settings, "auth_file": folder / "users"}.items()]
        (folder / "ini").write_text("\n".join(lines))
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        with subprocess.Popen(["pgbouncer", "-q", *user, str(folder / "ini")]) as process:
            yield port
            process.kill()


def opened(url, **settings):
    """A supervisor on a server that may still be starting."""
    deadline = time.monotonic() + SOON
    while True:
        with contextlib.suppress(zjobs.StoreUnavailable):
            return zjobs.Supervisor(url, **settings)
        assert time.monotonic() < deadline


@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="PgBouncer is not installed")
def test_everything_works_behind_a_pooler_that_lends_sessions(server, schema, eventually):
    with pooler(server) as port:
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


def test_work_goes_on_at_a_follower_that_was_promoted(eventually):
    with postgres_server.running(settings={"wal_level": "replica"}) as leader:
        with psycopg.connect(leader.url, autocommit=True) as admin:
            admin.execute("SELECT pg_create_physical_replication_slot('one')")
        follower = postgres_server.Server(leader.folder / "follower", settings={"hot_standby": "on"})
        follower.copy_of(leader)
        follower.start()
        try:
            with psycopg.connect(leader.url, autocommit=True) as admin:
                # A commit that was acknowledged is at the follower: nothing may be lost.
                admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                admin.execute("SELECT pg_reload_conf()")
            hosts = f"127.0.0.1:{leader.port},127.0.0.1:{follower.port}"
            url = f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"
            jobs = zjobs.Supervisor(url, queues={"default": 4}, rescue_interval_ms=1000)

            @jobs.worker
            def act(n: int) -> None: ...

            with jobs:
                enqueued = [enqueue_at_last(jobs, n) for n in range(20)]
                leader.stop(signal.SIGKILL)
                follower.run(["pg_ctl", "promote", "-D", str(follower.data)])
                enqueued += [enqueue_at_last(jobs, n) for n in range(20)]
                for number in enqueued:
                    assert jobs.wait(number, SOON).state is zjobs.JobState.COMPLETED
        finally:
            follower.stop(signal.SIGQUIT)


def enqueue_at_last(jobs, n):
    """The number of a job that was surely enqueued; one that is uncertain is enqueued again."""
    deadline = time.monotonic() + SOON
    while True:
        with contextlib.suppress(zjobs.StoreUnavailable, zjobs.EnqueueUncertain):
            return jobs.enqueue("act", {"n": n}).id
        assert time.monotonic() < deadline
