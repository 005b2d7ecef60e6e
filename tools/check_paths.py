"""Fail when a tracked file names a folder of somebody's machine.

Such a path works on one machine only. Use a path relative to the repository, or a temporary folder that the test
framework gives.

Usage: python tools/check_paths.py [REPOSITORY]
"""

import re
import subprocess
import sys
from pathlib import Path

# A folder that exists on one machine: people's homes, and the usual places for checkouts and scratch files.
MACHINE_PATH = re.compile(r"(?<![\w.~/$}-])/(?:home|Users|root|work|workspace|tmp|mnt|scratch)/[\w.-]+")


def machine_paths(root: Path) -> list[str]:
    """`file:line: path` for every machine path in the repository's tracked text files."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True).stdout
    found: list[str] = []
    for name in filter(None, listed.split("\0")):
        file = root / name
        if not file.is_file():
            continue
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, start=1):
            found.extend(f"{name}:{number}: {match.group()}" for match in MACHINE_PATH.finditer(line))
    return found


def main(arguments: list[str]) -> int:
    """Print the machine paths that were found; 1 when there are any."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    found = machine_paths(root)
    for line in found:
        print(f"{line}: a path of one machine; use a relative path or a temporary folder", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
