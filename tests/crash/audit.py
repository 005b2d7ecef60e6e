"""What the history must not say: each change of a row is held against the state table, the marks, and those before it.

The rules, beside those of `checker`:

* **move**: only what the state table of the engine has, with its effect on the attempt; a job is deleted only while it
  does not run; what was written last is what the next change finds, and what the table has in the end.
* **batch**: the jobs of one enqueue come in one transaction.
* **lease**: it rises by one with each claim, and never otherwise.
* **stale**: who ends an attempt is who had its lease: what is completed was returned under that very lease, by the
  process that claimed it, before it was written, and the result is of that run; what failed was raised there.
* **dead**: a job is rescued only from a node that was declared dead; such a node claims nothing and never comes back.
* **unique**: a key has one holder at every step, and a job in a final state holds none.
* **order**: a claim takes the best that waits in its queue. Only on SQLite, whose history is in the order of commits.
* **early**: nothing is claimed, or made available, before its time, nor stamped with one before it.
* **pause**: nothing is claimed from a queue that is paused.
* **cancel**: a run that somebody wants to stop ends cancelled, or is rescued.
* **cron**: each tick has one job, and each job of a tick its tick.
"""

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from crash.evidence import Evidence, Run
from crash.history import Change, Side
from zjobs import _engine

__all__ = ["DEAD", "MOVES", "audit"]

_NUMBERS = _engine.STATES
AVAILABLE, EXECUTING, COMPLETED, RETRYABLE, DISCARDED, CANCELLED, SCHEDULED = (
    _NUMBERS[name]
    for name in ("available", "executing", "completed", "retryable", "discarded", "cancelled", "scheduled")
)
FINAL = {COMPLETED, DISCARDED, CANCELLED}
ALIVE, LEAVING, DEAD = 0, 1, 2
"""How a node stands; from here on it is dead."""
_EFFECTS = {"claim": (1,), "snooze": (-1,), "release": (-1,), "rescue": (0, -1)}
MOVES = {
    (_NUMBERS[before], _NUMBERS[after], effect)
    for before, event, after in _engine.TRANSITIONS
    for effect in _EFFECTS.get(event, (0,))
}
"""State before, state after, and what it does to the attempt."""
MOVES |= {(EXECUTING, EXECUTING, 0)}
"""Progress, and that somebody wants it to stop."""
TICKED = "ticked"
"""The worker of the jobs of ticks."""
SLACK = 5_000
"""Microseconds by which two readings of the clock may differ."""

Problem = tuple[str, str]


def audit(evidence: Evidence, changes: Iterable[Change], *, serial: bool) -> Iterator[Problem]:
    """Everything that is wrong: a rule, and what breaks it. ``serial``: the history is in the order of commits."""
    auditor = _Auditor(evidence, serial=serial)
    for change in changes:
        match change.what:
            case "job":
                yield from auditor.job(change)
            case "node":
                yield from auditor.node(change)
            case "queue":
                auditor.queue(change)
            case "tick":
                yield from auditor.ticked(change)
    yield from auditor.end()


