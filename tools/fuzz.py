"""Fuzz every target for some time, one after the other: those in Rust with libFuzzer, those in Python with Atheris.

What they learn is kept beside the compiled crates, so that the next run starts where this one ended. An input that
fails is written into fuzz/regressions/<target>/, where the tests of the Rust targets find it from then on; those in
Python print what Hypothesis made of it, which becomes an `example` of its test. An input of theirs is an execution when
Hypothesis made arguments of its bytes, so that the body of a test ran.

Usage: CARGO_TARGET_DIR=folder python tools/fuzz.py [--seconds 600] [--executions NUMBER] [--target NAME]
"""

import argparse
import importlib.util
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent
# What cargo-fuzz gives for a build without sanitizer: counters at each edge, and what is compared with what.
COVERAGE = (
    "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 "
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table "
    "-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
)
EXECUTED = re.compile(r"stat::number_of_executed_units: *(\d+)")


@dataclass(frozen=True)
class Target:
    """Something to fuzz: its name, and the command that does it but for libFuzzer's own arguments."""

    name: str
    command: list[str]
    environment: dict[str, str]
    counts_itself: bool = False
    """It says how many inputs reached a test, and ends itself when these are enough (`tests/fuzz/tally.py`)."""


def kept() -> Path:
    """Where everything is kept that a run makes."""
    return Path(os.environ["CARGO_TARGET_DIR"]) / "fuzz"


def host() -> str:
    """The name of this machine's kind, by which the flags stay away from build scripts."""
    said = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    return next(line.split()[1] for line in said.splitlines() if line.startswith("host:"))


def built() -> Path:
    """The program with all targets that are written in Rust, instrumented."""
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        sys.exit("libFuzzer is written in C++: install a compiler of it, such as g++")
    triple = host()
    environment = os.environ | {"CARGO_TARGET_DIR": str(kept()), "RUSTFLAGS": COVERAGE}
    command = [sys.executable, str(CLONE / "tools/turn.py"), "cargo", "build", "--release", "--locked", "--quiet"]
    command += ["--manifest-path", str(CLONE / "fuzz/Cargo.toml"), "--target", triple]
    subprocess.run(command, env=environment, check=True)
    return kept() / triple / "release" / "zjobs-libfuzzer"


def rust_targets() -> list[str]:
    """The names in the table of rust/fuzz/src/lib.rs."""
    text = (CLONE / "rust/fuzz/src/lib.rs").read_text(encoding="utf-8")
    return re.findall(r'^    target\("([a-z-]+)"', text, re.MULTILINE)


def python_targets() -> list[str]:
    """The names of the modules in tests/fuzz, without what they share."""
    return sorted(path.stem.removeprefix("test_") for path in (CLONE / "tests/fuzz").glob("test_*.py"))


def chosen(only: str | None) -> Iterator[Target]:
    """The targets that are meant, those in Rust first."""
    rust = [name for name in rust_targets() if only in {None, name}]
    python = [name for name in python_targets() if only in {None, name}]
    if not rust and not python:
        sys.exit(f"there is no target {only}: {', '.join(rust_targets() + python_targets())}")
    if rust:
        program = built()
        for name in rust:
            yield Target(name, [str(program)], {"ZJOBS_TARGET": name})
    if python and importlib.util.find_spec("atheris") is None:
        print("Atheris is not here yet: installing it", flush=True)
        wanted = ["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "atheris>=3,<4"]
        subprocess.run([sys.executable, "-m", "pip", *wanted], check=True)
    for name in python:
        # Hypothesis makes little of few bytes, so the length grows at once.
        command = [sys.executable, "-m", "fuzz", name, "-len_control=0"]
        yield Target(name, command, {"PYTHONPATH": str(CLONE / "tests")}, counts_itself=True)


def fuzz(target: Target, seconds: int, enough: int | None) -> int | None:
    """How many executions there were in that time, or until there were enough; nothing when one failed."""
    learnt, regressions = kept() / "corpus" / target.name, CLONE / "fuzz/regressions" / target.name
    learnt.mkdir(parents=True, exist_ok=True)
    made = not regressions.exists()
    regressions.mkdir(parents=True, exist_ok=True)
    folders = [str(learnt), *(str(one) for one in (CLONE / "fuzz/seeds" / target.name, regressions) if one.exists())]
    limits = [f"-max_total_time={seconds}", "-timeout=30", "-rss_limit_mb=2048", "-max_len=4096"]
    environment, tally = os.environ | target.environment, kept() / "corpus" / f"{target.name}.tally"
    if target.counts_itself:
        tally.unlink(missing_ok=True)
        environment |= {"ZJOBS_TALLY": str(tally), "ZJOBS_EXECUTIONS": str(enough or "")}
    elif enough:
        limits.append(f"-runs={enough}")
    said = ["-print_final_stats=1", "-report_slow_units=30", f"-artifact_prefix={regressions}/"]
    command = [*target.command, *folders, *limits, *said]
    log = kept() / "corpus" / f"{target.name}.log"
    with log.open("wb") as out:
        done = subprocess.run(command, env=environment, stdout=out, stderr=out, check=False)
    if made and not any(regressions.iterdir()):
        regressions.rmdir()
    said = log.read_text(encoding="utf-8", errors="replace")
    count = tallied(tally) if target.counts_itself else executed(said)
    if done.returncode != 0 or count is None:
        print(said[-6_000:])
        print(f"{target.name}: FAILED; the input is in {regressions.relative_to(CLONE)}", flush=True)
        return None
    tried, ran = count
    print(f"{target.name}: {ran} executions" + (f", of {tried} inputs" if tried != ran else ""), flush=True)
    return ran


def executed(said: str) -> tuple[int, int] | None:
    """The inputs of which libFuzzer says that it tried them; all of them were executed."""
    found = EXECUTED.search(said)
    return (int(found[1]), int(found[1])) if found else None


def tallied(file: Path) -> tuple[int, int] | None:
    """The inputs that a target in Python has counted, and those of them that were executed."""
    return struct.unpack("=QQ", file.read_bytes()) if file.exists() else None


def main() -> int:
    """Exit code 1 when a target failed, or was asked for more than there was time for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=600, help="for each target, at most")
    parser.add_argument("--executions", type=int, help="of each target, which ends then, and fails with fewer")
    parser.add_argument("--target")
    options = parser.parse_args()
    # A list: a target in Rust and one in Python may have the same name.
    counts = [(one.name, fuzz(one, options.seconds, options.executions)) for one in chosen(options.target)]
    passed, sentence = judge(counts, options.seconds, options.executions)
    print(f"{'proved' if passed else 'failed'}: {sentence}")
    return 0 if passed else 1


def judge(counts: list[tuple[str, int | None]], seconds: int, enough: int | None) -> tuple[bool, str]:
    """Whether that is what was asked for, and the sentence."""
    findings = [name for name, count in counts if count is None]
    clean = [(count, name) for name, count in counts if count is not None]
    total = sum(count for count, _ in clean)
    if findings:
        return False, f"{', '.join(findings)}; {total} executions of the other targets without a finding"
    few = [f"{name} with {count}" for count, name in clean if count < (enough or 1)]
    if few:
        return False, f"fewer than {enough or 1} executions in {seconds} s: {', '.join(few)}; 0 findings in {total}"
    fewest, name = min(clean)
    until = f"until each had {enough}" if enough else f"in {seconds} s each"
    return True, f"{len(clean)} targets, {total} executions {until}, the fewest {fewest} of {name}, 0 findings"


if __name__ == "__main__":
    sys.exit(main())
