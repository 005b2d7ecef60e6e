"""`StoreContract`: what every store must do, as tests."""

import pytest

from zjobs.store import Store
from zjobs.testing.by_hand import ByHand
from zjobs.testing.enqueueing import Enqueueing
from zjobs.testing.harness import Harness
from zjobs.testing.nodes import Nodes
from zjobs.testing.reads import Reads
from zjobs.testing.running import Running
from zjobs.testing.schedules import Schedules

__all__ = ["StoreContract"]


class StoreContract(Enqueueing, Running, Nodes, ByHand, Reads, Schedules):
    """Subclass it, define `make_store`, and give it a name that pytest collects.

    Each test speaks with the store as the engine does, across the same border, so that a reply of the wrong type or
    length is found too.
    """

    def make_store(self) -> Store:
        """A new, empty store."""
        raise NotImplementedError

    def advance(self, store: Store, seconds: float) -> None:
        """Lets time pass on the store's clock. Without it the tests that need time are skipped.

        Args:
            store: What `make_store` made.
            seconds: How long.
        """
        del store
        pytest.skip(f"define advance() to let {seconds:g} seconds pass on the store's clock")

    @pytest.fixture
    def on(self) -> Harness:
        """A fresh store in the hands of a test."""
        return self.harness()

    def harness(self) -> Harness:
        """A fresh store, and the few words that the tests are written in."""
        return Harness(self.make_store(), self.advance)
