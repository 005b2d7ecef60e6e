"""The processes of a scene, and what they have written down."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import zjobs
from crash.marks import now, read

__all__ = ["Crew", "Member", "until"]

TESTS = Path(__file__).parents[1]
PATIENCE = 90.0
"""Seconds that nothing here takes, however busy the machine is."""
LOOK = 0.002
EXITING = 0x4
"""Of the flags in `/proc/PID/stat`."""


def until(look: Callable[[], Any], what: str) -> Any:
    """The first answer that is something."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {PATIENCE:g} s")
        time.sleep(LOOK)
    return answer


class Member:
    """One process of `worker`."""

    def __init__(self, database: str, folder: Path, name: str, queues: str, settings: dict[str, Any]) -> None:
        self.name, self.marks = name, folder / f"{name}.marks"
        command = [sys.executable, "-m", "recovery.worker", database, str(folder), name, queues, json.dumps(settings)]
        with (folder / f"{name}.log").open("wb") as log:
            self.process = subprocess.Popen(command, cwd=TESTS, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> int:
        """Ends it at once; when that was."""
        at = now()
        self.process.kill()
        self.must_have_been_killed()
        return at

    def must_have_been_killed(self) -> None:
        """Raises where it lives on, or has ended by itself."""
        if (code := self.process.wait(PATIENCE)) != -signal.SIGKILL:
            raise AssertionError(f"{self.name} was to be killed and ended with status {code}")

    def runs(self) -> bool:
        """Whether it may do something yet: one that is being taken apart, files first, may not."""
        if self.process.poll() is not None:
            return False
        state, *numbers = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return state not in {"Z", "X"} and not int(numbers[5]) & EXITING

    def ran_until(self) -> int:
        """When its handler that never lets go has run for the last time."""
        return int(self.marks.with_suffix(".life").read_bytes())

    def wait_until_up(self, jobs: zjobs.Supervisor) -> None:
        """Until it is one of the nodes, and so takes jobs."""
        until(lambda: any(node.name == self.name for node in jobs.nodes()), f"{self.name} starts")

    def begun(self, job: int, lease: int = 1) -> list[str] | None:
        """The line of a handler that has begun with that lease."""
        found = [words for words in self._said("begin") if words[1:3] == [str(job), str(lease)]]
        return found[0] if found else None

    def _said(self, word: str) -> list[list[str]]:
        return [words for words in read(self.marks) if words[0] == word] if self.marks.exists() else []


class Crew:
    """All processes of a scene; none outlives it."""

    def __init__(self, database: str, folder: Path) -> None:
        self.database, self.folder, self._members = database, folder, list[Member]()

    def start(self, queues: str, **settings: Any) -> Member:
        """One more, by a name of its own."""
        name = f"{self.folder.name}-{len(self._members) + 1}"
        member = Member(self.database, self.folder, name, queues, settings)
        self._members.append(member)
        return member

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members:
            with suppress(ProcessLookupError):
                member.process.send_signal(signal.SIGKILL)
            member.process.wait()
