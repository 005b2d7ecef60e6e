"""The way of one client to the server: what passes it is held, lost or cut, and that it was is waited for."""

import socket
import threading
import time

from outages.wire import Wire
from proxy import Proxy, Verdict

__all__ = ["Way"]

SOON = 60.0
"""Seconds within which some message comes: whoever is silent for longer hangs."""


class Way:
    """A proxy that does one thing at a time to what passes it."""

    def __init__(self, port: int) -> None:
        self._proxy, self._wire = Proxy(port), Wire()
        self._proxy.judge_session = self._judge
        self.port = self._proxy.port
        self.close = self._proxy.close
        self._guard = threading.Lock()
        self._verdict: Verdict = "pass"
        self._wanted: str | None = None
        self._met: set[str] = set()
        self._done = threading.Event()

    def reset(self) -> None:
        """Resets what is connected, which is something."""
        until = time.monotonic() + SOON
        while not self._proxy.cut():
            if time.monotonic() > until:
                raise TimeoutError(f"nobody connects within {SOON:g} s")
            time.sleep(0.002)

    def lose(self, verdict: Verdict, wanted: str | None) -> set[str]:
        """Loses the next message that commits what is wanted, or any, or the reply to it; all that it commits."""
        self._await(verdict, wanted)
        return self._met

    def hold(self) -> None:
        """From the next message on lets nothing pass, until `release`."""
        self._await("hold", None)

    def release(self) -> None:
        """Lets new connections pass; those whose messages were dropped are reset."""
        with self._guard:
            self._verdict = "pass"
        self._proxy.cut()

    def _await(self, verdict: Verdict, wanted: str | None) -> None:
        with self._guard:
            self._done.clear()
            self._verdict, self._wanted = verdict, wanted
        if not self._done.wait(SOON):
            self.release()
            raise TimeoutError(f"no message to {verdict}, of {wanted or 'any'}, within {SOON:g} s")

    def _judge(self, client: socket.socket, data: bytes) -> Verdict:
        commits = self._wire.commits(client, data)
        with self._guard:
            verdict = self._verdict
            if verdict == "pass" or (self._wanted is not None and self._wanted not in commits):
                return "pass"
            if verdict != "hold":
                self._verdict, self._met = "pass", commits
            self._done.set()
            return verdict
