"""`zjobs enqueue`: from a line, from lines, into a database that is there."""

APP = """
import zjobs
jobs = zjobs.Supervisor("sqlite:///jobs.db")

@jobs.worker
def send(to: str) -> None: ...
"""


def test_a_mistyped_database_is_not_made_unless_a_new_one_is_asked_for(shell):
    for command in (("enqueue", "send"), ("enqueue", "send", "-")):
        done = shell(*command, answer="{}\n")
        assert done.returncode == 1
        assert "there is no file" in done.stderr
        assert list(shell.folder.iterdir()) == []
    assert shell("enqueue", "send", "--new").stdout == "job 1 is available in default\n"
    assert shell("enqueue", "send").stdout == "job 2 is available in default\n"


def test_an_error_names_the_line_as_an_editor_counts_it(shell):
    shell("migrate")
    (shell.folder / "app.py").write_text(APP)
    for wrong, reason in (("{", "must be JSON"), ('{"to": 5}', "Expected `str`, got `int`"), ("[1]", "must be a dict")):
        done = shell("enqueue", "send", "-", "--app", "app:jobs", store=False, answer=f'{{"to": "a"}}\n\n\n{wrong}\n')
        told = " ".join(done.stderr.replace("│", " ").split())
        assert (done.returncode, "line 4" in told, reason in told) == (2, True, True), done.stderr
    assert shell.jobs.count() == 0


def test_a_bad_meta_is_not_called_the_arguments(shell):
    shell("migrate")
    done = shell("enqueue", "send", "--meta", "{")
    told = " ".join(done.stderr.replace("│", " ").split())
    assert (done.returncode, "--meta" in told, "the arguments" in told) == (2, True, False), told
