"""Many workers that lose their server at once and come back at once: they do not overrun it."""

import contextlib
import os
import threading
import time

import pytest

import postgres_server
import zjobs
from proxy import Proxy

CLIENTS = int(os.environ.get("ZJOBS_CLIENTS", "40"))
SEATS = 3
"""Connections that a worker opens by itself: for claims and beats, for ends of jobs and the like, and to listen."""
OUTAGE = 4.0
"""Seconds that it takes at least."""
WINDOW = 2.0


@pytest.fixture
def way():
    """A server with room for all, and the way to it that can be closed."""
    settings = {"max_connections": str(CLIENTS * 5 + 20), "shared_buffers": "64MB"}
    with postgres_server.running(settings=settings) as server, contextlib.closing(Proxy(server.port)) as proxy:
        yield server, proxy


@pytest.mark.timeout(300)
def test_workers_come_back_in_a_spread_and_ask_seldom_while_there_is_nobody(way, eventually):
    server, proxy = way
    client = zjobs.Supervisor(server.url)
    url = server.url.replace(f":{server.port}/", f":{proxy.port}/")
    back = threading.Semaphore(0)
    with contextlib.ExitStack() as stack:
        for _ in range(CLIENTS):
            jobs = zjobs.Supervisor(url, queues={"default": 1})
            jobs.telemetry.attach(lambda _: back.release(), zjobs.telemetry.StoreRecovered)

            @jobs.worker
            def act() -> None: ...

            stack.enter_context(jobs)
        eventually(lambda: len(client.nodes()) == CLIENTS)
        proxy.refuses = True
        proxy.cut()
        time.sleep(OUTAGE)

        def is_calm():
            window = time.monotonic() - WINDOW
            return sum(at > window for at in proxy.came) <= 2 * CLIENTS * SEATS * WINDOW

        # Once the pauses have grown to seconds each connection is tried about once a second at most. A busy machine
        # takes in late what came before.
        eventually(is_calm)
        until, proxy.refuses = time.monotonic(), False
        for _ in range(CLIENTS):
            assert back.acquire(timeout=60)
        came = sorted(at for at in proxy.came if at > until)
        # No tenth of a second has seen a third of them: each has waited for a time of its own.
        most = max(sum(begin <= at < begin + 0.1 for at in came) for begin in came)
        assert most <= max(SEATS * CLIENTS / 3, 10), (most, len(came))
        made = client.enqueue_many([("act", {})] * CLIENTS)
        for job in made:
            assert client.wait(job, 60).state is zjobs.JobState.COMPLETED
