"""`zjobs run`: works on the jobs of an application until a signal."""

import logging
import os
import signal
import sys
import threading
import time
from importlib.metadata import version
from typing import Annotated

import typer

from zjobs import MemoryStore, Supervisor, attach_logging
from zjobs.cli.processes import Processes
from zjobs.cli.show import clean
from zjobs.cli.target import load

__all__ = ["run"]


def run(
    target: Annotated[str, typer.Argument(metavar="MODULE:SUPERVISOR", help="Such as app.jobs:jobs.")],
    *,
    queues: Annotated[
        list[str] | None,
        typer.Option("--queues", "-q", help="Only these, as name or name:concurrency; comma or again for more."),
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", "-p", min=1, max=1024, help="So many; each has all the queues' slots.")
    ] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only warnings and errors.")] = False,
    follow_parent: Annotated[bool, typer.Option("--follow-parent", hidden=True)] = False,
) -> None:
    """Work on the jobs of an application, until a signal.

    The first SIGTERM or Ctrl-C, or the end of the terminal, drains: no job starts any more, those in flight finish. A
    second one stops hard, a third one ends the process where it is.
    Modules are looked for in the current directory first.

    With --processes, a process that dies is started again, sooner or later by how long it lived.
    """
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(_Line())
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, handlers=[lines])
    jobs = load(target)
    if queues:
        jobs.work_on(_chosen(jobs, queues))
    if processes > 1:
        if isinstance(jobs.store, MemoryStore):
            rule = "needs a store in a database: with memory:// each process would have jobs of its own"
            raise typer.BadParameter(rule, param_hint="--processes")
        options = [option for queue in queues or [] for option in ("--queues", queue)]
        command = ["run", target, *options, *(["--quiet"] if quiet else []), "--follow-parent"]
        raise typer.Exit(Processes(command, processes).run())
    if follow_parent:
        threading.Thread(target=_end_with_parent, name="zjobs-parent", daemon=True).start()
    attach_logging(jobs.telemetry)
    works = ", ".join(f"{queue.name}:{queue.concurrency}" for queue in jobs.queues)
    workers = ", ".join(jobs.workers) or "none: nothing will run"
    logging.getLogger("zjobs").info("zjobs %s works on %s; workers: %s", version("zjobs"), works, workers)
    jobs.run()


class _Line(logging.Formatter):
    """One line for each record: its time in UTC, and nothing that a terminal could take for a command."""

    converter = time.gmtime
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """The line without a traceback, which is many."""
        record.message = clean(record.message)
        return super().formatMessage(record)


def _chosen(jobs: Supervisor, wanted: list[str]) -> dict[str, int]:
    """The queues of the options; without a number with the concurrency that the application gives them."""
    own = {queue.name: queue.concurrency for queue in jobs.queues}
    chosen: dict[str, int] = {}
    for word in (word for words in wanted for word in words.split(",")):
        name, _, number = word.partition(":")
        if number and not number.isdecimal():
            raise typer.BadParameter(f"--queues takes name or name:concurrency, such as mail:5 (got {word!r})")
        if not number and name not in own:
            known = ", ".join(own) or "none"
            raise typer.BadParameter(
                f"the application has no queue {name!r} (it has {known}); say how many jobs at once: {name}:10"
            )
        chosen[name] = int(number) if number else own[name]
    return chosen


def _end_with_parent() -> None:
    """The parent holds the other end of standard input: when it is gone, this process drains and ends."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
