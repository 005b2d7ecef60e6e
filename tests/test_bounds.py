"""Memory, threads, files and connections are bounded, however often a supervisor starts and stops (I-36, F-24)."""

import gc
import subprocess
import sys
import textwrap
import threading

import psutil
import psycopg

import zjobs
from zjobs import Supervisor


def crowd():
    """Threads, files and megabytes of this process."""
    gc.collect()
    me = psutil.Process()
    return me.num_threads(), me.num_fds(), me.memory_info().rss / 2**20


def life(app):
    with app:
        jobs = [app.enqueue(worker) for worker in ("plain", "coroutine")]
        assert [app.result(job, 30) for job in jobs] == ["fine", "fine"]


def with_workers(app):
    @app.worker(keep_result=True)
    def plain() -> str:
        return "fine"

    @app.worker(keep_result=True)
    async def coroutine() -> str:
        return "fine"

    return app


def test_a_supervisor_that_starts_and_stops_hundreds_of_times_grows_nothing(url):
    app = with_workers(Supervisor(url, queues={"default": 3}))
    for _ in range(20):
        life(app)
    before = crowd()
    for _ in range(500 if url == "memory://" else 80):
        life(app)
    threads, files, megabytes = crowd()
    # A thread that has just ended may still be counted.
    assert threads <= before[0] + 2
    assert files <= before[1]
    assert megabytes < before[2] + 24


def test_supervisors_that_are_made_and_forgotten_leave_nothing(url):
    for _ in range(10):
        life(with_workers(Supervisor(url, queues={"default": 3})))
    before = crowd()
    for _ in range(40):
        life(with_workers(Supervisor(url, queues={"default": 3})))
    threads, files, megabytes = crowd()
    # What waits for the collector of garbage is bounded, too.
    assert threads <= before[0] + 8
    assert files <= before[1] + 40
    assert megabytes < before[2] + 24


def test_a_supervisor_started_and_stopped_by_many_threads_at_once_is_started_or_says_so(url, eventually):
    app = with_workers(Supervisor(url, queues={"default": 3}))
    odd = []

    def turn(act):
        for _ in range(25):
            try:
                act()
            except (zjobs.AlreadyStarted, zjobs.NotStarted):
                continue
            except BaseException as error:  # noqa: BLE001 - it is looked at
                odd.append(error)

    crew = [threading.Thread(target=turn, args=(act,)) for act in (app.start, app.stop) * 4]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join(60)
    assert odd == []
    assert not any(thread.is_alive() for thread in crew)
    if app.is_running:
        app.stop()
    eventually(lambda: app.nodes() == [])
    before = crowd()
    life(app)
    assert crowd()[0] <= before[0] + 2


def test_a_supervisor_holds_as_many_connections_as_it_says_whatever_its_threads_do(postgres_url):
    app = with_workers(Supervisor(f"{postgres_url}&application_name=bounded", queues={"default": 3}))
    server = postgres_url.split("?")[0]

    def connections():
        with psycopg.connect(server) as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bounded'"
            return connection.execute(query).fetchone()[0]

    with app:
        threads = [threading.Thread(target=lambda: [app.enqueue("plain") for _ in range(20)]) for _ in range(30)]
        for thread in threads:
            thread.start()
        most = max(connections() for _ in range(20))
        for thread in threads:
            thread.join()
    assert 1 <= most <= 4


def test_what_is_done_by_hand_to_large_jobs_needs_no_memory_for_what_is_in_them(url):
    # In a process of its own: the peak of one that has run other tests says nothing.
    code = """
        import resource, sys, zjobs
        jobs = zjobs.Supervisor(sys.argv[1])
        for number in range(100):
            jobs.enqueue("w", {"text": "x" * 999_000})

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

        before = peak()
        for verb in (jobs.cancel_many, jobs.retry_many, jobs.delete_many):
            assert verb(queue="default") == 100
        print(peak() - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), url]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    # 95 MiB are in them; a connection to SQLite keeps up to 16 of pages.
    assert grown < 40
