"""The history of the rows: what triggers write down, and that each rule of the audit objects to what breaks it."""

import json
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from crash.audit import audit
from crash.evidence import Evidence, Pause, Row, Run
from crash.history import Change, Side, install, read
from zjobs import DbStore, JobState, SqliteStore
from zjobs.rows import Acked, AckRow, Heartbeat, JobEvent, JobFilter, NewJob

AVAILABLE, EXECUTING, COMPLETED, RETRYABLE, DISCARDED, CANCELLED, SCHEDULED = range(7)
SECOND = 1_000_000
WAITS = Side(AVAILABLE, 0, 0, None, 0, cancel=False, key=None)
ALIVE, DEAD = Side(0, 0, 0, None, 0, cancel=False, key=None), Side(2, 0, 0, None, 0, cancel=False, key=None)


class Story:
    """A history that is told change by change, each at the second of its number."""

    def __init__(self):
        self.changes = []
        self.sides = {}
        self.evidence = Evidence({}, [], [], [], [])

    def job(self, number, after, **about):
        at = (len(self.changes) + 1) * SECOND
        about = {"queue": "q", "most": 20, "attempted_at": at, "at": at} | about
        before = self.sides.get(number)
        change = Change(len(self.changes) + 1, "job", transaction=0, id=number, name=about.pop("name", "noop"),
                        before=before, after=after, **about)  # fmt: skip
        self.changes.append(change)
        self.sides[number] = after
        if after is not None:
            self.evidence.rows[number] = Row(
                number, after.state, "noop", "t", after.attempt, after.lease, after.crashes, None, ()
            )

    def other(self, what, name, after=None, number=0, **about):
        at = (len(self.changes) + 1) * SECOND
        self.changes.append(Change(len(self.changes) + 1, what, at, 0, number, name, None, after, **about))

    def node(self, number, name, side=ALIVE):
        self.other("node", name, side, number)

    def claim(self, number, node, **about):
        side = self.sides[number]
        self.job(
            number, replace(side, state=EXECUTING, lease=side.lease + 1, attempt=side.attempt + 1, node=node), **about
        )

    def ran(self, number, process, how="returned"):
        """The handler ends now; what is written of it comes later."""
        moment = len(self.changes) * SECOND * 1000 + 1
        side = self.sides[number]
        run = Run(number, side.lease, side.attempt, moment, process, end=moment, returned=how == "returned")
        self.evidence.runs.append(run)

    def end(self, number, state, result=None, **changes):
        side = replace(self.sides[number], state=state, node=None, **changes)
        self.job(number, side, result=result)

    def broken(self, *, serial=True):
        return {rule for rule, _ in audit(self.evidence, self.changes, serial=serial)}


def told():
    """Job 1 is claimed by a node that dies, rescued, and completed elsewhere; job 2 is claimed after it."""
    story = Story()
    story.node(1, "a")
    story.node(2, "b")
    story.job(1, replace(WAITS, key="k"))
    story.job(2, WAITS, priority=5)
    story.claim(1, 1)
    story.ran(1, "a")
    story.evidence.runs[-1].end = None
    story.node(1, "a", DEAD)
    story.end(1, AVAILABLE, crashes=1)
    story.claim(1, 2)
    story.ran(1, "b")
    story.end(1, COMPLETED, json.dumps(["b", 2]), key=None)
    story.claim(2, 2, priority=5)
    story.ran(2, "b", "raised")
    story.end(2, RETRYABLE)
    story.job(2, replace(story.sides[2], state=AVAILABLE), priority=5)
    return story


def test_what_is_possible_is_no_problem():
    assert told().broken() == set()
    assert told().broken(serial=False) == set()


def change(story, number, **changes):
    """Edits one change, by its place."""
    story.changes[number] = replace(story.changes[number], **changes)


def state(story, number, **changes):
    """Edits what a change led to, and what the next of that job found."""
    edited = story.changes[number]
    change(story, number, after=replace(edited.after, **changes))
    later = [place for place in range(number + 1, len(story.changes)) if story.changes[place].id == edited.id
             and story.changes[place].what == "job"]  # fmt: skip
    for place in later[:1]:
        change(story, place, before=replace(story.changes[place].before, **changes))


def better_waits(story):
    story.job(3, WAITS, priority=-1)
    story.job(4, WAITS, priority=7)
    story.claim(4, 2, priority=7)
    story.ran(4, "b")
    story.end(4, COMPLETED)


