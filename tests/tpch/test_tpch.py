"""The 22 standard queries: each becomes what docs/tpch.md says, and what runs keeps its bounds on the standard rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from gateway.engines.duckdb import arrow
from gateway.errors import SqlRefused
from gateway.sandbox import Sandbox
from tests.docs.pages import page, rows
from tests.oracles import neighbours
from tests.oracles.test_infinite import shown, silence
from tests.tpch.status import status
from tests.tpch.world import QUERIES, dataset, generated, neighbour, planned

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
        assert (
            neighbours.compare(found, lambda sql: arrow(full, sql), lambda sql: arrow(bereft, sql), dataset()) == []
        ), name
    assert run == sum(DESCRIBED[name] in ("answered", "thresholded") for name in QUERIES)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    opened = Sandbox(memory=2**28, seconds=20)
    yield opened
    opened.close()


def test_without_noise_the_answers_are_those_of_the_database(
    tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No bound clips the standard rows, so that each answer is what DuckDB says of the standard text."""
    silence(monkeypatch)
    with generated(tmp_path) as full:
        for name in QUERIES:
            if DESCRIBED[name] == "answered":
                found = planned(name)
                roles = [column.role for column in found.query.columns]
                answered = _by_key(shown(found, lambda sql: arrow(full, sql), sandbox), roles)
                for key, numbers in _by_key(full.execute(QUERIES[name]).fetchall(), roles).items():
                    assert answered[key] == pytest.approx(numbers, rel=1e-4), (name, key)


def test_exact_answers_are_those_of_the_database(tmp_path: Path, sandbox: Sandbox) -> None:
    names = [name for name, word in DESCRIBED.items() if word == "exact"]
    assert names
    with generated(tmp_path) as full:
        for name in names:
            got = sorted(shown(planned(name), lambda sql: arrow(full, sql), sandbox), key=str)
            expected = sorted(full.execute(QUERIES[name]).fetchall(), key=str)
            assert expected
            assert len(got) == len(expected)
            for mine, theirs in zip(got, expected, strict=True):
                assert [_plain(value) for value in mine] == [pytest.approx(_plain(value)) for value in theirs], name


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal | int) else value


def _by_key(rows: Sequence[Sequence[Any]], roles: Sequence[str]) -> dict[tuple[Any, ...], list[float]]:
    """The numbers of each row, by its group keys."""
    found = {}
    for row in rows:
        split = list(zip(row, roles, strict=True))
        key = tuple(value for value, role in split if role == "key")
        found[key] = [float(value) for value, role in split if role != "key" and value is not None]
    return found
