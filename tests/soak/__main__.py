"""`python -m soak`: lets a crew run, judges, draws, writes the result as JSON and prints what is proved."""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path

import postgres_server
from crash.report import commit_here
from proxy import Proxy
from soak.driver import Ground, Plan, Told, measure_peak, soak
from soak.journal import EVERY
from soak.verdicts import LATENCY, Due, Judgement, judge

SETTINGS = {"max_wal_size": "128MB", "min_wal_size": "64MB"}
"""A log that is soon as large as it gets."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak")
    parser.add_argument("--store", choices=["memory", "sqlite", "postgres"], default="sqlite")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--rate", type=float, help="jobs a second; by default half of what is measured first")
    parser.add_argument("--fault-every", type=float, default=60.0, help="seconds")
    parser.add_argument("--sample-every", type=float, default=5.0, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the store and the marks stay; otherwise they are removed")
    parser.add_argument("--result", type=Path, default=Path("soak.json"))
    parser.add_argument("--picture", type=Path, help="where the picture goes; none is drawn otherwise")
    asked = parser.parse_args()
    with ExitStack() as stack:
        if asked.folder is not None:
            asked.folder.mkdir(parents=True)
        folder = asked.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(postgres_server.running(settings=SETTINGS)) if asked.store == "postgres" else None
        proxy = stack.enter_context(closing(Proxy(server.port))) if server is not None else None
        ground = Ground(asked.store, folder.resolve(), server, proxy)
        rate = asked.rate
        if rate is None:
            peak = measure_peak(ground)
            rate = round(peak / 2)
            print(f"peak: {peak:.0f} jobs a second, so {rate} are produced", flush=True)
        plan = Plan(asked.store, asked.hours * 3600, rate, asked.fault_every, asked.sample_every, asked.seed)
        return tell(plan, soak(plan, ground), asked.result, asked.picture)


def tell(plan: Plan, told: Told, result: Path, picture: Path | None) -> int:
    hours = plan.seconds / 3600
    judgements = judge(told.samples, told.faults, hours, Due(told.witnesses, sized=plan.store != "memory"))
    problems = {rule: len(found) for rule, found in told.ledger.problems.items() if found}
    passed = not problems and all(one.holds for one in judgements if one.binding)
    about = {"commit": commit_here(), "passed": passed, **asdict(plan), **told.ledger.counts, "problems": problems}
    about["faults"] = told.faults
    about["judgements"] = [asdict(one) for one in judgements]
    result.write_text(json.dumps(about, indent=2) + "\n")
    if picture is not None:
        # Only here: it takes long to import, and short runs draw nothing.
        from soak.picture import draw  # noqa: PLC0415

        draw(told.samples, told.faults, title(plan, told), picture)
    if problems:
        print(told.ledger.dump(), file=sys.stderr)
    for one in judgements:
        print(line(one))
    print(sentence(plan, told, judgements) if passed else f"failed: {problems or 'see above'}")
    return 0 if passed else 1


def line(one: Judgement) -> str:
    verdict = "holds" if one.holds else "does not hold" if one.binding else "does not hold, which fails nothing"
    return f"{one.what}: {verdict}: {one.text}"


def title(plan: Plan, told: Told) -> str:
    return (
        f"{NAMES[plan.store]}: {plan.seconds / 60:.0f} minutes at {plan.rate:.0f} jobs a second,"
        f" {told.ledger.counts['jobs']:,} jobs, {len(told.faults)} faults".replace(",", " ").replace("  ", ", ")
    )


NAMES = {"memory": "Memory", "sqlite": "SQLite", "postgres": "PostgreSQL"}


def sentence(plan: Plan, told: Told, judgements: list[Judgement]) -> str:
    """With the figures of one worker and of the store: what was judged, and what is only told of so short a run."""
    counts, whose = told.ledger.counts, {told.witnesses[-1], "the table", "the log", LATENCY}
    shown = [one for one in judgements if one.what.split(" of ")[-1] in whose]
    held, only_told = ([f"{one.what} {one.text}" for one in shown if one.binding is judged] for judged in (True, False))
    return (
        f"proved: {NAMES[plan.store]} ran {plan.seconds / 3600:.2f} hours at {plan.rate:.0f} jobs a second with"
        f" {len(told.faults)} faults: {counts['jobs']} jobs and {counts['runs']} runs, none lost, stuck or overlapping,"
        f" {counts['reruns']} runs repeated, {counts['changes']} changes of one job in {EVERY} audited;"
        f" judged: {'; '.join(held) or 'nothing that grows, in so short a time'};"
        f" told and not judged: {'; '.join(only_told) or 'nothing'}"
    )


if __name__ == "__main__":
    sys.exit(main())
