"""The second implementation of second moments: exact fractions over pairs, read with Discreet's semantics.

Fewer than two rows, or no variation where it is needed, give zero; an intercept then is the mean of y.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from tests.oracles.questions import PAIRS, SPREADS
from tests.oracles.worlds import Col

FUNCTIONS = frozenset({*SPREADS, *PAIRS})
FLAT = Fraction(1, 1000)
"""Below this part of the greatest variance the rounding of values to their grid decides a correlation or a slope."""


def ends(col: Col) -> tuple[Fraction, Fraction]:
    """The declared bounds of a column."""
    lower, upper = (Fraction(end) for end in re.findall(r"(?:lower|upper): ([-0-9.e]+)", col.declared))
    return lower, upper


def spread(function: str, values: list[Fraction]) -> float:
    """A statistic of one column, NULLs left out."""
    if len(values) < 2:
        return 0.0
    found = float(_product(values, values) / (len(values) - function.endswith("SAMP")))
    return math.sqrt(found) if function.startswith("STDDEV") else found


def paired(function: str, pairs: list[tuple[Fraction, Fraction]], y: Col, x: Col) -> float:
    """A statistic of two columns, pairs with a NULL left out; infinity where the grid's rounding would decide it."""
    ys, xs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if function == "REGR_COUNT":
        return float(len(pairs))
    if function == "REGR_AVGX":
        return float(sum(xs) / len(xs)) if xs else float(sum(ends(x)) / 2)
    level = sum(ys) / len(ys) if ys else sum(ends(y)) / 2
    shared, of_x, of_y = _product(ys, xs), _product(xs, xs), _product(ys, ys)
    if function.startswith("COVAR"):
        return 0.0 if len(pairs) < 2 else float(shared / (len(pairs) - function.endswith("SAMP")))
    needed = [(of_x, x)] if function in ("REGR_SLOPE", "REGR_INTERCEPT") else [(of_x, x), (of_y, y)]
    if len(pairs) < 2:
        return float(level) if function == "REGR_INTERCEPT" else 0.0
    if any(size / len(pairs) <= FLAT * ((ends(col)[1] - ends(col)[0]) / 2) ** 2 for size, col in needed):
        return math.inf
    slope = shared / of_x
    match function:
        case "REGR_SLOPE":
            return float(slope)
        case "REGR_INTERCEPT":
            return float(level - slope * sum(xs) / len(xs))
    correlation = float(shared) / math.sqrt(float(of_x) * float(of_y))
    return correlation**2 if function == "REGR_R2" else correlation


def _product(first: list[Fraction], second: list[Fraction]) -> Fraction:
    """The sum of products of distances from the means."""
    if not first:
        return Fraction(0)
    mean, other = Fraction(sum(first)) / len(first), Fraction(sum(second)) / len(second)
    return sum(((a - mean) * (b - other) for a, b in zip(first, second, strict=True)), Fraction(0))


def slack(function: str, y: Col, x: Col | None) -> float:
    """What rounding to grids of 2^-22 of the bounds may change, at the least variance that is looked at."""
    high = float(ends(y)[1] - ends(y)[0])
    wide = high if x is None else float(ends(x)[1] - ends(x)[0])
    match function:
        case "STDDEV_POP" | "STDDEV_SAMP":
            return high * 2.0**-10  # the root of what a variance of zero may be off
        case "CORR" | "REGR_R2":
            return 2.0**-8
        case "REGR_SLOPE":
            return high / wide * 2.0**-8
        case "REGR_INTERCEPT":
            assert x is not None
            return high * 2.0**-8 * (1 + float(max(map(abs, ends(x)))) / wide)
        case "REGR_COUNT":
            return 0.0
        case "REGR_AVGX":
            return wide * 2.0**-20
        case _:
            return high * wide * 2.0**-20
