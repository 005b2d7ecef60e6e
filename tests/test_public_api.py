import enum
import inspect

import pytest

import zjobs
from zjobs.rows import Which

PUBLIC = [
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

# Of the calls in api.md §3: those that wait, each with an async twin.
BLOCKING = [
    "cancel",
    "cancel_many",
    "count",
    "count_by_state",
    "crons",
    "delete",
    "delete_completed",
    "delete_cron",
    "delete_many",
    "drain",
    "enqueue",
    "enqueue_many",
    "get",
    "list",
    "nodes",
    "pause_cron",
    "pause_queue",
    "prune",
    "queue_list",
    "rescue_stuck",
    "result",
    "resume_cron",
    "resume_queue",
    "retry",
    "retry_many",
    "run_cron",
    "scale_queue",
    "start",
    "stop",
    "wait",
]


def members(thing):
    """What a user meets on a class: its own and inherited names without an underscore, as far as zjobs defines them."""
    for owner in thing.__mro__:
        if owner.__module__.split(".")[0] == "zjobs":
            yield from ((name, value) for name, value in vars(owner).items() if not name.startswith("_"))


def needs_docstring(owner, name, value):
    if isinstance(owner, enum.EnumMeta) or name in getattr(owner, "__slots__", ()):
        return False
    if name in getattr(owner, "__dataclass_fields__", {}):
        return False
    return (
        callable(value) or isinstance(value, (property, classmethod, staticmethod)) or inspect.isdatadescriptor(value)
    )


def test_the_public_names_are_these_and_sorted():
    assert zjobs.__all__ == PUBLIC == sorted(PUBLIC)


def test_every_public_name_is_there_and_nothing_private_is_offered():
    assert [name for name in zjobs.__all__ if not hasattr(zjobs, name)] == []
    assert [name for name in zjobs.__all__ if name.startswith("_")] == []


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_and_its_members_have_a_docstring(name):
    thing = getattr(zjobs, name)
    assert inspect.getdoc(thing), name
    if isinstance(thing, type):
        silent = [
            one for one, value in members(thing) if needs_docstring(thing, one, value) and not inspect.getdoc(value)
        ]
        assert silent == [], f"{name} has members that say nothing"


@pytest.mark.parametrize("name", BLOCKING)
def test_each_call_that_waits_has_an_async_twin_with_the_same_parameters(name):
    call, twin = getattr(zjobs.Supervisor, name), getattr(zjobs.Supervisor, f"{name}_async")
    assert inspect.iscoroutinefunction(twin)
    assert inspect.signature(twin).parameters == inspect.signature(call).parameters


def test_the_outcomes_of_a_handler_are_values_and_exceptions():
    for outcome in (zjobs.Snooze(1), zjobs.Cancel("why"), zjobs.Discard("why")):
        assert isinstance(outcome, Exception)
        assert not isinstance(outcome, zjobs.Error)


def test_a_member_without_a_docstring_is_found():
    class Silent:
        def speak(self): ...

    Silent.__module__ = "zjobs.silent"
    assert [name for name, value in members(Silent) if not inspect.getdoc(value)] == ["speak"]
    assert needs_docstring(Silent, "speak", Silent.speak)


def test_the_keywords_of_listings_are_the_fields_of_the_filter():
    assert list(Which.__annotations__) == list(zjobs.JobFilter.__dataclass_fields__)
    assert Which.__optional_keys__ == set(Which.__annotations__)
