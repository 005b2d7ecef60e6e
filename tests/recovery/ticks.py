"""Nodes that all have one schedule, with a tick each second, are killed and started again."""

import random
import signal
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

import zjobs
from postgres_server import Server
from recovery.crew import Crew, until
from recovery.worker import TICK

__all__ = ["killed_among_ticks"]

NODES = 8
ALIVE = 3
"""Nodes that are up at least: where nobody lives, nothing ticks."""
SETTINGS: dict[str, Any] = {"ticks": True, "rescue_interval_ms": 1000}


def killed_among_ticks(server: Server, folder: Path, kills: int, rng: random.Random) -> list[float]:
    """From each tick to its row, in seconds.

    Raises:
        AssertionError: A second has no tick, or a tick has no job or several.
    """
    jobs = zjobs.Supervisor(server.url)
    with Crew(server.url, folder) as crew:
        nodes = [crew.start("default", **SETTINGS) for _ in range(NODES)]
        for node in nodes:
            node.wait_until_up(jobs)
        until(lambda: _rows(jobs), "the first tick")
        for _ in range(kills):
            time.sleep(rng.uniform(0.1, 0.6))
            victim = rng.randrange(NODES)
            nodes[victim].kill()
            nodes[victim] = crew.start("default", **SETTINGS)
            up = {node.name for node in jobs.nodes()}
            if sum(node.name in up for node in nodes) < ALIVE:
                nodes[victim].wait_until_up(jobs)
        for node in nodes:
            node.wait_until_up(jobs)
        before = len(_rows(jobs))
        until(lambda: len(_rows(jobs)) > before, "a tick after the last kill")
        for node in nodes:
            node.process.send_signal(signal.SIGTERM)
        for node in nodes:
            node.process.wait()
    with psycopg.connect(server.url) as connection:
        ticks = [at for (at,) in connection.execute("SELECT at FROM zjobs.ticks ORDER BY at").fetchall()]
    rows = _rows(jobs)
    if len(ticks) != (ticks[-1] - ticks[0]).total_seconds() + 1:
        raise AssertionError(f"{len(ticks)} ticks between {ticks[0]} and {ticks[-1]}: some are missing")
    if len(rows) != len(ticks):
        raise AssertionError(f"{len(ticks)} ticks have {len(rows)} jobs")
    return [(row - tick).total_seconds() for tick, row in zip(ticks, rows, strict=True)]


def _rows(jobs: zjobs.Supervisor) -> list[datetime]:
    """When the jobs of all ticks were put in."""
    return sorted(job.inserted_at for job in jobs.list(limit=None, worker=TICK))
