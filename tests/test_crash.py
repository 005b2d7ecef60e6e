"""Processes and servers are killed at random and every job is accounted for; the checker sees what is wrong."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from crash.__main__ import missing
from crash.checker import judge
from crash.driver import Plan
from crash.evidence import Batch, Cancel, Evidence, Kill, Row, Run, Stop
from crash.history import Change, Side
from crash.places import Place, places
from crash.points import missed
from zjobs import _engine

EXECUTING, COMPLETED, RETRYABLE, DISCARDED, CANCELLED = 1, 2, 3, 4, 5
SECOND = 10**9


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("store", "faults"),
    [
        ("sqlite", {"kills": 20}),
        # Workers are also stopped for longer than their lease and go on, and the server is killed and stopped at once.
        ("postgres", {"kills": 12, "stops": 2, "servers": 4}),
    ],
)
def test_crashes_lose_nothing_and_run_nothing_twice_at_once(tmp_path, store, faults):
    result = tmp_path / "result.json"
    options = [word for name, count in faults.items() for word in (f"--{name}", str(count))]
    folder = str(tmp_path / "run")
    options += ["--jobs", "15000", "--pause", "0.4", "--folder", folder, "--result", str(result)]
    crash("crash", "--store", store, *options)
    found = json.loads(result.read_text())
    assert {name: found[name] for name in faults} == faults
    assert (found["lost"], found["stuck"], found["overlaps"], found["other"]) == (0, 0, 0, 0)
    assert found["reruns"] <= found["running_or_unflushed"]
    assert found["jobs"] > 14_000


def crash(module, *options):
    """Runs one of the crash runs; its result is what it says last."""
    ended = subprocess.run(
        [sys.executable, "-m", module, *options],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("proved: ")


def points(folder, store):
    """The short form for one store."""
    result = folder / "result.json"
    crash("crash.points", "--stores", store, "--few", "--folder", str(folder / "run"), "--result", str(result))
    return json.loads(result.with_stem(f"result-{store}").read_text())


@pytest.mark.timeout(300)
def test_at_every_named_place_of_the_store_in_a_file_a_process_dies_and_others_take_over(tmp_path):
    found = points(tmp_path, "sqlite")
    named = {place.name for place in places("sqlite")}
    assert (found["places"], found["missed"]) == (len(named), [])
    assert found["died_at"] == len(named)
    assert found["kills"] >= found["died_at"] - 4, "migrations are died at before there is anything to check"


@pytest.mark.timeout(300)
def test_at_places_around_each_commit_on_a_server_a_process_dies_and_others_take_over(tmp_path):
    found = points(tmp_path, "postgres")
    assert found["missed"] == []
    assert found["died_at"] > 30


@pytest.mark.timeout(300)
def test_what_a_stopped_worker_writes_when_it_wakes_up_is_refused(tmp_path):
    result = tmp_path / "result.json"
    crash("crash.zombies", "--rounds", "10", "--result", str(result))
    found = json.loads(result.read_text())
    assert (found["refused"], found["wrong"], found["stops"]) == (10, 0, 10)


def test_a_place_that_was_passed_in_one_round_of_two_is_told():
    once, twice = (Place(name, "kill", "worker") for name in ("ack.sent", "claim.sent"))
    assert missed([once, twice], [once, twice, twice], rounds=2) == ["kill at ack.sent: 1 times"]


def test_every_place_of_the_engine_is_died_at_on_some_store():
    planned = {place.name for store in ("sqlite", "postgres") for place in places(store) if place.action == "kill"}
    assert planned == set(_engine._failpoints())


def evidence():
    """One job that was cut off by a kill and ran again, and one that was cancelled before it started."""
    rows = [
        Row(1, COMPLETED, "noop", "t", attempt=2, lease=2, crashes=1, key=None, errors=("NodeLost",)),
        Row(2, CANCELLED, "unwanted", "t", attempt=0, lease=0, crashes=0, key=None, errors=()),
    ]
    return Evidence(
        rows={row.id: row for row in rows},
        runs=[
            Run(1, 1, 1, 10 * SECOND, "worker-0-1"),
            Run(1, 2, 2, 12 * SECOND, "worker-1-1", end=13 * SECOND, returned=True),
        ],
        batches=[Batch("t", 2, made=[1, 2])],
        cancels=[Cancel(2, "cancelled", 11 * SECOND)],
        kills=[Kill("worker-0-1", 11 * SECOND, 11 * SECOND + 5)],
    )


def rules_broken(found):
    return {rule for rule, problems in judge(found).problems.items() if problems}


def test_what_is_possible_is_no_problem():
    verdict = judge(evidence())
    assert rules_broken(evidence()) == set()
    assert (verdict.cut, verdict.reruns, verdict.unflushed, verdict.allowed) == (1, 1, 0, 1)


def test_a_job_waits_for_its_rescue_until_it_is_taken_back_and_not_until_it_runs_again():
    runs = Side(EXECUTING, 1, 1, 1, 0, cancel=False, key=None)
    back, failed = (Side(RETRYABLE, 1, 1, None, crashes, cancel=False, key=None) for crashes in (1, 0))
    for after, waits in ((back, [0.25]), (failed, [])):
        assert judge(evidence(), [Change(1, "job", 11_250_000, 0, 1, "noop", runs, after)]).waits == waits


def edit(found, number, **changes):
    found.rows[number] = replace(found.rows[number], **changes)


def returned_long_before(found):
    found.runs[0].end, found.runs[0].returned = 10 * SECOND + 1, True
    found.kills = [Kill("worker-0-1", 12 * SECOND - 1, 12 * SECOND)]


FAULTS = {
    "a job that is gone": ("lost", lambda found: found.rows.pop(2)),
    "a job that nobody meant": ("lost", lambda found: edit(found, 2, token="other")),  # noqa: S106 - the name of an enqueue
    "a batch that came in part": ("lost", lambda found: found.batches.append(Batch("u", 3, made=[7, 8]))),
    "half a batch that was cut off": ("lost", lambda found: found.batches.__setitem__(0, Batch("t", 3))),
    "more missing than had a key": ("lost", lambda found: found.batches.__setitem__(0, Batch("t", 4, keyed=1))),
    "a job that met another without a key": (
        "lost",
        lambda found: found.batches.__setitem__(0, Batch("t", 3, made=[1, 2], met=[1])),
    ),
    "a batch that came twice": ("lost", lambda found: found.batches.__setitem__(0, Batch("t", 1))),
    "a holder of a key that is gone": ("lost", lambda found: found.batches.append(Batch("u", 1, 1, [], [9]))),
    "a job that waits for ever": ("stuck", lambda found: edit(found, 2, state=0)),
    "a job that runs for ever": ("stuck", lambda found: edit(found, 1, state=1)),
    "a run beside another": ("overlap", lambda found: setattr(found.runs[1], "begin", 11 * SECOND - 1)),
    "a run beside one of a living process": ("overlap", lambda found: found.kills.clear()),
    "a run that never ended": ("re-run", lambda found: found.kills.clear()),
    "a run after a return long ago": ("re-run", returned_long_before),
    "a lease that stands still": ("attempt", lambda found: setattr(found.runs[1], "lease", 1)),
    "an attempt that was not counted": ("attempt", lambda found: edit(found, 1, attempt=1)),
    "a job completed by nobody": ("attempt", lambda found: setattr(found.runs[1], "returned", False)),
    "a job given up too early": ("attempt", lambda found: edit(found, 1, state=DISCARDED)),
    "a crash without its error": ("attempt", lambda found: edit(found, 1, errors=())),
    "a start after a cancel": (
        "cancel",
        lambda found: found.runs.append(Run(2, 1, 1, 12 * SECOND, "worker-1-1", 13 * SECOND)),
    ),
    "a cancel that was forgotten": ("cancel", lambda found: edit(found, 2, state=COMPLETED)),
    "a run of a process that was killed before": (
        "harm",
        lambda found: found.runs.append(Run(1, 3, 3, 9 * SECOND, "worker-0-1", 12 * SECOND, returned=True)),
    ),
    "a damaged file": ("integrity", lambda found: setattr(found, "damage", "row 1 missing from index")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_checker_sees(fault):
    rule, do = FAULTS[fault]
    found = evidence()
    do(found)
    assert rule in rules_broken(found)


@pytest.mark.parametrize("left", [0, 2, 3, 4])
def test_an_enqueue_that_was_cut_off_left_nothing_or_all_but_some_of_those_with_a_key(left):
    assert Batch("t", 4, keyed=2).allows(left)
    assert not Batch("t", 4, keyed=2).allows(1)


def test_a_process_that_was_stopped_beyond_its_lease_may_run_on_beside_the_next_run():
    found = evidence()
    found.kills = []
    found.runs[0].end, found.runs[0].returned = 14 * SECOND, True
    assert rules_broken(found) == {"overlap", "re-run"}
    found.stops = [Stop("worker-0-1", 11 * SECOND, 13 * SECOND)]
    assert rules_broken(found) == set()


def test_what_a_slot_had_taken_when_its_process_was_stopped_may_begin_when_it_goes_on():
    found = evidence()
    found.kills = []
    found.runs[0].begin = found.runs[0].end = 13 * SECOND + 7
    found.runs[0].returned = True
    found.stops = [Stop("worker-0-1", 11 * SECOND, 13 * SECOND)]
    assert rules_broken(found) == set()
    assert judge(found).late == 1
    found.runs[0].begin = found.runs[0].end = 14 * SECOND
    assert rules_broken(found) == {"overlap", "re-run"}


def test_a_run_may_begin_while_its_process_is_being_killed():
    found = evidence()
    found.runs[0].begin = 11 * SECOND + 3
    assert rules_broken(found) == set()
    found.runs[0].begin = 11 * SECOND + 6
    assert rules_broken(found) == {"overlap", "re-run", "harm"}


@pytest.mark.parametrize(
    ("declared_at", "broken"), [((12, 12), False), ((13.5, 0), False), ((14.5, 0), True), ((), True)]
)
def test_most_who_are_stopped_beyond_their_lease_must_be_declared_dead_meanwhile(declared_at, broken):
    found = evidence()
    found.stops = [Stop(name, 11 * SECOND, 13 * SECOND) for name in ("worker-1-1", "worker-2-1")]
    live, dead = (Side(standing, 0, 0, None, 0, cancel=False, key=None) for standing in (0, 2))
    changes = [
        Change(number, "node", round(at * 1e6), 0, number, name, live, dead)
        for number, (name, at) in enumerate(zip(("worker-1-1", "worker-2-1"), declared_at, strict=False))
    ]
    assert bool(judge(found, changes, serial=False).problems["harm"]) is broken


def test_faults_that_were_planned_and_not_made_are_told():
    plan = Plan(kills=3, jobs=10, seed=1, pause=1.0, stops=2, servers=1)
    assert missing(plan, {"kills": 3, "stops": 2, "servers": 1}) == []
    assert missing(plan, {"kills": 2, "stops": 2, "servers": 0}) == ["2 kills of 3", "0 servers of 1"]


@pytest.mark.parametrize(("seconds", "broken"), [(0.5, False), (0.7, True)])
def test_few_ends_wait_to_be_written_at_a_time(seconds, broken):
    """A hundred a second."""
    found, changes = evidence(), []
    runs, wrote = Side(1, 1, 1, 1, 0, cancel=False, key=None), Side(COMPLETED, 1, 1, None, 0, cancel=False, key=None)
    for number in range(1000):
        end = number * SECOND // 100
        found.runs.append(Run(number + 10, 1, 1, end, "worker-0-1", end=end, returned=True))
        at = end // 1000 + round(seconds * 1e6)
        changes.append(Change(number, "job", at, 0, number + 10, "noop", runs, wrote))
    verdict = judge(found, changes)
    assert verdict.unwritten == seconds
    assert bool(verdict.problems["late"]) is broken


def test_the_checker_sees_two_jobs_with_one_key_at_once():
    found = evidence()
    for number in (1, 2):
        edit(found, number, key="k", worker="keyed", state=COMPLETED, lease=2, attempt=2)
    found.cancels.clear()
    found.runs.append(Run(2, 2, 2, 12 * SECOND + 1, "worker-1-1", end=14 * SECOND, returned=True))
    assert rules_broken(found) == {"overlap"}
