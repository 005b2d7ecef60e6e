"""From a call to a payload and back to a call.

A typed worker's payload is a JSON object with the arguments that the caller gave, by name; absent ones take the
handler's defaults when the job runs. The signature is read once, when the worker is registered. Then ``encode`` binds
as Python would and proves that the handler will get what was given; ``call`` makes the function that runs each job.
"""

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import Any, TypeAlias, cast

import msgspec

from zjobs import codec
from zjobs._engine import Shape, check_plain
from zjobs.errors import Invalid, invalid, shown

__all__ = ["Invoke", "PayloadSignature", "Signature", "payload_signature"]

Invoke: TypeAlias = Callable[[bytes, Any], Any]
"""Calls the handler with the payload's text and the job's context, and returns what it returns."""

_REFUSED = {
    Parameter.POSITIONAL_ONLY: "must not be positional-only: arguments travel by name; remove the '/'",
    Parameter.VAR_POSITIONAL: "must not be variadic: arguments travel by name; take a list instead",
}
_LOCATED = re.compile(r"(.*) - at `\$\.(\w+)(.*)`", re.DOTALL)
_Verdict: TypeAlias = Callable[[str, object, object], None]
_SCALARS = frozenset({str, int, float, bool})
_MUTABLE: tuple[type, ...] = (list, dict, set, bytearray, msgspec.Struct)


