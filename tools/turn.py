"""Run a build command while no other clone builds into the same cargo target folder.

Cargo names the crates of a workspace by their place inside it, and takes a crate as fresh when its sources are older
than what was built. So two clones that share a target folder can be given each other's code. This takes a lock for
the length of the command and, when another clone built there last, makes cargo forget this workspace's own crates;
the dependencies, which are the slow part, stay.

Usage: CARGO_TARGET_DIR=folder python tools/turn.py COMMAND [ARGUMENT...]
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent


def forget_other_clones(target: Path) -> None:
    """Drop what cargo knows of the workspace's crates, unless this very clone built them."""
    owner = target / ".built-by"
    # The inode tells a clone from an earlier one at the same place.
    clone = f"{CLONE} {CLONE.stat().st_ino}\n"
    if owner.exists() and owner.read_text(encoding="utf-8") == clone:
        return
    for fingerprint in [*target.glob("*/.fingerprint/zjobs-*"), *target.glob("*/*/.fingerprint/zjobs-*")]:
        shutil.rmtree(fingerprint)
    owner.write_text(clone, encoding="utf-8")


def main(command: list[str]) -> int:
    """Run the command when it is this clone's turn; its exit status is ours."""
    target = Path(os.environ["CARGO_TARGET_DIR"])
    target.mkdir(parents=True, exist_ok=True)
    with (target / ".turn").open("a", encoding="utf-8") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another clone builds in {target}: waiting for it", file=sys.stderr)
            fcntl.flock(turn, fcntl.LOCK_EX)
        forget_other_clones(target)
        # Ctrl-C reaches the command too: let it end in its own way, and hold the turn until it has.
        with subprocess.Popen(command) as running:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            return running.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
