"""What the finished jobs found out, added up from their kept results."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from zjobs.demo.jobs import Census, Digest, Packed


@dataclass(slots=True)
class Findings:
    """Sums over the results of completed jobs.

    Attributes:
        digests: How many files have each SHA-256.
        bytes_hashed: Bytes read and hashed.
        sources, functions, classes, broken: Python files parsed, what they define, how many do not parse.
        longest: The census of the file with the longest function, if any function was seen.
        bytes_before, bytes_after: Bytes before and after compression.
        probed, texts: Files probed by coroutines, and how many of them are text.
        folders, entries: Folders indexed, and what they hold together.
        peak_memory: The most memory of this process that a tick saw, in bytes.
    """

    digests: Counter[str] = field(default_factory=Counter[str])
    bytes_hashed: int = 0
    sources: int = 0
    functions: int = 0
    classes: int = 0
    broken: int = 0
    longest: Census | None = None
    bytes_before: int = 0
    bytes_after: int = 0
    probed: int = 0
    texts: int = 0
    folders: int = 0
    entries: int = 0
    peak_memory: int = 0

    @property
    def files_hashed(self) -> int:
        """Files read and hashed."""
        return self.digests.total()

    @property
    def files_with_twins(self) -> int:
        """Files that have the same content as another one."""
        return sum(count for count in self.digests.values() if count > 1)

    @property
    def ratio(self) -> float | None:
        """Compressed size over size, or `None` when nothing was compressed."""
        return self.bytes_after / self.bytes_before if self.bytes_before else None

    def add(self, worker: str, result: Any) -> None:  # noqa: ANN401 - each worker returns something else
        """Add what one job of `worker` returned."""
        match worker:
            case "hash_file":
                self._add_digest(result)
            case "parse_source":
                self._add_census(result)
            case "compress_file":
                self._add_packed(result)
            case "probe_file":
                self.probed += 1
                self.texts += result
            case "index_folder":
                self.folders += 1
                self.entries += result
            case "tick":
                self.peak_memory = max(self.peak_memory, result["peak_memory"])
            case _:
                pass

    def _add_digest(self, found: Digest) -> None:
        self.digests[found["sha256"]] += 1
        self.bytes_hashed += found["size"]

    def _add_census(self, found: Census) -> None:
        self.sources += 1
        self.functions += found["functions"]
        self.classes += found["classes"]
        self.broken += found["broken"]
        if found["longest_lines"] > (self.longest["longest_lines"] if self.longest else 0):
            self.longest = found

    def _add_packed(self, found: Packed) -> None:
        self.bytes_before += found["before"]
        self.bytes_after += found["after"]
