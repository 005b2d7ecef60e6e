"""What is secret stays where it was put: passwords of a store, arguments of a job (I-38)."""

import logging
import os
import subprocess
import sys

import pytest

import zjobs
from zjobs import JobContext, Supervisor, attach_logging

CANARY = "hunter2-canary"


@pytest.fixture
def said(caplog, capfd):
    """All that has come out of this process: lines of logs with what hangs on them, and what was printed."""
    caplog.set_level(logging.DEBUG)

    def all_of_it():
        lines = [caplog.text, *(repr(vars(record)) for record in caplog.records)]
        return "\n".join([*lines, *capfd.readouterr()])

    return all_of_it


def test_arguments_are_in_no_log_event_error_or_repr_unless_a_handler_says_them(jobs, said):
    app = jobs(queues={"default": 1}, node="n")
    told = []

    @app.worker(retry_strategy=lambda attempt, _: 0.0 if attempt < 2 else None)
    def send(to: str, password: str, ctx: JobContext) -> None:
        told.append(repr(ctx))
        ctx.log.info("sending")
        secret = password  # noqa: F841 - a local variable of a frame in the traceback
        if ctx.attempt == 2:
            raise zjobs.Discard("no")
        raise ValueError("the server said no")

    attach_logging(app.telemetry)
    app.telemetry.attach(lambda event: told.append(repr(event)))
    entry = send.job(to="ann", password=CANARY)
    told += [repr(entry), str(entry)]
    secret = {"password": CANARY, "to": "ann"}
    for bad in (
        lambda: app.enqueue("send", secret | {"cc": CANARY}),
        lambda: app.enqueue("send", secret | {"to": 5}),
        lambda: app.enqueue("other", secret, priority="high"),
        lambda: send.enqueue(to=5, password=CANARY),
    ):
        with pytest.raises(zjobs.Invalid) as error:
            bad()
        told += [str(error.value), repr(error.value)]
    with app:
        many = app.enqueue_many([entry, ("unknown", secret)])
        ended = app.wait(many[0], 30)
        told += [repr(ended), str(ended), repr(many), repr(app.list()), repr(app.nodes()), repr(app), repr(app.store)]
        told += [repr(app.queue_list()), repr(app.telemetry)]
    assert [error.kind for error in ended.errors] == ["ValueError", "Discard"]
    told += [repr(error) + error.traceback for error in ended.errors]
    assert CANARY not in "\n".join(told)
    assert CANARY not in said()


def test_a_password_of_a_store_is_in_no_log_error_or_repr(database_url, schema, said, tmp_path):
    url = database_url.replace("postgres@", f"postgres:{CANARY}@") + f"?schema={schema}"
    app = Supervisor(url)
    attach_logging(app.telemetry)
    told = []
    app.telemetry.attach(lambda event: told.append(repr(event)))

    @app.worker
    def act() -> None:
        pass

    with app:
        app.wait(act.enqueue(), 30)
        told += [repr(app), str(app), repr(app.store), repr(app.nodes()), *os.environ.values()]
    told += [repr(vars(app)), repr(app.store.place)]
    for wrong in (
        f"postgresql://ann:{CANARY}@127.0.0.1:9/app",
        f"postgresql://ann:{CANARY}@127.0.0.1:9/app?sslmode=nonsense",
        f"postgresql://ann:{CANARY}@127.0.0.1:port/app",
        f"postgres://ann:{CANARY}@",
        f"postgresql://127.0.0.1:9/app?user=ann&password={CANARY}",
        f"host=127.0.0.1 password={CANARY}",
        f"mysql://ann:{CANARY}@127.0.0.1/app",
        f"sqlite://ann:{CANARY}@/x.db",
    ):
        with pytest.raises((zjobs.Error, ValueError)) as error:
            Supervisor(wrong)
        told += [str(error.value), repr(error.value), *map(str, (error.value.__cause__, error.value.__context__))]
    assert CANARY not in "\n".join(told)
    assert CANARY not in said()
    # The same from the command line, where errors end in the terminal.
    for command in (["stats"], ["jobs", "list"], ["migrate", "--status"], ["nodes"]):
        done = subprocess.run(
            [sys.executable, "-m", "zjobs", *command, "--store", f"postgresql://ann:{CANARY}@127.0.0.1:9/app"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=tmp_path,
        )
        assert done.returncode == 1
        assert CANARY not in done.stdout + done.stderr
