"""One run of the demo: enqueue, start, watch, drain, sum up."""

import json
import os
import signal
import sys
import threading
import time
import warnings
from contextlib import AbstractContextManager
from types import FrameType
from typing import Self

from rich.console import Console

import zjobs
from zjobs.demo.findings import gather
from zjobs.demo.jobs import QUEUES, TICK, Plan, Workers
from zjobs.demo.progress import Bars, Plain, Silent
from zjobs.demo.summary import Summary, as_json, show
from zjobs.demo.tally import Tally
from zjobs.demo.tree import Tree

FINE, FAILURE, INTERRUPTED = 0, 1, 130

GLANCE_SECONDS = 0.05
"""How often the waiting loop looks."""

STALLED_SECONDS = 60.0
"""A run in which nothing finishes for so long has failed."""

LIVE_STATES = tuple(state for state in zjobs.JobState if not state.is_final)

PLAIN_WIDTH = 120
"""Columns when the output is no terminal and `COLUMNS` says nothing."""


class Interrupts(AbstractContextManager["Interrupts"]):
    """Counts SIGINT and SIGTERM while it is entered, instead of raising `KeyboardInterrupt`.

    The handler only adds to a number: it runs between any two instructions of the main thread, where taking a lock
    could wait for ever.
    """

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.count = 0

    def __enter__(self) -> Self:
        """Take over both signals."""
        self._before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        """Give both signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1


class Demo:
    """One run over one tree of files."""

    def __init__(self, tree: Tree, *, seconds: float, as_json: bool) -> None:
        """Prepare a run.

        Args:
            tree: The files to work on.
            seconds: Keep the cron entry going at least this long.
            as_json: Print nothing but the closing summary, as JSON.
        """
        self._tree = tree
        self._seconds = seconds
        self._as_json = as_json
        self._console = _console()
        self._tally = Tally(QUEUES, apart=TICK)
        self._jobs = zjobs.Supervisor("memory://", queues=QUEUES)
        self._jobs.telemetry.attach(self._tally)
        self._workers = Workers(self._jobs)

    def run(self) -> int:
        """Run to the end, or until a signal, and print the summary.

        Returns:
            The exit code: 0 when every job reached a final state, 1 when nothing moved any more, 130 after a signal.
        """
        warnings.filterwarnings("ignore", category=SyntaxWarning)  # of the files parsed, not ours
        plan = self._workers.plan(self._tree)
        with Interrupts() as interrupts, self._view() as view:
            before = time.monotonic()
            inserted = self._jobs.enqueue_many(plan.entries)
            refused = sum(job.conflict for job in inserted)
            self._introduce(view, len(inserted) - refused, time.monotonic() - before)
            self._tally.start_clock()
            self._jobs.start()
            finished = self._watch(view, interrupts)
            drained = self._drain(view, interrupts)
        if not drained:
            self._console.stderr = True  # standard output is for the summary, and there is none
            self._console.print("Stopped at once: jobs in flight were cut off.")
            sys.stdout.flush()
            os._exit(INTERRUPTED)  # handler threads cannot be stopped in any softer way
        summary = self._summary(plan, refused, interrupted=interrupts.count > 0)
        self._print(summary)
        if interrupts.count:
            return INTERRUPTED
        return FINE if finished else FAILURE

    def _view(self) -> Silent:
        if self._as_json:
            return Silent()
        live = sys.stdout.isatty() and self._console.is_interactive
        return (Bars if live else Plain)(self._console, self._tally.now)

    def _introduce(self, view: Silent, inserted: int, seconds: float) -> None:
        rate = inserted / max(seconds, 1e-6)
        view.say(f"{self._tree.root}: {len(self._tree.files):,} of {self._tree.found:,} files")
        view.say(f"{inserted:,} jobs enqueued in {seconds * 1000:.0f} ms, {rate:,.0f} a second")

    def _watch(self, view: Silent, interrupts: Interrupts) -> bool:
        """Wait until all is done, a signal comes or nothing moves any more. True when all is done."""
        moved, finished = time.monotonic(), -1
        while not interrupts.count:
            now = self._tally.now()
            view.refresh()
            if now.finished >= now.enqueued and now.seconds >= self._seconds and self._settled():
                return True
            if now.finished != finished:
                moved, finished = time.monotonic(), now.finished
            elif time.monotonic() - moved > STALLED_SECONDS:
                view.warn(f"Nothing finished for {STALLED_SECONDS:.0f} s; giving up.")
                return False
            time.sleep(GLANCE_SECONDS)
        return False

    def _settled(self) -> bool:
        """Whether no job waits or runs, once the cron entry makes no more. The store is asked: it cannot be late."""
        self._jobs.pause_cron(TICK)
        return self._jobs.count(states=LIVE_STATES) == 0

    def _drain(self, view: Silent, interrupts: Interrupts) -> bool:
        """Stop the supervisor: jobs in flight finish. False when a second signal would not wait for them."""
        running = self._tally.now().running
        if interrupts.count:
            view.warn(f"Ctrl-C: draining. {running} jobs in flight finish, no others start. Again to stop at once.")
        began = time.monotonic()
        stopping = threading.Thread(target=self._jobs.stop, name="demo-stop", daemon=True)
        stopping.start()
        while stopping.is_alive():
            stopping.join(GLANCE_SECONDS)
            view.refresh()
            if interrupts.count > 1:
                return False
        if interrupts.count:
            view.warn(f"Drained in {time.monotonic() - began:.2f} s.")
        return True

    def _summary(self, plan: Plan, refused: int, *, interrupted: bool) -> Summary:
        return Summary(
            tree=self._tree,
            plan=plan,
            tally=self._tally,
            states=self._jobs.count_by_state(),
            findings=gather(self._jobs),
            refused=refused,
            interrupted=interrupted,
        )

    def _print(self, summary: Summary) -> None:
        if self._as_json:
            print(json.dumps(as_json(summary), indent=2))  # noqa: T201 - it is the output
        else:
            show(summary, self._console)


def _console() -> Console:
    """The console of standard output; a fixed, sane width when that is no terminal."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Console()
    return Console(width=PLAIN_WIDTH)
