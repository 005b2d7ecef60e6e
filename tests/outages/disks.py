"""Stores that cannot write, again and again while jobs come and run: nothing is lost, nothing hangs.

From the folder of the tests: `python -m outages.disks --rounds 200`, which `make disks` does. The jobs are on a disk of
their own, a small one in memory that nobody else sees. PostgreSQL has only its tables there: a server whose log finds
no place ends, and that is what `make crash-postgres` is about. Its disk is full in truth; that it takes no writes or
meets a failing disk is what the server is made to say. Errors at each single call of SQLite are in `rust/powerloss`,
which `make disks` runs, too.
"""

import argparse
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg

import postgres_server
import zjobs
from outages.account import Account

__all__ = ["run"]

PRODUCERS = 3
FELT = 20.0
"""Seconds until an outage is felt at the latest: what is free inside the files is used up first."""
PAD = 500
"""Bytes of chance in each job, so that there is soon no place."""
# Nobody else sees these mounts. A server must not be root, not even the root of its own mounts.
MOUNTED = """
set -e
mkdir "$1/small"
mount -t tmpfs -o size=512m,mode=777 none "$1/small"
[ "$2" = sqlite ] || set -- "$1" "$2" unshare --user --map-user=65534 "${@:3}"
exec "${@:3}"
"""
LOOK_IN = """
import sys, zjobs
try:
    zjobs.Supervisor(f"sqlite:///{sys.argv[1]}").enqueue("act", {"token": "never"})
except zjobs.StoreUnavailable as error:
    print(error)
"""
BLOCK = """
CREATE FUNCTION zjobs.failing_block() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  RAISE EXCEPTION 'could not read block 7 in file "base/5/16384": Input/output error' USING ERRCODE = '58030';
END $$;
CREATE TRIGGER failing_block BEFORE INSERT OR UPDATE ON zjobs.jobs
  FOR EACH ROW EXECUTE FUNCTION zjobs.failing_block();
ALTER TABLE zjobs.jobs DISABLE TRIGGER failing_block;
"""

Outage = AbstractContextManager[None]


