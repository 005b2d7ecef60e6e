"""Change the engine in every small way that cargo-mutants knows, and see that some test fails each time.

What survives must stand in `tests/mutants/rust.toml` with the reason why no test can or need tell it apart. A survivor
that does not stand there fails the run, and so does a reason for one that is killed by now.

Usage: python tools/mutants.py FILE ...

The files are Rust sources. The unit tests judge first, which takes a few seconds a change. What they do not notice is
shown to the others: the walks and the conformance suite, for files of the store in PostgreSQL on a server, which
`tests/postgres_server.py` must have started, and on every other store for the rest; for the runtime at last to the
simulator. `MUTANTS_OUTPUT` is a folder to keep what cargo-mutants writes, `MUTANTS_JOBS` how many are made and judged
at once, each in its own copy.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
KNOWN = ROOT / "tests" / "mutants" / "rust.toml"
# What is built and run, and which tests of it. Quick ones first; no server where none is needed, and the simulator only
# for what it runs itself. The store on a server has few unit tests: all that have its name judge at once.
Judge = tuple[tuple[str, ...], tuple[str, ...]]
LIB: Judge = (("--lib",), ())
SUITES: Judge = (("--test=engine",), ("--skip", "postgres", "--skip", "sim::", "--skip", "neighbours"))
ON_A_SERVER: Judge = (("--lib", "--test=engine"), ("postgres",))
SIMULATOR: Judge = (("--test=engine",), ("sim::without_a_bug", "sim::memory_and_a_file"))
# By where the file is: the first that fits.
JUDGES: dict[str, list[Judge]] = {
    "rust/src/store/postgres/": [ON_A_SERVER],
    "rust/src/runtime/": [LIB, SUITES, SIMULATOR],
    "": [LIB, SUITES],
}
# One is built while the tests of another wait.
JOBS = os.environ.get("MUTANTS_JOBS", "2")
# A mutant that hangs is killed, after so many seconds or five times as long as the tests take without it.
LIMIT = ("--minimum-test-timeout", "30", "--timeout-multiplier", "5")
# One failure is enough, and what waits for something that does not come any more is waited for no longer.
FIRST_FAILURE = json.dumps([sys.executable, str(ROOT / "tools" / "first_failure.py")])
RUNNER = f"--cargo-arg=--config=target.'cfg(all())'.runner={FIRST_FAILURE}"
# `Verb` is another name of `Result`: none of what cargo-mutants would put in its place compiles.
NEVER_COMPILES = ("--exclude-re", " with Verb::")
# Most of the time goes into building.
QUICK = {"PROPTEST_CASES": "64", "CARGO_PROFILE_TEST_DEBUG": "0", "CARGO_PROFILE_TEST_OPT_LEVEL": "0"}
MISSED, KILLED = "MissedMutant", ("CaughtMutant", "Timeout")
Outcome = dict[str, Any]
Mutant = tuple[str, str]


def run(files: list[str], out: Path) -> list[Outcome]:
    """What became of each mutant of the files."""
    outcomes: list[Outcome] = []
    left = files
    for place, judges in JUDGES.items():
        chosen = [file for file in left if file.startswith(place)]
        left = [file for file in left if file not in chosen]
        if chosen:
            folder = out / place
            folder.mkdir(parents=True, exist_ok=True)
            outcomes += judged(chosen, judges, folder)
    return outcomes


def judged(files: list[str], judges: list[Judge], out: Path) -> list[Outcome]:
    """What these judges say of each mutant of the files."""
    chosen = [word for file in files for word in ("--file", file)]
    options = [
        "--package",
        "zjobs-engine",
        "--no-shuffle",
        f"--jobs={JOBS}",
        RUNNER,
        *LIMIT,
        *NEVER_COMPILES,
        "--output",
        str(out),
    ]
    # Each copy builds for itself: in one folder they would wait for each other, and take what the other built.
    environment = {key: value for key, value in (os.environ | QUICK).items() if key != "CARGO_TARGET_DIR"}
    found: dict[str, Outcome] = {}
    for number, (targets, filters) in enumerate(judges):
        again = ["--iterate"] if number else []
        # For all of cargo's calls, so that nothing else is built.
        built = [f"--cargo-arg={target}" for target in targets]
        command = ["cargo", "mutants", *options, *again, *built, *chosen, "--", "--", *filters]
        # Exit codes of cargo-mutants: 2 when some survived, 3 when some ran too long.
        code = subprocess.run(command, cwd=ROOT, check=False, env=environment).returncode
        if code not in {0, 2, 3}:
            sys.exit(f"cargo mutants ended with status {code}: see above")
        outcomes = json.loads((out / "mutants.out" / "outcomes.json").read_text(encoding="utf-8"))["outcomes"]
        for one in outcomes:
            if isinstance(one["scenario"], dict):
                mutant = one["scenario"]["Mutant"]["name"]
                if mutant not in found or found[mutant]["summary"] == MISSED:
                    found[mutant] = one
        if all(one["summary"] != MISSED for one in found.values()):
            break
    return list(found.values())


def name(outcome: Outcome) -> Mutant:
    """The mutant without the place in its file, which changes with every edit, and the code from that place on."""
    mutant = outcome["scenario"]["Mutant"]
    start = mutant["span"]["start"]
    line = (ROOT / mutant["file"]).read_text(encoding="utf-8").splitlines()[start["line"] - 1]
    return re.sub(r":\d+:\d+: ", ": ", mutant["name"], count=1), line[start["column"] - 1 :].strip()


def listed() -> list[dict[str, Any]]:
    """The survivors that have a reason."""
    return tomllib.loads(KNOWN.read_text(encoding="utf-8")).get("survivor", [])


def bar(file: str) -> int:
    """How many of a hundred mutants must be killed: in the inner rings and where stores decide, and elsewhere."""
    return 85 if file.startswith("rust/src/runtime/") else 95


def main(files: list[str]) -> int:
    """Runs, compares with the list, and tells."""
    # With each, whether a test could notice it, and none does.
    known = {
        (one["mutant"], one["at"]): one.get("accepted", False) for one in listed() if file_of(one["mutant"]) in files
    }
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(files, Path(os.environ.get("MUTANTS_OUTPUT", folder)))
    survivors = [name(one) for one in outcomes if one["summary"] == MISSED]
    killed = [name(one) for one in outcomes if one["summary"] in KILLED]
    if not survivors + killed:
        sys.exit(f"no mutant of {', '.join(files)} could be built")
    bad = [f"SURVIVED: {mutant}\n    at: {at}" for mutant, at in sorted(set(survivors) - known.keys())]
    gone = sorted(known.keys() - set(survivors))
    bad += [f"listed, and killed by now or not made any more: {mutant}\n    at: {at}" for mutant, at in gone]
    for file in files:
        dead = sum(file_of(mutant) == file for mutant, _ in killed)
        left = [one for one in survivors if file_of(one[0]) == file]
        equal = sum(not known.get(one, True) for one in left)
        share = 100 * dead / (dead + len(left) - equal) if dead + len(left) > equal else 100.0
        print(f"{file}: {dead} of {dead + len(left)} killed, {equal} change nothing: {share:.1f} % of the others")
        if share < bar(file):
            bad.append(f"{file}: less than {bar(file)} % of its mutants are killed")
    print("\n".join(bad), end="\n" if bad else "")
    if bad:
        return 1
    counted = f"{len(killed)} of {len(killed) + len(survivors)} mutants of {len(files)} files killed"
    share = 100 * len(killed) / (len(killed) + len(survivors))
    print(f"proved: {counted}, {share:.1f} %; {len(survivors)} listed, each with the reason")
    return 0


def file_of(mutant: str) -> str:
    """Where a mutant is."""
    return mutant.split(":", 1)[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
