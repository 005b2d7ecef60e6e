"""Which commit lies here, whether two of them are the same code, and what of the wheel has changed between two.

`git` may be absent, and a clone may not have a commit: what cannot be known is `None`, or "unknown" as a name.
"""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNKNOWN, DIRTY = "unknown", "-dirty"
SHIPPED = (
    "Cargo.lock",
    "Cargo.toml",
    "pyproject.toml",
    "python/zjobs",
    "rust/bindings",
    "rust/sql",
    "rust/src",
    "rust/vfs",
)
"""What a wheel is made of."""
WRITTEN = ":!docs/evidence.*"
"""What `tools/evidence.py` writes is no code."""


@dataclass(frozen=True, slots=True)
class Ages:
    """How many files of the wheel have changed from each commit to the newest of them; what is not known is absent."""

    newest: str | None
    changed: dict[str, int]


def here() -> str:
    """The commit that lies here, with a mark where files differ from it, other than those that are written."""
    at = _git("describe", "--always", "--exclude=*")
    if not at:
        return UNKNOWN
    return at if _git("status", "--porcelain", "--", ".", WRITTEN) == "" else f"{at}{DIRTY}"


def same(one: str, other: str) -> bool:
    """Whether two answers of `here` are of one code, of which all is committed."""
    if DIRTY in one + other:
        return False
    return one == other or _git("diff", "--name-only", one, other, "--", ".", WRITTEN) == ""


def changed(since: str, until: str) -> int | None:
    """How many files of the wheel differ between two commits."""
    names = _git("diff", "--name-only", "--no-renames", since, until, "--", *SHIPPED)
    return None if names is None else len(names.splitlines())


def ages(commits: Iterable[str]) -> Ages:
    """The ages of these commits. One with files that differed from it has none."""
    named = {_git("rev-parse", "--verify", "--quiet", f"{one}^{{commit}}"): one for one in commits}
    known = {whole: one for whole, one in named.items() if whole}
    # Of those that git knows, the one that comes after all others.
    last = _git("rev-list", "--topo-order", "--max-count=1", *known) if known else None
    if last is None:
        return Ages(None, {})
    counts = {one: changed(one, last) for one in known.values()}
    return Ages(known[last], {one: count for one, count in counts.items() if count is not None})


def _git(*words: str) -> str | None:
    """What git says; nothing when it is absent, or knows no answer."""
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, check=False, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
