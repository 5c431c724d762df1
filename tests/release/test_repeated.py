"""Intervals of derived columns: what they are of, and that the same answer has the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gateway.answers import compose as composing
from gateway.answers.compose import Answer, compose
from gateway.answers.estimated import estimate
from gateway.answers.repeated import estimated, repeated_intervals
from gateway.noisy import NoisyTable
from gateway.release import release
from gateway.sandbox import Sandbox, SandboxFailed
from gateway.sql.planning.plan import Picked
from tests.audit.coverage import Covered, tally, towns
from tests.oracles.databases import DuckdbDatabase

FROM = "FROM person WHERE city IS NOT NULL GROUP BY city"
COUNTS = f"(SELECT city, COUNT(*) AS n, SUM(x) AS s {FROM}) AS t"

SAME = "SELECT COVAR_POP(x, y), COVAR_SAMP(x, y), CORR(x, y), REGR_SLOPE(y, x), REGR_INTERCEPT(y, x), REGR_R2(y, x)"


@pytest.fixture(scope="module")
def base() -> Iterator[DuckdbDatabase]:
    opened = towns()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    opened = Sandbox(memory=1 << 28, seconds=60)
    yield opened
    opened.close()


def noisy(case: Covered, base: DuckdbDatabase) -> list[NoisyTable]:
    return [release(found, *(base.fetch(each.sql) for each in found.statements)) for found in case.plan().releases]


def answered(sql: str, base: DuckdbDatabase, sandbox: Sandbox, confidence: float = 0.95) -> Answer:
    case = Covered("", sql)
    return compose(case.plan(), noisy(case, base), sandbox, confidence, 10_000)


@pytest.mark.parametrize(
    "case",
    [
        Covered("row by row", f"SELECT city, SUM(x) / COUNT(*) AS q, COUNT(*) - 2 * SUM(y) AS d {FROM}", runs=8),
        Covered(
            "windows",
            f"SELECT city, 100 * n / SUM(n) OVER () AS p, n - LAG(n) OVER (ORDER BY city) AS d FROM {COUNTS}",
            runs=8,
        ),
        Covered("outer", f"SELECT city // 4 AS g, SUM(n) AS s, AVG(n) AS a FROM {COUNTS} GROUP BY city // 4", runs=20),
        Covered(
            "gaussian", f"SELECT city, 2 * AVG(x) AS m, STDDEV(x) / AVG(x) AS v {FROM}", mechanism="gaussian", runs=8
        ),
        Covered(
            "joined",
            f"SELECT a.city, a.n - b.s AS d FROM {COUNTS[:-5]} AS a JOIN {COUNTS[:-5]} AS b ON a.city = b.city",
            runs=8,
        ),
    ],
    ids=str,
)
def test_intervals_hold_the_exact_value_about_as_often_as_said(
    case: Covered, base: DuckdbDatabase, sandbox: Sandbox
) -> None:
    found = tally(case, base, sandbox)
    assert found.all
    for name, count in found.all.items():
        assert found.held[name] >= 0.87 * count, name  # at 95 %, fewer in about one of a million runs


def test_half_as_much_noise_would_be_seen(
    base: DuckdbDatabase, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = repeated_intervals

    def narrow(*args: Any, **more: Any) -> Mapping[str, Any]:
        found = honest(*args, **more)
        return {
            name: [
                None if pair is None else ((3 * pair[0] + pair[1]) / 4, (pair[0] + 3 * pair[1]) / 4) for pair in each
            ]
            for name, each in found.items()
        }

    monkeypatch.setattr(composing, "repeated_intervals", narrow)
    case = Covered("narrow", f"SELECT city, SUM(x) / COUNT(*) AS q {FROM}", runs=8)
    found = tally(case, base, sandbox)
    assert found.held["q"] < 0.87 * found.all["q"]


def test_the_same_answer_has_the_same_intervals(base: DuckdbDatabase, sandbox: Sandbox) -> None:
    case = Covered("", f"SELECT city, SQRT(COUNT(*)) AS r {FROM}")
    tables = noisy(case, base)
    first, again = (compose(case.plan(), tables, sandbox, 0.95, 10_000).intervals for _ in range(2))
    assert first == again
    wider = compose(case.plan(), tables, sandbox, 0.99, 10_000).intervals["r"]
    assert all(w and f and w[0] <= f[0] and f[1] <= w[1] for w, f in zip(wider, first["r"], strict=True))


def test_the_interval_of_a_row_is_the_rows_own_whatever_selected_it(base: DuckdbDatabase, sandbox: Sandbox) -> None:
    case = Covered("", f"SELECT city, 2 * COUNT(*) AS twice {FROM}")
    chosen = Covered("", f"SELECT city, 2 * COUNT(*) AS twice {FROM} HAVING COUNT(*) > 300 ORDER BY twice DESC LIMIT 9")
    tables = noisy(case, base)
    every, some = (compose(each.plan(), tables, sandbox, 0.95, 10_000) for each in (case, chosen))
    own = {row[0]: interval for row, interval in zip(every.rows, every.intervals["twice"], strict=True)}
    assert len(some.rows) == 9
    assert some.intervals["twice"] == [own[row[0]] for row in some.rows]


def test_intervals_stand_with_their_rows_in_nested_selections(base: DuckdbDatabase, sandbox: Sandbox) -> None:
    sql = (
        f"SELECT city, d FROM (SELECT city, n * 3 AS d FROM {COUNTS} WHERE n > 200 ORDER BY n LIMIT 20) AS u "
        "WHERE d < 1500 ORDER BY d DESC LIMIT 7 OFFSET 2"
    )
    found = answered(sql, base, sandbox)
    assert len(found.rows) == 7
    for (_, value), interval in zip(found.rows, found.intervals["d"], strict=True):
        assert interval is not None
        assert interval[0] < float(str(value)) < interval[1]


def test_an_aggregate_over_no_row_has_an_interval(base: DuckdbDatabase, sandbox: Sandbox) -> None:
    found = answered(f"SELECT COUNT(*) AS k, SUM(n) AS s FROM {COUNTS} WHERE n > 100000", base, sandbox)
    assert found.rows == [[0, 0]]
    assert found.intervals == {"k": [(0.0, 0.0)], "s": [(0.0, 0.0)]}


def test_ends_of_intervals_have_no_interval(base: DuckdbDatabase, sandbox: Sandbox) -> None:
    found = answered(f"SELECT city, COUNT(*) AS n, DP_INTERVAL_LOW(n) AS low {FROM}", base, sandbox)
    assert list(found.intervals) == ["n"]


@pytest.mark.parametrize(
    ("sql", "confidence"),
    [("SELECT MEDIAN(x) + AVG(x) AS q FROM person", 0.95), ("SELECT SQRT(COUNT(*)) AS q FROM person", 0.9999)],
)
def test_where_no_interval_can_be_told_the_answer_says_so(
    sql: str, confidence: float, base: DuckdbDatabase, sandbox: Sandbox
) -> None:
    found = answered(sql, base, sandbox, confidence)
    assert found.intervals == {}
    assert any(warning.startswith("q: no interval") for warning in found.warnings)


def test_what_is_too_large_to_repeat_costs_its_intervals_alone(base: DuckdbDatabase, sandbox: Sandbox) -> None:
    class Small:
        def run(self, sql: str, tables: Mapping[str, pa.Table]) -> pa.Table:
            if "worlds" in tables:
                raise SandboxFailed("too large")
            return sandbox.run(sql, tables)

    case = Covered("", f"SELECT city, SQRT(COUNT(*)) AS r {FROM}")
    found = compose(case.plan(), noisy(case, base), Small(), 0.95, 10_000)  # type: ignore[arg-type]
    assert len(found.rows) == 40
    assert found.intervals == {}


@pytest.mark.parametrize(
    ("sql", "epsilon"),
    [
        (f"{SAME} FROM person", 0.001),  # so much noise that some are undefined
        (f"{SAME} FROM person", 1.0),
        # Of a group of no row, what stands for a mean hangs on its interval too; these are large enough.
        (f"SELECT city, COUNT(*), SUM(x), AVG(x), VAR_POP(x), VAR_SAMP(x), STDDEV_POP(y), STDDEV(y) {FROM}", 0.2),
    ],
)
def test_estimates_of_many_worlds_are_those_of_each(sql: str, epsilon: float, base: DuckdbDatabase) -> None:
    case = Covered("", sql, epsilon=epsilon)
    [planned], [table] = case.plan().releases, noisy(case, base)
    measures = {
        name: np.array([[float(row[at])] for row in table.measures], dtype=np.float64)
        for at, name in enumerate(planned.integers)
    }
    alone = estimate(planned, table, 0.95)
    for name, estimator in planned.estimators:
        assert not isinstance(estimator, Picked)
        assert estimated(estimator, measures).ravel() == pytest.approx(alone[name].values, rel=1e-6, abs=1e-6)
