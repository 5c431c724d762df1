"""What a derived column is by formula, and that its expected error is the width of the interval that it gets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from gateway import wire
from gateway.answers.compose import compose
from gateway.release import release
from gateway.sandbox import Sandbox
from gateway.sql.explain import explain
from tests.audit.coverage import TOWNS, towns
from tests.oracles.databases import DuckdbDatabase, duckdb_dataset
from tests.oracles.questions import Mechanism, plan, written

BY = "FROM person WHERE city IS NOT NULL GROUP BY city"
COUNTS = f"(SELECT city, COUNT(*) AS n, SUM(x) AS s {BY})"

SUMS = (
    "SELECT SUM(x) - 2 * SUM(y) AS d FROM person",
    "SELECT (COUNT(*) + 5) / 4 - COUNT(x) AS d FROM person",
    f"SELECT city, 3 * -n AS d FROM (SELECT city, n FROM {COUNTS} AS t WHERE n > 1 ORDER BY n) AS u",
    f"SELECT a.city, a.n - b.m AS d FROM {COUNTS} AS a JOIN (SELECT city, SUM(y) AS m {BY}) AS b ON a.city = b.city",
    f"SELECT city, COUNT(*) - 0.025 * (SELECT COUNT(*) FROM person) AS d {BY}",
)
OTHERS = (
    "SELECT SQRT(COUNT(*)) AS d FROM person",
    "SELECT COUNT(*) * COUNT(*) AS d FROM person",
    "SELECT 2 * AVG(x) AS d FROM person",
    "SELECT 2 * MEDIAN(x) AS d FROM person",
    f"SELECT city, n - LAG(n) OVER (ORDER BY city) AS d FROM {COUNTS} AS t",
    f"SELECT SUM(n) AS d FROM {COUNTS} AS t",
    f"SELECT a.n - b.n AS d FROM {COUNTS} AS a JOIN {COUNTS} AS b ON a.city = b.city + 1",
    "SELECT COUNT(*) / 0 AS d FROM person",
)


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


def told(sql: str) -> wire.PlanColumn:
    return explain(plan(written(sql), duckdb_dataset(TOWNS))).columns[-1]


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
@pytest.mark.parametrize("sql", SUMS)
def test_the_error_told_beforehand_is_the_width_of_the_interval(
    sql: str, mechanism: Mechanism, base: DuckdbDatabase, sandbox: Sandbox
) -> None:
    found = plan(replace(written(sql, mechanism), epsilon=0.1), duckdb_dataset(TOWNS))
    error = explain(found).columns[-1].expected_error
    assert error is not None
    tables = [release(each, *(base.fetch(s.sql) for s in each.statements)) for each in found.releases]
    intervals = [pair for pair in compose(found, tables, sandbox, 0.95, 10_000).intervals["d"] if pair is not None]
    widths = [(high - low) / 2 for low, high in intervals]
    assert sum(widths) / len(widths) == pytest.approx(error, rel=0.15)


@pytest.mark.parametrize("sql", OTHERS)
def test_of_what_is_no_weighted_sum_no_number_is_told(sql: str) -> None:
    column = told(sql)
    assert column.expected_error is None
    assert column.note == "computed from the noisy columns"


def test_of_a_ratio_the_error_is_told_by_what_it_divides_by() -> None:
    column = told("SELECT SUM(x) / COUNT(*) AS d FROM person")
    assert column.expected_error is None
    counts = told("SELECT SUM(x), COUNT(*) AS d FROM person")
    assert column.note is not None
    assert "times its size) / what it is divided by" in column.note
    assert f"{counts.expected_error:.6g} times" in column.note


KINDS = (
    "SELECT city, COUNT(*), COUNT(x), SUM(x), AVG(x), VAR_POP(x), STDDEV(x), COVAR_POP(x, y), CORR(x, y) {}",
    "SELECT city, REGR_SLOPE(x, y), REGR_INTERCEPT(x, y), REGR_R2(x, y), MEDIAN(x), MIN(x), MAX(x) {}",
    "SELECT city, COUNT(DISTINCT x), COUNT(DISTINCT person_id), SUM(x) / COUNT(*), SQRT(COUNT(*)) {}",
    "SELECT x * y, COUNT(*), AVG(x), MEDIAN(x), SUM(x) - COUNT(*) FROM person GROUP BY x * y",
    "SELECT x > 50, COUNT(*), SUM(y), AVG(y) FROM person GROUP BY ROLLUP (1)",
    "SELECT 'n' AS w, COUNT(*) AS v FROM person UNION ALL SELECT 'x', AVG(x) FROM person",
)


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
@pytest.mark.parametrize("sql", KINDS)
def test_a_dry_run_tells_the_error_of_every_column_with_noise_in_it(sql: str, mechanism: Mechanism) -> None:
    for column in explain(plan(written(sql.format(BY), mechanism), duckdb_dataset(TOWNS))).columns:
        if column.role in ("noisy", "derived"):
            assert (
                (column.expected_error or 0) > 0
                or any(each.isdigit() for each in column.note or "")
                or (column.role == "derived" and column.note is not None)
            ), column
