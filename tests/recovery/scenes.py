"""What happens, and how many seconds later the work goes on; each scene gives a figure for each time."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg

import zjobs
from crash.marks import now
from postgres_server import Server
from recovery.crew import Crew, Member, until
from recovery.worker import HELD, NAP

__all__ = ["listener_cut", "seconds_until", "server_ended", "told_to_stop", "workers_killed"]

AT_ONCE = 8
"""Workers that die in one round: it lasts as long as the slowest rescue."""
GRACE = 0.5
"""Seconds that a worker that is told to stop waits for its handlers."""
LINGERS = 2.4
"""Seconds that its process may take to end after all that: longer than a departure's grace, and its handler runs on."""


def _victims(
    crew: Crew, jobs: zjobs.Supervisor, count: int, lingers: float = 0.0, **settings: object
) -> tuple[list[Member], list[int], Member]:
    """So many workers that each hold a job of a queue of its own, the jobs, and the one who would take any of them.

    Each next one takes longer to end, when it ends by itself, the last nearly as long as they linger at most.
    """
    queues = [f"q{number}" for number in range(count)]
    victims = [crew.start(queue, lingers=lingers * at / count, **settings) for at, queue in enumerate(queues)]
    made = [jobs.enqueue(HELD, queue=queue).id for queue in queues]
    for victim, job in zip(victims, made, strict=True):
        until(lambda victim=victim, job=job: victim.begun(job), f"{victim.name} begins its job")
    other = crew.start(",".join(queues), **settings)
    other.wait_until_up(jobs)
    return victims, made, other


def _again(other: Member, job: int) -> list[str]:
    """What was marked when that job began elsewhere."""
    return until(lambda: other.begun(job, lease=2), f"job {job} runs elsewhere")


def seconds_until(begun: int, job: int, alive: int) -> float:
    """From the last moment at which its old process was seen alive to the begin of a job elsewhere.

    Raises:
        AssertionError: It began before: two processes had it at once.
    """
    if begun < alive:
        raise AssertionError(
            f"job {job} ran elsewhere, and {(alive - begun) / 1e9:.3f} s later its old process still lived"
        )
    return (begun - alive) / 1e9


def workers_killed(database: str, folder: Path, times: int, rng: random.Random, **settings: object) -> Iterator[float]:
    """From a `kill -9` of a worker to the begin of its job in another process.

    Raises:
        AssertionError: A job ran elsewhere while its worker lived.
    """
    jobs, left = zjobs.Supervisor(database), times
    while left > 0:
        with Crew(database, folder) as crew:
            victims, made, other = _victims(crew, jobs, min(left, AT_ONCE), **settings)
            # Anywhere between two heartbeats.
            kills = []
            for victim in victims:
                time.sleep(rng.uniform(0, 0.6))
                kills.append(victim.kill())
            for job, killed in zip(made, kills, strict=True):
                yield seconds_until(int(_again(other, job)[4]), job, killed)
            left -= len(victims)
        _forget(jobs, folder)


def told_to_stop(database: str, folder: Path, times: int, rng: random.Random) -> Iterator[float]:
    """From the end of a worker that was told to stop, with a handler that does not end, to its begin elsewhere.

    The handler runs on until its process has ended, which takes some time: until then the job is its own. In PostgreSQL
    until the handler has ended: an interpreter that takes longer than a departure's grace to be taken down, with
    nothing of Python running any more, may lose it (ADR 0024).

    Raises:
        AssertionError: A job ran elsewhere before that, or in another attempt.
    """
    jobs, left = zjobs.Supervisor(database), times
    while left > 0:
        with Crew(database, folder) as crew:
            victims, made, other = _victims(
                crew, jobs, min(left, AT_ONCE), lingers=LINGERS, shutdown_timeout_seconds=GRACE
            )
            for victim in victims:
                time.sleep(rng.uniform(0, 0.1))
                victim.process.send_signal(signal.SIGTERM)
            seen = _last_seen_alive(victims)
            if database.startswith("postgres"):
                seen = [victim.ran_until() for victim in victims]
            for job, alive in zip(made, seen, strict=True):
                begun = _again(other, job)
                if begun[3] != "1":
                    raise AssertionError(f"job {job} is in attempt {begun[3]}: the one that was stopped was used up")
                yield seconds_until(int(begun[4]), job, alive)
            left -= len(victims)
        _forget(jobs, folder)


