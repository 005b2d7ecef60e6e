"""Breaks the engine on purpose, once per model, and sees to it that the model fails.

    tools/break_models.py TARGET            all breaks of rust/models/breaks.toml; TARGET is cargo's target folder
    tools/break_models.py TARGET --only WORD

A model that still holds without the line that it is there for shows nothing. The breaks are made in a copy of the
sources, below TARGET.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

from sources import copy_sources

ROOT = Path(__file__).resolve().parent.parent
MODELS = Path("rust/models")
CHECKERS = ("loom", "shuttle")
CARGO = ["cargo", "build", "--locked", "--quiet", "--profile", "test"]
# A schedule of a broken engine may never end.
PATIENCE = 300


def run(
    command: list[str], place: Path, target: Path, patience: float | None = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """One command in the copy's package of models."""
    own = {"CARGO_TARGET_DIR": str(target), "RUST_BACKTRACE": "0", "SHUTTLE_SILENCE_WARNINGS": "1"}
    env = os.environ | own
    return subprocess.run(
        command, cwd=place / MODELS, env=env, check=False, capture_output=True, text=True, timeout=patience
    )


def broken(text: str, edits: list[list[str]]) -> str:
    """The text with its edits; each place must be there once, or the break is about code that has changed."""
    for old, new in edits:
        if text.count(old) != 1:
            message = f"a break is out of date: {text.count(old)} times in the file instead of once:\n{old}"
            raise SystemExit(message)
        text = text.replace(old, new)
    return text


def program(checker: str, target: Path) -> str:
    """Where the models of that checker are."""
    return str(target / "debug" / f"{checker}-models")


def models(place: Path, target: Path) -> list[tuple[str, str]]:
    """The names of all models, with their checkers."""
    listed = {checker: run([program(checker, target), "--list"], place, target).stdout for checker in CHECKERS}
    return [(checker, name) for checker, names in listed.items() for name in names.splitlines()]


def breaks() -> list[dict[str, Any]]:
    """All breaks, each with the checker of its model."""
    table = tomllib.loads((ROOT / MODELS / "breaks.toml").read_text(encoding="utf-8"))
    return [{"checker": "loom"} | one for one in table["break"]]


def build(checker: str, place: Path, target: Path) -> None:
    """Builds the copy, which must compile."""
    done = run([*CARGO, "--features", checker, "--bin", f"{checker}-models"], place, target, patience=None)
    if done.returncode != 0:
        raise SystemExit(f"the copy does not build:\n{done.stderr}")


def fails(checker: str, name: str, place: Path, target: Path) -> bool:
    """Whether that model, and no other part of the program, fails."""
    try:
        done = run([program(checker, target), "--only", name], place, target)
    except subprocess.TimeoutExpired:
        return False
    # A panic in a panic aborts; the model that was begun last is the one.
    begun = [line for line in done.stdout.splitlines() if line.startswith("model: ")]
    return done.returncode not in {0, 2} and begun == [f"model: {name}"]


def main() -> int:
    """Runs the breaks; 1 when a model holds though its engine is broken, has no break, or none was meant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    # The compiled crates of others are shared with the sound build.
    target = args.target.resolve()
    place = target / "broken-models"
    forget_crates(target)
    copy_sources(place)
    try:
        return show(place, target, args.only)
    finally:
        forget_crates(target)


def forget_crates(target: Path) -> None:
    """Cargo may take a crate of the copy for one of ours, which has the same place in its workspace."""
    for fingerprint in target.glob("debug/.fingerprint/zjobs-*"):
        shutil.rmtree(fingerprint)


def show(place: Path, target: Path, only: str) -> int:
    """Makes each break and runs its model."""
    for checker in CHECKERS:
        build(checker, place, target)
    known = breaks()
    there = models(place, target)
    named = {(one["checker"], one["model"]) for one in known}
    blind = sorted(set(there) ^ named)
    for checker, name in blind:
        print(f"no break for this model of {checker}, or no model for this break: {name}")
    chosen = [one for one in known if only in one["model"]]
    for one in chosen:
        began = time.monotonic()
        file, model = place / one["file"], (one["checker"], one["model"])
        sound = file.read_text(encoding="utf-8")
        file.write_text(broken(sound, one["edits"]), encoding="utf-8")
        build(one["checker"], place, target)
        seen = fails(*model, place, target)
        file.write_text(sound, encoding="utf-8")
        print(f"{'fails' if seen else 'HOLDS'}: {one['model']} ({time.monotonic() - began:.0f} s)", flush=True)
        if not seen:
            blind.append(model)
    if blind or not chosen:
        return 1
    print(sentence([(one["checker"], one["model"]) for one in chosen], there))
    return 0


def sentence(chosen: list[tuple[str, str]], there: list[tuple[str, str]]) -> str:
    """What is proved."""
    counts = [f"{sum(checker == one for one, _ in chosen)} of {checker}" for checker in CHECKERS]
    left = len(there) - len(chosen)
    return (
        f"proved: {len(chosen)} breaks of the engine, one for each of {' and '.join(counts)}, each made the model fail "
        f"that is there for it; not run: {f'{left} others' if left else 'none'}"
    )


if __name__ == "__main__":
    sys.exit(main())
