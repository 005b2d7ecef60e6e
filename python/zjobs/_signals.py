"""Waiting for signals so that none is missed."""

import signal
import socket
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["StopSignals"]

_LAST = 3
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopSignals:
    """Takes SIGTERM, SIGINT and SIGHUP while it is entered, on the main thread.

    SIGHUP, the end of a terminal, only where nobody has said what it does: by ``nohup``, to outlive that, or by a
    handler of the program's own. All other signals stay as they are.

    A thread that waits for a lock may miss a signal that comes just before it falls asleep: Python notes it and looks
    again when something else wakes the thread. So each signal is also written to a socket, by the interpreter's own
    C code, and that is what `wait` reads.

    Args:
        on_more: Called for the second signal. The third one ends the process.
    """

    def __init__(self, on_more: Callable[[], object]) -> None:
        """Takes nothing yet."""
        self._on_more = on_more
        self._came = 0
        self._ear, self._mouth = socket.socketpair()
        self._mouth.setblocking(False)  # noqa: FBT003 - the socket's own order

    def __enter__(self) -> Self:
        """Takes the signals."""
        self._fd_before = signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        self._before: dict[signal.Signals, Any] = {
            number: signal.signal(number, self._on_signal)
            for number in _STOPS
            if number != signal.SIGHUP or signal.getsignal(number) == signal.SIG_DFL
        }
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Gives them back to whoever had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd_before)
        self._ear.close()
        self._mouth.close()

    def wait(self) -> None:
        """Blocks until the first signal came."""
        while not self._came:
            self._ear.recv(64)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._came += 1
        if self._came == _LAST:
            # Whoever asks a third time wants it gone, whatever it does.
            for taken in self._before:
                signal.signal(taken, signal.SIG_DFL)
            signal.raise_signal(number)
        elif self._came > 1:
            self._on_more()
