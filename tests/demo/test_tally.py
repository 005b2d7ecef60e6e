"""What telemetry told, counted."""

from types import SimpleNamespace

from zjobs.demo.tally import Tally, percentile
from zjobs.telemetry import JobCompleted, JobDiscarded, JobEnqueued, JobResult, JobStarted


def test_a_job_that_was_given_up_with_its_process_is_counted_and_nobody_knows_how_long_it_ran():
    tally = Tally({"mail": 2}, apart="tick")
    ran, lost = (SimpleNamespace(id=number, worker="send", queue="mail", attempt=1) for number in (1, 2))
    for job in (ran, lost):
        tally(JobEnqueued(job))
        tally(JobStarted(job))
    tally(JobCompleted(JobResult(ran, duration_ms=3.0, queue_ms=1.0, error_msg=None)))
    tally(JobDiscarded(JobResult(lost, duration_ms=0.0, queue_ms=2.0, error_msg="NodeLost")))
    now = tally.now()
    assert (now.finished, now.running, now.discarded) == (2, 0, 1)
    assert (tally.attempts["send"].runs, tally.attempts["send"].waits) == ([3.0], [1.0])


def test_percentiles_are_of_nearest_rank():
    assert percentile([], 50) is None
    assert percentile([7], 99) == 7
    assert [percentile(range(1, 101), percent) for percent in (1, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([1, 2, 3, 4], 50) == 2
