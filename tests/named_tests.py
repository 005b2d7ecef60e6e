"""Which of the tests that a text names do not exist: `tests/x.py::name`, `another`."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"`(tests/[\w/]+\.(?:py|rs))(?:::(\w+))?`((?:, `\w+`)*)")


def missing_tests(text):
    missing = []
    for path, first, more in NAMED.findall(text):
        file = ROOT / path
        source = file.read_text("utf-8") if file.exists() else ""
        names = [first, *re.findall(r"`(\w+)`", more)] if first else []
        defined = re.findall(r"\b(?:fn|def|class) (\w+)|^(\w+) = ", source, re.MULTILINE)
        known = {one for pair in defined for one in pair}
        missing += [f"{path}::{one}" for one in names if one not in known]
        missing += [] if source else [path]
    return missing
