"""Where the jobs are: in a file that goes away, in one that stays, or in memory."""

import signal

import pytest

import zjobs
from demo.running import demo, signalled
from zjobs.demo.place import in_a_temporary_file


@pytest.mark.parametrize("ending", ["to the end", signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=str)
def test_nothing_is_left_behind_whatever_ends_the_run(tree, tmp_path, eventually, ending):
    if ending == "to the end":
        demo(tree, "--json", "--seconds", "0", TMPDIR=str(tmp_path))
    else:
        _, output = signalled(ending, tree, TMPDIR=str(tmp_path))
        assert "a temporary SQLite file" in output
    eventually(lambda: not list(tmp_path.iterdir()))


def test_the_temporary_file_is_there_while_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with in_a_temporary_file() as place:
        (folder,) = tmp_path.iterdir()
        assert place.store.path == folder / "jobs.db"
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


def test_in_memory_no_file_is_made(tree, tmp_path):
    done = demo(tree, "--memory", "--seconds", "0", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "into this process's memory" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_application_is_refused_and_unchanged(tmp_path):
    other = zjobs.Supervisor(zjobs.SqliteStore(tmp_path / "jobs.db"))
    job = other.enqueue("send_email", {"to": "user@example.com"})
    done = demo("--keep", tmp_path / "jobs.db")
    assert done.returncode == 2
    assert "send_email" in done.stderr
    assert [job.id] == [job.id for job in other.list()]


def test_a_file_and_memory_at_once_are_wrong_usage(tmp_path):
    done = demo("--memory", "--keep", tmp_path / "jobs.db")
    assert done.returncode == 2
    assert "choose one" in done.stderr