class _Auditor:
    def __init__(self, evidence: Evidence, *, serial: bool) -> None:
        self.evidence = evidence
        self.serial = serial
        self.runs: dict[tuple[int, int], Run] = {}
        self.twice: list[tuple[Run, Run]] = []
        for run in evidence.runs:
            before = self.runs.setdefault((run.job, run.lease), run)
            if before is not run:
                self.twice.append((before, run))
        self.known: dict[int, Side] = {}
        self.gone: set[int] = set()
        self.claims: dict[tuple[int, int], int] = {}
        self.holders: dict[str, int] = {}
        self.standings: dict[int, int] = {}
        self.names: dict[int, str] = {}
        self.paused: set[str] = set()
        self.open: dict[int, Change] = {}
        self.batches: dict[str, Change] = {}
        """The job of each enqueue that came last."""
        self.ticks: Counter[tuple[str, int]] = Counter()
        self.waiting = _Waiting()

    # --- jobs ---

    def job(self, change: Change) -> Iterator[Problem]:
        before, after = change.before, change.after
        yield from self._move(change)
        yield from self._unique(change)
        if self.serial:
            yield from self.waiting.see(change)
        if after is None:
            self.known.pop(change.id, None)
            self.gone.add(change.id)
            return
        self.known[change.id] = after
        if before is None:
            yield from self._enqueued(change)
        elif (before.state, after.state) == (AVAILABLE, EXECUTING):
            yield from self._claimed(change, after)
        elif before.state == EXECUTING != after.state:
            yield from self._ended(change, before, after)
        elif before.state in {SCHEDULED, RETRYABLE} and after.state == AVAILABLE:
            yield from _early(change, change.at)

    def _move(self, change: Change) -> Iterator[Problem]:
        before, after, about = change.before, change.after, f"job {change.id}"
        known = self.known.get(change.id)
        if before != known:
            yield "move", f"{about} was {known}, and the next change found {before}"
        if change.id in self.gone:
            yield "move", f"{about} was deleted, and changed afterwards"
        if after is None and (before is None or before.state == EXECUTING):
            yield "move", f"{about} was deleted while it ran"
        if after is not None:
            yield from self._step(change, before, after)

    def _step(self, change: Change, before: Side | None, after: Side) -> Iterator[Problem]:
        about = f"job {change.id}"
        if not 0 <= after.attempt <= change.most:
            yield "move", f"{about} has attempt {after.attempt} of {change.most}"
        if before is None:
            if after.state not in {AVAILABLE, SCHEDULED} or after.attempt or after.lease:
                yield "move", f"{about} begins as {after}"
            return
        effect = after.attempt - before.attempt
        if (before.state, after.state, effect) not in MOVES:
            yield "move", f"{about}: state {before.state} -> {after.state}, attempt {before.attempt} -> {after.attempt}"
        claimed = after.state == EXECUTING != before.state
        if after.lease - before.lease != claimed:
            yield "lease", f"{about}: lease {before.lease} -> {after.lease}, state {before.state} -> {after.state}"
        if before.state == after.state == EXECUTING and before.node != after.node:
            yield "lease", f"{about} went from node {before.node} to {after.node} while it ran"

    def _unique(self, change: Change) -> Iterator[Problem]:
        before, after = change.before, change.after
        old, new = before.key if before else None, after.key if after else None
        if after is not None and new is not None and after.state in FINAL:
            yield "unique", f"job {change.id} is in state {after.state} and holds {new!r}"
        if old == new:
            return
        if old is not None and self.holders.get(old) == change.id:
            del self.holders[old]
        if new is not None:
            holder = self.holders.setdefault(new, change.id)
            if holder != change.id:
                yield "unique", f"jobs {holder} and {change.id} hold {new!r} at once"

    def _enqueued(self, change: Change) -> Iterator[Problem]:
        if change.name != TICKED:
            yield from self._with_the_others(change)
            return
        # In one transaction; where those have no numbers, one after the other.
        tick = self.open.pop(change.transaction, None)
        if tick is None or (self.serial and tick.number + 1 != change.number):
            yield "cron", f"job {change.id} came of no tick of its own"

    def _with_the_others(self, change: Change) -> Iterator[Problem]:
        if change.token is None:
            return
        last = self.batches.get(change.token)
        self.batches[change.token] = change
        if last is None:
            return
        if last.transaction != change.transaction or (self.serial and last.number + 1 != change.number):
            yield "batch", f"job {change.id} of the enqueue {change.token!r} did not come with the others"

    def _claimed(self, change: Change, after: Side) -> Iterator[Problem]:
        about = f"job {change.id}"
        self.claims[change.id, after.lease] = after.node or 0
        yield from _early(change, min(change.at, change.attempted_at))
        standing = self.standings.get(after.node or 0)
        # Elsewhere a claim may be under way while its node is declared dead; what it takes is rescued.
        if standing is None or (self.serial and standing != ALIVE):
            yield "dead", f"{about} was claimed by node {after.node}, which stands at {standing}"
        if self.serial and change.queue in self.paused:
            yield "pause", f"{about} was claimed from {change.queue}, which is paused"
        for pause in self.evidence.pauses:
            if pause.queue == change.queue and pause.since < change.attempted_at < pause.until:
                yield (
                    "pause",
                    f"{about} was claimed {change.attempted_at - pause.since} us after a pause of {pause.queue}",
                )

    def _ended(self, change: Change, before: Side, after: Side) -> Iterator[Problem]:
        about = f"job {change.id} under lease {before.lease}"
        run = self.runs.get((change.id, before.lease))
        if after.crashes > before.crashes:
            if self.standings.get(before.node or 0, ALIVE) < DEAD:
                yield "dead", f"{about} was rescued from node {before.node}, which lived"
            return
        if before.cancel and after.state != CANCELLED:
            yield "cancel", f"{about} was to be cancelled and went to state {after.state}"
        if after.state in {COMPLETED, RETRYABLE, DISCARDED}:
            yield from self._written(change, before, after, run)

    def _written(self, change: Change, before: Side, after: Side, run: Run | None) -> Iterator[Problem]:
        about = f"job {change.id} went to state {after.state} under lease {before.lease}"
        if run is None or run.end is None:
            yield "stale", f"{about}, which no handler ended"
            return
        if run.returned != (after.state == COMPLETED):
            yield "stale", f"{about}, whose handler {'returned' if run.returned else 'raised'}"
        if self.evidence.wall_of(run.end) > change.at + SLACK:
            yield "stale", f"{about} {self.evidence.wall_of(run.end) - change.at} us before its handler ended"
        if after.state == COMPLETED and change.result is not None:
            whose = json.loads(change.result)
            if whose != [run.process, run.lease]:
                yield "stale", f"{about}, and its result is of {whose}, not of {run.process}"

    # --- the rest ---

    def node(self, change: Change) -> Iterator[Problem]:
        assert change.after is not None
        standing, before = change.after.state, self.standings.get(change.id)
        if before is not None and (standing < before or (before >= DEAD and standing < DEAD)):
            yield "dead", f"node {change.id} stood at {before} and now at {standing}"
        self.standings[change.id] = standing
        self.names[change.id] = change.name

    def ticked(self, change: Change) -> Iterator[Problem]:
        yield from self._without_job(self.open.pop(change.transaction, None))
        self.open[change.transaction] = change
        self.ticks[change.name, change.scheduled_at] += 1
        if self.ticks[change.name, change.scheduled_at] > 1 and change.name not in self.evidence.without_jobs:
            yield "cron", f"tick {change.scheduled_at} of {change.name} came twice"

    def _without_job(self, tick: Change | None) -> Iterator[Problem]:
        if tick is not None and tick.name not in self.evidence.without_jobs:
            yield "cron", f"tick {tick.scheduled_at} of {tick.name} has no job"

    def queue(self, change: Change) -> None:
        assert change.after is not None
        (self.paused.add if change.after.state else self.paused.discard)(change.name)

    def end(self) -> Iterator[Problem]:
        yield from self.waiting.settle()
        for first, second in self.twice:
            yield "lease", f"job {first.job} ran under lease {first.lease} in {first.process} and in {second.process}"
        for (job, lease), run in self.runs.items():
            node = self.claims.get((job, lease))
            if node is None:
                yield "lease", f"job {job} ran under lease {lease} in {run.process}, and nobody claimed it"
            elif self.names.get(node) != run.process:
                yield "stale", f"job {job} was claimed by {self.names.get(node)} and ran in {run.process}"
        rows = self.evidence.rows
        for job, side in self.known.items():
            row = rows.get(job)
            if row is None or (row.state, row.lease, row.attempt) != (side.state, side.lease, side.attempt):
                yield "move", f"job {job} ended as {side}, and is {row}"
        for job in rows.keys() - self.known.keys():
            if not rows[job].deleted:
                yield "move", f"job {job} is there, and never came"
        for tick in self.open.values():
            yield from self._without_job(tick)


