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

import commits

ROOT = Path(__file__).resolve().parent.parent
CLAIMS = ROOT / "tools" / "evidence.toml"
INVARIANTS = ROOT / "tests" / "invariants.toml"
RESULTS = ROOT / "docs" / "evidence.json"
PAGE = ROOT / "docs" / "evidence.md"
LOGS = ROOT / "evidence"
DEPTHS = ("short", "session", "full")
PROVED = "proved: "
SHOWN, LESS_DEEP, NOT_SHOWN, NOT_RUN = MARKS = "shown", "shown less deep", "**not shown**", "**not run**"
LEFT_OUT = re.compile(r"\bnot run: (?!none\b)")
"""How a proof names a part of it that did not run."""
HEAD = """\
# Evidence

What zjobs claims, what was run to show it, how deep, and what came out. Written by `make evidence`; nobody edits it.
It says what the last run of each proof said, with its day and commit, and not what another run would say. *Bar* is what
the project asks of itself. *Shown less deep*: it passed, but was not run as deep as `make evidence DEPTH=full` runs it,
or a part of it did not run. *Departs*: what the bar asks, and no depth of the proof shows.
"""
AGES_HEAD = """\
## How each was run

*Changed since*: how many files of those that a wheel is made of differ between the commit of the proof and {newest}.
What was committed after that is not counted: `git diff --stat COMMIT -- {shipped}` tells.

| command | took | day | commit | changed since | machine |
|---|---|---|---|---|---|"""
BARS_HEAD = """\
## Bars without a claim

What the project asks of itself besides, and no proof above shows.

| bar | where it is tested |
|---|---|"""
INVARIANTS_HEAD = """\
## Where each invariant is checked

The numbers are those that the simulator prints. *simulator*: looked at in every seed (`make sim`), after each call of
the store that says that it changed a row and one in 16 of the others; and proved to see by a deliberate bug (`make
bugs`). The rest are tests that `make test` runs.

| | invariant | checked by |
|---|---|---|"""


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed, and the make target that shows it. What its bar asks, and no depth of it shows, is said."""

    name: str
    says: str
    bar: str
    target: str
    depths: dict[str, dict[str, object]]
    departs: str = ""

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

    def is_whole(self, command: str) -> bool:
        """Whether that command is the one of depth `full`, or the same with larger numbers."""
        asked, given = self.command("full"), shlex.split(command)
        pairs = zip(asked, given, strict=False)
        return len(asked) == len(given) and all(_suffices(ours, theirs) for ours, theirs in pairs)


@dataclasses.dataclass(frozen=True, slots=True)
class Bar:
    """What the project asks of itself without a claim: the tests that there are, and in words what there is not."""

    says: str
    tests: tuple[str, ...] = ()
    note: str = ""


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
        Claim(
            one["name"],
            one["says"],
            one["bar"],
            one["target"],
            {at: one[at] for at in DEPTHS if at in one},
            one.get("departs", ""),
        )
        for one in table["claim"]
    ]


def bars() -> list[Bar]:
    """What the project asks of itself, and has no claim."""
    table = tomllib.loads(CLAIMS.read_text(encoding="utf-8"))
    return [Bar(one["says"], tuple(one.get("tests", [])), one.get("note", "")) for one in table["bar"]]


def machine() -> str:
    """What the figures were taken on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"


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
        # Where make is, is nobody else's business; that a proof has failed, the proof says better.
        lines = [line.strip() for line in log if line.strip() and not re.match(r"make(\[\d+\])?: ", line)]
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


