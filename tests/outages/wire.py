"""What a message of a client commits when it arrives: told from the protocol of PostgreSQL and the heads of our SQL."""

import re
import socket
import struct
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

__all__ = ["Wire"]

BEFORE_A_START = {80877102, 80877103, 80877104}
"""Codes of a cancel, and of questions for TLS and GSSAPI; after any other the messages have types."""
HEAD = re.compile(rb"\s*-- (\w+)")


@dataclass(slots=True)
class _Session:
    rest: bytes = b""
    """The begin of a message whose end has not come."""
    has_started: bool = False
    statements: dict[bytes, str] = field(default_factory=dict)
    within: set[str] | None = None
    """Verbs of the transaction that is open."""


class Wire:
    """The sessions that pass through one proxy."""

    def __init__(self) -> None:
        self._sessions: WeakKeyDictionary[socket.socket, _Session] = WeakKeyDictionary()

    def commits(self, client: socket.socket, data: bytes) -> set[str]:
        """The verbs that the server commits when it has this, such as ``enqueue`` or ``ack``; also those that read."""
        session = self._sessions.setdefault(client, _Session())
        session.rest += data
        found: set[str] = set()
        while message := _next(session):
            found |= _meaning(session, *message)
        return found


def _next(session: _Session) -> tuple[bytes, bytes] | None:
    """The next whole message: its type and what it says."""
    head = 1 if session.has_started else 0
    if len(session.rest) < head + 4:
        return None
    (length,) = struct.unpack_from("!i", session.rest, head)
    if len(session.rest) < head + length:
        return None
    kind, body = session.rest[:head], session.rest[head + 4 : head + length]
    session.rest = session.rest[head + length :]
    if not head:
        session.has_started = struct.unpack_from("!i", body)[0] not in BEFORE_A_START
    return kind, body


def _meaning(session: _Session, kind: bytes, body: bytes) -> set[str]:
    match kind:
        case b"P":  # Parse: a name, and the text
            name, text, *_ = body.split(b"\0")
            head = HEAD.match(text)
            session.statements[name] = head[1].decode() if head else ""
        case b"B":  # Bind: a portal, and the name of the statement
            _, name, *_ = body.split(b"\0", 2)
            verb = session.statements[name]
            if session.within is None:
                return {verb}
            session.within.add(verb)
        case b"Q":
            first = body.removesuffix(b"\0").split(maxsplit=1)[:1]
            if first and first[0].startswith(b"BEGIN"):
                session.within = set()
            elif first in ([b"COMMIT"], [b"ROLLBACK"]):
                done, session.within = session.within or set(), None
                return done if first == [b"COMMIT"] else set()
    return set()
