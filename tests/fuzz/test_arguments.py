"""Arguments of jobs: what is let in reaches the handler equal, and the rest is refused (F-65, F-67)."""

import enum
import inspect
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import example, given
from hypothesis import strategies as st

from fuzz import assert_shown, short
from zjobs import JobContext
from zjobs.codec import decode, encode
from zjobs.errors import Invalid
from zjobs.signature import Signature, payload_signature

WORDS = st.text(st.characters(), max_size=20)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**64), 2**65),
    st.floats(),
    WORDS,
)
FOREIGN = st.one_of(
    st.binary(max_size=5), st.decimals(), st.dates(), st.uuids(), st.just(object()), st.complex_numbers()
)
ANYTHING = st.recursive(
    st.one_of(SCALARS, SCALARS, FOREIGN),
    lambda inside: st.one_of(
        st.lists(inside, max_size=4),
        st.lists(inside, max_size=3).map(tuple),
        st.dictionaries(st.one_of(WORDS, WORDS, st.integers()), inside, max_size=4),
    ),
    max_leaves=12,
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Address:
    street: str
    number: int = 0
    tags: list[str] = field(default_factory=list)


# Handlers that give back what they got, by name.


def scalars(text: str, whole: int, number: float, flag: bool, maybe: int | None = None):  # noqa: FBT001
    return locals()


def rich(  # noqa: PLR0917
    at: datetime, day: date, hour: time, length: timedelta, key: UUID, price: Decimal, raw: bytes, colour: Colour,
    home: Address, many: dict[str, list[int]], pair: tuple[int, str], some: set[int],
):  # fmt: skip
    return locals()


def loose(first, second: Any = None, *, third: Any = (), **more):
    return {"first": first, "second": second, "third": third, **more}


def mixed(ctx: JobContext, words: list[str], either: int | str | None = None, table: dict[int, float] | None = None):
    return {"words": words, "either": either, "table": table}


def payload(args: dict[str, list[float]], ctx):
    return args


HANDLERS = [scalars, rich, loose, mixed]
FITTING = {
    scalars: st.tuples(WORDS, st.integers(), st.floats(), st.booleans(), st.none() | st.integers()),
    rich: st.tuples(
        st.datetimes(timezones=st.none() | st.timezones()),
        st.dates(),
        st.times(),
        st.timedeltas(),
        st.uuids(),
        st.decimals(),
        st.binary(max_size=8),
        st.sampled_from(Colour),
        st.builds(Address, WORDS, st.integers(), st.lists(WORDS, max_size=2)),
        st.dictionaries(WORDS, st.lists(st.integers(), max_size=2), max_size=2),
        st.tuples(st.integers(), WORDS),
        st.sets(st.integers(), max_size=3),
    ),
    loose: st.tuples(ANYTHING, ANYTHING),
    mixed: st.tuples(
        st.lists(WORDS, max_size=3),
        st.none() | st.integers() | WORDS,
        st.none() | st.dictionaries(st.integers(), st.floats(), max_size=3),
    ),
}
SIGNATURES = {handler: Signature.of(handler, JobContext) for handler in HANDLERS}
CALLS = st.sampled_from(HANDLERS).flatmap(
    lambda handler: st.tuples(
        st.just(handler),
        st.one_of(FITTING[handler], st.lists(ANYTHING, max_size=5)),
        st.dictionaries(st.sampled_from(["first", "third", "maybe", "table", "ctx", "ex", "é"]), ANYTHING, max_size=2),
    )
)


def alike(given, got):
    """Equal, and a truth is no number; arrays may be lists or tuples."""
    if isinstance(given, bool) or isinstance(got, bool):
        return given is got
    if isinstance(given, (list, tuple)) and isinstance(got, (list, tuple)):
        return len(given) == len(got) and all(map(alike, given, got))
    if isinstance(given, dict) and isinstance(got, dict):
        return given.keys() == got.keys() and all(alike(value, got[key]) for key, value in given.items())
    if isinstance(given, datetime) and isinstance(got, datetime) and given.tzinfo and got.tzinfo:
        return given.astimezone(UTC) == got.astimezone(UTC)
    return given == got


@short(400)
@given(CALLS)
@example((scalars, ("a", 1, 1, True), {}))
@example((scalars, ("a", True, 1.0, True), {}))
@example((loose, ({"a": [1, (2,), None]}, float("nan")), {}))
@example((mixed, (["a"], None, {1: 2.0}), {}))
def test_a_call_that_is_let_in_reaches_the_handler_as_it_was_made(call):
    handler, args, named = call
    signature = SIGNATURES[handler]
    try:
        text = signature.encode(tuple(args), named)
    except Invalid as error:
        assert_shown(str(error))
        return
    json.loads(text)
    got = signature.call(handler)(text, None)
    own = [one for one in inspect.signature(handler).parameters.values() if one.name != "ctx"]
    bound = inspect.Signature(own).bind(*args, **named).arguments
    bound |= bound.pop("more", {})
    for name, value in bound.items():
        assert alike(value, got[name]), (name, value, got[name])


@short(300)
@given(ANYTHING)
@example(10**400)
@example({"a": "\udfff"})
@example([[[["\0"]]]])
def test_plain_values_come_back_equal_or_are_refused(value):
    try:
        text = encode("args", value)
    except Invalid as error:
        assert_shown(str(error))
        return
    assert alike(value, decode(text))
    assert alike(value, json.loads(text))


@short(200)
@given(st.one_of(ANYTHING, st.dictionaries(WORDS, st.lists(st.floats(), max_size=3)), st.binary(max_size=40)))
@example({"a": [1]})
@example(b'{"a": [1e999]}')
def test_a_payload_that_is_let_in_reaches_the_handler_as_it_was_given(value):
    signature = payload_signature(payload)
    try:
        text = signature.encode(value)
    except Invalid as error:
        assert_shown(str(error))
        return
    got = signature.call(payload)(text, None)
    assert alike(json.loads(value) if isinstance(value, bytes) else value, got)


@short(200)
@given(
    st.sampled_from(HANDLERS),
    st.binary(max_size=60) | ANYTHING.map(lambda value: json.dumps(value, default=str).encode()),
)
def test_text_made_elsewhere_fits_the_handler_or_is_refused(handler, text):
    signature = SIGNATURES[handler]
    try:
        signature.check(text)
    except Invalid as error:
        assert_shown(str(error))
        return
    signature.call(handler)(text, None)
