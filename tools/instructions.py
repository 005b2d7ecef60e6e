"""Counts the instructions of the engine's hot paths with callgrind and holds them against `benches/instructions.json`.

    tools/instructions.py BINARY            compare; fails when a path costs 5 % more than recorded
    tools/instructions.py BINARY --record   write the new counts

Instructions do not depend on the machine's mood, so that a small loss shows where no time could. A path's cost is the
difference between a long and a short run, so that start-up does not count.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

RECORD = pathlib.Path(__file__).parent.parent / "benches" / "instructions.json"
VERBS = {"validate": 20_000, "backoff": 20_000, "enqueue": 20_000, "enqueue_many": 20_000, "walk": 20_000}
SLACK = 0.05


def instructions(binary: str, verb: str, count: int) -> int:
    """The instructions that one run of ``binary verb count`` executes."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", binary, verb, str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise SystemExit(f"callgrind gave no count:\n{done.stderr}")
    return int(found[1])


def per_job(binary: str, verb: str, count: int) -> int:
    """The instructions of one job on the path."""
    short = count // 10
    return round((instructions(binary, verb, count) - instructions(binary, verb, short)) / (count - short))


def main() -> int:
    """Compares or records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("instructions: valgrind is needed; on Debian and Ubuntu: apt install valgrind")
        return 1
    now = {verb: per_job(args.binary, verb, count) for verb, count in VERBS.items()}
    if args.record:
        RECORD.write_text(json.dumps(now, indent=2) + "\n")
    before = json.loads(RECORD.read_text())
    worse = [verb for verb, count in now.items() if count > before.get(verb, 0) * (1 + SLACK)]
    for verb, count in now.items():
        mark = "  <- more than recorded" if verb in worse else ""
        print(f"{verb:14} {count:6} instructions per job, recorded {before.get(verb, 0):6}{mark}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
