"""A copy of the sources, for what must not be done to those here."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ".copied"
"""What a copy came with, so that what is gone here goes there, too."""


def copy_sources(place: Path) -> None:
    """What is built, as it is here; files that did not change keep their times."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    place.mkdir(parents=True, exist_ok=True)
    copied = place / COPIED
    before = set(copied.read_text("utf-8").split("\0")) if copied.exists() else set()
    for name in before - names:
        (place / name).unlink(missing_ok=True)
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, place / name)
    copied.write_text("\0".join(sorted(names)), "utf-8")
