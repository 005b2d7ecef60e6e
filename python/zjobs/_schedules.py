"""The part of a `Supervisor` that deals with schedules."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack, cast

from zjobs.cron import CatchUp, CatchUpName, OnRepeat, OnRepeatName, Overlap, OverlapName, Schedule
from zjobs.crontab import CronEntry
from zjobs.errors import NotFound
from zjobs.job import Job
from zjobs.options import EnqueueOptions, JobOpts
from zjobs.store import CronInfo, Store
from zjobs.worker import Decorator, Worker

if TYPE_CHECKING:
    from zjobs._scheduler import Scheduler

__all__ = ["CronRows", "Schedules"]

# For the async twins, in whose class `list` is a method.
CronRows: TypeAlias = list[CronInfo]


class Schedules:
    """Declares schedules, and controls those that are stored."""

    _scheduler: "Scheduler"
    _store: Store
    worker: Callable[..., Any]

    # --- schedules ---

    def register_cron(
        self,
        name: str,
        cron_expr: str,
        worker: str | Worker[..., Any],
        args: object = None,
        *,
        timezone: str = "UTC",
        catch_up: CatchUp | CatchUpName = CatchUp.LATEST,
        overlap: Overlap | OverlapName = Overlap.ALLOW,
        on_repeat: OnRepeat | OnRepeatName = OnRepeat.ONCE,
        **options: Unpack[EnqueueOptions],
    ) -> None:
        """Enqueues a job at each tick of a schedule, once whatever the number of nodes; before or after `start`.

        Args:
            name: The schedule's name.
            cron_expr: Five fields, six with seconds first, or ``@hourly`` and friends.
            worker: The worker of the jobs, or its name.
            args: Their arguments.
            timezone: The zone whose wall clock counts.
            catch_up: Which ticks run that were missed while no node was up: ``latest``, ``none`` or ``all``.
            overlap: When an earlier job is still live: ``allow`` another, ``skip`` the tick, or ``replace`` the job.
            on_repeat: Whether a fixed time that the autumn repeats runs ``once`` or ``twice``.
            options: What differs from the worker's options.

        Raises:
            Invalid: The expression, the zone or another value breaks its rule, or the name is taken here.
        """
        called = worker.name if isinstance(worker, Worker) else worker
        self._scheduler.check(called, args, options)
        schedule = Schedule(cron_expr, timezone, on_repeat)
        opts = JobOpts(**options)
        entry = CronEntry(
            name=name, schedule=schedule, worker=called, args=args, opts=opts, catch_up=catch_up, overlap=overlap
        )
        self._scheduler.add(entry, options)

    def cron(
        self,
        cron_expr: str,
        *,
        name: str | None = None,
        timezone: str = "UTC",
        catch_up: CatchUp | CatchUpName = CatchUp.LATEST,
        overlap: Overlap | OverlapName = Overlap.ALLOW,
        on_repeat: OnRepeat | OnRepeatName = OnRepeat.ONCE,
        **options: Unpack[EnqueueOptions],
    ) -> Decorator:
        """Registers a function as a worker and schedules it; see `register_cron`.

        Put it above ``@jobs.worker(...)`` to give the worker options of its own.
        """

        def schedule(handler: Callable[..., Any]) -> Worker[..., Any]:
            worker = cast("Worker[..., Any]", handler if isinstance(handler, Worker) else self.worker(handler))
            self.register_cron(
                name if name is not None else worker.name,
                cron_expr,
                worker,
                timezone=timezone,
                catch_up=catch_up,
                overlap=overlap,
                on_repeat=on_repeat,
                **options,
            )
            return worker

        return schedule  # type: ignore[return-value]  # one function behind both overloads

    def crons(self) -> CronRows:
        """The schedules that the store knows."""
        return list(self._store.crons())

    def pause_cron(self, name: str) -> None:
        """Skips the schedule's ticks, on all nodes. Raises `NotFound`."""
        self._set_cron_paused(name, paused=True)

    def resume_cron(self, name: str) -> None:
        """Undoes a pause; ticks of the pause are not caught up. Raises `NotFound`."""
        self._set_cron_paused(name, paused=False)

    def run_cron(self, name: str) -> Job:
        """Enqueues a schedule's job now, outside of its ticks. Raises `NotFound`."""
        return self._scheduler.crontab.run_now(name)

    def delete_cron(self, name: str) -> None:
        """Forgets a schedule and its ticks, here and in the store. Raises `NotFound`."""
        here = name in self._scheduler.crontab.entries
        self._scheduler.remove(name)
        if not self._store.delete_cron(name) and not here:
            raise NotFound(f"schedule not found: {name}; see crons()")

    def _set_cron_paused(self, name: str, *, paused: bool) -> None:
        if not self._store.set_cron_paused(name, paused=paused):
            raise NotFound(f"schedule not found: {name}; schedules are stored when a supervisor that has them runs")
        self._scheduler.wake()
