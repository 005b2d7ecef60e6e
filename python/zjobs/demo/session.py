"""One run of the demo: enqueue or continue, start, watch, drain, sum up."""

import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType
from typing import Self

from rich.console import Console

import zjobs
from zjobs.demo.jobs import QUEUES, TICK, Workers
from zjobs.demo.ledger import LIVE_STATES, PAGE, Inheritance, inherit, read
from zjobs.demo.place import Place
from zjobs.demo.progress import Bars, Plain, Silent
from zjobs.demo.summary import Summary, as_json, show
from zjobs.demo.tally import Tally
from zjobs.demo.tree import Tree

FINE, FAILURE, INTERRUPTED = 0, 1, 130

GLANCE_SECONDS = 0.05
"""How often the waiting loop looks."""

STALLED_SECONDS = 60.0
"""A run that waits for jobs, and in which nothing but ticks finishes for so long, has failed."""

LOOK_SECONDS = 1.0
"""How often the store is asked what other processes did."""

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

    def __init__(self, place: Place, choose: Callable[[], Tree], *, seconds: float, as_json: bool) -> None:
        """Prepare a run.

        Args:
            place: Where the jobs are kept. Jobs that are there already are continued.
            choose: Chooses the files to work on; called when there are no jobs yet.
            seconds: Keep the cron entry going at least this long.
            as_json: Print nothing but the closing summary, as JSON.
        """
        self._place = place
        self._choose = choose
        self._seconds = seconds
        self._as_json = as_json
        self._console = _console()
        self._tally = Tally(QUEUES, apart=TICK)
        self._jobs = zjobs.Supervisor(place.store, queues=QUEUES)
        self._jobs.telemetry.attach(self._tally)
        self._workers = Workers(self._jobs)

    def run(self) -> int:
        """Run to the end, or until a signal, and print the summary.

        Returns:
            The exit code: 0 when every job reached a final state, 1 when nothing moved any more, 130 after a signal.

        Raises:
            EmptyTreeError: There are no jobs yet, and no files to make them of.
        """
        warnings.filterwarnings("ignore", category=SyntaxWarning)  # of the files parsed, not ours
        inherited = inherit(self._jobs)
        tree = self._choose() if inherited is None else None
        finished = drained = True
        with Interrupts() as interrupts, self._view() as view:
            if tree is not None:
                self._enqueue(tree, view)
            if inherited is not None:
                self._take_up(inherited, view)
            if inherited is None or inherited.left:
                self._tally.start_clock()
                self._jobs.start()
                finished = self._watch(view, interrupts)
                drained = self._drain(view, interrupts)
                self._meet()
        if not drained:
            self._console.stderr = True  # standard output is for the summary, and there is none
            self._console.print("Stopped at once: jobs in flight were cut off.")
            sys.stdout.flush()
            os._exit(INTERRUPTED)  # handler threads cannot be stopped in any softer way
        self._print(self._summary(inherited, interrupted=interrupts.count > 0))
        if interrupts.count:
            return INTERRUPTED
        return FINE if finished else FAILURE

    def _view(self) -> Silent:
        if self._as_json:
            return Silent()
        if sys.stdout.isatty() and self._console.is_interactive:
            return Bars(self._console, self._tally.now, cursor=self._place.kept is not None)
        return Plain(self._console, self._tally.now)

    def _enqueue(self, tree: Tree, view: Silent) -> None:
        entries = self._workers.entries(tree)
        began = time.monotonic()
        inserted = sum(not job.conflict for job in self._jobs.enqueue_many(entries))
        seconds = max(time.monotonic() - began, 1e-6)
        view.say(f"{tree.root}: {len(tree.files):,} of {tree.found:,} files")
        view.say(
            f"{inserted:,} jobs enqueued in {seconds * 1000:.0f} ms, {inserted / seconds:,.0f} a second, "
            f"into {self._place.words}"
        )
        self._invite(view)

    def _take_up(self, inherited: Inheritance, view: Silent) -> None:
        """Go on with the jobs that are there."""
        self._tally.meet(self._jobs.store.queues(), self._jobs.list(states=[zjobs.JobState.RETRYABLE], limit=PAGE))
        view.say(f"{self._place.words}: {inherited.sentence()}")
        if inherited.left:
            if any(cron.name == TICK and cron.paused for cron in self._jobs.crons()):
                self._jobs.resume_cron(TICK)  # a run that came to its end has paused it
            self._invite(view)

    def _invite(self, view: Silent) -> None:
        if self._place.kept is not None:
            view.say(f"kill -9 {os.getpid()} whenever you like, and run the same command again: it continues")

    def _watch(self, view: Silent, interrupts: Interrupts) -> bool:
        """Wait until all is done, a signal comes or nothing moves any more. True when all is done."""
        moved, finished, look = time.monotonic(), -1, LOOK_SECONDS
        while not interrupts.count:
            now = self._tally.now()
            view.refresh()
            looks = now.seconds >= look
            if looks:
                look = now.seconds + LOOK_SECONDS
                if len(self._jobs.nodes()) > 1:
                    self._meet()
            if now.seconds >= self._seconds and (looks or now.finished >= now.enqueued) and self._settled():
                return True
            done = now.finished - now.finished_apart
            if done != finished or now.seconds < self._seconds:
                moved, finished = time.monotonic(), done
            elif time.monotonic() - moved > STALLED_SECONDS:
                view.warn(f"Nothing but ticks finished for {STALLED_SECONDS:.0f} s; giving up.")
                return False
            time.sleep(GLANCE_SECONDS)
        return False

    def _meet(self) -> None:
        self._tally.meet(self._jobs.store.queues(), ())

    def _settled(self) -> bool:
        """Whether no job waits or runs, once the cron entry makes no more. The store is asked: it cannot be late."""
        if self._jobs.count(states=LIVE_STATES):
            return False
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

    def _summary(self, inherited: Inheritance | None, *, interrupted: bool) -> Summary:
        return Summary(
            place=self._place,
            inherited=inherited,
            ledger=read(self._jobs),
            tally=self._tally,
            states=self._jobs.count_by_state(),
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
