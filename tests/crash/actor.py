"""A process of the crash run that is forked from one which has everything imported, and told where to die."""

import importlib
import multiprocessing
import os
from pathlib import Path

from crash.jobs import open_supervisor
from zjobs import _engine

__all__ = ["Actor"]

_NURSERY = multiprocessing.get_context("forkserver")
_NURSERY.set_forkserver_preload(["crash.actor", "crash.worker", "crash.clerk", "crash.producer"])


class Actor:
    """One process: a role, and the text of its failpoints."""

    def __init__(self, role: str, name: str, arguments: list[str], armed: str, log: Path) -> None:
        self.name = name
        self._log = log
        self._process = _NURSERY.Process(target=_act, args=(role, arguments, armed, str(log)), name=name)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def status(self) -> int | None:
        """How it ended; ``None`` while it runs."""
        return self._process.exitcode

    def is_stopped(self) -> bool:
        """Whether it is stopped as by SIGSTOP."""
        try:
            # The state follows the name, which is in brackets.
            state = Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state == "T"

    def signal(self, number: int) -> None:
        if self.status is None:
            os.kill(self.pid, number)

    def wait(self, seconds: float) -> int | None:
        self._process.join(seconds)
        return self.status

    def said(self) -> str:
        return self._log.read_text("utf-8", errors="replace") if self._log.exists() else ""


def _act(role: str, arguments: list[str], armed: str, log: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if armed:
        _engine._arm(armed)
    if role == "opener":
        open_supervisor(arguments[0]).count_by_state()
        return
    importlib.import_module(f"crash.{role}").main(*arguments)
