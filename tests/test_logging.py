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
    def __init__(self, app, kind):
        super().__init__()
        self.app = app
        self.kind = kind

    def emit(self, record):
        if self.kind == "enqueues":
            self.app.enqueue("again")
            logging.getLogger("zjobs").warning("and logs")
        else:
            raise SystemExit


@pytest.mark.parametrize("kind", ["raises", "enqueues"])
def test_a_logging_handler_that_misbehaves_harms_no_job(kind, jobs):
    app = jobs()

    @app.worker
    def act() -> None:
        pass

    attach_logging(app.telemetry)
    log = logging.getLogger("zjobs")
    hostile = Hostile(app, kind)
    log.addHandler(hostile)
    before = log.level
    log.setLevel(logging.INFO)
    try:
        with app:
            job = act.enqueue()
            assert app.wait(job, 30).state is JobState.COMPLETED
    finally:
        log.removeHandler(hostile)
        log.setLevel(before)
