"""Second moments read off real noise: intervals that cover, errors that are small, and nothing that is no number."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from random import Random
from statistics import correlation, covariance, linear_regression, mean, median, pvariance, variance

import pytest

from gateway.answers.estimated import Estimated, estimate
from gateway.errors import SqlRefused
from gateway.noisy import NoisyTable
from gateway.release import release
from gateway.sql.explain import explain
from gateway.sql.planning.plan import PlannedRelease
from mechanisms.noise import draw
from tests.oracles.databases import DuckdbDatabase, duckdb_dataset
from tests.oracles.questions import Mechanism, plan, written
from tests.oracles.worlds import Col, Row, Tab, World

POINTS = World(
    "points",
    "row",
    (
        Tab(
            "point",
            (
                Col("x", "number", "DOUBLE", "double precision", (), declared="lower: 0, upper: 100"),
                Col("y", "number", "DOUBLE", "double precision", (), declared="lower: -50, upper: 150"),
                Col("whole", "integer", "BIGINT", "bigint", (), declared="lower: 0, upper: 100, nullable: false"),
                Col("huge", "integer", "BIGINT", "bigint", (), declared=f"lower: {-(2**63)}, upper: {2**63 - 1}"),
                Col("flat", "integer", "BIGINT", "bigint", (), declared="lower: 7, upper: 7"),
                Col("absent", "integer", "BIGINT", "bigint", (), declared="lower: 0, upper: 9"),
            ),
            None,
        ),
    ),
)
RUNS = 2_000


def rows(count: int) -> list[Row]:
    random = Random(5)  # noqa: S311 - fixed examples, not noise
    found: list[Row] = []
    for number in range(count):
        x = random.uniform(0, 100)
        y = min(max(20 + 0.5 * x + random.gauss(0, 15), -50), 150)
        ends = (-(2**63), 2**63 - 1, 0)
        # every tenth pair lacks its y
        found.append((x, None if number % 10 == 9 else y, round(x), ends[number % 3], 7, None))
    return found


@pytest.fixture(scope="module")
def base() -> Iterator[DuckdbDatabase]:
    opened = DuckdbDatabase(POINTS)
    yield opened
    opened.close()


def drawn(
    base: DuckdbDatabase,
    select: str,
    count: int,
    *,
    mechanism: Mechanism = "laplace",
    times: int = RUNS,
    epsilon: float = 1.0,
) -> Estimated:
    """What many releases of one aggregate say, of the same rows."""
    base.fill({"point": rows(count)})
    [planned] = plan_of(f"SELECT {select} FROM point", mechanism, epsilon)
    [found] = estimate(planned, many(planned, base, times), 0.95).values()
    return found


def plan_of(sql: str, mechanism: Mechanism = "laplace", epsilon: float = 1.0) -> tuple[PlannedRelease, ...]:
    asked = written(sql, mechanism)
    return plan(type(asked)("", mechanism=mechanism, epsilon=epsilon, text=sql), duckdb_dataset(POINTS)).releases


def many(planned: PlannedRelease, base: DuckdbDatabase, times: int) -> NoisyTable:
    """Noisy tables of one group as one of many: exact numbers once, noise for each."""
    table = base.fetch(planned.sql)
    assert release(planned, table).keys == ((),)
    [exact] = table.to_pylist()
    columns = [
        [int(exact[measure.name]) + noise for noise in draw(block.noise, times)]  # type: ignore[arg-type]
        for block in planned.blocks
        for measure in block.measures
    ]
    return NoisyTable(((),) * times, tuple(zip(*columns, strict=True)))


def pairs(count: int) -> tuple[list[float], list[float]]:
    """The x and y of the pairs that are whole."""
    there = [(row[0], row[1]) for row in rows(count) if row[1] is not None]
    return [float(x) for x, _ in there], [float(y) for _, y in there]  # type: ignore[arg-type]


def truth(select: str, count: int) -> float:
    every = [float(row[0]) for row in rows(count)]  # type: ignore[arg-type]
    x, y = pairs(count)
    return {
        "AVG(x)": lambda: mean(every),
        "VAR_POP(x)": lambda: pvariance(every),
        "VAR_SAMP(x)": lambda: variance(every),
        "STDDEV_POP(x)": lambda: math.sqrt(pvariance(every)),
        "COVAR_POP(y, x)": lambda: covariance(x, y) * (len(x) - 1) / len(x),
        "COVAR_SAMP(y, x)": lambda: covariance(x, y),
        "CORR(y, x)": lambda: correlation(x, y),
        "REGR_R2(y, x)": lambda: correlation(x, y) ** 2,
        "REGR_SLOPE(y, x)": lambda: linear_regression(x, y).slope,
        "REGR_INTERCEPT(y, x)": lambda: linear_regression(x, y).intercept,
    }[select]()


STATISTICS = (
    "AVG(x)",
    "VAR_POP(x)",
    "VAR_SAMP(x)",
    "STDDEV_POP(x)",
    "COVAR_POP(y, x)",
    "COVAR_SAMP(y, x)",
    "CORR(y, x)",
    "REGR_R2(y, x)",
    "REGR_SLOPE(y, x)",
    "REGR_INTERCEPT(y, x)",
)


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
@pytest.mark.parametrize("count", [300, 3_000])
@pytest.mark.parametrize("select", STATISTICS)
def test_intervals_hold_with_their_confidence(
    select: str, count: int, mechanism: Mechanism, base: DuckdbDatabase
) -> None:
    found, exact = drawn(base, select, count, mechanism=mechanism), truth(select, count)
    ends = [(-math.inf, math.inf) if each is None else each for each in found.intervals]
    covered = sum(low <= exact <= high for low, high in ends) / RUNS
    assert covered >= 0.92  # 95 % hold; 2,000 runs fall this short less than once in a hundred million times
    if count == 3_000:
        # The bounds of y are far wider than its values, which the noise of its variance feels.
        error = math.sqrt(mean((value - exact) ** 2 for value in found.values))
        assert median(high - low for low, high in ends) < 5.2 * error


@pytest.mark.parametrize(("select", "most"), [("AVG(x)", 0.105), ("VAR_POP(x)", 6.0)])
def test_errors_are_as_small_as_is_said(select: str, most: float, base: DuckdbDatabase) -> None:
    found, exact = drawn(base, select, 1_000, times=20_000), truth(select, 1_000)
    assert math.sqrt(mean((value - exact) ** 2 for value in found.values)) < most


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
@pytest.mark.parametrize("select", ["AVG(x)", "VAR_POP(x)", "STDDEV_POP(x)"])
def test_the_error_that_a_dry_run_expects_is_that_of_a_group_of_that_size(
    select: str, mechanism: Mechanism, base: DuckdbDatabase
) -> None:
    asked = written(f"SELECT {select} FROM point", mechanism)
    note = explain(plan(asked, duckdb_dataset(POINTS))).columns[0].note
    told = re.match(r"within (\S+) / n of a group of n rows.* for n well above ([^;]+)", note or "")
    assert told is not None
    assert float(told[2]) < 60
    found, exact = drawn(base, select, 3_000, mechanism=mechanism), truth(select, 3_000)
    within = sum(abs(value - exact) <= float(told[1]) / 3_000 for value in found.values) / RUNS
    assert 0.92 <= within <= 0.985


EDGES = (
    *STATISTICS,
    "VAR_POP(huge)",
    "STDDEV_SAMP(huge)",
    "COVAR_SAMP(huge, x)",
    "CORR(huge, whole)",
    "REGR_SLOPE(huge, whole)",
    "REGR_SLOPE(whole, huge)",
    "VAR_POP(flat)",
    "VAR_SAMP(flat)",
    "COVAR_POP(flat, x)",
    "VAR_POP(absent)",
    "STDDEV(absent)",
    "CORR(absent, x)",
    "REGR_SLOPE(absent, x)",
    "REGR_INTERCEPT(x, absent)",
)


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
@pytest.mark.parametrize("epsilon", [1e-6, *(pytest.param(each, marks=pytest.mark.audit) for each in (1.0, 50.0))])
def test_there_is_always_a_number_in_an_honest_interval(
    epsilon: float, mechanism: Mechanism, base: DuckdbDatabase
) -> None:
    for count in (0, 1, 2, 5):
        for select in EDGES:
            try:
                found = drawn(base, select, count, mechanism=mechanism, times=4, epsilon=epsilon)
            except SqlRefused as refusal:
                assert refusal.code == "scale-too-large"  # noqa: PT017
                continue
            assert all(math.isfinite(value) for value in found.values), select
            finite = [ends for ends in found.intervals if ends is not None]
            assert all(math.isfinite(low) and math.isfinite(high) and low <= high for low, high in finite), select
            if "REGR_SLOPE" not in select and "REGR_INTERCEPT" not in select:
                assert len(finite) == len(found.intervals), select
            if "flat" in select:
                assert set(found.values) == {0.0}, select
                assert set(finite) == {(0.0, 0.0)}, select


def test_a_small_price_buys_second_moments_of_whole_numbers() -> None:
    [planned] = plan_of("SELECT VAR_POP(whole), COUNT(*) FROM point", epsilon=1e-6)
    assert len(planned.blocks) == 1


def test_what_stands_for_a_value_is_said(base: DuckdbDatabase) -> None:
    found = drawn(base, "VAR_SAMP(x)", 0, times=50, epsilon=50.0)
    assert found.sparse is not None
    assert set(found.values) == {0.0}
    assert drawn(base, "VAR_SAMP(x)", 300, times=50, epsilon=50.0).sparse is None


@pytest.mark.parametrize(
    "select",
    ["COUNT(*), SUM(whole), AVG(whole), VAR_POP(whole), STDDEV(whole)", "CORR(whole, x), COVAR_POP(whole, x), AVG(x)"],
)
def test_all_moments_of_a_column_or_a_pair_cost_one_count(select: str) -> None:
    [planned] = plan_of(f"SELECT {select} FROM point WHERE x IS NOT NULL")
    [block] = planned.blocks
    assert block.l1 == max(measure.linf for measure in block.measures)


def test_a_correlation_with_a_single_value_is_refused() -> None:
    with pytest.raises(SqlRefused, match="single value"):
        plan_of("SELECT CORR(flat, x) FROM point")
