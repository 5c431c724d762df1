"""Where a function is refused, its hint says what to write instead, and what it says is answered."""

from __future__ import annotations

import pytest

from gateway.errors import SqlRefused
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import plan, written
from tests.sql.shop import SHOP

DAY = "GREATEST(LEAST(day, DATE '2024-12-31'), DATE '2024-01-01')"
CASES = (
    (f"STRPTIME(channel, '%Y') = {DAY}", f"CAST(channel AS DATE) = {DAY}", "CAST(x AS DATE)"),
    ("MD5(channel) = 'a'", "channel = 'a'", "the value itself"),
    ("TIME_BUCKET(INTERVAL '7' DAY, day) = day", "DATE_TRUNC('week', day) = day", "DATE_TRUNC"),
    ("REGEXP_REPLACE(channel, 'a+', '') = 'b'", "REPLACE(channel, 'a', '') = 'b'", "REPLACE"),
)


@pytest.mark.parametrize(("refused", "answered", "said"), CASES)
def test_what_the_hint_says_is_answered(refused: str, answered: str, said: str) -> None:
    dataset = duckdb_dataset(SHOP)
    with pytest.raises(SqlRefused) as found:
        plan(written(f"SELECT COUNT(*) FROM orders WHERE {refused}"), dataset)
    assert found.value.code == "function-unknown"
    assert said in (found.value.hint or "")
    assert plan(written(f"SELECT COUNT(*) FROM orders WHERE {answered}"), dataset).releases


def test_rows_that_are_made_are_written_out() -> None:
    with pytest.raises(SqlRefused) as found:
        plan(written("SELECT COUNT(*) FROM generate_series(1, 3) AS g"), duckdb_dataset(SHOP))
    assert "VALUES" in (found.value.hint or "")
