"""What a command works on: an application's supervisor, or a store by its URL."""

import importlib
import os
import sys
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from zjobs import MemoryStore, Supervisor
from zjobs.db import open_store

__all__ = ["App", "StoreUrl", "client", "load", "url"]

StoreUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--store",
        "-s",
        envvar="ZJOBS_STORE",
        show_envvar=True,
        help="The store, such as sqlite:///jobs.db or postgresql://user@host/database.",
    ),
]
App: TypeAlias = Annotated[
    str | None,
    typer.Option("--app", "-a", help="Take the store of this supervisor, module:name, instead."),
]

_WHICH = "say which store: --store sqlite:///jobs.db, the variable ZJOBS_STORE, or --app module:supervisor"


def load(target: str) -> Supervisor:
    """The supervisor that ``module:name`` names. The current directory is where modules are looked for first.

    Raises:
        typer.BadParameter: There is no such module, name or supervisor; the text says which and what to do.
    """
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise typer.BadParameter(f"{target!r} must be module:name, such as app.jobs:jobs")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there; something that it imports is not
        raise typer.BadParameter(
            f"there is no module {error.name!r} here; it is looked for in {here} and on the Python path"
        ) from error
    found = getattr(module, name, None)
    if isinstance(found, Supervisor):
        return found
    there = [key for key, value in vars(module).items() if isinstance(value, Supervisor)]
    hint = f"; it has {', '.join(f'{module_name}:{key}' for key in there)}" if there else ""
    what = f"is a {type(found).__name__}, no Supervisor" if found is not None else "is not there"
    raise typer.BadParameter(f"{name!r} in the module {module_name!r} {what}{hint}")


def client(store: str | None, app: str | None, *, create: bool = False) -> Supervisor:
    """A supervisor that is not started, for a command that looks or changes by hand.

    A database that is not there is not made unless ``create`` says so: a mistyped name must not look like an empty one.

    Raises:
        typer.BadParameter: No store is named, or one that lives in another process's memory.
    """
    jobs = load(app) if app is not None else Supervisor(open_store(url(store), create=create))
    if isinstance(jobs.store, MemoryStore):
        raise typer.BadParameter(f"memory:// is the memory of one process, and not of this one: {_WHICH}")
    return jobs


def url(store: str | None) -> str:
    """The URL of a store, given on the command line or by the variable.

    Raises:
        typer.BadParameter: None is given.
    """
    if store is None:
        raise typer.BadParameter(_WHICH)
    if "@" in store and "ZJOBS_STORE" not in os.environ:
        secret = store.split("://", 1)[-1].rsplit("@", 1)[0]
        if ":" in secret:
            typer.echo(
                "zjobs: a password on the command line can be read by every user of this machine; "
                "put the URL into the variable ZJOBS_STORE",
                err=True,
            )
    return store
