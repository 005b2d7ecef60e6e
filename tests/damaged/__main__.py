"""Damaged files, and files with damaged logs: `python -m damaged --count 10000`, which `make corrupt-sqlite` does.

zjobs opens each and makes calls of every kind, in one process. In another one the SQLite of the standard library looks
through a copy. SQLite notices damage where it reads: what lies in pages that no call reads nobody knows of, and zjobs
goes on beside it. So a share of what is damaged may go unnoticed, and it is told how much; a call that meets damage
must fail with an error that names the file, and from then on not a byte may be written.
"""

import argparse
import gc
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zjobs
from damaged.variants import KINDS, Sources
from zjobs.store import JobFilter, NewJob

__all__ = ["Counts", "judge"]

KILLED = """
import gc, os, signal, sys, zjobs
for part in range(2):
    jobs = zjobs.Supervisor(f"sqlite:///{sys.argv[1]}")
    for n in range(int(sys.argv[2])):
        jobs.enqueue("w", {"n": n, "text": "x" * 300}, priority=n % 7)
    if part == 0:
        del jobs
        gc.collect()  # the first half is in the file, the second one in the log
os.kill(os.getpid(), signal.SIGKILL)
"""
LEAST_NOTICED = {"files": 0.9, "logs": 0.9}
"""Of those that SQLite finds damaged."""
LEAST_HARMLESS = {"files": 0.02, "logs": 0.3}
"""Of all: a store that refuses whatever it is given notices everything."""

MOST_WHOLE = 0.03
"""Of all: chance may put a byte in its own place."""


@dataclass(slots=True)
class Counts:
    """How the files of one kind ended."""

    kind: str
    noticed: int = 0
    """A call failed, and named the file."""
    harmless: int = 0
    """No call failed, and there is nothing that SQLite finds wrong."""
    unnoticed: int = 0
    """No call failed, though SQLite finds damage."""
    damaged: int = 0
    """Those that SQLite finds damaged and zjobs noticed."""
    problems: list[str] = field(default_factory=list)

    def sentence(self) -> str:
        """All of it."""
        ends = {"noticed": self.noticed, "harmless": self.harmless, "unnoticed": self.unnoticed}
        told = ", ".join(f"{count} {end}" for end, count in ends.items())
        return f"{sum(ends.values())} damaged {self.kind} ({told})"


def judge(kind: str, name: str, sound: Sequence[bool], ends: Sequence[dict]) -> Counts:
    """Counts files, and says what must not be."""
    counts = Counts(kind)
    if len(sound) != len(ends):
        counts.problems.append(f"{len(ends)} {kind} were opened and {len(sound)} looked through")
    for seed, (is_sound, end) in enumerate(zip(sound, ends, strict=False)):
        counts.problems += [f"{kind}, seed {seed}: {wrong}" for wrong in end["wrong"]]
        counts.problems += [
            f"{kind}, seed {seed}: it names no file: {said}" for said in end["said"] if name not in said
        ]
        if end["said"]:
            counts.noticed += 1
            counts.damaged += not is_sound
        elif is_sound:
            counts.harmless += 1
        else:
            counts.unnoticed += 1
    if counts.damaged < LEAST_NOTICED[kind] * (counts.damaged + counts.unnoticed):
        counts.problems.append(f"{kind}: {counts.unnoticed} with damage went unnoticed, {counts.damaged} were noticed")
    if counts.harmless < LEAST_HARMLESS[kind] * len(ends):
        counts.problems.append(f"{kind}: only {counts.harmless} of {len(ends)} were fit for work")
    return counts


def undamaged(sources: Sources, kind: str, count: int) -> list[str]:
    """What is wrong when there are many to which nothing was done."""
    whole = sum(sources.is_whole(kind, sources.variant(kind, seed)) for seed in range(count))
    return [f"{kind}: {whole} of {count} are whole"] if whole > MOST_WHOLE * count else []


def make(folder: Path) -> None:
    """The whole files that the damage is done to."""
    store = zjobs.SqliteStore(folder / "closed.db")
    store.enqueue([NewJob("w", b'{"n":1}') for _ in range(200)])
    store.cancel(JobFilter(limit=50))
    del store
    gc.collect()
    for name, jobs in (("killed.db", 150), ("strange.db", 60)):
        made = subprocess.run([sys.executable, "-c", KILLED, str(folder / name), str(jobs)], check=False)
        assert made.returncode == -signal.SIGKILL


def run(kind: str, folder: Path, count: int) -> Counts:
    """So many of one kind."""
    asked = (str(folder), kind, str(count))
    with subprocess.Popen([sys.executable, "-m", "damaged.sqlite", *asked], stdout=subprocess.PIPE, text=True) as look:
        opened = subprocess.run(
            [sys.executable, "-m", "damaged.opened", *asked], capture_output=True, text=True, check=False
        )
        sound = [line == "1" for line in look.communicate()[0].split()]
    ends = [json.loads(line) for line in opened.stdout.splitlines()]
    if opened.returncode:
        crash = f"{kind}, seed {len(ends)}: ended with {opened.returncode}: {opened.stderr.strip()}"
        return Counts(kind, problems=[crash])
    counts = judge(kind, "opened.db", sound, ends)
    counts.problems += undamaged(Sources.of(folder), kind, count)
    return counts


def main() -> int:
    """Tells what is proved, or the first problems; the code to end with."""
    parser = argparse.ArgumentParser(prog="damaged")
    parser.add_argument("--count", type=int, default=10_000, help="of each kind")
    asked = parser.parse_args()
    # In memory where there is a place: nothing here has to outlive the process, and commits would wait for the disk.
    memory = Path("/dev/shm")  # noqa: S108 - the folder below it is made for us alone
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        make(Path(folder))
        kinds = [run(kind, Path(folder), asked.count) for kind in KINDS]
    problems = [problem for counts in kinds for problem in counts.problems]
    for problem in problems[:20]:
        print(problem, file=sys.stderr)
    told = " and ".join(counts.sentence() for counts in kinds)
    print(
        f"failed: {len(problems)} problems with {told}"
        if problems
        else f"proved: {told}: no crash, nothing written after damage was noticed"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
