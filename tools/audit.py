"""Audit what the project is made of: crates, Python packages, the bundled SQLite, the actions of the workflows.

Each check passes, fails, or says plainly that it did not run, since some ask databases that are not within reach
everywhere. With --strict a check that did not run has failed; with --short only those run that need no network.

Usage: python tools/audit.py [--short] [--strict] [WHEEL...]
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import check_sbom

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = check_sbom.ROOT
OLDEST_SQLITE = (3, 51, 3)
_PATIENCE = 300


class Status(Enum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "FAILED"
    NOT_RUN = "did not run"


class Found(NamedTuple):
    """What a check found."""

    name: str
    status: Status
    text: str


def crates() -> Found:
    """Duplicates, licences and sources of the crates, by deny.toml."""
    name = "crates: bans, licences, sources"
    if shutil.which("cargo-deny") is None:
        return Found(name, Status.NOT_RUN, "cargo-deny is not installed: cargo install cargo-deny --locked")
    # Also those of other systems, which no build here has needed.
    fetched = _run(["cargo", "fetch", "--locked", "--quiet"])
    if fetched.returncode:
        return Found(name, Status.NOT_RUN, f"the crates could not be fetched: {fetched.stderr.strip()}")
    done = _run(["cargo", "deny", "--offline", "--log-level", "error", "check", "bans", "licenses", "sources"])
    if done.returncode:
        return Found(name, Status.FAILED, done.stdout + done.stderr)
    return Found(name, Status.PASSED, f"{len(check_sbom.locked())} crates of Cargo.lock keep to deny.toml")


def crate_advisories() -> Found:
    """Known weaknesses of the crates, and versions that were taken back."""
    name = "crates: advisories"
    if shutil.which("cargo-deny") is None:
        return Found(name, Status.NOT_RUN, "cargo-deny is not installed: cargo install cargo-deny --locked")
    done = _run(["cargo", "deny", "check", "advisories"])
    text = done.stdout + done.stderr
    if "failed to fetch advisory database" in text:
        way_out = "`git config --global url.COPY.insteadOf https://github.com/RustSec/advisory-db` names a copy of it"
        return Found(name, Status.NOT_RUN, f"the advisory database could not be fetched; {way_out}")
    if done.returncode:
        return Found(name, Status.FAILED, text)
    return Found(name, Status.PASSED, f"no crate has a known weakness, by {newest_database()}")


def newest_database() -> str:
    """Which state of the advisories cargo-deny has read: it may have come from a copy that is behind."""
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    found = (home / "advisory-dbs").glob("advisory-db-*")
    days = [_run(["git", "-C", str(one), "log", "-1", "--format=%cs"]).stdout.strip() for one in found]
    return f"the database of {max(days)}" if any(days) else "a database without a date"


def package_advisories() -> Found:
    """Known weaknesses of the Python packages that are installed here: those of users, and those of developers."""
    name = "Python packages: advisories"
    done = _run([sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--format", "json"])
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return Found(name, Status.NOT_RUN, f"pip-audit gave no answer: {done.stderr.strip()[-300:]}")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    missing = {re.split(r"[<>=]", wanted)[0] for wanted in project["dependencies"]} - {one["name"] for one in packages}
    if missing:
        return Found(name, Status.NOT_RUN, f"{', '.join(sorted(missing))} is not installed here: make dev")
    return judged(name, [one for one in packages if one["name"] != project["name"]])


def judged(name: str, packages: list[dict[str, object]]) -> Found:
    """What pip-audit's list means. A package that it skipped was not audited."""
    weak = [f"{one['name']} {one['version']}: {one['vulns']}" for one in packages if one.get("vulns")]
    skipped = [one for one in packages if "skip_reason" in one]
    if weak:
        return Found(name, Status.FAILED, "\n".join(weak))
    if skipped or not packages:
        reason = skipped[0]["skip_reason"] if skipped else "no package was found"
        return Found(name, Status.NOT_RUN, f"{len(skipped)} of {len(packages)} packages were not audited: {reason}")
    return Found(name, Status.PASSED, f"no known weakness in {len(packages)} packages")


def required() -> Found:
    """Each required dependency of users has a reason beside it and an upper bound."""
    name = "Python packages: reasons and bounds"
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    lines = text.split("\ndependencies = [\n")[1].split("\n]")[0].splitlines()
    wrong = [line.strip() for line in lines if not re.fullmatch(r'\s*"[\w-]+>=[\d.]+,<\d+",\s+# .{10,}', line)]
    count = len(tomllib.loads(text)["project"]["dependencies"])
    if wrong or count != len(lines):
        return Found(name, Status.FAILED, f"without a reason or a bound: {wrong}")
    return Found(name, Status.PASSED, f"{count} required packages, each with a reason and a bound")


