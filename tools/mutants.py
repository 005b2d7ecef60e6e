"""Change the engine in every small way that cargo-mutants knows, and see that some test fails each time.

What survives must stand in `tests/mutants/rust.toml` with the reason why no test can or need tell it apart. A survivor
that does not stand there fails the run, and so does a reason for one that is killed by now.

Usage: python tools/mutants.py FILE ...

The files are Rust sources. The engine's tests judge, but for those that need a server and those of the simulator.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
KNOWN = ROOT / "tests" / "mutants" / "rust.toml"
# The walks and the conformance suite on every store but the server's; a mutant that hangs is killed by the limit.
JUDGES = ("--lib", "--test", "engine", "--", "--skip", "postgres", "--skip", "sim::", "--skip", "neighbours")
LIMIT = "120"
# Most of the time goes into building.
QUICK = {"PROPTEST_CASES": "64", "CARGO_PROFILE_TEST_DEBUG": "0", "CARGO_PROFILE_TEST_OPT_LEVEL": "0"}


def run(files: list[str], out: Path) -> list[dict[str, Any]]:
    """What became of each mutant of the files."""
    chosen = [word for file in files for word in ("--file", file)]
    options = ["--package", "zjobs-engine", "--no-shuffle", "--timeout", LIMIT, "--output", str(out)]
    command = ["cargo", "mutants", *options, *chosen, "--", *JUDGES]
    # Exit codes of cargo-mutants: 2 when some survived, 3 when some ran too long.
    code = subprocess.run(command, cwd=ROOT, check=False, env=os.environ | QUICK).returncode
    if code not in {0, 2, 3}:
        sys.exit(f"cargo mutants ended with status {code}: see above")
    outcomes = json.loads((out / "mutants.out" / "outcomes.json").read_text(encoding="utf-8"))["outcomes"]
    return [one for one in outcomes if isinstance(one["scenario"], dict)]


def name(outcome: dict[str, Any]) -> str:
    """The mutant without the place in its file, which changes with every edit."""
    return re.sub(r":\d+:\d+: ", ": ", outcome["scenario"]["Mutant"]["name"])


def main(files: list[str]) -> int:
    """Runs, compares with the list, and tells."""
    known = {
        one["mutant"]: one["reason"] for one in tomllib.loads(KNOWN.read_text(encoding="utf-8")).get("survivor", [])
    }
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(files, Path(folder))
    by_fate: dict[str, list[str]] = {}
    for outcome in outcomes:
        by_fate.setdefault(outcome["summary"], []).append(name(outcome))
    survivors = by_fate.get("MissedMutant", [])
    killed = by_fate.get("CaughtMutant", []) + by_fate.get("Timeout", [])
    viable = len(survivors) + len(killed)
    if not viable:
        sys.exit(f"no mutant of {', '.join(files)} could be built")
    for file, count in sorted(Counter(mutant.split(":")[0] for mutant in survivors).items()):
        of = sum(mutant.startswith(f"{file}:") for mutant in survivors + killed)
        print(f"{file}: {of - count} of {of} killed")
    unlisted = sorted(set(survivors) - known.keys())
    stale = sorted(mutant for mutant in known.keys() - set(survivors) if mutant.split(":")[0] in files)
    for mutant in unlisted:
        print(f"SURVIVED: {mutant}")
    for mutant in stale:
        print(f"listed, and killed by now or gone: {mutant}")
    if unlisted or stale:
        return 1
    score = 100 * len(killed) / viable
    counted = f"{len(killed)} of {viable} mutants of {len(files)} files killed, {score:.1f} %"
    print(f"proved: {counted}; there is a reason for each of the rest")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
