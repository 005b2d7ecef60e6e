"""The short form of `make soak`, and the proof that its ledger and its verdicts see what is wrong."""

import itertools
import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from crash.evidence import Row
from soak.faults import FAULTS, OF_STORE, moments
from soak.ledger import Ledger
from soak.samples import Process, Sample
from soak.stores import Final, Size
from soak.verdicts import judge, quiet

SECOND = 10**9
COMPLETED, AVAILABLE = 2, 0
HOURS = 4.0


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


# --- the ledger ---


class Fixed:
    """A view of rows that the test has chosen."""

    def __init__(self, *rows):
        self.finals = [Final(row, 0.001) for row in rows]

    def newly_final(self):
        return iter(self.finals)

    def rows(self, ids):
        return (one for one in self.finals if ids is None or one.row.id in ids)


def row(number, state=COMPLETED, token="a", **more):  # noqa: S107 - the name of an enqueue
    about = {"attempt": 1, "lease": 1, "crashes": 0, "key": None, "errors": ()}
    return Row(number, state, "noop", token, **(about | more))


MARKS = """intend a 2
enqueued a 1 2
begin 1 1 1 20
end 1 1 1 30 returned
begin 2 1 1 20
end 2 1 1 30 returned
"""


def ledger(tmp_path, marks, *rows):
    (tmp_path / "worker-0-1.marks").write_text(marks)
    return Ledger(tmp_path, Fixed(*rows))


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


LOCKED = """intend a 1
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
    it = ledger(tmp_path, "intend a 1\nenqueued a 1\nbegin 1 1 1 20\nend 1 1 1 30 returned\n", first)
    it.read(40 * SECOND)
    it.close(90 * SECOND)
    with (tmp_path / "worker-0-1.marks").open("a") as file:
        file.write("intend b 1\nenqueued b 2\nbegin 2 1 1 29\nend 2 1 1 40 returned\n")
    it.view = Fixed(first, replace(first, id=2, token="b"))  # noqa: S106 - as above
    it.read(100 * SECOND)
    it.close(190 * SECOND)
    assert it.problems["overlap"]


def test_a_batch_that_met_a_job_waits_for_it(tmp_path):
    holder = row(2, token="b", key="k")  # noqa: S106 - as above
    marks = "intend b 1\nenqueued b 2\nintend a 2\nenqueued a 1 +2\nbegin 1 1 1 20\nend 1 1 1 30 returned\n"
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
    memory=lambda _: 40.0, descriptors=lambda _: 20, threads=lambda _: 9, table=lambda _: 30.0, wait=lambda _: 0.01
):
    """Samples of four hours, by functions of the part of it that has passed."""
    return [
        Sample(
            at=part * 3600 * HOURS,
            processes={"worker-0-1": Process(memory(part), descriptors(part), threads(part))},
            size=Size(table(part), wal=4.0),
            waits=[wait(part)] * 200,
        )
        for part in (number / 200 for number in range(201))
    ]


def broken(samples, faults=()):
    return [one.what for one in judge(samples, faults, HOURS) if not one.holds]


def test_a_flat_run_holds_in_everything():
    found = judge(run(), [], HOURS)
    assert [one.what for one in found if not one.holds] == []
    assert {one.what.split(" of ")[0] for one in found} == {
        "memory", "descriptors", "threads", "size", "start latency p99",
    }  # fmt: skip


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


def test_only_the_time_between_faults_is_compared():
    faults = [("freeze", 12000.0, 12400.0)]
    late = run(wait=lambda part: 5.0 if 12000 <= part * HOURS * 3600 <= 12410 else 0.01)
    assert broken(late) == ["start latency p99"]
    assert broken(late, faults) == []
    assert len(quiet(late, faults)) < len(late)
