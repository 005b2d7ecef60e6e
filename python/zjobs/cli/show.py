"""How commands print: tables for people, one JSON document for tools; and how they ask."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zjobs import Job, JobState

__all__ = ["AsJson", "Yes", "age", "clean", "confirm", "counts", "document", "fields", "state", "states_of", "table"]

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]

_STYLES = {
    JobState.AVAILABLE: "cyan",
    JobState.EXECUTING: "bold blue",
    JobState.COMPLETED: "green",
    JobState.RETRYABLE: "yellow",
    JobState.DISCARDED: "red",
    JobState.CANCELLED: "magenta",
    JobState.SCHEDULED: "dim",
}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
_NOW = 1.0
_NAME = 32


def clean(text: str) -> str:
    """The text with everything escaped that a terminal could take for a command."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def state(value: JobState) -> Text:
    """A state in its colour."""
    return Text(str(value), style=_STYLES[value])


def age(at: datetime | None) -> str:
    """How long ago that was, or how soon it will be, in its two largest words at most: ``2 m ago``, ``in 3 h``."""
    if at is None:
        return "-"
    seconds = (datetime.now(UTC) - at).total_seconds()
    far = abs(seconds)
    if far < _NOW:
        return "now"
    size, unit = next((size, unit) for size, unit in _UNITS if far >= size)
    return f"{far // size:.0f} {unit} ago" if seconds > 0 else f"in {far // size:.0f} {unit}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text | int]], *, empty: str) -> None:
    """Prints rows below their headings, numbers to the right; ``empty`` says what to do when there is none."""
    rows = list(rows)
    if not rows:
        typer.echo(empty)
        return
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        right = isinstance(rows[0][index], int)
        # What a row is about stays in one piece where the terminal is narrow.
        least = min(max(len(str(row[0])) for row in rows), _NAME) if index == 0 else None
        grid.add_column(column, justify="right" if right else "left", overflow="fold", min_width=least)
    for row in rows:
        grid.add_row(*[cell if isinstance(cell, Text) else Text(clean(str(cell))) for cell in row])
    console = Console(highlight=False)
    if not console.is_terminal:
        # Whoever reads this by a pipe wants whole lines.
        console.width = 240
    console.print(grid)


def document(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Prints one JSON document; times are ISO 8601 in UTC. It is plain ASCII, which no terminal takes for a command."""
    typer.echo(json.dumps(value, ensure_ascii=True, indent=2, default=str))


def fields(job: Job) -> dict[str, Any]:
    """A job as JSON has it. The keys are those of `Job` and stay."""
    times = ("scheduled_at", "inserted_at", "attempted_at", "completed_at", "discarded_at", "cancelled_at")
    stamps = {name: _iso(getattr(job, name)) for name in times}
    progress = job.progress
    return {
        "id": job.id,
        "state": str(job.state),
        "queue": job.queue,
        "worker": job.worker,
        "args": _decoded(lambda: job.args, job.args_bytes),
        "priority": job.priority,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        **stamps,
        "timeout_seconds": job.timeout_seconds,
        "unique_key": job.unique_key,
        "tags": list(job.tags),
        "meta": job.meta,
        "node": job.node,
        "progress": None if progress is None else [progress.done, progress.total, progress.message],
        "cancel_requested": job.cancel_requested,
        "conflict": job.conflict,
        "result": _decoded(lambda: job.result, job.result_bytes),
        "errors": [
            {
                "attempt": error.attempt,
                "at": _iso(error.at),
                "kind": error.kind,
                "message": error.message,
                "traceback": error.traceback,
            }
            for error in job.errors
        ],
    }


def confirm(question: str, *, yes: bool) -> None:
    """Asks before something is done that cannot be undone.

    Raises:
        typer.Exit: The answer was no (1), or Ctrl-C (130), or there is nobody to ask (2).
    """
    if yes:
        return
    if not sys.stdin.isatty():
        typer.echo(f"zjobs: {question} There is no terminal to ask: say --yes to do it.", err=True)
        raise typer.Exit(2)
    # Not on standard output, where a file or another program may wait for the answer of the command.
    typer.echo(f"{question} [y/N]: ", nl=False, err=True)
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        typer.echo(err=True)
        raise typer.Exit(130) from None
    if answer.strip().lower() not in {"y", "yes"}:
        raise typer.Exit(1)


def states_of(rows: Iterable[Mapping[JobState, int]]) -> list[JobState]:
    """The states that some job is in: columns of nothing but zeros would leave the others no room."""
    rows = list(rows)
    return [one for one in JobState if any(row.get(one) for row in rows)]


def counts(by_state: Mapping[JobState, int], states: Iterable[JobState]) -> list[int]:
    """The counts of these states, in their order."""
    return [by_state.get(one, 0) for one in states]


def _decoded(read: Callable[[], Any], text: bytes | None) -> Any:  # noqa: ANN401 - whatever was stored
    try:
        return read()
    except ValueError:
        # Edited by hand: shown as it is, which is why somebody looks.
        return None if text is None else text.decode("utf-8", "replace")


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
