"""Quantisation: how a bounded value of one row becomes an exact integer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from gateway.sql.algebra import Kind, Scalar
from gateway.sql.inference.known import Columns, Known
from gateway.sql.inference.units import units

EXACT = 2**40
"""The widest bound that is kept in a column's own integers or decimals; beyond, the unit is coarser."""

WIDEST = Fraction(2**62)
"""Whole numbers and decimals are clamped here at the latest: narrower than declared is as sound."""

LARGEST = Fraction(2**900)
"""Floats are clamped here at the latest: beyond, no step is left that keeps their integers below 2^63."""

RESOLUTION = 24
"""A float's unit is its largest bound, or the distance of its bounds if that is smaller, divided by about 2^24."""

FINEST = 40
"""It is no less than the largest bound divided by about 2^40: integers stay as narrow as those of decimals."""


@dataclass(frozen=True, slots=True)
class Quantum:
    """How a bounded value becomes an exact integer: multiples of ``step`` from ``lower`` to ``upper``, both inclusive.

    ``how`` says by which arithmetic of one row: the value's own integers, its decimals (``scale`` of them), whole
    numbers of its ``units``, or a float rounded once; ``kind`` is the kind of the value.

    Why this is sound: the value is clamped and rounded before anything is summed, so that whatever the row
    holds, its integer lies between ``lower`` and ``upper``; NULL and NaN have no integer and count as nothing.
    """

    how: Literal["integer", "decimal", "units", "float"]
    kind: Kind
    scale: int
    step: Fraction
    lower: int
    upper: int

    @property
    def width(self) -> int:
        """The number of steps between the bounds, at least one so that a constant column still counts its rows."""
        return max(self.upper - self.lower, 1)


def quantum(kind: Kind, scale: int | None, lower: Fraction, upper: Fraction) -> Quantum:
    """Return the quantisation of a number of that kind between those bounds."""
    most = LARGEST if kind == "float" else WIDEST
    lower, upper = (min(max(bound, -most), most) for bound in (lower, upper))
    widest = max(abs(lower), abs(upper))
    places = 0 if kind == "integer" else scale
    if kind != "float" and places is not None and places <= 12 and widest * 10**places <= EXACT:
        step = Fraction(1, 10**places)
        how: Literal["integer", "decimal"] = "integer" if kind == "integer" else "decimal"
        return _ordered(Quantum(how, kind, places, step, math.floor(lower / step), math.ceil(upper / step)))
    width = min(widest, upper - lower)
    exponent = max(magnitude(width) - RESOLUTION, magnitude(widest) - FINEST) if float(widest) else 0
    step = Fraction(2) ** max(exponent, -900)
    return _ordered(Quantum("float", kind, 0, step, _rounded(lower, step), _rounded(upper, step)))


def magnitude(value: Fraction) -> int:
    """Return the binary logarithm of a number, rounded up; that of zero is below all that are asked for."""
    near = float(value)  # zero for what no double can tell from it
    return math.ceil(math.log2(near)) if near else -2_000


def in_units(scalar: Scalar, about: Known, columns: Columns) -> tuple[Quantum, Scalar] | None:
    """Return the quantisation of what is computed by sums and products of decimals, and its integer as a scalar.

    None where it is not, and where its interval in whole numbers would be wider than that of ``about``.
    """
    made = units(scalar, columns) if about.kind == "float" else None
    if made is None or about.bounds is None:
        return None
    step = Fraction(1, 10**made.scale)
    lower, upper = map(int, made.bounds)
    if lower < math.floor(about.bounds[0] / step) or upper > math.ceil(about.bounds[1] / step):
        return None
    return Quantum("units", about.kind, made.scale, step, lower, upper), made.scalar


def _ordered(found: Quantum) -> Quantum:
    if found.lower > found.upper:
        raise AssertionError("bounds upside down")
    return found


def _rounded(bound: Fraction, step: Fraction) -> int:
    """Return the integer of a bound by the very float arithmetic that the engine does with a clamped value.

    Why no value lies beyond: converting to a double, adding half a step, dividing by a power of two and flooring each
    keep order, so that a value between two bounds has its integer between theirs. Half a step is added first because
    PostgreSQL refuses a quotient that underflows, and no such sum is that small without being zero.
    """
    return math.floor((float(bound) + float(step) / 2) / float(step))
