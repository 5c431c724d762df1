"""Arithmetic of decimals in whole numbers: the same value of a row, as a number of units of a power of ten.

``price * (1 - discount)``, of two decimals each  →  ``units(price) * (100 - units(discount))``, in units of .0001

Doubles would round each step, so that the last digits of a sum would be other ones than those of the plain SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from gateway.sql.algebra import Call, Constant, Ref, Scalar, written
from gateway.sql.inference import intervals
from gateway.sql.inference.intervals import Bounds
from gateway.sql.inference.known import DECIMALS, Columns, known, places

WIDEST = 2**40
"""The most units that a value, or what it is computed from, may have (``quantum.EXACT``)."""

LARGEST = 5_000
"""Nodes of the largest expression, written out, that is looked at: in units it may be a little larger."""


@dataclass(frozen=True, slots=True)
class Units:
    """A whole number of units of 10^-``scale`` which lies within ``bounds`` whatever the row holds."""

    scalar: Scalar
    scale: int
    bounds: Bounds


def units(found: Scalar, columns: Columns) -> Units | None:
    """Return a number of a row in units of a power of ten, where its arithmetic is sums and products of decimals.

    Why this is sound: what ``arithmetic.operand`` put a clamp around is clamped to the decimals within the same ends;
    sums, differences and products of whole numbers have those of their intervals for ends, all of them below 2^40 and
    so within 64 bits; what picks one of several lies within the union of theirs. NULL is where it was: a sum or product
    is NULL where one of its operands is.
    """
    if written(found) > LARGEST:
        return None
    made = _units(found, columns)
    return made if made is None or isinstance(made.scalar, Call) else None


def _units(found: Scalar, columns: Columns) -> Units | None:
    match found:
        case Constant():
            return _constant(found)
        case Call("as_double", (arg,)):
            return _units(arg, columns)
        case Call(_, _, "integer"):
            about = known(found, columns)
            return _within(found, 0, about.bounds) if about.proven else None
        case Call("clamp", (Call("to_float", (Ref() as column,)), Constant() as low, Constant() as high)):
            return _column(column, low, high, columns)
        case Call("row_add" | "row_subtract" | "row_product" as function, (left, right)):
            return _computed(function, _units(left, columns), _units(right, columns))
        case Call("case", args):
            values = [args[at] for at in range(len(args)) if at % 2 or at == len(args) - 1]
            return _picked(found, _several(values, columns))
        case Call("coalesce", args):
            return _picked(found, _several(args, columns))
        case _:
            return None


def _within(scalar: Scalar, scale: int, bounds: Bounds | None) -> Units | None:
    """Return a number of units, None where it may be too large."""
    if bounds is None or scale > DECIMALS or max(-bounds[0], bounds[1]) > WIDEST:
        return None
    return Units(scalar, scale, bounds)


def _finer(found: Units, scale: int) -> Units | None:
    """Return the same value in units of a smaller power of ten."""
    factor = 10 ** (scale - found.scale)
    if factor == 1:
        return found
    low, high = (end * factor for end in found.bounds)
    scalar: Scalar = Call("row_multiply", (found.scalar, Constant(factor, "integer")), "integer")
    if isinstance(found.scalar, Constant):
        scalar = Constant(int(low), "integer")
    return _within(scalar, scale, (low, high))


def _constant(found: Constant) -> Units | None:
    value = found.value
    if isinstance(value, bool) or not isinstance(value, int | Fraction):
        return None
    scale = places(Fraction(value))
    if scale is None:
        return None
    whole = int(value * 10**scale)
    return _within(Constant(whole, "integer"), scale, (Fraction(whole), Fraction(whole)))


def _column(column: Ref, low: Constant, high: Constant, columns: Columns) -> Units | None:
    """Return a stored number held between two ends: to the first and the last of its decimals within them."""
    about = known(column, columns)
    if about.kind not in ("integer", "decimal") or about.scale is None or about.scale > DECIMALS:
        return None
    assert isinstance(low.value, int | Fraction)
    assert isinstance(high.value, int | Fraction)
    one = 10**about.scale
    first, last = ceil(low.value * one), floor(high.value * one)
    if first > last:
        return None
    scalar = Call("clamp_whole", (column, Constant(first, "integer"), Constant(last, "integer")), "integer")
    if about.kind == "decimal":
        ends = (Constant(Fraction(first, one), "decimal"), Constant(Fraction(last, one), "decimal"))
        scalar = Call("units", (column, *ends, Constant(about.scale, "integer")), "integer")
    return _within(scalar, about.scale, (Fraction(first), Fraction(last)))


def _computed(function: str, left: Units | None, right: Units | None) -> Units | None:
    if left is None or right is None:
        return None
    if function == "row_product":
        made = Call("row_multiply", (left.scalar, right.scalar), "integer")
        return _within(made, left.scale + right.scale, intervals.multiply(left.bounds, right.bounds))
    scale = max(left.scale, right.scale)
    left, right = _finer(left, scale), _finer(right, scale)
    if left is None or right is None:
        return None
    compute = intervals.add if function == "row_add" else intervals.subtract
    bounds = compute(left.bounds, right.bounds, whole=True)
    return _within(Call(function, (left.scalar, right.scalar), "integer"), scale, bounds)


def _several(values: Sequence[Scalar], columns: Columns) -> list[Units | None] | None:
    """Return values in one unit, None in the place of NULL; None where one of them has no units."""
    found: list[Units | None] = []
    for value in values:
        null = isinstance(value, Constant) and value.value is None
        made = None if null else _units(value, columns)
        if made is None and not null:
            return None
        found.append(made)
    scale = max((each.scale for each in found if each is not None), default=0)
    finer = [None if each is None else _finer(each, scale) for each in found]
    return None if any(made is None and each is not None for made, each in zip(finer, found, strict=True)) else finer


def _picked(found: Call, values: list[Units | None] | None) -> Units | None:
    """Return what picks one of several values, with the values in units and the conditions as they are."""
    some = [] if values is None else [each for each in values if each is not None]
    if values is None or not some:
        return None
    left = iter(values)
    last = len(found.args) - 1
    args = []
    for at, arg in enumerate(found.args):
        if found.function == "case" and not (at % 2 or at == last):
            args.append(arg)
            continue
        each = next(left)
        args.append(Constant(None, "integer") if each is None else each.scalar)
    made = Call("to_whole", (Call(found.function, tuple(args), "integer"),), "integer")
    return _within(made, some[0].scale, intervals.hull([each.bounds for each in some]))
