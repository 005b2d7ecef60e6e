"""The short forms of `make cuts`, `make promotions` and `make disks`, and the proof that they see what is wrong."""

import random
import socket
import struct
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

import zjobs
from outages import cuts
from outages.account import Account
from outages.cuts import CUTS, PATIENCE, patience, shares
from outages.way import Way
from outages.wire import Wire


def proved(program, *arguments):
    command = [sys.executable, "-m", f"outages.{program}", *arguments]
    ended = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=140, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.timeout(150)
def test_cuts_lose_nothing_and_run_nothing_twice():
    assert proved("cuts", "--cuts", "12", "--no-silence").startswith("proved: 12 cuts")


@pytest.mark.timeout(150)
def test_work_goes_on_at_a_follower_that_was_promoted_and_nothing_is_lost():
    assert proved("promotions", "--times", "2").startswith("proved: 2 deaths of the leader")


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("store", "kinds"), [("sqlite", 2), ("postgres", 3)])
def test_disks_that_are_full_read_only_or_fail_lose_nothing(store, kinds):
    said = proved("disks", "--rounds", "1", "--store", store)
    assert said.startswith(f"proved: {kinds} outages of {store}")


@pytest.fixture
def jobs():
    """A supervisor whose jobs `a` and `b` have ended."""
    jobs = zjobs.Supervisor("memory://")

    @jobs.worker
    def act(token: str) -> None: ...

    jobs.enqueue_many([("act", {"token": token}) for token in "ab"])
    jobs.drain()
    return jobs


def seen(**changes):
    found = Account()
    found.made, found.uncertain = {"a": 1}, {"b"}
    found.runs.update({"a": 1, "b": 1})
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def test_what_is_possible_is_no_problem(jobs):
    assert seen().problems(jobs) == []


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("c was enqueued and is not there", {"made": {"a": 1, "c": 2}}),
        ("b was refused and is there", {"refused": {"b"}}),
        ("a is there 1 times and ran 2 times", {"runs": {"a": 2, "b": 1}}),
        ("b is there 1 times and ran 0 times", {"runs": {"a": 1, "b": 0}}),
        ("a call took 15.5 seconds of 15", {"slowest": 15.5}),
        ("a call took 3.1 seconds of 3", {"slowest": 3.1, "most": 3.0}),
        ("p: oh", {"failures": ["p: oh"]}),
        ("nothing was enqueued", {"made": {}}),
    ],
)
def test_what_is_wrong_is_told(jobs, what, changes):
    assert seen(**changes).problems(jobs) == [what]


def test_a_job_that_never_ended_and_one_that_came_twice_are_told(jobs):
    jobs.enqueue("act", {"token": "a"}, schedule_in=timedelta(hours=1))
    found = seen(runs={"a": 2, "b": 1}).problems(jobs)
    assert found == ["a is scheduled", "a has no key and is there 2 times"]


def test_most_messages_that_are_lost_must_matter():
    kinds = Counter({"request lost": 5, "reply lost": 3, "hole": 90})
    assert shares(Counter(enqueue=2, ack=2), kinds) == []
    assert shares(Counter(enqueue=2, ack=1, heartbeat=9), kinds) == [
        "of 8 messages that were lost 1 commit an ack: less than a quarter"
    ]


def test_each_cut_that_is_counted_was_made(monkeypatch):
    made = []
    monkeypatch.setattr(cuts, "cut", lambda _ways, *which: made.append(which[:2]) or set())
    monkeypatch.setattr(cuts.time, "sleep", lambda _seconds: None)
    counted = list(cuts.cuts([], len(CUTS), random.Random(1), Counter()))  # noqa: S311 - no secret
    assert sorted(map(str, made)) == sorted(map(str, CUTS))
    assert counted == [kind for kind, _ in made]


def test_some_call_must_have_waited_as_long_as_it_may():
    assert patience(seen(slowest=PATIENCE + 0.1)) == []
    assert patience(seen(slowest=PATIENCE / 2)) == ["the longest call took 0.5 s: none has waited as long as it may"]


def told(kind, body):
    return kind + struct.pack("!i", len(body) + 4) + body


START = told(b"", struct.pack("!i", 80877103)) + told(b"", struct.pack("!i", 196608) + b"user\0me\0\0")
PREPARED = told(b"P", b"s1\0-- enqueue: new -> available\nINSERT\0\0\0") + told(b"P", b"s2\0\n-- ack\nUPDATE\0\0\0")


def bind(name):
    return told(b"B", b"\0" + name + b"\0any\0bytes") + told(b"S", b"")


@pytest.mark.parametrize(
    ("messages", "commits"),
    [
        ([bind(b"s1"), bind(b"s2"), bind(b"s1") + bind(b"s2")], [{"enqueue"}, {"ack"}, {"enqueue", "ack"}]),
        (
            [told(b"Q", b"BEGIN; SET LOCAL a = b\0"), bind(b"s1") + told(b"Q", b"COMMIT\0"), bind(b"s2")],
            [set(), {"enqueue"}, {"ack"}],
        ),
        ([told(b"Q", b"BEGIN\0") + bind(b"s1"), told(b"Q", b"ROLLBACK\0"), bind(b"s2")], [set(), set(), {"ack"}]),
        ([bind(b"s1")[:9], bind(b"s1")[9:]], [set(), {"enqueue"}]),
        ([told(b"P", b"\0SELECT 1\0\0\0") + bind(b"")], [{""}]),
    ],
)
def test_what_a_message_commits_is_told_from_what_was_asked_before(messages, commits):
    wire, one, other = Wire(), *socket.socketpair()
    with one, other:
        assert wire.commits(one, START[:3]) == wire.commits(one, START[3:] + PREPARED) == set()
        assert wire.commits(other, START) == set()
        assert [wire.commits(one, message) for message in messages] == commits


def test_a_cut_of_a_way_that_nobody_takes_is_none(monkeypatch):
    monkeypatch.setattr("outages.way.SOON", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        way = Way(server.getsockname()[1])
        for act in (way.reset, way.hold, lambda: way.lose("cut", "ack"), lambda: way.lose("cut after", None)):
            with pytest.raises(TimeoutError):
                act()
        way.close()
