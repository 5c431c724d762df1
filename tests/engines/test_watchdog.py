"""The watchdog interrupts in time, again and again, and never after it was left."""

from __future__ import annotations

import time

from gateway.engines.watchdog import Watchdog


def test_fires_at_the_deadline_and_repeats() -> None:
    # a driver forgets an interrupt that comes before its statement began, so that one is not enough
    lateness: list[float] = []
    with Watchdog(time.monotonic() + 0.05, lateness.append) as watchdog:
        time.sleep(0.4)
    assert watchdog.fired
    assert len(lateness) >= 3
    assert lateness == sorted(lateness)
    seen = len(lateness)
    time.sleep(0.12)
    assert len(lateness) == seen


def test_does_nothing_before_the_deadline() -> None:
    calls: list[float] = []
    with Watchdog(time.monotonic() + 30, calls.append) as watchdog:
        time.sleep(0.01)
    assert (watchdog.fired, calls) == (False, [])


def test_cancel_fires_at_once() -> None:
    calls: list[float] = []
    start = time.monotonic()
    with Watchdog(start + 30, calls.append) as watchdog:
        watchdog.cancel()
        while not calls and time.monotonic() < start + 5:
            time.sleep(0.005)
    assert watchdog.fired
    assert time.monotonic() - start < 5
