"""The values of arguments: they come back equal, or are refused at the call."""

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signature.shapes import DEEP, LOOP, Color, Level, Opaque, Pair, Point, Row, Shape, User, bound, round_trip, send
from zjobs.errors import Invalid, shown

FOLD = datetime(2030, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
IDENT = UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 2**63),
        (float, 1),
        (float, 0.1),
        (bool, True),
        (str, "é \U0001f600 \\u0000"),
        (bytes, b"\x00\xff"),
        (str | None, None),
        (Color, Color.BLUE),
        (Level, Level.HIGH),
        (Literal["a", 1], "a"),
        (datetime, datetime(2030, 1, 1, 12, 30, 15, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))),
        (datetime, datetime(2030, 1, 1)),  # noqa: DTZ001 - a handler may want wall-clock time
        (datetime, FOLD),
        (date, date(2030, 2, 28)),
        (timedelta, timedelta(days=1, microseconds=1)),
        (UUID, IDENT),
        (Decimal, Decimal("1.10")),
        (Point, Point(1.5)),
        (Shape, Shape([Point(1, 2)], Color.BLUE)),
        (User, User(id=IDENT, born=date(2000, 1, 1), fullName="Ada", score=1.5)),
        (list[User], [User(id=IDENT, born=date(2000, 1, 1), fullName="Ada")]),
        (dict[str, Point], {"a": Point(1)}),
        (dict[int, str], {1: "a"}),
        (set[int], {1, 2}),
        (tuple[int, str], (1, "a")),
        (Pair, Pair(1, "a")),
        (Row, {"key": "k"}),
        (list[Point | None], [None, Point(3)]),
        (Any, {"a": [1, 2.5, None, True, "x"]}),
        (object, [1]),
        (dict, {"a": {"b": []}}),
        (list, [[], {}]),
    ],
    ids=repr,
)
def test_a_value_of_its_annotation_comes_back_equal(kind, value):
    def handler(value):
        return value

    handler.__annotations__ = {"value": kind}
    back = round_trip(handler, value)
    assert back == value or back == value.astimezone(UTC)
    assert type(back) is type(value) or kind is float


def test_a_sequence_may_be_given_as_any_sequence():
    def handler(values: Sequence[int]):
        return values

    assert round_trip(handler, (1, 2)) == [1, 2]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (str, 1),
        (str, b"x"),
        (str, IDENT),
        (str, datetime(2030, 1, 1, tzinfo=UTC)),
        (str, "\ud800"),
        (str, "a\0b"),
        (str, None),
        (int, "1"),
        (int, True),
        (int, 1.5),
        (float, math.nan),
        (float, math.inf),
        (float | None, math.nan),
        (list[float | None], [1.0, math.nan]),
        (Point, Point(math.inf)),
        (User, User.model_construct(id=IDENT, born=date(2000, 1, 1), name="Ada", score=math.nan)),
        (bool, 1),
        (Color, "red"),
        (datetime, "2030-01-01T00:00:00Z"),
        (Point, {"x": 1.0}),
        (list[str], ["a", IDENT]),
        (tuple[int, str], (1, 2)),
        (set[int], [1]),
        (Annotated[int, msgspec.Meta(ge=0)], -1),
        (Annotated[str, msgspec.Meta(max_length=3)], "four"),
        (Any, b"x"),
        (Any, (1,)),
        (Any, {1}),
        (Any, {1: 2}),
        (Any, {"a": [math.nan]}),
        (Any, 2**64),
        (Any, -(2**63) - 1),
        (Any, Decimal(1)),
        (Decimal, Decimal("sNaN")),
        (Any, datetime(2030, 1, 1, tzinfo=UTC)),
        (Any, Opaque()),
        (Any, LOOP),
        (Any, DEEP),
        (Any, Point(1)),
        (dict, {"a": b"x"}),
        (dict[str, Any], {"a": IDENT}),
        (list, [(1,)]),
        (dict[int, Any], {1: b"x"}),
        (int, Opaque()),
        (list[list[Any]], LOOP),
    ],
    ids=shown,
)
def test_a_value_that_would_come_back_as_something_else_is_refused_by_name(kind, value):
    def handler(value):
        return value

    handler.__annotations__ = {"value": kind}
    with pytest.raises(Invalid, match=r"argument 'value"):
        bound(handler).encode((value,), {})


def test_a_parameter_without_annotation_takes_plain_json_only():
    assert round_trip(lambda a: a, {"k": [1, None]}) == {"k": [1, None]}
    with pytest.raises(Invalid, match=r"argument 'a"):
        bound(lambda a: a).encode(({"k": (1,)},), {})


def test_a_wrong_value_is_located_inside_its_argument():
    def handler(shape: Shape):
        return shape

    with pytest.raises(Invalid, match=r"argument 'shape' must fit shape: .*Shape: Expected `float`.*points\[1\]\.x"):
        bound(handler).encode((Shape([Point(1), Point("2")]),), {})


def test_ready_made_text_is_told_where_it_is_wrong():
    def handler(shape: Shape):
        return shape

    with pytest.raises(Invalid, match=r"Expected `str`, got `int` at 'to' \(got "):
        bound(send).check(b'{"to":1}')
    with pytest.raises(Invalid, match=r"Expected `float`, got `str` at 'shape\.points\[0\]\.x' \(got "):
        bound(handler).check(b'{"shape":{"points":[{"x":"2"}]}}')
    with pytest.raises(Invalid, match=r"missing required field `to` \(got "):
        bound(send).check(b"{}")


def test_what_another_library_says_of_a_payload_is_shown_without_its_control_characters():
    def handler(a: int):
        return a

    with pytest.raises(Invalid, match=r"unknown field `\\u\{1b\}\]0;x`"):
        bound(handler).check(b'{"\\u001b]0;x": 1}')


def test_nan_is_called_not_finite():
    def handler(a: float | None = None):
        return a

    with pytest.raises(Invalid, match=r"argument 'a.* finite .*nan"):
        bound(handler).encode((math.nan,), {})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)
ANYTHING = st.recursive(
    JSON | st.binary() | st.floats() | st.text() | st.integers() | st.decimals() | st.dates(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


def _plain(value):
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(key) and _plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_plain, value))
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, bool) or value is None:
        return True
    return isinstance(value, int) and -(2**63) <= value < 2**64


@given(ANYTHING)
def test_whatever_is_accepted_comes_back_equal_and_the_rest_is_invalid(value):
    def handler(value):
        return value

    try:
        back = round_trip(handler, value)
    except Invalid:
        assert not _plain(value)
    else:
        assert _plain(value)
        assert back == value


@given(st.floats(), st.text(), st.none() | st.integers(), st.lists(st.none() | st.floats()))
def test_typed_arguments_come_back_equal_or_are_invalid(number, text, maybe, numbers):
    def handler(number: float, text: str, maybe: int | None, numbers: list[float | None]):
        return number, text, maybe, numbers

    given_values = (number, text, maybe, numbers)
    fine = all(map(_plain, [number, text, numbers])) and (maybe is None or abs(maybe) < 2**63)
    try:
        assert round_trip(handler, *given_values) == given_values
    except Invalid:
        assert not fine


@given(st.uuids())
def test_uuids_keep_their_value(ident):
    def handler(ident: UUID, other: UUID | None = None):
        return ident

    assert round_trip(handler, ident, other=uuid4()) == ident
