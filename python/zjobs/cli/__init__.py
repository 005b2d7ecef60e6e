"""The command `zjobs`. Each subcommand is one module here, registered in the list below."""

import io
import platform
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from zjobs import Error, Invalid, NotFound
from zjobs.cli import demo, enqueue, jobs, queues, run, store
from zjobs.cli.show import clean

__all__ = ["app", "main"]

FAILURE, WRONG_USAGE, NOT_FOUND = 1, 2, 3

EXIT_CODES = "Exit codes: 0 fine, 1 failure, 2 wrong usage, 3 not found, 130 interrupted with Ctrl-C."

app = typer.Typer(
    name="zjobs",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)

app.command("run", epilog=EXIT_CODES)(run.run)
app.command("demo", epilog=EXIT_CODES)(demo.demo)
app.command("enqueue", epilog=EXIT_CODES)(enqueue.enqueue)
app.add_typer(jobs.app, name="jobs", epilog=EXIT_CODES)
app.add_typer(queues.app, name="queues", epilog=EXIT_CODES)
app.command("stats", epilog=EXIT_CODES)(store.stats)
app.command("nodes", epilog=EXIT_CODES)(store.nodes)
app.command("migrate", epilog=EXIT_CODES)(store.migrate)
app.command("prune", epilog=EXIT_CODES)(store.prune)


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer hands the flag over by position
    if value:
        typer.echo(f"zjobs {version('zjobs')}, {platform.python_implementation()} {platform.python_version()}")
        raise typer.Exit


@app.callback()
def root(
    *,
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Background jobs for Python with a Rust engine.

    New here? **zjobs demo** runs real jobs for ten seconds, kept in a temporary SQLite file: it needs no set-up and
    leaves nothing behind.
    """


def main() -> None:
    """Run the command line on `sys.argv` and exit with one of the documented codes.

    Raises:
        SystemExit: Always: 0 fine, 1 failure, 2 wrong usage, 3 not found, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        # What is stored may hold letters that the terminal's encoding has not.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except Error as error:
        typer.echo(f"zjobs: {clean(str(error))}", err=True)
        sys.exit(NOT_FOUND if isinstance(error, NotFound) else WRONG_USAGE if isinstance(error, Invalid) else FAILURE)