class Signature:
    """What a decorated worker takes: its parameters without the context, as one typed object."""

    __slots__ = (
        "_context",
        "_decode",
        "_extras",
        "_named",
        "_names",
        "_plain",
        "_positional",
        "_raw",
        "_shape",
        "arguments",
        "shape",
    )

    def __init__(self, parameters: Sequence[Parameter], hints: Mapping[str, Any], context: Parameter | None) -> None:
        """Takes apart what `of` has read."""
        own = [p for p in parameters if p is not context]
        extras = [p.name for p in own if p.kind is p.VAR_KEYWORD]
        taken = [p for p in own if p.kind is not p.VAR_KEYWORD]
        self._shape = inspect.Signature(own)
        self._context = context
        self._named = tuple(p for p in parameters if p.kind is not p.VAR_KEYWORD)
        self._names = frozenset(p.name for p in taken)
        self._positional = tuple(p.name for p in taken if p.kind is p.POSITIONAL_OR_KEYWORD)
        self._plain = tuple(p.name for p in taken if codec.needs_plain(hints[p.name]))
        self._decode = codec.decoder(_struct(taken, hints, strict=not extras))
        self._raw = codec.decoder(dict[str, msgspec.Raw])
        self._extras = _Extras(hints[extras[0]]) if extras else None
        self.arguments = None if extras else tuple(p.name for p in taken)
        self.shape = None if extras else _scalar_shape(taken, hints)

    @classmethod
    def of(cls, handler: Callable[..., Any], context_type: type) -> "Signature":
        """Reads the signature of a handler.

        Args:
            handler: A plain or coroutine function, a bound method or an object that can be called.
            context_type: The class whose annotation marks the parameter that gets the job's context.

        Raises:
            Invalid: A parameter is positional-only or ``*args``, an annotation cannot be resolved or carried by JSON,
                or two parameters are annotated with the context.
        """
        parameters = _parameters(handler)
        hints = _hints(handler, parameters, {context_type.__name__: context_type})
        contexts = [p for p in parameters if _names_context(hints[p.name], context_type)]
        for parameter in contexts[1:]:
            raise invalid(
                f"parameter '{parameter.name}'", "must not be a second job context; remove one", str(parameter)
            )
        for parameter in parameters:
            if parameter.kind in _REFUSED:
                raise invalid(f"parameter '{parameter.name}'", _REFUSED[parameter.kind], str(parameter))
            if parameter not in contexts:
                codec.require_supported(f"parameter '{parameter.name}'", hints[parameter.name])
        return cls(parameters, hints, contexts[0] if contexts else None)

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """The payload of a call.

        Raises:
            Invalid: The call does not fit the signature, or a value does not fit its annotation or JSON.
        """
        return self._encode(self._bind(args, kwargs), _refuse)

    def encode_payload(self, payload: Mapping[str, Any]) -> bytes:
        """The payload of a call by name: as `encode`, and a value may also stand in its JSON form.

        Raises:
            Invalid: The call does not fit the signature, or a value does not fit its annotation or JSON.
        """
        for name in cast("Mapping[object, Any]", payload):
            if not isinstance(name, str):
                raise invalid("args", "must have keys that are text: the names of the handler's parameters", name)
        return self._encode(self._bind((), payload), _accept_json)

    def check(self, payload: bytes) -> None:
        """Proves that JSON text made elsewhere fits the handler.

        Raises:
            Invalid: It does not.
        """
        self._read(payload, None)

    def call(self, handler: Callable[..., Any]) -> Invoke:
        """The function that runs one job: decodes the payload and calls the handler.

        It raises ``msgspec.ValidationError`` or ``msgspec.DecodeError`` for a payload that the handler cannot take,
        such as one written by an older version of it.
        """
        if self._extras is not None:
            return self._call_with_extras(handler, self._extras)
        parts: list[str] = []
        for parameter in self._named:
            value = "ctx" if parameter is self._context else f"given.{parameter.name}"
            parts.append(f"{parameter.name}={value}" if parameter.kind is parameter.KEYWORD_ONLY else value)
        # One flat function per signature, as dataclasses make their __init__: half the time of a general one. The text
        # holds nothing but parameter names, which inspect has proven to be identifiers.
        source = f"def invoke(payload, ctx):\n    given = decode(payload)\n    return handler({', '.join(parts)})\n"
        space: dict[str, Any] = {"__name__": __name__, "decode": self._decode, "handler": handler}
        exec(source, space)  # noqa: S102 - see above
        return space["invoke"]

    def _call_with_extras(self, handler: Callable[..., Any], extras: "_Extras") -> Invoke:
        decode, raw, names, named, context = self._decode, self._raw, self._names, self._named, self._context

        def invoke(payload: bytes, ctx: object) -> object:
            given = decode(payload)
            values = {p.name: ctx if p is context else getattr(given, p.name) for p in named}
            more = {name: extras.decode(text) for name, text in raw(payload).items() if name not in names}
            return handler(**values, **more)

        return invoke

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name. Missing and unknown ones are left for `_read` to find, which looks anyway."""
        given = dict(kwargs)
        if args:
            by_place = dict(zip(self._positional, args, strict=False))
            if len(args) > len(self._positional) or not by_place.keys().isdisjoint(given):
                self._require_fit(args, kwargs)
            given = by_place | given
        return given

    def _require_fit(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        try:
            self._shape.bind(*args, **kwargs)
        except TypeError as error:
            raise Invalid(f"{error}; the worker takes {self._shape}") from None

    def _encode(self, given: dict[str, Any], otherwise: _Verdict) -> bytes:
        if self.shape is not None:
            quick = self.shape.encode(given)
            if quick is not None:
                return quick
        for name in self._plain:
            if name in given:
                check_plain(f"argument '{name}'", given[name])
        try:
            payload = codec.ENCODER.encode(given)
        except (TypeError, ValueError, OverflowError, RecursionError):
            payload = self._encode_one_by_one(given)
        got = self._read(payload, given)
        known = given if self._extras is None else self._check_extras(self._extras, payload, given, otherwise)
        for name, value in known.items():
            back = getattr(got, name)
            # Scalars are equal at once; only the others are worth a call, which knows that `==` may raise.
            if back is not value and (type(value) not in _SCALARS or back != value) and not codec.same(value, back):
                otherwise(f"argument '{name}'", value, back)
        # A third of the time of `in`, which first asks whether it is given a number.
        if payload.find(b"\\u0000") >= 0:
            _refuse_flaws(given)
        return payload

    def _encode_one_by_one(self, given: Mapping[str, Any]) -> bytes:
        """As all at once, which does not say which argument it was that failed."""
        self._require_fit((), given)
        for name in given:
            check_plain("the name of an argument", name)
        texts = {name: msgspec.Raw(codec.dump(f"argument '{name}'", value)) for name, value in given.items()}
        return codec.ENCODER.encode(texts)

    def _check_extras(
        self, extras: "_Extras", payload: bytes, given: Mapping[str, Any], otherwise: _Verdict
    ) -> Mapping[str, Any]:
        """Checks what ``**kwargs`` takes and gives back the rest."""
        if self._context is not None and self._context.name in given:
            name = self._context.name
            raise invalid(f"argument '{name}'", "is the job's context and cannot be passed", given[name])
        more = {name: text for name, text in self._raw(payload).items() if name not in self._names}
        extras.check(given, more, otherwise)
        return {name: value for name, value in given.items() if name not in more}

    def _read(self, payload: bytes, given: Mapping[str, Any] | None) -> Any:  # noqa: ANN401 - a struct made at run time
        try:
            return self._decode(payload)
        except (msgspec.DecodeError, RecursionError) as error:
            found = _LOCATED.fullmatch(str(error))
            message, name, path = found.groups() if found else (str(error), "", "")
        if given is not None:
            self._require_fit((), given)
        if given is not None and name in given:
            at = f" at '{path}'" if path else ""
            rule = f"must fit {self._shape.parameters[name]}: {message}{at}"
            raise codec.why_not(f"argument '{name}'", given[name], rule)
        at = f" at '{name}{path}'" if name else ""
        raise invalid("args", f"must fit {self._shape}: {message}{at}", payload.decode(errors="replace"))


class _Extras:
    """What ``**kwargs`` takes."""

    __slots__ = ("_plain", "decode")

    def __init__(self, hint: object) -> None:
        self.decode = codec.decoder(hint)
        self._plain = codec.needs_plain(hint)

    def check(self, given: Mapping[str, Any], texts: Mapping[str, bytes], otherwise: _Verdict) -> None:
        """Proves that each extra argument comes back as it was given."""
        for name, text in texts.items():
            field, value = f"argument '{name}'", given[name]
            if self._plain:
                check_plain(field, value)
            try:
                back = self.decode(text)
            except msgspec.DecodeError as error:
                raise codec.why_not(field, value, f"must fit its annotation: {error}") from None
            if not codec.same(value, back):
                otherwise(field, value, back)


class PayloadSignature:
    """What a low-level handler takes: the payload whole, as its first parameter's annotation says."""

    __slots__ = ("_any", "_decode", "_kind", "_plain", "_with_context")

    def __init__(self, kind: object, *, with_context: bool) -> None:
        """Takes what `payload_signature` has read: ``bytes`` means the text itself, undecoded."""
        self._kind = kind
        self._with_context = with_context
        self._decode = codec.decoder(Any if kind is bytes else kind)
        self._any = kind is bytes or kind is Any
        self._plain = codec.needs_plain(Any if kind is bytes else kind)

    @property
    def takes_text(self) -> bool:
        """Whether the handler gets the JSON text itself, so that ``bytes`` need not be read."""
        return self._kind is bytes

    def encode(self, payload: object) -> bytes:
        """The JSON text of a payload; ``bytes`` are JSON text already.

        Raises:
            Invalid: The payload does not fit the handler's annotation or JSON.
        """
        if isinstance(payload, bytes):
            if self._kind is not bytes:
                self._read(payload, payload)
            return payload
        if self._plain:
            check_plain("args", payload)
        if self._any:
            return codec.ENCODER.encode(payload)
        text = codec.dump("args", payload)
        back = self._read(text, payload)
        if not self._plain and not codec.same(payload, back):
            _accept_json("args", payload, back)
        return text

    def call(self, handler: Callable[..., Any]) -> Invoke:
        """The function that runs one job: decodes the payload and calls the handler."""
        decode = self._decode
        if self._kind is bytes:
            return handler if self._with_context else lambda payload, _: handler(payload)
        if self._with_context:
            return lambda payload, ctx: handler(decode(payload), ctx)
        return lambda payload, _: handler(decode(payload))

    def _read(self, text: bytes, payload: object) -> object:
        try:
            return self._decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            shown = text.decode(errors="replace") if payload is text else payload
            raise codec.why_not("args", shown, f"must fit the handler's annotation: {error}") from None


