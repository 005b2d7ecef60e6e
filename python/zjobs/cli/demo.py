"""`zjobs demo`: real jobs over a real tree of files, live."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from zjobs.demo.place import NotOfTheDemoError, Place, in_a_file, in_a_temporary_file, in_memory
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
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="FILE",
            dir_okay=False,
            help="Keep the jobs in this SQLite file; continue those that an earlier run left there.",
        ),
    ] = None,
    memory: Annotated[bool, typer.Option("--memory", help="Keep the jobs in memory instead of a SQLite file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the closing summary, as JSON.")] = False,
) -> None:
    """Run real jobs over a tree of files, kept in SQLite, and show what happens.

    Several kinds of jobs on four queues: hash, parse, compress and index files, coroutines that wait, jobs that fail
    twice and then go through, jobs that always fail, unique jobs, and a cron entry that ticks each second. The jobs are
    in a temporary file that is removed at the end, however that comes.

    With **--keep jobs.db** the file stays. Kill the demo at any moment, with kill -9 if you like, and run the same
    command again: it takes back what was running and continues. Two at once share the work.

    Ctrl-C shows a graceful shutdown: jobs in flight finish, the table says what was done. A second Ctrl-C stops
    at once.
    """
    if memory and keep is not None:
        raise typer.BadParameter("cannot be given with --memory: choose one", param_hint="--keep")
    try:
        with _place(keep, memory=memory) as place:
            run = Demo(
                place, lambda: survey(path or standard_library(), most_files=files), seconds=seconds, as_json=as_json
            )
            code = run.run()
    except EmptyTreeError as error:
        raise typer.BadParameter(str(error), param_hint="PATH") from error
    except NotOfTheDemoError as error:
        raise typer.BadParameter(str(error), param_hint="--keep") from error
    raise typer.Exit(code)


def _place(keep: Path | None, *, memory: bool) -> AbstractContextManager[Place]:
    if memory:
        return nullcontext(in_memory())
    return in_a_temporary_file() if keep is None else nullcontext(in_a_file(keep))
