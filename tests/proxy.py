"""Proxies between a client and PostgreSQL: one that can stop and cut what passes, and one that speaks TLS."""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
import time
from queue import Queue
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Proxy", "TlsProxy"]

Verdict = Literal["pass", "cut", "cut after", "hold"]


class Proxy:
    """Listens on a port of its own and passes everything on to a server.

    Args:
        port: The server's, on this machine.
    """

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self.judge: Callable[[bytes], Verdict] = lambda _: "pass"
        """Asked about each message of a client; what it is about to lose can be chosen by its text.

        ``cut after`` passes it on and cuts the connection before any answer comes back; ``hold`` lets nothing pass any
        more in either direction, as a network does that drops every packet.
        """
        self.judge_session: Callable[[socket.socket, bytes], Verdict] = lambda _, data: self.judge(data)
        """The same, told whose message it is: what a session is for is seen by what it has asked before."""
        self.refuses = False
        """Closes whoever comes, as a server does that is down."""
        self.came: list[float] = []
        """When each connection came, also one that was refused."""
        self.connections = 0
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Cuts everything."""
        self._listener.close()
        self.cut()

    def cut(self) -> int:
        """Resets every connection; how many there were."""
        lived = sum(one.fileno() != -1 for one in self._sockets) // 2
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._sockets.clear()
        return lived

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.came.append(time.monotonic())
                if self.refuses:
                    client.close()
                    continue
                try:
                    server = socket.create_connection(self._server)
                except OSError:
                    client.close()
                    continue
                self.connections += 1
                self._sockets += [client, server]
                held, lost = threading.Event(), threading.Event()
                threading.Thread(target=self._forth, args=(client, server, held, lost), daemon=True).start()
                threading.Thread(target=self._back, args=(server, client, held, lost), daemon=True).start()

    def _forth(
        self, client: socket.socket, server: socket.socket, held: threading.Event, lost: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 20):
                verdict = self.judge_session(client, data)
                if verdict == "hold":
                    held.set()
                if held.is_set():
                    continue
                if verdict == "cut":
                    break
                if verdict == "cut after":
                    lost.set()
                server.sendall(data)
        if not lost.is_set():
            self._end(client, server)

    def _back(self, server: socket.socket, client: socket.socket, held: threading.Event, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 20):
                if lost.is_set():
                    break  # the server has answered: what was asked of it is done
                if not held.is_set():
                    client.sendall(data)
        self._end(client, server)

    @staticmethod
    def _end(*sockets: socket.socket) -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


class TlsProxy:
    """Listens on a port of its own, takes TLS as PostgreSQL does, and refuses who does not ask for it.

    The servers that tests start are built without TLS.

    Args:
        port: The server's, on this machine.
        certificate: The chain to show, PEM.
        key: Its key, PEM.
        clients: The authority that signed the certificates of those who may connect, PEM; otherwise anybody may.
        newest: The newest version of TLS that it speaks.
    """

    _ASKED = struct.pack("!ii", 8, 80877103)  # SSLRequest of the protocol
    _REFUSAL = b"SFATAL\0VFATAL\0C28000\0Mpg_hba.conf rejects connection: no encryption\0\0"

    def __init__(
        self,
        port: int,
        certificate: "Path",
        key: "Path",
        clients: "Path | None" = None,
        newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    ) -> None:
        self._server = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._context.maximum_version = newest
        if clients:
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._context.load_verify_locations(clients)
        self._over = asyncio.Event()
        self._served: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        started: Queue[tuple[int, asyncio.AbstractEventLoop]] = Queue()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen(started)))
        self._thread.start()
        self.port, self._loop = started.get(timeout=30)

    def close(self) -> None:
        """Stops listening, and cuts everything."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _listen(self, started: "Queue[tuple[int, asyncio.AbstractEventLoop]]") -> None:
        server = await asyncio.start_server(self._come, "127.0.0.1")
        started.put((server.sockets[0].getsockname()[1], asyncio.get_running_loop()))
        async with server:
            await self._over.wait()
            for task, writer in self._served.items():
                writer.transport.abort()  # a task that has not begun does nothing when it is cancelled
                task.cancel()
            # Whoever is just being accepted comes yet, and is sent away: in a server that was closed before that, it
            # fails inside asyncio, and the connection stays open.
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)
            server.close()
            await asyncio.sleep(0)  # the transports close in the next turn

    # No coroutine: asyncio would look at how it ended, and report that it was cancelled.
    def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._over.is_set():
            writer.transport.abort()
            return
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._served[task] = writer
        task.add_done_callback(self._served.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        forth = None
        try:
            if await reader.readexactly(8) != self._ASKED:
                writer.write(b"E" + struct.pack("!i", len(self._REFUSAL) + 4) + self._REFUSAL)
                await writer.drain()
                return
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(self._context)
            back, forth = await asyncio.open_connection("127.0.0.1", self._server)
            await asyncio.wait(
                [asyncio.ensure_future(self._pass(*ends)) for ends in ((reader, forth), (back, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            if forth is not None:
                forth.transport.abort()

    @staticmethod
    async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
