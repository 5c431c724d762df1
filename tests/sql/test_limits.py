"""Limits that a short fixture cannot show."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from gateway.errors import SqlRefused
from gateway.sql.compile import Question, compile_query
from gateway.sql.planning.choose import Bounds, Price
from gateway.sql.reading.parse import TextLimits
from mechanisms.loss import EPSILON_UNIT
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import plan, written
from tests.oracles.worlds import DIRTY_PEOPLE
from tests.sql.shop import SHOP

PRICE = Price(EPSILON_UNIT, None, 10**9, "laplace", gaussian=False)


def refused(text: str, groups: int = 10_000) -> str:
    question = Question(text, None, PRICE, EPSILON_UNIT, TextLimits(), Bounds(None, groups, 256))
    with pytest.raises(SqlRefused) as refusal:
        compile_query(question, duckdb_dataset(SHOP))
    return refusal.value.code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SELECT COUNT(*) FROM users --" + "x" * 65_536, "sql-too-long"),
        ("SELECT COUNT(*) FROM users WHERE city = '" + "é" * 33_000 + "'", "sql-too-long"),
        ("SELECT COUNT(*) FROM users WHERE age IN (" + "1," * 9_000 + "1)", "sql-too-deep"),
        ("SELECT COUNT(*) FROM users\x00", "sql-syntax"),
        ("SELECT COUNT(*) FROM users WHERE city = '\ud800'", "sql-syntax"),
        ("SELECT COUNT(*) FROM users" + " JOIN users" * 31, "sql-too-deep"),
        ("SELECT COUNT(*) FROM users WHERE " + "CASE WHEN TRUE THEN " * 31 + "1", "sql-too-deep"),
    ],
)
def test_text(text: str, code: str) -> None:
    began = time.monotonic()
    assert refused(text) == code
    assert time.monotonic() - began < 20  # no hang


def test_a_long_chain_is_no_nesting() -> None:
    chain = " OR ".join(f"age > {at}" for at in range(2_000))
    found = plan(written(f"SELECT COUNT(*) FROM users WHERE {chain}"), duckdb_dataset(SHOP))
    assert found.releases[0].sql.count('"age" > ') == 2_000


def test_groups() -> None:
    assert refused("SELECT age, city, COUNT(*) FROM users GROUP BY age, city", groups=335) == "groups-too-many"
    with pytest.raises(SqlRefused) as refusal:
        plan(written("SELECT MEDIAN(LENGTH(page)) FROM log"), duckdb_dataset(DIRTY_PEOPLE))
    assert refusal.value.code == "rows-unbounded"


def test_a_wider_range_of_integers_is_private() -> None:
    dataset = duckdb_dataset(SHOP)
    question = Question(
        "SELECT age, COUNT(*) FROM users GROUP BY age", None, PRICE, 1, TextLimits(), Bounds(None, 1_000, 110)
    )
    assert compile_query(question, dataset).releases[0].threshold is not None
    wide = compile_query(replace(question, bounds=Bounds(None, 1_000, 111)), dataset).releases[0]
    assert wide.threshold is None
    assert wide.keys[0].values == (*range(111), None)


def test_quantiles_of_many_groups() -> None:
    few = "SELECT age, city, MEDIAN(income) FROM users GROUP BY age, city"
    assert plan(written(few), duckdb_dataset(SHOP)).statements
    many = ", ".join(f"QUANTILE_CONT(income, 0.{at})" for at in range(10, 90))
    assert refused(f"SELECT age, city, {many} FROM users GROUP BY age, city") == "groups-too-many"
