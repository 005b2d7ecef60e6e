"""The judge: what the marks, the file and its history say together must be possible.

`python -m crash.checker DATABASE MARKS` prints a verdict as JSON. The rules:

* **lost**: every job whose enqueue returned is there, as it was meant; an enqueue that was cut off is there as a whole,
  but for jobs whose unique key was taken, or not at all; and nothing else is there. What was deleted counts as there.
* **stuck**: every job is in a final state.
* **overlap**: a run begins after the one before it has ended, or after its process was killed, or stopped for longer
  than its lease; so do runs of all jobs with one unique key.
* **re-run**: a job runs again only after a failure that its handler raised, or because its process was killed or
  stopped while it ran, or just after it had returned and before that was written. So each of them costs at most what
  ran and what was not yet flushed.
* **late**: of all ends, few wait to be written at a time: as many as come in the time that half of them waited.
* **attempt**: leases and attempts grow from run to run, and the row agrees with the last of them.
* **cancel**: what was cancelled by hand does not start any more, and ends cancelled.
* **harm**: what was done to processes was felt: who was killed runs nothing afterwards, and most who were stopped
  beyond their lease were declared dead meanwhile.

`audit` has those about the history of the rows, which the triggers of `history` wrote.
"""

import json
import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

from crash import history
from crash.audit import DEAD, audit
from crash.evidence import Evidence, Kill, Row, Run, Stop, gather
from crash.jobs import FAILURES, SLOTS, TICK

__all__ = ["Verdict", "judge"]

EXECUTING, COMPLETED, DISCARDED, CANCELLED = 1, 2, 4, 5
FINAL = {COMPLETED, DISCARDED, CANCELLED}
CRASHES = 3
"""Deaths of its node after which a job is given up."""
KEPT_ERRORS = 10
FLUSHED = 1_000_000_000
"""Nanoseconds after which the end of a run is written for certain, unless the machine is starved: where twenty
processes wanted two cores, one end in a hundred waited for 0.2 s and one for 0.3."""
WAIT, ENOUGH = 64, 1_000
"""Ends that wait to be written at any moment, when so many were: twice the slots of all workers. On busy machines these
were 5 to 15, and 267 with an ack window of 800 ms."""
LATE = 500_000_000
"""Nanoseconds after a stop within which a handler begins whose job a slot had taken before."""
SOON = 1_000_000
"""Microseconds after a stop within which a node is declared dead that is looked at late."""
BACKLOG = 4 * 256
"""Ends that may wait to be written before a process claims no more: four batches."""


@dataclass(slots=True)
class Verdict:
    """What was found: problems by rule, and what the kills cost."""

    problems: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    jobs: int = 0
    runs: int = 0
    kills: int = 0
    stops: int = 0
    servers: int = 0
    declared: int = 0
    """Stops during which the node was declared dead."""
    cut: int = 0
    """Runs that a kill cut off."""
    reruns: int = 0
    """Runs that a kill made necessary: of jobs that ran, or whose end was not yet written."""
    unflushed: int = 0
    """Of those: of jobs whose handler had returned."""
    allowed: int = 0
    """Runs that were cut off or had ended so shortly before that they may not have been written."""
    most: int = 0
    """The most of them that one kill made necessary."""
    oldest: float = 0.0
    """Seconds before the kill at which the first of those handlers had returned, at most."""
    late: int = 0
    """Runs of processes that had been stopped, and began after a later one of their job."""
    changes: int = 0
    """Rows of the history."""
    unwritten: float = 0.0
    """Seconds from the end of a handler until that was written, of half of them at most."""
    waits: list[float] = field(default_factory=list)
    """Seconds from each kill until the jobs that it cut off were taken back, each."""


