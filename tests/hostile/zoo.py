"""Exceptions that are hard to read, and other things that a handler may raise."""

import asyncio
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["RAISED", "Raised"]

GIANT = 50_000_000


class OwnBaseError(BaseException):
    pass


class NoTextError(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class ExitingTextError(Exception):
    def __str__(self):
        raise SystemExit(3)

    __repr__ = __str__


class EndlessTextError(Exception):
    def __str__(self):
        return str(self)

    __repr__ = __str__


class GiantTextError(Exception):
    def __str__(self):
        return "x" * GIANT + "the end"


class NumberTextError(Exception):
    def __str__(self):
        return 5  # noqa: PLE0307 - the point of it


class OwnText(str):
    """A text whose every method is somebody else's."""

    __slots__ = ()

    def encode(self, *args, **kwargs):
        raise SystemExit

    __len__ = __getitem__ = __str__ = __iter__ = __hash__ = encode  # type: ignore[assignment]


class OwnTextError(Exception):
    def __str__(self):
        return OwnText("of another class")


class NamelessMeta(type):
    @property
    def __name__(cls):
        raise RuntimeError("no name")


class NamelessError(Exception, metaclass=NamelessMeta):
    pass


class HidingError(Exception):
    """Raises wherever it is looked at."""

    def __getattribute__(self, name):
        raise KeyboardInterrupt


class LyingError(Exception):
    """Says that it is a verdict, and has nothing of one."""

    @property
    def __class__(self):
        from zjobs import Snooze  # noqa: PLC0415 - this file is also for processes that have not loaded it

        return Snooze


class NotedError(Exception):
    """Its notes are none."""

    @property
    def __notes__(self):
        raise SystemExit


class GiantNotesError(Exception):
    __notes__ = ("n" * GIANT,)


class UnreadableSyntaxError(SyntaxError):
    """The formatter reads more of a syntax error than of others."""

    filename = "/dev/zero"
    lineno = 2**40
    offset = -(2**40)
    text = "\0" * 1000
    msg = property(lambda self: 1 // 0)


def recurse(depth=0):
    return recurse(depth + 1) + 1


def recurse_in_c():
    # Through a method that C calls: the C stack grows, too.
    class Deep:
        def __getattr__(self, name):
            return getattr(self, name + "x")

    return Deep().x


def chained(links=5000):
    error = ValueError("the last of many")
    for number in range(links):
        cause, error = error, ValueError(number)
        error.__cause__ = cause
    raise error


def in_a_ring():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def nested_groups(depth=500):
    error: BaseException = SystemExit()
    for _ in range(depth):
        error = BaseExceptionGroup("again", [error, ValueError()])
    raise error


def in_code_without_a_file():
    code = compile("\n" * 99_999 + "raise ValueError('nowhere')", "a", "exec")
    exec(code.replace(co_filename="<\x1b[2J\0\ud800>"), {"__name__": None})  # noqa: S102 - the point of it


def with_a_broken_loader():
    class Loader:
        def get_source(self, name):
            raise SystemExit

    scope = {"__name__": "made_up", "__loader__": Loader()}
    exec(compile(textwrap.dedent("raise ValueError('no source')"), "made_up.py", "exec"), scope)  # noqa: S102 - as above


def while_handling_another():
    try:
        raise EndlessTextError
    except EndlessTextError:
        raise NoTextError  # noqa: B904 - both are read


class Raised(NamedTuple):
    """What a handler does, and what is recorded as its error."""

    act: Callable[[], Any]
    kind: str | None
    """None where it depends on the lane."""
    text: str
    """A part of the recorded message."""


def raising(error):
    def act():
        raise error()

    return act


def _group():
    return BaseExceptionGroup("two", [SystemExit(), ValueError()])


RAISED = {
    # What is not an Exception, or means something to whoever calls.
    "SystemExit": Raised(raising(SystemExit), "SystemExit", ""),
    "KeyboardInterrupt": Raised(raising(KeyboardInterrupt), "KeyboardInterrupt", ""),
    "GeneratorExit": Raised(raising(GeneratorExit), "GeneratorExit", ""),
    "CancelledError": Raised(raising(asyncio.CancelledError), "CancelledError", ""),
    "OwnBaseError": Raised(raising(OwnBaseError), "OwnBaseError", ""),
    "StopIteration": Raised(raising(StopIteration), None, ""),
    "StopAsyncIteration": Raised(raising(StopAsyncIteration), None, ""),
    "what is no exception": Raised(raising(lambda: 5), "TypeError", "exceptions must derive"),
    "MemoryError": Raised(raising(MemoryError), "MemoryError", ""),
    # Groups.
    "group": Raised(raising(_group), "BaseExceptionGroup", "two"),
    "group of groups": Raised(nested_groups, "BaseExceptionGroup", "again"),
    # Text that cannot be read, or should not be taken as it is.
    "no text": Raised(raising(NoTextError), "NoTextError", "(the text of NoTextError could not be read)"),
    "exiting text": Raised(raising(ExitingTextError), "ExitingTextError", "could not be read)"),
    "endless text": Raised(raising(EndlessTextError), "EndlessTextError", "could not be read)"),
    "giant text": Raised(raising(GiantTextError), "GiantTextError", "the end"),
    "text that is none": Raised(raising(NumberTextError), "NumberTextError", "could not be read)"),
    "text of another class": Raised(raising(OwnTextError), "OwnTextError", ""),
    "no name": Raised(raising(NamelessError), "NamelessError", ""),
    "hiding": Raised(raising(HidingError), "HidingError", ""),
    "lying": Raised(raising(LyingError), "LyingError", ""),
    "NUL": Raised(raising(lambda: ValueError("a\0b")), "ValueError", "a\ufffdb"),
    "lone surrogate": Raised(raising(lambda: ValueError("a\ud800b")), "ValueError", "a?b"),
    # The store keeps it; whoever shows it escapes it (tests/cli/test_by_hand.py).
    "ANSI": Raised(raising(lambda: ValueError("\x1b]0;title\x07\x1b[2J")), "ValueError", "\x1b[2J"),
    "two errors that cannot be read": Raised(while_handling_another, "NoTextError", "could not be read)"),
    # What breaks the formatting of the traceback.
    "notes that raise": Raised(raising(NotedError), "NotedError", ""),
    "giant notes": Raised(raising(GiantNotesError), "GiantNotesError", ""),
    "syntax error": Raised(raising(UnreadableSyntaxError), "UnreadableSyntaxError", ""),
    "recursion": Raised(recurse, "RecursionError", "maximum recursion depth"),
    "recursion in C": Raised(recurse_in_c, "RecursionError", "maximum recursion depth"),
    "long chain of causes": Raised(chained, "ValueError", "4999"),
    "ring of causes": Raised(in_a_ring, "ValueError", "first"),
    "code without a file": Raised(in_code_without_a_file, "ValueError", "nowhere"),
    "code with a broken loader": Raised(with_a_broken_loader, "ValueError", "no source"),
}
