"""Counts the inputs of a fuzz target, and apart from them those that reached a test's body.

Hypothesis makes arguments of bytes, and there are bytes that it makes none of: such an input has tried nothing. The
counts are in a file, since libFuzzer ends its process without a word to Python.
"""

import mmap
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

NUMBERS = struct.Struct("=QQ")
"""What is in the file: all inputs, and those that reached a body."""


class Tally:
    """The two counts. ``enough``: of those that reach a body; then ``end`` is called."""

    def __init__(self, file: Path, enough: int | None, end: Callable[[], object]) -> None:
        file.write_bytes(bytes(NUMBERS.size))
        with file.open("r+b") as opened:
            self._numbers = mmap.mmap(opened.fileno(), NUMBERS.size)
        self._enough, self._end = enough, end
        self.tried = self.reached = 0

    def count(self, *, reached: bool) -> None:
        """One more input that did no harm."""
        self.tried += 1
        self.reached += reached
        NUMBERS.pack_into(self._numbers, 0, self.tried, self.reached)
        if reached and self.reached == self._enough:
            self._end()


def of_environment() -> Tally:
    """As `tools/fuzz.py` asks for it. An end within an input is one without a farewell: the counts are in the file."""
    enough = os.environ.get("ZJOBS_EXECUTIONS")
    return Tally(Path(os.environ["ZJOBS_TALLY"]), int(enough) if enough else None, lambda: os._exit(0))


def driven(tests: Sequence[Callable[[bytes], object]], tally: Tally) -> Callable[[bytes], None]:
    """A function of bytes, the first of which says which test is meant, so that one run serves all of them."""

    def one(data: bytes) -> None:
        # Hypothesis gives back nothing for bytes that it made no arguments of.
        tally.count(reached=bool(data) and tests[data[0] % len(tests)](data[1:]) is not None)

    return one
