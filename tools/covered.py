"""Which lines of the engine and its bindings the tests of both languages run: `make coverage`.

    tools/covered.py TARGET CORE ... [--only rust|python] [--keep]

TARGET is cargo's target folder, CORE the files of which every line must run. Everything is built with counters in a
copy of the sources below TARGET, so that the engine here stays as it is. Test modules do not count as lines that are to
be run. What no test has run is listed in `coverage.txt`.
"""

import argparse
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from sources import copy_sources

ROOT = Path(__file__).resolve().parent.parent
LEAST = 95.0
"""Percent of all lines."""
SHIPPED = re.compile(r"rust/(src|vfs/src|bindings/src)/")
PROFILES = ["dev", "dev-release"]
"""Rust's tests are built by the first, what Python loads by the second, as in the Makefile."""
TESTS = re.compile(r"^#\[cfg\((all\()?test\b", re.MULTILINE)


def environment(tree: Path, target: Path) -> dict[str, str]:
    """What has cargo and maturin build with counters, and where these are written."""
    env = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    env["CARGO_TARGET_DIR"] = str(target)
    command = ["cargo", "llvm-cov", "show-env"]
    shown = subprocess.run(command, cwd=tree, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout
    settings = dict(re.findall(r"^([A-Z_]+)=(.*)$", shown, re.MULTILINE))
    env |= {name: value.strip("'\"") for name, value in settings.items()}
    # Processes share their files: the tests start thousands.
    env["LLVM_PROFILE_FILE"] = env["LLVM_PROFILE_FILE"].replace("-%p", "")
    return env


def report(tree: Path, env: dict[str, str], profile: str) -> str:
    """What was counted in the programs and libraries of one profile."""
    command = ["cargo", "llvm-cov", "report", "--lcov", "--workspace", "--profile", profile]
    return subprocess.run(command, cwd=tree, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def lines_run(report: str, tree: Path) -> dict[str, dict[int, bool]]:
    """Of each shipped file: whether each line that has code was run. Of those of test modules nothing."""
    found: dict[str, dict[int, bool]] = defaultdict(dict)
    for record in report.split("end_of_record"):
        source = re.search(r"^SF:(.*)$", record, re.MULTILINE)
        if source is None:
            continue
        path = Path(source[1])
        name = str(path.relative_to(tree)) if path.is_relative_to(tree) else ""
        if not SHIPPED.match(name):
            continue
        text = path.read_text("utf-8")
        tests = TESTS.search(text)
        last = text.count("\n", 0, tests.start()) if tests else sys.maxsize
        for number, count in re.findall(r"^DA:(\d+),(\d+)", record, re.MULTILINE):
            if int(number) <= last:
                found[name][int(number)] = found[name].get(int(number), False) or count != "0"
    return found


def percent(files: dict[str, dict[int, bool]]) -> float:
    """The share of lines that ran."""
    lines = [ran for file in files.values() for ran in file.values()]
    return 100 * sum(lines) / len(lines) if lines else 0.0


def judge(files: dict[str, dict[int, bool]], core: list[str]) -> tuple[list[str], str]:
    """What must not be, and the sentence."""
    problems = [f"{name} has no line that was looked at" for name in core if name not in files]
    missed = [f"{name}:{line}" for name in core for line, ran in sorted(files.get(name, {}).items()) if not ran]
    problems += [f"{place} is of the core, and no test runs it" for place in missed]
    whole = percent(files)
    if whole < LEAST:
        problems.append(f"{whole:.1f} % of all lines are run, and {LEAST:g} % must be")
    inner = percent({name: files[name] for name in core if name in files})
    lines = sum(len(file) for file in files.values())
    sentence = (
        f"{whole:.1f} % of the {lines} lines of the engine and its bindings are run by tests,"
        f" {inner:.1f} % of those of the {len(core)} files of its core"
    )
    return problems, sentence


def main() -> int:
    """Builds, tests, counts, and says what is proved."""
    parser = argparse.ArgumentParser(prog="covered")
    parser.add_argument("target", type=Path)
    parser.add_argument("core", nargs="+")
    parser.add_argument("--only", choices=["rust", "python"])
    parser.add_argument("--keep", action="store_true", help="add to what was counted before")
    asked = parser.parse_args()
    place = asked.target / "coverage"
    tree = place / "tree"
    copy_sources(tree)
    env = environment(tree, place / "target")
    if not asked.keep:
        subprocess.run(["cargo", "llvm-cov", "clean", "--profraw-only"], cwd=tree, env=env, check=True)
    # A venv of its own: the engine with counters is installed there.
    for suite in ["rust", "python"]:
        if asked.only in {None, suite}:
            command = ["make", f"test-{suite}", "VENV=.venv", f"CARGO_TARGET_DIR={place / 'target'}"]
            subprocess.run(command, cwd=tree, env=env, check=True)
    files = lines_run("".join(report(tree, env, profile) for profile in PROFILES), tree)
    missed = [f"{name}:{line}" for name, file in sorted(files.items()) for line, ran in sorted(file.items()) if not ran]
    (ROOT / "coverage.txt").write_text("\n".join(missed) + "\n", "utf-8")
    for name, file in sorted(files.items()):
        print(f"{percent({name: file}):6.1f} %  {name}")
    problems, sentence = judge(files, asked.core)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{'refuted' if problems else 'proved'}: {sentence}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
