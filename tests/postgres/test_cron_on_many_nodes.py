"""Schedules on many nodes of one PostgreSQL, which come and go: each tick once, without a leader."""

import random
import signal
import subprocess
import sys
import textwrap
import time

import psycopg
import pytest

import zjobs

NODES = 8
KILLS = 6
NODE = textwrap.dedent(
    """
    import sys, zjobs
    jobs = zjobs.Supervisor(sys.argv[1], queues={"default": 2}, rescue_interval_ms=1000)

    @jobs.cron("* * * * * *", catch_up="all")
    @jobs.worker
    def tick() -> None: ...

    print("up", flush=True)
    jobs.run()
    """
)


def start(url):
    return subprocess.Popen([sys.executable, "-c", NODE, url], stdout=subprocess.PIPE)


@pytest.mark.timeout(120)
def test_each_tick_is_enqueued_once_by_eight_nodes_that_are_killed_and_started_again(database_url, postgres_url):
    rng, schema = random.Random(1), postgres_url.rsplit("=", 1)[1]  # noqa: S311 - chance from a seed
    nodes = [start(postgres_url) for _ in range(NODES)]
    try:
        for node in nodes:
            assert node.stdout.readline() == b"up\n"
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.3, 1.2))
            victim = rng.randrange(NODES)
            nodes[victim].kill()
            nodes[victim].communicate()
            nodes[victim] = start(postgres_url)
        time.sleep(2)
        for node in nodes:
            node.send_signal(signal.SIGTERM)
        for node in nodes:
            node.communicate(timeout=40)
    finally:
        for node in nodes:
            node.kill()
            node.communicate()
    with psycopg.connect(database_url) as connection:
        ticks, first, last = connection.execute(
            f"SELECT count(*), min(at), max(at) FROM {schema}.ticks"  # noqa: S608 - a name of our own
        ).fetchone()
    assert ticks == (last - first).total_seconds() + 1 >= KILLS // 2, "a tick is missing"
    client = zjobs.Supervisor(postgres_url)
    assert client.count() == ticks, "a tick has two jobs, or none"
    assert client.count(states=[zjobs.JobState.DISCARDED]) == 0
