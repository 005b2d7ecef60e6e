"""What the processes write down, read while it grows, judged as soon as it is over, and forgotten.

A batch is over when its enqueue has returned or was cut off, and each of its jobs was seen in a final state some time
ago. It is handed to the checker with all that is known of its jobs; so each job is judged once, in a whole. Of a batch
that was cut off nobody knows the jobs: the store is asked for them, and they are waited for.
"""

import json
import subprocess
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from crash.checker import Verdict, judge
from crash.evidence import Batch, Cancel, Evidence, Kill, Row, Run, Stop
from soak.journal import Journal
from soak.stores import Final, View

__all__ = ["Ledger"]

FINAL = {2, 4, 5}
QUIET = 20 * 1_000_000_000
"""Nanoseconds after which nothing more is heard of a job that is final: also not from a process that was stopped."""
REMEMBERED = 1800 * 1_000_000_000
"""Nanoseconds for which it is known what was judged: longer than the rows of it are kept."""
CUT_OFF = 60 * 1_000_000_000
"""Nanoseconds after which an enqueue without an answer was cut off: four times the longest that a call takes."""


@dataclass(slots=True)
class Tail:
    """A file that grows: what was read of it."""

    path: Path
    at: int = 0
    rest: bytes = b""

    def lines(self) -> list[list[str]]:
        with self.path.open("rb") as file:
            file.seek(self.at)
            data = file.read()
        self.at += len(data)
        whole, _, self.rest = (self.rest + data).rpartition(b"\n")
        return [line.split() for line in whole.decode("ascii").splitlines()]

    def free(self) -> None:
        """Gives the disk back what was read; the writer's place in the file stays where it is."""
        size = str(self.at & -4096)
        if size != "0":
            subprocess.run(["fallocate", "--punch-hole", "--offset", "0", "--length", size, self.path], check=False)


@dataclass(slots=True)
class Open:
    """A batch that is not over."""

    batch: Batch
    began: int
    rows: dict[int, Row] = field(default_factory=dict)
    seen: int = 0
    """When the last of its rows was seen in a final state."""
    settled: bool = False
    """It was cut off, and the store has no job of it that is not final."""


