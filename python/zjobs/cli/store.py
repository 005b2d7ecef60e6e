"""Commands about a store as a whole: `migrate`, `stats`, `nodes`, `prune`."""

from datetime import timedelta
from typing import Annotated

import typer

import zjobs
from zjobs import JobState, Retention
from zjobs.cli.read import FINAL, duration, final_state
from zjobs.cli.show import AsJson, Yes, age, confirm, counts, document, states_of, table
from zjobs.cli.target import App, StoreUrl, client, url

__all__ = ["migrate", "nodes", "prune", "stats"]


def migrate(
    *,
    store: StoreUrl = None,
    status: Annotated[bool, typer.Option("--status", help="Only say which steps the database has.")] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Only print what the missing steps would do.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a database up to this version's schema. Several at once are safe; there is no way back."""
    where = url(store)
    if sql and as_json:
        raise typer.BadParameter("prints SQL, which is no JSON: say --status --json for the steps", param_hint="--sql")
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
    states = states_of(one.counts for one in queues)
    rows = [(one.name, *counts(one.counts, states)) for one in queues]
    if len(rows) > 1:
        rows.append(("all", *counts(total, states)))
    table(("queue", *(str(state) for state in states)), rows, empty="There are no jobs yet.")
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
        timedelta,
        typer.Option("--older-than", parser=duration, metavar="AGE", help="Since they ended: 90s, 30m, 12h, 7d."),
    ] = timedelta(days=1),
    states: Annotated[
        list[JobState] | None,
        typer.Option(
            "--state", parser=final_state, metavar="STATE", help="completed, cancelled or discarded; or again."
        ),
    ] = None,
    yes: Yes = False,
    store: StoreUrl = None,
    app: App = None,
    as_json: AsJson = False,
) -> None:
    """Delete completed jobs that are older than a day; or of other final states, or older than you say."""
    jobs = client(store, app)
    chosen = states or [JobState.COMPLETED]
    names = " and ".join(map(str, chosen))
    count = jobs.count(states=chosen)
    confirm(f"Delete those of {count} {names} jobs that ended more than {older_than} ago?", yes=yes)
    kept = {str(state): older_than if state in chosen else None for state in FINAL}
    deleted = 0
    while batch := jobs.store.prune(Retention(**kept)):
        deleted += batch
    if as_json:
        document({"deleted": deleted})
    else:
        typer.echo(f"{deleted} deleted")
