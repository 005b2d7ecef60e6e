"""`python -m crash`: drives, checks, prints one line and writes the result as JSON."""

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import postgres_server
from crash.driver import Plan, Times, drive

TESTS = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="crash")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two kills, on average")
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
    commit = commit_here()
    times = drive(plan, database, marks, server)
    # In a process of its own: two copies of SQLite must not meet on one file in one process.
    command = [sys.executable, "-m", "crash.checker", database, str(marks)]
    verdict = json.loads(subprocess.run(command, cwd=TESTS, check=True, capture_output=True).stdout)
    found = {"commit": commit} | summary(plan, times, verdict)
    result.write_text(json.dumps(found, indent=2) + "\n")
    for rule, problems in verdict["problems"].items():
        for problem in problems[:10]:
            print(f"{rule}: {problem}", file=sys.stderr)
    print(" ".join(f"{name}={value}" for name, value in found.items()))
    return 0 if found["passed"] else 1


def commit_here() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    told = subprocess.run(command, cwd=TESTS, check=False, capture_output=True, text=True)
    return told.stdout.strip() or "unknown"


def summary(plan: Plan, times: Times, verdict: dict) -> dict[str, object]:
    problems = {rule: len(found) for rule, found in verdict["problems"].items()}
    waits = sorted(verdict["waits"])
    return {
        "passed": not any(problems.values()),
        "seed": plan.seed,
        "kills": verdict["kills"],
        "stops": verdict["stops"],
        "servers": verdict["servers"],
        "jobs": verdict["jobs"],
        "runs": verdict["runs"],
        "lost": problems["lost"],
        "stuck": problems["stuck"],
        "overlaps": problems["overlap"],
        "other": sum(problems.values()) - problems["lost"] - problems["stuck"] - problems["overlap"],
        "reruns": verdict["reruns"],
        "reruns_of_returned": verdict["unflushed"],
        "running_or_unflushed": verdict["allowed"],
        "most_reruns_of_one_kill": verdict["most"],
        "oldest_unflushed_seconds": round(verdict["oldest"], 4),
        "rescued": len(waits),
        "rescue_p50_seconds": round(percentile(waits, 0.50), 4),
        "rescue_p99_seconds": round(percentile(waits, 0.99), 4),
        "kill_seconds": round(times.kills, 1),
        "settle_seconds": round(times.settling, 1),
    }


def percentile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


if __name__ == "__main__":
    sys.exit(main())
