"""`zjobs jobs`: look at jobs, and cancel, retry or delete them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from zjobs import Error, Invalid, Job, JobFilter, JobState, NotFound, Supervisor
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
    """Show one job with its arguments, its result and its errors."""
    job = client(store, app).get(job_id)
    shown = fields(job)
    if as_json:
        document(shown)
        return
    console = Console(highlight=False)

    def tell(*parts: str | Text | tuple[str, str]) -> None:
        # Whole lines, which can be copied: a terminal breaks them by itself.
        console.print(Text.assemble(*parts), soft_wrap=True)

    tell(f"job {job.id}  ", state(job.state), f"  {clean(job.worker)} in {clean(job.queue)}")
    errors = shown.pop("errors")
    kept = {"result"} if job.result_bytes is not None else set[str]()
    for name, value in shown.items():
        says_nothing = value is False or value in (None, [], {})
        if name in {"id", "state", "worker", "queue"} or (says_nothing and name not in kept):
            continue
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        when = f"  ({age(getattr(job, name))})" if name.endswith("_at") else ""
        tell((f"  {name:16}", "dim"), clean(text) + when)
    for error in errors:
        tell((f"  attempt {error['attempt']} failed: ", "red"), clean(f"{error['kind']}: {error['message']}"))
        for line in error["traceback"].splitlines():
            tell(("    " + clean(line), "dim"))


@dataclass(frozen=True)
class _Verb:
    """A command that changes jobs: what it is called, and how it changes one job and all that match."""

    name: str
    outcomes: tuple[str, ...]
    """What may become of a job, as the summary says it; the first is what was asked for."""
    help: str
    states: frozenset[JobState]
    """Which jobs it can change."""
    one: Callable[[Supervisor, int], str]
    """Changes the job of an id and says what became of it; raises why it is left alone."""
    many: Callable[[Supervisor, JobFilter], tuple[int, ...]]
    """Changes the jobs that match; says how many met each outcome."""


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
        jobs = client(store, app)
        if ids and set(which) == {"ids"}:
            # Whoever types the ids has said what is meant, and hears of each that is left alone.
            JobFilter(ids=ids)  # no number that could be no id
            _change_named(jobs, verb, list(dict.fromkeys(ids)), as_json=as_json)
        else:
            _change_matching(jobs, verb, which, yes=yes, as_json=as_json)

    app.command(verb.name, help=verb.help)(command)


def _change_named(jobs: Supervisor, verb: _Verb, ids: list[int], *, as_json: bool) -> None:
    """Changes the jobs of these ids one by one, and says of each that is left alone why.

    Raises:
        typer.Exit: Some were left alone: 3 when there are no such jobs, else 1.
    """
    done = dict.fromkeys(verb.outcomes, 0)
    left: dict[int, Error] = {}
    for number in ids:
        try:
            done[verb.one(jobs, number)] += 1
        except (NotFound, Invalid) as error:
            left[number] = error
    for error in left.values():
        typer.echo(f"zjobs: {clean(str(error))}", err=True)
    reasons = [{"id": number, "why": str(error)} for number, error in left.items()]
    _summarize(done, len(ids), {"left_alone": reasons}, as_json=as_json)
    if left:
        raise typer.Exit(3 if all(isinstance(error, NotFound) for error in left.values()) else 1)


def _change_matching(jobs: Supervisor, verb: _Verb, which: Which, *, yes: bool, as_json: bool) -> None:
    """Changes the jobs that match and can be changed, after asking."""
    changeable = frozenset(which.get("states") or JobState) & verb.states
    if not changeable:
        can = ", ".join(sorted(map(str, verb.states)))
        rule = f"no job of that state can be {verb.outcomes[0]}: only {can}"
        raise typer.BadParameter(rule, param_hint="--state")
    meant = which | Which(states=list(changeable))
    count = jobs.count(**meant)
    if not count:
        raise NotFound("no such job; it may have been pruned or deleted (`zjobs jobs list` shows what there is)")
    confirm(f"{verb.name.capitalize()} {count} {'job' if count == 1 else 'jobs'}?", yes=yes)
    done = dict(zip(verb.outcomes, verb.many(jobs, JobFilter(**meant)), strict=True))
    _summarize(done, count, {}, as_json=as_json)


def _summarize(done: dict[str, int], meant: int, more: dict[str, Any], *, as_json: bool) -> None:
    """Says how many met each outcome, of how many."""
    if as_json:
        document({outcome.replace(" ", "_"): number for outcome, number in done.items()} | more)
        return
    (asked, number), *others = done.items()
    rest = "".join(f", {number} {outcome}" for outcome, number in others if number)
    typer.echo(f"{number} of {meant} {asked}{rest}")


def _cancel(jobs: Supervisor, number: int) -> str:
    before = jobs.get(number)
    after = jobs.cancel(number)
    if not before.state.is_final and after.state is JobState.CANCELLED:
        return "cancelled"
    if after.cancel_requested and not after.state.is_final:
        return "asked to stop"
    raise Invalid(f"job {number} cannot be cancelled: it is {after.state} already")


def _cancel_many(jobs: Supervisor, which: JobFilter) -> tuple[int, int]:
    replies = jobs.store.cancel(which)
    asked = sum(reply.requested for reply in replies)
    return len(replies) - asked, asked


def _retry(jobs: Supervisor, number: int) -> str:
    if jobs.get(number).state is JobState.AVAILABLE:
        raise Invalid(f"job {number} need not be retried: it is available, and starts as soon as somebody takes it")
    jobs.retry(number)
    return "started again"


def _retry_many(jobs: Supervisor, which: JobFilter) -> tuple[int, int]:
    replies = jobs.store.retry(which)
    held = sum(reply.holder is not None for reply in replies)
    return len(replies) - held, held


def _delete(jobs: Supervisor, number: int) -> str:
    jobs.delete(number)
    return "deleted"


_ALL = frozenset(JobState)
_REST = _ALL - {JobState.AVAILABLE, JobState.EXECUTING}
_LIVE = frozenset({JobState.AVAILABLE, JobState.EXECUTING, JobState.RETRYABLE, JobState.SCHEDULED})

for _verb in (
    _Verb(
        "cancel",
        ("cancelled", "asked to stop"),
        "Cancel jobs: those that wait never start, those that run are asked to stop.",
        _LIVE,
        _cancel,
        _cancel_many,
    ),
    _Verb(
        "retry",
        ("started again", "held back by their unique key"),
        "Start jobs again that have ended, or wait; at least one attempt more.",
        _REST,
        _retry,
        _retry_many,
    ),
    _Verb(
        "delete",
        ("deleted",),
        "Delete jobs that do not run.",
        _ALL - {JobState.EXECUTING},
        _delete,
        lambda jobs, which: (jobs.store.delete(which),),
    ),
):
    _define(_verb)


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
