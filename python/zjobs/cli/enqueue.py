"""`zjobs enqueue`: jobs from the shell."""

import sys
from datetime import datetime, timedelta
from typing import Annotated, cast

import typer

from zjobs import Invalid, JobEntry, Supervisor, UniqueStrategy
from zjobs.cli.read import decoded, duration, moment
from zjobs.cli.show import AsJson, document, fields
from zjobs.cli.target import App, StoreUrl, client
from zjobs.options import CallOptions

__all__ = ["enqueue"]


def enqueue(
    worker: Annotated[str, typer.Argument(help="The name of the worker.")],
    args: Annotated[
        str,
        typer.Argument(
            metavar="JSON", help='Its arguments, such as \'{"to": "ann"}\'; - reads one from each line of input.'
        ),
    ] = "{}",
    *,
    queue: Annotated[str | None, typer.Option("--queue", "-q", help="The queue.")] = None,
    priority: Annotated[int | None, typer.Option("--priority", help="Lower runs first.")] = None,
    max_attempts: Annotated[int | None, typer.Option("--max-attempts", help="How often it may run.")] = None,
    schedule_in: Annotated[
        timedelta | None,
        typer.Option("--in", parser=duration, metavar="TIME", help="How long until it is due: 90s, 30m, 12h."),
    ] = None,
    scheduled_at: Annotated[
        datetime | None,
        typer.Option("--at", parser=moment, metavar="TIME", help="When it is due: 2026-12-24T18:00:00+01:00."),
    ] = None,
    timeout: Annotated[
        timedelta | None, typer.Option("--timeout", parser=duration, metavar="TIME", help="The limit of one attempt.")
    ] = None,
    unique_key: Annotated[str | None, typer.Option("--unique-key", help="At most one live job has it.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Cancel the one that has the key.")] = False,
    tags: Annotated[list[str] | None, typer.Option("--tag", "-t", help="A tag; may be given again.")] = None,
    meta: Annotated[str | None, typer.Option("--meta", metavar="JSON", help="A JSON object to keep with it.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Make the database when it is not there yet.")] = False,
    store: StoreUrl = None,
    app: App = None,
    as_json: AsJson = False,
) -> None:
    """Enqueue a job by the name of its worker, or one for each line of input, all or none."""
    given: dict[str, object] = {
        "queue": queue,
        "priority": priority,
        "max_attempts": max_attempts,
        "schedule_in": schedule_in,
        "scheduled_at": scheduled_at,
        "timeout_seconds": timeout,
        "unique_key": unique_key,
        "tags": tuple(tags) if tags else None,
        "meta": None if meta is None else decoded(meta, "--meta", "what is kept with the job"),
        "unique_strategy": UniqueStrategy.CANCEL_EXISTING if replace else None,
    }
    if replace and unique_key is None:
        raise typer.BadParameter(
            "says what happens to the job that has the --unique-key: give one", param_hint="--replace"
        )
    options = cast("CallOptions", {name: value for name, value in given.items() if value is not None})
    if args == "-":
        lines = [(n, line) for n, line in enumerate(sys.stdin, 1) if line.strip()]
        payloads = [(n, decoded(line, f"line {n}")) for n, line in lines]
        jobs = client(store, app, create=new)
        many = jobs.enqueue_many([_entry(jobs, n, worker, payload, options) for n, payload in payloads])
        if as_json:
            document([fields(job) for job in many])
        else:
            typer.echo(f"{sum(not job.conflict for job in many)} enqueued of {len(many)}")
        return
    payload = decoded(args, "JSON")
    job = client(store, app, create=new).enqueue(worker, payload, **options)
    if as_json:
        document(fields(job))
    elif job.conflict:
        typer.echo(f"nothing added: job {job.id} is {job.state} and has the key")
    else:
        typer.echo(f"job {job.id} is {job.state} in {job.queue}")


def _entry(jobs: Supervisor, number: int, worker: str, payload: object, options: CallOptions) -> JobEntry:
    """The job of one line.

    Raises:
        Invalid: The arguments do not fit the worker; the text says which line it was.
    """
    try:
        text = jobs._payload(worker, payload)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as `enqueue` does
    except Invalid as error:
        raise Invalid(f"line {number}: {error}") from None
    return JobEntry(worker, text, options)
