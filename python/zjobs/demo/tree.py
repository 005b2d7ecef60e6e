"""Which files the demo works on: at most so many, spread evenly over the tree, none of them huge."""

import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 2 * 1024 * 1024
"""Files above this size are left out, so that one image does not take longer than all sources."""

SKIPPED_FOLDERS = frozenset({"__pycache__", "site-packages", "dist-packages", "node_modules"})


class EmptyTreeError(ValueError):
    """The path does not exist, cannot be read, or holds no file that the demo can use."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The files to work on.

    Attributes:
        root: The folder they are in.
        files: Their absolute paths, sorted.
        found: How many usable files the whole tree has.
        left_out: How many files were too large, unreadable or not nameable in UTF-8.
    """

    root: Path
    files: tuple[str, ...]
    found: int
    left_out: int


def standard_library() -> Path:
    """The folder of the standard library of the Python that runs this."""
    return Path(sysconfig.get_paths()["stdlib"])


def survey(root: Path, *, most_files: int) -> Tree:
    """Walk `root` and choose up to `most_files` files, evenly over the sorted list.

    Args:
        root: A folder, or a single file.
        most_files: The most files to choose, at least 1.

    Raises:
        EmptyTreeError: The path does not exist, cannot be read, or holds no usable file.
    """
    if not root.exists():
        raise EmptyTreeError(f"must be a folder that exists (got '{root}'); leave it out for the standard library")
    if root.is_dir() and not os.access(root, os.R_OK | os.X_OK):
        raise EmptyTreeError(f"must be a folder that this user may read (got '{root}')")
    usable: list[str] = []
    left_out = 0
    for path in _walk(root.resolve()):
        if _is_usable(path):
            usable.append(path)
        else:
            left_out += 1
    if not usable:
        limit = f"{MOST_BYTES // 1024 // 1024} MiB"
        raise EmptyTreeError(f"must hold at least one readable file up to {limit} (got '{root}', {left_out} left out)")
    usable.sort()
    count = min(most_files, len(usable))
    files = tuple(usable[index * len(usable) // count] for index in range(count))
    return Tree(root=root.resolve(), files=files, found=len(usable), left_out=left_out)


def _walk(root: Path) -> Iterator[str]:
    if root.is_file():
        yield str(root)
        return
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS and not name.startswith(".")]
        yield from (str(Path(folder, name)) for name in names)


def _is_usable(path: str) -> bool:
    file = Path(path)
    try:
        path.encode()  # arguments are JSON, and JSON is UTF-8
        plain = file.is_file() and not file.is_symlink()
        return plain and file.stat().st_size <= MOST_BYTES and os.access(file, os.R_OK)
    except (OSError, UnicodeEncodeError):
        return False
