"""Workers by themselves: what is read of a handler, and what is asked of the supervisor."""

import asyncio
import functools
from datetime import UTC, datetime
from types import MappingProxyType, SimpleNamespace

import pytest

from zjobs.errors import Invalid
from zjobs.job import JobContext
from zjobs.options import Ack, JobOpts, UniqueStrategy, WorkerDef
from zjobs.retry import Constant, Custom, Exponential
from zjobs.worker import BoundWorker, ContextWorker, JobEntry, Registered, Worker, unknown_payload


def add(a: int, b: int = 1) -> int:
    """Adds."""
    return a + b


def listed(a: list[int]) -> list[int]:
    return a


async def later(a: int) -> int:
    return a


def with_context(ctx: JobContext, a: int) -> tuple[object, int]:
    return ctx, a


def low(args, ctx):
    return args, ctx


def low_text(args: bytes):
    return args


async def low_later(args):
    return args


class Called:
    async def __call__(self, a: int) -> int:
        return a


class Plain:
    def __call__(self, a: int) -> int:
        return a


def typed(handler, name=None, **more):
    settings = {"retry_strategy": None, "keep_result": False, "ack": Ack.BATCHED, "options": {}} | more
    return Registered.typed(handler, name=name, **settings)


class Supervisor:
    """Writes down what it is asked to enqueue."""

    def __init__(self):
        self.asked = []

    def _enqueue(self, *what):
        self.asked.append(what)
        return f"job {len(self.asked)}"

    async def _enqueue_async(self, *what):
        await asyncio.sleep(0)
        return self._enqueue(*what)


# --- what is read of a handler ---


def test_a_worker_is_called_as_its_function_unless_it_is_named():
    assert typed(add).name == "add"
    assert typed(add, "sums:Add").name == "sums:Add"
    assert typed(lambda: None, "nothing").name == "nothing"
    assert typed(functools.partial(add, b=2), "two").name == "two"


@pytest.mark.parametrize(
    ("handler", "name", "message"),
    [
        (lambda: None, None, "name must be given for a lambda"),
        (functools.partial(add, b=2), None, "worker must match"),
        (add, "", "worker must match"),
        (add, "a b", "worker must match"),
        (5, "five", "handler must be"),
    ],
)
def test_a_worker_without_a_fitting_name_or_handler_is_refused(handler, name, message):
    with pytest.raises(Invalid, match=f"^{message}"):
        typed(handler, name)


def test_a_decorated_worker_keeps_what_its_decorator_says():
    one = typed(add, retry_strategy=divmod, keep_result=True, ack=Ack.SYNC, options={"queue": "mail"})
    assert (one.strategy, one.keep_result, one.ack, one.options) == (Custom(divmod), True, Ack.SYNC, {"queue": "mail"})
    other = typed(add)
    assert (other.strategy, other.keep_result, other.ack, other.options) == (Exponential(), False, Ack.BATCHED, {})


def test_a_low_level_worker_keeps_what_its_definition_says():
    noon = datetime(2030, 1, 1, tzinfo=UTC)
    opts = JobOpts(queue="mail", scheduled_at=noon, tags=("a",), timeout_seconds=None)
    one = Registered.low_level(
        WorkerDef("low", low, opts=opts, retry_strategy=Constant(5), keep_result=True, ack=Ack.SYNC)
    )
    assert (one.name, one.strategy, one.keep_result, one.ack) == ("low", Constant(5), True, Ack.SYNC)
    # What is not said is left to the call, and to the engine's own default; no time limit is said.
    assert one.options == {
        "queue": "mail",
        "priority": 0,
        "max_attempts": 20,
        "scheduled_at": noon,
        "unique_strategy": UniqueStrategy.IGNORE_NEW,
        "timeout_seconds": None,
        "meta": {},
        "tags": ("a",),
    }


@pytest.mark.parametrize(
    ("handler", "coroutine"),
    [
        (add, False),
        (later, True),
        (functools.partial(later, a=1), True),
        (functools.partial(functools.partial(later), a=1), True),
        (functools.partial(add, b=1), False),
        (Called(), True),
        (Plain(), False),
        (Called().__call__, True),
    ],
)
def test_coroutine_functions_are_known_however_they_are_wrapped(handler, coroutine):
    assert typed(handler, "w").coroutine is coroutine


def test_a_low_level_coroutine_function_is_known_too():
    assert Registered.low_level(WorkerDef("w", low_later)).coroutine
    assert not Registered.low_level(WorkerDef("w", low)).coroutine


def yields():
    yield


async def yields_later(args):
    yield args


class Yields:
    def __call__(self):
        yield


@pytest.mark.parametrize("handler", [yields, functools.partial(yields), yields_later, Yields(), Yields().__call__])
def test_a_generator_function_is_refused_as_nobody_would_run_it(handler):
    with pytest.raises(Invalid, match=r"^handler must be a plain function or a coroutine function, without yield"):
        typed(handler, "w")


def test_a_low_level_generator_function_is_refused_too():
    with pytest.raises(Invalid, match=r"^handler must be a plain function or a coroutine function, without yield"):
        Registered.low_level(WorkerDef("w", yields_later))


def test_the_engine_encodes_scalars_and_hands_text_on_unread():
    assert typed(add).shape is not None
    assert typed(listed).shape is None
    assert Registered.low_level(WorkerDef("w", low)).shape is None
    assert Registered.low_level(WorkerDef("w", low_text)).takes_text is True
    assert Registered.low_level(WorkerDef("w", low)).takes_text is False
    assert typed(add).takes_text is False


