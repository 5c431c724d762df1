"""Interval arithmetic: between which ends the result of each operation over rows lies, rounded outward.

Whole numbers are exact. Doubles are computed here as the engines compute them: addition, multiplication, division and
square roots round to the nearest double, which keeps order, so that the ends of the operands give the ends of the
result; logarithms, exponentials and powers may be off by units in the last place, and their ends are moved outward by a
factor that is far above that.

Why this is sound: operands lie within their own intervals, since clamps put them there (``arithmetic.operand``); each
rule below then holds for every pair of values of two intervals, and the test of these rules draws such pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType

from gateway.sql.functions import FLUSH

Bounds = tuple[Fraction, Fraction]

WHOLE = 2**63 - 1
"""Whole numbers are computed with between its negative and itself: BIGINT holds them, and their negatives."""

EXACT_FLOAT = Fraction(2**53)
"""Up to here each whole number has a double of its own."""

LIMIT = Fraction(2**500)
"""Doubles enter an operation only within this and its negative: no product or quotient of two then overflows."""

NEAREST = Fraction(2) ** -453
"""No double but zero that was held away from zero (``functions.FLUSH``) is nearer to it than this."""

SLACK = Fraction(1, 2**40)
"""What the ends of a function of the mathematical library are moved outward by; its errors are about 2^-52."""


def flushed(value: float) -> float:
    """Return a double held away from zero as the engines do it; it keeps order."""
    return (value + FLUSH) - FLUSH


def doubles(bounds: Bounds) -> Bounds:
    """Return the interval of the nearest doubles of an interval's values."""
    return Fraction(float(bounds[0])), Fraction(float(bounds[1]))


def hull(some: Sequence[Bounds]) -> Bounds:
    """Return the least interval that holds several."""
    return min(low for low, _ in some), max(high for _, high in some)


def _corners(compute: Callable[[float, float], float], first: Bounds, second: Bounds) -> Bounds:
    found = [Fraction(compute(float(a), float(b))) for a in first for b in second]
    return min(found), max(found)


def _exact_corners(compute: Callable[[Fraction, Fraction], Fraction], first: Bounds, second: Bounds) -> Bounds:
    found = [compute(a, b) for a in first for b in second]
    return min(found), max(found)


def _pieces(bounds: Bounds, nearest: Fraction) -> list[Bounds]:
    """Return the parts of an interval below and above zero, whose values are at least ``nearest`` away from it."""
    low, high = bounds
    found = []
    if low < 0:
        found.append((low, max(min(high, -nearest), low)))
    if high > 0:
        found.append((min(max(low, nearest), high), high))
    return found


def add(first: Bounds, second: Bounds, *, whole: bool) -> Bounds:
    """Return the interval of sums."""
    (a, b), (c, d) = (first, second) if whole else (doubles(first), doubles(second))
    return (a + c, b + d) if whole else doubles((a + c, b + d))


def subtract(first: Bounds, second: Bounds, *, whole: bool) -> Bounds:
    """Return the interval of differences."""
    (a, b), (c, d) = (first, second) if whole else (doubles(first), doubles(second))
    return (a - d, b - c) if whole else doubles((a - d, b - c))


def multiply(first: Bounds, second: Bounds) -> Bounds:
    """Return the interval of products of whole numbers."""
    return _exact_corners(lambda a, b: a * b, first, second)


def product(first: Bounds, second: Bounds) -> Bounds:
    """Return the interval of products of doubles, held away from zero."""
    return _corners(lambda a, b: flushed(a) * flushed(b), first, second)


def divide(first: Bounds, second: Bounds, nearest: Fraction) -> Bounds:
    """Return the interval of quotients of doubles; ``nearest`` is how near to zero a divisor may come."""
    parts = _pieces(second, nearest)
    found = [_corners(lambda a, b: flushed(a) / b, first, (flushed_end(p[0]), flushed_end(p[1]))) for p in parts]
    return hull(found) if found else (Fraction(0), Fraction(0))


def flushed_end(end: Fraction) -> Fraction:
    """Return the end of a divisor's interval as it is held, but never zero."""
    held = Fraction(flushed(float(end)))
    return held if held else Fraction(math.copysign(float(NEAREST), float(end)))


