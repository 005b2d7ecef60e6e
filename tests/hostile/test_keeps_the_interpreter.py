"""Code that lets nobody else into the interpreter: the engine beats, claims and stops without it."""


def test_a_deadline_that_passes_while_nobody_gets_into_the_interpreter_costs_no_lease(run_script):
    done = run_script("""
        import asyncio, ctypes, time, zjobs
        from zjobs import JobState, _engine
        _engine._hasten(250)
        store = zjobs.MemoryStore()
        jobs = zjobs.Supervisor(store, rescue_interval_ms=250, shutdown_timeout_seconds=1)
        other = zjobs.Supervisor(store, queues={"other": 1}, rescue_interval_ms=250)

        @jobs.worker
        async def goes_on() -> None:
            await asyncio.sleep(6)

        @jobs.worker(timeout_seconds=1, max_attempts=1)
        async def times_out() -> None:
            await asyncio.sleep(60)

        @jobs.worker
        def keeps() -> None:
            # Four leases long, without giving up the interpreter's lock, as an extension may.
            ctypes.PyDLL(None).usleep(4_000_000)

        with jobs, other:
            begun = [goes_on.enqueue(), times_out.enqueue()]
            while {jobs.get(job).state for job in begun} != {JobState.EXECUTING}:
                time.sleep(0.01)
            for job in [*begun, keeps.enqueue()]:
                job = jobs.wait(job, 20)
                print(job.worker, job.state, job.attempt, job.crashes)
    """)
    lines = ["goes_on completed 1 0", "times_out discarded 1 0", "keeps completed 1 0"]
    assert (done.stdout.splitlines(), done.returncode) == (lines, 0), done.stderr


def test_the_last_handler_of_a_stopped_supervisor_waits_for_no_thread_that_waits_for_it(run_script):
    done = run_script("""
        import sys, threading, time, zjobs
        jobs = zjobs.Supervisor(queues=[zjobs.Queue("default", 1, stuck=zjobs.StuckPolicy.REPLACE)])
        begun, ended = threading.Event(), []

        @jobs.worker(timeout_seconds=1)
        def stubborn() -> None:
            begun.set()
            # The stop gives up on it after three seconds, and a second later the queue does, too.
            time.sleep(3.7)
            until = time.monotonic() + 1
            while time.monotonic() < until:
                pass
            ended.append(time.monotonic())

        # A handler that computes gives the interpreter to nobody.
        sys.setswitchinterval(100)
        jobs.start()
        stubborn.enqueue()
        begun.wait()
        print(len(jobs.stop(0)))
        while not ended:
            time.sleep(0.01)
        print(time.monotonic() - ended[0] < 2)
    """)
    assert (done.stdout.splitlines(), done.returncode) == (["1", "True"], 0), done.stderr
