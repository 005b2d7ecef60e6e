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

from sources import copy_sources

ROOT = Path(__file__).resolve().parent.parent
MODELS = Path("rust/models")
CARGO = ["cargo", "build", "--locked", "--quiet", "--profile", "test", "--features", "loom", "--bin", "loom-models"]
# A schedule of a broken engine may never end.
PATIENCE = 300


def run(command: list[str], place: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """One command in the copy's package of models."""
    env = {**os.environ, "CARGO_TARGET_DIR": str(target), "RUST_BACKTRACE": "0"}
    return subprocess.run(
        command, cwd=place / MODELS, env=env, check=False, capture_output=True, text=True, timeout=PATIENCE
    )


def broken(text: str, edits: list[list[str]]) -> str:
    """The text with its edits; each place must be there once, or the break is about code that has changed."""
    for old, new in edits:
        if text.count(old) != 1:
            message = f"a break is out of date: {text.count(old)} times in the file instead of once:\n{old}"
            raise SystemExit(message)
        text = text.replace(old, new)
    return text


def models(place: Path, target: Path) -> list[str]:
    """The names of all models."""
    listed = run([str(target / "debug" / "loom-models"), "--list"], place, target)
    return listed.stdout.splitlines()


def build(place: Path, target: Path) -> None:
    """Builds the copy, which must compile."""
    done = run(CARGO, place, target)
    if done.returncode != 0:
        raise SystemExit(f"the copy does not build:\n{done.stderr}")


def fails(name: str, place: Path, target: Path) -> bool:
    """Whether that model, and no other part of the program, fails."""
    try:
        done = run([str(target / "debug" / "loom-models"), "--only", name], place, target)
    except subprocess.TimeoutExpired:
        return False
    # A panic in a panic aborts; the model that was begun last is the one.
    begun = [line for line in done.stdout.splitlines() if line.startswith("model: ")]
    return done.returncode not in {0, 2} and begun == [f"model: {name}"]


def main() -> int:
    """Runs the breaks; 1 when a model holds though its engine is broken, or has no break."""
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
    build(place, target)
    breaks = tomllib.loads((ROOT / MODELS / "breaks.toml").read_text(encoding="utf-8"))["break"]
    blind = sorted(set(models(place, target)) ^ {one["model"] for one in breaks})
    for name in blind:
        print(f"no break for this model, or no model for this break: {name}")
    chosen = [one for one in breaks if only in one["model"]]
    for one in chosen:
        began = time.monotonic()
        file = place / one["file"]
        sound = file.read_text(encoding="utf-8")
        file.write_text(broken(sound, one["edits"]), encoding="utf-8")
        build(place, target)
        seen = fails(one["model"], place, target)
        file.write_text(sound, encoding="utf-8")
        print(f"{'fails' if seen else 'HOLDS'}: {one['model']} ({time.monotonic() - began:.0f} s)", flush=True)
        if not seen:
            blind.append(one["model"])
    if blind:
        return 1
    print(f"proved: {len(chosen)} breaks of the engine, each made the model fail that is there for it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
