"""Damage in a file of jobs or beside it: an error that names the file, no crash, and not a byte written afterwards."""

import gc
import os
import signal
import sqlite3
import subprocess
import sys

import pytest

import zjobs
from zjobs.store import Heartbeat, JobFilter, NewJob

ENDS = ("", "-wal", "-shm", "-journal")
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
    return [file.read_bytes() if (file := path.with_name(path.name + end)).exists() else None for end in ENDS[:2]]


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


MAKE = """
import gc, os, signal, sys, zjobs
for part in range(2):
    jobs = zjobs.Supervisor(f"sqlite:///{sys.argv[1]}")
    for n in range(int(sys.argv[2])):
        jobs.enqueue("w", {"n": n, "text": "x" * 300}, priority=n % 7)
    if part == 0:
        del jobs
        gc.collect()  # the first half is in the file, the second one in the log
os.kill(os.getpid(), signal.SIGKILL)
"""

VARIANTS = """
import os, random, sys, zjobs
from zjobs.store import Heartbeat, JobFilter, NewJob
good, strange, bad, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
read = lambda path: open(path, "rb").read() if os.path.exists(path) else None
data, log, index, foreign = read(good), read(good + "-wal"), read(good + "-shm"), read(strange + "-wal")
told = fine = 0

def flipped(chance, data):
    data = bytearray(data)
    for _ in range(chance.randint(1, 20)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)

for seed in range(count):
    chance = random.Random(seed)
    files = {"": data, "-wal": log, "-shm": chance.choice([None, index]), "-journal": None}
    kind = chance.randrange(8)
    if kind == 0:
        files["-wal"] = None
    elif kind == 1:
        files["-wal"] = log[: chance.randrange(len(log))]
    elif kind == 2:
        files["-wal"] = flipped(chance, log)
    elif kind == 3:
        files["-wal"] = foreign
    elif kind == 4:
        files["-wal"] = chance.randbytes(chance.randrange(20_000))
    elif kind == 5:
        files["-shm"] = flipped(chance, index)
    elif kind == 6:
        files["-journal"] = chance.randbytes(chance.randrange(1, 5000))
    else:
        files[""] = flipped(chance, data)
        files["-wal"] = flipped(chance, log)
    for end, content in files.items():
        if os.path.exists(bad + end):
            os.remove(bad + end)
        if content is not None:
            with open(bad + end, "wb") as file:
                file.write(content)
    damaged = None
    try:
        store = zjobs.SqliteStore(bad)
        for call in (
            lambda: store.heartbeat(Heartbeat("a" * 32)),
            lambda: store.list(JobFilter()),
            lambda: store.enqueue([NewJob("w", b"{}")]),
            lambda: store.claim("a" * 32, "default", 5),
            lambda: store.count_by_state(),
            lambda: store.cancel(JobFilter()),
        ):
            try:
                call()
                fine += 1
            except zjobs.LeaseLost:
                pass  # the beat before it has failed
            except zjobs.Error as error:
                assert bad in str(error), error
                told += 1
                if "is damaged" in str(error) and damaged is None:
                    damaged = [read(bad), read(bad + "-wal")]
        del store
    except zjobs.Error as error:
        assert bad in str(error), error
        told += 1
    if damaged is not None:
        assert damaged == [read(bad), read(bad + "-wal")], f"seed {seed}: written although it was found damaged"
print(told, fine)
"""


def test_damaged_missing_and_foreign_logs_never_crash_us_and_damage_ends_all_writing(tmp_path):
    for name, jobs in (("good.db", 150), ("strange.db", 60)):
        made = subprocess.run([sys.executable, "-c", MAKE, str(tmp_path / name), str(jobs)], check=False)
        assert made.returncode == -signal.SIGKILL
    count = int(os.environ.get("ZJOBS_CORRUPT", "300"))
    arguments = [str(tmp_path / name) for name in ("good.db", "strange.db", "bad.db")]
    command = [sys.executable, "-c", VARIANTS, *arguments, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told, fine = map(int, done.stdout.split())
    assert told > count / 20
    assert fine > count
