"""Text of callers is data, wherever it goes: no statement is made of it (I-37), no line of a log or terminal (S-11)."""

import contextlib
import sqlite3
from contextlib import closing

import psycopg
import pytest

import zjobs
from zjobs import Invalid, JobState, Supervisor, UniqueStrategy

TEXTS = [
    "'; DROP TABLE canary; --",
    '"; DROP TABLE canary; --',
    "x'); DELETE FROM canary; --",
    "%' OR '1'='1",
    "a\\'; DELETE FROM canary; --",
    "$1; $$; %s; %(name)s; {name}; :name; ?1; @p",
    "_%\\_",
    "/* */ -- #",
    "robert;--",
    "'",
    '"',
    "`",
    "]",
    "$tag$",
]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request, tmp_path, schema):
    """A URL, and whether a table beside ours is as it was."""
    if request.param == "memory":
        yield "memory://", lambda: True
    elif request.param == "sqlite":
        path = tmp_path / "jobs.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript("CREATE TABLE canary (id INT); INSERT INTO canary VALUES (1)")

        def sings():
            with closing(sqlite3.connect(path)) as connection:
                return connection.execute("SELECT id FROM canary").fetchall() == [(1,)]

        yield f"sqlite:///{path}", sings
    else:
        url = request.getfixturevalue("postgres_url")
        server = url.split("?")[0]
        zjobs.migrate(url)
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE TABLE {schema}.canary AS SELECT 1 AS id")

        def sings():
            with psycopg.connect(server) as connection:
                return connection.execute(f"SELECT id FROM {schema}.canary").fetchall() == [(1,)]  # noqa: S608 - our own

        # Found without its schema, as a text that became part of a statement would name it.
        yield f"{url}&options=-csearch_path%3D{schema}", sings


def test_a_name_that_breaks_its_rule_goes_nowhere(place):
    url, sings = place
    jobs = Supervisor(url)
    for name in (*TEXTS, *(f"mail{text}" for text in TEXTS)):
        for call in (
            lambda name=name: jobs.enqueue(name),
            lambda name=name: jobs.enqueue("echo", queue=name),
            lambda name=name: jobs.pause_queue(name),
            lambda name=name: jobs.resume_queue(name),
            lambda name=name: jobs.scale_queue(name, 1),
            lambda name=name: jobs.register_cron(name, "@daily", "echo"),
            lambda name=name: jobs.register_cron("c", name, "echo"),
            lambda name=name: jobs.register_cron("c", "@daily", "echo", timezone=name),
            lambda name=name: jobs.pause_cron(name),
            lambda name=name: jobs.delete_cron(name),
        ):
            with pytest.raises((Invalid, zjobs.NotFound)):
                call()
        for look in (
            lambda name=name: jobs.count(queue=name),
            lambda name=name: jobs.count(worker=name),
            lambda name=name: sum(jobs.count_by_state(name).values()),
        ):
            with contextlib.suppress(Invalid):
                assert look() == 0
    assert jobs.count() == 0
    assert jobs.queue_list() == []
    assert sings()


def test_other_text_goes_through_every_call_as_it_is(place):
    url, sings = place
    jobs = Supervisor(url, node=TEXTS[0])

    @jobs.worker(keep_result=True)
    def echo(said: str) -> str:
        return said

    @jobs.worker(retry_strategy=lambda _attempt, _error: None)
    def fails(said: str) -> None:
        raise ValueError(said)

    with jobs:
        assert [node.name for node in jobs.nodes()] == [TEXTS[0]]
        for text in TEXTS:
            options = {"unique_key": text, "tags": (text,), "meta": {text: text}, "schedule_in": 1000}
            first = echo.options(**options).enqueue(said=text)
            assert echo.options(**options).enqueue(said=text).id == first.id
            options |= {"unique_strategy": UniqueStrategy.CANCEL_EXISTING, "schedule_in": 0}
            job = echo.options(**options).enqueue(said=text)
            assert jobs.get(first).state is JobState.CANCELLED
            assert jobs.result(job, 30) == text
            found = jobs.get(job)
            assert (found.args, found.tags, found.meta) == ({"said": text}, (text,), {text: text})
            assert jobs.wait(fails.enqueue(said=text), 30).errors[0].message == text
            # Filters compare, and do not match patterns.
            assert {one.id for one in jobs.list(tags=(text,))} == {first.id, job.id}
            assert jobs.count(tags=(f"%{text}",)) == jobs.count(tags=(f"{text}%",)) == 0
            assert jobs.delete_many(tags=(text,)) == 2
            jobs.register_cron("nightly" + str(TEXTS.index(text)), "@daily", echo, {"said": text}, tags=(text,))
    assert jobs.count() == len(TEXTS)
    assert sings()
