"""Limits of queries in flight."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from gateway.slots import Slots, TooManyQueries


def test_one_analyst_takes_no_more_than_their_own() -> None:
    slots = Slots(per_analyst=2, in_all=10)
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(slots.hold("ada"))
        with pytest.raises(TooManyQueries, match="You have"), slots.hold("ada"):
            pass
        with slots.hold("bob"):
            assert slots.in_flight == 3
    assert slots.in_flight == 0
    with slots.hold("ada"):
        assert slots.in_flight == 1


def test_all_together() -> None:
    slots = Slots(per_analyst=2, in_all=3)
    with ExitStack() as held:
        for name in ("a", "b", "c"):
            held.enter_context(slots.hold(name))
        with pytest.raises(TooManyQueries, match="gateway"), slots.hold("d"):
            pass


def test_a_query_that_fails_gives_its_slot_back() -> None:
    slots = Slots(per_analyst=1, in_all=1)
    with pytest.raises(KeyError), slots.hold("ada"):
        raise KeyError
    assert slots.in_flight == 0