def best_of_two(story):
    """Both jobs of one claim count, in whatever order they were written."""
    story.job(3, WAITS, priority=1)
    story.job(4, WAITS, priority=2)
    story.job(5, WAITS, priority=3)
    for number in (4, 3):
        story.claim(number, 2, priority=number - 2, attempted_at=99 * SECOND)
    for number in (4, 3):
        story.ran(number, "b")
        story.end(number, COMPLETED)


def late_writer(story):
    """A process whose lease is over completes the attempt of another, which goes on."""
    story.evidence.runs[1].end += 10 * SECOND * 1000


def paused_by_hand(story):
    story.evidence.pauses.append(Pause("q", 4 * SECOND, 6 * SECOND))


def paused(story):
    story.other("queue", "q", replace(ALIVE, state=1))
    story.job(6, WAITS, priority=-9)
    story.claim(6, 2, priority=-9)
    story.ran(6, "b")
    story.end(6, COMPLETED)


def wanted_gone(story):
    story.job(3, WAITS, priority=-9)
    story.claim(3, 2, priority=-9)
    story.job(3, replace(story.sides[3], cancel=True))
    story.ran(3, "b")
    story.end(3, COMPLETED)


def tick(story, at=1, jobs=1):
    story.other("tick", "rare", scheduled_at=at)
    for number in range(jobs):
        story.job(10 * at + number, WAITS, name="ticked", priority=9)


def in_two_parts(story):
    """Others come between."""
    for number, token in ((13, "u"), (14, "v"), (15, "u")):
        story.job(number, WAITS, token=token, priority=9)


def in_two_transactions(story):
    for number in (23, 24):
        story.job(number, WAITS, token="x", priority=9)  # noqa: S106 - the name of an enqueue
    change(story, len(story.changes) - 1, transaction=7)


def in_one_transaction(story):
    for number in (33, 34):
        story.job(number, WAITS, token="y", priority=9)  # noqa: S106 - as above


def two_holders(story):
    story.job(3, replace(WAITS, key="x"))
    story.job(4, replace(WAITS, key="x"))


def deleted_while_it_ran(story):
    story.job(3, WAITS, priority=-9)
    story.claim(3, 2, priority=-9)
    story.ran(3, "b")
    story.job(3, None)


def back_from_the_dead(story):
    story.job(3, WAITS)
    story.job(3, None)
    story.job(3, WAITS)


