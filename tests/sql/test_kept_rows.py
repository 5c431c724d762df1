"""Which rows the bounded SQL keeps to read them twice: of a table with a path to its owners, those that are few."""

from __future__ import annotations

import pytest

from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import plan, written
from tests.oracles.worlds import DIRTY_PEOPLE


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("", False),
        ("WHERE qty <= 4", False),  # four fifths of what is declared
        ("WHERE qty <= 2", True),
        ("WHERE qty BETWEEN 1 AND 4 AND label = 'a'", True),  # of a text nothing says how many
        ("WHERE qty <= 4 AND visit_id > 3", True),
        ("WHERE qty <= 4 AND qty >= 3", True),
    ],
)
def test_rows_are_kept_where_a_condition_leaves_few(condition: str, kept: bool) -> None:
    [release] = plan(written(f"SELECT SUM(qty) FROM item {condition}"), duckdb_dataset(DIRTY_PEOPLE)).releases
    assert ("NOT MATERIALIZED" not in release.sql) == kept
