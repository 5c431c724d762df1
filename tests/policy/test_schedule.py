"""When a schedule opens data versions: against a minute-by-minute walk, and where clocks skip or repeat an hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy import document
from gateway.policy.model import Schedule
from gateway.policy.resolve import resolve
from gateway.policy.schedule import instants
from gateway.policy.snapshot import document_from_json, document_to_json
from tests.policy.health import POLICY, SHAPES

MINUTE = 60_000_000


def at(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * 1_000_000


def told(schedule: Schedule, after: str, until: str) -> list[str]:
    found = instants(schedule, at(after), at(until))
    return [datetime.fromtimestamp(each // 1_000_000, UTC).isoformat()[:16] for each in found]


def test_days_weeks_and_months() -> None:
    day, week, month = (Schedule(every, 180, "UTC") for every in ("day", "week", "month"))
    assert told(day, "2026-01-01T03:00", "2026-01-03T03:00") == ["2026-01-02T03:00", "2026-01-03T03:00"]
    assert told(day, "2026-01-01T03:00", "2026-01-02T02:59") == []
    assert told(week, "2026-01-01", "2026-01-14") == ["2026-01-05T03:00", "2026-01-12T03:00"]
    assert told(month, "2026-01-01T03:00", "2026-04-01") == ["2026-02-01T03:00", "2026-03-01T03:00"]
    assert told(day, "2026-01-03", "2026-01-01") == []


def test_where_clocks_change() -> None:
    berlin = Schedule("day", 150, "Europe/Berlin")  # 02:30 is skipped on 29 March and comes twice on 25 October
    assert told(berlin, "2026-03-28", "2026-03-31") == ["2026-03-28T01:30", "2026-03-29T01:30", "2026-03-30T00:30"]
    assert told(berlin, "2026-10-24T12:00", "2026-10-27") == ["2026-10-25T00:30", "2026-10-26T01:30"]
    apia = Schedule("day", 180, "Pacific/Apia")  # 30 December 2011 did not happen
    assert told(apia, "2011-12-29", "2012-01-01") == ["2011-12-29T13:00", "2011-12-30T13:00", "2011-12-31T13:00"]


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(["day", "week", "month"]),
    st.integers(0, 23),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"]),
    st.integers(at("2011-11-01") // MINUTE, at("2027-01-01") // MINUTE),
    st.integers(0, 24 * 12),
)
def test_against_a_walk_over_the_clock(every: str, hour: int, zone: str, minute: int, hours: int) -> None:
    """Where no clock changes, an instant is one at which the local clock shows the time on a day that counts."""
    place = ZoneInfo(zone)
    start = datetime.fromtimestamp(minute // 15 * 15 * 60, UTC)
    walk = [start + timedelta(minutes=15 * step) for step in range(1, hours * 4 + 1)]
    shown = [moment.astimezone(place) for moment in walk]
    if len({moment.utcoffset() for moment in (start.astimezone(place), *shown)}) > 1:
        return
    expected = [
        int(moment.timestamp()) * 1_000_000
        for moment, local in zip(walk, shown, strict=True)
        if (local.hour, local.minute) == (hour, 0)
        and {"day": True, "week": local.weekday() == 0, "month": local.day == 1}[every]
    ]
    end = walk[-1] if walk else start
    schedule = Schedule(every, hour * 60, zone)  # type: ignore[arg-type]
    found = list(instants(schedule, int(start.timestamp()) * 1_000_000, int(end.timestamp()) * 1_000_000))
    assert found == expected


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 400))
def test_parts_of_a_time_add_up(a: int, b: int, c: int) -> None:
    """What is recorded in between changes nothing: the versions of a time are those of its parts."""
    start = at("2026-01-01")
    first, second, third = (start + days * 1440 * MINUTE for days in sorted((a, b, c)))
    schedule = Schedule("week", 61, "Europe/Berlin")
    whole = list(instants(schedule, first, third))
    assert [*instants(schedule, first, second), *instants(schedule, second, third)] == whole


def test_a_policy_states_it() -> None:
    stated = "data_version: {every: week, at: 03:00, time_zone: Europe/Berlin}\n"
    read = document.load(POLICY + stated)
    assert document_from_json(document_to_json(read)).data_version == read.data_version is not None
    assert resolve(read, SHAPES, "duckdb", 1).schedule == Schedule("week", 180, "Europe/Berlin")
    assert resolve(document.load(POLICY), SHAPES, "duckdb", 1).schedule is None
    bare = resolve(document.load(POLICY + "data_version: {every: day}\n"), SHAPES, "duckdb", 1)
    assert bare.schedule == Schedule("day", 0, "UTC")


@pytest.mark.parametrize(
    "wrong",
    ["{every: hour}", "{every: day, at: 24:00}", "{every: day, at: 3}", "{every: day, time_zone: Nowhere}", "3", "{}"],
)
def test_what_is_no_schedule(wrong: str) -> None:
    with pytest.raises(document.PolicyInvalid) as caught:
        resolve(document.load(f"{POLICY}data_version: {wrong}\n"), SHAPES, "duckdb", 1)
    assert all(problem.path.startswith("data_version") for problem in caught.value.problems)
