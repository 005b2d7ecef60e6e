"""What people do to jobs and queues by hand, and how they look at them."""

from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

from zjobs.errors import Error, NotFound, invalid
from zjobs.job import Job, JobState
from zjobs.options import Seconds, integer, queue_name, seconds
from zjobs.rows import Which
from zjobs.store import JobFilter, NodeInfo, QueueInfo, Store
from zjobs.telemetry import QueuePaused, QueueResumed, Telemetry

if TYPE_CHECKING:
    from zjobs._engine import Engine

__all__ = ["Control", "JobRows", "NodeRows", "QueueRows", "Which"]

# Inside the class `list` is a method.
JobRows: TypeAlias = list[Job]
NodeRows: TypeAlias = list[NodeInfo]
QueueRows: TypeAlias = list[QueueInfo]

_SLICE = 0.1
_PAGE = 100


class Control:
    """The part of a `Supervisor` that needs no running workers."""

    _engine: "Engine"
    _store: Store
    _telemetry: Telemetry

    # --- reads ---

    def get(self, job: Job | int) -> Job:
        """The job as it is now.

        Raises:
            NotFound: There is none of that id; it may have been pruned.
        """
        number = _job_id(job)
        found = self._store.get([number])
        if not found:
            raise _no_job(number)
        return found[0]

    def list(self, **which: Unpack[Which]) -> JobRows:
        """Jobs that match, at most 100 unless ``limit`` says otherwise; the fields of `JobFilter` by keyword.

        Page on with ``after=jobs[-1].id``.
        """
        return self._store.list(_filter(Which(limit=_PAGE) | which))

    def count(self, **which: Unpack[Which]) -> int:
        """How many jobs match; the fields of `JobFilter` by keyword."""
        return self._store.count(_filter(which))

    def count_by_state(self, queue: str | None = None) -> dict[JobState, int]:
        """How many jobs are in each state, in one queue or in all."""
        return self._store.count_by_state(queue)

    def wait(self, job: Job | int, timeout: Seconds | None = None) -> Job:
        """Waits until a job is completed, discarded or cancelled, whoever runs it.

        Args:
            job: The job or its id.
            timeout: Seconds to wait at most; ``None`` waits for ever.

        Returns:
            The job in its final state.

        Raises:
            TimeoutError: It is not final yet.
            NotFound: There is no such job.
        """
        left = None if timeout is None else seconds("timeout", timeout)
        began = monotonic()
        while True:
            rest = None if left is None else left - (monotonic() - began)
            found = self._engine.wait_final(job, _SLICE if rest is None else min(max(rest, 0.0), _SLICE))
            if found.state.is_final:
                return found
            if rest is not None and rest <= 0:
                message = f"job {found.id} is still {found.state} after {left} seconds"
                raise TimeoutError(message)

    def result(self, job: Job | int, timeout: Seconds | None = None) -> Any:  # noqa: ANN401 - whatever the handler returned
        """What the handler returned, once the job is completed. Its worker must say ``keep_result=True``.

        It was kept as JSON and is read as plain values: what was a dataclass is a ``dict``, a tuple a list, ``bytes``
        are text in base64, a ``datetime`` is text in ISO 8601.

        Raises:
            TimeoutError: It is not final yet.
            NotFound: There is no such job.
            Error: It was discarded or cancelled; the text has its last error.
        """
        return self._result(self.wait(job, timeout))

    def _result(self, done: Job) -> Any:  # noqa: ANN401 - as `result`
        if done.state is JobState.COMPLETED:
            return done.result
        last = f": {done.errors[-1].kind}: {done.errors[-1].message}" if done.errors else ""
        raise Error(f"job {done.id} of {done.worker} was {done.state}{last}")

    # --- by hand ---

    def cancel(self, job: Job | int) -> Job:
        """Cancels a job: a waiting one never starts, a running one is asked to stop and ends cancelled.

        Returns:
            The job afterwards; with ``cancel_requested`` while its handler still runs.

        Raises:
            NotFound: There is no such job.
        """
        self._store.cancel(JobFilter(ids=(_job_id(job),)))
        return self.get(job)

    def cancel_many(self, **which: Unpack[Which]) -> int:
        """Cancels all jobs that match and are not final; says how many.

        The stores of zjobs take ten thousand at a time: when it fails, those before are cancelled; call it again.
        """
        return len(self._store.cancel(_chosen(which)))

    def retry(self, job: Job | int) -> Job:
        """Starts a finished or waiting job again, now.

        Raises:
            NotFound: There is no such job.
            Invalid: It is running, or its unique key is taken by another live job.
        """
        number = _job_id(job)
        before = self.get(number)
        replies = self._store.retry(JobFilter(ids=(number,)))
        if replies and replies[0].holder is not None:
            rule = f"cannot be retried: its unique key is taken by live job {replies[0].holder}; cancel that one first"
            raise invalid("job", rule, number)
        if not replies and before.state is JobState.EXECUTING:
            raise invalid("job", "cannot be retried while it runs; cancel it first", number)
        return self.get(number)

    def retry_many(self, **which: Unpack[Which]) -> int:
        """Starts all jobs that match again, but for running ones; says how many.

        The stores of zjobs take ten thousand at a time: when it fails, those before are started; call it again.
        """
        return sum(reply.holder is None for reply in self._store.retry(_chosen(which)))

    def delete(self, job: Job | int) -> None:
        """Deletes a job that does not run.

        Raises:
            NotFound: There is no such job.
            Invalid: It is running.
        """
        number = _job_id(job)
        if not self._store.delete(JobFilter(ids=(number,))):
            state = self.get(number).state
            raise invalid("job", f"cannot be deleted while it is {state}; cancel it first", number)

    def delete_many(self, **which: Unpack[Which]) -> int:
        """Deletes all jobs that match and do not run; says how many.

        The stores of zjobs take ten thousand at a time: when it fails, those before are gone; call it again.
        """
        return self._store.delete(_chosen(which))

    def delete_completed(self, older_than: Seconds) -> int:
        """Deletes completed jobs that finished longer ago than this; says how many.

        Some at a time, as `delete_many`.
        """
        return self._store.delete_completed(older_than)

    def prune(self) -> int:
        """Deletes what the retention no longer keeps, now instead of in the background; says how many jobs."""
        return self._engine.prune()

    def rescue_stuck(self) -> int:
        """Takes back the jobs of nodes that died, now instead of in the background; says how many."""
        return self._engine.rescue()

    # --- queues ---

    def pause_queue(self, queue: str) -> None:
        """Starts no more of the queue's jobs, on any node; survives restarts where the store does."""
        self._store.pause(queue_name(queue))
        self._telemetry.emit(QueuePaused(queue))

    def resume_queue(self, queue: str) -> None:
        """Undoes a pause."""
        self._store.resume(queue_name(queue))
        self._telemetry.emit(QueueResumed(queue))

    def scale_queue(self, queue: str, concurrency: int | None) -> None:
        """Sets how many of the queue's jobs each node runs at once; ``None`` goes back to the nodes' own settings.

        Raises:
            Invalid: It is no whole number from 1 to 4096.
        """
        if concurrency is not None:
            integer("concurrency", concurrency, 1, 4096)
        self._store.scale(queue_name(queue), concurrency)

    def queue_list(self) -> QueueRows:
        """The queues that have jobs or settings."""
        return self._store.queues()

    def nodes(self) -> NodeRows:
        """The processes that work on this store."""
        return self._store.nodes()


def _job_id(job: Job | int) -> int:
    if isinstance(job, Job):
        return job.id
    return integer("job", job, 1, 2**63 - 1)


def _no_job(number: int) -> NotFound:
    return NotFound(f"job not found: {number}; it may have been pruned or deleted")


def _filter(which: Which) -> JobFilter:
    try:
        return JobFilter(**which)
    except TypeError:
        names = JobFilter.__dataclass_fields__
        unknown = next(name for name in which if name not in names)
        raise invalid("filter", f"must be made of {', '.join(names)}", unknown) from None


def _chosen(which: Which) -> JobFilter:
    """What is changed for good: a part that came out empty by accident must not mean every job."""
    chosen = _filter(which)
    for name, value in (("states", chosen.states), ("tags", chosen.tags)):
        if name in which and not value:
            raise invalid(name, "must not be empty: it would mean any; leave it out to mean that", value)
    parts = (chosen.ids, chosen.states or None, chosen.queue, chosen.worker, chosen.tags or None)
    if all(part is None for part in (*parts, chosen.unique_key, chosen.after, chosen.limit)):
        rule = "must say which jobs, such as queue='mail' or states=[JobState.DISCARDED]"
        raise invalid("filter", rule, dict(which) or "nothing")
    return chosen