def test_the_engine_knows_all_that_a_worker_takes_where_it_is_known():
    assert typed(add).arguments == ("a", "b")
    assert typed(with_context).arguments == ("a",)
    assert typed(lambda: None, "w").arguments == ()
    assert typed(lambda a, **more: None, "w").arguments is None
    assert Registered.low_level(WorkerDef("w", low)).arguments is None


def test_the_engine_knows_the_strategies_of_its_own():
    assert typed(add).backoff is not None
    assert typed(add, retry_strategy=divmod).backoff is None


def test_a_job_runs_as_its_handler_wants_it():
    assert typed(add).invoke(b'{"a":2}', None) == 3
    assert typed(with_context).invoke(b'{"a":2}', "ctx") == ("ctx", 2)
    assert Registered.low_level(WorkerDef("w", low)).invoke(b"[1]", "ctx") == ([1], "ctx")


# --- payloads ---


@pytest.mark.parametrize("args", [{"a": 1}, MappingProxyType({"a": 1}), b'{"a":1}'])
def test_arguments_by_name_may_come_as_any_mapping_or_as_text(args):
    assert typed(add).payload(args) == b'{"a":1}'


def test_no_arguments_are_an_empty_object():
    assert typed(lambda: None, "w").payload(None) == b"{}"
    with pytest.raises(Invalid, match="missing a required argument"):
        typed(add).payload(None)


@pytest.mark.parametrize("args", [[1], 5, "text", {"c": 1}, {"a": "1"}, b'{"a":"1"}', b"{"])
def test_arguments_that_do_not_fit_are_refused(args):
    with pytest.raises(Invalid):
        typed(add).payload(args)


def test_a_low_level_worker_takes_its_payload_whole():
    one = Registered.low_level(WorkerDef("w", low))
    assert one.payload([1]) == one.bound(([1],), {}) == one.bound((), {"payload": [1]}) == b"[1]"
    assert typed(add).bound((1,), {"b": 2}) == b'{"a":1,"b":2}'


def test_of_a_worker_that_is_known_elsewhere_anything_plain_is_taken():
    assert unknown_payload(None) == b"{}"
    assert unknown_payload([]) == b"[]"
    assert unknown_payload({"a": 1}) == b'{"a":1}'
    assert unknown_payload(b"[ 1]") == b"[ 1]"
    with pytest.raises(Invalid, match=r"^args"):
        unknown_payload((1,))


# --- what is asked of the supervisor ---


def test_a_call_becomes_a_job_with_the_options_of_the_worker_s_copy():
    supervisor = Supervisor()
    worker = Worker(supervisor, typed(add), add)
    assert worker.enqueue(1) == "job 1"
    hasty = worker.options(priority=-5, queue="mail")
    assert hasty.enqueue(1, b=2) == "job 2"
    assert hasty.options(priority=3).enqueue(a=1) == "job 3"
    assert hasty.enqueue(1) == "job 4"
    assert supervisor.asked == [
        ("add", b'{"a":1}', {}),
        ("add", b'{"a":1,"b":2}', {"priority": -5, "queue": "mail"}),
        ("add", b'{"a":1}', {"priority": 3, "queue": "mail"}),
        ("add", b'{"a":1}', {"priority": -5, "queue": "mail"}),
    ]


def test_options_that_come_later_lift_what_they_exclude():
    supervisor = Supervisor()
    worker = Worker(supervisor, typed(add), add)
    noon = datetime(2030, 1, 1, tzinfo=UTC)
    for options in (
        worker.options(schedule_in=5, priority=1).options(scheduled_at=noon),
        worker.options(scheduled_at=noon).options(schedule_in=5),
        worker.options(unique_by=("args",), unique_period=60, priority=1).options(unique_key="k"),
        worker.options(unique_key="k").options(unique_by=("args",)),
        # What says nothing lifts nothing.
        worker.options(schedule_in=5, unique_key="k").options(scheduled_at=None, unique_by=()),
    ):
        options.enqueue(1)
    assert [options for *_, options in supervisor.asked] == [
        {"scheduled_at": noon, "priority": 1},
        {"schedule_in": 5},
        {"unique_key": "k", "priority": 1},
        {"unique_by": ("args",)},
        {"schedule_in": 5, "unique_key": "k", "scheduled_at": None, "unique_by": ()},
    ]


async def test_the_async_form_asks_for_the_same():
    supervisor = Supervisor()
    bound = BoundWorker(supervisor, typed(add), {"priority": 1})
    assert await bound.enqueue_async(1, b=2) == "job 1"
    assert supervisor.asked == [("add", b'{"a":1,"b":2}', {"priority": 1})]


def test_an_entry_for_many_asks_for_nothing_yet_and_hides_its_arguments():
    supervisor = Supervisor()
    entry = Worker(supervisor, typed(add), add).options(priority=1).job(1)
    assert entry == JobEntry("add", b'{"a":1}', {"priority": 1})
    assert (repr(entry), supervisor.asked) == ("<JobEntry add>", [])
    with pytest.raises(Invalid):
        Worker(supervisor, typed(add), add).job("1")


def test_a_decorated_function_still_works_as_a_function():
    worker = Worker(SimpleNamespace(), typed(add, "sums"), add)
    assert (worker(1), worker(1, b=2)) == (2, 3)
    assert (worker.name, repr(worker)) == ("sums", "<Worker sums>")
    assert (worker.__name__, worker.__doc__, worker.__wrapped__) == ("add", "Adds.", add)
    assert ContextWorker(SimpleNamespace(), typed(with_context), with_context)("ctx", 1) == ("ctx", 1)
