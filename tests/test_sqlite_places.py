"""Where a file of jobs is: on a disk that cannot be written, under several names, planted, open in a fork."""

import os
import subprocess
import sys
import textwrap

import pytest

import zjobs
from zjobs.store import JobFilter, NewJob


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


def put(store, count=1):
    return [reply.job for reply in store.enqueue([NewJob("w", b'{"n":1}') for _ in range(count)])]


def in_own_mounts(code, *args):
    """Runs the code where it may mount what nobody else sees."""
    program = "import os, subprocess, sys, threading, zjobs\n" + textwrap.dedent(code)
    command = ["unshare", "--map-root-user", "--mount", sys.executable, "-c", program, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"mounting must be permitted for this test: {done.stderr}"
    return done.stdout


# --- a disk that cannot be written (F-38, F-39) ---

READ = """
    folder = sys.argv[1]
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    store = zjobs.DbStore(f"sqlite:///{folder}/jobs.db?mode=ro")
    print(len(store.list(zjobs.JobFilter())), store.count_by_state()[zjobs.JobState.AVAILABLE])
    try:
        zjobs.Supervisor(store).enqueue("w", {})
    except zjobs.StoreUnavailable as error:
        print(error)
"""


def test_jobs_on_a_read_only_disk_can_be_read(path, tmp_path):
    put(zjobs.SqliteStore(path), 3)
    counts, error = in_own_mounts(READ, tmp_path).splitlines()
    assert counts == "3 3"
    assert "jobs.db was opened for reading only" in error
    assert "mode=ro" in error


def test_also_those_that_a_killed_process_left_in_the_log(path, tmp_path, run_script):
    done = run_script(
        """
        import os, signal, sys, zjobs
        jobs = zjobs.Supervisor(f"sqlite:///{sys.argv[1]}")
        jobs.enqueue("w", {}), jobs.enqueue("w", {})
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        str(path),
    )
    assert done.returncode == -9
    assert path.with_name("jobs.db-wal").stat().st_size > 0
    assert in_own_mounts(READ, tmp_path).splitlines()[0] == "2 2"


def test_a_store_that_only_reads_sees_what_others_commit_and_makes_no_file(path):
    with pytest.raises(zjobs.StoreUnavailable, match="there is no file"):
        zjobs.SqliteStore(path, read_only=True)
    assert not path.exists()
    writer = zjobs.SqliteStore(path)
    reader = zjobs.SqliteStore(path, read_only=True)
    put(writer)
    assert reader.count(JobFilter()) == 1
    put(writer)
    assert reader.count(JobFilter()) == 2
    for change in (lambda: put(reader), lambda: reader.cancel(JobFilter()), lambda: reader.pause("default")):
        with pytest.raises(zjobs.StoreUnavailable, match="opened for reading only"):
            change()


def test_acks_wait_for_space_and_the_supervisor_goes_on(tmp_path):
    code = """
        folder = sys.argv[1]
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", folder], check=True)
        jobs = zjobs.Supervisor(f"sqlite:///{folder}/jobs.db", queues={"default": 4})
        go, unavailable, recovered = threading.Event(), threading.Event(), threading.Event()
        jobs.telemetry.attach(lambda event: unavailable.set(), "store_unavailable")
        jobs.telemetry.attach(lambda event: recovered.set(), "store_recovered")

        @jobs.worker(keep_result=True)
        def waits() -> str:
            go.wait()
            return "x" * 60_000

        jobs.start()
        held = [waits.enqueue() for _ in range(4)]
        while jobs.count_by_state()[zjobs.JobState.EXECUTING] < 4:
            threading.Event().wait(0.01)
        with open(f"{folder}/filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(b"x" * 4096)
            except OSError:
                pass
        go.set()
        print("unavailable", unavailable.wait(30))
        print([jobs.get(job).state.name for job in held])
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
        print("recovered", recovered.wait(30))
        print([(jobs.wait(job, 30).state.name, jobs.get(job).attempt) for job in held])
        jobs.stop()
    """
    lines = in_own_mounts(code, tmp_path).splitlines()
    assert lines[0] == "unavailable True"
    assert "EXECUTING" in lines[1]
    assert lines[2] == "recovered True"
    assert lines[3] == str([("COMPLETED", 1)] * 4)


# --- names (F-45, S-13) ---


def test_a_file_with_two_hard_links_is_refused(path):
    put(zjobs.SqliteStore(path))
    path.with_name("other.db").hardlink_to(path)
    for name in (path, path.with_name("other.db")):
        with pytest.raises(zjobs.Invalid, match=r"path must be the only name of its file, which has 2"):
            zjobs.SqliteStore(name)
    path.with_name("other.db").unlink()
    assert zjobs.SqliteStore(path).count(JobFilter()) == 1


def test_a_file_that_is_mounted_without_its_folder_is_refused(tmp_path):
    code = """
        here, there = (f"{sys.argv[1]}/{name}" for name in ("here", "there"))
        os.mkdir(here), os.mkdir(there)
        zjobs.Supervisor(f"sqlite:///{here}/jobs.db").enqueue("w", {})
        open(f"{there}/jobs.db", "w").close()
        os.symlink(f"{there}/jobs.db", f"{here}/link.db")
        subprocess.run(["mount", "--bind", f"{here}/jobs.db", f"{there}/jobs.db"], check=True)
        for name in (f"{there}/jobs.db", f"{here}/link.db", f"{there}/jobs.db?mode=ro"):
            try:
                print("accepted:", zjobs.Supervisor(f"sqlite:///{name}").count())
            except zjobs.Invalid as error:
                print(error)
        os.mkdir(f"{sys.argv[1]}/whole")
        subprocess.run(["mount", "--bind", here, f"{sys.argv[1]}/whole"], check=True)
        print(zjobs.Supervisor(f"sqlite:///{sys.argv[1]}/whole/jobs.db").count(), os.listdir(there))
    """
    *refused, mended = in_own_mounts(code, tmp_path).splitlines()
    assert len(refused) == 3
    for line in refused:
        assert "path must not be a file that is mounted by itself" in line
        assert "mount the folder that it lies in" in line
    assert mended == "1 ['jobs.db']"


def test_a_link_that_leads_elsewhere_by_now_stops_writing_and_reading(path):
    (one, two) = (path.with_name("one.db"), path.with_name("two.db"))
    zjobs.SqliteStore(two)
    zjobs.SqliteStore(one)
    path.symlink_to(one)
    store = zjobs.SqliteStore(path)
    put(store)
    path.unlink()
    path.symlink_to(two)
    for call in (lambda: put(store), lambda: store.count(JobFilter())):
        with pytest.raises(zjobs.StoreUnavailable, match=r"jobs\.db was moved, replaced or deleted.*another file"):
            call()
    assert zjobs.SqliteStore(two).count(JobFilter()) == 0


def test_a_file_that_is_gone_is_not_read_either(path):
    store = zjobs.SqliteStore(path)
    put(store)
    store.count(JobFilter())
    path.unlink()
    with pytest.raises(zjobs.StoreUnavailable, match=r"jobs\.db was moved, replaced or deleted"):
        store.count(JobFilter())


WITHOUT_ITS_LOG = """
    import os, signal, sys, zjobs
    path = sys.argv[1]
    jobs = zjobs.Supervisor(f"sqlite:///{path}")
    jobs.enqueue("w", {}), jobs.enqueue("w", {})
    os.unlink(path + "-wal")
    for call in (lambda: jobs.enqueue("late", {}), jobs.count):
        try:
            print("accepted:", call())
        except zjobs.StoreUnavailable as error:
            print("refused:", error)
    sys.stdout.flush()
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("end", ["killed", "in order"])
def test_a_log_that_was_deleted_stops_the_work_and_what_it_held_is_in_the_file(path, run_script, end):
    done = run_script(WITHOUT_ITS_LOG, str(path), end)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    for line in lines:
        assert line.startswith("refused: ")
        assert f"{path}-wal was deleted or replaced while it was open" in line
    assert [job.worker for job in zjobs.SqliteStore(path).list(JobFilter())] == ["w", "w"]


@pytest.mark.parametrize("which", ["wal", "shm"])
def test_a_file_beside_it_that_was_replaced_stops_writing_and_reading(path, which):
    store = zjobs.SqliteStore(path)
    put(store)
    store.count(JobFilter())
    beside = path.with_name(f"jobs.db-{which}")
    content = beside.read_bytes()
    beside.unlink()
    beside.write_bytes(content)
    for call in (lambda: put(store), lambda: store.count(JobFilter())):
        with pytest.raises(
            zjobs.StoreUnavailable, match=rf"jobs\.db-{which} was deleted or replaced.*start them again"
        ):
            call()


def test_a_log_that_the_last_process_has_removed_is_no_reason_to_stop(path, run_script):
    for count in (1, 2):
        assert (
            run_script(
                "import sys, zjobs; jobs = zjobs.Supervisor(sys.argv[1]); jobs.enqueue('w'); print(jobs.count())",
                f"sqlite:///{path}",
            ).stdout
            == f"{count}\n"
        )
        assert not path.with_name("jobs.db-wal").exists()


def test_a_log_that_has_grown_large_is_cut_when_it_is_begun_anew(path):
    store, log = zjobs.SqliteStore(path), path.with_name("jobs.db-wal")
    large = b'{"n":"' + b"x" * 900_000 + b'"}'
    store.enqueue([NewJob("w", large) for _ in range(80)])
    assert log.stat().st_size > 65 << 20
    put(store)
    assert log.stat().st_size == 64 << 20
    assert store.count(JobFilter()) == 81


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("what", ["file", "link"])
def test_what_another_user_planted_in_a_folder_that_all_can_write_is_refused(path, what):
    path.parent.chmod(0o1777)
    target = path.with_name("target.db")
    if what == "file":
        path.touch()
        os.chown(path, 12345, 12345)
    else:
        target.touch()
        path.symlink_to(target)
        os.chown(path, 12345, 12345, follow_symlinks=False)
    with pytest.raises(zjobs.Invalid, match=r"path must not be another user's \(id 12345\)"):
        zjobs.SqliteStore(path)
    assert (path if what == "file" else target).read_bytes() == b""
    path.parent.chmod(0o755)
    zjobs.SqliteStore(path)


# --- forks ---


def test_the_child_of_a_fork_leaves_the_parents_file_alone(path, run_script):
    done = run_script(
        """
        import gc, os, sys, warnings, zjobs
        from zjobs.store import JobFilter, NewJob
        warnings.simplefilter("ignore", DeprecationWarning)
        path = sys.argv[1]
        store = zjobs.SqliteStore(path)
        put = lambda: store.enqueue([NewJob("w", b"{}")])
        put(), store.count(JobFilter())
        log = lambda: open(path + "-wal", "rb").read()
        before = log()
        for end in ("collected", "exit"):
            child = os.fork()
            if child == 0:
                for call in (put, lambda: store.count(JobFilter()), lambda: zjobs.SqliteStore(path)):
                    try:
                        call()
                    except zjobs.StoreUnavailable as error:
                        print("child:", error, flush=True)
                if end == "exit":
                    sys.exit(0)
                del store, put
                gc.collect()
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert log() == before
        put()
        print("parent:", store.count(JobFilter()))
        """,
        str(path),
    )
    lines = done.stdout.splitlines()
    assert lines[-1] == "parent: 2", done.stderr
    told = [line for line in lines if line.startswith("child:")]
    assert len(told) == 6
    assert all("fork" in line for line in told)
    assert zjobs.SqliteStore(path).count(JobFilter()) == 2
