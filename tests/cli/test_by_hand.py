"""Looking at jobs and queues, and changing them, from the shell."""

import sqlite3

import pytest

import zjobs


def test_a_job_is_enqueued_listed_shown_cancelled_retried_and_deleted(shell):
    told = shell("enqueue", "send", '{"to": "ann"}', "--queue", "mail", "--priority", "-3", "--tag", "vip", "--new")
    assert told.stdout == "job 1 is available in mail\n"
    [job] = shell.json("jobs", "list")
    assert (job["id"], job["state"], job["queue"], job["worker"]) == (1, "available", "mail", "send")
    assert (job["args"], job["priority"], job["tags"]) == ({"to": "ann"}, -3, ["vip"])
    assert "available" in shell("jobs", "list").stdout
    assert '{"to": "ann"}' in shell("jobs", "show", "1").stdout
    assert shell("jobs", "cancel", "1").stdout == "1 of 1 cancelled\n"
    assert shell.json("jobs", "show", "1")["state"] == "cancelled"
    assert shell("jobs", "retry", "1").stdout == "1 of 1 started again\n"
    assert shell("jobs", "delete", "1").stdout == "1 of 1 deleted\n"
    assert shell.json("jobs", "list") == []


def test_options_choose_jobs_and_a_cursor_goes_on(shell):
    for number in range(3):
        shell.jobs.enqueue("send", {"n": number}, queue="mail")
    shell.jobs.enqueue("other", schedule_in=60)
    assert [job["id"] for job in shell.json("jobs", "list", "--queue", "mail", "--oldest")] == [1, 2, 3]
    assert [job["id"] for job in shell.json("jobs", "list", "--state", "scheduled")] == [4]
    assert [job["id"] for job in shell.json("jobs", "list", "--limit", "2")] == [4, 3]
    assert [job["id"] for job in shell.json("jobs", "list", "--limit", "2", "--after", "3")] == [2, 1]
    assert "--after 3" in shell("jobs", "list", "--limit", "2").stdout


def test_what_destroys_says_how_many_and_needs_a_yes(shell):
    shell.jobs.enqueue_many([("send", {"n": number}) for number in range(3)])
    refused = shell("jobs", "delete", "--queue", "default")
    assert refused.returncode == 2
    assert "Delete 3 jobs?" in refused.stderr
    assert "--yes" in refused.stderr
    assert len(shell.json("jobs", "list")) == 3
    unsaid = shell("jobs", "delete")
    assert unsaid.returncode == 2
    assert "--all" in unsaid.stderr
    assert shell("jobs", "delete", "--all", "--yes").stdout == "3 of 3 deleted\n"


def test_what_is_not_there_is_exit_code_3(shell):
    shell.jobs.enqueue("send")
    for command in (("jobs", "show", "9"), ("jobs", "cancel", "9"), ("jobs", "retry", "9")):
        done = shell(*command)
        assert done.returncode == 3, command
        assert "job" in done.stderr


def test_queues_are_paused_resumed_and_scaled(shell):
    shell.jobs.enqueue("send", queue="mail")
    assert "mail is paused" in shell("queues", "pause", "mail").stdout
    shell("queues", "scale", "mail", "3")
    [queue] = shell.json("queues", "list")
    assert (queue["name"], queue["paused"], queue["concurrency"]) == ("mail", True, 3)
    assert queue["counts"]["available"] == 1
    assert "paused" in shell("queues", "list").stdout
    shell("queues", "resume", "mail")
    shell("queues", "scale", "mail", "reset")
    [queue] = shell.json("queues", "list")
    assert (queue["paused"], queue["concurrency"]) == (False, None)
    assert shell("queues", "scale", "mail", "many").returncode == 2


def test_stats_count_by_queue_and_state(shell):
    shell("migrate")
    assert "There are no jobs yet." in shell("stats").stdout
    shell.jobs.enqueue("send", queue="mail")
    shell.jobs.enqueue("send", schedule_in=60)
    stats = shell.json("stats")
    assert (stats["states"]["available"], stats["states"]["scheduled"], stats["nodes"]) == (1, 1, 0)
    assert stats["queues"]["mail"]["available"] == 1
    assert "No process works on these jobs" in shell("nodes").stdout


def test_a_schema_is_looked_at_printed_and_made(shell):
    [step] = shell.json("migrate", "--status")
    assert (step["version"], step["applied_at"]) == (1, None)
    assert "CREATE TABLE zjobs_jobs" in shell("migrate", "--sql").stdout
    assert not (shell.folder / "jobs.db").exists()
    [step] = shell.json("migrate")
    assert step["applied_at"].endswith("+00:00")
    assert shell("migrate").stdout == "Nothing to do: the schema is that of this version.\n"


def test_prune_deletes_old_completed_jobs(shell):
    shell.jobs.enqueue("send")
    assert shell("prune", "--older-than", "0", "--yes").stdout == "0 deleted\n"
    for state in ("cancelled", "cancelled", "discarded"):
        job = shell.jobs.enqueue("send")
        shell.jobs.cancel(job)
        if state == "discarded":
            with sqlite3.connect(shell.folder / "jobs.db") as connection:
                connection.execute("UPDATE zjobs_jobs SET state = 4 WHERE id = ?", [job.id])
            connection.close()
    assert shell.json("prune", "--older-than", "12h", "--state", "cancelled", "--yes") == {"deleted": 0}
    assert shell.json("prune", "--older-than", "0s", "--state", "cancelled", "--yes") == {"deleted": 2}
    assert [job["state"] for job in shell.json("jobs", "list")] == ["discarded", "available"]
    wrong = shell("prune", "--older-than", "soon")
    assert wrong.returncode == 2
    assert "such as 90s, 30m, 12h or 7d" in " ".join(wrong.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    "command", [("stats",), ("jobs", "list"), ("jobs", "cancel", "--all"), ("queues", "list"), ("nodes",), ("prune",)]
)
def test_a_mistyped_store_is_told_and_not_made(shell, command):
    done = shell(*command)
    assert done.returncode == 1
    assert "there is no file" in done.stderr
    assert "zjobs migrate" in done.stderr
    assert not (shell.folder / "jobs.db").exists()


