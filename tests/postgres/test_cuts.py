"""Connections that end, at any moment of a call."""

import signal
import threading
import time

import psycopg
import pytest

import zjobs

SOON = 30
LEASE = 4
"""Seconds, where nodes beat each second."""


def through(url, server, proxy):
    return url.replace(f":{server.port}/", f":{proxy.port}/")


@pytest.mark.parametrize("fate", ["cut", "cut after"])
def test_an_enqueue_that_was_cut_off_is_uncertain_and_never_guessed(server, url, proxy, fate):
    jobs = zjobs.Supervisor(through(url, server, proxy))
    jobs.enqueue("before")
    proxy.judge = lambda data: fate if b"lost" in data else "pass"
    with pytest.raises(zjobs.EnqueueUncertain, match="unique key"):
        jobs.enqueue("lost")
    proxy.judge = lambda _: "pass"
    jobs.enqueue("after")
    found = [job.worker for job in jobs.list()]
    assert found == (["before", "after"] if fate == "cut" else ["before", "lost", "after"])


@pytest.mark.parametrize("fate", ["cut", "cut after"])
def test_a_unique_enqueue_that_was_cut_off_is_sent_again(server, url, proxy, fate):
    jobs = zjobs.Supervisor(through(url, server, proxy))
    cuts = []

    def once(data):
        if b"lost" in data and not cuts:
            cuts.append(1)
            return fate
        return "pass"

    jobs.enqueue("before")
    proxy.judge = once
    job = jobs.enqueue("lost", unique_key="k")
    assert cuts == [1]
    assert [one.id for one in jobs.list(worker="lost")] == [job.id]


def test_a_unique_enqueue_whose_job_has_ended_before_it_is_sent_again_is_not_done_twice(server, url, proxy, eventually):
    client, jobs = zjobs.Supervisor(url), zjobs.Supervisor(through(url, server, proxy))
    worker, runs = zjobs.Supervisor(url, poll_interval_ms=50), []

    @worker.worker
    def slow() -> None:
        # The key is free again when the job ends: long after the call began, on any machine.
        threading.Event().wait(0.3)
        runs.append(1)

    def once(data):
        if proxy.judge is hold or b"slow" not in data:
            return "pass"
        proxy.judge = hold
        return "cut after"

    def hold(_):
        return "hold"

    jobs.enqueue("before")
    proxy.judge, made = once, []
    calling = threading.Thread(target=lambda: made.append(jobs.enqueue("slow", unique_key="k")))
    with worker:
        calling.start()
        eventually(lambda: client.count(worker="slow", states=[zjobs.JobState.COMPLETED]) == 1)
        proxy.judge = lambda _: "pass"
        proxy.cut()
        calling.join()
    assert [job.id for job in client.list(worker="slow")] == [made[0].id]
    assert made[0].state is zjobs.JobState.COMPLETED
    assert runs == [1]


def test_one_that_was_cut_off_beside_others_and_is_then_sent_by_itself_is_not_done_twice(
    server, url, schema, proxy, eventually
):
    """The other one is cancelled meanwhile, and a new rule refuses it: so the second try of both is refused."""
    client, jobs = zjobs.Supervisor(url), zjobs.Supervisor(through(url, server, proxy))
    worker, runs, made, seen = zjobs.Supervisor(url, poll_interval_ms=50), [], {}, []
    worker.worker(name="slow")(lambda: runs.append(1))

    def enqueue(name):
        try:
            made[name] = jobs.enqueue(name, unique_key=name)
        except zjobs.Error as error:
            made[name] = error

    def judge(data):
        for name in (b"first", b"slow", b"other"):
            seen.extend([name] if name in data and name not in seen else [])
        if b"first" in data:
            # The others come together while it is on its way.
            assert arrived.wait(SOON)
        if b"COMMIT" in data and {b"slow", b"other"} <= set(seen):
            proxy.judge = lambda _: "hold"
            return "cut after"
        return "pass"

    jobs.enqueue("before", unique_key="before")
    proxy.judge, arrived = judge, threading.Event()
    calls = [threading.Thread(target=enqueue, args=(name,)) for name in ("first", "slow", "other")]
    calls[0].start()
    eventually(lambda: b"first" in seen)
    for call in calls[1:]:
        call.start()
    time.sleep(0.5)  # no sign tells that they wait for company
    arrived.set()
    eventually(lambda: client.count(worker="slow") == 1)
    assert client.cancel_many(worker="other") == 1
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"""
            CREATE FUNCTION {schema}.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
            CREATE TRIGGER no BEFORE INSERT ON {schema}.jobs FOR EACH ROW WHEN (new.worker = 'other')
            EXECUTE FUNCTION {schema}.no()""")
    with worker:
        eventually(lambda: client.count(worker="slow", states=[zjobs.JobState.COMPLETED]) == 1)
        proxy.judge = lambda _: "pass"
        proxy.cut()
        for call in calls:
            call.join()
    assert isinstance(made["other"], zjobs.Error)
    assert [job.id for job in client.list(worker="slow")] == [made["slow"].id]
    assert runs == [1]


