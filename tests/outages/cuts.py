"""Many cuts of the connections between workers, producers and PostgreSQL: nothing is lost, nothing hangs.

From the folder of the tests: `python -m outages.cuts --cuts 500`, which `make cuts` does. A cut is one of: every
connection is reset; the network drops everything for a while; a request is lost; the reply to a request is lost. Of
those that are lost, most commit an enqueue or the end of a job. A cut counts when it has been felt. The leases outlast
the longest of them, so no job may run twice. After all that the network is silent once for longer than a call may take
where nobody has said how long.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing

import postgres_server
import zjobs
from outages.account import DEADLINE, Account
from outages.way import Way

__all__ = ["patience", "run", "shares", "silence"]

WORKERS, PRODUCERS = 2, 3
PATIENCE = 1.0
"""Seconds that a call may take here, with all that it tries again."""
MARGIN = 2.0
"""Seconds more, for a machine that does all of this."""
SILENCE = 18.0
"""Seconds of the hole beside stores with the deadline that they have by themselves."""
LOST = {"request lost": "cut", "reply lost": "cut after"}
CUTS = [
    *(2 * [("reset", None)]),
    *(("hole", wanted) for wanted in ("enqueue", None)),
    *((kind, wanted) for kind in LOST for wanted in ("enqueue", "ack", None)),
]
"""The kinds, and what the message commits that is lost; `None` is any, such as a look. All of them by turns."""


def url(server: postgres_server.Server, way: Way) -> str:
    return server.url.replace(f":{server.port}/", f":{way.port}/")


def supervisor(server: postgres_server.Server, way: Way, **settings: object) -> zjobs.Supervisor:
    return zjobs.Supervisor(zjobs.PostgresStore(url(server, way), call_timeout_seconds=PATIENCE), **settings)


def cut(ways: list[Way], kind: str, wanted: str | None, rng: random.Random) -> set[str]:
    """Cuts one; what the message that was lost would have committed."""
    way = rng.choice({"ack": ways[:WORKERS], "enqueue": ways[WORKERS:]}.get(wanted or "", ways))
    if kind in LOST:
        return way.lose(LOST[kind], wanted)
    if kind == "hole":
        way.hold()
        # The end of a hole ends the calls in it: one that is held to its time has to be in it for longer.
        time.sleep(PATIENCE + MARGIN + 0.5 if wanted else rng.uniform(0.1, 2 * PATIENCE))
        way.release()
    else:
        way.reset()
    return set()


def cuts(ways: list[Way], count: int, rng: random.Random, lost: Counter[str]) -> Iterator[str]:
    """Each is made, and named; counts what was lost."""
    turn: list[tuple[str, str | None]] = []
    for _ in range(count):
        turn = turn or rng.sample(CUTS, len(CUTS))
        kind, wanted = turn.pop()
        met = cut(ways, kind, wanted, rng)
        if kind in LOST:
            lost.update(met or ["nothing"])
        yield kind
        time.sleep(rng.uniform(0, 0.2))


def shares(lost: Counter[str], kinds: Counter[str]) -> list[str]:
    """What is wrong when too few of the messages that were lost matter."""
    messages = sum(kinds[kind] for kind in LOST)
    return [
        f"of {messages} messages that were lost {lost[verb]} commit an {verb}: less than a quarter"
        for verb in ("enqueue", "ack")
        if 4 * lost[verb] < messages
    ]


def run(count: int, seed: int) -> tuple[Account, list[str], Counter[str]]:
    """Cuts so often, waits until all is settled, and says what must not be, and what was lost."""
    account, rng, lost = Account(most=PATIENCE + MARGIN), random.Random(seed), Counter[str]()
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server.running())
        zjobs.migrate(server.url)  # which may take longer than a call may here
        ways = [stack.enter_context(closing(Way(server.port))) for _ in range(WORKERS + PRODUCERS)]
        for way in ways[:WORKERS]:
            jobs = supervisor(server, way, queues={"default": 4})
            account.work(jobs)
            stack.enter_context(jobs)
        producers = [supervisor(server, way) for way in ways[WORKERS:]]
        account.outlast(producers, cuts(ways, count, rng, lost))
        problems = account.settled(zjobs.Supervisor(server.url))
    if count >= len(CUTS):
        problems += shares(lost, account.kinds) + patience(account)
    return account, problems, lost


def patience(account: Account) -> list[str]:
    """What is wrong when no call was in a hole to its end."""
    if account.slowest >= 0.9 * PATIENCE:
        return []
    return [f"the longest call took {account.slowest:.1f} s: none has waited as long as it may"]


def silence(seconds: float) -> tuple[Account, list[str]]:
    """The network between producers and the server drops everything for so long; what must not be."""
    account = Account(most=DEADLINE + MARGIN / 2)
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server.running())
        ways = [stack.enter_context(closing(Way(server.port))) for _ in range(PRODUCERS)]
        jobs = zjobs.Supervisor(server.url, queues={"default": 4})
        account.work(jobs)
        stack.enter_context(jobs)

        def hole() -> Iterator[str]:
            for way in ways:
                way.hold()
            time.sleep(seconds)
            for way in ways:
                way.release()
            yield f"hole of {seconds:g} s"
            before, until = len(account.made), time.monotonic() + DEADLINE
            while len(account.made) <= before and time.monotonic() < until:
                time.sleep(0.01)
            if len(account.made) <= before:
                account.failures.append("nothing was enqueued after the hole")

        account.outlast([zjobs.Supervisor(url(server, way)) for way in ways], hole())
        problems = account.settled(zjobs.Supervisor(server.url))
    if account.slowest < DEADLINE - MARGIN / 2:
        problems.append(f"the longest call took {account.slowest:.1f} s: none has waited as long as it may")
    return account, problems


def main() -> int:
    parser = argparse.ArgumentParser(prog="outages.cuts")
    parser.add_argument("--cuts", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-silence", action="store_true", help="without the hole that takes longer than a call may")
    asked = parser.parse_args()
    account, problems, lost = run(asked.cuts, asked.seed)
    also = f"; {lost['enqueue']} messages that were lost committed enqueues, {lost['ack']} ends of jobs"
    if not asked.no_silence:
        silent, more = silence(SILENCE)
        problems += more
        also += (
            f"; with the deadline that stores have, and the network silent for {SILENCE:g} s, {silent.failed} enqueues"
            f" failed, 0 were lost, and the longest call took {silent.slowest:.1f} s of {silent.most:g}"
        )
    return account.tell(problems, "cuts", also)


if __name__ == "__main__":
    sys.exit(main())
