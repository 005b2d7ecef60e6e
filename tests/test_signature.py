import dataclasses
import enum
import functools
import math
import threading
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zjobs.errors import Invalid, shown
from zjobs.signature import Signature, payload_signature


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


# --- the shape of a call ---


def send(ctx: Context, to: str, subject: str = "Hello"):
    return ctx, to, subject


def test_a_call_arrives_as_it_was_made():
    assert round_trip(send, "a@b", subject="Hi") == (CTX, "a@b", "Hi")
    assert round_trip(send, to="a@b") == (CTX, "a@b", "Hello")


def test_the_payload_holds_what_the_caller_gave_and_no_defaults():
    assert bound(send).encode(("a@b",), {}) == b'{"to":"a@b"}'
    assert bound(send).encode((), {"subject": "s", "to": "t"}) == b'{"to":"t","subject":"s"}'


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "missing a required argument: 'to'"),
        ((), {"subject": object()}, "missing a required argument: 'to'"),
        (("a", "b", "c"), {}, "too many positional arguments"),
        (("a",), {"to": "b"}, "multiple values for argument 'to'"),
        (("a",), {"x": 1}, "got an unexpected keyword argument 'x'"),
        (("a",), {"ctx": 1}, "got an unexpected keyword argument 'ctx'"),
    ],
)
def test_a_call_that_does_not_fit_is_refused_in_python_s_own_words(args, kwargs, words):
    with pytest.raises(Invalid, match=words) as caught:
        bound(send).encode(args, kwargs)
    assert "(to: str, subject: str = 'Hello')" in str(caught.value)


def first(ctx: Context, a: int, *, b: int = 2):
    return ctx, a, b


def middle(a: int, ctx: Context, b: int = 2):
    return ctx, a, b


def last(a: int, b: int = 2, ctx: Context | None = None):
    return ctx, a, b


def by_name(a: int, *, ctx: "Context", b: int = 2):
    return ctx, a, b


def annotated(ctx: Annotated[Context, "note"], a: int, b: int = 2):
    return ctx, a, b


class Service:
    def handle(self, ctx: Context, a: int, b: int = 2):
        return ctx, a, b

    def __call__(self, a: int, b: int = 2, *, ctx: Context):
        return ctx, a, b


@functools.wraps(first)
def wrapped(*args, **kwargs):
    return first(*args, **kwargs)


@pytest.mark.parametrize(
    "handler",
    [first, middle, last, by_name, annotated, wrapped, Service().handle, Service(), functools.partial(first, b=2)],
)
def test_the_context_stands_where_the_handler_wants_it(handler):
    assert round_trip(handler, a=1) == (CTX, 1, 2)
    assert round_trip(handler, 1, b=5) == (CTX, 1, 5)


def test_a_handler_needs_neither_context_nor_arguments():
    assert round_trip(lambda: "done") == "done"
    assert bound(lambda: None).encode((), {}) == b"{}"


def test_a_default_is_the_very_object_of_the_signature():
    seen = []

    def collect(a: int, into: list[int] = seen, point: Point = Point(1)):  # noqa: B008 - the point of the test
        into.append(a)
        return into

    assert round_trip(collect, 1) is seen
    assert round_trip(collect, 2) is seen
    assert seen == [1, 2]


def test_a_default_need_not_be_what_json_can_carry():
    lock = threading.Lock()

    def handler(a: Any = lock, b=lock):
        return a, b

    assert round_trip(handler) == (lock, lock)


def extra(ctx: Context, a: int, **rest: float):
    return ctx, a, rest


def test_keyword_arguments_beyond_the_named_ones_arrive_by_their_annotation():
    assert round_trip(extra, 1, x=2.5, rest=3) == (CTX, 1, {"x": 2.5, "rest": 3})
    assert round_trip(lambda **kw: kw, x=[1]) == {"x": [1]}
    for bad in ({"x": "s"}, {"x": math.nan}, {"ctx": 1}):
        with pytest.raises(Invalid, match=next(iter(bad))):
            bound(extra).encode((1,), bad)
    for bad in ({"\ud800": 1}, {"a\0": 1}):
        with pytest.raises(Invalid, match="the name of an argument"):
            bound(lambda **kw: kw).encode((), bad)
    for bad in ((1,), b"x", math.nan, datetime(2030, 1, 1, tzinfo=UTC)):
        with pytest.raises(Invalid, match=r"argument 'x'"):
            bound(lambda **kw: kw).encode((), {"x": bad})


def positional_only(a: int, /):
    return a


def variadic(*a: int):
    return a


def two_contexts(a: Context, b: Context):
    return a, b


def unresolved(a: "Nowhere"):  # noqa: F821 - the point of the test
    return a


def not_json(a: threading.Thread):
    return a


def nested_not_json(a: list[dict[str, complex]]):
    return a


def two_dicts(a: Point | Shape):
    return a


@pytest.mark.parametrize(
    "handler", [positional_only, variadic, two_contexts, unresolved, not_json, nested_not_json, two_dicts, 5, dict]
)
def test_a_handler_that_cannot_be_served_is_refused_when_it_is_registered(handler):
    with pytest.raises(Invalid):
        bound(handler)