def test_calls_end_in_time_however_often_they_may_be_tried_again(server, schema, proxy):
    store = zjobs.PostgresStore(through(server.url, server, proxy), schema=schema, call_timeout_seconds=1)
    jobs = zjobs.Supervisor(store)
    jobs.enqueue("w")
    jobs.count()
    proxy.judge = lambda _: "hold"
    before = proxy.connections
    for call in (lambda: jobs.enqueue("w", unique_key="k"), jobs.count):
        with pytest.raises(zjobs.StoreUnavailable, match="no answer within 1 second"):
            call()
    # Each further try would have come too late, and would have needed a connection. The listener tries for itself.
    assert proxy.connections < before + 5
    proxy.judge = lambda _: "pass"
    proxy.cut()
    assert jobs.enqueue("w").id
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"DROP SCHEMA {schema} CASCADE")


def test_what_a_person_does_is_done_once_and_who_cannot_know_is_told_so(server, url, proxy):
    jobs = zjobs.Supervisor(through(url, server, proxy))
    job = jobs.enqueue("act", schedule_in=3600)
    lost, seen = [b"COMMIT"], []

    def judge(data):
        if not any(part in data for part in lost):
            return "pass"
        seen.append(lost.pop())
        return "cut after"

    proxy.judge = judge
    with pytest.raises(zjobs.StoreUnavailable, match="nobody knows whether it was: look at the jobs"):
        jobs.retry(job)
    assert (jobs.get(job).state, seen) == (zjobs.JobState.AVAILABLE, [b"COMMIT"])
    jobs.cancel(job)
    lost.append(b"BEGIN")  # nothing was done, and it is done again
    jobs.retry(job)
    assert (jobs.get(job).state, seen) == (zjobs.JobState.AVAILABLE, [b"COMMIT", b"BEGIN"])


def test_after_an_outage_everybody_has_a_leases_time_to_say_that_they_live(server, url, proxy, other_proxy, eventually):
    runs, rescued, gate = [], [], threading.Event()
    crews = []
    for way in (proxy, other_proxy):
        place, schema = through(url, server, way).split("?schema=")
        store = zjobs.PostgresStore(place, schema=schema, call_timeout_seconds=1)
        crews.append(zjobs.Supervisor(store, queues={"default": 1}, rescue_interval_ms=1000))
        crews[-1].telemetry.attach(rescued.append, zjobs.telemetry.JobRescued)
    at_work, idle = crews

    @at_work.worker(keep_result=True)
    def act() -> str:
        runs.append(1)
        assert gate.wait(SOON)
        return "done"

    with at_work:
        job = at_work.enqueue("act")
        eventually(lambda: runs)
        with idle:
            before = other_proxy.connections
            for way in (proxy, other_proxy):
                way.judge = lambda _: "cut"
                way.cut()
            time.sleep(LEASE + 1)  # nobody could say that they live, and no lease is left
            other_proxy.judge = lambda _: "pass"
            eventually(lambda: other_proxy.connections > before + 1 and len(idle.nodes()) == 2)
            time.sleep(LEASE / 2)  # several looks for the dead, by the one who is back
            proxy.judge = lambda _: "pass"
            gate.set()
            assert at_work.wait(job, SOON).result == "done"
    after = at_work.get(job)
    assert (after.attempt, after.crashes, rescued, runs) == (1, 0, [], [1])


def test_a_worker_that_is_cut_off_loses_its_job_writes_nothing_late_and_works_again(server, url, proxy, eventually):
    runs, lost, gate = [], [], threading.Event()
    crews = {}
    for name, way in (("cut off", through(url, server, proxy)), ("other", url)):
        place, schema = way.split("?schema=")
        store = zjobs.PostgresStore(place, schema=schema, call_timeout_seconds=1)
        crews[name] = jobs = zjobs.Supervisor(store, queues={"default": 1}, rescue_interval_ms=1000)

        @jobs.worker(keep_result=True)
        def act(number: int, name: str = name) -> str:
            runs.append((number, name))
            if len(runs) == 1:
                assert gate.wait(SOON)
            return name

    cut_off, other = crews.values()
    cut_off.telemetry.attach(lost.append, zjobs.telemetry.LeaseLost)
    with cut_off:
        first = cut_off.enqueue("act", {"number": 1})
        eventually(lambda: runs)
        proxy.judge = lambda _: "hold"
        with other:
            assert other.wait(first, SOON).result == "other"
        assert lost == []  # it cannot know
        gate.set()
        time.sleep(0.5)  # what its handler returned waits to be written
        proxy.judge = lambda _: "pass"
        proxy.cut()
        eventually(lambda: lost)
        assert lost[0].job.id == first.id
        second = other.enqueue("act", {"number": 2})
        assert cut_off.wait(second, SOON).result == "cut off"
    after = other.get(first)
    assert (after.state, after.result, after.attempt, after.crashes) == (zjobs.JobState.COMPLETED, "other", 2, 1)
    assert runs == [(1, "cut off"), (1, "other"), (2, "cut off")]