def quotient(first: Bounds, second: Bounds) -> Bounds:
    """Return the interval of whole quotients, rounded toward zero."""
    found = [_exact_corners(lambda a, b: Fraction(math.trunc(a / b)), first, p) for p in _pieces(second, Fraction(1))]
    return hull(found) if found else (Fraction(0), Fraction(0))


def remainder(first: Bounds, second: Bounds) -> Bounds:
    """Return the interval of remainders, which have the sign of the dividend and are smaller than the divisor."""
    most = max(max(abs(second[0]), abs(second[1])) - 1, Fraction(0))
    zero = Fraction(0)
    return max(min(first[0], zero), -most), min(max(first[1], zero), most)


def absolute(bounds: Bounds) -> Bounds:
    """Return the interval of absolute values."""
    low, high = bounds
    least = Fraction(0) if low <= 0 <= high else min(abs(low), abs(high))
    return least, max(abs(low), abs(high))


def rounded(value: Fraction) -> Fraction:
    """Return a double rounded to a whole number as the engines do it: half away from zero."""
    near = float(value)
    return Fraction(math.trunc(near + math.copysign(0.5, near))) if near else Fraction(0)


def held(bounds: Bounds, low: Fraction, high: Fraction) -> Bounds:
    """Return the interval of values that are clamped to two ends."""
    return min(max(bounds[0], low), high), max(min(bounds[1], high), low)


def outward(low: float, high: float) -> Bounds:
    """Return an interval that holds what a library may make of two ends."""
    first, second = Fraction(low), Fraction(high)
    return first - abs(first) * SLACK - NEAREST, second + abs(second) * SLACK + NEAREST


def logarithm(bounds: Bounds, compute: Callable[[float], float]) -> Bounds:
    """Return the interval of logarithms of the positive values of an interval."""
    low, high = (max(float(end), 5e-324) for end in bounds)
    return outward(compute(low), compute(high))


def power(base: Bounds, exponent: float, nearest: float, *, whole: bool) -> Bounds:
    """Return the interval of a constant power of a base whose bits below ``nearest`` are dropped."""
    low, high = float(base[0]), float(base[1])
    far = max(abs(low), abs(high))
    if exponent < 0:
        near = low if low > nearest else -high if high < -nearest else 1.0 if whole else nearest * 2.0**-53
        most = (near * (1 - 2.0**-30)) ** exponent
        least = 0.0
    else:
        moved = (far + nearest) * 2.0**-50
        most = (far + moved) ** exponent
        least = max(low - moved, 0.0) ** exponent if low > 0 else 0.0
    signed = low < 0 and not (exponent.is_integer() and exponent % 2 == 0)
    found = outward(-most if signed else least, most)
    return found if signed else (max(found[0], Fraction(0)), found[1])


def _root(end: Fraction) -> Fraction:
    return Fraction(math.sqrt(max(float(end), 0.0)))


UNARY: Mapping[str, Callable[[Bounds], Bounds]] = MappingProxyType(
    {
        "row_abs": absolute,
        "to_whole": lambda bounds: bounds,
        "as_double": doubles,
        "row_floor": lambda b: (Fraction(math.floor(b[0])), Fraction(math.floor(b[1]))),
        "row_ceil": lambda b: (Fraction(math.ceil(b[0])), Fraction(math.ceil(b[1]))),
        "row_trunc": lambda b: (Fraction(math.trunc(b[0])), Fraction(math.trunc(b[1]))),
        "row_round": lambda b: (rounded(b[0]), rounded(b[1])),
        "floor_whole": lambda b: (Fraction(math.floor(b[0])), Fraction(math.floor(b[1]))),
        "ceil_whole": lambda b: (Fraction(math.ceil(b[0])), Fraction(math.ceil(b[1]))),
        "trunc_whole": lambda b: (Fraction(math.trunc(b[0])), Fraction(math.trunc(b[1]))),
        "round_whole": lambda b: (rounded(b[0]), rounded(b[1])),
        "even_whole": lambda b: (Fraction(round(b[0])), Fraction(round(b[1]))),
        "row_sqrt": lambda b: (_root(b[0]), _root(b[1])),
        "row_ln": lambda b: logarithm(b, math.log),
        "row_log10": lambda b: logarithm(b, math.log10),
        "row_exp": lambda b: outward(math.exp(float(b[0])), math.exp(float(b[1]))),
    }
)
"""The interval of each function of one number, given that of its argument."""
