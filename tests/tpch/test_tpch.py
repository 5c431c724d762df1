"""The 22 standard queries: each becomes what docs/tpch.md says, and what runs keeps its bounds on the standard rows."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from gateway.engines.duckdb import arrow
from gateway.errors import SqlRefused
from tests.docs.pages import page, rows
from tests.oracles import neighbours
from tests.tpch.status import status
from tests.tpch.world import QUERIES, generated, neighbour, planned

DESCRIBED = {f"q{int(row[0]):02}": row[2].strip("`") for row in rows(page("docs/tpch.md")) if row[0].isdigit()}


def test_the_page_has_every_query() -> None:
    assert list(DESCRIBED) == list(QUERIES) == [f"q{number:02}" for number in range(1, 23)]


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_as_the_page_says(name: str) -> None:
    found = status(name)
    assert found.word == DESCRIBED[name], found


Two = tuple[duckdb.DuckDBPyConnection, duckdb.DuckDBPyConnection]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """The standard rows with and without a customer who has far more orders than the policy counts."""
    with generated(tmp_path_factory.mktemp("tpch")) as full:
        full.execute("UPDATE orders SET o_custkey = 1 WHERE o_orderkey % 20 = 1")
        with neighbour(full, 1) as bereft:
            yield full, bereft


def test_neighbours_differ_by_no_more_than_declared(two: Two) -> None:
    full, bereft = two
    run = 0
    for name in QUERIES:
        try:
            found = planned(name)
        except SqlRefused:
            continue
        run += bool(found.releases)
        assert neighbours.compare(found, lambda sql: arrow(full, sql), lambda sql: arrow(bereft, sql)) == [], name
    assert run == sum(DESCRIBED[name] in ("answered", "thresholded") for name in QUERIES)