class Breaks:
    """When processes were killed, or stopped for longer than their lease: what they had then, others may take."""

    def __init__(self, evidence: Evidence) -> None:
        self._by_process: dict[str, list[Kill | Stop]] = defaultdict(list)
        self._outages = evidence.servers
        self.panics = evidence.panics
        for one in sorted([*evidence.kills, *evidence.stops], key=lambda one: one.before):
            self._by_process[one.process].append(one)

    def after(self, run: Run) -> int | None:
        """The first moment since the run began when its process may have been gone."""
        for one in self._by_process.get(run.process, []):
            if isinstance(one, Stop) and one.after + LATE >= run.begin:
                # What a slot had taken before begins when the process goes on: nobody can prevent that.
                return one.before
            if one.after >= run.begin:
                return max(one.before, run.begin)
        return None

    def flushed(self, run: Run, death: int) -> bool:
        """Whether the end of the run was written for certain when its process died; nothing is without a server."""
        if run.end is None:
            return False
        down = sum(max(0, min(death, up) - max(run.end, gone)) for gone, up in self._outages)
        return death - run.end - down > FLUSHED

    def count(self, process: str) -> int:
        return len(self._by_process.get(process, []))


def judge(evidence: Evidence, changes: Iterable[history.Change] | None = None, *, serial: bool = True) -> Verdict:
    """Judges everything that is known, and the history of the rows. ``serial``: it is in the order of commits."""
    verdict = Verdict(
        jobs=len(evidence.rows),
        runs=len(evidence.runs),
        kills=len(evidence.kills),
        stops=len(evidence.stops),
        servers=len(evidence.servers),
    )
    if evidence.damage != "ok":
        verdict.problems["integrity"].append(evidence.damage)
    by_job: dict[int, list[Run]] = defaultdict(list)
    for run in sorted(evidence.runs, key=lambda run: (run.lease, run.begin)):
        by_job[run.job].append(run)
    breaks = Breaks(evidence)
    for rule, problems in (
        ("lost", _lost(evidence)),
        (
            "stuck",
            (
                f"job {row.id} is in state {row.state}"
                for row in evidence.rows.values()
                if row.state not in FINAL and not row.deleted
            ),
        ),
        ("overlap", _overlaps(evidence, by_job, breaks)),
        ("re-run", _reruns(evidence, by_job, breaks, verdict)),
        ("attempt", _attempts(evidence, by_job)),
        ("cancel", _cancels(evidence, by_job)),
        ("harm", _survivors(evidence)),
    ):
        verdict.problems[rule].extend(problems)
    if changes is not None:
        delays, moments = array("d"), array("q")
        deaths: list[history.Change] = []
        changes = _timed(evidence, _counted(changes, verdict, deaths), by_job, delays, moments)
        changes = _rescued(evidence, changes, by_job, breaks, verdict)
        for rule, problem in audit(evidence, changes, serial=serial):
            verdict.problems[rule].append(problem)
        if not serial:
            verdict.problems["harm"].extend(_unfelt(evidence, deaths, verdict))
        half = verdict.unwritten = median(delays) if delays else 0.0
        if len(delays) >= ENOUGH:
            waiting = half * len(delays) / max((max(moments) - min(moments)) / 1e6, 1.0)
            if waiting > WAIT:
                verdict.problems["late"].append(f"{waiting:.0f} ends waited at a time, half of them for {half:.3f} s")
    return verdict


def _counted(
    changes: Iterable[history.Change], verdict: Verdict, deaths: list[history.Change]
) -> Iterator[history.Change]:
    for change in changes:
        verdict.changes += 1
        if change.what == "node" and change.after is not None and change.after.state >= DEAD:
            deaths.append(change)
        yield change


def _timed(
    evidence: Evidence,
    changes: Iterable[history.Change],
    by_job: dict[int, list[Run]],
    delays: "array[float]",
    moments: "array[int]",
) -> Iterator[history.Change]:
    """Adds how many seconds after its handler each run was written to have ended, and when."""
    for change in changes:
        before, after = change.before, change.after
        if before is not None and after is not None and before.state == EXECUTING != after.state:
            for run in by_job.get(change.id, ()):
                if run.lease == before.lease and run.end is not None and after.crashes == before.crashes:
                    delays.append((change.at - evidence.wall_of(run.end)) / 1e6)
                    moments.append(change.at)
        yield change


def _rescued(
    evidence: Evidence,
    changes: Iterable[history.Change],
    by_job: dict[int, list[Run]],
    breaks: Breaks,
    verdict: Verdict,
) -> Iterator[history.Change]:
    """Adds how many seconds after the end of its process each run was taken back that this had cut off."""
    for change in changes:
        before, after = change.before, change.after
        if before is not None and after is not None and before.state == EXECUTING and after.crashes > before.crashes:
            for run in by_job.get(change.id, ()):
                if run.lease == before.lease and run.end is None and (death := breaks.after(run)) is not None:
                    verdict.waits.append((change.at - evidence.wall_of(death)) / 1e6)
        yield change


