"""Workers: the decorated function, typed enqueue, and the record that the engine runs by."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, Generic, NamedTuple, ParamSpec, Protocol, TypeVar, Unpack, overload

from zjobs.codec import encode
from zjobs.errors import invalid
from zjobs.job import Job, JobContext
from zjobs.options import Ack, CallOptions, EnqueueOptions, JobOpts, WorkerDef, check_ending, newer, worker_name
from zjobs.retry import CustomFunction, RetryStrategy, as_strategy
from zjobs.signature import Invoke, PayloadSignature, Signature, payload_signature

if TYPE_CHECKING:
    from zjobs._engine import Backoff, Shape

__all__ = [
    "Anything",
    "BoundWorker",
    "ContextWorker",
    "Decorator",
    "JobEntry",
    "Registered",
    "Worker",
    "unknown_payload",
]

P = ParamSpec("P")
R = TypeVar("R")

_OWN_OPTIONS = ("name", "retry_strategy", "keep_result", "ack")
"""What a worker has besides the options of its jobs."""


class Enqueuer(Protocol):
    """What a worker needs of its supervisor."""

    def _enqueue(self, worker: str, payload: object, options: CallOptions) -> Job: ...
    async def _enqueue_async(self, worker: str, payload: object, options: CallOptions) -> Job: ...


class JobEntry(NamedTuple):
    """One job of an ``enqueue_many``: made by ``worker.job(...)``, checked when it is made."""

    worker: str
    payload: bytes
    options: CallOptions

    def __repr__(self) -> str:
        """Without the arguments: they may hold secrets."""
        return f"<JobEntry {self.worker}>"


class Registered:
    """A registered worker: how its payloads are made and read, and what follows from how an attempt ends."""

    __slots__ = ("_signature", "ack", "coroutine", "invoke", "keep_result", "name", "options", "strategy")

    def __init__(
        self,
        name: str,
        handler: Callable[..., Any],
        signature: Signature | PayloadSignature,
        options: EnqueueOptions,
        *,
        strategy: RetryStrategy,
        keep_result: bool,
        ack: Ack,
    ) -> None:
        """Keeps the parts and makes the function that runs one job.

        Raises:
            Invalid: The handler is a generator function: nobody would run it.
        """
        self.name = name
        self._signature = signature
        self.options = options
        self.strategy = strategy
        self.keep_result = keep_result
        self.ack = ack
        if _is(inspect.isgeneratorfunction, handler) or _is(inspect.isasyncgenfunction, handler):
            raise invalid("handler", "must be a plain function or a coroutine function, without yield", handler)
        self.coroutine = _is(inspect.iscoroutinefunction, handler)
        self.invoke: Invoke = signature.call(handler)

    @classmethod
    def typed(
        cls,
        handler: Callable[..., Any],
        *,
        name: str | None,
        retry_strategy: RetryStrategy | CustomFunction | None,
        keep_result: bool,
        ack: Ack,
        options: EnqueueOptions,
    ) -> "Registered":
        """A decorated function: the payload's keys become its arguments.

        Raises:
            Invalid: A value breaks its rule, or there is no such option.
        """
        called = name if name is not None else getattr(handler, "__name__", "")
        if name is None and called == "<lambda>":
            raise invalid("name", "must be given for a lambda, such as worker(name='resize')", called)
        unknown = options.keys() - EnqueueOptions.__annotations__.keys()
        if unknown:
            names = ", ".join((*_OWN_OPTIONS, *EnqueueOptions.__annotations__))
            raise invalid("option", f"must be one of {names}", min(unknown))
        JobOpts(**options)
        check_ending(ack, keep_result)
        signature = Signature.of(handler, JobContext)
        strategy = as_strategy(retry_strategy)
        return cls(
            worker_name(called), handler, signature, options, strategy=strategy, keep_result=keep_result, ack=ack
        )

    @classmethod
    def low_level(cls, definition: WorkerDef) -> "Registered":
        """A `WorkerDef`: its handler gets the payload whole."""
        opts = definition.opts
        options: dict[str, Any] = {name: getattr(opts, name) for name in opts.__dataclass_fields__}
        return cls(
            definition.name,
            definition.handler,
            payload_signature(definition.handler),
            # Nothing said is left to the call, but for the time limit, where ``None`` says that there is none.
            EnqueueOptions(
                **{
                    name: value
                    for name, value in options.items()
                    if name == "timeout_seconds" or value not in (None, ())
                }  # type: ignore[typeddict-item]  # the same names
            ),
            strategy=as_strategy(definition.retry_strategy),
            keep_result=definition.keep_result,
            ack=definition.ack,
        )

    @property
    def shape(self) -> "Shape | None":
        """The quick way to encode its arguments, when it has one."""
        return self._signature.shape if isinstance(self._signature, Signature) else None

    @property
    def arguments(self) -> tuple[str, ...] | None:
        """The names of all arguments that it takes; ``None`` where anything may be given."""
        return self._signature.arguments if isinstance(self._signature, Signature) else None

    @property
    def takes_text(self) -> bool:
        """Whether ``bytes`` are JSON text that its handler takes unread."""
        return isinstance(self._signature, PayloadSignature) and self._signature.takes_text

    @property
    def backoff(self) -> "Backoff | None":
        """The engine's form of the strategy, when it has one."""
        return getattr(self.strategy, "_backoff", None)

    def payload(self, args: object) -> bytes:
        """The JSON text for arguments given by name, whole, or as JSON text already.

        Raises:
            Invalid: They do not fit the handler.
        """
        signature = self._signature
        if isinstance(signature, PayloadSignature):
            return signature.encode(args)
        if isinstance(args, dict):
            return signature.encode_payload(args)  # pyright: ignore[reportUnknownArgumentType] - checked there
        if isinstance(args, bytes):
            signature.check(args)
            return args
        if args is None or isinstance(args, Mapping):
            return signature.encode_payload(dict(args or {}))  # pyright: ignore[reportUnknownArgumentType] - checked there
        raise invalid("args", "must be a dict with the handler's arguments by name", args)

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """The JSON text for a call.

        Raises:
            Invalid: The call does not fit the handler.
        """
        if isinstance(self._signature, PayloadSignature):
            return self._signature.encode(*args, **kwargs)
        return self._signature.encode(args, kwargs)


