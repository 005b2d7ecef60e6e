"""What the API promises, in dictionaries: the plain model that walks are compared with."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import zjobs

S = zjobs.JobState
LIVE = {S.AVAILABLE, S.EXECUTING, S.RETRYABLE, S.SCHEDULED}
QUEUES = ("default", "mail")
STEP = 30
"""Seconds by which the strategy's delays grow with the attempt."""
NAP = 45
TTL = 20.5
"""Of the node that the test plays. Time moves by whole seconds, so that nothing is decided by a tie."""
KEPT = zjobs.Retention(completed=100.5, cancelled=200.5, discarded=300.5)
CRASHES = 3


@dataclass
class Row:
    """What the model knows of a job."""

    id: int
    queue: str
    priority: int
    max_attempts: int
    scheduled_at: datetime
    key: str | None
    state: S
    script: list[str]
    attempt: int = 0
    lease: int = 0
    runs: int = 0
    crashes: int = 0
    errors: list[str] = field(default_factory=list)
    result: str | None = None
    finished_at: datetime | None = None
    cancel_requested: bool = False
    node: str | None = None

    def word(self):
        """What the handler will do the next time; the last word stands for all later ones."""
        return self.script[min(self.runs, len(self.script) - 1)]

    def order(self):
        return self.priority, self.scheduled_at, self.id


class Model:
    """Jobs by id, who has which key, and which queues rest."""

    def __init__(self, now):
        self.now = now
        self.rows = {}
        self.keys = {}
        self.paused = set()

    def end(self, row, state, error=None):
        """The job reaches a final state and gives its key back."""
        row.state, row.finished_at, row.node = state, self.now, None
        self.add_error(row, error)
        if self.keys.get(row.key) == row.id:
            del self.keys[row.key]

    def rest(self, row, state, seconds, error=None):
        """The job waits for its time."""
        row.state, row.scheduled_at, row.node = state, self.now + timedelta(seconds=seconds), None
        self.add_error(row, error)

    @staticmethod
    def add_error(row, error):
        if error is not None:
            row.errors = [*row.errors, error][-10:]

    def stage(self):
        for row in self.rows.values():
            if row.state in {S.SCHEDULED, S.RETRYABLE} and row.scheduled_at <= self.now:
                row.state = S.AVAILABLE

    def waiting(self, queue):
        """What a claim would find, best first."""
        if queue in self.paused:
            return []
        return sorted((r for r in self.rows.values() if r.queue == queue and r.state is S.AVAILABLE), key=Row.order)

    def claim(self, row, node):
        row.state, row.node = S.EXECUTING, node
        row.attempt += 1
        row.lease += 1

    def settle(self, row, word):
        """The end of an attempt, as the handler wants it; a person's cancel wins."""
        row.runs += 1
        if row.cancel_requested or word == "cancel":
            return self.end(row, S.CANCELLED, "Cancel")
        match word:
            case "return":
                row.result = "done"
                self.end(row, S.COMPLETED)
            case "raise" if row.attempt < row.max_attempts:
                self.rest(row, S.RETRYABLE, STEP * row.attempt, "ValueError")
            case "raise":
                self.end(row, S.DISCARDED, "ValueError")
            case "discard":
                self.end(row, S.DISCARDED, "Discard")
            case "snooze":
                row.attempt -= 1
                self.rest(row, S.SCHEDULED, NAP)
        return None

    def cancel(self, row):
        if row.state is S.EXECUTING:
            row.cancel_requested = True
        elif row.state in LIVE:
            self.end(row, S.CANCELLED)

    def retry(self, row):
        """False when another live job has the key."""
        if row.state in {S.AVAILABLE, S.EXECUTING}:
            return True
        if row.key is not None and self.keys.setdefault(row.key, row.id) != row.id:
            return False
        row.state, row.scheduled_at, row.finished_at, row.result = S.AVAILABLE, self.now, None, None
        row.cancel_requested, row.crashes = False, 0
        row.max_attempts = max(row.max_attempts, row.attempt + 1)
        return True

    def rescue(self, node):
        """The node is gone: its jobs go back, or are given up."""
        for row in [row for row in self.rows.values() if row.node == node]:
            row.crashes += 1
            if row.cancel_requested:
                self.end(row, S.CANCELLED, "NodeLost")
            elif row.crashes >= CRASHES or row.attempt >= row.max_attempts:
                self.end(row, S.DISCARDED, "NodeLost")
            else:
                row.state, row.node = S.AVAILABLE, None
                self.add_error(row, "NodeLost")

    def remove(self, rows):
        for row in rows:
            del self.rows[row.id]
            if self.keys.get(row.key) == row.id:
                del self.keys[row.key]

    def prune(self):
        ages = {S.COMPLETED: KEPT.completed, S.CANCELLED: KEPT.cancelled, S.DISCARDED: KEPT.discarded}
        old = [r for r in self.rows.values() if r.state in ages and self.now - r.finished_at > ages[r.state]]
        self.remove(old)
        return len(old)
