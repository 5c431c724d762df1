"""The grid of a quantile covers its bounds once, in order, and the SQL numbers buckets as the grid does."""

from __future__ import annotations

import itertools
from fractions import Fraction

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sql.algebra import Kind
from gateway.sql.planning.grid import Grid, grid
from gateway.sql.writing.dialects.registry import writer
from mechanisms.noise import ScaleError

BOUNDS = st.tuples(st.integers(-(10**6), 10**6), st.integers(0, 10**6)).map(lambda pair: (pair[0], pair[0] + pair[1]))
SIZES = st.sampled_from((8, 100, 1024, 2**14))


def buckets(found: Grid) -> list[tuple[int, int]]:
    """First and last integer of each bucket."""
    ends = []
    for here, after in zip(found.stretches, [*found.stretches[1:], None], strict=True):
        limit = found.quantum.upper if after is None else after.first - 1
        for number in range(here.count):
            first = here.first + number * here.step
            ends.append((first, min(first + here.step - 1, limit)))
    return ends


@given(bounds=BOUNDS, size=SIZES)
def test_buckets_cover_all_integers_once(bounds: tuple[int, int], size: int) -> None:
    found = grid("integer", 0, (Fraction(bounds[0]), Fraction(bounds[1])), size)
    ends = buckets(found)
    assert len(ends) == found.size <= max(size, 200)
    assert ends[0][0] == bounds[0]
    assert ends[-1][1] == bounds[1]
    assert all(first <= last for first, last in ends)
    assert all(here[1] + 1 == after[0] for here, after in itertools.pairwise(ends))
    assert all(first <= found.value(number) <= last for number, (first, last) in enumerate(ends))


@given(bounds=BOUNDS, size=SIZES, data=st.data())
def test_the_sql_numbers_buckets_as_the_grid_does(bounds: tuple[int, int], size: int, data: st.DataObject) -> None:
    found = grid("integer", 0, (Fraction(bounds[0]), Fraction(bounds[1])), size)
    ends = buckets(found)
    asked = data.draw(st.lists(st.integers(*bounds), max_size=20)) + [
        end for pair in ends[:9] + ends[-9:] for end in pair
    ]
    written = found.written("v0", writer("duckdb").divided)
    rows = duckdb.execute(f"SELECT v0, {written} FROM (SELECT UNNEST({asked}::BIGINT[]) AS v0)").fetchall()
    assert len(rows) == len(asked)
    assert all(ends[bucket][0] <= value <= ends[bucket][1] for value, bucket in rows)


@pytest.mark.parametrize(
    ("kind", "scale", "lower", "upper"),
    [
        ("integer", 0, -(2**63), 2**63 - 1),
        ("decimal", 2, 0, 5000),
        ("decimal", None, -1, 1),
        ("float", None, Fraction(0), Fraction(200_000)),
        ("float", None, Fraction(-5), Fraction(1, 3)),
        ("float", None, Fraction(0), Fraction(0)),
        ("float", None, Fraction(1, 10**320), Fraction(3, 10**320)),
    ],
)
def test_grids_of_every_kind_are_in_order_and_within_bounds(
    kind: Kind, scale: int | None, lower: Fraction, upper: Fraction
) -> None:
    found = grid(kind, scale, (Fraction(lower), Fraction(upper)), 2**14)
    values = [found.value(bucket) for bucket in range(found.size)]
    step = found.quantum.step
    assert all(here < after for here, after in itertools.pairwise(values))
    assert lower - step <= values[0]
    assert values[-1] <= upper + step
    assert found.size <= 2**14


def test_far_from_zero_steps_grow_with_the_distance() -> None:
    found = grid("float", None, (Fraction(0), Fraction(10) ** 9), 2**14)
    near, far = (min(bucket for bucket in range(found.size) if found.value(bucket) >= at) for at in (100, 10**8))
    for bucket in (near, far):
        assert (found.value(bucket + 1) - found.value(bucket)) / found.value(bucket) < Fraction(1, 250)


def test_bounds_beyond_exact_integers_are_refused() -> None:
    with pytest.raises(ScaleError):
        grid("float", None, (Fraction(10) ** 300, Fraction(2) * 10**300), 100)
