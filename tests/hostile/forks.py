"""`python -m hostile.forks SITUATION`: a process that makes others in every way there is; prints what became of each.

The store is that of ``ZJOBS_STORE``. Children find the supervisor of this module: a copy of it after a fork, one of
their own where they have imported it anew.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg

import zjobs

URL = os.environ["ZJOBS_STORE"]
PATIENCE = 60.0
OURS = "belong to the process that was forked; make new ones in this process"

warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, of every fork while there are threads
jobs = zjobs.Supervisor(URL, queues={"default": 3})
begun, release = threading.Event(), threading.Event()


def here() -> int:
    return os.getpid()


def hold() -> bool:
    begun.set()
    return release.wait(PATIENCE)


def plain() -> dict[str, str]:
    return children()


async def coroutine() -> dict[str, str]:
    return children()


for handler in (here, hold, plain, coroutine):
    jobs.worker(keep_result=True)(handler)


# --- what children do ---


def refused() -> None:
    """In the child of a fork: what belongs to the parent says so and what to do instead."""
    calls: list[Callable[[], object]] = [
        lambda: jobs.enqueue("here"),
        lambda: jobs.enqueue_many([("here", None)]),
        jobs.start,
        jobs.list,
        jobs.drain,
        jobs.rescue_stuck,
        lambda: jobs.wait(1, 1),
        jobs.store.count_by_state,
    ]
    for call in calls:
        assert is_refused(call, OURS), call
    assert not jobs.is_running
    runs(zjobs.Supervisor())
    if URL.startswith("sqlite"):
        assert is_refused(lambda: zjobs.Supervisor(URL), "open it after the fork")
    else:
        runs(zjobs.Supervisor(URL))


def is_refused(call: Callable[[], object], text: str) -> bool:
    try:
        call()
    except zjobs.StoreUnavailable as error:
        return text in str(error)
    return False


def works() -> None:
    """In a child that has imported this module: the supervisor that it has is its own."""
    runs(jobs)


def runs(app: zjobs.Supervisor) -> None:
    # A queue of its own: others work on the same store.
    queue = f"child-{os.getpid()}"
    app.work_on({queue: 1})
    if "here" not in app.workers:
        app.worker(keep_result=True)(here)
    with app:
        assert app.result(app.enqueue("here", queue=queue), PATIENCE) == os.getpid()


def looks_on() -> None:
    """In a process that has nothing to do with it: nobody has ended, and what runs still runs."""
    assert jobs.rescue_stuck() == 0


# --- the ways to make children: each says what is wrong, or nothing ---


def fork() -> str:
    child = os.fork()
    if child == 0:
        try:
            refused()
        except BaseException:  # noqa: BLE001 - nothing may come back out of here
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return said(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def begin_process(method: str, act: Callable[[], None]) -> Callable[[], str]:
    process = multiprocessing.get_context(method).Process(target=act)
    process.start()

    def end() -> str:
        process.join(PATIENCE)
        return said(process.exitcode)

    return end


def begin_pool(method: str, act: Callable[[], None]) -> Callable[[], str]:
    pool = ProcessPoolExecutor(1, multiprocessing.get_context(method))
    done = pool.submit(act)

    def end() -> str:
        try:
            done.result(PATIENCE)
        except Exception as error:  # noqa: BLE001 - told to whoever looks at the output
            return repr(error)
        finally:
            pool.shutdown()
        return ""

    return end


def begin_program(act: Callable[[], None]) -> Callable[[], str]:
    process = subprocess.Popen([sys.executable, "-m", "hostile.forks", act.__name__])
    return lambda: said(process.wait(PATIENCE))


def said(code: int | None) -> str:
    return "" if code == 0 else f"its exit code was {code}"


def children() -> dict[str, str]:
    """Makes one child in each way; says what was wrong, by the way."""
    ways = {"fork": fork()}
    for kind, begin in (("process", begin_process), ("pool", begin_pool)):
        ways[f"{kind}, fork"] = begin("fork", refused)()
    # These take long to start, and so do it all at once.
    begun = {"program": begin_program(works)}
    for kind, begin in (("process", begin_process), ("pool", begin_pool)):
        for method in ("spawn", "forkserver"):
            begun[f"{kind}, {method}"] = begin(method, works)
    return ways | {way: end() for way, end in begun.items()}


# --- the parent ---


@contextmanager
def keeps_all() -> Iterator[None]:
    """It has afterwards what it had before: its files, its sessions at the server, the lock that says that it lives."""
    before = possessions()
    yield
    lost = before - possessions()
    assert not lost, lost


def possessions() -> set[tuple[str, ...]]:
    links = {(path.name, str(path.readlink())) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    return {(number, link) for number, link in links if not link.startswith("/proc")} | set(sessions()) | set(locks())


def locks() -> Iterator[tuple[str, ...]]:
    for line in Path("/proc/locks").read_text().splitlines():
        _, kind, _, mode, pid, file, *_ = line.split()
        if kind == "POSIX" and pid == str(os.getpid()):
            yield kind, mode, file


def sessions() -> Iterator[tuple[str, ...]]:
    if URL.startswith("postgresql"):
        ports = [one.laddr.port for one in psutil.Process().net_connections("tcp")]
        with psycopg.connect(URL.partition("?")[0]) as connection:
            query = "SELECT pid::text, client_port::text FROM pg_stat_activity WHERE client_port = ANY(%s)"
            yield from connection.execute(query, [ports]).fetchall()


def main(situation: str) -> None:
    if situation == "made":
        jobs.enqueue("here")
        with keeps_all():
            ways = children()
            leaves()
        with jobs:
            assert jobs.result(jobs.enqueue("here"), PATIENCE) == os.getpid()
    else:
        with jobs:
            held = jobs.enqueue("hold")
            assert begun.wait(PATIENCE)
            with keeps_all():
                if situation == "running":
                    ways = children()
                    leaves()
                else:
                    ways = jobs.result(jobs.enqueue(situation), PATIENCE)
                ways["onlooker"] = begin_program(looks_on)()
            release.set()
            assert jobs.result(held, PATIENCE) is True
            assert jobs.get(held).attempt == 1
            assert jobs.result(jobs.enqueue("here"), PATIENCE) == os.getpid()
    print(json.dumps(ways))  # noqa: T201 - it reports by printing


def leaves() -> None:
    """A child that ends as programs do, with all that this brings to an end."""
    child = os.fork()
    if child == 0:
        sys.exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5


if __name__ == "__main__":
    {"works": works, "looks_on": looks_on}.get(sys.argv[1], lambda: main(sys.argv[1]))()
