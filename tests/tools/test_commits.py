"""`tools/commits.py`: which code lies here, whether it changed meanwhile, and how old a result is."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
SPEC = importlib.util.spec_from_file_location("commits", TOOLS / "commits.py")
commits = importlib.util.module_from_spec(SPEC)
sys.modules.setdefault("commits", commits)
SPEC.loader.exec_module(commits)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """An empty repository, and what makes a commit in it of files with a text each."""
    monkeypatch.setattr(commits, "ROOT", tmp_path)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "nobody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "nobody@example.com")
    git(tmp_path, "init", "--quiet")

    def commit(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        git(tmp_path, "add", "--all")
        git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "one thought")
        return commits.here()

    commit.folder = tmp_path
    return commit


def git(folder, *words):
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def test_a_file_that_differs_from_its_commit_marks_the_name_and_what_evidence_writes_does_not(clone):
    name = clone(rust__src__state_rs="one")
    assert not name.endswith("-dirty")
    (clone.folder / "docs").mkdir()
    (clone.folder / "docs" / "evidence.json").write_text("{}", "utf-8")
    assert commits.here() == name
    (clone.folder / "new.rs").write_text("two", "utf-8")
    assert commits.here() == f"{name}-dirty"


def test_commits_are_the_same_code_when_nothing_but_the_evidence_differs(clone):
    first = clone(rust__src__state_rs="one")
    told = clone(docs__evidence_md="shown")
    changed = clone(tests__test_py="two")
    assert commits.same(first, first)
    assert commits.same(first, told)
    assert not commits.same(told, changed)
    assert not commits.same(first, f"{first}-dirty")
    assert not commits.same(f"{first}-dirty", f"{first}-dirty")
    assert not commits.same(first, "0123456")
    assert commits.same("unknown", "unknown")


def test_the_age_of_a_commit_is_in_files_of_the_wheel_up_to_the_newest_that_was_asked_about(clone):
    old = clone(rust__src__state_rs="one", rust__src__job_rs="one", tests__test_py="one")
    middle = clone(rust__src__state_rs="two", python__zjobs__job_py="one", tests__test_py="two")
    new = clone(rust__vfs__src__lib_rs="one")
    later = clone(rust__src__state_rs="three", rust__src__job_rs="three")
    ages = commits.ages([new, old, middle, "0123456", f"{old}-dirty", "unknown"])
    assert ages == commits.Ages(new, {old: 3, middle: 1, new: 0})
    assert commits.ages([old]) == commits.Ages(old, {old: 0})
    assert commits.ages([later, old]).changed[old] == 4


def test_without_git_and_without_a_commit_nothing_is_known_and_nothing_fails(tmp_path, monkeypatch, clone):
    name = clone(rust__src__state_rs="one")
    assert commits.ages(["0123456", "unknown"]) == commits.Ages(None, {})
    assert commits.ages([]) == commits.Ages(None, {})
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert commits.here() == "unknown"
    assert commits.ages([name]) == commits.Ages(None, {})
    assert commits.changed(name, name) is None


def test_all_that_cargo_builds_into_the_wheel_counts_as_shipped():
    def cargo(*words):
        command = ["cargo", *words, "--locked"]
        return subprocess.run(command, cwd=TOOLS.parent, check=True, capture_output=True, text=True).stdout

    linked = cargo("tree", "--package", "zjobs-bindings", "--edges", "normal", "--prefix", "none", "--format", "{p}")
    names = {line.split()[0] for line in linked.splitlines() if line}
    packages = json.loads(cargo("metadata", "--no-deps", "--format-version", "1"))["packages"]
    kinds = {"lib", "cdylib"}
    paths = [
        str(Path(target["src_path"]).relative_to(TOOLS.parent))
        for package in packages
        if package["name"] in names
        for target in package["targets"]
        if kinds & set(target["kind"])
    ]
    assert len(paths) >= 3
    assert [path for path in paths if not path.startswith(tuple(f"{one}/" for one in commits.SHIPPED))] == []
    assert [one for one in commits.SHIPPED if not (TOOLS.parent / one).exists()] == []
