"""The split of a price among vectors: as good as any near it, never more than the price, and said in the plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.sql.planning.errors import log_error
from gateway.sql.planning.plan import PlannedRelease
from mechanisms.noise import Noise
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import Mechanism, plan, release_of, written
from tests.sql.shop import SHOP

QUESTIONS = (
    "SELECT COUNT(*), SUM(income), AVG(age) FROM users",
    "SELECT COUNT(*), AVG(income), VAR_POP(age), STDDEV(age), AVG(age) FROM users",
    "SELECT CORR(age, income), COUNT(age), SUM(income) FROM users",
    "SELECT status, COUNT(DISTINCT user_id), AVG(amount), SUM(amount) FROM orders GROUP BY status",
)


def planned(sql: str, mechanism: Mechanism = "laplace") -> PlannedRelease:
    return release_of(sql, duckdb_dataset(SHOP), mechanism)


def scored(found: PlannedRelease, factors: list[float]) -> float:
    """The sum of the logarithms of the errors with each vector's share of epsilon multiplied."""
    noises = {
        measure.name: replace(block.noise, scale=block.noise.scale / factor)
        for block, factor in zip(found.blocks, factors, strict=True)
        for measure in block.measures
        if isinstance(block.noise, Noise)
    }
    return sum(log_error(estimator, noises) for _, estimator in found.estimators)


@pytest.mark.parametrize("sql", QUESTIONS)
def test_no_split_near_it_is_better(sql: str) -> None:
    found = planned(sql)
    shares = [block.loss.epsilon or 0 for block in found.blocks]
    count = len(shares)
    assert count > 1
    best = scored(found, [1.0] * count)
    for giving in range(count):
        for getting in range(count):
            moved = [float(share) for share in shares]
            moved[giving] -= shares[giving] * 0.2
            moved[getting] += shares[giving] * 0.2
            assert scored(found, [new / old for new, old in zip(moved, shares, strict=True)]) >= best - 0.02
    equal = [sum(shares) / count / share for share in shares]
    assert scored(found, equal) >= best - 0.02


@pytest.mark.parametrize("sql", QUESTIONS)
@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
def test_the_parts_are_the_price(sql: str, mechanism: Mechanism) -> None:
    found = plan(written(sql, mechanism), duckdb_dataset(SHOP))
    if mechanism == "laplace":
        assert found.loss.epsilon is not None
        assert found.price - 10 <= found.loss.epsilon <= found.price
    else:
        assert found.loss.epsilon is None


def test_what_more_is_read_off_gets_more() -> None:
    found = planned(QUESTIONS[0])
    assert [round((block.loss.epsilon or 0) / 1e9, 2) for block in found.blocks] == [0.67, 0.33]
    assert "67 : 33" in found.reason


def test_a_threshold_counts_as_an_estimate() -> None:
    found = planned("SELECT channel, COUNT(*), AVG(amount) FROM orders GROUP BY channel")
    assert found.threshold is not None
    assert [round((block.loss.epsilon or 0) / 1e9, 2) for block in found.blocks] == [0.33, 0.67]


def test_a_column_without_an_alias_is_called_as_its_function() -> None:
    sql = "SELECT VAR_POP(age), CORR(age, income), VARP(age), COUNT(age) FROM users"
    names = [column.name for column in plan(written(sql), duckdb_dataset(SHOP)).query.columns]
    assert names == ["variance_pop", "corr", "varp", "count"]