def payload_signature(handler: Callable[..., Any]) -> PayloadSignature:
    """Reads the signature of a low-level handler ``handler(args, ctx)``; one without ``ctx`` is called without it.

    Raises:
        Invalid: It takes something else, or its annotation cannot be resolved or carried by JSON.
    """
    parameters = _parameters(handler)
    places = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    needed = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD and p not in places[:2]]
    if not (places or variadic) or any(p.kind is not p.VAR_POSITIONAL for p in needed):
        raise invalid("handler", "must take (args, ctx)", f"({', '.join(map(str, parameters))})")
    kind = _hints(handler, places[:1], {})[places[0].name] if places else Any
    if kind is not bytes:
        codec.require_supported("args", kind)
    return PayloadSignature(kind, with_context=variadic or len(places) > 1)


def _scalar_shape(named: list[Parameter], hints: Mapping[str, Any]) -> Shape | None:
    """The quick way to encode, for handlers that take only scalars; ``None`` for others."""
    fields: list[tuple[str, type, bool, bool]] = []
    for parameter in named:
        hint = hints[parameter.name]
        choices = typing.get_args(hint) if typing.get_origin(hint) in {typing.Union, types.UnionType} else (hint,)
        scalars = [choice for choice in choices if choice is not types.NoneType]
        if len(scalars) != 1 or scalars[0] not in {str, int, float, bool}:
            return None
        fields.append((parameter.name, scalars[0], len(choices) > 1, parameter.default is parameter.empty))
    return Shape(fields)


