"""Code that lets nobody else into the interpreter: the engine beats, claims and stops without it."""


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
