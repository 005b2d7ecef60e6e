"""The picture of a soak: what happened above, and what it did below, over one axis of time."""

from collections.abc import Callable, Sequence
from itertools import cycle, pairwise
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from soak.samples import Process, Sample
from soak.verdicts import quantile

__all__ = ["draw"]

Fault = tuple[str, float, float]

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
LINES = ("#2166ac", "#d6604d", "#1b7837", "#9970ab", "#bf812d", "#35978f", "#c51b7d", "#636363")
COLOURS = {
    "kill": "#b2182b", "freeze": "#4393c3", "server": "#762a83", "snapshot": "#5aae61", "lock": "#d6871f",
    "pause": "#8c8c8c", "storm": "#c51b7d", "cut": "#01665e", "hole": "#404040",
}  # fmt: skip
MEANT = {
    "kill": "worker killed", "freeze": "worker stopped 6 s", "server": "server killed", "snapshot": "long read held",
    "lock": "write lock held", "pause": "queue paused", "storm": "storm of cancels", "cut": "connections cut",
    "hole": "network drops all",
}  # fmt: skip


def draw(samples: Sequence[Sample], faults: Sequence[Fault], title: str, path: Path) -> None:
    """Draws it into a file, whose ending says in which form."""
    # No display is asked for: this figure is of no window.
    with mpl.rc_context({"font.size": 9, "axes.edgecolor": GRID, "axes.labelcolor": INK, "text.color": INK}):
        kinds = [kind for kind in COLOURS if any(name == kind for name, _, _ in faults)]
        figure = Figure(figsize=(13, 12.5), layout="constrained")
        heights = [0.3 + 0.16 * len(kinds), 1.0, 1.2, 1.2, 1.0, 1.2]
        axes = figure.subplots(len(heights), sharex=True, height_ratios=heights)
        figure.suptitle(title, fontsize=14, fontweight="bold", x=0.01, ha="left")
        _faults(axes[0], faults, kinds)
        for panel, paint in zip(axes[1:], (_work, _latency, _memory, _counts, _sizes), strict=True):
            _prepare(panel, faults)
            paint(panel, samples)
        axes[-1].set_xlabel("minutes")
        axes[-1].set_xlim(0, max(one.at for one in samples) / 60)
        figure.savefig(path, dpi=120, facecolor="white")


def _prepare(panel: Axes, faults: Sequence[Fault]) -> None:
    for name, begin, end in faults:
        panel.axvspan(begin / 60, max(end, begin + 1) / 60, color=COLOURS[name], alpha=0.18, linewidth=0)
    panel.grid(axis="y", color=GRID, linewidth=0.8)
    panel.tick_params(colors=FAINT, length=0)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.set_axisbelow(True)


def _faults(panel: Axes, faults: Sequence[Fault], kinds: Sequence[str]) -> None:
    _prepare(panel, ())
    for row, kind in enumerate(kinds):
        spans = [(begin / 60, max(end - begin, 1) / 60) for name, begin, end in faults if name == kind]
        panel.broken_barh(spans, (row - 0.35, 0.7), color=COLOURS[kind])
    panel.set_yticks(range(len(kinds)), [MEANT[kind] for kind in kinds])
    panel.tick_params(axis="y", labelcolor=INK)
    panel.set_ylim(len(kinds) - 0.4, -0.6)
    panel.set_title("faults", loc="left", fontsize=10, color=INK)


def _plot(panel: Axes, samples: Sequence[Sample], number: Callable[[Sample], float | None], **style: object) -> None:
    points = [(one.at / 60, value) for one in samples if (value := number(one)) is not None]
    if points:
        panel.plot(*zip(*points, strict=True), linewidth=1.3, **style)


def _label(panel: Axes, title: str) -> None:
    panel.set_title(title, loc="left", fontsize=10, color=INK)
    handles, labels = panel.get_legend_handles_labels()
    if len(handles) > 1:
        panel.legend(
            handles, labels, loc="upper left", bbox_to_anchor=(1.005, 1.02), frameon=False, fontsize=8, handlelength=1.4
        )


def _work(panel: Axes, samples: Sequence[Sample]) -> None:
    rates = {one.at: one.ended / max(one.at - before.at, 0.1) for before, one in pairwise(samples)}
    _plot(panel, samples, lambda one: rates.get(one.at), color=LINES[0], label="runs ended a second")
    _plot(panel, samples, lambda one: one.queue, color=LINES[1], label="jobs that wait")
    panel.set_yscale("symlog", linthresh=100)
    panel.set_ylim(bottom=0)
    _label(panel, "work")


def _latency(panel: Axes, samples: Sequence[Sample]) -> None:
    for part, colour in ((0.99, LINES[1]), (0.5, LINES[0])):
        _plot(
            panel,
            samples,
            lambda one, part=part: 1e3 * quantile(one.waits, part) if one.waits else None,
            color=colour,
            label=f"p{part * 100:g}",
        )
    panel.set_yscale("log")
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _label(panel, "milliseconds from due to claimed")


def _each(panel: Axes, samples: Sequence[Sample], number: Callable[[Process], float], style: str = "-") -> None:
    names = list(dict.fromkeys(name for one in samples for name in one.processes))
    places = list(dict.fromkeys(name.rsplit("-", 1)[0] for name in names))
    colours = dict(zip(places, cycle(LINES), strict=False))
    shown = set()
    for name in names:
        place = name.rsplit("-", 1)[0]
        label = None if place in shown else place.replace("-", " ")
        shown.add(place)
        values = lambda one, name=name: number(one.processes[name]) if name in one.processes else None  # noqa: E731
        _plot(panel, samples, values, color=colours[place], label=label if style == "-" else None, linestyle=style)


def _memory(panel: Axes, samples: Sequence[Sample]) -> None:
    _each(panel, samples, lambda process: process.memory)
    panel.set_ylim(bottom=0)
    _label(panel, "resident memory, MiB (a new line is a new process)")


def _counts(panel: Axes, samples: Sequence[Sample]) -> None:
    _each(panel, samples, lambda process: process.descriptors)
    _each(panel, samples, lambda process: process.threads, ":")
    panel.set_ylim(bottom=0)
    _label(panel, "descriptors, and threads as dots")


def _sizes(panel: Axes, samples: Sequence[Sample]) -> None:
    sizes: list[tuple[str, Callable[[Sample], float | None]]] = [
        ("table, MiB", lambda one: one.size and one.size.table),
        ("log, MiB", lambda one: one.size and one.size.wal),
        ("dead rows, thousands", lambda one: one.size and one.size.dead and one.size.dead / 1e3),
        ("connections", lambda one: one.size and one.size.connections),
    ]
    for (label, number), colour in zip(sizes, LINES, strict=False):
        _plot(panel, samples, number, color=colour, label=label)
    panel.set_ylim(bottom=0)
    _label(panel, "size of the store" if any(one.size and one.size.table for one in samples) else "no size: in memory")
