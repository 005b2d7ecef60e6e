"""The short form of `make many-scheduled`, and what it makes of what it saw."""

from dataclasses import replace

import psycopg
import pytest

import zjobs
from many_scheduled import Seen, judge, measured, sentence

GOOD = Seen("SQLite", waiting=1_000, alone=2.0, beside=3.9, due=100, staged=100, grown=63.0)


def test_a_store_in_which_many_wait_is_as_quick_as_others_and_stages_in_little_memory():
    assert judge(GOOD) == []
    assert sentence(GOOD) == (
        "SQLite: 99 % of claims within 3.90 ms beside 1000 scheduled jobs, 2.00 alone; "
        "100 that were due at once staged in 63.0 MiB"
    )


@pytest.mark.parametrize(
    ("problem", "changes"),
    [
        ("a claim took 4.10 ms beside 1000 that wait, 2.00 ms alone", {"beside": 4.1}),
        ("all were staged before the process had started that was to stage them", {"due": 0, "staged": 0}),
        ("99 of 100 were staged", {"staged": 99}),
        ("who staged 100 took 65 MiB more memory, and may take 64 MiB", {"grown": 65.0}),
    ],
)
def test_what_is_wrong_is_told(problem, changes):
    assert judge(replace(GOOD, **changes)) == [f"SQLite: {problem}"]


@pytest.fixture
def on_sqlite(tmp_path):
    return lambda name: (f"sqlite:///{tmp_path}/{name}.db", zjobs.SqliteStore(tmp_path / f"{name}.db"))


@pytest.fixture
def on_postgres(database_url, schema):
    made = []

    def new(name):
        made.append(f"{schema}_{name}")
        url = f"{database_url}?schema={made[-1]}"
        zjobs.migrate(url)
        return url, zjobs.PostgresStore(database_url, schema=made[-1])

    yield new
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"SET client_min_messages = error; DROP SCHEMA {', '.join(made)} CASCADE")


@pytest.mark.parametrize("kind", ["on_postgres", "on_sqlite"])
def test_all_that_wait_are_there_in_the_end_and_all_that_became_due_were_staged(kind, request):
    seen = measured(kind, request.getfixturevalue(kind), jobs=2_000, count=20)
    assert (seen.waiting, seen.due, seen.staged) == (2_000, 200, 200)
    assert judge(replace(seen, beside=seen.alone)) == []
