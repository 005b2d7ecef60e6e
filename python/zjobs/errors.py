"""What can go wrong, named by what the caller can do about it.

A message names the value, the rule and the way out:
``queue must match [a-z0-9_.-]{1,64} (got 'mail;--')``.
"""

import reprlib
import unicodedata

__all__ = [
    "AlreadyStarted",
    "EnqueueUncertain",
    "Error",
    "Invalid",
    "LeaseLost",
    "NotFound",
    "NotStarted",
    "SchemaMismatch",
    "StoreFull",
    "StoreUnavailable",
    "escaped",
    "invalid",
    "shown",
]


class Error(Exception):
    """The base of all errors that zjobs raises."""


class Invalid(Error, ValueError):
    """A value breaks a rule: mend the call. Nothing was changed. ``args[0]`` is the whole message."""


class NotFound(Error, LookupError):
    """No such job, queue, schedule or node; it may have been pruned or deleted."""


class StoreFull(Error):
    """The store holds as many unfinished jobs as it may: run more workers, raise ``max_jobs`` or use a database."""


class StoreUnavailable(Error):
    """The store cannot be reached now; trying again may help."""


class SchemaMismatch(Error):
    """The schema in the database is not the one that this version works with; the message has the command to run."""


class LeaseLost(Error):
    """The lease has moved on: another node may run the job, and this one can write nothing about it."""


class EnqueueUncertain(Error):
    """The commit of an enqueue was cut off, or the disk failed at it, and its outcome cannot be learnt.

    Enqueue again with a ``unique_key`` to be sure of one job.
    """


class NotStarted(Error):
    """The call needs a supervisor that runs: call ``start()`` or use ``with``."""


class AlreadyStarted(Error):
    """The call must come before ``start()``, or a second ``start()`` was tried."""


_MOST = 80
_SHORT = {"\0": "\\0", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def invalid(field: str, rule: str, value: object) -> Invalid:
    """Builds the error for a value that breaks a rule.

    Args:
        field: The option or argument that was wrong.
        rule: What it must be, with the way out, as the rest of a sentence that begins with the field.
        value: What it was. A string stands in quotes, anything else as its ``repr``.

    Returns:
        The error to raise: ``field rule (got value)``, the value on one line and at most 80 characters long.
    """
    # A rule may tell what another library said, in whose words may be anything that was given.
    return Invalid(f"{''.join(map(_escaped, f'{field} {rule}'))} (got {shown(value)})")


def shown(value: object) -> str:
    """A value as it may stand in a message: short, on one line, no control characters; never raises."""
    return escaped(_described(value), _MOST)


def escaped(text: str, most: int) -> str:
    """Text on one line, of at most ``most`` characters before escaping, without control characters."""
    return "".join(map(_escaped, text[:most])) + ("…" if len(text) > most else "")


def _described(value: object) -> str:
    """More than is shown of it when it is long, so that what is shown is its beginning."""
    if type(value) is str:
        return f"'{value[:_MOST]}'"
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 4 * _MOST
    try:
        return short.repr(value)
    except Exception:  # noqa: BLE001 - a foreign __repr__ may raise anything, and the error to report is another one
        return f"<{type(value).__name__}>"


def _escaped(char: str) -> str:
    if char.isprintable() and unicodedata.category(char) not in {"Mn", "Me"}:
        return char
    return _SHORT.get(char) or f"\\u{{{ord(char):x}}}"
