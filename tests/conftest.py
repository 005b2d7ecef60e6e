"""The stores that there are, supervisors that always stop, and waiting without sleeping."""

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import hypothesis
import psycopg
import pytest

import postgres_server
import zjobs
from zjobs import DbStore, MemoryStore, SqliteStore, Store, Supervisor

LONG = 30.0
_SCHEMAS = itertools.count()

# A busy machine is no failure.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


class NewSupervisor(Protocol):
    def __call__(self, **settings: Any) -> Supervisor: ...


class RunScript(Protocol):
    def __call__(self, text: str, *arguments: str, timeout: float = ...) -> subprocess.CompletedProcess[str]: ...


class Eventually(Protocol):
    def __call__(self, predicate: Callable[[], object], seconds: float = ...) -> None: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--switch-interval", type=float, help="seconds between thread switches, such as 1e-6")


def pytest_configure(config: pytest.Config) -> None:
    # Whatever started the tests may ignore them, as nohup does; children have what we have.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    interval = config.getoption("--switch-interval")
    if interval is not None:
        sys.setswitchinterval(interval)


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """A PostgreSQL server for the tests; a missing one fails."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture
def schema() -> str:
    """The name of a schema that no other test has."""
    return f"t{os.getpid()}_{next(_SCHEMAS)}"


@pytest.fixture
def postgres_url(database_url: str, schema: str) -> Iterator[str]:
    """The URL of a store in PostgreSQL, which is gone afterwards."""
    yield f"{database_url}?schema={schema}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"SET client_min_messages = error; DROP SCHEMA IF EXISTS {schema} CASCADE")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store of each kind, for tests that open it in other processes."""
    match request.param:
        case "memory":
            return "memory://"
        case "sqlite":
            return f"sqlite:///{tmp_path}/jobs.db"
        case "postgres":
            return request.getfixturevalue("postgres_url")
        case other:
            raise AssertionError(other)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    match request.param:
        case "memory":
            return MemoryStore()
        case "sqlite":
            return SqliteStore(tmp_path / "jobs.db")
        case "postgres":
            return DbStore(request.getfixturevalue("postgres_url"))
        case other:
            raise AssertionError(other)


@pytest.fixture
def gate() -> threading.Event:
    """What blocked handlers wait for; opened before the supervisors of the test are stopped."""
    return threading.Event()


@pytest.fixture
def jobs(store: Store, gate: threading.Event) -> Iterator[NewSupervisor]:
    """Makes supervisors on the one store; stops them all in the end."""
    made: list[Supervisor] = []

    def new(**settings: Any) -> Supervisor:
        made.append(Supervisor(settings.pop("store", store), **settings))
        return made[-1]

    yield new
    gate.set()
    for supervisor in made:
        if supervisor.is_running:
            supervisor.stop(5)


@pytest.fixture
def eventually() -> Eventually:
    """Waits until something holds, looking often; fails when it does not come true."""

    def wait(predicate: Callable[[], object], seconds: float = LONG) -> None:
        until = time.monotonic() + seconds
        while not predicate():
            assert time.monotonic() < until, f"did not come true within {seconds} seconds"
            threading.Event().wait(0.002)

    return wait


@pytest.fixture
def run_script() -> RunScript:
    """Runs Python text in a process of its own."""

    def run(text: str, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(text), *arguments]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, env=environment, errors="replace"
        )

    return run


@pytest.fixture
def failed(eventually: Eventually) -> Callable[[Supervisor, zjobs.Job], zjobs.AttemptError]:
    """The error of a job's first failed attempt, once it is recorded."""

    def wait(supervisor: Supervisor, job: zjobs.Job) -> zjobs.AttemptError:
        eventually(lambda: supervisor.get(job).errors)
        return supervisor.get(job).errors[0]

    return wait


@pytest.fixture
def server_of_its_own(database_url: str) -> str:
    """A database of its own: the history has no place in a schema of many."""
    name = "crash_history_test"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    return database_url.rsplit("/", 1)[0] + f"/{name}"
