"""What `start` promises the first handlers, and one that follows a stop at its heels."""

import threading

import zjobs


def test_no_handler_begins_before_every_thread_is_there():
    jobs = zjobs.Supervisor(queues={"early": 1, "late": 16})
    seen = []

    @jobs.worker(queue="early")
    def look() -> None:
        seen.append({thread.name for thread in threading.enumerate()})

    @jobs.worker(queue="late")
    async def wait() -> None: ...

    job = look.enqueue()
    with jobs:
        jobs.wait(job, timeout=30)
    assert seen[0] >= {"zjobs-early-1", "zjobs-loop"} | {f"zjobs-late-{number}" for number in range(1, 17)}


def start_as_soon_as_it_can_be(app):
    while not app.is_running:
        try:
            app.start()
        except zjobs.AlreadyStarted:
            continue


def test_a_start_at_the_heels_of_a_stop_in_another_thread_has_an_event_loop(jobs, eventually):
    app = jobs(queues={"default": 2})

    @app.worker(keep_result=True)
    def plain() -> str:
        return "fine"

    @app.worker(keep_result=True)
    async def coroutine() -> str:
        return "fine"

    app.start()
    for _ in range(5):
        stop = threading.Thread(target=app.stop)
        stop.start()
        eventually(lambda: not app.is_running)
        start_as_soon_as_it_can_be(app)
        early = [coroutine.enqueue() for _ in range(10)]
        stop.join(30)
        assert [app.result(job, 30) for job in (*early, coroutine.enqueue(), plain.enqueue())] == ["fine"] * 12
        assert all(app.get(job).attempt == 1 for job in early)
