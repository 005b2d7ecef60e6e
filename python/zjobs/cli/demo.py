"""`zjobs demo`: real jobs over a real tree of files, live."""

from pathlib import Path
from typing import Annotated

import typer

from zjobs.demo.session import Demo
from zjobs.demo.tree import EmptyTreeError, standard_library, survey


def demo(
    path: Annotated[
        Path | None,
        typer.Argument(help="The tree of files to work on.", show_default="the standard library of this Python"),
    ] = None,
    *,
    files: Annotated[
        int, typer.Option("--files", "-n", min=1, max=100_000, help="Take at most so many files, spread over the tree.")
    ] = 600,
    seconds: Annotated[
        float,
        typer.Option("--seconds", "-s", min=0, max=3600, help="Keep the one-second cron going at least this long."),
    ] = 8.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the closing summary, as JSON.")] = False,
) -> None:
    """Run real jobs over a tree of files, in memory, and show what happens.

    Several kinds of jobs on four queues: hash, parse, compress and index files, coroutines that wait, jobs that fail
    twice and then go through, jobs that always fail, unique jobs, and a cron entry that ticks each second. Nothing is
    written to disk.

    Ctrl-C shows a graceful shutdown: jobs in flight finish, the table says what was done. A second Ctrl-C stops
    at once.
    """
    try:
        tree = survey(path or standard_library(), most_files=files)
    except EmptyTreeError as error:
        raise typer.BadParameter(str(error), param_hint="PATH") from error
    raise typer.Exit(Demo(tree, seconds=seconds, as_json=as_json).run())
