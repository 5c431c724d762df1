"""How far answers are from the truth: root-mean-square errors of one column of [0, 100], 1,000 owners, at epsilon 1."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import mean

from tests.bench.figures import BLOCKS, Figure, figure
from tests.bench.world import World
from tests.oracles.databases import DuckdbDatabase
from tests.release.test_moments import POINTS, drawn, truth

OWNERS = 1_000
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
