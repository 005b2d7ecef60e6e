"""Faults of a file of jobs, on real files: each a clear error that names the file, and nothing lost."""

import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading

import pytest

import zjobs
from zjobs.store import JobFilter, NewJob

STATES = zjobs.JobState


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


def opened(path, **options):
    return zjobs.SqliteStore(path, **options)


def put(store, count=1):
    return [reply.job for reply in store.enqueue([NewJob("w", b'{"n":1}') for _ in range(count)])]


def in_own_mounts(code, *args):
    """Runs the code where it may mount what nobody else sees."""
    program = "import os, subprocess, sys, zjobs\n" + textwrap.dedent(code)
    command = ["unshare", "--map-root-user", "--mount", sys.executable, "-c", program, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- the disk (F-38, F-39) ---


def test_a_full_disk_raises_and_all_goes_on_when_there_is_space_again(tmp_path):
    code = """
        import threading
        folder = sys.argv[1]
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", folder], check=True)
        jobs = zjobs.Supervisor(f"sqlite:///{folder}/jobs.db", queues={"default": 2})
        go, ended = threading.Event(), threading.Event()

        @jobs.worker
        def waits() -> None:
            go.wait()

        @jobs.worker
        def noop(text: str) -> None: ...

        jobs.start()
        held = waits.enqueue()
        told, text = [], "x" * 50_000
        try:
            while True:
                told.append(noop.options(schedule_in=3600).enqueue(text).id)
        except zjobs.StoreUnavailable as error:
            print(error)
        go.set()
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
        told.append(noop.enqueue("more").id)
        print(jobs.wait(held, 30).state, jobs.wait(told[-1], 30).state)
        found = {job.id for job in jobs.store.list(zjobs.JobFilter())}
        print("lost", set(told) - found)
        jobs.stop()
    """
    error, states, lost = in_own_mounts(code, tmp_path).splitlines()
    assert "there is no space left for" in error
    assert "jobs.db" in error
    assert states == "completed completed"
    assert lost == "lost set()"


def test_a_file_on_a_disk_that_is_read_only_says_so(tmp_path):
    put(opened(tmp_path / "jobs.db"))
    code = """
        folder = sys.argv[1]
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        for name in ("jobs.db", "new.db"):
            try:
                zjobs.SqliteStore(f"{folder}/{name}")
            except zjobs.StoreUnavailable as error:
                print(error)
    """
    old, new = in_own_mounts(code, tmp_path).splitlines()
    assert "jobs.db" in old
    assert "permissions" in old
    assert "new.db" in new
    assert "permissions" in new
    assert not (tmp_path / "new.db").exists()


def test_a_process_that_read_while_its_disk_took_no_writes_writes_again_when_it_does(tmp_path):
    # The mount is met by whoever opens the file, the limit by whoever has it open: as on a disk that became read-only.
    code = """
        import resource
        from zjobs.store import JobFilter, NewJob
        folder = sys.argv[1]
        subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
        store = zjobs.SqliteStore(f"{folder}/jobs.db")

        def put():
            try:
                return store.enqueue([NewJob("w", b"{}")])[0].job.id
            except (zjobs.StoreUnavailable, zjobs.EnqueueUncertain):
                return "refused"

        def limit(size):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        said = [put()]
        subprocess.run(["mount", "--bind", "-o", "ro", folder, folder], check=True)
        limit(0)
        said += [put(), put(), store.count(JobFilter()), store.count(JobFilter())]
        limit(resource.RLIM_INFINITY)
        subprocess.run(["umount", "--lazy", folder], check=True)
        put()  # the connection that met the disk as it was
        print(*said, put())
    """
    *said, last = in_own_mounts(code, tmp_path).split()
    assert said == ["1", "refused", "refused", "1", "1"]
    assert last in {"2", "3"}


def test_no_writer_is_opened_on_a_disk_that_is_read_only_though_others_in_the_process_can_still_write(tmp_path):
    # SQLite would open it for reading alone and say nothing; a lock that it asked for there it would not have.
    code = """
        folder = sys.argv[1]
        subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
        stores = [zjobs.SqliteStore(f"{folder}/jobs.db")]
        subprocess.run(["mount", "--bind", "-o", "ro", folder, folder], check=True)
        try:
            while len(stores) < 9:  # what was opened before the mount, and given back, serves the first of them
                stores.append(zjobs.SqliteStore(f"{folder}/jobs.db"))
        except zjobs.StoreUnavailable as error:
            print(error)
    """
    assert "mend the permissions" in in_own_mounts(code, tmp_path)


# --- what is in the file (F-40, F-48) ---


def test_a_file_that_is_no_database_is_refused_and_stays_as_it_is(path):
    path.write_text("my precious notes\n" * 100)
    with pytest.raises(zjobs.StoreUnavailable, match=r"jobs\.db is no SQLite database"):
        opened(path)
    assert path.read_text() == "my precious notes\n" * 100


def test_an_empty_file_becomes_a_store(path):
    path.touch()
    assert put(opened(path))[0].id == 1


def test_our_tables_stand_beside_those_of_an_application(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
        connection.execute("INSERT INTO users VALUES ('ann')")
    connection.close()
    store = opened(path)
    put(store)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM users").fetchall() == [("ann",)]
    connection.close()


def test_a_folder_is_no_file_of_jobs(tmp_path):
    with pytest.raises(zjobs.Invalid, match="path must be a file"):
        opened(tmp_path)


def test_a_missing_file_is_not_made_when_it_must_be_there(path):
    with pytest.raises(zjobs.StoreUnavailable, match="there is no file"):
        opened(path, create=False)
    assert not path.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE zjobs_migrations SET version = 7", "has schema 7, and this version of zjobs knows up to 1"),
        ("UPDATE zjobs_migrations SET checksum = 'x'", "is not the one that this version of zjobs knows"),
    ],
)
def test_a_schema_of_another_version_is_refused_unchanged(path, change, message):
    put(opened(path))
    with sqlite3.connect(path) as connection:
        connection.execute(change)
    connection.close()
    with pytest.raises(zjobs.SchemaMismatch, match=message) as error:
        opened(path)
    assert str(path) in str(error.value)
    with pytest.raises(zjobs.SchemaMismatch):
        zjobs.migrate(f"sqlite:///{path}")


