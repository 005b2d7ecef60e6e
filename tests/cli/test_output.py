"""What commands print: all that people look for, in whole lines, in every encoding and width."""

import json

import zjobs
from zjobs import JobState


def test_a_result_that_was_kept_is_shown(shell):
    app = zjobs.Supervisor(shell.url)

    @app.worker(keep_result=True)
    def answer(value: object) -> object:
        return value

    for value in ({"n": [1, "two"]}, False, [], None):
        answer.enqueue(value)
    app.drain()
    assert [job["result"] for job in shell.json("jobs", "list", "--oldest")] == [{"n": [1, "two"]}, False, [], None]
    assert '  result          {"n": [1, "two"]}\n' in shell("jobs", "show", "1").stdout
    assert "  result          false\n" in shell("jobs", "show", "2").stdout
    assert "  result          []\n" in shell("jobs", "show", "3").stdout
    assert "result" not in shell("jobs", "show", "4").stdout


def test_tools_see_whether_a_job_was_inserted(shell):
    shell("migrate")
    command = ("enqueue", "send", "--unique-key", "k")
    assert [shell.json(*command)["conflict"] for _ in range(2)] == [False, True]


def test_no_line_of_a_job_is_broken_in_a_pipe(shell):
    shell.jobs.enqueue("send", {"text": "word " * 60}, meta={"k": "v" * 200})
    lines = shell("jobs", "show", "1").stdout.splitlines()
    assert [line for line in lines if line.startswith("  args")] == [
        f"  args            {json.dumps({'text': 'word ' * 60})}"
    ]
    assert [line for line in lines if line.startswith("  meta")] == [
        f"  meta            {json.dumps({'k': 'v' * 200})}"
    ]


def test_names_of_queues_and_states_are_whole_on_a_narrow_terminal(shell, monkeypatch):
    jobs = shell.jobs
    jobs.enqueue("send")
    jobs.enqueue("send", queue="newsletter.weekly", schedule_in=60)
    jobs.cancel(jobs.enqueue("send"))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")
    for command in (("queues", "list"), ("stats",)):
        words = shell(*command).stdout.split()
        assert {"default", "newsletter.weekly", "available", "scheduled", "cancelled"} <= set(words), command
        assert "discarded" not in words, "a column of zeros takes the room of others"
    # Each state is in use: headings may be broken, and what the row is about may not.
    app = zjobs.Supervisor(shell.url)
    app.register_worker(zjobs.WorkerDef("ends", lambda args: zjobs.Discard("why") if args else None))
    app.register_worker(zjobs.WorkerDef("fails", lambda args: 1 / 0))
    app.enqueue_many([("ends", 0), ("ends", 1), ("fails", None)])
    app.drain()
    app.enqueue("send")
    assert sum(number > 0 for number in app.count_by_state().values()) == len(JobState) - 1
    for command in (("queues", "list"), ("stats",)):
        assert {"default", "newsletter.weekly"} <= set(shell(*command).stdout.split()), command


def test_a_document_holds_nothing_that_a_terminal_could_take_for_a_command(shell):
    shell.jobs.enqueue("send", {"x": "\x9b31m \u202e é"})
    out = shell("jobs", "list", "--json").stdout
    assert out.isascii()
    assert json.loads(out)[0]["args"] == {"x": "\x9b31m \u202e é"}


def test_letters_that_the_encoding_has_not_are_escaped(shell, monkeypatch):
    app = zjobs.Supervisor(shell.url)

    @app.worker(max_attempts=1)
    def fails() -> None:
        raise ValueError("失敗 é")

    fails.enqueue()
    app.drain()
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    for command in (("jobs", "list"), ("jobs", "show", "1")):
        done = shell(*command, encoding="latin-1")
        assert (done.returncode, done.stderr) == (0, "")
        assert r"\u5931\u6557 é" in done.stdout


def test_sql_is_not_given_out_as_json(shell):
    done = shell("migrate", "--sql", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--status" in done.stderr
