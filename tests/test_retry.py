import copy
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zjobs.errors import Invalid
from zjobs.retry import Constant, Custom, Exponential, Linear, RetryStrategy, again, as_strategy

TEN_YEARS = 3650 * 24 * 3600
BUILT_IN = [Exponential(), Linear(), Constant()]


def test_exponential_without_jitter_doubles_from_fifteen_seconds_to_an_hour():
    strategy = Exponential(jitter=False)
    expected = [15, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert [strategy.delay(attempt) for attempt in range(1, 11)] == expected


def test_linear_and_constant_follow_their_formula():
    assert [Linear().delay(attempt) for attempt in (1, 2, 7)] == [60, 120, 420]
    assert Linear(60, max_seconds=100).delay(7) == 100
    assert Linear(60, max_seconds=0).delay(7) == 0
    assert [Constant().delay(attempt) for attempt in (1, 9)] == [30, 30]


def test_attempts_are_counted_in_thirty_two_bits():
    last = 2**32 - 1
    assert Linear(0.01).delay(last) == pytest.approx(0.01 * last, abs=0.001)
    assert Linear(0.01).delay(last + 1) == Linear(0.01).delay(last)
    assert Linear().delay(1000) == 60_000


def test_jitter_adds_up_to_a_quarter_and_depends_on_job_and_attempt_alone():
    plain, spread = Constant(100), Constant(100, jitter=True)
    delays = {job: spread.delay(1, job_id=job) for job in range(100)}
    assert all(plain.delay(1) <= delay <= 125 for delay in delays.values())
    assert len(set(delays.values())) > 90
    assert delays == {job: Constant(100, jitter=True).delay(1, job_id=job) for job in range(100)}


@given(st.sampled_from(BUILT_IN), st.integers(1, 2**70), st.integers(-(2**63), 2**63 - 1))
def test_delays_saturate_and_never_wrap(strategy, attempt, job_id):
    assert 0 <= strategy.delay(attempt, job_id=job_id) <= TEN_YEARS


@given(st.integers(1, 10_000), st.floats(0, 1e6))
def test_exponential_never_shrinks(attempt, base):
    strategy = Exponential(base, jitter=False)
    assert strategy.delay(attempt + 1) >= strategy.delay(attempt)


@pytest.mark.parametrize("bad", [-1, math.nan, math.inf, 1e12, 10**400, "5", None, True])
@pytest.mark.parametrize("kind", [Exponential, Linear, Constant])
def test_numbers_that_are_no_delay_are_refused(kind, bad):
    with pytest.raises(Invalid, match="seconds"):
        kind(bad)


@pytest.mark.parametrize("bad", [b"", "", False, -1, math.nan])
@pytest.mark.parametrize("kind", [Exponential, Linear])
def test_a_longest_delay_that_is_none_is_refused(kind, bad):
    with pytest.raises(Invalid, match="max_seconds"):
        kind(1, bad)


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "1"])
def test_an_attempt_counts_from_one(bad):
    with pytest.raises(Invalid, match="attempt"):
        Exponential().delay(bad)


def test_strategies_are_values():
    for strategy in [*BUILT_IN, Custom(divmod)]:
        assert pickle.loads(pickle.dumps(strategy)) == strategy  # noqa: S301 - its own
        assert copy.deepcopy(strategy) == strategy
    assert Exponential(5) != Exponential(6)
    with pytest.raises(AttributeError):
        Exponential().base_seconds = 5


def test_errors_outside_retry_on_and_inside_discard_on_discard():
    strategy = Constant(5, retry_on=OSError, discard_on=(FileNotFoundError, KeyError))
    assert again(strategy, 1, 7, ConnectionError()) == 5
    assert again(strategy, 1, 7, FileNotFoundError()) is None
    assert again(strategy, 1, 7, ValueError()) is None
    assert again(Constant(5, discard_on=KeyError), 1, 7, ValueError()) == 5
    assert again(Constant(5, retry_on=()), 1, 7, ValueError()) is None


@pytest.mark.parametrize("kind", [Exponential, Linear, Constant, lambda **chosen: Custom(divmod, **chosen)])
@pytest.mark.parametrize("bad", ["OSError", 5, (OSError, 5), [OSError], int])
def test_only_exception_types_can_be_chosen(kind, bad):
    with pytest.raises(Invalid, match="retry_on"):
        kind(retry_on=bad)
    with pytest.raises(Invalid, match="discard_on"):
        kind(discard_on=bad)


@pytest.mark.parametrize(
    "strategy", [Exponential(), Linear(jitter=True), Constant(jitter=True), Custom(lambda attempt, _error: attempt)]
)
def test_without_a_job_the_delay_is_that_of_job_nought(strategy):
    assert strategy.delay(3) == strategy.delay(3, job_id=0)


def test_only_the_exponential_strategy_has_jitter_unless_told():
    assert Exponential() == Exponential(15, 3600, jitter=True)
    assert Linear() == Linear(60, None, jitter=False)
    assert Constant() == Constant(30, jitter=False)
    assert Exponential().delay(1, job_id=7) > 15


def test_a_custom_function_sees_attempt_and_error_and_may_discard():
    strategy = Custom(lambda attempt, error: None if isinstance(error, KeyError) else attempt * 2)
    assert again(strategy, 3, 7, ValueError()) == 6
    assert again(strategy, 3, 7, KeyError()) is None
    assert strategy.delay(3) == 6
    assert Custom(lambda _a, _e: None).delay(1) == math.inf
    for huge in (1e30, 1e300):
        assert again(Custom(lambda _a, _e, seconds=huge: seconds), 1, 7, ValueError()) == TEN_YEARS


def test_a_strategy_of_one_s_own_is_asked():
    class Mine(RetryStrategy):
        def __init__(self, seconds):
            self.seconds = seconds

        def delay(self, attempt, *, job_id=0):
            return self.seconds + attempt + job_id

        def retries(self, error):
            return not isinstance(error, KeyError)

    assert again(Mine(10), 2, 100, ValueError()) == 112
    assert again(Mine(10), 2, 100, KeyError()) is None


def test_a_strategy_of_one_s_own_retries_every_error_and_must_say_its_delay():
    class Mine(RetryStrategy):
        def delay(self, attempt, *, job_id=0):
            return 0.25 * (attempt - 1)

    assert Mine().retries(KeyError()) is True
    assert again(Mine(), 1, 7, KeyError()) == 0
    assert again(Mine(), 2, 7, KeyError()) == 0.25
    with pytest.raises(TypeError, match="abstract"):
        type("Silent", (RetryStrategy,), {})()


def _exits(_attempt, _error):
    raise SystemExit


@pytest.mark.parametrize("fn", [_exits, lambda _a, _e: math.nan, lambda _a, _e: -1, lambda _a, _e: "soon", lambda: 1])
def test_a_strategy_that_fails_costs_the_job_nothing(fn, caplog):
    assert again(Custom(fn), 2, 7, ValueError()) == Exponential().delay(2, job_id=7)
    assert "Custom failed" in caplog.text


def test_as_strategy_takes_strategies_functions_and_nothing():
    linear = Linear()
    assert as_strategy(linear) is linear
    assert as_strategy(None) == Exponential()
    assert as_strategy(divmod) == Custom(divmod)
    for bad in (Exponential, 5, "linear"):
        with pytest.raises(Invalid, match="retry_strategy"):
            as_strategy(bad)
    with pytest.raises(Invalid, match="fn"):
        Custom(5)