def test_a_listener_that_blocks_when_it_hears_of_an_outage_stops_no_heartbeat(server, url, proxy, eventually):
    worker = zjobs.Supervisor(through(url, server, proxy), rescue_interval_ms=1000)
    other, runs, gate = zjobs.Supervisor(url), [], threading.Event()
    told = []

    @worker.worker
    def act() -> None:
        runs.append(1)
        assert gate.wait(SOON)

    def listener(event):
        told.append(event)
        assert gate.wait(SOON)

    worker.telemetry.attach(listener, ["store_unavailable", "store_recovered"])
    with worker:
        job = other.enqueue("act")
        eventually(lambda: runs)
        proxy.judge = lambda _: "cut"
        eventually(lambda: told)
        proxy.judge = lambda _: "pass"
        until = time.monotonic() + 2 * LEASE
        while time.monotonic() < until:
            other.rescue_stuck()
            time.sleep(0.1)
        gate.set()
        assert other.wait(job, SOON).attempt == 1
    assert (runs, other.get(job).crashes) == ([1], 0)
    # Threads that meet the cut one after the other tell one outage or several.
    both = [zjobs.telemetry.StoreUnavailable, zjobs.telemetry.StoreRecovered]
    assert [type(event) for event in told] == both * (len(told) // 2)


def test_a_network_that_drops_everything_blocks_no_call_for_long(server, schema, proxy):
    url = through(server.url, server, proxy)
    store = zjobs.PostgresStore(url, schema=schema, call_timeout_seconds=1)
    jobs = zjobs.Supervisor(store)
    jobs.enqueue("w")
    proxy.judge = lambda _: "hold"
    began = time.monotonic()
    with pytest.raises((zjobs.EnqueueUncertain, zjobs.StoreUnavailable), match="no answer within 1 second"):
        jobs.enqueue("w")
    assert time.monotonic() - began < 5
    proxy.judge = lambda _: "pass"
    assert jobs.enqueue("w").id
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"DROP SCHEMA {schema} CASCADE")


def test_a_call_without_an_answer_ends_when_its_time_is_over(server, url, proxy):
    place, schema = through(url, server, proxy).split("?schema=")
    jobs = zjobs.Supervisor(zjobs.PostgresStore(place, schema=schema, call_timeout_seconds=0.4))
    took = []
    for _ in range(5):
        proxy.judge = lambda _: "pass"
        proxy.cut()
        jobs.count()
        proxy.judge = lambda _: "hold"
        began = time.monotonic()
        with pytest.raises(zjobs.StoreUnavailable, match=r"no answer within 0\.4 seconds"):
            jobs.count()
        took.append(time.monotonic() - began)
    # A busy machine may hold up one or the other. To wait for a server that takes no goodbye holds up each.
    assert min(took) < 0.55, took
    proxy.cut()


def test_a_worker_goes_on_after_cuts_and_after_the_server_was_killed(server, url, proxy):
    jobs = zjobs.Supervisor(through(url, server, proxy), queues={"default": 4})

    @jobs.worker
    def act(n: int) -> None: ...

    client = zjobs.Supervisor(url)
    with jobs:
        for number in range(3):
            client.enqueue_many([("act", {"n": n}) for n in range(50)])
            proxy.cut()
            if number == 1:
                server.stop(signal.SIGKILL)
                server.start()
        deadline = time.monotonic() + SOON
        while client.count_by_state()[zjobs.JobState.COMPLETED] < 150:
            assert time.monotonic() < deadline, client.count_by_state()
            time.sleep(0.05)
    assert client.count() == 150


def test_a_listener_that_is_lost_listens_again_and_what_came_meanwhile_is_found_long_before_the_next_poll(server, url):
    jobs = zjobs.Supervisor(url, poll_interval_ms=10 * 1000 * SOON)
    done = threading.Semaphore(0)

    @jobs.worker
    def act() -> None:
        done.release()

    listening = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    with jobs, psycopg.connect(server.url, autocommit=True) as admin:
        client = zjobs.Supervisor(url)
        deadline = time.monotonic() + SOON
        while not (found := admin.execute(listening).fetchall()):
            assert time.monotonic() < deadline
        admin.execute("SELECT pg_terminate_backend(%s)", found[0])
        client.enqueue("act")
        client.enqueue("act", schedule_in=0.1)
        assert done.acquire(timeout=SOON)
        assert done.acquire(timeout=SOON), "it was not found"
        client.enqueue("act", schedule_in=0.1)
        assert done.acquire(timeout=SOON), "it was not heard of"
