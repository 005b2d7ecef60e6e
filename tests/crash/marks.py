"""What each process writes down about itself, in a file of its own that only grows.

A line is written by one call, so a killed process leaves whole lines, but for the last one perhaps. Times are
nanoseconds on the boot-time clock, which all processes of a machine share. The words of a line:

* ``begin job lease attempt time`` and ``end job lease attempt time how``: a handler.
* ``intend token count keyed``, before an enqueue of so many jobs, of which so many have a unique key, and ``enqueued
  token id*`` after it returned; an id that belongs to an earlier job with the same unique key has a ``+`` before it.
* ``cancelled job state time``: a cancel returned, with the state that it found or made.
* ``kill name before after``, by the driver: that process was killed between these times.
* ``stop name before after``: it was stopped between these times, longer than its lease, and went on.
* ``server how before after``: the server was ended so, and started again, between these times.
* ``refused job lease time``: the store has refused what this process wrote about a job. For `zombies` alone.
* ``clock boot wall``, by the driver: what the two clocks said at one moment, the second in nanoseconds since 1970.
* ``by-hand``, by the driver: workers are told to end, and jobs are deleted, during the run.
* ``died name after``, by the driver: that process has died by itself before this time, after all that it has marked.
* ``frozen name since until``, by the driver: it was seen to be stopped since then, and went on.
* ``panicked name``, by the driver: a service of that process has panicked, and went on.
* ``paused queue since until``: a queue was paused for certain between these times, in microseconds since 1970.
* ``without-jobs name``: some ticks of that schedule have no jobs: they were missed, or meant so.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Marks", "now", "read"]


def now() -> int:
    """The boot-time clock."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Marks:
    """The file of this process; its name is that of one life of it, such as ``worker-2-17``."""

    def __init__(self, folder: Path, name: str) -> None:
        path = folder / f"{name}.marks"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, *words: object) -> None:
        os.write(self._file, f"{' '.join(map(str, words))}\n".encode())


def read(path: Path) -> Iterator[list[str]]:
    """The lines, without one that was cut off."""
    with path.open(encoding="ascii") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield line.split()
