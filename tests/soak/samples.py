"""What the processes and the store are like at one moment."""

from dataclasses import dataclass, field

import psutil

from soak.crew import Crew
from soak.stores import Size, Unreachable, View

__all__ = ["Process", "Sample", "look"]

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Process:
    """What one process takes."""

    memory: float
    """MiB that are resident."""
    descriptors: int
    threads: int


@dataclass(slots=True)
class Sample:
    """All of it; what could not be asked is ``None``."""

    at: float
    """Seconds since the beginning."""
    processes: dict[str, Process] = field(default_factory=dict)
    size: Size | None = None
    queue: int | None = None
    """Jobs that are due and wait."""
    running: int | None = None
    ended: int = 0
    """Runs that have ended since the sample before."""
    waits: list[float] = field(default_factory=list)
    """Seconds from due to claimed, of the jobs that were seen to end since then."""


def look(at: float, crew: Crew, view: View) -> Sample:
    sample = Sample(at)
    for member in crew.members:
        try:
            with (process := psutil.Process(member.process.pid)).oneshot():
                sample.processes[member.name] = Process(
                    process.memory_info().rss / MEBIBYTE, process.num_fds(), process.num_threads()
                )
        except psutil.Error:
            continue
    try:
        sample.size = view.size()
        sample.queue, sample.running = view.lengths()
    except Unreachable:
        pass
    return sample
