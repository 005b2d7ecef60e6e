"""A server that tests may end, and a way to it that can be cut."""

import contextlib

import psycopg
import pytest

import postgres_server
from proxy import Proxy


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


@pytest.fixture
def other_proxy(server):
    with contextlib.closing(Proxy(server.port)) as proxy:
        yield proxy
