"""Leaders that are killed and followers that take their place, again and again: nothing that was confirmed is lost.

From the folder of the tests: `python -m outages.promotions --times 100`, which `make promotions` does. A commit is
confirmed when the follower has it; a leader dies without a word; what it left is thrown away and becomes the next
follower. The leases outlast a promotion, so no job may run twice.
"""

import argparse
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg

import postgres_server
import zjobs
from outages.account import Account

__all__ = ["run"]

PRODUCERS = 2
SOON = 60.0
SETTINGS = {"wal_level": "replica", "hot_standby": "on"}


class Pair:
    """Two servers, of which one leads."""

    def __init__(self, leader: postgres_server.Server, folder: Path) -> None:
        self.leader = leader
        self.follower = postgres_server.Server(folder, settings=SETTINGS)

    @property
    def url(self) -> str:
        """Of whichever leads."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in sorted((self.leader.port, self.follower.port)))
        return f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"

    def follow(self) -> None:
        """Makes the follower a copy of the leader, and waits until a commit is confirmed only when both have it."""
        shutil.rmtree(self.follower.data, ignore_errors=True)
        with psycopg.connect(self.leader.url, autocommit=True) as admin:
            admin.execute("SELECT pg_create_physical_replication_slot('one')")
            self.follower.copy_of(self.leader)
            self.follower.start()
            admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            admin.execute("SELECT pg_reload_conf()")
            self._wait_for(admin, "SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state = 'sync'")
            # What was confirmed before that has arrived, too.
            (here,) = admin.execute("SELECT pg_current_wal_flush_lsn()").fetchone() or (None,)
            self._wait_for(admin, "SELECT bool_and(flush_lsn >= %s) FROM pg_stat_replication", here)

    def promote(self) -> None:
        """Kills the leader; the follower leads at once."""
        self.leader.stop(signal.SIGKILL)
        self.follower.run(["pg_ctl", "promote", "-D", str(self.follower.data)])
        self.leader, self.follower = self.follower, self.leader

    def stop(self) -> None:
        for server in (self.leader, self.follower):
            server.stop(signal.SIGQUIT)

    @staticmethod
    def _wait_for(admin: psycopg.Connection, question: str, *values: object) -> None:
        until = time.monotonic() + SOON
        while admin.execute(question, values).fetchone() != (True,):
            if time.monotonic() > until:
                raise TimeoutError(f"{question}: not within {SOON:g} s")
            time.sleep(0.01)


def promotions(pair: Pair, times: int, account: Account, rng: random.Random) -> Iterator[str]:
    """Each happens in the midst of work, and work goes on before the next."""
    for _ in range(times):
        pair.follow()
        time.sleep(rng.uniform(0, 0.5))
        pair.promote()
        before, until = len(account.made), time.monotonic() + SOON
        while len(account.made) <= before:
            if time.monotonic() > until:
                raise TimeoutError(f"nothing was enqueued within {SOON:g} s of a promotion")
            time.sleep(0.01)
        yield "follower promoted"


def run(times: int, seed: int) -> tuple[Account, list[str]]:
    """Promotes so often, waits until all is settled, and says what must not be."""
    account, rng = Account(), random.Random(seed)
    with ExitStack() as stack:
        leader = stack.enter_context(postgres_server.running(settings=SETTINGS))
        pair = Pair(leader, leader.folder / "other")
        stack.callback(pair.stop)
        zjobs.migrate(leader.url)
        jobs = zjobs.Supervisor(pair.url, queues={"default": 4}, rescue_interval_ms=1000)
        account.work(jobs)
        stack.enter_context(jobs)
        producers = [zjobs.Supervisor(pair.url) for _ in range(PRODUCERS)]
        account.outlast(producers, promotions(pair, times, account, rng))
        return account, account.settled(zjobs.Supervisor(pair.leader.url))


def main() -> int:
    parser = argparse.ArgumentParser(prog="outages.promotions")
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    account, problems = run(asked.times, asked.seed)
    return account.tell(problems, "deaths of the leader")


if __name__ == "__main__":
    sys.exit(main())