# --- values ---

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


class Opaque:
    def __repr__(self):
        return "Opaque()"


LOOP: list[Any] = []
LOOP.append(LOOP)
DEEP: list[Any] = []
for _ in range(10_000):
    DEEP = [DEEP]


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


def test_names_of_arguments_that_are_no_text_are_called_so():
    with pytest.raises(Invalid, match=r"^args must have keys that are text"):
        bound(send).encode_payload({"to": "x", 1: 2})


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


# --- by name, and from elsewhere ---


def test_by_name_a_value_may_stand_in_its_json_form():
    def handler(at: datetime, point: Point, color: Color = Color.RED):
        return at, point, color

    signature = bound(handler)
    payload = signature.encode_payload({"at": "2030-01-01T00:00:00Z", "point": {"x": 1.0}, "color": "red"})
    expected = (datetime(2030, 1, 1, tzinfo=UTC), Point(1.0), Color.RED)
    assert signature.call(handler)(payload, CTX) == expected
    assert signature.call(handler)(signature.encode_payload({"at": expected[0], "point": Point(1)}), CTX) == expected
    for bad in ({"at": "noon", "point": {"x": 1}}, {"point": {"x": 1}}, {1: 2}, {"at": "x" * 10_000, "point": b""}):
        with pytest.raises(Invalid):
            signature.encode_payload(bad)


def test_ready_made_text_is_checked_against_the_signature():
    signature = bound(send)
    signature.check(b'{"to":"a@b"}')
    for bad in (b"{}", b'{"to":1}', b'{"to":"a","x":1}', b"[]", b"{", b"", b"\xff", b"[" * 100_000):
        with pytest.raises(Invalid, match=r"^args must fit"):
            signature.check(bad)


def test_a_payload_that_the_handler_cannot_take_fails_its_job_only():
    invoke = bound(send).call(send)
    for bad in (b"{}", b'{"to":1}', b"{", b"\xff"):
        with pytest.raises(msgspec.DecodeError):
            invoke(bad, CTX)


# --- low-level handlers ---


def whole(args, ctx):
    return args, ctx


def raw(args: bytes, ctx):
    return args, ctx


def typed(args: Shape, ctx):
    return args, ctx


def alone(args):
    return args, None


def variadic_low(*given):
    return given


@pytest.mark.parametrize(
    ("handler", "payload", "args"),
    [
        (whole, {"a": [1]}, {"a": [1]}),
        (whole, None, None),
        (raw, {"a": [1]}, b'{"a":[1]}'),
        (raw, b"[1, 2]", b"[1, 2]"),
        (whole, b"[1, 2]", [1, 2]),
        (typed, Shape([Point(1)]), Shape([Point(1)])),
        (typed, {"points": [{"x": 1}]}, Shape([Point(1)])),
        (typed, b'{"points":[]}', Shape([])),
        (alone, [1], [1]),
        (variadic_low, [1], [1]),
    ],
)
def test_a_low_level_handler_gets_the_payload_as_its_annotation_says(handler, payload, args):
    signature = payload_signature(handler)
    got, ctx = signature.call(handler)(signature.encode(payload), CTX)
    assert got == args
    assert type(got) is type(args)
    assert ctx is (None if handler is alone else CTX)


@pytest.mark.parametrize(
    ("handler", "payload"),
    [
        (whole, {"a": (1,)}),
        (whole, {"a": math.nan}),
        (whole, LOOP),
        (whole, DEEP),
        (whole, Opaque()),
        (whole, b"{"),
        (raw, {1}),
        (typed, {"points": 1}),
        (typed, {"points": ({"x": 1},)}),
        (typed, [1]),
        (typed, b"{}"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or shown(value),
)
def test_a_payload_that_does_not_fit_a_low_level_handler_is_refused(handler, payload):
    with pytest.raises(Invalid, match=r"^args"):
        payload_signature(handler).encode(payload)


def test_only_a_handler_that_wants_bytes_gets_text_unread():
    assert payload_signature(raw).takes_text
    assert not payload_signature(whole).takes_text
    assert not payload_signature(typed).takes_text


def keyword_only(*, args):
    return args


def three(args, ctx, more):
    return args, ctx, more


@pytest.mark.parametrize("handler", [lambda: None, keyword_only, three, not_json, unresolved, 5])
def test_a_low_level_handler_of_another_shape_is_refused(handler):
    with pytest.raises(Invalid):
        payload_signature(handler)


def test_identifiers_of_any_script_name_arguments():
    def handler(größe: int, naïve: str = ""):  # noqa: PLC2401 - the point of the test
        return größe, naïve

    assert round_trip(handler, größe=1, naïve="x") == (1, "x")


@given(st.uuids())
def test_uuids_keep_their_value(ident):
    def handler(ident: UUID, other: UUID | None = None):
        return ident

    assert round_trip(handler, ident, other=uuid4()) == ident
