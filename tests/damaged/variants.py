"""The damaged files, each by its seed: the same ones for whoever makes them again."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ENDS", "KINDS", "Sources", "lay"]

ENDS = ("", "-wal", "-shm", "-journal")
KINDS = ("files", "logs")
PAGE = 4096

Files = dict[str, bytes | None]
"""What lies under each ending of a name; None: nothing."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Whole files that the damage is done to."""

    closed: bytes
    """A file that was closed, without a log."""
    killed: Files
    """One whose process was killed: half of its jobs are in the log."""
    strange: bytes
    """The log of another one."""

    @classmethod
    def of(cls, folder: Path) -> "Sources":
        """Reads them."""
        strange = _read(folder / "strange.db-wal")
        killed = {end: _read(folder / f"killed.db{end}") for end in ENDS}
        assert all((strange, killed["-wal"], killed["-shm"])), "a log is missing"
        return cls((folder / "closed.db").read_bytes(), killed, strange)

    def variant(self, kind: str, seed: int) -> Files:
        """The damaged file of that seed: itself, or in the log beside it."""
        chance = random.Random(seed)
        return self._file(chance) if kind == "files" else self._log(chance)

    def is_whole(self, kind: str, files: Files) -> bool:
        """Whether it is as it was before; an index of the log that is not there is made anew."""
        whole = dict.fromkeys(ENDS) | {"": self.closed} if kind == "files" else self.killed
        return all(files[end] == content for end, content in whole.items() if end != "-shm" or files[end] is not None)

    def _file(self, chance: random.Random) -> Files:
        data = bytearray(self.closed)
        match chance.randrange(4):
            case 0:
                for _ in range(chance.choice([1, 1, 3, 40])):
                    data[chance.randrange(len(data))] = chance.randrange(256)
            case 1:
                del data[chance.randrange(1, len(data)) :]
            case 2:
                at = chance.randrange(0, len(data), PAGE)
                data[at : at + PAGE] = chance.randbytes(PAGE)
            case _:
                data[:100] = chance.randbytes(100)
        return dict.fromkeys(ENDS) | {"": bytes(data)}

    def _log(self, chance: random.Random) -> Files:
        data, log, index = (self.killed[end] or b"" for end in ENDS[:3])
        files = {**self.killed, "-shm": chance.choice([None, index])}
        match chance.randrange(8):
            case 0:
                files["-wal"] = None
            case 1:
                files["-wal"] = log[: chance.randrange(len(log))]
            case 2:
                files["-wal"] = _flipped(chance, log)
            case 3:
                files["-wal"] = self.strange
            case 4:
                files["-wal"] = chance.randbytes(chance.randrange(20_000))
            case 5:
                files["-shm"] = _flipped(chance, index)
            case 6:
                files["-journal"] = chance.randbytes(chance.randrange(1, 5000))
            case _:
                files[""] = _flipped(chance, data)
                files["-wal"] = _flipped(chance, log)
        return files


def lay(files: Mapping[str, bytes | None], path: Path) -> None:
    """Puts them there in the place of what was there."""
    for end, content in files.items():
        file = path.with_name(path.name + end)
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _flipped(chance: random.Random, content: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(chance.randint(1, 20)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)
