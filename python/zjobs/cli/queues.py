"""`zjobs queues`: look at queues, and pause, resume or scale them."""

from typing import Annotated

import typer
from rich.text import Text

from zjobs import JobState, NotFound, Supervisor
from zjobs.cli.show import AsJson, counts, document, states_of, table
from zjobs.cli.target import App, StoreUrl, client

__all__ = ["app"]

app = typer.Typer(help="Look at queues, and pause, resume or scale them.", no_args_is_help=True)

QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.")]
New = Annotated[bool, typer.Option("--new", help="Also one that has neither jobs nor a process that works on it yet.")]


def _known(jobs: Supervisor, queue: str, *, new: bool) -> None:
    """A mistyped name would be paused, and the queue that was meant would run on."""
    names = {one.name for one in jobs.store.queues()} | {name for node in jobs.nodes() for name in node.queues}
    if not new and queue not in names:
        known = ", ".join(sorted(names)) or "none"
        raise NotFound(f"there is no queue {queue!r} (there is {known}); say --new to set it up before its first job")


@app.command("list")
def list_queues(*, store: StoreUrl = None, app: App = None, as_json: AsJson = False) -> None:
    """List the queues that have jobs or settings, with their counts."""
    queues = client(store, app).store.queues()
    if as_json:
        document(
            [
                {
                    "name": one.name,
                    "paused": one.paused,
                    "concurrency": one.concurrency,
                    "counts": {str(state): one.counts.get(state, 0) for state in JobState},
                }
                for one in queues
            ]
        )
        return
    states = states_of(one.counts for one in queues)
    rows = [
        (
            one.name,
            Text("paused", style="yellow") if one.paused else "runs",
            "-" if one.concurrency is None else str(one.concurrency),
            *counts(one.counts, states),
        )
        for one in queues
    ]
    columns = ("queue", "", "scaled to", *(str(state) for state in states))
    table(columns, rows, empty="No queue has jobs or settings yet: enqueue one with `zjobs enqueue WORKER JSON`.")


@app.command()
def pause(queue: QueueName, *, new: New = False, store: StoreUrl = None, app: App = None) -> None:
    """Start no job of the queue, on any node, until it is resumed."""
    jobs = client(store, app)
    _known(jobs, queue, new=new)
    jobs.pause_queue(queue)
    typer.echo(f"{queue} is paused: jobs in flight go on, no other starts; `zjobs queues resume {queue}` undoes it")


@app.command()
def resume(queue: QueueName, *, new: New = False, store: StoreUrl = None, app: App = None) -> None:
    """Undo a pause."""
    jobs = client(store, app)
    _known(jobs, queue, new=new)
    jobs.resume_queue(queue)
    typer.echo(f"{queue} runs")


@app.command()
def scale(
    queue: QueueName,
    concurrency: Annotated[str, typer.Argument(help="How many jobs each node runs at once, or 'reset'.")],
    *,
    new: New = False,
    store: StoreUrl = None,
    app: App = None,
) -> None:
    """Set how many jobs of the queue each node runs at once."""
    jobs = client(store, app)
    _known(jobs, queue, new=new)
    if concurrency == "reset":
        jobs.scale_queue(queue, None)
        typer.echo(f"each node runs as many jobs of {queue} at once as its own setting says")
        return
    if not concurrency.isdecimal():
        raise typer.BadParameter(f"the concurrency must be a whole number or 'reset' (got {concurrency!r})")
    jobs.scale_queue(queue, int(concurrency))
    typer.echo(f"each node runs {concurrency} jobs of {queue} at once")