def listener_cut(server: Server, folder: Path, times: int, rng: random.Random) -> Iterator[float]:
    """From an enqueue just after the connection that listens was lost to the begin of the job."""
    listening = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    jobs = zjobs.Supervisor(server.url)
    with Crew(server.url, folder) as crew, psycopg.connect(server.url, autocommit=True) as admin:
        worker = crew.start("default")
        worker.wait_until_up(jobs)
        for _ in range(times):
            pids = until(lambda: admin.execute(listening).fetchall(), "it listens")
            time.sleep(rng.uniform(0, 0.5))
            for (pid,) in pids:
                admin.execute("SELECT pg_terminate_backend(%s)", [pid])
            asked = now()
            job = jobs.enqueue(NAP, {"seconds": 0}).id
            yield (int(until(lambda job=job: worker.begun(job), "the job begins")[4]) - asked) / 1e9
            until(lambda pids=pids: admin.execute(listening).fetchall() not in ([], pids), "it listens again")
    _forget(jobs, folder)


def server_ended(server: Server, folder: Path, times: int, rng: random.Random) -> Iterator[float]:
    """From when a server that was killed accepts again until what had ended is written and a new job has begun."""
    jobs = zjobs.Supervisor(server.url)
    with Crew(server.url, folder) as crew:
        worker = crew.start("default,other")
        worker.wait_until_up(jobs)
        for number in range(times):
            before = jobs.enqueue(NAP, {"seconds": 0.2}).id
            until(lambda job=before: worker.begun(job), "the job begins")
            began = server.began()
            server.stop((signal.SIGKILL, signal.SIGQUIT)[number % 2])
            time.sleep(rng.uniform(0.3, 3))
            server.start()
            ready = now()
            after = until(lambda: _enqueued(jobs), "a job can be enqueued")
            until(lambda job=after: worker.begun(job), "the new job begins")
            until(lambda job=before: _is_over(jobs, job), "the end of the old job is written")
            over = now()
            if server.began() == began:
                raise AssertionError(f"the server lives since {began}, and was to be ended")
            yield (over - ready) / 1e9
    _forget(jobs, folder)


def _enqueued(jobs: zjobs.Supervisor) -> int | None:
    with suppress(zjobs.StoreUnavailable, zjobs.EnqueueUncertain):
        return jobs.enqueue(NAP, {"seconds": 0}, queue="other").id
    return None


def _is_over(jobs: zjobs.Supervisor, job: int) -> bool:
    with suppress(zjobs.StoreUnavailable):
        return jobs.get(job).state is zjobs.JobState.COMPLETED
    return False


def _last_seen_alive(members: list[Member]) -> list[int]:
    """Until each has ended by itself; the last moment at which it had not."""
    alive = dict.fromkeys(members, 0)
    left = set(members)

    def look() -> bool:
        for member in list(left):
            at = now()
            if member.runs():
                alive[member] = at
            else:
                left.remove(member)
        return not left

    until(look, "all end")
    if unseen := [member.name for member, at in alive.items() if not at]:
        raise AssertionError(f"{unseen} had ended before anybody looked")
    return list(alive.values())


def _forget(jobs: zjobs.Supervisor, folder: Path) -> None:
    """Nothing is left for the next round."""
    jobs.cancel_many(states=[zjobs.JobState.AVAILABLE, zjobs.JobState.SCHEDULED, zjobs.JobState.RETRYABLE])
    for path in folder.iterdir():
        if path.suffix in {".marks", ".log", ".life"}:
            path.unlink()
