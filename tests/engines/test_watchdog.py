"""The watchdog interrupts in time, again and again, and never after it was left."""

from __future__ import annotations

import threading
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


def test_the_nearest_deadline_comes_first_whatever_waits_already() -> None:
    calls: list[str] = []
    start = time.monotonic()
    with (
        Watchdog(start + 30, lambda _: calls.append("late")),
        Watchdog(start + 0.05, lambda _: calls.append("soon")),
        Watchdog(start + 20, lambda _: calls.append("later")),
    ):
        while not calls and time.monotonic() < start + 5:
            time.sleep(0.005)
    assert set(calls) == {"soon"}


def test_one_that_waits_for_its_driver_holds_up_no_other() -> None:
    calls: list[float] = []
    start, going = time.monotonic(), threading.Event()

    def slow(_late: float) -> None:
        going.wait(10)

    with Watchdog(start, slow), Watchdog(start + 0.05, calls.append):
        while not calls and time.monotonic() < start + 5:
            time.sleep(0.005)
        going.set()
    assert calls


def test_statements_that_end_in_time_start_no_thread() -> None:
    with Watchdog(time.monotonic() + 30, lambda _: None):
        known = set(threading.enumerate())
    for _ in range(10):
        with Watchdog(time.monotonic() + 30, lambda _: None):
            assert set(threading.enumerate()) <= known


def test_a_cancellation_that_comes_too_late_interrupts_nothing() -> None:
    calls: list[float] = []
    with Watchdog(time.monotonic() + 30, calls.append) as watchdog:
        pass
    watchdog.cancel()
    time.sleep(0.1)
    assert (watchdog.fired, calls) == (False, [])
