"""What `start` promises the first handlers."""

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
