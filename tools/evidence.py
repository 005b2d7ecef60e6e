"""Run the proofs at a chosen depth and write down what each of them said: `make evidence DEPTH=short`.

The claims, and how deep each of their proofs goes, are in `tools/evidence.toml`. What a run said is kept in
`docs/evidence.json`, and `docs/evidence.md` is written from that, so that a part can be run again by itself; each
line of the page says of which commit and day it is.

Usage: python tools/evidence.py [--depth short|session|full] [--only NAME ...] [--set VARIABLE=VALUE ...] [--page]
"""

import argparse
import dataclasses
import datetime as dt
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CLAIMS = ROOT / "tools" / "evidence.toml"
INVARIANTS = ROOT / "tests" / "invariants.toml"
RESULTS = ROOT / "docs" / "evidence.json"
PAGE = ROOT / "docs" / "evidence.md"
LOGS = ROOT / "evidence"
DEPTHS = ("short", "session", "full")
PROVED = "proved: "
SHOWN, NOT_SHOWN, NOT_RUN = "shown", "**not shown**", "**not run**"
HEAD = """\
# Evidence

What zjobs claims, what was run to show it, how deep, and what came out. Written by `make evidence`; nobody edits it.
It says what the last run of each proof said, with its day and commit, and not what another run would say. *Bar* is what
the project asks of itself; a run that is less deep says so by its own numbers. `make evidence DEPTH=full` runs
everything as deep as the bars ask.
"""
INVARIANTS_HEAD = """\
## Where each invariant is checked

The numbers are those that the simulator prints. *simulator*: after every step of every seed (`make sim`), and proved to
see by a deliberate bug (`make bugs`). The rest are tests that `make test` runs.

| | invariant | checked by |
|---|---|---|"""


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed, and the make target that shows it."""

    name: str
    says: str
    bar: str
    target: str
    depths: dict[str, dict[str, object]]

    def runs_at(self, depth: str) -> bool:
        """Whether this depth is deep enough for it."""
        return not self.depths or any(one in self.depths for one in DEPTHS[: DEPTHS.index(depth) + 1])

    def command(self, depth: str) -> list[str]:
        """The command for this depth, or for the deepest one that is not deeper."""
        known = [one for one in DEPTHS[: DEPTHS.index(depth) + 1] if one in self.depths]
        chosen = self.depths[known[-1]] if known else {}
        return ["make", self.target, *(f"{name}={value}" for name, value in chosen.items())]

    def at(self, depth: str, words: list[str]) -> "Claim":
        """The same with other values of its variables, `NAME=VALUE` each: for a depth between those of the table.

        Raises:
            ValueError: It has no such variable at this depth, or a word gives no value.
        """
        given = dict(word.split("=", 1) for word in self.command(depth)[2:])
        values = {name: value for name, _, value in (word.partition("=") for word in words)}
        for name, value in values.items():
            if not value:
                raise ValueError(f"{name} has no value: write {name}=VALUE")
            if name not in given:
                raise ValueError(f"{self.name} has no {name} at this depth; it has {', '.join(given) or 'none'}")
        return dataclasses.replace(self, depths={depth: given | values})


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What a proof said."""

    command: str
    passed: bool
    said: str
    seconds: int
    day: str
    commit: str
    machine: str


def claims() -> list[Claim]:
    """All claims, in the order of the page."""
    table = tomllib.loads(CLAIMS.read_text(encoding="utf-8"))
    return [
        Claim(one["name"], one["says"], one["bar"], one["target"], {at: one[at] for at in DEPTHS if at in one})
        for one in table["claim"]
    ]


