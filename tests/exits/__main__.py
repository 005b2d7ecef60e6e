"""`python -m exits`: ends many processes, each by a seed of its own, and counts."""

# ruff: noqa: T201 - it reports by printing

import argparse
import platform
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import psycopg

import postgres_server
import zjobs
from exits.driver import Plan, carry_out, numbers

STORES = ["memory"] * 5 + ["sqlite"] * 4
MANY = 10
"""Ends among which some had jobs to run, where one had perhaps none."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="exits")
    parser.add_argument("--exits", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1, help="of the first; each next one has the next")
    parser.add_argument("--postgres", action="store_true", help="one of ten on a server")
    asked = parser.parse_args()
    # Whatever started this may ignore it, as a shell does for what it runs behind; children have what we have.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    failed: list[int] = []
    counts: Counter[str] = Counter()
    done: Counter[str] = Counter()
    began = time.monotonic()
    with ExitStack() as stack:
        url = stack.enter_context(postgres_server.running()).url if asked.postgres else None
        if url is not None:
            zjobs.migrate(url)
        for seed in range(asked.seed, asked.seed + asked.exits):
            plan = Plan.of(seed, [*STORES, "postgres" if url else "sqlite"])
            if url is not None and plan.store == "postgres":
                with psycopg.connect(url, autocommit=True) as connection:
                    connection.execute("TRUNCATE zjobs.jobs CASCADE")
            with tempfile.TemporaryDirectory() as folder:
                wrong = carry_out(plan, Path(folder), url)
                if plan.store != "memory":  # what is in memory ends with the process, and cannot be looked for
                    done.update({told: len(numbers(Path(folder, told))) for told in ("enqueued", "ended")})
            counts.update([plan.store])
            if wrong:
                failed.append(seed)
                print(f"seed {seed}: {plan}", *wrong, sep="\n", flush=True)
            elif seed % 100 == 0:
                print(f"seed {seed}: {len(failed)} failed so far", flush=True)
    where = ", ".join(f"{count} with jobs in {store}" for store, count in sorted(counts.items()))
    python = platform.python_version()
    if failed:
        print(f"{len(failed)} of {asked.exits} went wrong; replay with: make exits EXITS=1 SEED={failed[0]}")
        return 1
    if asked.exits >= MANY and not (done["enqueued"] and done["ended"]):
        print(f"refuted: {asked.exits} interpreters enqueued {done['enqueued']} jobs and ran {done['ended']}")
        return 1
    print(
        f"proved: {asked.exits} interpreters (Python {python}) ended at random moments ({where}): "
        f"no crash, no hang, no wrong exit code; of {done['enqueued']} jobs in files and at servers, of which "
        f"{done['ended']} ran, none lost, in {time.monotonic() - began:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
