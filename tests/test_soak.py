"""The short form of `make soak`, and the proof that its ledger and its verdicts see what is wrong."""

import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from crash.evidence import Row
from soak import driver, faults
from soak.__main__ import sentence
from soak.driver import Plan, Told
from soak.faults import FAULTS, OF_STORE, Faults, UnfeltError, moments
from soak.ledger import Ledger
from soak.samples import Process, Sample
from soak.stores import Final, Size
from soak.verdicts import Due, judge, quiet

SECOND = 10**9
COMPLETED, AVAILABLE = 2, 0
HOURS = 4.0
DUE = Due(["worker-0-1"], sized=True)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("store", ["memory", "sqlite", "postgres"])
def test_nothing_is_lost_in_seconds_with_a_fault_each_second_of_them(tmp_path, store):
    result = tmp_path / "result.json"
    pace = ["--hours", str(4 / 3600), "--rate", "300", "--fault-every", "1.5", "--sample-every", "1"]
    ended = subprocess.run(
        [sys.executable, "-m", "soak", "--store", store, *pace, "--result", str(result)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("proved: ")
    found = json.loads(result.read_text())
    assert found["problems"] == {}
    assert found["faults"]
    assert found["jobs"] > 500


def test_each_store_has_its_faults():
    assert {fault for some in OF_STORE.values() for fault in some} == set(FAULTS)


def test_faults_come_one_by_one_however_long_it_lasts():
    chance = random.Random(1)  # noqa: S311 - no secret
    begin = list(itertools.islice(moments(60.0, chance), 1440))
    assert all(48 <= after - before <= 72 for before, after in itertools.pairwise([0.0, *begin]))


class Unharmed:
    """A process that nothing is done to; in its log it has said nothing."""

    name, pid = "worker-0-1", os.getpid()

    def __init__(self, folder):
        self.folder, self.process = folder, self
        (folder / f"{self.name}.log").touch()

    def kill(self): ...

    def send_signal(self, number): ...

    def wait(self, seconds):
        return 0


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_fault_that_nobody_felt_ends_the_run(name, tmp_path, monkeypatch):
    for seconds in ("SOON", "ZOMBIE", "PAUSED"):
        monkeypatch.setattr(faults, seconds, 0.01)
    monkeypatch.setattr(faults, "storm_of", lambda *_: 0)
    monkeypatch.setattr(faults, "is_locked", lambda _: False)
    victim, chance = Unharmed(tmp_path), random.Random(1)  # noqa: S311 - no secret
    store = SimpleNamespace(queues=list)
    client = SimpleNamespace(pause_queue=print, resume_queue=print, store=store)
    on = Faults(SimpleNamespace(mortals=[victim], workers=[victim]), None, client, 0.01, chance, cut_off=victim)
    on.server = SimpleNamespace(began=lambda: 7, stop=print, start=print)
    on.proxy = SimpleNamespace(cut=lambda: 0)
    if name == "snapshot":
        numbers = itertools.count()
        with pytest.raises(UnfeltError):
            faults.hold(on, lambda: next(numbers))
        return
    on.file = tmp_path / "jobs.db"
    with pytest.raises(UnfeltError):
        on.do(name)
    assert on.done == []


def test_a_process_that_is_told_to_pause_and_does_not_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "SOON", 0.01)
    with pytest.raises(UnfeltError, match="worker-0-1 has not paused"):
        faults.tell(Unharmed(tmp_path), signal.SIGUSR1, "paused")


def test_whether_a_file_is_locked_is_tried(tmp_path):
    path = tmp_path / "jobs.db"
    assert not faults.is_locked(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert faults.is_locked(path)


# --- the ledger ---


class Fixed:
    """A view of rows that the test has chosen."""

    def __init__(self, *rows):
        self.finals = [Final(row, 0.001) for row in rows]

    def newly_final(self):
        return (one for one in self.finals if one.row.state == COMPLETED)

    def final(self, ids):
        return (one for one in self.finals if one.row.id in ids and one.row.state == COMPLETED)

    def rows(self):
        return iter(self.finals)

    def of(self, tokens):
        return (one for one in self.finals if one.row.token in tokens)


def row(number, state=COMPLETED, token="a", **more):  # noqa: S107 - the name of an enqueue
    about = {"attempt": 1, "lease": 1, "crashes": 0, "key": None, "errors": ()}
    return Row(number, state, "noop", token, **(about | more))


MARKS = """intend a 2 0
enqueued a 1 2
begin 1 1 1 20
end 1 1 1 30 returned
begin 2 1 1 20
end 2 1 1 30 returned
"""


def ledger(tmp_path, marks, *rows):
    (tmp_path / "worker-0-1.marks").write_text(marks)
    return Ledger(tmp_path, Fixed(*rows))


def test_what_a_handler_wrote_while_a_look_took_long_is_read_before_its_job_is_judged(tmp_path):
    early, late = MARKS.split("end 2")
    it = ledger(tmp_path, early, row(1), row(2))
    it.read(40 * SECOND)
    (tmp_path / "worker-0-1.marks").write_text(early + "end 2" + late)
    it.close(90 * SECOND)
    assert (it.waiting, it.counts["jobs"], dict(it.problems)) == (0, 2, {rule: [] for rule in it.problems})


def test_rows_that_may_be_gone_before_they_are_looked_at_end_the_soak():
    driver._check_pace(driver.LOOKS)
    with pytest.raises(driver.TooSlowError, match=r"61 s passed between two looks .* kept for 90 s.*RATE="):
        driver._check_pace(61.0)


def test_what_is_over_is_judged_once_and_forgotten(tmp_path):
    it = ledger(tmp_path, MARKS, row(1), row(2))
    assert it.read(40 * SECOND) == [0.001, 0.001]
    assert it.read(41 * SECOND) == []
    it.close(50 * SECOND)
    assert (it.waiting, it.counts["jobs"]) == (1, 0)
    it.close(90 * SECOND)
    assert (it.waiting, it.counts["jobs"], it.counts["runs"], it.ended) == (0, 2, 2, 2)
    it.finish()
    assert it.counts["jobs"] == 2
    assert not any(it.problems.values())


def test_a_file_of_marks_is_read_on_from_where_it_was_left_and_its_disk_given_back(tmp_path):
    it = ledger(tmp_path, MARKS + "# " * 8192, row(1), row(2))
    it.read(40 * SECOND)
    it.close(90 * SECOND)
    path = tmp_path / "worker-0-1.marks"
    assert path.stat().st_blocks * 512 < path.stat().st_size
    with path.open("a") as file:
        file.write("\n")
    with pytest.raises(ValueError, match="does not know"):
        it.read(91 * SECOND)


PROBLEMS = {
    "a job that is gone": ("lost", MARKS, [row(1)]),
    "a job that nobody meant": ("lost", MARKS, [row(1), row(2), row(3, token="b")]),  # noqa: S106 - as above
    "a job that ran and is gone": ("lost", MARKS + "begin 9 1 1 20\nend 9 1 1 30 returned\n", [row(1), row(2)]),
    "half a batch that was cut off": ("lost", MARKS.replace("enqueued a 1 2\n", ""), [row(1)]),
    "a job that met another without a key": ("lost", MARKS.replace("enqueued a 1 2", "enqueued a 1 +2"), [row(1)]),
    "a job that waits for ever": ("stuck", MARKS, [row(1), row(2, AVAILABLE)]),
    "a run beside another": ("overlap", MARKS + "begin 1 2 2 25\nend 1 2 2 40 returned\n", [row(1), row(2)]),
    "a run after its end": ("re-run", MARKS + "begin 1 2 2 35\nend 1 2 2 40 returned\n", [row(1), row(2)]),
    "a job completed by nobody": ("attempt", MARKS.replace("end 2 1 1 30 returned\n", ""), [row(1), row(2)]),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_ledger_sees(tmp_path, problem):
    rule, marks, rows = PROBLEMS[problem]
    it = ledger(tmp_path, marks, *rows)
    it.read(40 * SECOND)
    it.close(90 * SECOND)
    it.finish()
    assert it.problems[rule]


LOCKED = """intend a 1 0
enqueued a 1
begin 1 1 1 20
end 1 1 1 1000 returned
"""


@pytest.mark.parametrize(("until", "found"), [(8, 0), (6, 1)])
def test_what_nobody_could_write_before_a_kill_may_run_again(tmp_path, until, found):
    (tmp_path / "driver.marks").write_text(
        f"server lock 500 {until * SECOND}\nkill worker-0-1 {8 * SECOND} {8 * SECOND}\n"
    )
    (tmp_path / "worker-1-1.marks").write_text(f"begin 1 2 2 {9 * SECOND}\nend 1 2 2 {9 * SECOND} returned\n")
    it = ledger(tmp_path, LOCKED, row(1, attempt=2, lease=2, crashes=1, errors=("NodeLost",)))
    it.read(40 * SECOND)
    it.close(90 * SECOND)
    it.finish()
    assert {rule: len(some) for rule, some in it.problems.items() if some} == ({"re-run": 1} if found else {})


def test_the_ledger_sees_two_jobs_with_one_key_at_once_though_they_were_judged_one_after_the_other(tmp_path):
    first = row(1, key="k")
    it = ledger(tmp_path, "intend a 1 1\nenqueued a 1\nbegin 1 1 1 20\nend 1 1 1 30 returned\n", first)
    it.read(40 * SECOND)
    it.close(90 * SECOND)
    with (tmp_path / "worker-0-1.marks").open("a") as file:
        file.write("intend b 1 1\nenqueued b 2\nbegin 2 1 1 29\nend 2 1 1 40 returned\n")
    it.view = Fixed(first, replace(first, id=2, token="b"))  # noqa: S106 - as above
    it.read(100 * SECOND)
    it.close(190 * SECOND)
    assert it.problems["overlap"]


def test_a_batch_that_met_a_job_waits_for_it(tmp_path):
    holder = row(2, token="b", key="k")  # noqa: S106 - as above
    marks = "intend b 1 1\nenqueued b 2\nintend a 2 1\nenqueued a 1 +2\nbegin 1 1 1 20\nend 1 1 1 30 returned\n"
    it = ledger(tmp_path, marks, row(1))
    it.read(40 * SECOND)
    it.close(90 * SECOND)
    assert it.waiting == 2
    with (tmp_path / "worker-0-1.marks").open("a") as file:
        file.write("begin 2 1 1 20\nend 2 1 1 30 returned\n")
    it.view = Fixed(row(1), holder)
    it.read(91 * SECOND)
    it.close(190 * SECOND)
    assert it.waiting == 0
    assert not any(it.problems.values())


CUT_OFF = """intend a 2 1
begin 1 1 1 20
end 1 1 1 30 returned
"""


def test_a_batch_that_was_cut_off_is_judged_when_all_of_it_that_is_there_has_ended(tmp_path):
    both = CUT_OFF + "begin 2 1 1 20\nend 2 1 1 30 returned\n"
    it = ledger(tmp_path, both, row(1), row(2, AVAILABLE))
    for moment in (40, 90, 91):
        it.read(moment * SECOND)
    it.close(120 * SECOND)
    assert it.waiting == 1
    it.view = Fixed(row(1), row(2))
    it.read(121 * SECOND)
    it.close(150 * SECOND)
    assert (it.waiting, it.counts["jobs"]) == (0, 2)
    assert not any(it.problems.values())


@pytest.mark.parametrize(("keyed", "found"), [(1, 0), (0, 1)])
def test_what_a_batch_that_was_cut_off_lacks_must_have_had_a_key(tmp_path, keyed, found):
    it = ledger(tmp_path, CUT_OFF.replace("2 1", f"2 {keyed}", 1), row(1))
    for moment in (40, 70, 71):
        it.read(moment * SECOND)
    it.close(95 * SECOND)
    assert (it.waiting, len(it.problems["lost"])) == (0, found)


def test_the_ledger_sees_a_run_that_ends_long_after_all_was_over(tmp_path):
    it = ledger(tmp_path, MARKS, row(1), row(2))
    it.read(40 * SECOND)
    it.close(90 * SECOND)
    with (tmp_path / "worker-0-1.marks").open("a") as file:
        file.write("end 1 1 1 99 returned\n")
    it.read(100 * SECOND)
    assert it.problems["overlap"]


# --- the verdicts ---


def run(
    *,
    memory=lambda _: 40.0,
    descriptors=lambda _: 20,
    threads=lambda _: 9,
    table=lambda _: 30.0,
    wait=lambda _: 0.01,
    hours=HOURS,
):
    """Samples of so many hours, by functions of the part of it that has passed."""
    return [
        Sample(
            at=part * 3600 * hours,
            processes={"worker-0-1": Process(memory(part), descriptors(part), threads(part))},
            size=Size(table(part), wal=4.0),
            waits=[wait(part)] * 200,
        )
        for part in (number / 200 for number in range(201))
    ]


def broken(samples, faults=(), hours=HOURS):
    return [one.what for one in judge(samples, faults, hours, DUE) if not one.holds]


def failing(samples, hours, due=DUE):
    """What fails the run."""
    return {one.what for one in judge(samples, [], hours, due) if one.binding and not one.holds}


def test_a_flat_run_holds_in_everything():
    found = judge(run(), [], HOURS, DUE)
    assert [one.what for one in found if not one.holds] == []
    assert {one.what for one in found} == set(DUE.all())


GROWN = set(DUE.all()) - {"start latency p99"}


@pytest.mark.parametrize("samples", [[], run()[:3], run()[-5:]])
def test_what_is_due_and_cannot_be_judged_fails_the_run(samples):
    assert failing(samples, HOURS) == GROWN
    assert failing(samples, 24.0) == GROWN | {"start latency p99"}
    assert failing(samples, 0.1) == set()


def test_a_process_that_should_have_lived_through_all_of_it_is_missed():
    both = Due(["worker-0-1", "producer-0-1"], sized=True)
    assert failing(run(), HOURS, both) == {f"{what} of producer-0-1" for what in ("memory", "descriptors", "threads")}
    late = run()
    del late[-1].processes["worker-0-1"]
    assert failing(late, HOURS) == {f"{what} of worker-0-1" for what in ("memory", "descriptors", "threads")}


def test_a_store_without_a_size_need_not_show_one():
    unsized = [replace(one, size=None) for one in run()]
    assert failing(unsized, HOURS) == {"size of the table", "size of the log"}
    assert failing(unsized, HOURS, Due(["worker-0-1"], sized=False)) == set()


def test_the_last_hour_of_a_day_must_start_jobs_as_soon_as_the_first():
    slower = {"wait": lambda part: 0.01 if part < 0.9 else 0.013}
    assert failing(run(**slower, hours=24.0), 24.0) == {"start latency p99"}
    assert failing(run(hours=24.0), 24.0) == set()
    assert failing(run(**slower, hours=23.0), 23.0) == set()
    assert failing(run(wait=lambda part: 0.013 if 0.1 < part < 0.9 else 0.01, hours=24.0), 24.0) == set()


def test_a_day_whose_last_hour_saw_no_job_start_is_not_proved_quick():
    silent = run(hours=24.0)
    for one in silent[-40:]:
        one.waits.clear()
    assert failing(silent, 24.0) == {"start latency p99"}


@pytest.mark.parametrize(
    ("grows", "what"),
    [
        ({"memory": lambda part: 40 + 4 * part}, "memory of worker-0-1"),
        ({"descriptors": lambda part: 20 + round(5 * part)}, "descriptors of worker-0-1"),
        ({"threads": lambda part: 9 + round(5 * part)}, "threads of worker-0-1"),
        ({"table": lambda part: 60 * part}, "size of the table"),
        ({"wait": lambda part: 0.01 * (1 + part)}, "start latency p99"),
    ],
)
def test_the_verdicts_see_what_grows(grows, what):
    assert broken(run(**grows)) == [what]


def test_what_grows_in_the_first_hour_is_no_leak():
    assert broken(run(memory=lambda part: min(40.0, 30 + 40 * part))) == []


@pytest.mark.parametrize(
    ("hours", "judged", "told"),
    [
        (0.1, ["descriptors", "threads"], ["memory", "size", "size", "start"]),
        (4.0, ["memory", "descriptors", "threads", "size", "size"], ["start"]),
        (24.0, ["memory", "descriptors", "threads", "size", "size", "start"], ["nothing"]),
    ],
)
def test_what_is_said_in_the_end_tells_what_was_judged_from_what_was_not(tmp_path, hours, judged, told):
    plan = Plan("sqlite", hours * 3600, 100.0, 60.0, 5.0, 1)
    said = sentence(plan, Told(Ledger(tmp_path, Fixed()), 0, ["worker-0-1"]), judge(run(hours=hours), [], hours, DUE))
    parts = said.split("; judged: ")[1].split("; told and not judged: ")
    assert [[one.split()[0] for one in part.split("; ")] for part in parts] == [judged, told]


def test_only_the_time_between_faults_is_compared():
    faults = [("freeze", 12000.0, 12400.0)]
    late = run(wait=lambda part: 5.0 if 12000 <= part * HOURS * 3600 <= 12410 else 0.01)
    assert broken(late) == ["start latency p99"]
    assert broken(late, faults) == []
    assert len(quiet(late, faults)) < len(late)
