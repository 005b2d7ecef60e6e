"""Arguments to JSON and back, so that what comes back is what went in.

Three rules make that sure:

* Where a type says what a value is, msgspec reads it back as that type, and the result must equal what was given.
* Where no type says so (no annotation, ``Any``), only plain JSON is accepted: ``None``, ``bool``, ``int``, finite
  ``float``, ``str``, ``list``, and ``dict`` with ``str`` keys. Anything else would come back as something different.
* A type that JSON cannot carry is refused when the worker is registered.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, TypeGuard, cast

import msgspec
from msgspec import inspect as types

from zjobs._engine import check_plain
from zjobs.errors import Invalid, invalid

__all__ = [
    "ENCODER",
    "decode",
    "decoder",
    "dump",
    "encode",
    "needs_plain",
    "require_storable",
    "require_supported",
    "same",
    "why_not",
]

_SCALARS = (types.NoneType, types.BoolType, types.IntType, types.FloatType, types.StrType)


def dump(field: str, value: object) -> bytes:
    """JSON text of a value made of anything msgspec knows, and of Pydantic models.

    Raises:
        Invalid: It holds something that JSON has no form for, such as NaN.
    """
    try:
        text = ENCODER.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise why_not(field, value, f"must be something that JSON can carry: {error}") from None
    if b"null" in text or b"\\u0000" in text:
        # msgspec writes NaN as null; only where one of these stands is a second look worth its time.
        require_storable(field, value)
    return text


def decoder(kind: object) -> Callable[[bytes], Any]:
    """The function that reads JSON text as ``kind``, Pydantic models included.

    Raises:
        TypeError: msgspec cannot read such a type.
    """
    found = msgspec.json.Decoder(cast("Any", kind), dec_hook=_read_foreign)
    return found.decode


def why_not(field: str, value: object, otherwise: str) -> Invalid:
    """Says what is wrong with a value: the flaw inside it if there is one (NaN, a lone surrogate), or ``otherwise``."""
    try:
        require_storable(field, value)
    except Invalid as flaw:
        return flaw
    return invalid(field, otherwise, value)


def require_storable(field: str, value: object) -> None:
    """Looks for flaws that a type does not show: NaN, a lone surrogate, U+0000, a cycle, too great a depth or integer.

    Raises:
        Invalid: There is one, or the value has no form in JSON at all.
    """
    try:
        plain = _with_lists(msgspec.to_builtins(value, enc_hook=_write_foreign, str_keys=True))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise invalid(field, f"must be something that JSON can carry: {error}", value) from None
    check_plain(field, plain)


def needs_plain(kind: object) -> bool:
    """Whether values of ``kind`` must be checked to be plain JSON before they are encoded.

    So it is for JSON's own types with ``Any`` among them; all others are proven by reading them back by their type.
    """
    nodes = list(_walk(types.type_info(cast("Any", kind))))
    return any(map(_is_any, nodes)) and all(map(_is_plain, nodes))


def require_supported(field: str, kind: object) -> None:
    """Refuses a type that JSON cannot carry.

    Raises:
        Invalid: It is, or has inside, a class that neither msgspec nor Pydantic knows how to read.
    """
    rule = (
        "must have a type that JSON can carry: plain values, dataclasses, enums, datetime, UUID, Decimal, "
        "msgspec structs, Pydantic models; pass an id or a key in place of anything else"
    )
    try:
        nodes = list(_walk(types.type_info(cast("Any", kind))))
        decoder(kind)
    except TypeError as error:
        raise invalid(field, f"{rule}; {error}", kind) from None
    for node in nodes:
        if isinstance(node, types.CustomType) and not _is_any(node) and not _is_model_class(node.cls):
            raise invalid(field, rule, node.cls)


def same(given: object, got: object) -> bool:
    """Whether what was read back is what was given; an array may come back as the annotated kind of array."""
    try:
        return _same(given, got)
    except Exception:  # noqa: BLE001 - a foreign `==` may raise anything (`Decimal("sNaN")` does): then nobody can tell
        return False


def _same(given: object, got: object) -> bool:
    if given == got:
        return True
    if isinstance(given, datetime) and isinstance(got, datetime):
        # Times in the hour that a zone repeats never compare equal to another zone's (PEP 495).
        return None not in {given.utcoffset(), got.utcoffset()} and given.astimezone(UTC) == got.astimezone(UTC)
    if isinstance(given, (list, tuple)) and isinstance(got, (list, tuple)):
        ones, others = cast("list[object]", given), cast("list[object]", got)
        return len(ones) == len(others) and all(map(_same, ones, others))
    if isinstance(given, Mapping) and isinstance(got, Mapping):
        one, other = cast("Mapping[object, object]", given), cast("Mapping[object, object]", got)
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return _same_object(cast("object", given), got)


def _same_object(given: object, got: object) -> bool:
    """The same of two structs or dataclasses by their fields; classes without an ``==`` of their own pass by type."""
    if type(given) is not type(got):
        return False
    names = _field_names(given)
    if names:
        return all(_same(getattr(given, name), getattr(got, name)) for name in names)
    return type(given).__eq__ is object.__eq__


def _with_lists(value: object) -> object:
    """The builtins of msgspec with lists in place of tuples, which are the same to JSON."""
    if isinstance(value, (list, tuple)):
        return [_with_lists(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {key: _with_lists(item) for key, item in cast("dict[object, object]", value).items()}
    return value


def _field_names(value: object) -> tuple[str, ...]:
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if is_dataclass(value):
        return tuple(field.name for field in fields(value) if field.init)
    return ()


def _walk(root: types.Type) -> Iterator[types.Type]:
    """Each type inside a type, once, although types may contain themselves."""
    waiting: list[object] = [root]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, tuple):
            waiting.extend(cast("tuple[object, ...]", node))
        elif isinstance(node, types.Field):
            waiting.append(node.type)
        elif isinstance(node, types.Type):
            yield node
            waiting.extend(getattr(node, name) for name in node.__struct_fields__)


def _is_any(node: types.Type) -> bool:
    return isinstance(node, types.AnyType) or (isinstance(node, types.CustomType) and node.cls is object)


def _is_plain(node: types.Type) -> bool:
    if isinstance(node, types.DictType):
        return isinstance(node.key_type, (types.StrType, types.AnyType))
    return _is_any(node) or isinstance(node, (*_SCALARS, types.ListType, types.UnionType))


def _model_class() -> type | None:
    """Pydantic's base class, once somebody has imported it; zjobs itself never does."""
    return getattr(sys.modules.get("pydantic"), "BaseModel", None)


def _is_model_class(kind: object) -> TypeGuard[type]:
    model = _model_class()
    return model is not None and isinstance(kind, type) and issubclass(kind, model)


def _write_foreign(value: Any) -> object:  # noqa: ANN401 - whatever msgspec does not know
    if _is_model_class(cast("object", type(value))):
        # Pydantic writes NaN as null here; as Python objects it stays NaN and is refused.
        return value.model_dump(mode="json", by_alias=True)
    message = f"objects of type {type(value).__name__} have no form in JSON; pass an id or a key instead"
    raise TypeError(message)


def _read_foreign(kind: type, value: object) -> object:
    if _is_model_class(kind):
        # As JSON text, so that models in strict mode read their dates and UUIDs from strings.
        return cast("Any", kind).model_validate_json(msgspec.json.encode(value))
    return value


ENCODER = msgspec.json.Encoder(enc_hook=_write_foreign)


def encode(field: str, value: object) -> bytes:
    """JSON text of plain values, where no type says how to read them back.

    Raises:
        Invalid: It holds something that JSON would not give back unchanged.
    """
    check_plain(field, value)
    return ENCODER.encode(value)


decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode
"""Reads JSON text as plain values."""
