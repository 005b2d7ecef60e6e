"""Background jobs for Python with a Rust engine."""

from zjobs.cron import CatchUp, OnRepeat, Overlap
from zjobs.db import DbStore, Migration, PostgresStore, SqliteStore, migrate, migrations
from zjobs.errors import (
    AlreadyStarted,
    EnqueueUncertain,
    Error,
    Invalid,
    LeaseLost,
    NotFound,
    NotStarted,
    SchemaMismatch,
    StoreFull,
    StoreUnavailable,
)
from zjobs.job import AttemptError, Job, JobContext, JobState, Progress
from zjobs.options import (
    Ack,
    Cancel,
    Discard,
    JobOpts,
    Queue,
    Retention,
    Snooze,
    StuckPolicy,
    UniqueStrategy,
    WorkerDef,
)
from zjobs.retry import Constant, Custom, Exponential, Linear, RetryStrategy
from zjobs.store import JobFilter, MemoryStore, Store
from zjobs.supervisor import Supervisor
from zjobs.telemetry import Telemetry, attach_logging
from zjobs.worker import JobEntry, Worker

__all__ = [
    "Ack",
    "AlreadyStarted",
    "AttemptError",
    "Cancel",
    "CatchUp",
    "Constant",
    "Custom",
    "DbStore",
    "Discard",
    "EnqueueUncertain",
    "Error",
    "Exponential",
    "Invalid",
    "Job",
    "JobContext",
    "JobEntry",
    "JobFilter",
    "JobOpts",
    "JobState",
    "LeaseLost",
    "Linear",
    "MemoryStore",
    "Migration",
    "NotFound",
    "NotStarted",
    "OnRepeat",
    "Overlap",
    "PostgresStore",
    "Progress",
    "Queue",
    "Retention",
    "RetryStrategy",
    "SchemaMismatch",
    "Snooze",
    "SqliteStore",
    "Store",
    "StoreFull",
    "StoreUnavailable",
    "StuckPolicy",
    "Supervisor",
    "Telemetry",
    "UniqueStrategy",
    "Worker",
    "WorkerDef",
    "attach_logging",
    "migrate",
    "migrations",
]
