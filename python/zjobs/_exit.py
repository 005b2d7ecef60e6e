"""Stops what still runs when the interpreter begins to end, and takes leave of what goes on nevertheless."""

import atexit
import concurrent.futures.thread  # its own hook has to come after ours, so that handlers may use its threads until then
import contextlib
import logging
import sys
import threading
import weakref
from typing import TYPE_CHECKING

from zjobs.errors import NotStarted

if TYPE_CHECKING:
    from zjobs._engine import Engine
    from zjobs.supervisor import Supervisor

__all__ = ["depart_at_exit", "stop_at_exit"]

_LOG = logging.getLogger("zjobs")
_LOCK = threading.Lock()
_started: "weakref.WeakSet[Supervisor]" = weakref.WeakSet()
_hooked: list[object] = []
_left: "list[Engine]" = []


def stop_at_exit(supervisor: "Supervisor") -> None:
    """Stops a supervisor that still runs when the interpreter begins to end, before any thread is joined.

    By then user code has ended, no matter how: by its last line, by ``sys.exit`` or by an exception.
    """
    with _LOCK:
        _started.add(supervisor)
        if _hooked:
            return
        # The hook that concurrent.futures uses: what atexit has runs only after threads are joined, which is too late.
        register = getattr(threading, "_register_atexit", atexit.register)
        with contextlib.suppress(RuntimeError):  # the interpreter is ending already
            register(_stop_all)
            _hooked.append(concurrent.futures.thread)


def depart_at_exit(engine: "Engine") -> None:
    """Has the store told, at the last moment, that the process of these handlers ends though they do not.

    Until then it beats for them. Their jobs go back with their attempts, as after any stop, and not as after a crash.
    """
    with _LOCK:
        if not _left:
            # After all threads that the interpreter waits for: as long as they run, a handler may run beside them.
            atexit.register(_depart_all)
        if engine not in _left:
            _left.append(engine)


def _depart_all() -> None:
    for engine in _left:
        engine.depart()


def _stop_all() -> None:
    for supervisor in list(_started):
        if not supervisor.is_running:
            continue
        try:
            supervisor.stop()
        except NotStarted:  # somebody else was quicker
            continue
        except BaseException:  # noqa: BLE001 - Ctrl-C has made it hurry; the other supervisors still have to stop
            _LOG.debug("stopping at exit was cut short", exc_info=True)
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        # Such a child may end without what atexit has.
        _depart_all()
