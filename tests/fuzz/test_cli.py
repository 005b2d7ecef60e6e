"""The command line: whatever is typed ends with a documented exit code and a text that a terminal can show (S-11)."""

import io
import json
import os
import re
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from unittest import mock

import typer
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz import assert_shown, short
from zjobs import SqliteStore, Supervisor
from zjobs.cli import main
from zjobs.cli.read import decoded, duration, final_state, moment

# No surrogates: an argument comes from the system, which has bytes that are no UTF-8 as surrogates, but no NUL.
ANY = st.one_of(st.text(max_size=12), st.text(st.sampled_from("\x1b[]31m\r\n\t\x07\u202e;'\"\\{}é"), max_size=8)).map(
    lambda text: text.replace("\0", "")
)
NUMBER = st.one_of(st.integers(-2, 12), st.integers(), st.floats()).map(str)
TIME = st.one_of(NUMBER, st.datetimes().map(str), st.tuples(NUMBER, st.sampled_from("smhdw")).map("".join))
VALUE = st.one_of(ANY, NUMBER, TIME, st.sampled_from(["default", "{}", "[1]", '{"a": 1}', "completed", "available"]))
OPTIONS = [
    "--queue", "--worker", "--tag", "--state", "--after", "--limit", "--oldest", "--json", "--yes", "--all",
    "--priority", "--max-attempts", "--in", "--at", "--timeout", "--unique-key", "--replace", "--meta",
    "--older-than", "--status", "--sql", "--help", "--version", "-q", "-n", "-t", "--",
]  # fmt: skip
# Not `run` and `demo`, which do real work for as long as they may.
COMMANDS = [
    ["enqueue"], ["jobs", "list"], ["jobs", "show"], ["jobs", "cancel"], ["jobs", "retry"], ["jobs", "delete"],
    ["queues", "list"], ["queues", "pause"], ["queues", "resume"], ["queues", "scale"], ["stats"], ["nodes"],
    ["migrate"], ["prune"], [],
]  # fmt: skip
WORD = st.one_of(VALUE, VALUE, st.sampled_from(OPTIONS))
PAIR = st.tuples(st.sampled_from(OPTIONS), VALUE).map(list)
LINE = st.lists(st.one_of(PAIR, WORD.map(lambda word: [word])), max_size=5).map(lambda parts: list(chain(*parts)))
FOLDER = Path(tempfile.mkdtemp(prefix="zjobs-fuzz-"))
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def store():
    """A file with a job or two, made once: what a command changes stays changed."""
    path = FOLDER / "jobs.db"
    if not path.exists():
        jobs = Supervisor(SqliteStore(path))
        jobs.enqueue("mail", {"to": "\x1b]0;title\x07"}, tags=("t",), unique_key="k")
        jobs.enqueue("mail", None, queue="other")
    return f"sqlite:///{path}"


def run(arguments, typed=""):
    """The exit code, and what was printed; an exception that is none of these is a finding."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["zjobs", *arguments]),
        mock.patch.object(sys, "stdin", io.StringIO(typed)),
        mock.patch.dict(os.environ, {"ZJOBS_STORE": store(), "TERM": "dumb", "NO_COLOR": "1"}),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            return end.code or 0, out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


@short(250)
@given(st.sampled_from(COMMANDS), LINE, ANY)
@example(["enqueue"], ["mail", "[" * 100_000], "")
@example(["enqueue"], ["mail", "1" * 5_000], "")
@example(["enqueue"], ["mail", "-"], "[" * 100_000)
@example(["enqueue"], ["mail", "--at", "0001-01-01"], "")
@example(["enqueue"], ["mail", "--at", "9999-12-31T23:59:59-12:00"], "")
@example(["enqueue"], ["mail", "--priority", "99999999999999999999"], "")
@example(["enqueue"], ["mail", '{"a": "\\ud800"}'], "")
@example(["enqueue"], ["mail", "--in", "9" * 400 + "d"], "")
@example(["jobs", "list"], ["--after", "99999999999999999999"], "")
@example(["jobs", "show"], ["99999999999999999999"], "")
@example(["jobs", "cancel"], ["--", "-99999999999999999999"], "")
@example(["jobs", "list"], ["--queue", "\x1b]0;x\x07"], "")
@example(["jobs", "list"], ["--state", "\x1b]0;x\x07"], "")
@example(["queues", "scale"], ["default", "99999999999999999999"], "")
@example(["prune"], ["--older-than", "999999999d", "--yes"], "")
@example(["stats"], ["--store", "sqlite:///a\tb/\x1b[31m"], "")
def test_whatever_is_typed_ends_with_a_code_and_a_text(command, line, typed):
    code, out, err = run([*command, *line], typed)
    assert code in {0, 1, 2, 3}, (code, err)
    assert "Traceback" not in err
    if code:
        assert out + err, "it failed without a word"
    # Typer repeats a word that fits nowhere as it was typed, to whoever typed it; that is wrong usage.
    for text in (out, err) if code != 2 else ():
        left = COLOUR.sub("", text)
        assert not any(c in left for c in "\x1b\x07\x9b\u202e"), ascii(left)
    if "--json" in line and code == 0 and "--help" not in line and "--version" not in line and out.strip():
        json.loads(out)


@short(400)
@given(st.one_of(TIME, ANY, st.text()))
@example("0001-01-01")
@example("9999-12-31")
@example("10000-01-01")
@example("1e5d")
@example("٣d")
@example("[" * 100_000)
def test_each_word_is_a_value_or_is_refused(word):
    for read, kind in ((duration, timedelta), (moment, datetime), (final_state, object), (as_json, object)):
        try:
            found = read(word)
        except typer.BadParameter as error:
            assert_shown(str(error)) if len(str(error)) < 5_000 else None
            continue
        assert isinstance(found, kind)
        if kind is datetime:
            assert found.tzinfo is not None
        if kind is timedelta:
            assert found >= timedelta(0)


def as_json(word):
    return decoded(word, "JSON")
