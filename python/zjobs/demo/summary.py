"""The end of the demo: one table, a few sentences, or both as JSON."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zjobs import JobState
from zjobs.demo.findings import Findings
from zjobs.demo.jobs import FLAKY_FAILURES, LOST_ATTEMPTS, Plan
from zjobs.demo.tally import KindTally, Tally, percentile
from zjobs.demo.tree import Tree

STYLES = {JobState.COMPLETED: "green", JobState.DISCARDED: "red", JobState.CANCELLED: "yellow"}
"""The final states and their colours, in the order of the table."""

COMFORTABLE_WIDTH = 96
"""Narrower terminals get a tighter table, without the column of priorities."""

THOUSAND = 1000


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything that the closing page says.

    Attributes:
        tree: The files worked on.
        plan: What was asked for.
        tally: What telemetry told.
        states: Jobs per state as the store counts them, after the drain.
        findings: What the jobs found out.
        refused: Duplicates that unique jobs refused.
        interrupted: Whether a signal ended the run early.
    """

    tree: Tree
    plan: Plan
    tally: Tally
    states: dict[JobState, int]
    findings: Findings
    refused: int
    interrupted: bool

    @property
    def finished(self) -> int:
        """Jobs in a final state."""
        return sum(kind.finished for kind in self.tally.kinds.values())

    @property
    def enqueued(self) -> int:
        """Jobs that the store took, cron ticks among them."""
        return sum(kind.enqueued for kind in self.tally.kinds.values())

    @property
    def retries(self) -> int:
        """Failed attempts that were given another one."""
        return sum(kind.retries for kind in self.tally.kinds.values())

    @property
    def jobs_per_second(self) -> float:
        """Finished jobs, ticks left out, over the time until the last of them."""
        seconds = self.tally.busy_seconds
        ticks = self.tally.kinds[self.tally.apart].finished if self.tally.apart in self.tally.kinds else 0
        return (self.finished - ticks) / seconds if seconds > 0 else 0.0


def as_json(summary: Summary) -> dict[str, Any]:
    """The summary as a document of plain values; times in milliseconds, sizes in bytes."""
    found = summary.findings
    return {
        "path": str(summary.tree.root),
        "files": len(summary.tree.files),
        "interrupted": summary.interrupted,
        "busy_seconds": round(summary.tally.busy_seconds, 3),
        "jobs_per_second": round(summary.jobs_per_second, 1),
        "enqueued": summary.enqueued,
        "duplicates_refused": summary.refused,
        "always_failing": summary.plan.lost,
        "asked_to_index": summary.plan.asked_to_index,
        "retries": summary.retries,
        "cron_ticks": summary.tally.ticks,
        "states": {str(state): count for state, count in sorted(summary.states.items()) if count},
        "kinds": {name: _kind_as_json(kind) for name, kind in _by_queue(summary)},
        "findings": {
            "files_hashed": found.files_hashed,
            "files_with_twins": found.files_with_twins,
            "bytes_hashed": found.bytes_hashed,
            "sources_parsed": found.sources,
            "functions": found.functions,
            "classes": found.classes,
            "compressed_ratio": None if found.ratio is None else round(found.ratio, 4),
            "folders_indexed": found.folders,
            "folder_entries": found.entries,
            "files_probed": found.probed,
            "text_files": found.texts,
            "peak_memory": found.peak_memory,
        },
    }


def _kind_as_json(kind: KindTally) -> dict[str, Any]:
    return {
        "queue": kind.queue,
        "priority": kind.priority,
        "enqueued": kind.enqueued,
        "states": {str(state): count for state, count in sorted(kind.final.items())},
        "unfinished": kind.enqueued - kind.finished,
        "retries": kind.retries,
        "wait_ms": {f"p{percent}": percentile(kind.waits, percent) for percent in (50, 99)},
        "run_ms": {f"p{percent}": percentile(kind.runs, percent) for percent in (50, 99)},
    }


def show(summary: Summary, console: Console) -> None:
    """Print the table and the sentences."""
    console.print()
    console.print(table(summary, console.width))
    console.print()
    bullets = Table.grid(padding=(0, 1))
    for sentence in sentences(summary):
        bullets.add_row("-", Text(sentence))
    console.print(bullets)
    console.print()


def table(summary: Summary, width: int) -> Table:
    """Kinds of jobs against states, retries and latency.

    Columns of states that did not occur are left out; where `width` is small, so are the priorities.
    """
    kinds = _by_queue(summary)
    columns = _columns(summary, kinds)
    narrow = width < COMFORTABLE_WIDTH
    if narrow:
        columns = [column for column in columns if column.head != "prio"]
    gap = 0 if narrow else 1
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), show_edge=False, show_footer=True, footer_style="bold")
    grid.add_column("job", footer="all", style="bold", no_wrap=True)
    for column in columns:
        grid.add_column(column.head, footer=column.foot, justify=column.justify, style=column.style, no_wrap=True)
    for name, kind in kinds:
        grid.add_row(name, *(column.cell(kind) for column in columns))
    return grid


@dataclass(frozen=True, slots=True)
class _Column:
    head: str
    cell: Callable[[KindTally], str]
    foot: str = ""
    style: str = ""
    justify: Literal["left", "right"] = "right"


