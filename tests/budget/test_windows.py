"""Calendar windows: boundaries in a stated time zone, with missing, doubled and skipped hours and days."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget.windows import Window, checked_timezone, checked_window, span
from tests.budget.clock import instant

CASES: list[tuple[Window, str, str, str, str]] = [
    ("daily", "UTC", "2026-03-01T12:00", "2026-03-01T00:00", "2026-03-02T00:00"),
    ("daily", "UTC", "2026-03-01T00:00", "2026-03-01T00:00", "2026-03-02T00:00"),
    ("weekly", "UTC", "2026-03-01T12:00", "2026-02-23T00:00", "2026-03-02T00:00"),  # a Sunday
    ("monthly", "UTC", "2028-02-29T12:00", "2028-02-01T00:00", "2028-03-01T00:00"),
    ("monthly", "UTC", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
    ("yearly", "UTC", "2027-06-01T00:00", "2027-01-01T00:00", "2028-01-01T00:00"),
    ("yearly", "UTC", "2028-06-01T00:00", "2028-01-01T00:00", "2029-01-01T00:00"),
    # Berlin: a day of 23 hours and one of 25.
    ("daily", "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),
    ("daily", "Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),
    ("monthly", "Europe/Berlin", "2026-03-31T22:30", "2026-03-31T22:00", "2026-04-30T22:00"),
    # Beirut: clocks go forward at midnight, so that the day begins at 01:00.
    ("daily", "Asia/Beirut", "2021-03-28T10:00", "2021-03-27T22:00", "2021-03-28T21:00"),
    # Havana: clocks go back at 01:00, so that midnight comes twice; the first begins the day, the second is in it.
    ("daily", "America/Havana", "2026-11-01T04:30", "2026-11-01T04:00", "2026-11-02T05:00"),
    ("daily", "America/Havana", "2026-11-01T05:30", "2026-11-01T04:00", "2026-11-02T05:00"),
    # Sao Paulo, until 2019: clocks went back at midnight to 23:00 of the day that had just ended.
    ("daily", "America/Sao_Paulo", "2018-02-18T02:30", "2018-02-17T02:00", "2018-02-18T03:00"),
    # Samoa skipped the 30th of December 2011 altogether.
    ("daily", "Pacific/Apia", "2011-12-30T09:59", "2011-12-29T10:00", "2011-12-30T10:00"),
    ("daily", "Pacific/Apia", "2011-12-30T10:00", "2011-12-30T10:00", "2011-12-31T10:00"),
]


@pytest.mark.parametrize(("window", "zone", "at", "start", "end"), CASES)
def test_the_window_that_an_instant_lies_in(window: Window, zone: str, at: str, start: str, end: str) -> None:
    assert span(window, zone, instant(at)) == (instant(start), instant(end))


ZONES = ("UTC", "Europe/Berlin", "America/Havana", "Asia/Beirut", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kathmandu")
WINDOWS: tuple[Window, ...] = ("daily", "weekly", "monthly", "yearly")


@settings(deadline=None, max_examples=120)
@given(st.sampled_from(WINDOWS), st.sampled_from(ZONES), st.integers(0, 2_500_000_000 * 10**6))
def test_windows_meet_without_gap_or_overlap(window: Window, zone: str, at: int) -> None:
    start, end = span(window, zone, at)
    assert start <= at < end
    assert span(window, zone, start) == (start, end)
    assert span(window, zone, end - 1) == (start, end)
    assert span(window, zone, end)[0] == end
    assert span(window, zone, start - 1)[1] == start


@pytest.mark.parametrize("zone", ["", "Nowhere/At_All", "../../etc/passwd", "/etc/localtime", "x" * 201, "Europe\0"])
def test_what_is_no_time_zone(zone: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        checked_timezone(zone)


def test_what_is_no_window() -> None:
    assert checked_window("weekly") == "weekly"
    for window in ("", "hourly", "0", "Daily"):
        with pytest.raises(ValueError, match="window"):
            checked_window(window)


def test_a_time_beyond_the_calendar() -> None:
    with pytest.raises(ValueError, match="calendar"):
        span("daily", "UTC", 10**18)
