"""Who is not heard, and lives."""

import threading
import time

import psycopg

import zjobs

SOON = 30
BEAT = 2
LEASE = 4 * BEAT


def through(url, server, proxy):
    return url.replace(f":{server.port}/", f":{proxy.port}/")


def crew(url, queue="default"):
    return zjobs.Supervisor(url, queues={queue: 1}, rescue_interval_ms=BEAT * 1000)


class AtWork:
    """A node that runs one job until it is told to end."""

    def __init__(self, url):
        self.jobs, self.runs, self._gate = crew(url), [], threading.Event()

        @self.jobs.worker(keep_result=True)
        def act() -> str:
            self.runs.append(1)
            assert self._gate.wait(SOON + LEASE)
            return "done"

    def ended(self, job, seen_by):
        self._gate.set()
        end = seen_by.wait(job, SOON)
        return end.attempt, end.crashes, end.result, len(self.runs)


def test_a_network_that_has_dropped_all_connections_without_a_word_costs_no_node_its_lease(
    server, url, proxy, eventually
):
    at_work = AtWork(through(url, server, proxy))
    # It looks for the dead. Of the job's queue it would take the job itself, which it has no handler for.
    other = crew(url, "other")
    with at_work.jobs, other:
        job = at_work.jobs.enqueue("act")
        eventually(lambda: at_work.runs)
        known, dropped = set(), threading.Event()

        def judge(session, _):
            if dropped.is_set():
                return "hold" if session in known else "pass"
            known.add(session)
            return "pass"

        proxy.judge_session = judge
        time.sleep(BEAT + 1)  # each connection has said something
        dropped.set()
        schema = url.split("schema=")[1]
        with psycopg.connect(server.url, autocommit=True) as admin:
            beats = f"SELECT count(*) FROM {schema}.nodes WHERE standing = 0 AND beat_at > %s"  # noqa: S608
            (now,) = admin.execute("SELECT statement_timestamp()").fetchone()
            eventually(lambda: admin.execute(beats, [now]).fetchone() == (2,), SOON)
        assert at_work.ended(job, seen_by=other) == (1, 0, "done", 1)


def test_a_node_that_comes_after_an_outage_gives_the_others_the_time_of_a_lease_to_be_heard(
    server, url, proxy, eventually
):
    at_work = AtWork(through(url, server, proxy))
    with at_work.jobs:
        job = at_work.jobs.enqueue("act")
        eventually(lambda: at_work.runs)
        proxy.refuses = True
        proxy.cut()
        time.sleep(LEASE + 1)  # nobody was heard, as while one server takes another's place
        with crew(url) as newcomer:
            eventually(lambda: len(newcomer.nodes()) == 2)
            time.sleep(LEASE / 2)  # it looks for the dead several times
            proxy.refuses = False
            assert at_work.ended(job, seen_by=newcomer) == (1, 0, "done", 1)
