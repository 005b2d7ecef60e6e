"""Two lanes, and what holds after every hostile job."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import zjobs
from zjobs import Constant, Job, JobState, MemoryStore, SqliteStore, Supervisor


@pytest.fixture(params=["thread", "loop"])
def lane(request) -> str:
    return request.param


@pytest.fixture
def worker(lane) -> Callable[..., None]:
    """Registers a plain function as the handler, on a thread or as a coroutine."""

    def register(supervisor: Supervisor, act: Callable[..., Any], name: str = "hostile", **options: Any) -> None:
        def plain(args, ctx):
            return act(**args or {})

        async def coroutine(args, ctx):
            await asyncio.sleep(0)
            return act(**args or {})

        options.setdefault("retry_strategy", Constant(1000))
        handler = plain if lane == "thread" else coroutine
        supervisor.register_worker(zjobs.WorkerDef(name, handler, keep_result=True, **options))

    return register


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    """The stores that are in the process of the handlers."""
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "jobs.db")


@dataclass
class Pen:
    """One slot, in which a hostile job runs between good ones."""

    app: Supervisor

    def visit(self, state: JobState = JobState.RETRYABLE) -> Job:
        """Lets the hostile job run, and says what became of it: of it alone."""
        app = self.app
        later = app.enqueue("good", {"n": 0}, schedule_in=1000)
        first, hostile, *after = app.enqueue_many(
            [("good", {"n": 1}), ("hostile", None), ("good", {"n": 2}), ("good", {"n": 3})]
        )
        good = [first, *after]
        with app:
            assert [app.result(job, 30) for job in good] == [1, 2, 3]
        # It was done before those after it began; the stop has written its end.
        assert app.get(later) == later
        assert all((job.attempt, job.crashes, job.errors) == (1, 0, ()) for job in map(app.get, good))
        ended = app.get(hostile)
        assert (ended.state, ended.attempt, ended.crashes) == (state, 1, 0)
        return ended


@pytest.fixture
def pen(jobs, worker) -> Callable[..., Pen]:
    """Makes a pen for a handler."""

    def new(act: Callable[[], Any], **options: Any) -> Pen:
        app = jobs(queues={"default": 1})
        worker(app, act, **options)
        worker(app, lambda n: n, name="good")
        return Pen(app)

    return new
