"""A copy of the sources follows them: what changed, what came, and what is gone."""

import importlib.util
import subprocess
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "sources.py"


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """The tool, at work on a repository of two files."""
    spec = importlib.util.spec_from_file_location("sources", TOOL)
    sources = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sources)
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", root], check=True)
    (root / ".gitignore").write_text("built\n", "utf-8")
    (root / "in" / "old").write_text("old", "utf-8")
    (root / "kept").write_text("first", "utf-8")
    (root / "built").write_text("large", "utf-8")
    monkeypatch.setattr(sources, "ROOT", root)
    return sources


def files(place):
    return {str(file.relative_to(place)) for file in place.rglob("*") if file.is_file()}


def test_what_git_ignores_is_not_copied_and_what_was_built_in_the_copy_stays(sources, tmp_path):
    place = tmp_path / "copy"
    sources.copy_sources(place)
    assert files(place) == {".gitignore", "in/old", "kept", sources.COPIED}
    (place / "built").write_text("there", "utf-8")
    sources.copy_sources(place)
    assert (place / "built").read_text("utf-8") == "there"


def test_what_is_gone_goes_and_what_changed_or_came_is_there(sources, tmp_path):
    place = tmp_path / "copy"
    sources.copy_sources(place)
    (sources.ROOT / "in" / "old").unlink()
    (sources.ROOT / "new").write_text("new", "utf-8")
    (sources.ROOT / "kept").write_text("second", "utf-8")
    sources.copy_sources(place)
    assert files(place) == {".gitignore", "kept", "new", sources.COPIED}
    assert (place / "kept").read_text("utf-8") == "second"
