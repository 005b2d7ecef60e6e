"""The contract holds for the stores that are right, and finds those that are not."""

import dataclasses
import itertools
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from zjobs._engine import NativeStore
from zjobs.db import SqliteStore
from zjobs.job import JobState
from zjobs.store import Acked, MemoryStore, Store
from zjobs.testing import ManualClock, StoreContract

sys.path.insert(0, str(Path(__file__).parent))
from dict_store import DictStore


class _OnAManualClock(StoreContract):
    __test__ = False

    def make_store(self):
        self.clock = ManualClock()
        return self.of(self.clock)

    def of(self, clock: ManualClock) -> Store:
        raise NotImplementedError

    def advance(self, store, seconds):
        self.clock.advance(seconds)


class TestMemoryStore(_OnAManualClock):
    __test__ = True

    def of(self, clock):
        return MemoryStore(clock=clock)


class TestSqliteStore(_OnAManualClock):
    __test__ = True

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        self.files = (tmp_path / f"{number}.db" for number in itertools.count())

    def of(self, clock):
        return SqliteStore(next(self.files), clock=clock)


class TestDictStore(_OnAManualClock):
    __test__ = True

    def of(self, clock):
        return DictStore(clock.now)


class TestMemoryStoreAcrossTheBorderTwice(_OnAManualClock):
    """The adapter loses nothing: here all that the engine's own store says goes through Python and back."""

    __test__ = True

    def harness(self):
        on = super().harness()
        on.store = NativeStore.adapted(_Relay(on.store))
        return on

    def of(self, clock):
        return MemoryStore(clock=clock)


class _Relay(Store):
    """A Python store that asks another one."""

    def __init__(self, inner):
        self._inner = inner


for _verb in Store.__abstractmethods__ | {"get", "count", "count_by_state", "delete_completed"}:
    setattr(_Relay, _verb, lambda self, *args, _verb=_verb, **options: getattr(self._inner, _verb)(*args, **options))
_Relay.__abstractmethods__ = frozenset()


# --- what the contract finds ---


def _found_by(broken):
    """The cases of the contract that fail on a store."""

    class Contract(_OnAManualClock):
        def of(self, clock):
            return broken(clock.now)

    found = set()
    for case in (name for name in dir(Contract) if name.startswith("test_")):
        contract = Contract()
        try:
            getattr(contract, case)(contract.harness())
        except Exception:  # noqa: BLE001 - however it fails, it is found
            found.add(case)
    return found


def test_the_contract_finds_nothing_wrong_with_a_store_that_is_right():
    assert _found_by(DictStore) == set()


def test_the_contract_finds_a_store_that_forgets_to_guard_acks_by_the_lease():
    class Broken(DictStore):
        def _ack_one(self, node, ack, now):
            job = self._jobs.get(ack.id)
            return super()._ack_one(node, ack if job is None else _with_lease(ack, job.lease), now)

    assert "test_a_stale_lease_changes_nothing" in _found_by(Broken)


def _with_lease(ack, lease):
    return type(ack)(ack.id, lease, ack.event, ack.to, ack.attempt, ack.delay_seconds, ack.error, ack.result_bytes)


def test_the_contract_finds_a_store_that_claims_in_the_order_of_ids():
    class Broken(DictStore):
        def claim(self, node, queue, limit):
            for job in self._jobs.values():
                self._jobs[job.id] = job.replace(priority=0)
            return super().claim(node, queue, limit)

    assert "test_jobs_are_claimed_by_priority_then_due_time_then_id" in _found_by(Broken)


def test_the_contract_finds_a_store_whose_keys_outlive_their_jobs():
    class Broken(DictStore):
        def _put(self, job):
            keys = self._keys.copy()
            super()._put(job)
            self._keys = keys
            return job

    found = _found_by(Broken)
    assert {"test_every_final_state_frees_the_key", "test_a_retry_whose_key_is_taken_names_the_holder"} <= found


def test_the_contract_finds_a_store_that_rescues_the_living():
    class Broken(DictStore):
        def heartbeat(self, beat):
            known = self._nodes.get(beat.node)
            expires_at = known and known.expires_at
            pulse = super().heartbeat(beat)
            if known:
                known.expires_at = expires_at
            return pulse

    assert "test_a_beat_extends_the_lease" in _found_by(Broken)


def test_the_contract_finds_a_store_that_answers_a_rescue_with_jobs_as_they_were():
    class Broken(DictStore):
        def rescue(self, limit=500):
            before = dict(self._jobs)
            return [dataclasses.replace(one, job=before[one.job.id]) for one in super().rescue(limit)]

    assert {
        "test_jobs_of_a_silent_node_are_taken_back",
        "test_a_crash_of_the_last_attempt_discards",
        "test_a_wanted_cancel_becomes_one_at_a_rescue",
    } <= _found_by(Broken)


def test_the_contract_finds_a_store_that_answers_with_too_few_replies():
    class Broken(DictStore):
        def ack(self, node, acks):
            return [reply for reply in super().ack(node, acks) if reply is Acked.STORED]

    assert "test_acks_of_one_batch_do_not_harm_each_other" in _found_by(Broken)


def test_the_contract_finds_a_store_that_fires_a_tick_twice():
    class Broken(DictStore):
        def tick(self, name, at, job, /):
            ticked = super().tick(name, at, job)
            if name in self._crons:
                self._crons[name].ticks.discard(at)
                self._crons[name].ticks.add(at - timedelta(microseconds=1))
            return ticked

    assert "test_a_tick_fires_once" in _found_by(Broken)


def test_a_store_without_a_clock_of_its_own_skips_what_needs_time():
    class WithoutAdvance(StoreContract):
        def make_store(self):
            return DictStore()

    contract = WithoutAdvance()
    with pytest.raises(pytest.skip.Exception, match="define advance"):
        contract.test_a_silent_node_may_not_claim(contract.harness())
    contract.test_a_claim_leases_and_counts(contract.harness())
    assert contract.harness().enqueue().state is JobState.AVAILABLE