def _struct(named: list[Parameter], hints: Mapping[str, Any], *, strict: bool) -> type[msgspec.Struct]:
    members = [(p.name, hints[p.name]) if p.default is p.empty else (p.name, hints[p.name], _default(p)) for p in named]
    # No instance outlives the call that reads it, so the collector need not know them.
    return msgspec.defstruct("Arguments", members, kw_only=True, forbid_unknown_fields=strict, gc=False)


def _default(parameter: Parameter) -> object:
    value: object = parameter.default
    # As in a call, each job gets the very object that stands in the signature.
    return msgspec.field(default_factory=lambda: value) if isinstance(value, _MUTABLE) else value


def _parameters(handler: Callable[..., Any]) -> list[Parameter]:
    try:
        return list(inspect.signature(handler).parameters.values())
    except Exception as error:  # noqa: BLE001 - newer Pythons evaluate annotations here, and these may raise anything
        raise invalid("handler", f"must be a function with a readable signature: {error}", handler) from None


def _hints(handler: Callable[..., Any], parameters: list[Parameter], known: Mapping[str, Any]) -> dict[str, Any]:
    """Types by parameter; ``Any`` where there is no annotation."""
    function = _function(handler)
    bare = {p.name: Any if p.annotation is p.empty else p.annotation for p in parameters}
    try:
        holder = types.SimpleNamespace(__annotations__=bare)
        space = getattr(function, "__globals__", {})
        found = typing.get_type_hints(holder, space, dict(known) | _captured(function), include_extras=True)
    except Exception as error:
        rule = f"must have annotations that can be resolved when the worker is registered: {error}; "
        rule += "import the type at run time, not under TYPE_CHECKING"
        raise invalid("handler", rule, getattr(handler, "__qualname__", handler)) from error
    return {name: Any if hint is object else hint for name, hint in found.items()}


def _function(handler: object) -> object:
    """The function at the bottom of partials, methods, wrappers and callable objects."""
    while isinstance(handler, functools.partial):
        handler = cast("functools.partial[Any]", handler).func
    handler = inspect.unwrap(cast("Callable[..., Any]", getattr(handler, "__func__", handler)))
    return handler if hasattr(handler, "__globals__") else type(handler).__call__


def _captured(function: object) -> dict[str, Any]:
    """Names of enclosing functions that this one uses, where annotations may also refer to them."""
    try:
        return dict(inspect.getclosurevars(cast("Any", function)).nonlocals)
    except (TypeError, ValueError):
        return {}


def _names_context(hint: object, context_type: type) -> bool:
    if typing.get_origin(hint) is typing.Annotated:
        return _names_context(typing.get_args(hint)[0], context_type)
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        return context_type in typing.get_args(hint)
    return hint is context_type


def _refuse(field: str, value: object, back: object) -> None:
    rule = f"must be what the handler's annotation says: it would reach the handler as {shown(back)}"
    raise codec.why_not(field, value, rule)


def _accept_json(field: str, value: object, back: object) -> None:
    """Called by name, a value may stand in the form that JSON gives it; whatever is no JSON must come back equal."""
    del back
    check_plain(field, value)


def _refuse_flaws(given: Mapping[str, object]) -> None:
    for name, value in given.items():
        check_plain("the name of an argument", name)
        codec.require_storable(f"argument '{name}'", value)