def _early(change: Change, at: int) -> Iterator[Problem]:
    if change.scheduled_at > at + SLACK:
        yield "early", f"job {change.id} was taken {change.scheduled_at - at} us before its time"


class _Waiting:
    """What can be claimed, the best first, and the claim that is being read: one statement takes several jobs."""

    def __init__(self) -> None:
        self._keys: dict[int, tuple[str, int, int, int]] = {}
        self._heaps: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        self._claim: tuple[str, int | None, int] | None = None
        self._worst = (0, 0, 0)

    def see(self, change: Change) -> Iterator[Problem]:
        before, after = change.before, change.after
        claim = None
        if before is not None and after is not None and (before.state, after.state) == (AVAILABLE, EXECUTING):
            claim = change.queue, after.node, change.attempted_at
        if claim != self._claim:
            yield from self.settle()
        key = self._keys.pop(change.id, None)
        if claim is not None and key is not None:
            self._worst = max(self._worst, key[1:]) if self._claim == claim else key[1:]
            self._claim = claim
        if after is not None and after.state == AVAILABLE and after.attempt < change.most:
            place = change.priority, change.scheduled_at, change.id
            self._keys[change.id] = change.queue, *place
            heapq.heappush(self._heaps[change.queue], place)

    def settle(self) -> Iterator[Problem]:
        """Whether the claim left out one that is better than its worst."""
        if self._claim is None:
            return
        queue, node, at = self._claim
        self._claim = None
        heap = self._heaps[queue]
        while heap and self._keys.get(heap[0][2]) != (queue, *heap[0]):
            heapq.heappop(heap)
        if heap and heap[0] < self._worst:
            yield "order", f"node {node} took {self._worst} from {queue} at {at}, and left {heap[0]}"
