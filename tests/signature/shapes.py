"""Handlers and values of every shape, and a call from its caller to its handler."""

import dataclasses
import enum
import threading
from datetime import date
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pydantic

from zjobs.signature import Signature


class Context:
    """Stands for the job's context."""


CTX = Context()


def bound(handler):
    return Signature.of(handler, Context)


def round_trip(handler, *args, **kwargs):
    signature = bound(handler)
    return signature.call(handler)(signature.encode(args, kwargs), CTX)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


class Shape(msgspec.Struct):
    points: list[Point]
    color: Color = Color.RED


class User(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    id: UUID
    born: date
    name: str = pydantic.Field(alias="fullName")
    score: float | None = None


class Pair(NamedTuple):
    left: int
    right: str


class Row(TypedDict, total=False):
    key: str


def send(ctx: Context, to: str, subject: str = "Hello"):
    return ctx, to, subject


def unresolved(a: "Nowhere"):  # noqa: F821 - the point of the test
    return a


def not_json(a: threading.Thread):
    return a


class Opaque:
    def __repr__(self):
        return "Opaque()"


LOOP: list[Any] = []
LOOP.append(LOOP)
DEEP: list[Any] = []
for _ in range(10_000):
    DEEP = [DEEP]
