"""`python -m crash`: drives, checks, prints one line and writes the result as JSON."""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import postgres_server
from crash.driver import Plan, drive
from crash.report import judged, name_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="crash")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two kills at least, on average")
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--stops", type=int, default=0, help="workers stopped for longer than their lease (postgres)")
    parser.add_argument("--servers", type=int, default=0, help="servers killed or stopped at once (postgres)")
    parser.add_argument("--folder", type=Path, help="where the file and the marks stay; otherwise they are removed")
    parser.add_argument("--result", type=Path, default=Path("crash.json"))
    asked = parser.parse_args()
    plan = Plan(asked.kills, asked.jobs, asked.seed, asked.pause, asked.stops, asked.servers)
    with ExitStack() as stack:
        if asked.folder is not None:
            asked.folder.mkdir(parents=True)
        folder = asked.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(postgres_server.running()) if asked.store == "postgres" else None
        return run(plan, folder, asked.result, server)


def run(plan: Plan, folder: Path, result: Path, server: postgres_server.Server | None) -> int:
    database, marks = f"sqlite:///{folder / 'jobs.db'}" if server is None else server.url, folder / "marks"
    marks.mkdir()
    times = drive(plan, database, marks, server)
    about = {
        "seed": plan.seed,
        "kill_seconds": round(times.kills, 1),
        "settle_seconds": round(times.settling, 1),
    }
    passed, verdict = judged(database, marks, about, result)
    if unmade := missing(plan, json.loads(result.read_text())):
        print(*unmade, sep="\n", file=sys.stderr)
    passed = passed and not unmade
    faults = [f"{plan.kills} kills of processes"]
    if server is not None:
        faults += [f"{plan.stops} stops beyond the lease", f"{plan.servers} sudden ends of the server"]
    print(f"{'proved' if passed else 'refuted'}: {', '.join(faults)} on {name_of(database)}, {verdict}")
    return 0 if passed else 1


def missing(plan: Plan, found: dict[str, int]) -> list[str]:
    """The faults that were planned and not made, as the marks say."""
    planned = {"kills": plan.kills, "stops": plan.stops, "servers": plan.servers}
    return [f"{found[name]} {name} of {count}" for name, count in planned.items() if found[name] != count]


if __name__ == "__main__":
    sys.exit(main())
