"""Regular expressions of fixed places match what DuckDB's match; others are refused, hostile ones first of all."""

from __future__ import annotations

import re

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import SqlRefused
from gateway.sql.reading.patterns import Choice, choices
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import plan, written
from tests.sql.hostile import HOSTILE
from tests.sql.shop import SHOP
from tests.sql.test_functions import lowered

TEXTS = (
    "",
    "J",
    "J45",
    "J4",
    "j45",
    "J45.0",
    "XJ45",
    "I20",
    "I21",
    "I2",
    "a-b",
    "aab",
    "abb",
    "ABBA",
    "50%",
    "a_b",
    "é1",
)
EXPRESSIONS = (
    *(
        f"REGEXP_MATCHES(t, '{p}')"
        for p in ("^J", "^J[0-9]{2}", "^J[0-9]{2}$", "^[A-Z]$|^a", "5$", "^(I20|I21)", "^I2[01]|^J")
    ),
    *(
        f"REGEXP_MATCHES(t, '{p}')"
        for p in ("45", "^[^A-Z]", "^.[0-9]", "^\\w\\d", "^[a-z]+", "^J.[0-9]", "^a[-_%]b$", "%")
    ),
    *(f"REGEXP_FULL_MATCH(t, '{p}')" for p in ("J45", "J.*", "[A-Z]\\d{2}", "a.b", "^(?:a|A)[bB]b$")),
    "t ~ '^[A-Z].[0-9]'",
    "REGEXP_EXTRACT(t, '^[A-Z][0-9]{2}')",
    "REGEXP_EXTRACT(t, '^([A-Za-z]{2})', 1)",
    "REGEXP_EXTRACT(t, '^(I2|J4)', 1)",
    "SPLIT_PART(t, '-', 2)",
    "SPLIT_PART(t, '.', 1)",
    "LPAD(t, 4, '0')",
    "RPAD(t, 3, 'x')",
    "CONCAT_WS('-', t, NULL, s)",
)
UNKNOWN = (
    "^(a+)+$",
    "(ab){2}",
    "^a*b",
    "a|[b-c]",
    "^(a|(b))",
    "\\bJ",
    "^[[:alpha:]]",
    "(?i)j",
    "^a{1,3}",
    "^a{99}",
    "",
    "J[0-9]",
    "\\D",
)


@pytest.fixture(scope="module")
def rows() -> list[tuple[str | None, str]]:
    return [(text, "open") for text in TEXTS] + [(None, "paid")]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_database_says_the_same(expression: str, rows: list[tuple[str | None, str]]) -> None:
    with duckdb.connect() as connection:
        for statement in HOSTILE.ddl("duckdb"):
            connection.execute(statement)
        connection.executemany(
            "INSERT INTO hostile (id, t, s) VALUES (?, ?, ?)", [(at, *row) for at, row in enumerate(rows)]
        )
        mine = connection.execute(lowered(expression, "duckdb", duckdb_dataset(HOSTILE)).sql).fetchall()
        theirs = connection.execute(f"SELECT id, {expression} FROM hostile").fetchall()
    assert sorted(mine) == sorted(theirs)


@pytest.mark.parametrize("pattern", UNKNOWN)
def test_what_is_not_of_fixed_places_is_refused(pattern: str) -> None:
    with pytest.raises(SqlRefused) as refused:
        plan(written(f"SELECT COUNT(*) FROM users WHERE city ~ '{pattern}'"), duckdb_dataset(SHOP), "postgres")
    assert refused.value.code == "function-unknown"


def test_a_pattern_that_is_data_is_refused() -> None:
    with pytest.raises(SqlRefused):
        plan(written("SELECT COUNT(*) FROM orders WHERE channel ~ status"), duckdb_dataset(SHOP))


def matched(choice: Choice, text: str) -> bool:
    """Whether a text holds the places, plainly: at its start, or anywhere."""

    def holds(at: int) -> bool:
        part = text[at : at + len(choice.places)]
        ended = not choice.end or at + len(part) == len(text)
        fits = (
            place.ranges is None or any(low <= c <= high for low, high in place.ranges) != place.other
            for place, c in zip(choice.places, part, strict=False)
        )
        return len(part) == len(choice.places) and ended and all(fits)

    return holds(0) if choice.start else any(holds(at) for at in range(len(text) + 1))


PIECES = st.sampled_from(
    ["a", "b", "A", "1", "[ab]", "[^a]", "[A-Z]", ".", "\\d", "\\w", "{2}", "^", "$", "|", "(", ")", "+", ".*"]
)


@settings(max_examples=120, deadline=None)
@given(st.lists(PIECES, max_size=7).map("".join), st.text("abA1_", max_size=5))
def test_what_is_read_is_what_the_pattern_says(pattern: str, text: str) -> None:
    found = choices(pattern, whole=False)
    if found is not None:
        expected = re.search(pattern, text, re.ASCII | re.DOTALL) is not None
        assert any(matched(choice, text) for choice in found) == expected
