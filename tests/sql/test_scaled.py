"""Decimals as whole numbers: exact at the ends of what is bounded, whatever the scale, and never an error."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import duckdb
import pytest

from gateway.sql.planning.quantum import EXACT, quantum
from gateway.sql.writing.render import quantised

SCALES = range(13)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("width", [18, 38])
def test_decimals_at_their_bounds_are_exact(scale: int, width: int) -> None:
    bound = Fraction(EXACT, 10**scale)
    found = quantum("decimal", scale, -bound, bound)
    ends = (EXACT, EXACT - 1, -EXACT, 1, 0, 10**17, -(10**17))
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE one(place INTEGER, x DECIMAL({width}, {scale}))")
        written = [(place, Decimal(end).scaleb(-scale)) for place, end in enumerate(ends)]
        connection.executemany("INSERT INTO one VALUES (?, ?)", written)
        rows = connection.execute(f"SELECT {quantised('x', found, 'duckdb')} FROM one ORDER BY place").fetchall()
    assert found.how == "decimal"
    assert [value for (value,) in rows] == [max(-EXACT, min(end, EXACT)) for end in ends]
