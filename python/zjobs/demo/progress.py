"""What is seen while the demo runs: bars in a terminal, one line per second elsewhere, nothing under `--json`."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from zjobs.demo.tally import Now, QueueNow

FRAMES_PER_SECOND = 12
SECONDS_PER_LINE = 1.0
BAR_WIDTH = 30

COLUMN_WIDTHS = (11, 6, 16)
"""Of counts, rates and slots: wide enough that nothing moves sideways when a number grows or goes."""


class Silent(AbstractContextManager["Silent"]):
    """Shows nothing; the other views add to it."""

    def say(self, text: str) -> None:
        """Print one sentence, above the bars if there are any."""

    def warn(self, text: str) -> None:
        """The same, for what needs attention."""

    def refresh(self) -> None:
        """Called often by the waiting loop; a view shows what it wants to."""

    def __exit__(self, *_: object) -> None:
        """End the view; what it showed stays."""


class Plain(Silent):
    """One line per second, for pipes, files and continuous integration."""

    def __init__(self, console: Console, now: Callable[[], Now]) -> None:
        """Print to `console` what `now` returns."""
        self._console = console
        self._now = now
        self._next = SECONDS_PER_LINE

    def say(self, text: str) -> None:
        """Print one sentence."""
        self._console.print(escape(text), highlight=False, soft_wrap=True)

    warn = say

    def refresh(self) -> None:
        """Print a line when a second has passed since the last."""
        now = self._now()
        if now.seconds < self._next:
            return
        self._next = now.seconds - now.seconds % SECONDS_PER_LINE + SECONDS_PER_LINE
        self._console.print(escape(line(now)), highlight=False, soft_wrap=True)


class Bars(Silent):
    """A live view: one bar per queue, then what failed and what the clock did."""

    def __init__(self, console: Console, now: Callable[[], Now], *, cursor: bool) -> None:
        """Draw on `console` what `now` returns.

        Args:
            console: The terminal.
            now: What to draw.
            cursor: Leave the cursor visible: a process that is killed cannot show it again.
        """
        self._console = console
        self._cursor = cursor
        self._live = Live(
            console=console,
            get_renderable=lambda: bars(now()),
            refresh_per_second=FRAMES_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        """Begin to draw; a thread of rich redraws until the end."""
        self._live.start()
        if self._cursor:
            self._console.show_cursor()
        return self

    def say(self, text: str) -> None:
        """Print one sentence above the bars."""
        self._console.print(Text(text), highlight=False)

    def warn(self, text: str) -> None:
        """Print one sentence above the bars, in a colour that is seen."""
        self._console.print(Text(text, style="bold yellow"), highlight=False)

    def __exit__(self, *_: object) -> None:
        """Draw once more, then leave the bars where they are."""
        self._live.stop()


def line(now: Now) -> str:
    """All queues in one line of plain text."""
    queues = ", ".join(f"{queue.name} {queue.finished}/{queue.enqueued}" for queue in now.queues)
    retrying = f" | {now.retrying} waiting to retry" if now.retrying else ""
    return (
        f"{now.seconds:5.1f} s  {now.finished}/{now.enqueued} jobs, {now.rate:.0f}/s, {now.running} running | "
        f"{queues}{retrying} | {_ticks(now)}"
    )


def bars(now: Now) -> RenderableType:
    """All queues as bars, then a line on failures and one on the cron entry."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(width=BAR_WIDTH)
    for width in COLUMN_WIDTHS:
        grid.add_column(justify="right", no_wrap=True, min_width=width)
    for queue in now.queues:
        grid.add_row(*_bar(queue))
    total = f"{now.finished}/{now.enqueued}"
    grid.add_row("all", _moment(now), total, _rate(now.rate), f"{now.running} running", style="dim")
    return Group(Text(), grid, Text(), _failures(now))


def _bar(queue: QueueNow) -> tuple[RenderableType, ...]:
    bar = ProgressBar(total=max(queue.enqueued, 1), completed=queue.finished, width=BAR_WIDTH)
    slots = f"[cyan]{queue.running}[/] of {queue.slots} running" if queue.running else f"0 of {queue.slots} running"
    return queue.name, bar, f"{queue.finished}/{queue.enqueued}", _rate(queue.rate), slots


def _rate(per_second: float) -> str:
    """Nothing for a queue that rests."""
    return f"{per_second:.0f}/s" if per_second else ""


def _moment(now: Now) -> str:
    return f"{now.seconds:.1f} s, cron: {_ticks(now)}"


def _ticks(now: Now) -> str:
    return "1 tick" if now.ticks == 1 else f"{now.ticks} ticks"


def _failures(now: Now) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    here = " in this run" if now.continued else ""
    text.append(f"{now.retries} retries{here}", style="yellow" if now.retrying else "")
    text.append(f", {now.retrying} waiting for theirs, {now.discarded} discarded")
    if now.retrying and now.last_error:
        text.append(f"   {now.last_error}", style="dim")
    return text
