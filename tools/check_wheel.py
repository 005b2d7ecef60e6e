"""Fail when a wheel's compiled module has anything of the failpoints, which are for tests (ADR 0019).

Looked for are the names of all places, the variable that arms them, and what is said of an unknown name. The word alone
proves nothing: the functions that are left without the feature are in a file of that name.

Usage: python tools/check_wheel.py WHEEL...
"""

import re
import sys
import zipfile
from itertools import product
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "rust" / "src" / "failpoint" / "armed.rs"


def forbidden() -> list[str]:
    """What must not occur: read where the names are made."""
    text = SOURCE.read_text("utf-8")
    verbs = re.findall(r'^    \w+ "(\w+)",$', text, re.MULTILINE)
    steps = re.findall(r'concat!\(\$name, "(\.\w+)"\)', text)
    points = re.findall(r'=> "(\w+\.\w+)",$', text, re.MULTILINE)
    variable = re.findall(r'^pub const VARIABLE: &str = "(\w+)";', text, re.MULTILINE)
    words = re.findall(r'"(no failpoint is named )', text)
    if not (verbs and steps and points and variable and words):
        raise LookupError(f"{SOURCE.name} does not say what its places are called: mend the patterns in {__file__}")
    return [*variable, *words, *points, *(verb + step for verb, step in product(verbs, steps))]


def found(module: bytes) -> list[str]:
    """What of it occurs in a compiled module."""
    return [word for word in forbidden() if word.encode() in module]


def compiled(wheel: Path) -> dict[str, bytes]:
    """The compiled modules of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name.endswith(".so")}


def main(arguments: list[str]) -> int:
    """Look through each wheel; 1 when anything was found, or a wheel has nothing compiled."""
    wrong = 0
    for wheel in map(Path, arguments):
        modules = compiled(wheel)
        if not modules:
            print(f"{wheel.name} has no compiled module", file=sys.stderr)
        for name, module in modules.items():
            words = found(module)
            print(f"{wheel.name}: {name}: {len(words)} of {len(forbidden())} words of the failpoints")
            if words:
                print(f"built with the feature `failpoints`: {', '.join(words[:5])} ...", file=sys.stderr)
            wrong += bool(words)
        wrong += not modules
    return int(wrong > 0 or not arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
