"""Arguments to JSON and back: which types and values can make the journey, and when what comes back is the same."""

import dataclasses
import enum
import math
import uuid
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest

from zjobs import codec
from zjobs.errors import Invalid

BERLIN = ZoneInfo("Europe/Berlin")


class Point(msgspec.Struct):
    x: float
    tags: list[str] = []


class Box(msgspec.Struct):
    item: Any


class Tree(msgspec.Struct):
    children: "list[Tree]"
    value: int | None = None


@dataclasses.dataclass
class Order:
    number: int
    lines: tuple[int, ...] = ()
    total: int = dataclasses.field(default=0, init=False, compare=False)


class Opaque:
    """Has no ``==`` of its own."""


class Model(pydantic.BaseModel):
    ratio: float = 1.0
    name: str = pydantic.Field(default="a", alias="title")


class Colour(enum.Enum):
    RED = "red"


# --- the same ---


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (1, 1),
        ((1, 2), [1, 2]),
        ([(1,), {"a": (2,)}], [[1], {"a": [2]}]),
        ({"a": (1,), "b": 2}, {"b": 2, "a": [1]}),
        (Point(1, ["a"]), Point(1, ["a"])),
        (Order(1, (1, 2)), Order(1, [1, 2])),
        (Opaque(), Opaque()),
        (datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
        ([datetime(2026, 6, 1, tzinfo=BERLIN)], [datetime(2026, 6, 1, tzinfo=timezone(timedelta(hours=2)))]),
    ],
)
def test_what_came_back_is_the_same(given, got):
    assert codec.same(given, got) is True


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (1, 2),
        (1, "1"),
        ((1, 2), [1, 2, 3]),
        ((1, 2, 3), [1, 2]),
        ((1, 2), [1, 3]),
        ([1], "1"),
        ({"a": 1}, {"a": 2}),
        ({"a": 1, "b": 1}, {"a": 1, "b": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1}, [("a", 1)]),
        (Point(1), Point(2)),
        (Point(1), Order(1)),
        (Order(1, (1, 2)), Order(1, (1, 3))),
        (Order(1, (1, 2)), Order(2, (1, 2))),
        (Opaque(), object()),
        (datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
        (datetime(2026, 6, 1), datetime(2026, 6, 1, tzinfo=UTC)),  # noqa: DTZ001 - the point of the test
        (datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 6, 1)),  # noqa: DTZ001 - the point of the test
        (datetime(2026, 6, 1, tzinfo=UTC), "2026-06-01T00:00:00Z"),
        (math.nan, math.nan + 0),
    ],
)
def test_what_came_back_is_something_else(given, got):
    assert codec.same(given, got) is False


def test_a_field_that_is_not_given_is_not_compared():
    one, other = Order(1, (1,)), Order(1, [1])
    one.total, other.total = 1, 2
    assert codec.same(one, other) is True


def test_a_struct_is_compared_by_its_fields():
    assert codec.same(Box((1, 2)), Box([1, 2])) is True
    assert codec.same(Box((1, 2)), Box([1, 3])) is False


# --- types ---


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        (Any, True),
        (object, True),
        (dict[str, Any], True),
        (dict[Any, Any], True),
        (list[dict[str, Any] | None], True),
        (dict[int, Any], False),
        (int, False),
        (list[int], False),
        (dict[str, str | None], False),
        (tuple[Any, ...], False),
        (Point, False),
        (dict[str, Any | datetime], False),
    ],
)
def test_only_plain_types_with_any_among_them_are_checked_to_be_plain(kind, plain):
    assert codec.needs_plain(kind) is plain


@pytest.mark.parametrize(
    "kind", [Any, object, Tree, Order, Model, list[Model], Colour, uuid.UUID, Decimal, dict[str, Tree | None]]
)
def test_types_that_json_can_carry_are_accepted(kind):
    codec.require_supported("args", kind)


@pytest.mark.parametrize("kind", [Opaque, list[Opaque], dict[str, Opaque | None], type, int | Point | Tree])
def test_a_type_that_json_cannot_carry_is_refused_wherever_it_stands(kind):
    with pytest.raises(Invalid, match=r"^args must have a type that JSON can carry.*\(got "):
        codec.require_supported("args", kind)


def test_a_model_is_read_in_its_own_way_and_other_types_by_msgspec():
    assert codec.decoder(Model)(b'{"ratio": 2, "title": "b"}') == Model(ratio=2, title="b")
    assert codec.decoder(list[Model])(b"[{}]") == [Model()]
    assert codec.decoder(Tree)(b'{"children": [{"children": []}]}') == Tree([Tree([])])
    with pytest.raises(msgspec.ValidationError):
        codec.decoder(int)(b'"1"')
    assert codec.decoder(object)(b"[1]") == [1]


# --- values ---


def test_values_of_known_types_become_json():
    value = [Point(1.5), Order(2), Colour.RED, Model(title="b"), None, {"a": (1,)}]
    assert codec.dump("args", value) == (
        b'[{"x":1.5,"tags":[]},{"number":2,"lines":[]},"red",{"ratio":1.0,"title":"b"},null,{"a":[1]}]'
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, [math.nan], Point(math.nan), {"a": -math.inf}, "a\0b"])
def test_a_flaw_that_a_type_does_not_show_is_found(bad):
    with pytest.raises(Invalid, match=r"^args.* must "):
        codec.dump("args", bad)
    with pytest.raises(Invalid, match=r"^args.* must "):
        codec.require_storable("args", bad)


def test_what_has_no_form_in_json_is_refused_with_the_way_out():
    for refuse in (codec.dump, codec.require_storable):
        with pytest.raises(Invalid, match=r"^args must be something that JSON can carry: objects of type Opaque"):
            refuse("args", Opaque())
    with pytest.raises(Invalid, match=r"^args.* must "):
        codec.encode("args", {1: 2})
    assert codec.encode("args", {"a": [1, None]}) == b'{"a":[1,null]}'


def test_a_flaw_is_told_before_what_else_is_wrong():
    assert "must be whole" in str(codec.why_not("args", 1, "must be whole"))
    flaw = codec.why_not("args", [math.nan], "must be whole")
    assert isinstance(flaw, Invalid)
    assert "must be whole" not in str(flaw)


def test_tuples_are_as_good_as_lists_where_they_stand_in_something_storable():
    codec.require_storable("args", {"a": (1, (2, {"b": (3,)}))})
    codec.require_storable("args", Order(1, (1, 2)))
