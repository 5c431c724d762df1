"""Quantiles of days and times: without noise the database's own; one person moves them by what is declared."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from random import Random

import pytest

from gateway.sandbox import Sandbox
from tests.oracles import neighbours
from tests.oracles.clinic import CLINIC, tidy
from tests.oracles.databases import Bases
from tests.oracles.questions import plan, written
from tests.oracles.test_composed import neighbour
from tests.oracles.test_infinite import shown, silence
from tests.oracles.worlds import Data, generate

DAY = "GREATEST(LEAST(v.day + INTERVAL '{0}' DAY, DATE '2020-12-31'), DATE '2019-12-25')"
ASKED = (
    f"SELECT MIN({DAY.format(-7)}), MAX({DAY.format(9)}), PERCENTILE_DISC(0.5) WITHIN GROUP (ORDER BY {DAY.format(3)})"
    " FROM visit v WHERE v.day IS NOT NULL"
)

LATER = "CAST(DATE_TRUNC('year', v.day) AS TIMESTAMP) + INTERVAL '{0}' SECOND"
TIME = (
    f"GREATEST(LEAST(CASE EXTRACT(MONTH FROM v.day) WHEN 2 THEN {LATER.format(360)} WHEN 7 THEN {LATER.format(77)}"
    f" ELSE {LATER.format(999)} END, TIMESTAMP '2020-01-01 00:20:00'), TIMESTAMP '2020-01-01 00:00:00')"
)
TIMES = (
    f"SELECT MIN({TIME}), MAX({TIME}), PERCENTILE_DISC(0.5) WITHIN GROUP (ORDER BY {TIME}) FROM visit v"
    " WHERE v.day IS NOT NULL"
)


def _spread(data: Data, random: Random) -> Data:
    """The same rows with days all over the year."""
    days = [date(2020, 1, 1), date(2020, 2, 29), date(2020, 7, 14), date(2020, 11, 30), None]
    return {**data, "visit": [(*row[:7], random.choice(days)) for row in data["visit"]]}


@pytest.mark.parametrize("asked", [ASKED, TIMES], ids=["days", "times"])
@pytest.mark.parametrize("bases", ["duckdbs", "postgreses"])
def test_days_are_picked_as_numbers_are(
    bases: str, asked: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    found: Bases = request.getfixturevalue(bases)
    dataset, (first, second) = found[CLINIC]
    planned = plan(written(asked), dataset, "duckdb")
    for seed in range(3):
        random = Random(seed)  # noqa: S311 - fixed examples, not noise
        data = _spread(generate(CLINIC, random, 20, dirty=True, heavy=8), random)
        first.fill(data)
        second.fill(neighbour(CLINIC, data, random))
        assert neighbours.compare(planned, first.fetch, second.fetch, dataset) == []
        neighbours.answered(planned, first.fetch, sandbox, dataset)
    silence(monkeypatch)
    certain = plan(replace(written(asked), epsilon=10.0), dataset, "duckdb")
    for seed in range(3):
        random = Random(seed)  # noqa: S311 - fixed examples, not noise
        first.fill(_spread(tidy(CLINIC, random, 25), random))
        [expected] = [tuple(row.values()) for row in first.fetch(asked).to_pylist()]
        [got] = shown(certain, first.fetch, sandbox, dataset)
        assert [_written(value) for value in expected] == got


SINCE = f"({TIME} - TIMESTAMP '2019-12-01 00:00:00')"
SPANS = (
    f"SELECT SUM(EXTRACT(EPOCH FROM {SINCE})) AS a, SUM(EXTRACT(DAY FROM {SINCE})) AS b, SUM(1) AS c,"
    f" AVG(EXTRACT(EPOCH FROM {SINCE})) AS d, COUNT(*) FILTER (WHERE {SINCE} >= INTERVAL '2679477' SECOND) AS e,"
    f" SUM(1) FILTER (WHERE {SINCE} > INTERVAL '31' DAY) AS f FROM visit v WHERE v.day IS NOT NULL"
)


@pytest.mark.parametrize("bases", ["duckdbs", "postgreses"])
def test_differences_are_the_databases_own(
    bases: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    found: Bases = request.getfixturevalue(bases)
    dataset, (base, other) = found[CLINIC]
    planned = plan(written(SPANS), dataset, "duckdb")
    random = Random(5)  # noqa: S311 - fixed examples, not noise
    dirty = _spread(generate(CLINIC, random, 20, dirty=True, heavy=8), random)
    base.fill(dirty)
    other.fill(neighbour(CLINIC, dirty, random))
    assert neighbours.compare(planned, base.fetch, other.fetch, dataset) == []
    silence(monkeypatch)
    base.fill(_spread(tidy(CLINIC, random, 25), random))
    [expected] = [tuple(row.values()) for row in base.fetch(SPANS).to_pylist()]
    [got] = shown(planned, base.fetch, sandbox, dataset)
    assert got == [pytest.approx(float(value or 0), rel=1e-9) for value in expected]


def _written(value: date) -> str:
    """A moment as it is shown; PERCENTILE_DISC of dates is a timestamp in one of the databases."""
    if isinstance(value, datetime) and (value.hour or value.minute or value.second):
        return value.isoformat()
    return date(value.year, value.month, value.day).isoformat()
