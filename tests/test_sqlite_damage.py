"""Damage in a file of jobs or beside it: an error that names the file, no crash, and not a byte written afterwards."""

import gc
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import zjobs
from damaged import __main__ as damage
from damaged.variants import ENDS as ALL_ENDS
from damaged.variants import Sources
from zjobs.store import Heartbeat, JobFilter, NewJob

ENDS = ("", "-wal")
NODE = "a" * 32


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


def put(store, count=1):
    return [reply.job for reply in store.enqueue([NewJob("w", b'{"n":1}') for _ in range(count)])]


def root_page(path, name):
    connection = sqlite3.connect(path)
    page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", [name]).fetchone()[0]
    connection.close()
    return page


def contents(path):
    # The index of the log holds locks and marks of readers; only the file and its log hold data.
    return [file.read_bytes() if (file := path.with_name(path.name + end)).exists() else None for end in ENDS]


def find_damage(path, finder):
    """A store finds it, is refused from then on, and is closed. Returns what was there when it was found."""
    store = zjobs.SqliteStore(path)
    store.heartbeat(Heartbeat(NODE))
    with pytest.raises(zjobs.StoreUnavailable, match=r"jobs\.db is damaged and is not written any more.*\.recover"):
        store.list(JobFilter()) if finder == "reader" else put(store)
    before = contents(path)
    for call in (lambda: put(store), lambda: store.pause("mail"), lambda: store.heartbeat(Heartbeat(NODE))):
        with pytest.raises(zjobs.StoreUnavailable, match=r"jobs\.db is damaged"):
            call()
    assert contents(path) == before
    return before


@pytest.mark.parametrize("finder", ["reader", "writer"])
def test_a_file_that_was_found_damaged_is_not_written_any_more(path, finder):
    put(zjobs.SqliteStore(path), 300)
    at = (root_page(path, "zjobs_jobs") - 1) * 4096
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 4096)
    before = find_damage(path, finder)
    gc.collect()
    assert contents(path) == before, "closing wrote"


def test_other_stores_of_the_process_go_on(path, tmp_path):
    put(zjobs.SqliteStore(path), 300)
    path.write_bytes(path.read_bytes()[:8192])
    with pytest.raises(zjobs.StoreUnavailable, match=r"jobs\.db is damaged"):
        zjobs.SqliteStore(path).list(JobFilter())
    assert put(zjobs.SqliteStore(tmp_path / "other.db"))[0].id == 1


def test_a_transaction_of_another_program_that_was_cut_off_is_taken_back(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE users (name TEXT)")
    connection.executemany("INSERT INTO users VALUES (?)", [("x" * 1000,)] * 1000)
    connection.commit()
    connection.close()
    code = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA cache_size = 5")
connection.execute("UPDATE users SET name = 'torn' || name")
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.with_name("jobs.db-journal").stat().st_size > 0
    put(zjobs.SqliteStore(path))
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM users WHERE name LIKE 'torn%'").fetchone() == (0,)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.timeout(150)
def test_damaged_files_end_in_errors_that_name_them_and_are_not_written_after_it_and_never_in_a_crash():
    count = 200
    command = [sys.executable, "-m", "damaged", "--count", str(count)]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(rf"proved: {count} damaged files \(.* and {count} damaged logs \(", done.stdout)


NOTICED, QUIET = {"said": ["x.db is damaged"], "wrong": []}, {"said": [], "wrong": []}


def judged(*ends, kind="logs"):
    """Each end with whether SQLite finds the file sound."""
    return damage.judge(kind, "x.db", [sound for sound, _ in ends], [end for _, end in ends])


def test_files_are_counted_by_how_they_ended():
    counts = judged(*[(False, NOTICED)] * 18, (True, NOTICED), (False, QUIET), *[(True, QUIET)] * 20)
    assert counts.problems == []
    assert counts.sentence() == "40 damaged logs (19 noticed, 20 harmless, 1 unnoticed)"


@pytest.mark.parametrize(
    ("what", "ends"),
    [
        ("logs: 2 with damage went unnoticed, 6 were noticed", [(False, NOTICED)] * 6 + [(False, QUIET)] * 2),
        ("logs: only 1 of 5 were fit for work", [(False, NOTICED)] * 4 + [(True, QUIET)]),
        ("logs, seed 0: it names no file: oh", [(False, {"said": ["oh"], "wrong": []})]),
        ("logs, seed 0: it wrote", [(False, {"said": ["x.db"], "wrong": ["it wrote"]})]),
    ],
)
def test_what_must_not_be_with_damaged_files_is_told(what, ends):
    healthy = [(True, QUIET)] * (0 if "only" in what else 4)
    assert judged(*ends, *healthy).problems == [what]


def test_files_that_nobody_looked_through_are_told():
    assert damage.judge("logs", "x.db", [True], [QUIET] * 2).problems == ["2 logs were opened and 1 looked through"]


def test_files_to_which_nothing_was_done_are_told(monkeypatch):
    files = dict(zip(ALL_ENDS, (b"\1" * 8192, b"\2" * 8192, b"\3" * 8192, None), strict=True))
    sources = Sources(b"\4" * 8192, files, b"\5" * 8192)
    for kind in ("files", "logs"):
        assert damage.undamaged(sources, kind, 100) == []
    # One of the eight ways in which a log is damaged is none.
    do, left = Sources.variant, dict(files) | {"-shm": None}
    monkeypatch.setattr(Sources, "variant", lambda *which: do(*which) if which[2] % 8 else left)
    assert damage.undamaged(sources, "logs", 100) == ["logs: 13 of 100 are whole"]
