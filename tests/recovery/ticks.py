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
WATCHED = """
CREATE SCHEMA seen;
CREATE TABLE seen.ticks (transaction text, at timestamptz);
CREATE TABLE seen.jobs (transaction text, at timestamptz);
CREATE FUNCTION seen.tick() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO seen.ticks VALUES (pg_current_xact_id()::text, NEW.at); RETURN NULL; END $$;
CREATE FUNCTION seen.job() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO seen.jobs VALUES (pg_current_xact_id()::text, clock_timestamp()); RETURN NULL; END $$;
CREATE TRIGGER seen AFTER INSERT ON zjobs.ticks FOR EACH ROW EXECUTE FUNCTION seen.tick();
CREATE TRIGGER seen AFTER INSERT ON zjobs.jobs FOR EACH ROW EXECUTE FUNCTION seen.job();
"""
"""A tick and its job share a transaction. The time in a job's row is that of the begin of it, which may have waited."""
Seen = tuple[str, datetime]
"""A transaction, and the time of its tick, or the one at which its job was put in."""


def killed_among_ticks(server: Server, folder: Path, kills: int, rng: random.Random) -> list[float]:
    """From each tick to its row, in seconds.

    Raises:
        AssertionError: A second has no tick, or a tick has no job or several.
    """
    jobs = zjobs.Supervisor(server.url)
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(WATCHED)
    with Crew(server.url, folder) as crew:
        nodes = [crew.start("default", **SETTINGS) for _ in range(NODES)]
        for node in nodes:
            node.wait_until_up(jobs)
        until(lambda: _rows(jobs), "the first tick")
        killed = []
        for _ in range(kills):
            time.sleep(rng.uniform(0.1, 0.6))
            victim = rng.randrange(NODES)
            nodes[victim].kill()
            killed.append(nodes[victim])
            nodes[victim] = crew.start("default", **SETTINGS)
            up = {node.name for node in jobs.nodes()}
            if sum(node.name in up for node in nodes) < ALIVE:
                nodes[victim].wait_until_up(jobs)
        for node in killed:
            node.must_have_been_killed()
        for node in nodes:
            node.wait_until_up(jobs)
        before = _rows(jobs)
        until(lambda: _rows(jobs) > before, "a tick after the last kill")
        for node in nodes:
            node.process.send_signal(signal.SIGTERM)
        for node in nodes:
            node.process.wait()
    with psycopg.connect(server.url) as connection:
        ticks = connection.execute("SELECT transaction, at FROM seen.ticks").fetchall()
        return late(ticks, connection.execute("SELECT transaction, at FROM seen.jobs").fetchall())


def late(ticks: list[Seen], rows: list[Seen]) -> list[float]:
    """From each tick to the row of its own job, in seconds.

    Raises:
        AssertionError: As `killed_among_ticks`.
    """
    times = [at for _, at in ticks]
    if len(set(times)) != (max(times) - min(times)).total_seconds() + 1:
        raise AssertionError(f"{len(ticks)} ticks between {min(times)} and {max(times)}: some are missing")
    came = dict(rows)
    if len(rows) != len(ticks) or came.keys() != dict(ticks).keys():
        raise AssertionError(
            f"{len(ticks)} ticks have {len(rows)} jobs, of {len(came)} transactions, and not their own"
        )
    return [(came[transaction] - at).total_seconds() for transaction, at in ticks]


def _rows(jobs: zjobs.Supervisor) -> int:
    return jobs.count(worker=TICK)
