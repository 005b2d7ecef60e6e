"""What the samples say: is anything growing that should not, and is the end as quick as the beginning?"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import linear_regression, median

from soak.samples import Process, Sample

__all__ = ["Judgement", "judge", "quantile", "quiet"]

WARM = 0.25
"""The part of the run after which memory is that of a process that has seen everything."""
MEMORY_GROWS = 0.05
YOUNG_GROWS = 0.25
"""In the first hour: some kinds of faults, with the backlog that they leave, are met late for the first time."""
LONG, SHORT = 2.0, 0.2
"""Hours from which on the first hour is left out, and under which memory fails nothing: caches are still filling."""
LATER = 1.2
TABLE_GROWS = 1.4
RECOVERED = 15.0
"""Seconds after a fault during which work is made up for."""
ENOUGH = 8
"""Samples of which a line can be drawn."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One thing that was judged."""

    what: str
    holds: bool
    text: str
    binding: bool = True
    """The run fails when it does not hold; times on a machine that others use are only told."""


def judge(samples: Sequence[Sample], faults: Sequence[tuple[str, float, float]], hours: float) -> list[Judgement]:
    """Judges a run by its samples; faults are names with the seconds from when to when."""
    begin = max(WARM * hours, 1.0 if hours >= LONG else 0.0)
    warm = [sample for sample in samples if sample.at >= begin * 3600]
    return [*_processes(warm, hours), *_sizes(warm), *_latency(warm, faults)]


def _processes(samples: Sequence[Sample], hours: float) -> Iterable[Judgement]:
    for name in _witnesses(samples):
        seen = [(one.at, one.processes[name]) for one in samples if name in one.processes]
        if len(seen) < ENOUGH:
            continue
        start, end = _line([(at, process.memory) for at, process in seen])
        grown, most = end / start - 1, MEMORY_GROWS if hours >= LONG else YOUNG_GROWS
        yield Judgement(
            f"memory of {name}",
            grown <= most,
            f"{start:.1f} -> {end:.1f} MiB by regression ({grown:+.1%}, at most {most:+.0%})",
            binding=hours >= SHORT,
        )
        yield _flat(f"descriptors of {name}", seen, lambda process: process.descriptors)
        yield _flat(f"threads of {name}", seen, lambda process: process.threads)


def _witnesses(samples: Sequence[Sample]) -> list[str]:
    """Processes that lived through all of it."""
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
    return Judgement(what, last <= first + max(2, 0.05 * first), f"{first:g} -> {last:g}, medians of a quarter")


def _sizes(samples: Sequence[Sample]) -> Iterable[Judgement]:
    for what, number in (("table", lambda size: size.table), ("log", lambda size: size.wal)):
        seen = [value for one in samples if one.size is not None and (value := number(one.size)) is not None]
        if len(seen) < ENOUGH:
            continue
        before, after = max(seen[: len(seen) // 2]), max(seen[len(seen) // 2 :])
        yield Judgement(
            f"size of the {what}",
            after <= TABLE_GROWS * max(before, 1.0),
            f"at most {before:.1f} MiB, and in the second half {after:.1f} MiB (at most {TABLE_GROWS} times as much)",
        )


def quiet(samples: Iterable[Sample], faults: Sequence[tuple[str, float, float]]) -> list[Sample]:
    """Those during which no fault was at work."""
    return [one for one in samples if not any(begin <= one.at <= end + RECOVERED for _, begin, end in faults)]


def quantile(waits: Iterable[float], part: float) -> float:
    ordered = sorted(waits)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def _latency(samples: Sequence[Sample], faults: Sequence[tuple[str, float, float]]) -> Iterable[Judgement]:
    calm = quiet(samples, faults)
    if len(calm) < ENOUGH:
        return
    quarter = len(calm) // 4
    first = quantile((wait for one in calm[:quarter] for wait in one.waits), 0.99)
    last = quantile((wait for one in calm[-quarter:] for wait in one.waits), 0.99)
    yield Judgement(
        "start latency p99",
        last <= LATER * first,
        f"{first * 1e3:.1f} -> {last * 1e3:.1f} ms between faults, first and last quarter (at most {LATER} times)",
        binding=False,
    )
