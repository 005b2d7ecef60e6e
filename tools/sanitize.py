"""Runs the engine's Rust tests under a sanitizer or under Miri, with the nightly toolchain that has them.

`python tools/sanitize.py address|thread|miri [filter ...]`. AddressSanitizer, with LeakSanitizer, sees wrong memory and
what is never freed, also where SQLite calls functions of ours. ThreadSanitizer sees data races; the standard library is
built anew for it, since what is not instrumented looks like a race. Miri interprets the modules that call no foreign
code. Each needs parts of the toolchain: what cannot be had is said, and the run fails.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parents[1]
TARGET = "x86_64-unknown-linux-gnu"
PACKAGES = ["--package", "zjobs-engine", "--package", "zjobs-vfs", "--package", "zjobs-powerloss"]
# Rings 0 to 2, and the store in memory. What reads the system's clock or opens a file is left out.
PURE = [
    "state",
    "backoff",
    "unique",
    "outcome",
    "limits",
    "queue",
    "job",
    "store::memory",
    "store::json",
    "store::group",
]
NEEDS = {"address": [], "thread": ["rust-src"], "miri": ["rust-src", "miri"]}
NAMES = {"address": "AddressSanitizer and LeakSanitizer", "thread": "ThreadSanitizer", "miri": "Miri"}


def main(kind: str, *chosen: str) -> int:
    """Runs one of them and says what is proved."""
    if not (kind in NEEDS and all(has(part) for part in NEEDS[kind])):
        print(f"cannot run {kind} here: it needs a nightly toolchain with {' and '.join(NEEDS.get(kind, []))}")
        return 2
    counts = test(kind, list(chosen))
    if counts is None:
        return 1
    passed, ignored = counts
    print(f"proved: {passed} Rust tests under {NAMES[kind]}, no report, {ignored} ignored")
    return 0


def has(part: str) -> bool:
    """Whether the nightly toolchain has a part, which is fetched once if need be."""
    command = ["rustup", "component", "add", part, "--toolchain", "nightly"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def test(kind: str, chosen: list[str]) -> tuple[int, int] | None:
    """Runs the tests, shows what they print, and counts them; nothing when one has failed."""
    base = Path(os.environ.get("CARGO_TARGET_DIR", HOME / "target"))
    environment = os.environ | {"CARGO_TARGET_DIR": str(base / f"sanitize-{kind}")}
    if kind == "miri":
        command = ["cargo", "+nightly", "miri", "test", "--locked", "--package", "zjobs-engine", "--lib"]
        environment |= {"MIRIFLAGS": "-Zmiri-disable-isolation", "PROPTEST_CASES": "4"}
        return run([*command, "--", *(chosen or PURE)], environment)
    environment["RUSTFLAGS"] = f"-Zsanitizer={kind} -Cforce-frame-pointers=yes"
    environment["TSAN_OPTIONS"] = f"suppressions={HOME / 'tools' / 'tsan.supp'} halt_on_error=1"
    # Examples in comments are linked with a standard library that was not built anew.
    built = ["-Zbuild-std", "--lib", "--tests"] if kind == "thread" else []
    command = ["cargo", "+nightly", "test", *built, "--locked", "--target", TARGET, *PACKAGES]
    # Half of the usual threads: memory costs several times as much here.
    return run([*command, "--", "--test-threads=2", *chosen], environment)


def run(command: list[str], environment: dict[str, str]) -> tuple[int, int] | None:
    """Runs a command that tests, and counts the tests that passed and that were ignored."""
    print("+", *command, flush=True)
    lines = []
    with subprocess.Popen(command, cwd=HOME, env=environment, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    results = [re.match(r"test result: ok\. (\d+) passed; 0 failed; (\d+) ignored", line) for line in lines]
    found = [(int(one[1]), int(one[2])) for one in results if one]
    if running.returncode or not found:
        return None
    return sum(passed for passed, _ in found), sum(ignored for _, ignored in found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