class Ledger:
    """All that is not judged yet, and the sum of what was.

    Args:
        folder: Where the marks are.
        view: Where the rows are.
        journal: The history of some of them, where there is one.
    """

    def __init__(self, folder: Path, view: View, journal: Journal | None = None) -> None:
        self._folder = folder
        self.view = view
        self._journal = journal
        self._tails: dict[str, Tail] = {}
        self._open: dict[str, Open] = {}
        self._closed: set[str] = set()
        self._runs: dict[int, dict[tuple[str, int], Run]] = defaultdict(dict)
        self._cancels: dict[int, list[Cancel]] = defaultdict(list)
        self._orphans: dict[str, list[Row]] = defaultdict(list)
        self._keyed: set[int] = set()
        self._held: deque[list[tuple[Row, list[Run]]]] = deque(maxlen=8)
        self.kills: list[Kill] = []
        self.stops: list[Stop] = []
        self.servers: list[tuple[int, int]] = []
        self.problems: dict[str, list[str]] = defaultdict(list)
        self.counts: Counter[str] = Counter()
        self.ended = 0
        """Runs that were seen to end."""

    @property
    def waiting(self) -> int:
        """Batches that are not judged yet."""
        return len(self._open)

    def read(self, now: int) -> list[float]:
        """Reads what is new; says how long the jobs that were seen to have ended had waited to be claimed."""
        finals = list(self.view.newly_final())
        self.read_marks()
        waits = self._take(finals, now)
        missing = [job for one in self._open.values() if now - one.began > QUIET for job in self._missing(one)]
        if missing:
            waits += self._take(self.view.final(missing), now)
        waits += self._look_for_cut_off(now)
        # After what was seen to have ended: of that the history is whole.
        self._read_journal()
        return waits

    def _look_for_cut_off(self, now: int) -> list[float]:
        """Whether all is final that they have left, which is none, some or all of what was meant: the checker says."""
        cut = {token: one for token, one in self._open.items() if self._is_cut_off(one, now) and not one.settled}
        if not cut:
            return []
        found = list(self.view.of(cut))
        live = {seen.row.token for seen in found if seen.row.state not in FINAL}
        for token, one in cut.items():
            one.settled = token not in live
        return self._take((seen for seen in found if seen.row.state in FINAL), now)

    def _is_cut_off(self, one: Open, now: int) -> bool:
        return one.batch.made is None and now - one.began > CUT_OFF

    def _read_journal(self) -> None:
        if self._journal is not None:
            self.problems["history"] += self._journal.read()

    def _missing(self, one: Open) -> list[int]:
        return [job for job in one.batch.made or () if job not in one.rows]

    def read_marks(self) -> None:
        for path in sorted(self._folder.glob("*.marks")):
            tail = self._tails.setdefault(path.stem, Tail(path))
            for word, *rest in tail.lines():
                self._mark(path.stem, word, rest)

    def _mark(self, process: str, word: str, rest: list[str]) -> None:
        match word:
            case "begin":
                run = Run(*map(int, rest), process=process)
                self._runs[run.job][process, run.lease] = run
            case "end":
                self._end(int(rest[0]), process, rest)
            case "intend":
                one = self._open[rest[0]] = Open(Batch(rest[0], int(rest[1]), int(rest[2])), int(rest[0], 16))
                for row in self._orphans.pop(rest[0], ()):
                    one.rows[row.id] = row
            case "enqueued":
                batch = self._open[rest[0]].batch
                batch.made = [int(number) for number in rest[1:] if not number.startswith("+")]
                batch.met = [int(number) for number in rest[1:] if number.startswith("+")]
            case "cancelled":
                self._cancels[int(rest[0])].append(Cancel(int(rest[0]), rest[1], int(rest[2])))
            case "kill":
                self.kills.append(Kill(rest[0], int(rest[1]), int(rest[2])))
            case "stop":
                self.stops.append(Stop(rest[0], int(rest[1]), int(rest[2])))
            case "server":
                self.servers.append((int(rest[1]), int(rest[2])))
            case _:
                raise ValueError(f"{process} wrote the word {word!r}, which the ledger does not know")

    def _end(self, job: int, process: str, rest: list[str]) -> None:
        self.ended += 1
        run = self._runs.get(job, {}).get((process, int(rest[1])))
        if run is None:
            self.problems["overlap"].append(f"job {job} ended in {process} long after it had been final")
        else:
            run.end, run.returned = int(rest[3]), rest[4] == "returned"

    def _take(self, finals: Iterable[Final], now: int) -> list[float]:
        waits = []
        for seen in finals:
            row = seen.row
            one = self._open.get(row.token)
            if row.token in self._closed or (one is not None and row.id in one.rows):
                continue
            if one is None:
                self._orphans[row.token].append(row)
                continue
            one.rows[row.id], one.seen = row, now
            if row.key is not None:
                self._keyed.add(row.id)
            if seen.waited is not None:
                waits.append(seen.waited)
        return waits

    def close(self, now: int) -> None:
        """Judges what is over, and forgets it."""
        # A look that took long has seen jobs end after it had read what their handlers wrote.
        self.read_marks()
        over = [one for one in self._open.values() if self._is_over(one, now)]
        self._judge(over)
        self._closed = {token for token in self._closed if now - int(token, 16) < REMEMBERED}
        for tail in self._tails.values():
            tail.free()

    def _is_over(self, one: Open, now: int) -> bool:
        if self._journal is not None and self._journal.read_at < one.seen:
            return False
        if one.batch.made is None:
            return one.settled and now - one.seen > QUIET
        known = all(job in self._keyed for job in one.batch.met)
        return now - one.seen > QUIET and known and not self._missing(one)

    def _judge(self, over: list[Open]) -> None:
        evidence = Evidence(
            rows={row.id: row for one in over for row in one.rows.values()},
            runs=[run for one in over for job in one.rows for run in self._runs.pop(job, {}).values()],
            batches=[self._without_known(one.batch) for one in over],
            cancels=[cancel for one in over for job in one.rows for cancel in self._cancels.pop(job, ())],
            kills=self.kills,
            stops=self.stops,
            servers=self.servers,
            # A pause hands jobs back: what was claimed ahead of time, with its attempt.
            handed_back=True,
        )
        self._add(judge(evidence))
        self._judge_keys(evidence)
        if self._journal is not None:
            for rule, problem in self._journal.judge(evidence):
                self.problems[rule].append(problem)
            self.counts["changes"] = self._journal.audited
        for one in over:
            del self._open[one.batch.token]
            self._closed.add(one.batch.token)

    def _without_known(self, batch: Batch) -> Batch:
        """Jobs that an enqueue met by their unique key are judged with their own batch: here it does to know them."""
        if batch.made is None or len(batch.made) + len(batch.met) != batch.count:
            return batch
        unknown = [job for job in batch.met if job not in self._keyed]
        known = len(batch.met) - len(unknown)
        return replace(batch, count=batch.count - known, keyed=batch.keyed - known, met=unknown)

    def _judge_keys(self, evidence: Evidence) -> None:
        """Runs of all jobs with one key, also of those that were judged just before."""
        runs: dict[int, list[Run]] = defaultdict(list)
        for run in evidence.runs:
            runs[run.job].append(run)
        now = [(row, runs[row.id]) for row in evidence.rows.values() if row.key is not None]
        self._held.append(now)
        both = [one for some in self._held for one in some]
        whole = Evidence(
            {row.id: row for row, _ in both}, [run for _, some in both for run in some], [], [],
            self.kills, stops=self.stops, servers=self.servers,
        )  # fmt: skip
        self.problems["overlap"] += set(judge(whole).problems["overlap"]) - set(self.problems["overlap"])

    def _add(self, verdict: Verdict) -> None:
        for rule, found in verdict.problems.items():
            self.problems[rule] += found
        for name in ("jobs", "runs", "cut", "reruns", "unflushed", "allowed"):
            self.counts[name] += getattr(verdict, name)

    def finish(self, damage: str = "ok") -> None:
        """Everything has settled, or nothing changes any more: judges all that is left, with what is still there."""
        self._read_journal()
        self.read_marks()
        self._take(self.view.newly_final(), 0)
        left: dict[str, list[Row]] = defaultdict(list, self._orphans)
        for seen in self.view.rows():
            if seen.row.token not in self._closed:
                left[seen.row.token].append(seen.row)
        for token, rows in left.items():
            one = self._open.get(token)
            if one is None:
                self.problems["lost"].append(f"{len(rows)} jobs of the enqueue {token!r}, which nobody meant")
                continue
            one.rows |= {row.id: row for row in rows if row.id not in one.rows}
        self._judge(list(self._open.values()))
        if self._runs:
            some = sorted(self._runs)[:10]
            self.problems["lost"].append(
                f"{len(self._runs)} jobs ran and are not there, or ran when all was over: {some}"
            )
        if self._journal is not None and (left := self._journal.left()):
            self.problems["history"].append(f"{len(left)} jobs changed, and belong to no enqueue: {left[:10]}")
        if damage != "ok":
            self.problems["integrity"].append(damage)

    def dump(self) -> str:
        """The first problems of each rule, as JSON."""
        return json.dumps({rule: found[:20] for rule, found in self.problems.items() if found}, indent=2)
