"""What is stored can make a worker run what is registered, and nothing else (I-39)."""

import sqlite3
import sys
from contextlib import closing

import psycopg
import pytest

import zjobs
from zjobs import JobState, Supervisor

NAMES = [
    "os.system",
    "antigravity",
    "a.b.c",
    "builtins.exec",
    "zjobs.cli.main",
    "__import__",
    "good.__call__",
    "subprocess:run",
]


def rename(app, job, name):
    """As somebody does who can write into the database and may not run code."""
    if isinstance(app.store, zjobs.SqliteStore):
        with closing(sqlite3.connect(app.store.path)) as connection:
            connection.execute("UPDATE zjobs_jobs SET worker = ? WHERE id = ?", [name, job.id])
            connection.commit()
    else:
        with psycopg.connect(app.url) as connection:
            connection.execute(f"UPDATE {app.store.schema}.jobs SET worker = %s WHERE id = %s", [name, job.id])  # noqa: S608 - our own


def supervisor(url):
    app = Supervisor(url, queues={"default": 1})
    app.url = url.split("?")[0]
    return app


@pytest.fixture(params=["sqlite", "postgres"])
def app(request, tmp_path):
    in_file = request.param == "sqlite"
    return supervisor(f"sqlite:///{tmp_path}/jobs.db" if in_file else request.getfixturevalue("postgres_url"))


def test_a_row_with_the_name_of_a_module_or_a_function_imports_and_runs_nothing(app, eventually, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.py").write_text("import os; os.mkdir('imported')\ndef c(**_): os.mkdir('run')\n")
    (tmp_path / "a" / "__init__.py").write_text("import os; os.mkdir('imported')\n")

    @app.worker(keep_result=True)
    def good(command: str) -> str:
        return command

    forged = [good.enqueue(command="touch run") for _ in NAMES]
    for job, name in zip(forged, NAMES, strict=True):
        rename(app, job, name)
    before = set(sys.modules)
    with app:
        assert app.result(good.enqueue(command="x"), 30) == "x"
        eventually(lambda: all(app.get(job).state is JobState.SCHEDULED for job in forged))
    assert {"a", "a.b", "antigravity"}.isdisjoint(set(sys.modules) - before)
    assert not (tmp_path / "imported").exists()
    assert not (tmp_path / "run").exists()
    # Another process may know them: they are put back, and cost nothing.
    assert {(job.attempt, job.errors, job.result) for job in map(app.get, forged)} == {(0, (), None)}
    assert [app.get(job).worker for job in forged] == NAMES


def test_a_pickle_in_the_place_of_arguments_is_text_that_cannot_be_read(tmp_path):
    app = supervisor(f"sqlite:///{tmp_path}/jobs.db")

    @app.worker(retry_strategy=lambda _attempt, _error: None)
    def good(command: str) -> None:
        raise AssertionError(command)

    job = good.enqueue(command="x")
    text = """cos\nsystem\n(S'touch run'\ntR."""
    with closing(sqlite3.connect(app.store.path)) as connection:
        connection.execute("UPDATE zjobs_jobs SET args = ? WHERE id = ?", [text, job.id])
        connection.commit()
    with app:
        ended = app.wait(job, 30)
    assert ended.state is JobState.DISCARDED
    assert "AssertionError" not in {error.kind for error in ended.errors}
    assert ended.args_bytes == text.encode()