def page(
    all_claims: list[Claim],
    results: dict[str, Result],
    all_bars: list[Bar],
    invariants: list[dict[str, Any]],
    ages: commits.Ages,
) -> str:
    """The page as text."""
    found = [(claim, results.get(claim.name)) for claim in all_claims]
    marks = [mark(claim, result) for claim, result in found]
    counts = ", ".join(f"{marks.count(one)} {one.strip('*')}" for one in MARKS)
    lines = [
        HEAD,
        f"{len(all_claims)} claims: {counts}. {age([result for _, result in found if result], ages)}",
        "",
        "| claim | | what the run said | bar |",
        "|---|---|---|---|",
    ]
    for (claim, result), word in zip(found, marks, strict=True):
        bar = f"{claim.bar}. *Departs*: {claim.departs}" if claim.departs else claim.bar
        lines.append(f"| {claim.says} | {word} | {result.said if result else ''} | {bar} |")
    newest = f"`{ages.newest}`, the newest of them" if ages.newest else "the newest of them, which git did not know"
    lines += ["", AGES_HEAD.format(newest=newest, shipped=" ".join(commits.SHIPPED))]
    for claim, result in found:
        if result is None:
            lines.append(f"| `{shlex.join(claim.command('full'))}` | not run | | | | |")
        else:
            took, files = duration(result.seconds), ages.changed.get(result.commit, "not known")
            about = [f"`{result.command}`", took, result.day, result.commit, files, result.machine]
            lines.append(f"| {' | '.join(map(str, about))} |")
    lines += ["", BARS_HEAD]
    for bar in all_bars:
        where = [*(f"`{test}`" for test in bar.tests), *([bar.note] if bar.note else [])]
        lines.append(f"| {bar.says} | {', '.join(where)} |")
    lines += ["", INVARIANTS_HEAD]
    for one in invariants:
        checks = ["simulator"] if one.get("simulator") else []
        checks += [f"`{test}`" for test in one.get("tests", [])]
        lines.append(f"| I-{one['number']} | {one['says']} | {', '.join(checks)} |")
    return "\n".join(lines) + "\n"


def mark(claim: Claim, result: Result | None) -> str:
    """How it stands, in a word or three."""
    if result is None:
        return NOT_RUN
    if not result.passed:
        return NOT_SHOWN
    return SHOWN if claim.is_whole(result.command) and not LEFT_OUT.search(result.said) else LESS_DEEP


def age(results: list[Result], ages: commits.Ages) -> str:
    """On how much of the code that a wheel is made of now the proofs were run, in a sentence."""
    files = [ages.changed[one.commit] for one in results if one.commit in ages.changed]
    fresh, lost, newest = files.count(0), len(results) - len(files), ages.newest or commits.UNKNOWN
    return (
        f"{len(files) - fresh} ran on older code, of which up to {max(files, default=0)} files have changed until "
        f"`{newest}`, the newest commit below; {fresh} on the code of that, {lost} on code that git did not know."
    )


def _suffices(asked: str, given: str) -> bool:
    """Whether a word of a command asks for as much as another."""
    (name, _, wanted), (other, _, value) = asked.partition("="), given.partition("=")
    try:
        return name == other and float(value) >= float(wanted)
    except ValueError:
        return asked == given


def main() -> int:
    """Runs what was asked for and writes the page."""
    parser = argparse.ArgumentParser(prog="evidence")
    parser.add_argument("--depth", choices=DEPTHS, default="short")
    parser.add_argument("--only", nargs="*", default=[], help="names of claims; otherwise all of them")
    parser.add_argument("--set", nargs="+", default=[], metavar="VARIABLE=VALUE", help="other values; with one --only")
    parser.add_argument("--page", action="store_true", help="write the page from what is known, and run nothing")
    asked = parser.parse_args()
    everything, results = claims(), known()
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
    recorded = [record(claim, asked.depth, everything, results) for claim in wanted]
    invariants = tomllib.loads(INVARIANTS.read_text(encoding="utf-8"))["invariant"]
    ages = commits.ages({one.commit for one in results.values()})
    PAGE.write_text(page(everything, results, bars(), invariants, ages), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0 if all(recorded) and all(results[claim.name].passed for claim in wanted) else 1


def record(claim: Claim, depth: str, everything: list[Claim], results: dict[str, Result]) -> bool:
    """Runs a proof and keeps what it said; whether it could, as it is known which code it ran on.

    What has failed is kept all the same, since what an earlier run said is no longer the whole truth.
    """
    before = commits.here()
    if before.endswith(commits.DIRTY):
        print(f"{claim.name}: not run: files differ from {before.removesuffix(commits.DIRTY)}; commit them first")
        return False
    print(f"{claim.name} ...", end=" ", flush=True)
    result = prove(claim, depth, before)
    after = commits.here()
    known = commits.same(before, after)
    word = mark(claim, result) if result.passed else "NOT SHOWN"
    print(f"{word} in {duration(result.seconds)}: {result.said}", flush=True)
    if not known:
        print(f"{claim.name}: the code was {before} when it began, and {after} when it ended", flush=True)
        result = dataclasses.replace(result, commit=before + commits.DIRTY)
    if known or not result.passed:
        results[claim.name] = result
        order = {one.name: dataclasses.asdict(results[one.name]) for one in everything if one.name in results}
        RESULTS.write_text(json.dumps(order, indent=2) + "\n", encoding="utf-8")
    return known


if __name__ == "__main__":
    sys.exit(main())
