"""What the samples say: is anything growing that should not, and is the end as quick as the beginning?

What is due and cannot be judged, for want of samples or because a process is not there, does not hold.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import linear_regression, median

from soak.samples import Process, Sample

__all__ = ["LATENCY", "Due", "Judgement", "judge", "quantile", "quiet"]

WARM = 0.25
"""The part of the run after which memory is that of a process that has seen everything."""
MEMORY_GROWS = 0.05
YOUNG_GROWS = 0.25
"""In the first hour: some kinds of faults, with the backlog that they leave, are met late for the first time."""
LONG, SHORT = 2.0, 0.2
"""Hours from which on the first hour is left out, and under which memory and sizes fail nothing: caches and tables are
still filling. Under the second nothing need be judged, either."""
DAY = 24.0
"""Hours from which on claims late in the run must be as quick as early ones; shorter runs have busy machines."""
LATER = 1.2
TABLE_GROWS = 1.4
RECOVERED = 15.0
"""Seconds after a fault during which work is made up for."""
ENOUGH = 8
"""Samples of which a line can be drawn."""
WAITS = 100
"""Times of which one in a hundred can be told."""
LATENCY = "start latency p99"


Fault = tuple[str, float, float]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One thing that was judged."""

    what: str
    holds: bool
    text: str
    binding: bool = True
    """The run fails when it does not hold; what a short run says of times and memory is only told."""


@dataclass(frozen=True, slots=True)
class Due:
    """What must be judged when a run is long enough.

    Args:
        witnesses: Processes that must live through all of it.
        sized: Whether the store has a size.
    """

    witnesses: Sequence[str]
    sized: bool

    def all(self) -> list[str]:
        """What is judged, by its name."""
        of = [f"{what} of {name}" for name in self.witnesses for what in ("memory", "descriptors", "threads")]
        return [*of, *(["size of the table", "size of the log"] if self.sized else []), LATENCY]


def judge(samples: Sequence[Sample], faults: Sequence[Fault], hours: float, due: Due) -> list[Judgement]:
    """Judges a run by its samples; faults are names with the seconds from when to when."""
    begin = max(WARM * hours, 1.0 if hours >= LONG else 0.0)
    warm = [sample for sample in samples if sample.at >= begin * 3600]
    made = [*_processes(warm, hours), *_sizes(warm, hours), *_latency(samples if hours >= DAY else warm, faults, hours)]
    if hours < SHORT:
        return made
    missing = [what for what in due.all() if what not in {one.what for one in made}]
    text = f"could not be judged by {len(warm)} samples"
    return made + [Judgement(what, holds=False, text=text, binding=what != LATENCY or hours >= DAY) for what in missing]


def _processes(samples: Sequence[Sample], hours: float) -> Iterable[Judgement]:
    for name in _lived_through(samples):
        seen = [(one.at, one.processes[name]) for one in samples if name in one.processes]
        if len(seen) < ENOUGH:
            continue
        start, end = _line([(at, process.memory) for at, process in seen])
        grown, most = end / start - 1, MEMORY_GROWS if hours >= LONG else YOUNG_GROWS
        young = "" if hours >= LONG else f" under {LONG:g} hours"
        yield Judgement(
            f"memory of {name}",
            grown <= most,
            f"{start:.1f} -> {end:.1f} MiB by regression ({grown:+.1%}, at most {most:+.0%}{young})",
            binding=hours >= SHORT,
        )
        yield _flat(f"descriptors of {name}", seen, lambda process: process.descriptors)
        yield _flat(f"threads of {name}", seen, lambda process: process.threads)


def _lived_through(samples: Sequence[Sample]) -> list[str]:
    """Processes that are there in the beginning and in the end."""
    if not samples:
        return []
    return sorted(set(samples[0].processes) & set(samples[-1].processes))


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The ends of the line through the points."""
    slope, base = linear_regression(*zip(*points, strict=True))
    return base + slope * points[0][0], base + slope * points[-1][0]


def _flat(what: str, seen: Sequence[tuple[float, Process]], number: Callable[[Process], int]) -> Judgement:
    quarter = max(1, len(seen) // 4)
    first = median(number(process) for _, process in seen[:quarter])
    last = median(number(process) for _, process in seen[-quarter:])
    return Judgement(what, last <= first + max(2, 0.05 * first), f"{first:g} -> {last:g}")


def _sizes(samples: Sequence[Sample], hours: float) -> Iterable[Judgement]:
    for what, number in (("table", lambda size: size.table), ("log", lambda size: size.wal)):
        seen = [value for one in samples if one.size is not None and (value := number(one.size)) is not None]
        if len(seen) < ENOUGH:
            continue
        before, after = max(seen[: len(seen) // 2]), max(seen[len(seen) // 2 :])
        yield Judgement(
            f"size of the {what}",
            after <= TABLE_GROWS * max(before, 1.0),
            f"{before:.1f} -> {after:.1f} MiB, the most of each half (at most {TABLE_GROWS} times)",
            binding=hours >= SHORT,
        )


def quiet(samples: Iterable[Sample], faults: Sequence[Fault]) -> list[Sample]:
    """Those during which no fault was at work."""
    return [one for one in samples if not any(begin <= one.at <= end + RECOVERED for _, begin, end in faults)]


def quantile(waits: Iterable[float], part: float) -> float:
    ordered = sorted(waits)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def _latency(samples: Sequence[Sample], faults: Sequence[Fault], hours: float) -> Iterable[Judgement]:
    """The first hour against the last one of a day; the first quarter of what is left against its last otherwise."""
    calm = quiet(samples, faults)
    if len(calm) < ENOUGH:
        return
    if hours >= DAY:
        parts = [one for one in calm if one.at < 3600], [one for one in calm if one.at >= samples[-1].at - 3600]
    else:
        parts = calm[: len(calm) // 4], calm[-(len(calm) // 4) :]
    waits = [[wait for one in part for wait in one.waits] for part in parts]
    if min(map(len, waits)) < WAITS:
        return
    first, last = (quantile(some, 0.99) for some in waits)
    yield Judgement(
        LATENCY,
        last <= LATER * first,
        f"{first * 1e3:.1f} -> {last * 1e3:.1f} ms between faults, first and last"
        f" {'hour' if hours >= DAY else 'quarter'} (at most {LATER} times)",
        binding=hours >= DAY,
    )
