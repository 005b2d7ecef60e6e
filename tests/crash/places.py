"""What is done at which failpoint, and who passes it: the list that `points` goes through.

The names are the engine's (`_engine._failpoints()`). Each has to be died at on each store where the code has it; some
are also frozen at, beyond the lease where leases have a length, and panicked at where a panic is caught.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from zjobs import _engine

__all__ = ["Place", "places"]

TRANSACTIONS = {"enqueue", "rescue", "cancel", "retry", "delete", "delete_cron", "tick"}
"""What is more than one statement on PostgreSQL, and has a moment before its commit."""
ONLY_SQLITE = {"group.between", "group.written", "group.committed", "checkpoint.begun", "checkpoint.done"}
ONLY_POSTGRES = {"heartbeat.dead"}
"""In a file, nobody is declared dead whose process lives."""
WITH_HELP = {
    # The reply to a claim is lost, so that the node does not know what it has.
    "heartbeat.orphan": "claim.answered=20%return(error)",
    # It is stopped until others have declared it dead.
    "heartbeat.dead": "claim.asked=5*off->1*return(freeze)",
}
ENDINGS = {"depart", "stop"}
"""What comes first in the names of places that only a stop passes."""
FREEZES = (
    "claim.sent", "claim.committed", "claim.answered", "claimer.dispatch", "slot.taken", "slot.ended", "acker.queued",
    "acker.flush", "ack.asked", "ack.sent", "ack.committed", "heartbeat.asked", "heartbeat.answered", "rescue.written",
    "stage.sent",
)  # fmt: skip
PANICS = (
    *(f"{verb}.{step}" for verb in ("claim", "ack", "stage", "heartbeat", "rescue") for step in ("asked", "answered")),
    "rescue.written", "ack.written", "claim.written", "claimer.dispatch", "acker.flush", "acker.flushed",
    "heartbeat.tick", "claimer.tick", "acker.tick", "stager.tick", "watchdog.tick", "rescuer.tick", "pruner.tick",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """One thing to do at one place."""

    name: str
    action: str
    """``kill``, ``freeze`` or ``panic``."""
    role: str
    """Who passes it: ``worker``, ``clerk``, ``pauser``, ``producer`` or ``opener``."""

    @property
    def text(self) -> str:
        """As the engine is told it."""
        what = "1*panic" if self.action == "panic" else f"1*return({self.action})"
        # The first beat is sent by whoever starts the node, who is told of the panic.
        skipped = "1*off->" if self.action == "panic" and self.name.startswith("heartbeat.") else ""
        own = f"{self.name}={skipped}{what}"
        return ";".join(part for part in (WITH_HELP.get(self.name, ""), own) if part)

    @property
    def at_the_end(self) -> bool:
        """Only whoever is told to stop passes it."""
        return self.name.split(".")[0] in ENDINGS

    def __str__(self) -> str:
        return f"{self.action} at {self.name}"


def places(store: str) -> Iterator[Place]:
    """Everything that is to be done on a store: ``sqlite`` or ``postgres``."""
    names = [name for name in _engine._failpoints() if _is_on(name, store)]
    for name in names:
        yield Place(name, "kill", _role(name))
    for action, chosen in (("freeze", FREEZES), ("panic", PANICS)):
        for name in chosen:
            if name in names:
                yield Place(name, action, _role(name))


def _is_on(name: str, store: str) -> bool:
    verb, _, step = name.partition(".")
    if store == "sqlite":
        return step != "sent" and name not in ONLY_POSTGRES
    if name in ONLY_SQLITE:
        return False
    return step != "written" or verb in TRANSACTIONS


def _role(name: str) -> str:
    verb = name.split(".", maxsplit=1)[0]
    if verb in {"pause", "resume"}:
        return "pauser"
    if verb == "migrate":
        return "opener"
    if verb == "enqueue":
        return "producer"
    by_hand = {"cancel", "retry", "delete", "prune", "scale", "save_cron", "set_cron_paused", "delete_cron", "tick"}
    return "clerk" if verb in by_hand else "worker"