def test_a_file_without_our_tables_is_told_from_one_that_lost_them(path):
    store = opened(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE zjobs_jobs")
    connection.close()
    with pytest.raises(zjobs.SchemaMismatch, match="does not have the tables"):
        put(store)


# --- other programs (F-43) ---


def hold(path, seconds):
    """Another process that has the write lock for a while; returns when it has it."""
    code = f"""
import sqlite3, sys, threading
connection = sqlite3.connect({str(path)!r}, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
threading.Event().wait({seconds})
connection.execute("COMMIT")
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_call_waits_for_another_programs_transaction(path):
    store = opened(path)
    with hold(path, 0.5):
        assert put(store)[0].id == 1


def test_a_lock_that_is_held_too_long_is_an_error_that_changes_nothing(path):
    store = opened(path, busy_timeout_seconds=0.2)
    with (
        hold(path, 1.0) as process,
        pytest.raises(zjobs.StoreUnavailable, match=r"jobs\.db is locked by another program for more than 0\.2 s"),
    ):
        put(store)
    process.wait()
    assert store.count(JobFilter()) == 0
    put(store)


def test_sixteen_processes_write_by_turns_and_nothing_is_lost(path):
    opened(path)
    code = """
import sys, zjobs
jobs = zjobs.Supervisor(f"sqlite:///{sys.argv[1]}")
print(*[jobs.enqueue("w", {"n": n}).id for n in range(50)])
"""
    command = [sys.executable, "-c", code, str(path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(16)]
    told = [int(number) for process in processes for number in process.communicate(timeout=100)[0].split()]
    assert sorted(told) == list(range(1, 801))
    assert opened(path).count(JobFilter()) == 800


def test_a_call_that_fails_takes_back_nothing_of_those_that_share_its_commit(path):
    store = opened(path)
    failed = []

    def fail():
        for _ in range(100):
            with pytest.raises(zjobs.LeaseLost) as error:
                store.claim("b" * 32, "default", 1)
            failed.append(error)

    def succeed():
        for _ in range(100):
            put(store)

    threads = [threading.Thread(target=work) for work in [fail, *[succeed] * 6]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) == 100
    assert store.count_by_state()[STATES.AVAILABLE] == 600


# --- where the file is (F-45, S-13) ---


@pytest.mark.parametrize("what", ["moved", "deleted", "replaced"])
def test_a_file_that_is_gone_while_it_is_open_stops_all_writing(path, what):
    store = opened(path)
    put(store)
    if what == "deleted":
        path.unlink()
    else:
        path.rename(path.with_name("elsewhere.db"))
    if what == "replaced":
        path.write_bytes(b"")
    with pytest.raises(zjobs.StoreUnavailable, match=r"jobs\.db was moved, replaced or deleted"):
        put(store)
    if what == "moved":
        path.with_name("elsewhere.db").rename(path)
        assert put(store)[0].id == 2


def test_the_file_is_for_its_owner_only_whatever_the_umask(path):
    before = os.umask(0)
    try:
        opened(path)
    finally:
        os.umask(before)
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_a_link_that_leads_nowhere_is_not_followed(path, tmp_path):
    path.symlink_to(tmp_path / "planted")
    with pytest.raises(zjobs.StoreUnavailable, match=r"jobs\.db cannot be used"):
        opened(path)
    assert not (tmp_path / "planted").exists()


def test_two_names_of_one_file_are_one_store(path, tmp_path):
    one = opened(path)
    (tmp_path / "link.db").symlink_to(path)
    two = opened(tmp_path / "link.db")
    assert one.path == two.path
    put(one)
    assert two.count(JobFilter()) == 1


def test_a_copy_made_by_vacuum_is_a_whole_store(path, tmp_path):
    put(opened(path), 3)
    with sqlite3.connect(path) as connection:
        connection.execute("VACUUM INTO ?", [str(tmp_path / "copy.db")])
    connection.close()
    assert opened(tmp_path / "copy.db").count(JobFilter()) == 3
