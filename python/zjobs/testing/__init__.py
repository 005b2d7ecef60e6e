"""For tests of applications and of stores.

`StoreContract` proves a store that somebody wrote. Subclass it in a test file, say how to make a store, and let pytest
run it::

    from zjobs.testing import StoreContract

    class TestMyStore(StoreContract):
        def make_store(self):
            return MyStore(...)

        def advance(self, store, seconds):
            store.clock.advance(seconds)

`ManualClock` is a clock that moves only when told to, for ``MemoryStore(clock=...)`` and for stores of your own.
"""

import pytest

# Before the modules below are imported: their assertions are then as talkative as those of a test file.
pytest.register_assert_rewrite(
    "zjobs.testing.by_hand",
    "zjobs.testing.enqueueing",
    "zjobs.testing.harness",
    "zjobs.testing.nodes",
    "zjobs.testing.reads",
    "zjobs.testing.running",
    "zjobs.testing.schedules",
)

from zjobs._engine import ManualClock  # noqa: E402 - see above
from zjobs.testing.contract import StoreContract  # noqa: E402 - see above
from zjobs.testing.harness import Harness  # noqa: E402 - see above

__all__ = ["Harness", "ManualClock", "StoreContract"]
