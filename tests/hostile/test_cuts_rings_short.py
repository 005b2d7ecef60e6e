"""The event loop is rung by whoever has work for it, in the middle of whatever that thread does."""


def test_a_ring_that_finds_no_stack_left_does_not_silence_coroutines(run_script):
    done = run_script("""
        import time, zjobs
        jobs = zjobs.Supervisor()

        @jobs.worker(keep_result=True)
        async def child() -> str:
            return "ran"

        def dive(made):
            try:
                dive(made)
            except RecursionError:
                pass
            if not made:
                # At the first depth where there is stack for this there is none for more.
                try:
                    made.append(jobs.enqueue("child"))
                except RecursionError:
                    pass

        with jobs:
            for _ in range(5):
                jobs.result(jobs.enqueue("child"), 30)
                # The loop has answered: the next job rings.
                time.sleep(0.1)
                made = []
                dive(made)
                print(jobs.result(made[0], 4))
    """)
    assert (done.stdout.splitlines(), done.returncode) == (["ran"] * 5, 0), done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_ctrl_c_in_the_middle_of_a_ring_does_not_silence_coroutines(run_script):
    done = run_script("""
        import signal, zjobs
        jobs = zjobs.Supervisor()

        @jobs.worker(keep_result=True)
        async def child() -> str:
            return "ran"

        def interrupt(number, frame):
            raise KeyboardInterrupt

        signal.signal(signal.SIGALRM, interrupt)
        with jobs:
            for _ in range(150):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.002)
                    while True:
                        jobs.enqueue("child")
                        for _ in range(200):
                            pass
                except KeyboardInterrupt:
                    pass
                assert jobs.result(jobs.enqueue("child"), 4) == "ran"
            print("goes on")
    """)
    assert (done.stdout, done.returncode) == ("goes on\n", 0), done.stderr


def test_who_waits_hears_of_an_end_that_was_told_without_stack(run_script):
    done = run_script("""
        import asyncio, threading, zjobs
        jobs = zjobs.Supervisor()

        @jobs.worker
        def later() -> None:
            pass

        def dive(these, done):
            try:
                dive(these, done)
            except RecursionError:
                pass
            if not done:
                try:
                    done.append(jobs.store.cancel(these))
                except RecursionError:
                    pass

        async def main():
            job = jobs.enqueue("later", schedule_in=3600)
            waits = asyncio.create_task(jobs.wait_async(job))
            await asyncio.sleep(0.1)
            these = zjobs.JobFilter(ids=(job.id,))
            threading.Thread(target=dive, args=(these, [])).start()
            return (await asyncio.wait_for(waits, 10)).state

        print(asyncio.run(main()))
    """)
    assert (done.stdout, done.returncode) == ("cancelled\n", 0), done.stderr


def test_an_answer_of_the_loop_that_fails_is_asked_for_again_by_the_next_beat(jobs, monkeypatch):
    app = jobs(rescue_interval_ms=1000)
    failed = []

    @app.worker(keep_result=True)
    async def child() -> str:
        return "ran"

    opens = app._loop._open

    def fails_once(queue, slot):
        if not failed:
            failed.append(queue)
            raise MemoryError
        opens(queue, slot)

    with app:
        monkeypatch.setattr(app._loop, "_open", fails_once)
        assert app.result(child.enqueue(), 10) == "ran"
    assert failed
