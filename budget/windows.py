"""Calendar windows: when a renewing grant's present window began and when it ends.

A window begins at the first instant of a local day: every day, on Mondays, on the first of a month or of a year.
Times are microseconds since 1970.

Why the boundaries meet without gap or overlap, whatever clocks do: a window ends at the very instant at which
``_midnight`` of the next one lies, so that every instant is in exactly one. Where midnight is skipped (clocks go
forward at 00:00) the day begins as the clock does, at the instant of the change; where it comes twice the day begins
with the first (PEP 495, ``fold=0`` in both); a day that a zone skipped altogether is an empty window that no instant is
in.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, TypeAlias, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from budget.rules import NAME_LENGTH
from budget.schema import WINDOWS

Window: TypeAlias = Literal["daily", "weekly", "monthly", "yearly"]

_SECOND: Final = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def checked_window(window: str) -> Window:
    """Return how often a grant renews; ``ValueError`` if it is none of the four."""
    if window not in WINDOWS:
        raise ValueError(f"a window is one of {', '.join(WINDOWS)}")
    return cast(Window, window)


def checked_timezone(name: str) -> str:
    """Return the name of a time zone of the IANA database; ``ValueError`` if this machine knows none of that name."""
    _zone(name)
    return name


@lru_cache(maxsize=4096)
def span(window: Window, timezone: str, at: int) -> tuple[int, int]:
    """Return the beginning and the end of the window that an instant lies in; ``ValueError`` beyond the calendar."""
    zone = _zone(timezone)
    try:
        day = (_EPOCH + timedelta(microseconds=at)).astimezone(zone).date()
        first = _first(window, day)
        # The local date at a change of clocks may be a day off from the window that the instant belongs to.
        while _midnight(first, zone) > at:
            first = _first(window, first - timedelta(days=1))
        while _midnight(_next(window, first), zone) <= at:
            first = _next(window, first)
        return _midnight(first, zone), _midnight(_next(window, first), zone)
    except OverflowError:
        raise ValueError("a time beyond the calendar") from None


def _zone(name: str) -> ZoneInfo:
    if not 1 <= len(name) <= NAME_LENGTH:
        raise ValueError("a time zone's name")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("no time zone that is known here; an example is Europe/Berlin") from None


def _first(window: Window, day: date) -> date:
    match window:
        case "daily":
            return day
        case "weekly":
            return day - timedelta(days=day.weekday())
        case "monthly":
            return day.replace(day=1)
        case "yearly":
            return day.replace(month=1, day=1)


def _next(window: Window, first: date) -> date:
    match window:
        case "daily":
            return first + timedelta(days=1)
        case "weekly":
            return first + timedelta(days=7)
        case "monthly":
            return (first + timedelta(days=31)).replace(day=1)
        case "yearly":
            return (first + timedelta(days=366)).replace(day=1)


def _midnight(day: date, zone: ZoneInfo) -> int:
    """Return the instant at which a local day begins."""
    since = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC) - _EPOCH
    return (since.days * 86_400 + since.seconds) * _SECOND + since.microseconds
