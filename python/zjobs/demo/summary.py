"""The end of the demo: one table, a few sentences, or both as JSON."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Literal
from urllib.parse import quote

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zjobs import JobState
from zjobs.demo.findings import Findings
from zjobs.demo.jobs import FLAKY_FAILURES, LOST_ATTEMPTS
from zjobs.demo.ledger import Inheritance, Kind, Ledger
from zjobs.demo.place import Place
from zjobs.demo.tally import Attempts, Tally, percentile

STYLES = {JobState.COMPLETED: "green", JobState.DISCARDED: "red", JobState.CANCELLED: "yellow"}
"""The final states and their colours, in the order of the table."""

LEFT_OUT = ((), ("prio",), ("prio", "queue"))
"""Columns that a narrower terminal does without; the first choice that fits is taken."""

WIDE = 1000
"""More columns than any table needs."""

THOUSAND = 1000


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything that the closing page says.

    Attributes:
        place: Where the jobs are kept.
        inherited: What an earlier run had left; `None` for a first run.
        ledger: All jobs, as the store has them after the drain, and what they found.
        tally: What telemetry told of this run.
        states: Jobs per state as the store counts them.
        interrupted: Whether a signal ended the run early.
    """

    place: Place
    inherited: Inheritance | None
    ledger: Ledger
    tally: Tally
    states: dict[JobState, int]
    interrupted: bool

    @property
    def findings(self) -> Findings:
        """What the completed jobs found."""
        return self.ledger.findings

    @property
    def files(self) -> int:
        """Files worked on: each is hashed once, and asks once for an index of its folder."""
        return self.ledger.enqueued_by("hash_file")

    @property
    def refused(self) -> int:
        """Duplicates that unique jobs refused."""
        return self.files - self.ledger.enqueued_by("index_folder")

    @property
    def rows(self) -> list["Row"]:
        """The table's rows: by queue, then by priority."""
        order = list(self.tally.queues)
        kinds = sorted(
            self.ledger.kinds.items(), key=lambda item: (order.index(item[1].queue), item[1].priority, item[0])
        )
        return [Row(name, kind, self.tally.attempts.get(name, Attempts())) for name, kind in kinds]


@dataclass(frozen=True, slots=True)
class Row:
    """One worker: its jobs in the store, and how long this run's attempts took."""

    name: str
    kind: Kind
    attempts: Attempts


def as_json(summary: Summary) -> dict[str, Any]:
    """The summary as a document of plain values; times in milliseconds, sizes in bytes."""
    found, ledger, tally = summary.findings, summary.ledger, summary.tally
    return {
        "path": ledger.root,
        "files": summary.files,
        "kept": None if summary.place.kept is None else str(summary.place.kept),
        "inherited": None if summary.inherited is None else asdict(summary.inherited),
        "interrupted": summary.interrupted,
        "busy_seconds": round(tally.busy_seconds, 3),
        "jobs_per_second": round(tally.jobs_per_second, 1),
        "finished_by_this_run": tally.finished,
        "enqueued": ledger.enqueued,
        "duplicates_refused": summary.refused,
        "always_failing": ledger.enqueued_by("open_lost"),
        "asked_to_index": summary.files,
        "retries": ledger.retries,
        "rescued": ledger.rescued,
        "cron_ticks": ledger.enqueued_by("tick"),
        "states": {str(state): count for state, count in sorted(summary.states.items()) if count},
        "kinds": {row.name: _row_as_json(row) for row in summary.rows},
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


def _row_as_json(row: Row) -> dict[str, Any]:
    kind, attempts = row.kind, row.attempts
    return {
        "queue": kind.queue,
        "priority": kind.priority,
        "enqueued": kind.enqueued,
        "states": {str(state): count for state, count in sorted(kind.final.items())},
        "unfinished": kind.enqueued - kind.finished,
        "retries": kind.retries,
        "rescued": kind.rescued,
        "wait_ms": {f"p{percent}": percentile(attempts.waits, percent) for percent in (50, 99)},
        "run_ms": {f"p{percent}": percentile(attempts.runs, percent) for percent in (50, 99)},
    }


def show(summary: Summary, console: Console) -> None:
    """Print the table and the sentences."""
    console.print()
    console.print(table(summary, console))
    console.print()
    bullets = Table.grid(padding=(0, 1))
    for sentence in sentences(summary):
        bullets.add_row("-", Text(sentence))
    console.print(bullets)
    console.print()


def table(summary: Summary, console: Console) -> Table:
    """Kinds of jobs against states, retries and latency, as wide as the console allows.

    Columns of states that did not occur are left out.
    """
    columns, rows = _columns(summary), summary.rows
    grids = (_grid([one for one in columns if one.head not in out], rows, gap=0 if out else 1) for out in LEFT_OUT)
    wide = console.options.update_width(WIDE)
    grid = next(grids)
    while console.measure(grid, options=wide).maximum > console.width and (narrower := next(grids, None)):
        grid = narrower
    return grid


def _grid(columns: list["_Column"], rows: list[Row], *, gap: int) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), show_edge=False, show_footer=True, footer_style="bold")
    grid.add_column("job", footer="all", style="bold", no_wrap=True)
    for column in columns:
        grid.add_column(column.head, footer=column.foot, justify=column.justify, style=column.style, no_wrap=True)
    for row in rows:
        grid.add_row(row.name, *(column.cell(row) for column in columns))
    return grid