@contextmanager
def no_space(disk: Path) -> Iterator[None]:
    """Until then a file takes all that is free."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        free = os.statvfs(disk)
        with suppress(OSError):  # somebody else was faster; what is left goes below
            os.posix_fallocate(file.fileno(), 0, (free.f_bavail - 16) * free.f_frsize)
        file.seek(0, os.SEEK_END)
        with suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        yield
    filler.unlink()


@contextmanager
def read_only(disk: Path, account: Account) -> Iterator[None]:
    """Until then the disk takes nothing: neither from who opens a file there, nor through the files that are open.

    The kernel makes no disk read-only while files there are open for writing, unless the disk has failed. So a mount
    that is read-only lies over it, and what this process has open is refused by the limit for the sizes of files: EFBIG
    instead of EROFS, which is one error to SQLite.
    """
    subprocess.run(["mount", "--bind", "-o", "ro", str(disk), str(disk)], check=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
        account.failures += look_in(disk / "jobs.db")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        # Lazily: what was opened meanwhile is there for a while, and can only read.
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@contextmanager
def changed(url: str, begin: list[str], end: list[str]) -> Iterator[None]:
    """Until then the server is another."""
    with psycopg.connect(url, autocommit=True) as admin:
        for statement in begin:
            admin.execute(statement)
        yield
        for statement in end:
            admin.execute(statement)


def demoted(url: str) -> Outage:
    """The whole server takes no writes."""
    setting, reload = "default_transaction_read_only", "SELECT pg_reload_conf()"
    return changed(url, [f"ALTER SYSTEM SET {setting} = on", reload], [f"ALTER SYSTEM RESET {setting}", reload])


def raising(url: str) -> Outage:
    """Each write of a job is answered as by a server that cannot read a block: in its words, and its disk is sound."""
    trigger = "TABLE zjobs.jobs {} TRIGGER failing_block"
    return changed(url, [f"ALTER {trigger.format('ENABLE')}"], [f"ALTER {trigger.format('DISABLE')}"])


def felt(account: Account, rng: random.Random) -> None:
    """Waits until an enqueue has failed, and a moment more."""
    before, until = account.failed, time.monotonic() + FELT
    while account.failed == before:
        if time.monotonic() > until:
            raise TimeoutError(f"no enqueue failed within {FELT:g} s")
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.3))


def look_in(path: Path) -> list[str]:
    """What was wrong when another process tried a file that is read-only."""
    command = [sys.executable, "-c", LOOK_IN, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FELT)
    return [] if "permissions" in done.stdout else [f"a read-only file: {done.stdout}{done.stderr}"]


def outages(kinds: dict[str, Callable[[], Outage]], account: Account, rounds: int, rng: random.Random) -> Iterator[str]:
    """By turns, so many of each."""
    for _ in range(rounds):
        for kind, outage in kinds.items():
            with outage():
                felt(account, rng)
            yield kind
            time.sleep(rng.uniform(0, 0.2))


def run(store: str, folder: Path, rounds: int, seed: int) -> tuple[Account, list[str]]:
    """So many outages of each kind; waits until all is settled, and says what must not be."""
    account, rng, small = Account(), random.Random(seed), folder / "small"
    with ExitStack() as stack:
        if store == "sqlite":
            url = f"sqlite:///{small}/jobs.db"
            kinds = {"disk full": lambda: no_space(small), "disk read-only": lambda: read_only(small, account)}
        else:
            url = stack.enter_context(server_on(small, folder / "server"))
            kinds = {
                "disk full": lambda: no_space(small),
                "server read-only": lambda: demoted(url),
                "I/O errors raised": lambda: raising(url),
            }
        jobs = zjobs.Supervisor(url, queues={"default": 4}, rescue_interval_ms=1000)
        account.work(jobs)
        stack.enter_context(jobs)
        producers = [zjobs.Supervisor(url) for _ in range(PRODUCERS)]
        account.outlast(producers, outages(kinds, account, rounds, rng), pad=lambda: rng.randbytes(PAD).hex())
        return account, account.settled(zjobs.Supervisor(url))


@contextmanager
def server_on(disk: Path, folder: Path) -> Iterator[str]:
    """A server whose tables are on the disk, and the rest of it in the folder; its URL."""
    server = postgres_server.Server(folder)
    server.create()
    server.start()
    try:
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
            admin.execute("CREATE DATABASE jobs TABLESPACE small")
        url = f"postgresql://postgres@127.0.0.1:{server.port}/jobs"
        zjobs.migrate(url)
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(BLOCK)
        yield url
    finally:
        server.stop(signal.SIGQUIT)


def in_own_mounts(store: str, arguments: list[str]) -> int:
    """Runs this program once more, inside; the code that it ends with."""
    with postgres_server.folder_for_anyone() as folder:
        folder.chmod(0o777)
        inside = [sys.executable, "-m", "outages.disks", "--inside", str(folder), "--store", store, *arguments]
        command = ["unshare", "--map-root-user", "--mount", "bash", "-c", MOUNTED, "-", str(folder), store, *inside]
        code = subprocess.run(command, check=False).returncode
    if code:
        print(f"{store}: not proved; this must be permitted: unshare --map-root-user --mount", file=sys.stderr)
    return code


def main() -> int:
    parser = argparse.ArgumentParser(prog="outages.disks")
    parser.add_argument("--store", choices=["sqlite", "postgres"], help="both by default")
    parser.add_argument("--rounds", type=int, default=200, help="of each kind of outage")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside is None:
        stores = [asked.store] if asked.store else ["sqlite", "postgres"]
        return max(in_own_mounts(store, ["--rounds", str(asked.rounds), "--seed", str(asked.seed)]) for store in stores)
    account, problems = run(asked.store, asked.inside, asked.rounds, asked.seed)
    return account.tell(problems, f"outages of {asked.store}")


if __name__ == "__main__":
    sys.exit(main())
