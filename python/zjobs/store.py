"""Stores: where jobs are kept.

`MemoryStore` keeps them in this process. A third party writes a store by implementing the verbs of `Store`, and proves
it with `zjobs.testing.StoreContract`. What every store promises:

* A write about a running job changes its row only if id, lease, node and state match (`Store.ack`, `Store.report`);
  otherwise nothing changes and the reply says so.
* The store's own clock decides what is due, expired and old. Callers pass lengths of time, never "now". Wherever many
  processes share a store, that is one clock, and it never goes back.
* Bulk verbs are atomic per row and isolated: one bad row never harms its neighbours. `Store.enqueue` is atomic as a
  whole.
* A signal follows the commit; correctness never depends on it.

The engine calls a store from several threads at once. Which state follows which is decided by the engine's state table
(`zjobs._engine.TRANSITIONS`); a store guards, writes and finds.
"""

import builtins
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol, final

from zjobs import _engine
from zjobs.crontab import CronEntry, Ticked, TickReply
from zjobs.job import Job, JobState
from zjobs.options import Retention, Seconds, seconds
from zjobs.rows import (
    Acked,
    AckRow,
    Cancelled,
    CronInfo,
    Enqueued,
    Failure,
    Heartbeat,
    JobEvent,
    JobFilter,
    NewJob,
    NodeInfo,
    Pulse,
    QueueInfo,
    Report,
    Rescued,
    RescueReason,
    Retried,
    Staged,
)

__all__ = [
    "ERRORS_KEPT",
    "AckRow",
    "Acked",
    "Cancelled",
    "CronEntry",
    "CronInfo",
    "Enqueued",
    "Failure",
    "Heartbeat",
    "JobEvent",
    "JobFilter",
    "Listener",
    "MemoryStore",
    "NewJob",
    "NodeInfo",
    "Pulse",
    "QueueInfo",
    "Report",
    "RescueReason",
    "Rescued",
    "Retried",
    "Staged",
    "Store",
    "TickReply",
    "Ticked",
    "rescued",
]

ERRORS_KEPT = _engine.LIMITS["ERRORS_KEPT"]
"""How many error entries a job keeps: the newest."""

rescued = _engine.rescued
"""What becomes of an executing job whose node is gone: ``rescued(job, reason, now) -> Job``.

The engine's own rule, for `Store.rescue`: the job goes back to ``available`` with its crash counted and an error entry
added, or is discarded when its attempts are used up or it was taken from dying nodes too often, or cancelled when
somebody had asked for that. After a `RescueReason.SHUTDOWN` the attempt is refunded.
"""

_PRUNED_AT_ONCE = 1000


class Listener(Protocol):
    """Hears what commits in a store. Each call must return soon; the engine's own never raise."""

    def ready(self, queue: str) -> None:
        """The queue has jobs to claim."""
        ...

    def due(self, at: datetime) -> None:
        """A job becomes due then."""
        ...

    def cancel(self, ids: Sequence[int]) -> None:
        """Somebody wants these running jobs to stop."""
        ...

    def control(self, queue: str) -> None:
        """The queue was paused, resumed or scaled."""
        ...

    def settled(self) -> None:
        """Jobs have reached a final state."""
        ...

    def orphaned(self) -> None:
        """A node may have ended: its jobs wait to be rescued."""
        ...

    def missed(self) -> None:
        """Others may have told something that could not be heard: look for everything now."""
        ...


