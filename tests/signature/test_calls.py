"""The shape of a call: what stands where, by place and by name."""

import functools
import math
import threading
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import pytest

from signature.shapes import CTX, Color, Context, Point, Shape, bound, not_json, round_trip, send, unresolved
from zjobs.errors import Invalid


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


def test_names_of_arguments_that_are_no_text_are_called_so():
    with pytest.raises(Invalid, match=r"^args must have keys that are text"):
        bound(send).encode_payload({"to": "x", 1: 2})


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


def test_identifiers_of_any_script_name_arguments():
    def handler(größe: int, naïve: str = ""):  # noqa: PLC2401 - the point of the test
        return größe, naïve

    assert round_trip(handler, größe=1, naïve="x") == (1, "x")