def _survivors(evidence: Evidence) -> Iterator[str]:
    killed = {kill.process: kill.after for kill in evidence.kills}
    for run in evidence.runs:
        last = max(run.begin, run.end or 0)
        if last > killed.get(run.process, last):
            yield f"job {run.job} ran in {run.process} {(last - killed[run.process]) / 1e9:.3f} s after that was killed"


def _unfelt(evidence: Evidence, deaths: Iterable[history.Change], verdict: Verdict) -> Iterator[str]:
    """Stops that were no longer than a lease, or none. In a file nobody is declared dead whose process lives."""
    dead = defaultdict(list)
    for change in deaths:
        dead[change.name].append(change.at)
    for stop in evidence.stops:
        since, until = evidence.wall_of(stop.before), evidence.wall_of(stop.after) + SOON
        verdict.declared += any(since <= at <= until for at in dead[stop.process])
    if 2 * verdict.declared < verdict.stops:
        yield f"of {verdict.stops} nodes that were stopped {verdict.declared} were declared dead meanwhile"


def _lost(evidence: Evidence) -> Iterator[str]:
    rows = evidence.rows
    tokens = Counter(row.token for row in rows.values() if row.token != TICK)
    for batch in evidence.batches:
        there = tokens.pop(batch.token, 0)
        if not batch.allows(there):
            what = "that was cut off" if batch.made is None else f"returned {len(batch.made) + len(batch.met)} and"
            yield f"an enqueue of {batch.count} jobs, {batch.keyed} of them with a key, {what} left {there}"
        if batch.made is None:
            continue
        for job in batch.made:
            if job not in rows or rows[job].token != batch.token:
                yield f"job {job} was enqueued and is not there"
        for job in batch.met:
            if job not in rows:
                yield f"job {job} had the unique key of a new one and is not there"
    for token, there in tokens.items():
        yield f"{there} jobs of the enqueue {token!r}, which nobody meant"


def _overlaps(evidence: Evidence, by_job: dict[int, list[Run]], breaks: Breaks) -> Iterator[str]:
    keyed: dict[str, list[Run]] = defaultdict(list)
    for job, runs in by_job.items():
        row = evidence.rows.get(job)
        if row is not None and row.key is not None:
            keyed[row.key] += runs
        yield from _overlap(f"job {job}", runs, breaks)
    for key, runs in keyed.items():
        yield from _overlap(f"the jobs with {key!r}", sorted(runs, key=lambda run: run.begin), breaks)


def _overlap(whose: str, runs: list[Run], breaks: Breaks) -> Iterator[str]:
    for run, after in pairwise(runs):
        broken = breaks.after(run)
        over = run.end if broken is None or (run.end is not None and run.end < broken) else broken
        if over is None:
            yield f"{whose}: a run in {run.process} never ended, and another began in {after.process}"
        elif after.begin < over:
            yield f"{whose}: {after.process} began {(over - after.begin) / 1e6:.3f} ms before the end in {run.process}"


def _reruns(evidence: Evidence, by_job: dict[int, list[Run]], breaks: Breaks, verdict: Verdict) -> Iterator[str]:
    yield from _cut(evidence, breaks, verdict)
    costs: Counter[str] = Counter()
    for job, runs in by_job.items():
        for run, after in pairwise(runs):
            verdict.late += after.begin < run.begin
            # A failure that its handler raised is followed by the next attempt, whoever lives.
            if run.end is None or run.returned:
                costs[run.process] += 1
                yield from _rerun(job, run, breaks, verdict)
    verdict.most = max(costs.values(), default=0)
    for process, count in costs.items():
        if count > (SLOTS + BACKLOG) * max(1, breaks.count(process)):
            yield f"the end of {process} made {count} jobs run again: more than its slots and its backlog hold"


