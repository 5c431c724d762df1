"""Limits of queries in flight."""

from __future__ import annotations

import time
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


def test_ones_own_counts_until_the_next_multiple_since_it_was_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests refused at no charge, sent at many instants, told to the millisecond when a long query had ended."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    slots = Slots(per_analyst=1, in_all=1, quantum=0.5)
    for _ in range(2):
        with slots.hold("ada", 99.5, told=True):  # a dry run, of which nothing is to be learned
            pass
    with slots.hold("ada", 99.9):
        now[0] = 101.2
    for now[0] in (101.2, 101.39):
        with pytest.raises(TooManyQueries, match="You"), slots.hold("ada"):
            pass
        with slots.hold(f"bob at {now[0]}"):  # nobody else is kept out
            pass
    with slots.hold("ada", 99.9):  # nor the second part of the same question
        pass
    now[0] = 101.41
    with slots.hold("ada"):
        pass
    assert slots.in_flight == 0