def _columns(summary: Summary, kinds: list[tuple[str, KindTally]]) -> list[_Column]:
    columns = [
        _Column("queue", lambda kind: kind.queue, justify="left"),
        _Column("prio", lambda kind: str(kind.priority)),
    ]
    for state, style in STYLES.items():
        if count := sum(kind.final.get(state, 0) for _, kind in kinds):
            columns.append(_Column(str(state), partial(_in_state, state), str(count), style))
    if left := summary.enqueued - summary.finished:
        columns.append(_Column("left", lambda kind: str(kind.enqueued - kind.finished or ""), str(left)))
    columns.append(_Column("retries", lambda kind: str(kind.retries or ""), str(summary.retries)))
    for head, attempts in (("waits", attrgetter("waits")), ("runs", attrgetter("runs"))):
        every = [value for _, kind in kinds for value in attempts(kind)]
        columns.append(_Column(f"{head}\np50", partial(_share, attempts, 50), _span(percentile(every, 50))))
        columns.append(_Column("\np99", partial(_share, attempts, 99), _span(percentile(every, 99))))
    return columns


def _in_state(state: JobState, kind: KindTally) -> str:
    return str(kind.final.get(state, 0) or "")


def _share(attempts: Callable[[KindTally], list[float]], percent: float, kind: KindTally) -> str:
    return _span(percentile(attempts(kind), percent))


def sentences(summary: Summary) -> Iterator[str]:
    """What was seen, and what to try next."""
    tally, kinds = summary.tally, summary.tally.kinds
    yield (
        f"{summary.finished:,} jobs in {tally.busy_seconds:.1f} s, {summary.jobs_per_second:,.0f} a second"
        f"{_memory(summary.findings)}. 'waits' is from due to claimed, 'runs' is the handler."
    )
    yield from _found(summary)
    if "publish" in kinds and kinds["publish"].retries:
        yield (
            f"publish is refused {FLAKY_FAILURES} times by its service, then goes through: {kinds['publish'].retries} "
            f"retries, {kinds['publish'].final.get(JobState.COMPLETED, 0)} published."
        )
    if "open_lost" in kinds and (lost := kinds["open_lost"].final.get(JobState.DISCARDED)):
        yield f"open_lost can only fail: {lost} jobs used up {LOST_ATTEMPTS} attempts and were discarded, errors kept."
    if summary.refused:
        yield (
            f"{summary.plan.asked_to_index} files asked for an index of their folder; the unique key refused "
            f"{summary.refused} duplicates."
        )
    yield from _overtaking(kinds)
    yield _next_step(summary)


def _found(summary: Summary) -> Iterator[str]:
    found = summary.findings
    if found.files_hashed:
        twins = f"; {found.files_with_twins} have the same content as another" if found.files_with_twins else ""
        packed = f" zlib packs them to {found.ratio:.0%}." if found.ratio is not None else ""
        yield f"{found.files_hashed:,} files hold {_size(found.bytes_hashed)}{twins}.{packed}"
    if found.sources and found.longest:
        where = found.longest["longest_path"].removeprefix(f"{summary.tree.root}/")
        broken = f" {found.broken} cannot be parsed." if found.broken else ""
        yield (
            f"{found.sources:,} Python files define {found.functions:,} functions and {found.classes:,} classes; "
            f"the longest is {found.longest['longest_name']} in {where}, {found.longest['longest_lines']} lines."
            f"{broken}"
        )
    if found.probed and (peak := summary.tally.queues["net"].peak_running) > 1:
        yield (
            f"{found.probed:,} coroutine jobs waited together, up to {peak} at once on one event loop; {found.texts:,} "
            "files are text."
        )


def _overtaking(kinds: dict[str, KindTally]) -> Iterator[str]:
    ticks, behind = kinds.get("tick"), kinds.get("compress_file")
    if not ticks or not behind:
        return
    tick_wait, behind_wait = percentile(ticks.waits, 50), percentile(behind.waits, 50)
    if tick_wait is None or behind_wait is None:
        return
    yield (
        f"The cron entry made {ticks.enqueued} tick jobs, one each second. Lower priorities run first: at "
        f"{ticks.priority} they waited {_span(tick_wait)} in the queue where compress_file, at {behind.priority}, "
        f"waited {_span(behind_wait)}."
    )


def _next_step(summary: Summary) -> str:
    if summary.interrupted:
        left = [f"{count:,} {state}" for state, count in summary.states.items() if count and state not in STYLES]
        return (
            f"Stopped early: jobs in flight finished; left: {' and '.join(left) or 'none'}. This store is in memory, "
            "so they end with the process. Run it again without Ctrl-C to see the rest."
        )
    return "Try next: zjobs demo ~/src --files 2000, press Ctrl-C while it runs, or zjobs demo --json for the numbers."


def _by_queue(summary: Summary) -> list[tuple[str, KindTally]]:
    order = list(summary.tally.queues)
    return sorted(summary.tally.kinds.items(), key=lambda item: (order.index(item[1].queue), item[1].priority, item[0]))


def _memory(found: Findings) -> str:
    return f", at most {_size(found.peak_memory)} of memory" if found.peak_memory else ""


def _span(milliseconds: float | None) -> str:
    """A duration with about three significant digits, in the unit that suits it; empty for none."""
    if milliseconds is None:
        return ""
    if milliseconds < 1:
        return f"{milliseconds * THOUSAND:.0f}µs"
    if milliseconds < THOUSAND:
        return f"{milliseconds:.{_decimals(milliseconds)}f}ms"
    return f"{milliseconds / THOUSAND:.2f}s"


def _size(count: float) -> str:
    """A number of bytes with about three significant digits, in decimal units."""
    if count < THOUSAND:
        return f"{count:.0f} bytes"
    for unit in ("kB", "MB"):
        count /= THOUSAND
        if count < THOUSAND:
            return f"{count:.{_decimals(count)}f} {unit}"
    return f"{count / THOUSAND:.2f} GB"


def _decimals(value: float) -> int:
    """So many digits after the point that a value from 1 to 1000 shows three."""
    return max(0, 2 - int(math.log10(value)))
