"""`tools/audit.py` and `tools/check_sbom.py`: what the project is made of."""

import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
COMMIT = "9c091bb21b7c1c1d1991bb908d89e4e9dddfe3e0"


def load(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


check_sbom = load("check_sbom")
audit = load("audit")


def test_what_needs_no_network_passes(capsys):
    assert audit.main(["--short"]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("proved: ")
    for name in ("reasons and bounds", "bundled SQLite (3.", "each pinned", "licences of the project"):
        assert name in last


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"- uses: actions/checkout@{COMMIT} # v7.0.0", audit.Status.PASSED),
        (f"  uses: a/b/sub@{COMMIT} # v1", audit.Status.PASSED),
        ("- uses: actions/checkout@v7", audit.Status.FAILED),
        (f"- uses: actions/checkout@{COMMIT}", audit.Status.FAILED),
        (f"- uses: actions/checkout@{COMMIT[:-1]} # v7", audit.Status.FAILED),
        ("- run: nothing is used", audit.Status.FAILED),
    ],
)
def test_an_action_that_somebody_could_move_is_found(tmp_path, line, status):
    (tmp_path / "ci.yml").write_text(f"steps:\n      {line}\n", "utf-8")
    assert audit.actions(tmp_path).status is status


@pytest.mark.parametrize(
    ("version", "status"),
    [("3.51.3", "PASSED"), ("3.54.1", "PASSED"), ("4.0.0", "PASSED"), ("3.51.2", "FAILED"), ("3.9.99", "FAILED")],
)
def test_an_old_sqlite_is_found(version, status):
    assert audit.sqlite_version("", f'#define SQLITE_VERSION        "{version}"\n').status.name == status


def test_the_day_of_the_advisories_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("CARGO_HOME", str(tmp_path))
    assert audit.newest_database() == "a database without a date"
    base = tmp_path / "advisory-dbs/advisory-db-1"
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "init", "--quiet", base], check=True)
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-08-21T12:00:00")
    subprocess.run(["git", "-C", base, *who, "commit", "--quiet", "--allow-empty", "-m", "x"], check=True)
    assert audit.newest_database() == "the database of 2026-08-21"


def test_a_package_that_was_skipped_was_not_audited_and_a_weak_one_fails():
    fine = {"name": "a", "version": "1", "vulns": []}
    skipped = {"name": "b", "skip_reason": "not found"}
    weak = {"name": "c", "version": "2", "vulns": [{"id": "X-1"}]}
    assert audit.judged("", [fine]).status is audit.Status.PASSED
    assert audit.judged("", [fine, skipped]).status is audit.Status.NOT_RUN
    assert audit.judged("", []).status is audit.Status.NOT_RUN
    assert audit.judged("", [fine, skipped, weak]).status is audit.Status.FAILED


def test_what_did_not_run_is_named_and_fails_when_asked_strictly(capsys):
    found = [audit.Found("one", audit.Status.PASSED, "fine"), audit.Found("two", audit.Status.NOT_RUN, "no network")]
    assert audit.verdict(found, strict=False) == 0
    assert capsys.readouterr().out == "proved: one (fine). Did not run: two\n"
    assert audit.verdict(found, strict=True) == 1
    assert audit.verdict([*found, audit.Found("three", audit.Status.FAILED, "")], strict=False) == 1


LINKED = {("zjobs-bindings", "0.1.0"), ("libsqlite3-sys", "0.40.0")}
LOCKED = LINKED | {("memchr", "2.7.0")}


def wheel(
    folder, *components, licences=("LICENSE-MIT", "LICENSE-APACHE"), kind="CycloneDX", name="zjobs.cyclonedx.json"
):
    path = folder / "zjobs.whl"
    bill = {"bomFormat": kind, "components": list(components)}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"zjobs-1.dist-info/sboms/{name}", json.dumps(bill))
        for licence in licences:
            archive.writestr(f"zjobs-1.dist-info/licenses/{licence}", "text")
    return path


def crate(name, version, licence="MIT"):
    return {"name": name, "version": version, "licenses": [{"expression": licence}] if licence else []}


OURS, SQLITE = crate("zjobs-bindings", "0.1.0"), crate("libsqlite3-sys", "0.40.0")


def test_a_whole_bill_passes(tmp_path):
    assert check_sbom.problems(wheel(tmp_path, OURS, SQLITE), LINKED, LOCKED) == []


@pytest.mark.parametrize(
    ("components", "options", "words"),
    [
        ([OURS], {}, "libsqlite3-sys 0.40.0 is linked, but not named"),
        ([OURS], {}, "the bundled SQLite is not named"),
        ([OURS, SQLITE, crate("serde", "1.0.0")], {}, "serde 1.0.0 is named, but not in Cargo.lock"),
        ([OURS, SQLITE, crate("memchr", "2.7.0", None)], {}, "memchr 2.7.0 has no licence"),
        ([OURS, SQLITE], {"licences": ["LICENSE-MIT"]}, "LICENSE-APACHE is missing"),
        ([OURS, SQLITE], {"name": "readme.txt"}, "no bill of materials"),
        ([OURS, SQLITE], {"kind": "SPDX"}, "is not CycloneDX"),
    ],
)
def test_what_a_bill_lacks_is_told(tmp_path, components, options, words):
    assert words in "\n".join(check_sbom.problems(wheel(tmp_path, *components, **options), LINKED, LOCKED))


def test_cargo_says_what_is_linked():
    crates = check_sbom.linked()
    assert ("zjobs-bindings" in {name for name, _ in crates}, crates <= check_sbom.locked()) == (True, True)
    assert len(crates) > 50
    assert check_sbom.main([]) == 1
