"""Has the judge judge, and says what was found."""

import json
import subprocess
import sys
from pathlib import Path

__all__ = ["TESTS", "commit_here", "judged", "name_of"]

TESTS = Path(__file__).parents[1]


def judged(database: str, marks: Path, about: dict[str, object], result: Path) -> tuple[bool, str]:
    """Whether all is well, and a sentence of figures; writes all into ``result``, and the problems to stderr."""
    # In a process of its own: two copies of SQLite must not meet on one file in one process.
    command = [sys.executable, "-m", "crash.checker", database, str(marks)]
    verdict = json.loads(subprocess.run(command, cwd=TESTS, check=True, stdout=subprocess.PIPE).stdout)
    found = {"commit": commit_here()} | about | _figures(verdict)
    result.write_text(json.dumps(found, indent=2) + "\n")
    for rule, problems in verdict["problems"].items():
        for problem in problems[:10]:
            print(f"{rule}: {problem}", file=sys.stderr)
    print(" ".join(f"{name}={value}" for name, value in found.items()))
    sentence = (
        f"{found['jobs']} jobs: {found['lost']} lost, {found['stuck']} stuck, {found['overlaps']} overlapped,"
        f" {found['stale']} stale writes accepted, {found['other']} other problems in {found['changes']} changes"
        f" of rows; {found['reruns']} ran again"
    )
    return bool(found["passed"]), sentence


def name_of(database: str) -> str:
    """The store, as people say it."""
    return "PostgreSQL" if database.startswith("postgresql:") else "SQLite"


def commit_here() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    told = subprocess.run(command, cwd=TESTS, check=False, capture_output=True, text=True)
    return told.stdout.strip() or "unknown"


def _figures(verdict: dict) -> dict[str, object]:
    problems = {rule: len(found) for rule, found in verdict["problems"].items()}
    waits = sorted(verdict["waits"])
    own = {"lost", "stuck", "overlap", "stale"}
    return {
        "passed": not any(problems.values()),
        "kills": verdict["kills"],
        "stops": verdict["stops"],
        "servers": verdict["servers"],
        "declared_dead": verdict["declared"],
        "jobs": verdict["jobs"],
        "runs": verdict["runs"],
        "changes": verdict["changes"],
        "lost": problems["lost"],
        "stuck": problems["stuck"],
        "overlaps": problems["overlap"],
        "stale": problems.get("stale", 0),
        "other": sum(count for rule, count in problems.items() if rule not in own),
        "reruns": verdict["reruns"],
        "reruns_of_returned": verdict["unflushed"],
        "running_or_unflushed": verdict["allowed"],
        "most_reruns_of_one_kill": verdict["most"],
        "oldest_unflushed_seconds": round(verdict["oldest"], 4),
        "unwritten_p50_seconds": round(verdict["unwritten"], 4),
        "late_starts_after_a_stop": verdict["late"],
        "rescued": len(waits),
        "rescue_p50_seconds": round(_percentile(waits, 0.50), 4),
        "rescue_p99_seconds": round(_percentile(waits, 0.99), 4),
    }


def _percentile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0
