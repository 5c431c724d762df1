"""Bounds at the ends of what numbers can say: a plan whose SQL no value makes fail, or a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import duckdb
import pytest

from gateway.engines.base import Limits
from gateway.engines.open import open_engine
from gateway.errors import SqlRefused
from gateway.policy.document import load
from gateway.policy.model import Dataset
from gateway.policy.resolve import resolve
from gateway.release import release
from gateway.sql.planning.plan import Linear, PlannedRelease
from mechanisms.loss import delta_units
from tests.oracles.questions import plan, written

AGGREGATES = (
    "COUNT(*), SUM(x), AVG(x)",
    "VAR_POP(x), STDDEV_SAMP(x)",
    "COVAR_POP(x, y), CORR(x, y)",
    "REGR_SLOPE(x, y), REGR_INTERCEPT(x, y)",
    "MEDIAN(x), MIN(x), MAX(y)",
    "SUM(x * y), SUM(x + y), SUM(x - y)",
    "VAR_POP(x * x), AVG(POWER(x, 3))",
    "SUM(EXP(x)), SUM(x / y), SUM(SQRT(x))",
    "COUNT(DISTINCT x), COUNT(x)",
    "VAR_POP(x * 1e240), AVG(CASE WHEN x > 1 THEN 1e308 ELSE y END)",
    "CORR(x * 1e240, y * 1e-240), REGR_SLOPE(x * 1e240, y * 1e-240)",
    "SUM(x * 1e-240), STDDEV_POP(x * 1e-250)",
)
BOUNDS = (
    ("0", "0"),
    ("1.0e-60", "1.0e-60"),
    ("-1.0e-60", "1.0e-60"),
    ("0.0", "1.0e+18"),
    ("-1.0e+30", "1.0e+30"),
    ("-1.0e+37", "1.0e+37"),
)
VALUES = (
    "(1, 0, 1), (2, 1.7e308, -1.7e308), (3, 'nan', 'inf'), (4, '-inf', 5e-324), (5, NULL, -0.0), (6, 1e200, 1e-200)"
)


def dataset(folder: Path, lower: str, upper: str) -> Dataset:
    url = f"duckdb:///{folder / 'extreme.duckdb'}"
    with duckdb.connect(str(folder / "extreme.duckdb")) as connection:
        connection.execute("CREATE TABLE one(id BIGINT PRIMARY KEY, x DOUBLE, y DOUBLE)")
        connection.execute(f"INSERT INTO one VALUES {VALUES}")
    bounds = f"{{type: number, lower: {lower}, upper: {upper}}}"
    policy = f"""
dataset: extreme
engine: {url}
privacy_unit: {{table: one, key: id}}
tables: {{one: {{columns: {{x: {bounds}, y: {bounds}}}}}}}
budget: {{epsilon: 20, delta: 1e-6}}
per_query: {{max_epsilon: 10, delta: 1e-9}}
"""
    engine = open_engine(url)
    try:
        with engine.session(Limits(20)) as session:
            return resolve(load(policy), session.schema(("one",)), engine.dialect, 1)
    finally:
        engine.close()


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
@pytest.mark.parametrize(("lower", "upper"), BOUNDS)
def test_every_aggregate_is_answered_or_refused(
    lower: str, upper: str, mechanism: Literal["laplace", "gaussian"], tmp_path: Path
) -> None:
    extreme = dataset(tmp_path, lower, upper)
    answered = 0
    with duckdb.connect(str(tmp_path / "extreme.duckdb"), read_only=True) as connection:
        for aggregates in AGGREGATES:
            try:
                found = plan(written(f"SELECT {aggregates} FROM one", mechanism=mechanism), extreme)
            except SqlRefused:
                continue
            answered += 1
            for planned in found.releases:
                tables = [connection.sql(asked.sql).to_arrow_table() for asked in planned.statements]
                assert len(release(planned, *tables).keys) == 1
    assert answered > 3


def test_what_a_double_may_be_is_clamped_or_is_null(tmp_path: Path) -> None:
    """NaN and NULL count as no value, infinities and what is out of bounds as the bound, -0 as 0."""
    bounded = dataset(tmp_path, "0.0", "10.0")
    found = plan(written("SELECT COUNT(x), SUM(x), COUNT(y), SUM(y) FROM one", mechanism="laplace"), bounded)
    [planned] = found.releases
    with duckdb.connect(str(tmp_path / "extreme.duckdb"), read_only=True) as connection:
        [row] = connection.sql(planned.sql).to_arrow_table().to_pylist()
    exact = {
        name: sum(weight * int(row[measure]) for measure, weight in linear.terms) for name, linear in sums(planned)
    }
    assert [round(float(value), 5) for value in exact.values()] == [4, 20, 6, 11]


def sums(planned: PlannedRelease) -> Iterator[tuple[str, Linear]]:
    for name, estimator in planned.estimators:
        assert isinstance(estimator, Linear)
        yield name, estimator


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian", "auto"])
@pytest.mark.parametrize("delta", ["1.0e-18", "3.0e-18", "0.9"])
def test_a_delta_at_either_end_makes_a_plan_or_a_refusal(
    delta: str, mechanism: Literal["laplace", "gaussian", "auto"], tmp_path: Path
) -> None:
    bare = dataset(tmp_path, "0", "1")
    found = replace(bare, per_query=replace(bare.per_query, delta=delta_units(delta, "down")))
    listed = "SELECT x, COUNT(*) AS n FROM one GROUP BY x"
    for sql in (listed, f"SELECT a.x, a.n, b.n FROM ({listed}) a JOIN ({listed.replace('x', 'y')}) b ON a.x = b.y"):
        try:
            spent, code = plan(written(sql, mechanism), found).loss.delta, None
        except SqlRefused as refused:
            spent, code = 0, refused.code
        assert 0 < spent <= found.per_query.delta or delta.endswith("e-18")
        assert code in (None, "mechanism-unavailable", "delta-missing")
