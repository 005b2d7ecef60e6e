"""Many cuts of the connections between workers, producers and PostgreSQL: nothing is lost, nothing hangs.

From the folder of the tests: `python -m outages.cuts --cuts 500`, which `make cuts` does. A cut is one of: every
connection is reset; the network drops everything for a while; a request is lost; the reply to a request is lost. The
leases outlast the longest of them, so no job may run twice.
"""

import argparse
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import postgres_server
import zjobs
from outages.account import Account
from proxy import Proxy

__all__ = ["run"]

WORKERS, PRODUCERS = 2, 3
PATIENCE = 1.0
"""Seconds that a call may take here."""
KINDS = ("reset", "hole", "request lost", "reply lost")


def supervisor(server: postgres_server.Server, proxy: Proxy, **settings: object) -> zjobs.Supervisor:
    url = server.url.replace(f":{server.port}/", f":{proxy.port}/")
    return zjobs.Supervisor(zjobs.PostgresStore(url, call_timeout_seconds=PATIENCE), **settings)


def once(proxy: Proxy, verdict: str, over: threading.Event) -> Callable[[bytes], str]:
    """Gives one verdict, to the next message that comes."""

    def judge(_: bytes) -> str:
        proxy.judge = lambda _: "pass"
        over.set()
        return verdict

    return judge


def cut(proxy: Proxy, kind: str, rng: random.Random) -> None:
    match kind:
        case "reset":
            proxy.cut()
        case "hole":
            proxy.judge = lambda _: "hold"
            time.sleep(rng.uniform(0.1, 2 * PATIENCE))
            proxy.judge = lambda _: "pass"
            proxy.cut()
        case _:
            done = threading.Event()
            proxy.judge = once(proxy, {"request lost": "cut", "reply lost": "cut after"}[kind], done)
            done.wait(PATIENCE)
            proxy.judge = lambda _: "pass"


def cuts(proxies: list[Proxy], count: int, rng: random.Random) -> Iterator[str]:
    """Each is made, and named."""
    for _ in range(count):
        kind = rng.choice(KINDS)
        cut(rng.choice(proxies), kind, rng)
        yield kind
        time.sleep(rng.uniform(0, 0.2))


def run(count: int, seed: int) -> tuple[Account, list[str]]:
    """Cuts so often, waits until all is settled, and says what must not be."""
    account, rng = Account(), random.Random(seed)
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server.running())
        proxies = [stack.enter_context(closing(Proxy(server.port))) for _ in range(WORKERS + PRODUCERS)]
        for proxy in proxies[:WORKERS]:
            jobs = supervisor(server, proxy, queues={"default": 4})
            account.work(jobs)
            stack.enter_context(jobs)
        producers = [supervisor(server, proxy) for proxy in proxies[WORKERS:]]
        account.outlast(producers, cuts(proxies, count, rng))
        return account, account.settled(zjobs.Supervisor(server.url))


def main() -> int:
    parser = argparse.ArgumentParser(prog="outages.cuts")
    parser.add_argument("--cuts", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    account, problems = run(asked.cuts, asked.seed)
    return account.tell(problems, "cuts")


if __name__ == "__main__":
    sys.exit(main())
