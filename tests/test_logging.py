"""Logging as users see it: the line of each attempt, `ctx.log`, and loggers that misbehave."""

import logging

import pytest

from zjobs import Constant, JobContext, JobState, attach_logging


def test_each_attempt_is_one_line_with_its_fields(jobs, caplog):
    app = jobs()

    @app.worker(max_attempts=2, retry_strategy=Constant(0))
    def fails(secret: str) -> None:
        raise ValueError("the\nreason")

    attach_logging(app.telemetry)
    with caplog.at_level(logging.INFO, logger="zjobs"):
        job = fails.enqueue(secret="hunter2")  # noqa: S106 - a made-up one, looked for in the log
        app.drain()
    lines = [record for record in caplog.records if record.name == "zjobs"]
    assert [record.levelname for record in lines] == ["WARNING", "ERROR"]
    assert [record.event for record in lines] == ["job_failed", "job_discarded"]
    assert [(record.job_id, record.worker, record.queue, record.attempt) for record in lines] == [
        (job.id, "fails", "default", 1),
        (job.id, "fails", "default", 2),
    ]
    assert all(r"the\nreason" in record.getMessage() for record in lines)
    assert "hunter2" not in caplog.text


def test_a_handler_logs_with_the_fields_of_its_job(jobs, caplog):
    app = jobs()

    @app.worker
    def talks(ctx: JobContext) -> None:
        ctx.log.info("hello %s", "there")

    with caplog.at_level(logging.INFO):
        job = talks.enqueue()
        app.drain()
    (record,) = [record for record in caplog.records if record.name == "zjobs.job.talks"]
    assert record.getMessage() == "hello there"
    assert (record.job_id, record.worker, record.queue, record.attempt) == (job.id, "talks", "default", 1)


class Hostile(logging.Handler):
    def __init__(self, act):
        super().__init__()
        self.act = act
        self.calls = 0

    def emit(self, record):
        self.calls += 1
        self.act()


def throw(error):
    raise error


@pytest.fixture
def hostile():
    """Puts a handler on the logger of zjobs that does what it is told."""
    log = logging.getLogger("zjobs")
    before, made = log.level, []

    def put(act):
        made.append(Hostile(act))
        log.addHandler(made[-1])
        log.setLevel(logging.INFO)
        return made[-1]

    yield put
    for one in made:
        log.removeHandler(one)
    log.setLevel(before)


@pytest.mark.parametrize("kind", ["raises", "exits", "interrupts", "enqueues", "logs", "detaches"])
@pytest.mark.parametrize("lane", ["thread", "loop"])
def test_a_logging_handler_that_misbehaves_harms_no_job(kind, lane, jobs, hostile):
    app = jobs()

    @app.worker(name="thread")
    def plain() -> None:
        pass

    @app.worker(name="loop")
    async def coroutine() -> None:
        pass

    handle = attach_logging(app.telemetry)
    acts = {
        "raises": lambda: throw(ValueError()),
        "exits": lambda: throw(SystemExit()),
        "interrupts": lambda: throw(KeyboardInterrupt()),
        "enqueues": lambda: app.enqueue("again", queue="nobody"),
        "logs": lambda: logging.getLogger("zjobs.again").warning("and again") if bad.calls < 50 else None,
        "detaches": lambda: app.telemetry.detach(handle),
    }
    bad = hostile(acts[kind])
    with app:
        first, second = app.enqueue(lane), app.enqueue(lane)
        assert [app.wait(job, 30).state for job in (first, second)] == [JobState.COMPLETED] * 2
    assert bad.calls >= 1
    assert [app.get(job).attempt for job in (first, second)] == [1, 1]


def test_a_logging_handler_that_blocks_loses_no_job_and_runs_none_twice(jobs, hostile, gate, eventually):
    app = jobs(queues={"default": 4})
    runs = []

    @app.worker
    def act(number: int) -> None:
        runs.append(number)

    attach_logging(app.telemetry)
    slow = hostile(gate.wait)
    with app:
        many = [act.enqueue(number) for number in range(4)]
        eventually(lambda: len(runs) == 4 and slow.calls)
        assert app.rescue_stuck() == 0
        gate.set()
        assert [app.wait(job, 30).state for job in many] == [JobState.COMPLETED] * 4
    assert sorted(runs) == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_what_is_logged_while_the_interpreter_ends_harms_nothing(kind, tmp_path, run_script):
    """By a handler in hand, by a listener, and by a logging handler that itself uses zjobs."""
    done = run_script(
        """
        import logging, sys, threading, zjobs
        jobs = zjobs.Supervisor(sys.argv[1], shutdown_timeout_seconds=30)
        begun = threading.Event()

        class Back(logging.Handler):
            def emit(self, record):
                if record.name != "zjobs.again":
                    jobs.enqueue("never", queue="nobody")
                    logging.getLogger("zjobs.again").warning("again")
                    print(record.name, record.getMessage().split()[0], flush=True)

        logging.getLogger("zjobs").addHandler(Back())
        logging.getLogger("zjobs").setLevel(logging.INFO)
        zjobs.attach_logging(jobs.telemetry)

        @jobs.worker
        def late(ctx: zjobs.JobContext) -> None:
            begun.set()
            while jobs.is_running:
                pass
            ctx.log.info("late")

        jobs.start()
        late.enqueue()
        begun.wait()
        """,
        "memory://" if kind == "memory" else f"sqlite:///{tmp_path}/jobs.db",
    )
    assert (done.stdout, done.stderr, done.returncode) == (
        "zjobs.job.late late\nzjobs event=job_completed\n",
        "",
        0,
    )
