"""Commands about a store as a whole: `migrate`, `stats`, `nodes`, `prune`, `enqueue`."""

import json
from typing import Annotated

import typer

import zjobs
from zjobs import JobState
from zjobs.cli.show import AsJson, Yes, age, confirm, counts, document, fields, table
from zjobs.cli.target import App, StoreUrl, client, url
from zjobs.options import EnqueueOptions

__all__ = ["enqueue", "migrate", "nodes", "prune", "stats"]


def migrate(
    *,
    store: StoreUrl = None,
    status: Annotated[bool, typer.Option("--status", help="Only say which steps the database has.")] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Only print what the missing steps would do.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a database up to this version's schema. Several at once are safe; there is no way back."""
    where = url(store)
    if sql:
        for step in zjobs.migrations(where):
            if step.applied_at is None:
                typer.echo(step.sql)
        return
    steps = zjobs.migrations(where) if status else zjobs.migrate(where)
    if as_json:
        document(
            [
                {
                    "version": step.version,
                    "name": step.name,
                    "applied_at": step.applied_at.isoformat() if step.applied_at else None,
                }
                for step in steps
            ]
        )
        return
    rows = [(step.version, step.name, age(step.applied_at) if step.applied_at else "missing") for step in steps]
    table(("step", "name", "applied"), rows, empty="Nothing to do: the schema is that of this version.")


def stats(*, store: StoreUrl = None, app: App = None, as_json: AsJson = False) -> None:
    """Count the jobs by queue and state."""
    jobs = client(store, app)
    queues, total = jobs.store.queues(), jobs.count_by_state()
    if as_json:
        document(
            {
                "states": {str(state): total[state] for state in JobState},
                "queues": {one.name: {str(s): one.counts.get(s, 0) for s in JobState} for one in queues},
                "nodes": len(jobs.nodes()),
            }
        )
        return
    rows = [(one.name, *counts(one.counts)) for one in queues]
    if len(rows) > 1:
        rows.append(("all", *counts(total)))
    table(("queue", *(str(state) for state in JobState)), rows, empty="There are no jobs yet.")
    alive = len(jobs.nodes())
    typer.echo(f"{alive} {'node works' if alive == 1 else 'nodes work'} on them")


def nodes(*, store: StoreUrl = None, app: App = None, as_json: AsJson = False) -> None:
    """List the processes that work on jobs."""
    found = client(store, app).nodes()
    if as_json:
        document(
            [
                {
                    "node": one.node,
                    "name": one.name,
                    "pid": one.pid,
                    "started_at": one.started_at.isoformat(),
                    "beat_at": one.beat_at.isoformat(),
                    "queues": dict(one.queues),
                    "executing": one.executing,
                }
                for one in found
            ]
        )
        return
    rows = [
        (
            one.name,
            one.pid,
            ", ".join(f"{queue}:{concurrency}" for queue, concurrency in one.queues.items()),
            one.executing,
            age(one.started_at),
            age(one.beat_at),
        )
        for one in found
    ]
    columns = ("name", "pid", "queues", "runs", "started", "beat")
    table(columns, rows, empty="No process works on these jobs: start one with `zjobs run module:supervisor`.")


def prune(
    *,
    older_than: Annotated[
        float, typer.Option("--older-than", min=0, help="Seconds since they were completed.")
    ] = 86_400,
    yes: Yes = False,
    store: StoreUrl = None,
    app: App = None,
) -> None:
    """Delete completed jobs that are older than a day, or than you say."""
    jobs = client(store, app)
    count = jobs.count(states=[JobState.COMPLETED])
    confirm(f"Delete those of {count} completed jobs that ended more than {older_than:g} s ago?", yes=yes)
    typer.echo(f"{jobs.delete_completed(older_than)} deleted")


def enqueue(
    worker: Annotated[str, typer.Argument(help="The name of the worker.")],
    args: Annotated[str, typer.Argument(metavar="JSON", help='Its arguments, such as \'{"to": "ann"}\'.')] = "{}",
    *,
    queue: Annotated[str | None, typer.Option("--queue", "-q", help="The queue.")] = None,
    priority: Annotated[int | None, typer.Option("--priority", help="Lower runs first.")] = None,
    max_attempts: Annotated[int | None, typer.Option("--max-attempts", help="How often it may run.")] = None,
    schedule_in: Annotated[float | None, typer.Option("--in", help="Seconds until it is due.")] = None,
    unique_key: Annotated[str | None, typer.Option("--unique-key", help="At most one live job has it.")] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", "-t", help="A tag; may be given again.")] = None,
    store: StoreUrl = None,
    app: App = None,
    as_json: AsJson = False,
) -> None:
    """Enqueue one job by the name of its worker."""
    try:
        payload = json.loads(args)
    except ValueError as error:
        raise typer.BadParameter(f"the arguments must be JSON ({error})", param_hint="JSON") from error
    options = EnqueueOptions()
    if queue is not None:
        options["queue"] = queue
    if priority is not None:
        options["priority"] = priority
    if max_attempts is not None:
        options["max_attempts"] = max_attempts
    if schedule_in is not None:
        options["schedule_in"] = schedule_in
    if unique_key is not None:
        options["unique_key"] = unique_key
    if tags:
        options["tags"] = tuple(tags)
    job = client(store, app).enqueue(worker, payload, **options)
    if as_json:
        document(fields(job))
    elif job.conflict:
        typer.echo(f"nothing added: job {job.id} is {job.state} and has the key")
    else:
        typer.echo(f"job {job.id} is {job.state} in {job.queue}")
