"""Rules that somebody has added to the tables of zjobs, as a trigger: what one refuses holds up nothing else."""

import sqlite3
import threading
from collections import Counter

import psycopg
import pytest

import zjobs
from zjobs import telemetry
from zjobs.store import Heartbeat, JobFilter, NewJob

NODE = "a" * 32
COMPLETED, EXECUTING = zjobs.JobState.COMPLETED, zjobs.JobState.EXECUTING

IN_A_FILE = """
CREATE TRIGGER rule BEFORE UPDATE ON zjobs_jobs WHEN new.state IN (2, 4, 5) AND new.args LIKE '%7%'
BEGIN SELECT RAISE(ABORT, 'no sevens'); END
"""
ON_A_SERVER = """
CREATE FUNCTION {schema}.rule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (TG_OP = 'INSERT' OR new.state IN (2, 4, 5)) AND new.args::text LIKE '%7%' THEN {refuses}; END IF;
  RETURN new;
END $$;
CREATE TABLE {schema}.archive (id bigint PRIMARY KEY);
INSERT INTO {schema}.archive SELECT generate_series(1, 100000);
CREATE TRIGGER rule BEFORE UPDATE ON {schema}.jobs FOR EACH ROW EXECUTE FUNCTION {schema}.rule()
"""
REFUSALS = {
    "file": "",
    "raises": "RAISE EXCEPTION 'no sevens'",
    "finds its copy there already": "INSERT INTO {schema}.archive VALUES (new.id)",
    "names a column that there is not": "PERFORM new.sevens",
}


class Rule:
    """A rule in the database that lets no job with a seven in its arguments reach an end, or come in."""

    def __init__(self, url, refuses):
        self.url, self.schema = url, None
        store = zjobs.DbStore(url)
        if refuses:
            self.schema = store.schema
            statement = ON_A_SERVER.replace("{refuses}", refuses).replace("{schema}", self.schema)
        else:
            statement = IN_A_FILE
        self._run(statement)

    def concerns_inserts(self):
        self._run(
            f"CREATE TRIGGER inserts BEFORE INSERT ON {self.schema}.jobs FOR EACH ROW WHEN (new.args::text LIKE '%7%')"
            f" EXECUTE FUNCTION {self.schema}.rule()"
            if self.schema
            else IN_A_FILE.replace("rule BEFORE UPDATE", "inserts BEFORE INSERT").replace(
                "new.state IN (2, 4, 5) AND", ""
            )
        )

    def drop(self):
        self._run(f"DROP TRIGGER rule ON {self.schema}.jobs" if self.schema else "DROP TRIGGER rule")

    def _run(self, statement):
        if self.schema:
            with psycopg.connect(self.url.split("?")[0], autocommit=True) as admin:
                admin.execute(statement)
        else:
            file = sqlite3.connect(self.url.removeprefix("sqlite:///"))
            with file:
                file.execute(statement)
            file.close()


@pytest.fixture(params=REFUSALS)
def rule(request, tmp_path):
    refuses = REFUSALS[request.param]
    return Rule(request.getfixturevalue("postgres_url") if refuses else f"sqlite:///{tmp_path}/jobs.db", refuses)


def test_an_end_that_a_rule_refuses_holds_up_no_other_and_is_written_when_the_rule_is_gone(rule, eventually):
    jobs, ran, told = zjobs.Supervisor(rule.url), Counter(), []

    @jobs.worker
    def act(n: int) -> None:
        ran[n] += 1

    jobs.telemetry.attach(lambda event: told.append(str(event.error)), [telemetry.StoreUnavailable])
    made = jobs.enqueue_many([("act", {"n": n}) for n in range(10)])
    with jobs:
        eventually(lambda: jobs.count_by_state()[COMPLETED] == 9)
        later = jobs.enqueue("act", {"n": 10})
        assert jobs.wait(later, 20).state is COMPLETED
        assert jobs.get(made[7].id).state is EXECUTING
        eventually(lambda: any(f"job {made[7].id} is not written" in text for text in told))
        rule.drop()
    assert jobs.count_by_state()[COMPLETED] == 11
    assert ran == Counter(range(11))


def test_an_enqueue_that_a_rule_refuses_fails_alone(rule):
    rule.concerns_inserts()
    jobs, refused, ready = zjobs.Supervisor(rule.url), Counter(), threading.Barrier(8)

    def enqueue(n):
        ready.wait(20)
        for _ in range(50):
            try:
                jobs.enqueue("act", {"n": n})
            except zjobs.Error:
                refused[n] += 1

    threads = [threading.Thread(target=enqueue, args=(n,)) for n in [6, 7] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == {7: 200}
    assert jobs.count() == 200


def test_draining_comes_to_an_end_with_an_end_that_is_refused(rule):
    jobs = zjobs.Supervisor(rule.url)

    @jobs.worker
    def act(n: int) -> None: ...

    jobs.enqueue_many([("act", {"n": n}) for n in range(6, 9)])
    jobs.drain()
    assert jobs.count_by_state()[COMPLETED] == 2


def test_a_job_of_a_dead_node_that_a_rule_refuses_keeps_none_of_the_others_there(rule):
    store = zjobs.DbStore(rule.url)
    jobs = [reply.job for reply in store.enqueue([NewJob("act", b'{"n":%d}' % n) for n in range(6, 9)])]
    store.heartbeat(Heartbeat(NODE))
    assert len(store.claim(NODE, "default", 3)) == 3
    store.cancel(JobFilter(ids=[job.id for job in jobs]))  # what is taken back afterwards has come to its end
    store.depart(NODE, 0.0)

    def rescued():
        return {one.job.id for one in store.rescue(10)}

    assert rescued() == {jobs[0].id, jobs[2].id}
    with pytest.raises(zjobs.Error, match="refused a value"):
        store.rescue(10)
    rule.drop()
    assert rescued() == {jobs[1].id}


def test_a_rescue_goes_past_jobs_that_a_rule_refuses_to_those_behind_them(rule):
    store = zjobs.DbStore(rule.url)
    jobs = [reply.job for reply in store.enqueue([NewJob("act", b'{"n":%d}' % n) for n in [6, 7, 7, 7, 6, 6]])]
    store.heartbeat(Heartbeat(NODE))
    assert len(store.claim(NODE, "default", 6)) == 6
    store.cancel(JobFilter(ids=[job.id for job in jobs]))
    store.depart(NODE, 0.0)
    assert [[one.job.id for one in store.rescue(2)] for _ in range(2)] == [[jobs[0].id, jobs[4].id], [jobs[5].id]]
