"""Two stores that get the same calls and must answer and look the same after each: one behaviour (I-26)."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from zjobs import Job, Store
from zjobs.store import JobFilter

_JOB = [name for name in dir(Job) if not name.startswith("_") and not callable(getattr(Job, name))]


def _plain(value: object) -> object:
    """A value that can be compared: jobs by all they show."""
    match value:
        case Job():
            return {name: getattr(value, name) for name in _JOB}
        case list() | tuple():
            return [_plain(one) for one in value]
        case _ if hasattr(value, "job"):
            return type(value), _plain(value.job), getattr(value, "conflict", None), getattr(value, "reason", None)
        case _:
            return value


def _difference(first: object, second: object) -> str:
    """The smallest part that is not the same."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in first:
            if first[key] != second.get(key):
                return f"{key}: {_difference(first[key], second.get(key))}"
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for number, (one, other) in enumerate(zip(first, second, strict=True)):
            if one != other:
                return f"[{number}]: {_difference(one, other)}"
    return f"{first!r} and {second!r}"


class TwinStore(Store):
    """Passes each call to both stores; the second one's reply goes back."""

    def __init__(self, first: Store, second: Store) -> None:
        self._both = first, second
        # Nobody looks while one of them is a call ahead.
        self._lock = threading.RLock()

    def _ask(self, what: str, call: Callable[[Store], Any]) -> Any:
        replies, shown = [], []
        with self._lock:
            for store in self._both:
                try:
                    replies.append(call(store))
                    shown.append(_plain(replies[-1]))
                except Exception as error:  # noqa: BLE001 - whatever one does, the other must do
                    replies.append(error)
                    shown.append((type(error), str(error)))
        assert shown[0] == shown[1], f"{what}: the stores answer differently: {_difference(*shown)}"
        if isinstance(replies[1], Exception):
            raise replies[1]
        return replies[1]

    def _tell(self, what: str, call: Callable[[Store], Any]) -> Any:
        with self._lock:
            try:
                return self._ask(what, call)
            finally:
                self.compare(what)

    def compare(self, after: str = "now") -> None:
        """Everything that can be seen is the same."""
        self._ask(f"jobs after {after}", lambda store: store.list(JobFilter()))
        self._ask(f"queues after {after}", lambda store: store.queues())
        self._ask(f"nodes after {after}", lambda store: store.nodes())
        self._ask(f"schedules after {after}", lambda store: store.crons())

    @property
    def blocks(self) -> bool:
        return True

    def subscribe(self, listener: Any) -> None:
        self._both[1].subscribe(listener)

    def now(self):
        return self._ask("now", lambda store: store.now())

    def enqueue(self, jobs):
        return self._tell("enqueue", lambda store: store.enqueue(jobs))

    def claim(self, node, queue, limit):
        return self._tell("claim", lambda store: store.claim(node, queue, limit))

    def ack(self, node, acks):
        return self._tell("ack", lambda store: store.ack(node, acks))

    def report(self, node, reports):
        return self._tell("report", lambda store: store.report(node, reports))

    def stage(self, limit=1000):
        return self._tell("stage", lambda store: store.stage(limit))

    def heartbeat(self, beat):
        return self._tell("heartbeat", lambda store: store.heartbeat(beat))

    def depart(self, node, grace_seconds=0.0):
        return self._tell("depart", lambda store: store.depart(node, grace_seconds))

    def rescue(self, limit=500):
        return self._tell("rescue", lambda store: store.rescue(limit))

    def nodes(self):
        return self._ask("nodes", lambda store: store.nodes())

    def cancel(self, filter):  # noqa: A002 - as the interface has it
        return self._tell("cancel", lambda store: store.cancel(filter))

    def retry(self, filter):  # noqa: A002 - as the interface has it
        return self._tell("retry", lambda store: store.retry(filter))

    def delete(self, filter):  # noqa: A002 - as the interface has it
        return self._tell("delete", lambda store: store.delete(filter))

    def prune(self, retention, limit=1000):
        return self._tell("prune", lambda store: store.prune(retention, limit))

    def pause(self, queue):
        return self._tell("pause", lambda store: store.pause(queue))

    def resume(self, queue):
        return self._tell("resume", lambda store: store.resume(queue))

    def scale(self, queue, concurrency):
        return self._tell("scale", lambda store: store.scale(queue, concurrency))

    def get(self, ids: Sequence[int]):
        return self._ask("get", lambda store: store.get(ids))

    def list(self, filter):  # noqa: A002 - as the interface has it
        return self._ask("list", lambda store: store.list(filter))

    def count(self, filter):  # noqa: A002 - as the interface has it
        return self._ask("count", lambda store: store.count(filter))

    def count_by_state(self, queue=None):
        return self._ask("count_by_state", lambda store: store.count_by_state(queue))

    def queues(self):
        return self._ask("queues", lambda store: store.queues())

    def save_cron(self, entry, /):
        return self._tell("save_cron", lambda store: store.save_cron(entry))

    def crons(self):
        return self._ask("crons", lambda store: store.crons())

    def set_cron_paused(self, name, *, paused):
        return self._tell("set_cron_paused", lambda store: store.set_cron_paused(name, paused=paused))

    def delete_cron(self, name):
        return self._tell("delete_cron", lambda store: store.delete_cron(name))

    def tick(self, name, at, job, /):
        return self._tell("tick", lambda store: store.tick(name, at, job))
