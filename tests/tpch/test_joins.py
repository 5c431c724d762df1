"""Joins of the standard tables where nobody declared how many rows a customer has: bounded, and right without noise."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from gateway import release as releasing
from gateway.answers.estimated import estimate
from gateway.engines.duckdb import arrow
from gateway.release import release
from tests.bench.joins import QUESTIONS, asked, relative_errors
from tests.oracles import neighbours
from tests.tpch.world import generated, neighbour

NORMS = {"Q3": "rows", "Q10": "rows", "Q18": "values"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with generated(tmp_path_factory.mktemp("joins")) as connection:
        yield connection


def exact(rows: duckdb.DuckDBPyConnection, name: str) -> float:
    [row] = rows.execute(QUESTIONS[name]).fetchall()
    return float(row[0])


@pytest.mark.parametrize("name", QUESTIONS)
def test_with_nobody_above_the_bound_and_no_noise_the_answer_is_exact(
    name: str, rows: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releasing, "draw", lambda _noise, count: [0] * count)
    monkeypatch.setattr(releasing, "first_low", lambda _search, counts: counts.index(0))
    [planned] = asked(name).releases
    assert planned.clip is not None
    assert planned.clip.norm == NORMS[name]
    [found] = estimate(planned, release(planned, arrow(rows, planned.sql)), 0.95).values()
    assert found.values == (exact(rows, name),)


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_customer_changes_no_more_than_each_bound(name: str, rows: duckdb.DuckDBPyConnection) -> None:
    with neighbour(rows, 1) as bereft:
        found = asked(name)
        assert neighbours.compare(found, lambda sql: arrow(rows, sql), lambda sql: arrow(bereft, sql)) == []


def test_a_thousand_customers_are_counted_within_a_few_percent(rows: duckdb.DuckDBPyConnection) -> None:
    # a wrong scale, or a bound at the wrong end of the grid, is off by ten times that
    found = asked("Q10")
    errors = relative_errors(found, arrow(rows, found.releases[0].sql), exact(rows, "Q10"), runs=25)
    assert sorted(errors)[12] < 4
