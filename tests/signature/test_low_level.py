"""Low-level handlers, which take the payload as it is: by their annotation, and the rest refused."""

import math

import pytest

from signature.shapes import CTX, DEEP, LOOP, Opaque, Point, Shape, not_json, unresolved
from zjobs.errors import Invalid, shown
from zjobs.signature import payload_signature


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
