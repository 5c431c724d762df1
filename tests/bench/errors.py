"""How far answers are from the truth, with 1,000 owners of one row each, at epsilon 1.

Root-mean-square errors of statistics of a column of [0, 100]; of the median of skewed columns, how many rows lie on
average between what was answered and the middle.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random
from statistics import mean

import pyarrow as pa

from gateway.answers.estimated import estimate
from gateway.release import release
from gateway.sql.planning.plan import PlannedRelease
from tests.bench.figures import BLOCKS, Figure, figure
from tests.bench.world import World
from tests.oracles import worlds
from tests.oracles.databases import DuckdbDatabase, duckdb_dataset
from tests.oracles.questions import plan, written
from tests.release.test_moments import POINTS, drawn, truth

OWNERS = 1_000
MEDIANS = 40
"""Draws of a median in a block."""

SKEWED = worlds.World(
    "skewed",
    "row",
    (
        worlds.Tab(
            "point",
            tuple(
                worlds.Col(name, "number", "DOUBLE", "double precision", (), declared="lower: 0, upper: 10000000")
                for name in ("lognormal", "pareto")
            ),
            None,
        ),
    ),
)
STATISTICS = ("AVG(x)", "VAR_POP(x)", "STDDEV_POP(x)", "COVAR_POP(y, x)", "CORR(y, x)", "REGR_SLOPE(y, x)")


def errors(world: World) -> Iterator[Figure]:
    """Yield the error of each statistic, over blocks of 2,000 releases; the tables of ``world`` play no part."""
    del world
    base = DuckdbDatabase(POINTS)
    try:
        for select in STATISTICS:
            exact = truth(select, OWNERS)
            blocks = (drawn(base, select, OWNERS).values for _ in range(BLOCKS))
            found = [math.sqrt(mean((value - exact) ** 2 for value in values)) for values in blocks]
            yield figure(f"error of {select}, n = 1,000, epsilon 1", "", found)
    finally:
        base.close()


def ranks(world: World) -> Iterator[Figure]:
    """Yield the error of the median of each skewed column in ranks; the tables of ``world`` play no part."""
    del world
    random = Random(7)  # noqa: S311 - fixed examples, not noise
    rows: list[worlds.Row] = [
        (math.exp(10 + random.gauss(0, 1)), 100 * random.paretovariate(1.2)) for _ in range(OWNERS)
    ]
    base = DuckdbDatabase(SKEWED)
    try:
        base.fill({"point": rows})
        for place, name in enumerate(("lognormal", "pareto")):
            ordered = sorted(float(str(row[place])) for row in rows)
            [planned] = plan(written(f"SELECT MEDIAN({name}) FROM point"), duckdb_dataset(SKEWED)).releases
            tables = [base.fetch(statement.sql) for statement in planned.statements]
            found = [mean(_rank(planned, tables, ordered) for _ in range(MEDIANS)) for _ in range(BLOCKS)]
            yield figure(f"rank error of MEDIAN({name}), n = 1,000, epsilon 1", "", found)
    finally:
        base.close()


def _rank(planned: PlannedRelease, tables: list[pa.Table], ordered: list[float]) -> float:
    """Return how many rows lie between one more answer and the middle."""
    [found] = estimate(planned, release(planned, *tables), 0.95).values()
    told = float(found.values[0])
    return abs(sum(value < told for value in ordered) - len(ordered) / 2)
