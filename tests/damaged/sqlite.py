"""What the SQLite of the standard library finds in damaged files: `python -m damaged.sqlite FOLDER KIND COUNT`.

A process of its own, and copies of its own: two SQLites never have one of these files open in one process, and what one
of them mends or writes the other does not see.
"""

import sqlite3
import sys
from pathlib import Path

from damaged.variants import Sources, lay

__all__ = ["is_sound"]


def is_sound(path: Path) -> bool:
    """Whether it finds nothing wrong: in the structure, in an index, in a column."""
    connection = sqlite3.connect(path)
    connection.text_factory = bytes
    try:
        return connection.execute("PRAGMA integrity_check(1)").fetchall() == [(b"ok",)]
    except (sqlite3.Error, UnicodeDecodeError):  # an error may quote what is no text
        return False
    finally:
        connection.close()


def main(folder: Path, kind: str, count: int) -> None:
    """Prints a line for each: 1 when it is sound."""
    sources, path = Sources.of(folder), folder / "looked.db"
    for seed in range(count):
        lay(sources.variant(kind, seed), path)
        print(int(is_sound(path)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
