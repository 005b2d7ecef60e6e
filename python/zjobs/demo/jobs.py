"""The demo's workers: plain functions and one coroutine function, and what is asked of them.

The functions know nothing of the supervisor, so each can be called and tested as it is. `register` says how each
runs: in which queue, before whom, how often, and what happens when it fails.
"""

import ast
import asyncio
import hashlib
import os
import resource
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import zjobs
from zjobs.demo.tree import Tree

QUEUES = {"read": 2, "cpu": 2, "net": 40, "flaky": 4}
"""Queue name to concurrency: how many jobs of it run at once."""

FLAKY_FAILURES = 2
"""How many attempts of `publish` fail before one goes through."""

LOST_ATTEMPTS = 3
"""How often `open_lost` may try before it is discarded."""

RETRY_AFTER = zjobs.Constant(delay_seconds=0.3)
"""Short, so that retries are seen within the run; the default grows from 15 seconds to an hour."""

ROOT = "root"
"""The key in the first job's `meta` under which the folder is kept that all of them are about."""

TICK = "tick"
"""The name of the cron entry and of its worker."""

EVERY_SECOND = "* * * * * *"
"""Six fields: the first is the second."""


class Digest(TypedDict):
    """What `hash_file` found."""

    path: str
    size: int
    sha256: str


class Census(TypedDict):
    """What `parse_source` found: counts, and the longest function."""

    functions: int
    classes: int
    broken: int
    longest_lines: int
    longest_name: str
    longest_path: str


class Packed(TypedDict):
    """What `compress_file` found, in bytes."""

    before: int
    after: int


class Usage(TypedDict):
    """What `tick` saw of this process: the peak of its memory in bytes, its processor time in seconds."""

    peak_memory: int
    cpu_seconds: float


def hash_file(path: str) -> Digest:
    """Read a file and compute its SHA-256."""
    content = Path(path).read_bytes()
    return Digest(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def parse_source(path: str) -> Census:
    """Parse a Python file; count its functions and classes; find its longest function."""
    census = Census(functions=0, classes=0, broken=0, longest_lines=0, longest_name="", longest_path=path)
    try:
        module = ast.parse(Path(path).read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        census["broken"] = 1  # a finding, not a failure: to parse it again would not help
        return census
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            census["classes"] += 1
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            census["functions"] += 1
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > census["longest_lines"]:
                census["longest_lines"] = lines
                census["longest_name"] = node.name
    return census


def compress_file(path: str) -> Packed:
    """Compress a file with zlib and report its size before and after."""
    content = Path(path).read_bytes()
    return Packed(before=len(content), after=len(zlib.compress(content, level=9)))


async def probe_file(path: str, wait_seconds: float) -> bool:
    """Ask whether a file is text, as one asks a remote service: mostly by waiting. True for text."""
    await asyncio.sleep(wait_seconds)
    return b"\0" not in await asyncio.to_thread(_head, path)


def publish(ctx: zjobs.JobContext, path: str) -> str:
    """Publish a file to a service that refuses the first two attempts of each job."""
    if ctx.attempt <= FLAKY_FAILURES:
        raise ConnectionError(f"the service is busy, attempt {ctx.attempt}")
    return hash_file(path)["sha256"]


def open_lost(path: str) -> int:
    """Read a file that is no longer there: always fails."""
    return Path(path).stat().st_size


def index_folder(folder: str) -> int:
    """Count the entries of a folder."""
    with os.scandir(folder) as entries:
        return sum(1 for _ in entries)


def tick() -> Usage:
    """Measure this process; the cron entry asks for it each second."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, KiB elsewhere
    return Usage(peak_memory=usage.ru_maxrss * unit, cpu_seconds=usage.ru_utime + usage.ru_stime)


def names() -> set[str]:
    """The names of the demo's workers."""
    jobs = zjobs.Supervisor()
    Workers(jobs)
    return set(jobs.workers)


def _head(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(1024)


class Workers:
    """The workers, registered with a supervisor.

    Lower priorities run first: in `cpu`, a tick overtakes every waiting file, and parsing goes before compressing.
    """

    def __init__(self, jobs: zjobs.Supervisor) -> None:
        """Register every worker and the cron entry with `jobs`."""
        self.hash_file = jobs.worker(queue="read", keep_result=True)(hash_file)
        self.index_folder = jobs.worker(queue="read", priority=5, unique_by=("worker", "args"), keep_result=True)(
            index_folder
        )
        self.parse_source = jobs.worker(queue="cpu", keep_result=True)(parse_source)
        self.compress_file = jobs.worker(queue="cpu", priority=10, keep_result=True)(compress_file)
        self.probe_file = jobs.worker(queue="net", keep_result=True)(probe_file)
        self.publish = jobs.worker(queue="flaky", max_attempts=5, retry_strategy=RETRY_AFTER)(publish)
        self.open_lost = jobs.worker(
            queue="flaky", priority=-5, max_attempts=LOST_ATTEMPTS, retry_strategy=RETRY_AFTER
        )(open_lost)
        self.tick = jobs.worker(queue="cpu", priority=-100, keep_result=True, name=TICK)(tick)
        jobs.register_cron(TICK, EVERY_SECOND, self.tick)

    def entries(self, tree: Tree) -> list[zjobs.JobEntry]:
        """The jobs that a tree of files asks for; duplicates among those that index a folder are refused later."""
        return list(self._entries(tree, lost=max(2, len(tree.files) // 100)))

    def _entries(self, tree: Tree, *, lost: int) -> Iterator[zjobs.JobEntry]:
        first = self.hash_file.options(meta={ROOT: str(tree.root)})
        for number, path in enumerate(tree.files):
            yield (self.hash_file if number else first).job(path=path)
            yield self.compress_file.job(path=path)
            yield self.probe_file.job(path=path, wait_seconds=0.05 + 0.01 * (number % 10))
            yield self.index_folder.job(folder=str(Path(path).parent))
            if path.endswith((".py", ".pyi")):
                yield self.parse_source.job(path=path)
            if number % 20 == 0:
                yield self.publish.job(path=path)
        for number in range(lost):
            yield self.open_lost.job(path=str(tree.root / f"lost-{number + 1}.txt"))