@dataclass(frozen=True, slots=True)
class _Column:
    head: str
    cell: Callable[[Row], str]
    foot: str = ""
    style: str = ""
    justify: Literal["left", "right"] = "right"


def _columns(summary: Summary) -> list[_Column]:
    rows, ledger = summary.rows, summary.ledger
    columns = [
        _Column("queue", lambda row: row.kind.queue, justify="left"),
        _Column("prio", lambda row: str(row.kind.priority)),
    ]
    for state, style in STYLES.items():
        if count := sum(row.kind.final.get(state, 0) for row in rows):
            columns.append(_Column(str(state), partial(_in_state, state), str(count), style))
    if left := ledger.enqueued - ledger.finished:
        columns.append(_Column("left", lambda row: str(row.kind.enqueued - row.kind.finished or ""), str(left)))
    columns.append(_Column("retries", lambda row: str(row.kind.retries or ""), str(ledger.retries)))
    if ledger.rescued:
        columns.append(_Column("rescued", lambda row: str(row.kind.rescued or ""), str(ledger.rescued)))
    if summary.tally.finished:
        columns += _times(rows)
    return columns


def _times(rows: list[Row]) -> Iterator[_Column]:
    for head, values in (("waits", attrgetter("attempts.waits")), ("runs", attrgetter("attempts.runs"))):
        every = [value for row in rows for value in values(row)]
        yield _Column(f"{head}\np50", partial(_share, values, 50), _span(percentile(every, 50)))
        yield _Column("\np99", partial(_share, values, 99), _span(percentile(every, 99)))


def _in_state(state: JobState, row: Row) -> str:
    return str(row.kind.final.get(state, 0) or "")


def _share(values: Callable[[Row], list[float]], percent: float, row: Row) -> str:
    return _span(percentile(values(row), percent))


def sentences(summary: Summary) -> Iterator[str]:
    """What was seen, and what to try next."""
    kinds = summary.ledger.kinds
    yield _pace(summary)
    if rescued := summary.ledger.rescued:
        yield (
            f"{rescued:,} {'attempt was' if rescued == 1 else 'attempts were'} running when the process was killed: "
            "such jobs are taken back and start again. None is lost, but a handler may run twice."
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
            f"{summary.files} files asked for an index of their folder; the unique key refused "
            f"{summary.refused} duplicates."
        )
    if summary.inherited is None:
        yield from _overtaking(summary)
    yield _next_step(summary)


def _pace(summary: Summary) -> str:
    tally, done, memory = summary.tally, summary.ledger.finished, _memory(summary.findings)
    pace = f"in {tally.busy_seconds:.1f} s, {tally.jobs_per_second:,.0f} a second"
    if summary.inherited is None and done == tally.finished:
        return f"{done:,} jobs {pace}{memory}. 'waits' is from due to claimed, 'runs' is the handler."
    if not tally.finished:
        return f"{done:,} jobs are done, none of them by this run{memory}."
    return (
        f"{done:,} jobs are done, {tally.finished:,} of them by this run {pace}{memory}. The table counts all runs; "
        "'waits', from due to claimed, and 'runs', the handler, are of this one."
    )


def _found(summary: Summary) -> Iterator[str]:
    found = summary.findings
    if found.files_hashed:
        twins = f"; {found.files_with_twins} have the same content as another" if found.files_with_twins else ""
        packed = f" zlib packs them to {found.ratio:.0%}." if found.ratio is not None else ""
        yield f"{found.files_hashed:,} files hold {_size(found.bytes_hashed)}{twins}.{packed}"
    if found.sources and found.longest:
        where = found.longest["longest_path"].removeprefix(f"{summary.ledger.root}/")
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


def _overtaking(summary: Summary) -> Iterator[str]:
    kinds, attempts = summary.ledger.kinds, summary.tally.attempts
    if not {"tick", "compress_file"} <= attempts.keys() & kinds.keys():
        return
    ticks, behind = kinds["tick"], kinds["compress_file"]
    yield (
        f"The cron entry made {ticks.enqueued} tick jobs, one each second. Lower priorities run first: at "
        f"{ticks.priority} they waited {_span(percentile(attempts['tick'].waits, 50))} in the queue where "
        f"compress_file, at {behind.priority}, waited {_span(percentile(attempts['compress_file'].waits, 50))}."
    )


def _next_step(summary: Summary) -> str:
    if not summary.interrupted:
        return _try_next(summary.place)
    left = [f"{count:,} {state}" for state, count in summary.states.items() if count and state not in STYLES]
    stopped = f"Stopped early: jobs in flight finished; left: {' and '.join(left) or 'none'}. "
    if summary.place.kept is not None:
        return f"{stopped}They wait in {summary.place.kept}: run the same command again to continue."
    return (
        f"{stopped}They are in {summary.place.words} and end with this run; zjobs demo --keep jobs.db keeps them, "
        "and continues when it is run again."
    )


def _try_next(place: Place) -> str:
    if place.kept is None:
        return (
            "Try next: zjobs demo --keep jobs.db, kill -9 it while it runs and run it again; zjobs demo ~/src --files "
            "2000; press Ctrl-C while it runs; or zjobs demo --json for the numbers."
        )
    url = f"sqlite:///{quote(str(place.kept))}"
    return (
        f"Try next: zjobs stats --store {url}, or zjobs jobs list --state discarded --store {url}; remove the file to "
        "begin anew."
    )


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