def _cut(evidence: Evidence, breaks: Breaks, verdict: Verdict) -> Iterator[str]:
    """Counts what each kill may cost."""
    running: Counter[str] = Counter()
    for run in evidence.runs:
        death = breaks.after(run)
        if run.end is None:
            running[run.process] += 1
        if run.end is None and death is None:
            yield f"job {run.job} never ended in {run.process}, which was not killed"
        elif death is not None and not breaks.flushed(run, death):
            verdict.allowed += 1
    verdict.cut = running.total()
    for process, count in running.items():
        if count > SLOTS:
            yield f"{count} handlers ran in {process}, which has {SLOTS} slots"


def _rerun(job: int, run: Run, breaks: Breaks, verdict: Verdict) -> Iterator[str]:
    verdict.reruns += 1
    death = breaks.after(run)
    if death is None:
        # A batch of acks that a panic met is not written; its jobs are handed back.
        if run.process not in breaks.panics:
            yield f"job {job} ran again although {run.process} was not killed"
    elif breaks.flushed(run, death):
        yield f"job {job} ran again although it had returned {(death - run.end) / 1e9:.1f} s before that"
    elif run.end is not None:
        verdict.unflushed += 1
        verdict.oldest = max(verdict.oldest, (death - run.end) / 1e9)


def _attempts(evidence: Evidence, by_job: dict[int, list[Run]]) -> Iterator[str]:
    for job, runs in by_job.items():
        for run, after in pairwise(runs):
            # An attempt that was given back is counted again.
            least = run.attempt if evidence.handed_back else run.attempt + 1
            if after.lease <= run.lease or after.attempt < least:
                yield f"job {job}: lease {run.lease} -> {after.lease}, attempt {run.attempt} -> {after.attempt}"
        if job not in evidence.rows:
            yield f"job {job} ran and is not there"
    for row in evidence.rows.values():
        yield from _row(row, by_job.get(row.id, []), handed_back=evidence.handed_back)


def _row(row: Row, runs: list[Run], *, handed_back: bool) -> Iterator[str]:
    last = runs[-1] if runs else None
    # A claim whose reply was lost is handed back, and so is what a stop finds unrun: that is no attempt.
    uneven = row.attempt > row.lease if handed_back else row.attempt != row.lease
    if uneven or (last is not None and (last.lease, last.attempt) > (row.lease, row.attempt)):
        yield f"job {row.id} has attempt {row.attempt} and lease {row.lease} after {len(runs)} runs"
    if row.state == COMPLETED and (last is None or not last.returned or last.lease != row.lease):
        yield f"job {row.id} is completed, and its last run did not return under lease {row.lease}"
    if row.state == DISCARDED and row.crashes < CRASHES:
        yield f"job {row.id} was discarded after {row.crashes} crashes"
    if row.state == CANCELLED and row.worker not in {"unwanted", "chore", "once"}:
        yield f"job {row.id} of {row.worker} is cancelled, and nobody did that"
    lost = row.errors.count("NodeLost")
    # A node that was told to end and left jobs behind has not crashed; the job's errors tell of it all the same.
    unlike = lost < row.crashes if handed_back else lost != row.crashes
    if len(row.errors) < KEPT_ERRORS and unlike:
        yield f"job {row.id} has {row.crashes} crashes and {lost} errors that say so"
    failures = row.errors.count("ValueError")
    if row.worker == "flaky" and row.state == COMPLETED and failures != FAILURES:
        yield f"job {row.id} completed after {failures} failures, not {FAILURES}"
    if sum(run.end is not None and not run.returned for run in runs) < failures:
        yield f"job {row.id} has {failures} failures that no handler raised"


def _cancels(evidence: Evidence, by_job: dict[int, list[Run]]) -> Iterator[str]:
    for cancel in evidence.cancels:
        row = evidence.rows.get(cancel.job)
        if row is None or row.worker == "chore" or cancel.state in {"completed", "discarded"}:
            continue
        if row.state != CANCELLED:
            yield f"job {cancel.job} was cancelled while {cancel.state} and ended in state {row.state}"
        if cancel.state == "cancelled" and any(run.begin > cancel.at for run in by_job.get(cancel.job, [])):
            yield f"job {cancel.job} was cancelled and started afterwards"


def main(database: str, folder: str) -> None:
    serial = database.startswith("sqlite:")
    verdict = judge(gather(database, Path(folder)), history.read(database), serial=serial)
    json.dump({name: getattr(verdict, name) for name in Verdict.__slots__}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
