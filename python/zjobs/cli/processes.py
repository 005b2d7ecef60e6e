"""Several processes of one application: started by spawn, started again when they die, stopped together."""

import contextlib
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

__all__ = ["Processes"]

_LOG = logging.getLogger("zjobs")
_SHORTEST = 0.5
_LONGEST = 30.0
# Whoever lived so long starts afresh: what ended it was not the start.
_HEALTHY = 10.0
_HOPELESS = 5
_FAILURE, _WRONG_USAGE = 1, 2
_LAST = 3


class Processes:
    """Runs ``zjobs`` with the same arguments in several processes.

    Each is in a session of its own, so that Ctrl-C in a terminal reaches this one alone, and has a pipe to it as its
    standard input, whose end tells that this one is gone.

    Args:
        command: What follows ``zjobs``.
        count: How many.
    """

    def __init__(self, command: Sequence[str], count: int) -> None:
        self._command = [sys.executable, "-m", "zjobs", *command]
        self._stop = threading.Event()
        self._living: dict[int, subprocess.Popen[bytes]] = {}
        self._codes: list[int] = []
        self._signals = 0
        self._keepers = [threading.Thread(target=self._keep, args=[number]) for number in range(1, count + 1)]

    def run(self) -> int:
        """Starts them, and blocks until all have ended; says the exit code: 0 when all ended well."""
        for kind in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # By nohup somebody has asked to outlive the terminal.
            if kind != signal.SIGHUP or signal.getsignal(kind) == signal.SIG_DFL:
                signal.signal(kind, self._pass_on)
        for keeper in self._keepers:
            keeper.start()
        for keeper in self._keepers:
            keeper.join()
        return max(self._codes, default=_FAILURE)

    def _pass_on(self, _kind: int, _frame: object) -> None:
        """The first signal drains, the second one stops hard, the third one kills, here as there."""
        self._signals += 1
        self._stop.set()
        if self._signals == 1:
            _LOG.info("draining %d processes; a second signal stops hard", len(self._living))
        for process in list(self._living.values()):
            with contextlib.suppress(ProcessLookupError):
                if self._signals < _LAST:
                    process.terminate()
                else:
                    process.kill()

    def _keep(self, number: int) -> None:
        """Keeps one process running until all shall stop."""
        short_lives = 0
        while not self._stop.is_set():
            began = time.monotonic()
            code = self._live(number)
            if self._stop.is_set():
                # Before it works SIGTERM ends it, and does no harm.
                well = code == 0 or (code == -signal.SIGTERM and self._signals < _LAST)
                self._codes.append(0 if well else _FAILURE)
                return
            if code == _WRONG_USAGE:
                # It says why, and would say so again.
                self._codes.append(code)
                self._pass_on(signal.SIGTERM, None)
                return
            short_lives = 0 if time.monotonic() - began > _HEALTHY else short_lives + 1
            if short_lives >= _HOPELESS:
                _LOG.error(
                    "process %d ended %d times at once, at last with %s: it is given up",
                    number,
                    short_lives,
                    _end(code),
                )
                self._codes.append(_FAILURE)
                self._pass_on(signal.SIGTERM, None)
                return
            pause = min(_SHORTEST * 2 ** max(short_lives - 1, 0), _LONGEST)
            _LOG.warning("process %d ended with %s; it is started again in %g s", number, _end(code), pause)
            self._stop.wait(pause)
        self._codes.append(0)

    def _live(self, number: int) -> int:
        # Our own arguments, handed on as they came.
        with subprocess.Popen(self._command, stdin=subprocess.PIPE, start_new_session=True) as process:  # noqa: S603
            self._living[number] = process
            _LOG.info("process %d is %d", number, process.pid)
            if self._stop.is_set():
                process.terminate()
            code = process.wait()
            del self._living[number]
        return code


def _end(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name