def sqlite() -> Found:
    """The SQLite that is compiled into the wheel has the repair of the WAL reset race."""
    name = "bundled SQLite"
    done = _run(["cargo", "metadata", "--locked", "--format-version", "1"])
    if done.returncode:
        return Found(name, Status.FAILED, done.stderr)
    packages = json.loads(done.stdout)["packages"]
    (folder,) = [Path(one["manifest_path"]).parent for one in packages if one["name"] == "libsqlite3-sys"]
    return sqlite_version(name, (folder / "sqlite3" / "sqlite3.h").read_text("utf-8"))


def sqlite_version(name: str, header: str) -> Found:
    """Whether a header is of a new enough SQLite."""
    match = re.search(r'#define SQLITE_VERSION\s+"([\d.]+)"', header)
    version = match.group(1) if match else "0"
    new_enough = tuple(int(part) for part in version.split(".")) >= OLDEST_SQLITE
    wanted = ".".join(map(str, OLDEST_SQLITE))
    return Found(name, Status.PASSED if new_enough else Status.FAILED, f"{version}; {wanted} or newer is needed")


def actions(folder: Path = ROOT / ".github" / "workflows") -> Found:
    """Each action of the workflows is named by a commit, which nobody can move, with its version beside it."""
    name = "actions of the workflows"
    uses = [
        (file.name, line.strip())
        for file in sorted(folder.glob("*.yml"))
        for line in file.read_text("utf-8").splitlines()
        if re.match(r"\s*(- )?uses:", line)
    ]
    pinned = re.compile(r"(- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*")
    wrong = [f"{file}: {line}" for file, line in uses if not pinned.fullmatch(line)]
    if wrong or not uses:
        return Found(name, Status.FAILED, "\n".join(wrong) or "no action was found")
    return Found(name, Status.PASSED, f"{len(uses)} uses, each pinned to a commit")


def licences() -> Found:
    """The two licences are there."""
    name = "licences of the project"
    begins = {"LICENSE-APACHE": "Apache License", "LICENSE-MIT": "MIT License"}
    wrong = [file for file, words in begins.items() if words not in (ROOT / file).read_text("utf-8")[:200]]
    return Found(name, Status.FAILED if wrong else Status.PASSED, ", ".join(wrong or begins))


def bills(wheels: list[str]) -> Found:
    """Each wheel says what is in it."""
    name = "bill of materials in the wheel"
    if not wheels:
        return Found(name, Status.NOT_RUN, "there is no wheel: make wheel builds one")
    linked, locked = check_sbom.linked(), check_sbom.locked()
    wrong = [f"{Path(one).name}: {line}" for one in wheels for line in check_sbom.problems(Path(one), linked, locked)]
    if wrong:
        return Found(name, Status.FAILED, "\n".join(wrong))
    return Found(name, Status.PASSED, f"{len(wheels)} wheels name all their {len(linked)} crates")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_PATIENCE)


def main(arguments: list[str]) -> int:
    """Run the checks and print what they found; 1 when one failed."""
    parser = argparse.ArgumentParser(prog="audit")
    parser.add_argument("--short", action="store_true", help="only what needs no network")
    parser.add_argument("--strict", action="store_true", help="what did not run has failed")
    parser.add_argument("wheels", nargs="*")
    asked = parser.parse_args(arguments)
    checks: list[Callable[[], Found]] = [required, sqlite, actions, licences, crates]
    if not asked.short:
        checks += [crate_advisories, package_advisories, lambda: bills(asked.wheels)]
    found = [check() for check in checks]
    for one in found:
        print(f"{one.status.value:>12}  {one.name}: {one.text}")
    return verdict(found, strict=asked.strict)


def verdict(found: list[Found], *, strict: bool) -> int:
    """The last line, which names what passed and what did not run, and the exit status."""
    by_status = {status: [one for one in found if one.status is status] for status in Status}
    missing = ", ".join(one.name for one in by_status[Status.NOT_RUN])
    if by_status[Status.FAILED] or (strict and missing):
        print(f"{len(by_status[Status.FAILED])} checks failed; did not run: {missing or 'none'}")
        return 1
    passed = "; ".join(f"{one.name} ({one.text})" for one in by_status[Status.PASSED])
    print(f"proved: {passed}. Did not run: {missing or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