def unknown_payload(args: object) -> bytes:
    """The JSON text for a worker that only another process knows: ``bytes`` as they are, else plain values."""
    return args if isinstance(args, bytes) else encode("args", {} if args is None else args)


def _is(kind: Callable[[object], bool], handler: object) -> bool:
    while isinstance(handler, functools.partial):
        handler = handler.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - any callable
    called = getattr(type(handler), "__call__", None)  # noqa: B004 - not whether, but what it calls
    return kind(handler) or kind(called)


class BoundWorker(Generic[P]):
    """A worker with options of its own: ``send_email.options(priority=-5).enqueue(...)``."""

    __slots__ = ("_options", "_registered", "_supervisor")

    def __init__(self, supervisor: Enqueuer, registered: Registered, options: CallOptions) -> None:
        """Keeps the parts."""
        self._supervisor = supervisor
        self._registered = registered
        self._options = options

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Enqueues one job with these arguments.

        Returns:
            The job inserted, or with ``conflict`` true the one that has its unique key already.

        Raises:
            Invalid: The arguments do not fit the handler.
            StoreFull: The store's limit is reached; nothing was inserted.
        """
        registered = self._registered
        enqueue = self._supervisor._enqueue  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - see Enqueuer
        return enqueue(registered.name, registered.bound(args, kwargs), self._options)

    async def enqueue_async(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """As `enqueue`, without blocking the event loop."""
        registered = self._registered
        enqueue = self._supervisor._enqueue_async  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - see Enqueuer
        return await enqueue(registered.name, registered.bound(args, kwargs), self._options)

    def job(self, *args: P.args, **kwargs: P.kwargs) -> JobEntry:
        """An entry for `Supervisor.enqueue_many`.

        Raises:
            Invalid: The arguments do not fit the handler.
        """
        return JobEntry(self._registered.name, self._registered.bound(args, kwargs), self._options)

    def options(self, **options: Unpack[CallOptions]) -> "BoundWorker[P]":
        """The same worker with more options; those given here win.

        They also lift what they exclude: ``scheduled_at`` and ``schedule_in``, ``unique_key`` and ``unique_by``.
        """
        return BoundWorker(self._supervisor, self._registered, newer(self._options, options))


class Worker(BoundWorker[P], Generic[P, R]):
    """A decorated function. It still works as a plain function; ``enqueue`` makes a job of a call."""

    def __init__(self, supervisor: Enqueuer, registered: Registered, handler: Callable[..., R]) -> None:
        """Keeps the function and looks like it."""
        super().__init__(supervisor, registered, {})
        self._handler = handler
        functools.update_wrapper(self, handler)

    @property
    def name(self) -> str:
        """The name it is registered under."""
        return self._registered.name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function here and now, without a job."""
        return self._handler(*args, **kwargs)

    def __repr__(self) -> str:
        """Its name."""
        return f"<Worker {self._registered.name}>"


class ContextWorker(Worker[P, R], Generic[P, R]):
    """A decorated function whose first parameter is the `JobContext`; jobs are enqueued without it."""

    def __call__(self, ctx: JobContext, /, *args: P.args, **kwargs: P.kwargs) -> R:  # pyright: ignore[reportIncompatibleMethodOverride] - the context comes first
        """Calls the function here and now, without a job."""
        return self._handler(ctx, *args, **kwargs)


class Anything:
    """A type that no handler names: a first parameter that takes even this (``Any``, ``object``) is no context."""


class Decorator(Protocol):
    """What ``@jobs.worker(...)`` is: keeps the function's signature, less its context."""

    @overload
    def __call__(self, handler: Callable[Concatenate[Anything, ...], R], /) -> Worker[..., R]: ...
    @overload
    def __call__(self, handler: Callable[Concatenate[JobContext, P], R], /) -> ContextWorker[P, R]: ...
    @overload
    def __call__(self, handler: Callable[P, R], /) -> Worker[P, R]: ...