FAULTS = {
    "a move that the table does not have": (
        "move",
        lambda story: story.job(2, replace(story.sides[2], state=COMPLETED)),
    ),
    "an attempt that was not counted": ("move", lambda story: state(story, 4, attempt=0)),
    "more attempts than allowed": ("move", lambda story: change(story, 10, most=0)),
    "a job that begins in the middle": ("move", lambda story: story.job(3, replace(WAITS, state=RETRYABLE))),
    "a change that nobody wrote down": ("move", lambda story: change(story, 7, before=WAITS)),
    "a job that runs and is deleted": ("move", deleted_while_it_ran),
    "a job that comes back": ("move", back_from_the_dead),
    "a row that is not what was written": ("move", lambda story: story.evidence.rows.pop(2)),
    "a row that nobody wrote": ("move", lambda story: story.evidence.rows.update({9: story.evidence.rows[1]})),
    "a lease that stands still": ("lease", lambda story: state(story, 7, lease=1)),
    "a lease that rises by two": ("lease", lambda story: state(story, 7, lease=3)),
    "a lease that rises without a claim": ("lease", lambda story: state(story, 6, lease=2)),
    "a run that nobody claimed": ("lease", lambda story: setattr(story.evidence.runs[1], "lease", 7)),
    "one lease in two processes": (
        "lease",
        lambda story: story.evidence.runs.append(replace(story.evidence.runs[1], process="c")),
    ),
    "a run that changes its node": (
        "lease",
        lambda story: story.job(3, WAITS) or story.claim(3, 2) or story.job(3, replace(story.sides[3], node=1)),
    ),
    "a job completed by nobody": ("stale", lambda story: story.evidence.runs.pop(1)),
    "a job completed before its handler ended": ("stale", late_writer),
    "a job completed by a handler that raised": (
        "stale",
        lambda story: setattr(story.evidence.runs[1], "returned", False),
    ),
    "a failure of a handler that returned": ("stale", lambda story: setattr(story.evidence.runs[2], "returned", True)),
    "the result of another run": ("stale", lambda story: change(story, 8, result=json.dumps(["a", 1]))),
    "a run in another process": ("stale", lambda story: setattr(story.evidence.runs[1], "process", "c")),
    "a rescue from the living": ("dead", lambda story: change(story, 5, after=ALIVE)),
    "a claim by the dead": ("dead", lambda story: change(story, 1, after=DEAD)),
    "a claim by nobody": ("dead", lambda story: change(story, 1, id=7)),
    "a node that lives again": ("dead", lambda story: story.node(1, "a")),
    "a key with two holders": ("unique", two_holders),
    "a key that outlives its job": ("unique", lambda story: state(story, 8, key="k")),
    "a better one that was left": ("order", better_waits),
    "a claim before its time": ("early", lambda story: change(story, 7, scheduled_at=99 * SECOND)),
    "a claim before its time that is stamped with it": (
        "early",
        lambda story: change(story, 7, scheduled_at=99 * SECOND, attempted_at=99 * SECOND),
    ),
    "made available before its time": ("early", lambda story: change(story, 11, scheduled_at=99 * SECOND)),
    "a claim from a paused queue": ("pause", paused),
    "a claim from a queue that was paused by hand": ("pause", paused_by_hand),
    "a wanted cancel that was overtaken": ("cancel", wanted_gone),
    "a batch that came in two parts": ("batch", in_two_parts),
    "a batch in two transactions": ("batch", in_two_transactions),
    "a tick that came twice": ("cron", lambda story: tick(story) or story.other("tick", "rare", scheduled_at=1)),
    "a tick without a job": ("cron", lambda story: tick(story, jobs=0)),
    "a tick with two jobs": ("cron", lambda story: tick(story, jobs=2)),
    "a job without a tick": ("cron", lambda story: story.job(3, WAITS, name="ticked")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_audit_sees(fault):
    rule, do = FAULTS[fault]
    story = told()
    do(story)
    assert rule in story.broken()


@pytest.mark.parametrize("fine", [best_of_two, in_one_transaction, tick])
def test_the_audit_does_not_object_to(fine):
    story = told()
    fine(story)
    assert story.broken() == set()


def test_where_transactions_overlap_order_and_pauses_are_not_read_from_it():
    story = told()
    better_waits(story)
    paused(story)
    in_two_parts(story)
    assert story.broken(serial=False) == set()
    in_two_transactions(story)
    assert story.broken(serial=False) == {"batch"}


@pytest.fixture(params=["sqlite", "postgres"])
def written(request, tmp_path):
    """A store whose changes are written down, and where to."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'jobs.db'}"
        store = SqliteStore(tmp_path / "jobs.db")
    else:
        url = request.getfixturevalue("server_of_its_own")
        store = DbStore(url)
    install(url)
    return store, url


def test_the_triggers_write_down_every_change_of_a_row(written):
    store, url = written
    node = "a" * 32
    store.heartbeat(Heartbeat(node, name="me"))
    (job,) = (one.job for one in store.enqueue([NewJob("w", b'{"token": "t"}', unique_key="k", priority=3)]))
    (running,) = store.claim(node, "default", 1)
    ack = AckRow(job.id, running.lease, JobEvent.COMPLETE, JobState.COMPLETED, 1, result_bytes=b'["me", 1]')
    assert list(store.ack(node, [ack])) == [Acked.STORED]
    store.pause("default")
    store.delete(JobFilter(ids=(job.id,)))
    changes = list(read(url))
    moves = [(c.before and c.before.state, c.after and c.after.state) for c in changes if c.what == "job"]
    assert moves == [(None, AVAILABLE), (AVAILABLE, EXECUTING), (EXECUTING, COMPLETED), (COMPLETED, None)]
    inserted, claimed, completed, deleted = (c for c in changes if c.what == "job")
    assert (inserted.name, inserted.queue, inserted.priority, inserted.token) == ("w", "default", 3, "t")
    assert (inserted.after.key, completed.after.key, deleted.unique_key) == ("k", None, "k")
    (alive,) = (c for c in changes if c.what == "node")
    assert (claimed.after.node, claimed.after.lease, claimed.after.attempt) == (alive.id, 1, 1)
    assert alive.name == "me"
    assert json.loads(completed.result) == ["me", 1]
    assert claimed.attempted_at <= claimed.at + 1000
    (pause,) = (c for c in changes if c.what == "queue")
    assert (pause.name, pause.after.state) == ("default", 1)


def test_what_is_rolled_back_is_not_written_down(tmp_path):
    store = SqliteStore(tmp_path / "jobs.db")
    install(f"sqlite:///{tmp_path / 'jobs.db'}")
    store.enqueue([NewJob("w", b"{}")])
    connection = sqlite3.connect(tmp_path / "jobs.db")
    connection.execute("UPDATE zjobs_jobs SET state = 5")
    connection.rollback()
    connection.close()
    assert [change.after.state for change in read(f"sqlite:///{tmp_path / 'jobs.db'}")] == [AVAILABLE]
