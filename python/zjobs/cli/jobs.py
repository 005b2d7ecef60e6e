"""`zjobs jobs`: look at jobs, and cancel, retry or delete them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol, Unpack

import typer
from rich.console import Console
from rich.text import Text

from zjobs import Job, JobState, NotFound, Supervisor
from zjobs.cli.show import AsJson, Yes, age, clean, confirm, document, fields, state, table
from zjobs.cli.target import App, StoreUrl, client
from zjobs.rows import Which

__all__ = ["app"]

app = typer.Typer(help="Look at jobs, and cancel, retry or delete them.", no_args_is_help=True)


def _state(word: str) -> JobState:
    """The state of that name."""
    names = {str(one): one for one in JobState}
    if word not in names:
        raise typer.BadParameter(f"{word!r} is none of {', '.join(names)}")
    return names[word]


Ids = Annotated[list[int] | None, typer.Argument(help="The ids of jobs.", show_default=False)]
States = Annotated[
    list[JobState] | None,
    typer.Option("--state", parser=_state, metavar="STATE", help="In this state; may be given again."),
]
QueueName = Annotated[str | None, typer.Option("--queue", "-q", help="In this queue.")]
WorkerName = Annotated[str | None, typer.Option("--worker", "-w", help="Of this worker.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", "-t", help="With this tag; with all, when given again.")]
All = Annotated[bool, typer.Option("--all", help="All jobs, where neither ids nor options say which.")]


def _which(
    ids: list[int] | None,
    states: list[JobState] | None,
    queue: str | None,
    worker: str | None,
    tags: list[str] | None,
) -> Which:
    """The jobs that the options mean; empty when they say nothing."""
    which = Which()
    if ids:
        which["ids"] = ids
    if states:
        which["states"] = states
    # A variable of the shell that is empty must not mean every queue.
    if queue is not None:
        which["queue"] = queue
    if worker is not None:
        which["worker"] = worker
    if tags:
        which["tags"] = tags
    return which


@app.command("list")
def list_jobs(
    *,
    states: States = None,
    queue: QueueName = None,
    worker: WorkerName = None,
    tags: Tags = None,
    after: Annotated[int | None, typer.Option("--after", help="Go on after this id.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many.")] = 20,
    oldest: Annotated[bool, typer.Option("--oldest", help="The oldest first.")] = False,
    store: StoreUrl = None,
    app: App = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    which = _which(None, states, queue, worker, tags)
    which |= Which(after=after, limit=limit, newest_first=not oldest)
    found = client(store, app).list(**which)
    if as_json:
        document([fields(job) for job in found])
        return
    rows = [
        (
            job.id,
            state(job.state),
            job.queue,
            job.worker,
            f"{job.attempt}/{job.max_attempts}",
            job.priority,
            age(job.inserted_at),
            _latest(job),
        )
        for job in found
    ]
    columns = ("id", "state", "queue", "worker", "attempt", "priority", "enqueued", "latest")
    table(columns, rows, empty="No job matches. `zjobs stats` counts what there is.")
    if len(found) == limit:
        typer.echo(f"There may be more: go on with --after {found[-1].id}")


@app.command()
def show(
    job_id: Annotated[int, typer.Argument(metavar="ID", help="The id of the job.")],
    *,
    store: StoreUrl = None,
    app: App = None,
    as_json: AsJson = False,
) -> None:
    """Show one job with its arguments and errors."""
    job = client(store, app).get(job_id)
    shown = fields(job)
    if as_json:
        document(shown)
        return
    console = Console(highlight=False)
    console.print(Text.assemble(f"job {job.id}  ", state(job.state), f"  {clean(job.worker)} in {clean(job.queue)}"))
    errors = shown.pop("errors")
    for name, value in shown.items():
        if value in (None, [], {}) or name in {"id", "state", "worker", "queue"}:
            continue
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        when = f"  ({age(getattr(job, name))})" if name.endswith("_at") else ""
        console.print(Text.assemble((f"  {name:16}", "dim"), clean(text) + when))
    for error in errors:
        console.print(
            Text.assemble(
                (f"  attempt {error['attempt']} failed: ", "red"), clean(f"{error['kind']}: {error['message']}")
            )
        )
        for line in error["traceback"].splitlines():
            console.print(Text("    " + clean(line), style="dim"))


class Change(Protocol):
    """A verb of the supervisor for all jobs that match."""

    def __call__(self, **which: Unpack[Which]) -> int:
        """Says how many were changed."""
        ...


@dataclass(frozen=True)
class _Verb:
    """A command that changes all jobs that match: what it is called, what it does, and which jobs it can change."""

    name: str
    done: str
    help: str
    states: frozenset[JobState]
    change: Callable[[Supervisor], Change]


def _define(verb: _Verb) -> None:
    def command(
        ids: Ids = None,
        *,
        states: States = None,
        queue: QueueName = None,
        worker: WorkerName = None,
        tags: Tags = None,
        everything: All = False,
        yes: Yes = False,
        store: StoreUrl = None,
        app: App = None,
        as_json: AsJson = False,
    ) -> None:
        which = _which(ids, states, queue, worker, tags)
        if not which and not everything:
            rule = f"say which jobs to {verb.name}: their ids, options such as --queue mail, or --all"
            raise typer.BadParameter(rule)
        changed, meant = _change(client(store, app), verb, which, yes=yes)
        if as_json:
            document({verb.done.replace(" ", "_"): changed})
        else:
            typer.echo(f"{changed} of {meant} {verb.done}")

    app.command(verb.name, help=verb.help)(command)


_ALL = frozenset(JobState)
_REST = _ALL - {JobState.AVAILABLE, JobState.EXECUTING}
_LIVE = frozenset({JobState.AVAILABLE, JobState.EXECUTING, JobState.RETRYABLE, JobState.SCHEDULED})

for _verb in (
    _Verb(
        "cancel",
        "cancelled",
        "Cancel jobs: those that wait never start, those that run are asked to stop.",
        _LIVE,
        lambda jobs: jobs.cancel_many,
    ),
    _Verb(
        "retry",
        "started again",
        "Start jobs again that have ended, or wait; at least one attempt more.",
        _REST,
        lambda jobs: jobs.retry_many,
    ),
    _Verb(
        "delete", "deleted", "Delete jobs that do not run.", _ALL - {JobState.EXECUTING}, lambda jobs: jobs.delete_many
    ),
):
    _define(_verb)


def _change(jobs: Supervisor, verb: _Verb, which: Which, *, yes: bool) -> tuple[int, int]:
    """Changes the jobs that match and can be changed; says how many were, of how many."""
    meant = frozenset(which.get("states") or JobState)
    named = "ids" in which
    # Whoever names jobs hears of each that is left alone; whoever describes them is asked about those that change.
    changeable = meant & verb.states
    counted = which if named else which | Which(states=list(changeable))
    if not named and not changeable:
        can = ", ".join(sorted(map(str, verb.states)))
        raise typer.BadParameter(f"no job of that state can be {verb.done}: only {can}", param_hint="--state")
    count = jobs.count(**counted)
    if not count:
        raise NotFound("no such job; it may have been pruned or deleted (`zjobs jobs list` shows what there is)")
    question = f"{verb.name.capitalize()} {count} {'job' if count == 1 else 'jobs'}?"
    confirm(question, yes=yes or _names_them(which))
    return verb.change(jobs)(**counted), count


def _names_them(which: Which) -> bool:
    """Whoever types the ids has said what is meant."""
    return set(which) == {"ids"}


def _latest(job: Job) -> str:
    """What happened to the job last, in a few words."""
    if job.state is JobState.SCHEDULED:
        return f"due {age(job.scheduled_at)}"
    last = f"{job.errors[-1].kind}: {job.errors[-1].message}" if job.errors else ""
    if job.state is JobState.RETRYABLE:
        return f"due {age(job.scheduled_at)}: {last}"[:60]
    if job.state is JobState.EXECUTING:
        return f"since {age(job.attempted_at)}"
    ended = job.completed_at or job.discarded_at or job.cancelled_at
    return f"{age(ended)} {last}".strip()[:60] if ended else last[:60]
