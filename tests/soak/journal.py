"""The history of one job in so many, read while it grows: triggers write it down, as for `crash`, and it is bounded.

In a file the triggers keep the last changes only, since this process must not write to a file that it has open twice.
At a server what was read is taken away.
"""

import time
from collections import defaultdict
from collections.abc import Iterable

from crash import history
from crash.audit import audit
from crash.evidence import Evidence
from crash.history import Change
from crash.marks import now
from soak.stores import Unreachable

__all__ = ["EVERY", "LAST", "Journal"]

EVERY = 50
"""Of the jobs, those whose id it divides have a history."""
LAST = 30_000
"""Changes that a file keeps: a minute of them at many thousand jobs a second, and a few megabytes."""
FINAL = {2, 4, 5}


class Journal:
    """The changes that were not audited yet.

    Args:
        database: The store, whose tables are there, and no jobs.
    """

    def __init__(self, database: str) -> None:
        self.database = database
        self._serial = database.startswith("sqlite:")
        self._last = 0
        self._taken: set[int] = set()
        self._jobs: dict[int, list[Change]] = defaultdict(list)
        self._others: list[Change] = []
        self._standings: dict[int, int] = {}
        self.read_at = 0
        """When all had been read that was there."""
        self.audited = 0
        """Changes of jobs that were audited."""
        history.install(database, EVERY, LAST)

    def read(self) -> list[str]:
        """Reads what is new; says whether some of it was gone before it was read."""
        moment, lost = now(), []
        changes = [one for one in history.read(self.database, self._last) if one.number not in self._taken]
        if self._serial and changes:
            if changes[0].number != self._last + 1:
                lost = [f"changes {self._last + 1} to {changes[0].number - 1} were forgotten before they were read"]
            self._last = changes[-1].number
        for change in changes:
            self._take(change)
        self.read_at = moment
        if not self._serial:
            # Some have lower numbers and are not seen yet: what was read is known by its numbers.
            self._taken.update(one.number for one in changes)
            self._forget()
        return lost

    def _forget(self) -> None:
        try:
            history.forget(self.database, self._taken)
        except Unreachable:
            return
        self._taken.clear()

    def _take(self, change: Change) -> None:
        if change.what == "job":
            # A final job that is pruned has nothing more to tell; any other is kept, and the audit objects.
            if change.after is not None or change.before is None or change.before.state not in FINAL:
                self._jobs[change.id].append(change)
        elif change.what != "node":
            self._others.append(change)
        elif change.after is not None and self._standings.get(change.id) != change.after.state:
            # Not each of its beats.
            self._standings[change.id] = change.after.state
            self._others.append(change)

    def judge(self, evidence: Evidence) -> Iterable[tuple[str, str]]:
        """What is wrong with the changes of these jobs, which are over, and are forgotten with this."""
        rows = {job: row for job, row in evidence.rows.items() if job % EVERY == 0}
        runs = [run for run in evidence.runs if run.job in rows]
        changes = [change for job in rows for change in self._jobs.pop(job, ())]
        self.audited += len(changes)
        # Of now, since the clock of the day does not go just as the other one.
        some = Evidence(rows, runs, [], [], [], clocks=(now(), time.time_ns()))
        changes = sorted([*self._others, *changes], key=lambda change: change.number)
        yield from audit(some, changes, serial=self._serial)

    def left(self) -> list[int]:
        """The jobs whose changes nobody asked for."""
        return sorted(self._jobs)
