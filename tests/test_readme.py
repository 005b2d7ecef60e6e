"""What README.md and the pages in docs/ say is run: Python blocks in order, commands against the Makefile."""

import contextlib
import io
import re
import shutil
import sys
from pathlib import Path

import psycopg
import pytest

from named_tests import NAMED, missing_tests

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?://)([^)#]+)")
_NOT_RUN = {"mermaid", "text", "sqlite"}
"""What is for SQLite, tests/engine/sqlite/time.rs runs."""
SERVER = "postgresql://app@db.example.com/app"
"""The one that the pages name."""


@pytest.fixture
def server(database_url):
    """A database of its own, with a table of an application."""
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS pages WITH (FORCE)")
        admin.execute("CREATE DATABASE pages")
    url = database_url.rsplit("/", 1)[0] + "/pages"
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE orders (id integer, booked boolean)")
    return url


def blocks(text):
    return [(language, body) for language, body in _FENCE.findall(text)]


def name(page):
    return str(page.relative_to(ROOT))


def targets():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def wrong_commands(script):
    """The lines that name neither a target of the Makefile nor a command of this environment."""
    wrong = []
    for line in script.splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] == "make":
            known = all(word in targets() or "=" in word for word in words[1:])
        else:
            known = shutil.which(words[0], path=str(Path(sys.executable).parent)) or shutil.which(words[0])
        if not known:
            wrong.append(line)
    return wrong


def run(page, server):
    """Runs a page's Python blocks as one module; a ``text`` block right after one is what that one prints.

    ``sql`` is run on the server, which is also the one that the pages name.
    """
    namespace = {"__name__": "page"}
    printed = ""
    for match in _FENCE.finditer(page.read_text("utf-8")):
        language, body = match.groups()
        body = body.replace(SERVER, server)
        if language == "sql":
            with psycopg.connect(server) as connection:
                connection.execute(body)
        elif language == "python":
            # As many empty lines as stand before it, so that a traceback names the page's own line.
            above = page.read_text("utf-8")[: match.start(2)].count("\n")
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile("\n" * above + body, name(page), "exec"), namespace)  # noqa: S102 - our own pages
            printed = out.getvalue()
        elif language == "text":
            assert printed.split() == body.split(), f"{name(page)} shows {body!r}, but it prints {printed!r}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_python_block_runs_and_prints_what_the_page_shows(page, tmp_path, monkeypatch, server):
    monkeypatch.chdir(tmp_path)  # where jobs.db is made
    run(page, server)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_is_of_a_kind_that_is_checked(page):
    assert {language for language, _ in blocks(page.read_text("utf-8"))} <= {"python", "sh", "sql"} | _NOT_RUN


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=name)
def test_every_command_exists(page):
    for language, body in blocks(page.read_text("utf-8")):
        if language == "sh":
            assert wrong_commands(body) == []


def test_a_command_that_does_not_exist_is_found():
    assert wrong_commands("make test  # fine\nmake tset\nno-such-command --help\n") == [
        "make tset",
        "no-such-command --help",
    ]


def test_every_test_that_a_guarantee_names_exists():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(NAMED.findall(text)) >= 10
    assert missing_tests(text) == []


def test_a_guarantee_without_its_test_is_found():
    assert missing_tests("`tests/test_readme.py::no_such`, `nor_this` `tests/none.py`") == [
        "tests/test_readme.py::no_such",
        "tests/test_readme.py::nor_this",
        "tests/none.py",
    ]


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("*.md"), *ROOT.glob("docs/adr/*.md")], ids=name)
def test_every_link_inside_the_repository_leads_somewhere(page):
    for target in _LINK.findall(page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{name(page)} links to {target}"