def machine() -> str:
    """What the figures were taken on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"


def commit() -> str:
    """Which commit this is, and whether files differ from it, other than those that are written here."""
    at = _git("describe", "--always", "--exclude=*") or "unknown"
    return f"{at}-dirty" if _git("status", "--porcelain", "--", ".", ":!docs/evidence.*") else at


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=False, capture_output=True, text=True).stdout.strip()


def prove(claim: Claim, depth: str, at: str) -> Result:
    """Runs the proof; all that it prints goes to a file of its own."""
    command = claim.command(depth)
    LOGS.mkdir(exist_ok=True)
    # A make within a make takes over the variables of the outer one: ARGS means something else to each target.
    outer = {"MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "ARGS"}
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    began = time.monotonic()
    with (LOGS / f"{claim.name}.log").open("w+", encoding="utf-8", errors="replace") as log:
        code = subprocess.run(
            command, cwd=ROOT, check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        ).returncode
        log.seek(0)
        # Where make is, is nobody else's business.
        lines = [line.strip() for line in log if line.strip() and not re.match(r"make\[\d+\]: \w+ing directory", line)]
    said = [line.removeprefix(PROVED) for line in lines if line.startswith(PROVED)]
    last = "; ".join(said) if said else (lines[-1] if lines else "it said nothing")
    passed = code == 0 and bool(said)
    day = dt.datetime.now(dt.UTC).date().isoformat()
    seconds = round(time.monotonic() - began)
    return Result(shlex.join(command), passed, last, seconds, day, at, machine())


def known() -> dict[str, Result]:
    """What earlier runs have said."""
    if not RESULTS.exists():
        return {}
    return {name: Result(**kept) for name, kept in json.loads(RESULTS.read_text(encoding="utf-8")).items()}


def duration(seconds: int) -> str:
    """As people say it."""
    two_minutes, two_hours = 120, 7200
    if seconds < two_minutes:
        return f"{seconds} s"
    return f"{seconds / 60:.0f} min" if seconds < two_hours else f"{seconds / 3600:.1f} h"


def page(all_claims: list[Claim], results: dict[str, Result], invariants: list[dict[str, Any]]) -> str:
    """The page as text."""
    found = [(claim, results.get(claim.name)) for claim in all_claims]
    marks = [mark(result) for _, result in found]
    counts = ", ".join(f"{marks.count(one)} {one.strip('*')}" for one in (SHOWN, NOT_SHOWN, NOT_RUN))
    lines = [
        HEAD,
        f"{len(all_claims)} claims: {counts}.",
        "",
        "| claim | | what the run said | bar |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {claim.says} | {mark(result)} | {result.said if result else ''} | {claim.bar} |" for claim, result in found
    ]
    lines += ["", "## How each was run", "", "| command | took | day | commit | machine |", "|---|---|---|---|---|"]
    for claim, result in found:
        if result is None:
            lines.append(f"| `{shlex.join(claim.command('full'))}` | not run | | | |")
        else:
            took = duration(result.seconds)
            lines.append(f"| `{result.command}` | {took} | {result.day} | {result.commit} | {result.machine} |")
    lines += ["", INVARIANTS_HEAD]
    for one in invariants:
        checks = ["simulator"] if one.get("simulator") else []
        checks += [f"`{test}`" for test in one.get("tests", [])]
        lines.append(f"| I-{one['number']} | {one['says']} | {', '.join(checks)} |")
    return "\n".join(lines) + "\n"


def mark(result: Result | None) -> str:
    """How it stands, in a word or two."""
    if result is None:
        return NOT_RUN
    return SHOWN if result.passed else NOT_SHOWN


def main() -> int:
    """Runs what was asked for and writes the page."""
    parser = argparse.ArgumentParser(prog="evidence")
    parser.add_argument("--depth", choices=DEPTHS, default="short")
    parser.add_argument("--only", nargs="*", default=[], help="names of claims; otherwise all of them")
    parser.add_argument("--set", nargs="+", default=[], metavar="VARIABLE=VALUE", help="other values; with one --only")
    parser.add_argument("--page", action="store_true", help="write the page from what is known, and run nothing")
    asked = parser.parse_args()
    everything, results, at = claims(), known(), commit()
    unknown = set(asked.only) - {claim.name for claim in everything}
    if unknown:
        parser.error(
            f"no such claim: {', '.join(sorted(unknown))}; there are {', '.join(one.name for one in everything)}"
        )
    wanted = [
        claim for claim in everything if claim.name in asked.only or (not asked.only and claim.runs_at(asked.depth))
    ]
    wanted = [] if asked.page else wanted
    if asked.set:
        if len(wanted) != 1:
            parser.error("--set is for one proof: say which with --only NAME")
        try:
            wanted = [wanted[0].at(asked.depth, asked.set)]
        except ValueError as error:
            parser.error(str(error))
    for claim in wanted:
        print(f"{claim.name} ...", end=" ", flush=True)
        result = results[claim.name] = prove(claim, asked.depth, at)
        print(f"{'shown' if result.passed else 'NOT SHOWN'} in {duration(result.seconds)}: {result.said}", flush=True)
        order = {claim.name: dataclasses.asdict(results[claim.name]) for claim in everything if claim.name in results}
        RESULTS.write_text(json.dumps(order, indent=2) + "\n", encoding="utf-8")
    invariants = tomllib.loads(INVARIANTS.read_text(encoding="utf-8"))["invariant"]
    PAGE.write_text(page(everything, results, invariants), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0 if all(results[claim.name].passed for claim in wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
