"""`python -m hostile.changes LANE FOLDER`: for each change a process of its own in which a handler makes it.

Prints what has become of the jobs, as one JSON object by the name of the change.
"""

import asyncio
import contextlib
import datetime as dt
import gc
import json
import linecache
import locale
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
import types
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from zjobs import Supervisor

__all__ = ["CHANGES"]

CHANGES: dict[str, Callable[[], Any]] = {}


def change(act: Callable[[], Any]) -> Callable[[], Any]:
    CHANGES[act.__name__] = act
    return act


def broken(*_: object, **__: object) -> None:
    raise SystemExit


@change
def the_folder():
    Path("elsewhere").mkdir()
    os.chdir("elsewhere")


@change
def the_mask_of_new_files():
    os.umask(0o777)


@change
def the_environment():
    os.environ.clear()


@change
def the_garbage_collector():
    gc.set_threshold(1)
    gc.freeze()
    gc.disable()


@change
def the_tracing_of_threads():
    threading.settrace(broken)
    threading.setprofile(broken)


@change
def the_tracing_of_its_thread():
    sys.settrace(lambda *_: None)
    sys.setprofile(lambda *_: None)


@change
def the_hooks_for_exceptions():
    sys.excepthook = threading.excepthook = sys.unraisablehook = broken


@change
def the_signals():
    with contextlib.suppress(ValueError):  # this is not the main thread
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


@change
def the_clocks():
    frozen = time.time()

    class Frozen(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(1970, 1, 1, tzinfo=tz)

    time.time = time.monotonic = time.perf_counter = lambda: frozen
    time.sleep = lambda _: None
    dt.datetime = Frozen


@change
def chance():
    random.seed(0)
    random.random = lambda: 0.5
    uuid.uuid4 = broken
    os.urandom = bytes


@change
def json_itself():
    for module in (json, msgspec.json):
        for name in ("loads", "dumps", "encode", "decode"):
            setattr(module, name, broken)


@change
def tracebacks():
    traceback.format_exception = traceback.TracebackException = linecache.getlines = broken


@change
def the_standard_files():
    sys.stdout.close()
    sys.stderr.close()
    os.closerange(0, 3)


@change
def the_standard_files_by_what_raises():
    class Raises:
        def __getattr__(self, name):
            raise SystemExit

    sys.stdout = sys.stderr = Raises()


@change
def the_limits_of_the_interpreter():
    sys.setswitchinterval(10)
    for least in range(30, 300):
        with contextlib.suppress(RecursionError):
            sys.setrecursionlimit(least)
            return


@change
def the_warnings():
    warnings.simplefilter("error")
    warnings.showwarning = broken


@change
def the_locale():
    locale.setlocale(locale.LC_ALL, "C")


@change
def the_loggers():
    logging.disable()
    logging.Logger._log = logging.Logger.error = logging.Logger.warning = broken
    logging.getLogger("zjobs").handlers[:] = [None]


@change
def its_own_module():
    module = types.ModuleType("made_up")
    exec("def act(): globals().clear()", vars(module))  # noqa: S102 - a module of its own
    act = module.act
    del module
    for name in ("__main__", "hostile.changes", "hostile"):
        sys.modules.pop(name, None)
    sys.path[:] = []
    act()


@change
def the_tasks_of_the_loop():
    with contextlib.suppress(RuntimeError):  # there is no loop on this thread
        for task in asyncio.all_tasks():
            task.cancel()
            task.cancel()


@change
def the_loop():
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        asyncio.set_event_loop(None)
        asyncio.set_event_loop_policy(None)
        return
    loop.set_task_factory(broken)
    loop.set_exception_handler(broken)
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    loop.call_soon(sys.exit)
    loop.call_soon(loop.stop)
    asyncio.set_event_loop(None)
    asyncio.create_task = asyncio.sleep = None


def fail():
    raise ValueError("once")


def run(lane: str, act: Callable[[], Any]) -> list[Any]:
    """What becomes of good jobs before and after, of a timed one across, of the change, and of a failure after it."""
    jobs = Supervisor("sqlite:///jobs.db", queues={"default": 1})

    def worker(act, name, attempts=1):
        def plain() -> None:
            act()

        async def coroutine() -> None:
            act()

        handler = plain if lane == "thread" else coroutine
        options = {"retry_strategy": lambda attempt, _: 0.0 if attempt < attempts else None}
        return jobs.worker(name=name, **options)(handler)

    hostile, failing = worker(act, "change"), worker(fail, "fails", 2)

    @jobs.worker(keep_result=True)
    def good(n: int) -> int:
        return n

    @jobs.worker(keep_result=True)
    async def good_too(n: int) -> int:
        return n

    calm = good if lane == "thread" else good_too
    jobs.start()
    told = [jobs.result(calm.enqueue(1), 30)]
    across = calm.options(schedule_in=0.2).enqueue(2)
    changed = jobs.wait(hostile.enqueue(), 30)
    told += [str(changed.state), *[error.kind for error in changed.errors]]
    told += [jobs.result(job, 30) for job in (across, calm.enqueue(3))]
    failed = jobs.wait(failing.enqueue(), 30)
    told += [str(failed.state), *[error.message for error in failed.errors]]
    return [*told, len(jobs.stop())]


def main(lane: str, folder: str) -> None:
    dump, found = json.dumps, {}
    for name, act in CHANGES.items():
        here, there = os.pipe()
        if (child := os.fork()) == 0:
            # Whatever happens, nothing of this process but its answer comes out.
            exit_now, answer, fresh = os._exit, os.write, Path(folder, name)
            try:
                fresh.mkdir()
                os.chdir(fresh)
                answer(there, dump(run(lane, act)).encode())
            except BaseException as error:  # noqa: BLE001 - it is the answer
                answer(there, dump(repr(error)).encode())
            exit_now(0)
        os.close(there)
        os.waitpid(child, 0)
        with os.fdopen(here, "rb") as told:
            found[name] = json.loads(told.read() or "null")
    print(json.dumps(found))  # noqa: T201 - it reports by printing


if __name__ == "__main__":
    main(*sys.argv[1:])