def test_only_jobs_that_can_be_changed_are_counted_and_changed(shell):
    first, second, _ = shell.jobs.enqueue_many([("send", {"n": number}) for number in range(3)])
    shell.jobs.cancel_many(ids=[first.id, second.id])
    assert shell.json("jobs", "cancel", "--all", "--yes") == {"cancelled": 1, "asked_to_stop": 0}
    assert shell("jobs", "retry", "--queue", "default", "--yes").stdout == "3 of 3 started again\n"
    final = shell("jobs", "cancel", "--state", "completed")
    assert final.returncode == 2
    assert "no job of that state can be cancelled" in " ".join(final.stderr.replace("│", " ").split())


def test_a_queue_that_nobody_knows_is_exit_code_3_unless_it_is_new(shell):
    shell.jobs.enqueue("send", queue="mail")
    for command in (("queues", "pause", "mial"), ("queues", "resume", "mial"), ("queues", "scale", "mial", "3")):
        done = shell(*command)
        assert done.returncode == 3, command
        assert "there is mail" in done.stderr
    assert shell("queues", "pause", "later", "--new").returncode == 0


def test_a_job_is_enqueued_with_all_that_it_may_have(shell):
    told = shell(
        *("enqueue", "send", "{}", "--at", "2030-01-01T00:00:00+00:00", "--timeout", "30m", "--meta", '{"by": "me"}'),
        *("--unique-key", "k", "--max-attempts", "3", "--new"),
    )
    assert told.stdout == "job 1 is scheduled in default\n"
    [job] = shell.json("jobs", "list")
    assert (job["scheduled_at"], job["timeout_seconds"], job["meta"]) == (
        "2030-01-01T00:00:00+00:00",
        1800,
        {"by": "me"},
    )
    assert "nothing added: job 1 is scheduled" in shell("enqueue", "send", "--unique-key", "k").stdout
    assert shell("enqueue", "send", "--unique-key", "k", "--replace", "--in", "1h").stdout.startswith("job 2")
    assert shell.json("jobs", "show", "1")["state"] == "cancelled"
    assert shell("enqueue", "send", "--replace").returncode == 2


def test_jobs_are_enqueued_from_lines_all_or_none(shell):
    done = shell("enqueue", "send", "-", "--queue", "mail", "--new", answer='{"n": 1}\n\n{"n": 2}\n')
    assert done.stdout == "2 enqueued of 2\n"
    assert [(job["args"], job["queue"]) for job in shell.json("jobs", "list")] == [
        ({"n": 2}, "mail"),
        ({"n": 1}, "mail"),
    ]
    wrong = shell("enqueue", "send", "-", answer='{"n": 3}\n{\n')
    assert (wrong.returncode, "line 2" in wrong.stderr) == (2, True)
    assert len(shell.json("jobs", "list")) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("stats",), "say which store"),
        (("stats", "--store", "memory://"), "memory of one process"),
        (("stats", "--app", "nowhere:jobs"), "there is no module 'nowhere'"),
        (("stats", "--app", "nowhere"), "must be module:name"),
        (("stats", "--app", "json:dumps"), "is a function, no Supervisor"),
        (("stats", "--store", "redis://x"), "there is no store for"),
        (("enqueue", "send", "{"), "must be JSON"),
        (("enqueue", "send", "[" * 100_000), "must be JSON"),
        (("enqueue", "send", "--at", "0001-01-01"), "give an offset"),
    ],
)
def test_what_cannot_be_meant_is_exit_code_2_and_says_what_to_do(shell, arguments, message):
    done = shell(*arguments, store=arguments[0] == "enqueue")
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_the_store_comes_from_the_environment_and_no_password_is_told(shell, monkeypatch):
    shell("migrate")
    monkeypatch.setenv("ZJOBS_STORE", shell.url)
    assert shell("stats", store=False).returncode == 0
    monkeypatch.delenv("ZJOBS_STORE")
    done = shell("stats", "--store", "postgresql://me:hunter2@127.0.0.1:9/db", store=False)
    assert done.returncode == 1
    assert "ZJOBS_STORE" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_nothing_that_is_stored_reaches_a_terminal_as_a_command(shell):
    shell.jobs.enqueue("send", {"x": "\x1b]0;mine\x07"}, tags=("a",))
    for command in (("jobs", "list"), ("jobs", "show", "1")):
        assert "\x1b" not in shell(*command).stdout


def test_a_job_with_damaged_arguments_is_still_shown(shell):
    shell.jobs.enqueue("send")
    with sqlite3.connect(shell.folder / "jobs.db") as connection:
        connection.execute("UPDATE zjobs_jobs SET args = '{'")
    connection.close()
    assert shell.json("jobs", "show", "1")["args"] == "{"
    assert isinstance(shell.jobs.get(1), zjobs.Job)