class Store(ABC):
    """A store of jobs: one method per verb, each about many jobs at once.

    Every verb may raise `StoreUnavailable`; the engine tries again. Any other exception that is no `zjobs.Error` counts
    as that too. Methods are called from several threads.
    """

    __slots__ = ()

    @property
    def blocks(self) -> bool:
        """Whether a call may wait for a disk, a network or a lock; read once, when a supervisor takes the store.

        A store that never waits is called on whatever thread needs it, the event loop's included.
        """
        return True

    @property
    def max_jobs(self) -> int | None:
        """How many unfinished jobs it may hold; an `enqueue` beyond that raises `StoreFull`. ``None`` is no limit."""
        return None

    def subscribe(self, listener: Listener) -> None:  # noqa: B027 - a store without signals is a store all the same
        """Asks to be told what commits, after the commit and without any lock of the store held.

        A store without signals leaves this out: the engine then looks for work at its poll interval. It keeps a
        reference to the listener; one of the engine says by ``listener.gone`` that it may be forgotten.
        """

    @abstractmethod
    def now(self) -> datetime:
        """The store's clock, in UTC."""

    # --- the walk of a job ---

    @abstractmethod
    def enqueue(self, jobs: Sequence[NewJob]) -> builtins.list[Enqueued]:
        """*enqueue*: inserts jobs, or finds those whose unique key is taken. All or none; each meets those before it.

        A job starts ``available`` when it is due by the store's clock, ``scheduled`` otherwise. Ids grow and are never
        used twice. A key is taken by a live job (not final) that was enqueued with it and has not lost it. Then
        ``IGNORE_NEW`` replies with that job and ``conflict``; ``CANCEL_EXISTING`` cancels it (a running one is asked to
        stop and loses its key at once) and inserts the new one.

        Returns:
            One reply for each job, in the same order.

        Raises:
            StoreFull: There would be more than `max_jobs` unfinished jobs; nothing was inserted.
        """

    @abstractmethod
    def claim(self, node: str, queue: str, limit: int) -> builtins.list[Job]:
        """*claim*: takes up to ``limit`` available jobs of a queue, by (priority, scheduled_at, id), for a living node.

        Each becomes ``executing`` with attempt and lease raised by one, ``attempted_at`` now, and the node. A paused
        queue gives none. No job is given to two claims.

        Returns:
            The jobs as they are now, best first.

        Raises:
            LeaseLost: The node is not alive: unknown, departed, or silent for longer than its lease.
        """

    @abstractmethod
    def ack(self, node: str, acks: Sequence[AckRow]) -> builtins.list[Acked]:
        """*ack*: ends attempts, each guarded by id, lease, node and state ``executing``.

        Writes ``to`` and ``attempt``; adds the error entry (of the attempt that ran, the newest
        `ERRORS_KEPT` stay); keeps the result; a job that waits again is due ``delay_seconds`` from now;
        a final state stamps ``finished_at`` and frees the unique key. Checked in this order:

        * another lease: ``LEASE_LOST``;
        * this very ack was written before and nothing happened to the job since: ``ALREADY``;
        * not executing, or not under this node, or the node was declared dead: ``LEASE_LOST``;
        * somebody wants the job cancelled and this is no cancel: ``CANCEL_REQUESTED``;
        * otherwise it is written: ``STORED``.

        Only ``STORED`` changes anything. A node that departed may ack until its grace ends.

        Returns:
            One reply for each ack, in the same order.
        """

    @abstractmethod
    def report(self, node: str, reports: Sequence[Report]) -> None:
        """Stores progress of running jobs, each guarded as an ack is; those that come too late are dropped."""

    @abstractmethod
    def stage(self, limit: int = 1000) -> Staged:
        """*stage*: makes up to ``limit`` due jobs available, the earliest due first."""

    # --- nodes ---

    @abstractmethod
    def heartbeat(self, beat: Heartbeat) -> Pulse:
        """*heartbeat*: the first one registers the node; later ones extend its lease on all its jobs.

        A node that was declared dead by `rescue`, or has departed and holds nothing, never comes back under the same
        incarnation. A departed node that still holds jobs is told about them, but its grace stands.
        """

    @abstractmethod
    def depart(self, node: str, grace_seconds: float = 0.0) -> None:
        """The node ends and claims no more.

        Jobs that still run under it may be rescued ``grace_seconds`` from now, with their attempt refunded. Its row
        goes when it has none. Said again, its grace begins anew. An unknown node is nothing to speak of.
        """

    @abstractmethod
    def rescue(self, limit: int = 500) -> builtins.list[Rescued]:
        """*rescue*: declares nodes dead whose lease has ended, and takes back up to ``limit`` of their jobs.

        What becomes of each is the engine's rule, see `rescued`. A dead node's row goes when it holds no job.

        Returns:
            The jobs after the move, with the reason: a node that had departed was shut down, any other died.
        """

    @abstractmethod
    def nodes(self) -> builtins.list[NodeInfo]:
        """The nodes that the store knows, in the order in which they registered."""

    # --- by hand ---

    @abstractmethod
    def cancel(self, filter: JobFilter) -> builtins.list[Cancelled]:  # noqa: A002 - the word of the glossary
        """*cancel*: waiting jobs are cancelled, running ones asked to stop; final ones are left out.

        A request is kept with the running job (``cancel_requested``) until it ends.
        """

    @abstractmethod
    def retry(self, filter: JobFilter) -> builtins.list[Retried]:  # noqa: A002 - the word of the glossary
        """*retry*: starts jobs again; running and available ones are left out.

        Such a job is available and due now, has at least one attempt left (``max_attempts`` is raised when needed), and
        no result, progress, crashes or request to cancel any more; its errors stay. One whose unique key is taken by
        another live job stays as it was; otherwise it takes its key again.
        """

    @abstractmethod
    def delete(self, filter: JobFilter) -> int:  # noqa: A002 - the word of the glossary
        """Deletes jobs that do not run; returns how many."""

    @abstractmethod
    def prune(self, retention: Retention, limit: int = 1000) -> int:
        """*prune*: deletes up to ``limit`` final jobs that reached their state at least their retention ago.

        Returns:
            How many.
        """

    def delete_completed(self, older_than: Seconds) -> int:
        """Deletes all completed jobs that finished at least this long ago.

        Args:
            older_than: Seconds or a ``timedelta``.

        Returns:
            How many.

        Raises:
            Invalid: The length is negative, not finite or above ten years.
        """
        age = timedelta(seconds=seconds("older_than", older_than))
        retention = Retention(completed=age, cancelled=None, discarded=None)
        deleted = 0
        while pruned := self.prune(retention, _PRUNED_AT_ONCE):
            deleted += pruned
        return deleted

    @abstractmethod
    def pause(self, queue: str) -> None:
        """*pause*: nothing is claimed from the queue until it is resumed; also before it has jobs."""

    @abstractmethod
    def resume(self, queue: str) -> None:
        """*resume*: undoes a pause."""

    @abstractmethod
    def scale(self, queue: str, concurrency: int | None) -> None:
        """Sets how many jobs of the queue each node runs at once; ``None`` goes back to the node's own setting."""

    # --- reads ---

    def get(self, ids: Sequence[int]) -> builtins.list[Job]:
        """The jobs with these ids that exist, each once, by id."""
        return self.list(JobFilter(ids=tuple(ids)))

    @abstractmethod
    def list(self, filter: JobFilter) -> builtins.list[Job]:  # noqa: A002 - the word of the glossary
        """Jobs that match, by id in the filter's order, up to its limit."""

    def count(self, filter: JobFilter) -> int:  # noqa: A002 - the word of the glossary
        """How many jobs match, without the filter's limit."""
        given = filter
        return len(
            self.list(
                JobFilter(
                    given.ids,
                    given.states,
                    given.queue,
                    given.worker,
                    given.tags,
                    given.unique_key,
                    given.after,
                    given.newest_first,
                )
            )
        )

    def count_by_state(self, queue: str | None = None) -> dict[JobState, int]:
        """How many jobs there are in each state, of one queue or of all; every state is a key."""
        counts = dict.fromkeys(JobState, 0)
        for one in self.queues():
            if queue is None or one.name == queue:
                for state, number in one.counts.items():
                    counts[state] += number
        return counts

    @abstractmethod
    def queues(self) -> builtins.list[QueueInfo]:
        """The queues that have jobs or settings, by name."""

    # --- schedules ---

    @abstractmethod
    def save_cron(self, entry: CronEntry, /) -> None:
        """Declares a schedule, or changes it and keeps its pause and last tick.

        Kept are its name, ``entry.schedule.expression``, ``entry.schedule.timezone`` and its worker.
        """

    @abstractmethod
    def crons(self) -> builtins.list[CronInfo]:
        """The declared schedules, by name."""

    @abstractmethod
    def set_cron_paused(self, name: str, *, paused: bool) -> bool:
        """Pauses or resumes a schedule; ``False`` when there is none of that name."""

    @abstractmethod
    def delete_cron(self, name: str) -> bool:
        """Forgets a schedule and its ticks; ``False`` when there is none of that name."""

    @abstractmethod
    def tick(self, name: str, at: datetime, job: NewJob | None, /) -> Ticked:
        """Inserts the row of one ``(name, at)`` and its job together, once, however many nodes ask.

        A tick is recorded even if its job meets one with its unique key; ``job=None`` records it as left out. When the
        job cannot be inserted (`StoreFull`), the tick is not recorded either. ``last_tick`` is the latest tick.
        """


@final
class MemoryStore(_engine.MemoryStore, Store):
    """Jobs in this process's memory: nothing survives it. Several supervisors of one process may share one.

    Args:
        max_jobs: How many unfinished jobs it may hold; an enqueue beyond that raises `StoreFull`. ``None`` is no limit.
        max_finished: How many finished jobs it keeps; the oldest go first. ``None`` is 100 000.
        clock: A `zjobs.testing.ManualClock`, for tests that own time.
    """

    __slots__ = ()
