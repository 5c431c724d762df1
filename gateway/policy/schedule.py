"""The instants at which a schedule opens data versions: a function of the policy and the calendar alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from gateway.policy.model import Schedule

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def instants(schedule: Schedule, after: int, until: int) -> Iterator[int]:
    """Yield the scheduled instants later than ``after`` and not later than ``until``, in microseconds since 1970.

    Where clocks skip the time of day, the instant is as long after the change as the time was after its beginning
    (PEP 495, ``fold=0``); where the time comes twice it is the first; two that fall together are one.
    """
    if until <= after:
        return
    zone = ZoneInfo(schedule.time_zone)
    # the local date of an instant is within a day of the UTC one, and a skipped day within two
    day = (_EPOCH + timedelta(microseconds=after)).date() - timedelta(days=3)
    last = (_EPOCH + timedelta(microseconds=until)).date() + timedelta(days=3)
    before = after
    while day <= last:
        if _begins(schedule, day):
            at = _at(schedule, day, zone)
            if before < at <= until:
                before = at
                yield at
        day += timedelta(days=1)


def _begins(schedule: Schedule, day: date) -> bool:
    match schedule.every:
        case "day":
            return True
        case "week":
            return day.weekday() == 0
        case "month":
            return day.day == 1


def _at(schedule: Schedule, day: date, zone: ZoneInfo) -> int:
    local = datetime(day.year, day.month, day.day, schedule.minute // 60, schedule.minute % 60, tzinfo=zone)
    return (local.astimezone(UTC) - _EPOCH) // _MICROSECOND
