"""What zjobs does with damaged files: `python -m damaged.opened FOLDER KIND COUNT`."""

import json
import sys
from pathlib import Path

import zjobs
from damaged.variants import ENDS, Sources, lay
from zjobs.store import Heartbeat, JobFilter, NewJob

__all__ = ["end_of"]

NODE = "a" * 32
WRITES = {
    "heartbeat": lambda store: store.heartbeat(Heartbeat(NODE)),
    "enqueue": lambda store: store.enqueue([NewJob("w", b"{}")]),
    "claim": lambda store: store.claim(NODE, "default", 5),
    "cancel": lambda store: store.cancel(JobFilter()),
    "pause": lambda store: store.pause("mail"),
}
CALLS = {
    "list": lambda store: store.list(JobFilter()),
    "count": lambda store: store.count_by_state(),
    **WRITES,
    "rescue": lambda store: store.rescue(),  # writes only where there is something to rescue
}


def end_of(path: Path) -> dict[str, object]:
    """Whether a call ended in an error, what it said first, and what must not be."""
    said, wrong, found = [], [], None
    before = _content(path)
    try:
        store = zjobs.SqliteStore(path)
    except zjobs.Error as error:
        if _content(path)[0] != before[0]:
            wrong.append("written although it was refused")
        return {"said": [str(error)], "wrong": wrong}
    for name, call in CALLS.items():
        try:
            call(store)
            if found is not None and name in WRITES:
                wrong.append(f"{name} wrote after the damage was found")
        except zjobs.LeaseLost:
            # There is no lease since the beat has failed.
            if not said:
                wrong.append(f"{name} lost a lease, and nothing had failed")
        except zjobs.Error as error:
            said.append(str(error))
            if found is None and ("is damaged" in said[-1] or "is no SQLite database" in said[-1]):
                found = _content(path)
    del store
    if found is not None and _content(path) != found:
        wrong.append("written after the damage was found")
    return {"said": said, "wrong": wrong}


def _content(path: Path) -> list[bytes | None]:
    # The index of the log holds locks and marks of readers; only the file and its log hold data.
    files = (path.with_name(path.name + end) for end in ENDS[:2])
    return [file.read_bytes() if file.exists() else None for file in files]


def main(folder: Path, kind: str, count: int) -> None:
    """Prints a line for each."""
    sources, path = Sources.of(folder), folder / "opened.db"
    for seed in range(count):
        lay(sources.variant(kind, seed), path)
        print(json.dumps(end_of(path)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
