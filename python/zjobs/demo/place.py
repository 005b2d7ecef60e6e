"""Where the demo keeps its jobs: a SQLite file that goes with the run, one that stays, or memory."""

import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import zjobs
from zjobs.demo.jobs import names

_REMOVE = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"


class NotOfTheDemoError(ValueError):
    """The file to keep holds the jobs of another application."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the jobs are.

    Attributes:
        store: The open store.
        words: The place, as it stands in a sentence.
        kept: The file, when it stays after the run.
    """

    store: zjobs.Store
    words: str
    kept: Path | None = None


def in_memory() -> Place:
    """Jobs that end with the process."""
    return Place(zjobs.MemoryStore(), "this process's memory")


@contextmanager
def in_a_temporary_file() -> Generator[Place]:
    """Jobs in a SQLite file in a new folder under the system's temporary one, which goes whatever ends this process."""
    with tempfile.TemporaryDirectory(prefix="zjobs-demo-", ignore_cleanup_errors=True) as folder, _removed(folder):
        yield Place(zjobs.SqliteStore(Path(folder, "jobs.db")), "a temporary SQLite file")


def in_a_file(path: Path) -> Place:
    """Jobs in a SQLite file that stays, and that a later run continues.

    Raises:
        NotOfTheDemoError: It holds the jobs of another application; nothing was changed.
        Error: It cannot be opened as a file of jobs.
    """
    store = zjobs.SqliteStore(path)
    ends = (*zjobs.Supervisor(store).list(limit=1), *zjobs.Supervisor(store).list(limit=1, newest_first=True))
    if strangers := sorted({job.worker for job in ends} - names()):
        raise NotOfTheDemoError(
            f"must be a new file or one of the demo (got '{path}', which holds jobs of {', '.join(strangers)})"
        )
    return Place(store, str(path), path)


@contextmanager
def _removed(folder: str) -> Generator[None]:
    """Have a process of its own remove the folder when this one ends: `kill -9` leaves no time to do it here.

    It waits for the end of a pipe that the kernel closes with this process, and is in a session of its own, so that
    the terminal's Ctrl-C does not reach it.
    """
    with subprocess.Popen(  # noqa: S603 - our own interpreter, our own text
        [sys.executable, "-I", "-S", "-c", _REMOVE, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ):
        yield
