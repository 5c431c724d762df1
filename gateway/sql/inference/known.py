"""What is known of a scalar: kind, decimals, interval, public values, whether it may be NULL.

Each rule says why it is sound; a fact about data holds only where the bounded SQL or the catalogue enforces it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from fractions import Fraction
from itertools import product
from typing import Protocol, assert_never

from gateway.policy.model import Column, Table, Value
from gateway.sql.algebra import Call, Constant, Kind, Ref, Scalar
from gateway.sql.inference import images, intervals
from gateway.sql.inference.images import MOST_LISTED
from gateway.sql.inference.intervals import Bounds

DECIMALS = 12
"""The most decimals of a number that is kept in whole numbers."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a column: kind, decimals, declared bounds and values, whether it may be NULL.

    ``bounds`` are an interval (of dates and timestamps in days since the year 1); ``proven`` whether no value lies
    outside, whatever the rows hold, since the bounded SQL computes it so. ``origin`` is the table and column that it is
    unchanged, ``scan`` the scan of a public table whose listed values it has; ``owner`` whether it is the owner's own
    key; ``wide`` the declared bounds, where a condition has narrowed them, and ``told`` whether nothing but conditions
    says any; ``padded`` whether a left join puts NULL there for rows without a pair; ``size`` how many nodes it has
    written out; ``length`` the most characters of a text.
    """

    kind: Kind
    scale: int | None = None
    bounds: Bounds | None = None
    values: tuple[Value, ...] | None = None
    nullable: bool = True
    origin: tuple[str, str] | None = None
    scan: int | None = None
    owner: bool = False
    padded: bool = False
    size: int = 1
    proven: bool = False
    length: int | None = None
    wide: Bounds | None = None
    told: bool = False


class Columns(Protocol):
    """What is known of the columns in reach, by name."""

    def __getitem__(self, name: str, /) -> Known:
        """Return what is known of one."""


def declared_bounds(column: Column) -> Bounds | None:
    """Return a column's declared bounds as an interval, those of dates in days."""
    lower, upper = column.lower, column.upper
    if lower is None or upper is None:
        return None
    return position(lower), position(upper)


def held_bounds(table: Table, column: str) -> Bounds | None:
    """Return the interval of what a column of a public table held when its policy was applied.

    Why this is sound: like declared bounds it is no fact about what the table holds by now; the clamp enforces it.
    """
    found = ((position(each.lower), position(each.upper)) for each in table.ends if each.column == column)
    return next(found, None)


def position(value: Fraction | date | datetime) -> Fraction:
    """Return a number as it is, a date or timestamp in days since the year 1."""
    if isinstance(value, datetime):
        return Fraction((value - datetime(1, 1, 1)) // timedelta(microseconds=1), 86_400_000_000) + 1  # noqa: DTZ001
    return Fraction(value.toordinal()) if isinstance(value, date) else value


def moment(days: Fraction, kind: Kind) -> date | datetime:
    """Return the date or timestamp of a position in days; of a date, the day that it lies in."""
    if kind == "date":
        return date.fromordinal(int(days))
    return datetime(1, 1, 1) + timedelta(microseconds=int((days - 1) * 86_400_000_000))  # noqa: DTZ001


def known(scalar: Scalar, columns: Columns) -> Known:
    """Return what is known of an expression over columns of which that is known.

    Why the bounds are sound: an expression that picks one of several values lies within the union of their bounds; one
    that computes does so from operands that clamps hold within theirs (``intervals``).
    """
    match scalar:
        case Ref(name):
            return columns[name]
        case Constant(value, kind):
            return _constant(value, kind)
        case Call("case", args):
            parts = [*args[1:-1:2], args[-1]]
            return picked(parts, [known(part, columns) for part in parts])
        case Call("coalesce", args):
            each = [known(arg, columns) for arg in args]
            return replace(picked(args, each), nullable=all(found.nullable for found in each))
        case Call("to_float", (arg,)):
            below = known(arg, columns)
            bounds = intervals.doubles(below.bounds) if below.proven and below.bounds is not None else below.bounds
            return replace(
                below, kind="float", scale=None, bounds=bounds, origin=None, scan=None, owner=False, values=None
            )
        case Call(function, args, kind):
            each = [known(arg, columns) for arg in args]
            return _imaged(_computed(function, args, kind, each), function, args, each)
    assert_never(scalar)


def _constant(value: Value, kind: Kind) -> Known:
    """Return what is known of a constant; a float's is the double that stands for it."""
    exact = None
    if isinstance(value, int | Fraction) and not isinstance(value, bool):
        exact = Fraction(float(value)) if kind == "float" else Fraction(value)
    elif isinstance(value, date):
        exact = position(value)
    bounds = None if exact is None else (exact, exact)
    values = None if value is None else (value,)
    length = len(value) if isinstance(value, str) else 0 if value is None else None
    scale = places(exact) if kind in ("integer", "decimal", "float") else None
    return Known(kind, scale, bounds, values, nullable=value is None, proven=True, length=length)


def places(value: Fraction | None) -> int | None:
    """Return how many decimals a number has, None for none or too many."""
    if value is None:
        return None
    return next((scale for scale in range(DECIMALS + 1) if (value * 10**scale).denominator == 1), None)


def picked(parts: Sequence[Scalar], found: Sequence[Known]) -> Known:
    """Return what is known of a value that is one of several, of each of which that is known."""
    some = [part for part, scalar in zip(found, parts, strict=True) if not _is_null(scalar)]
    kind = next((part.kind for part in some if part.kind == "float"), some[0].kind if some else found[0].kind)
    bounds = [part.bounds for part in some if part.bounds is not None]
    scales = [part.scale for part in some]
    values = [part.values for part in some]
    lengths = [part.length for part in some]
    return Known(
        kind=kind,
        scale=None if any(scale is None for scale in scales) else max((s for s in scales if s is not None), default=0),
        bounds=intervals.hull(bounds) if bounds and len(bounds) == len(some) else None,
        values=None
        if not values or any(value is None for value in values)
        else tuple(dict.fromkeys(v for value in values if value is not None for v in value)),
        nullable=any(part.nullable for part in found),
        proven=all(part.proven for part in some),
        length=None if any(length is None for length in lengths) else max((n for n in lengths if n), default=0),
    )


def _is_null(scalar: Scalar) -> bool:
    return isinstance(scalar, Constant) and scalar.value is None


def _computed(function: str, args: Sequence[Scalar], kind: Kind, each: Sequence[Known]) -> Known:
    """Return what is known of a function's value from what is known of its arguments."""
    scale = 0 if kind == "integer" else None
    if function in ("as_double", "within") and kind == "float":
        scale = each[0].scale  # whether its values are whole, which a divisor's distance from zero hangs on
    length = images.length(function, [found.length for found in each], args)
    bounds = _bounds(function, args, kind, each)
    # Of a date that is there, so is what it is cut to; one that is none counts as nothing.
    there = kind != "float" and (function == "clamp" or function in images.CALENDAR | images.CUT)
    nullable = each[0].nullable if there else True
    return Known(kind, scale, bounds, nullable=nullable, proven=bounds is not None, length=length)


def _bounds(function: str, args: Sequence[Scalar], kind: Kind, each: Sequence[Known]) -> Bounds | None:
    """Return the interval of a function's values, None if none is known; it holds whatever the rows hold.

    Why that is so: a clamp's and a guard's interval is that of their constants; what is computed has operands that are
    proven (``arithmetic.operand``), and a part of a date lies within the calendar's own bounds.
    """
    if function in images.CALENDAR:
        return images.part_bounds(function, each[0])
    if function in ("least", "greatest"):
        return _extreme(function, args, each)
    if function == "length" and each[0].length is not None:
        return Fraction(0), Fraction(each[0].length)
    if function == "position" and each[0].length is not None:
        return Fraction(0), Fraction(each[0].length + 1)
    if function in ("clamp", "clamp_whole"):
        low, high = each[1].bounds, each[2].bounds
        if low is None or high is None:
            return None
        # Declared bounds narrow nothing: what enforces them is this clamp, whose ends may lie beyond them.
        within = each[0].bounds if each[0].proven else None
        return (low[0], high[1]) if within is None else intervals.held(within, low[0], high[1])
    if function == "units":
        return _scaled(args, each)
    if function in images.MOVED:
        return images.moved(function, args, each)
    operands = [found.bounds for found in each]
    if any(found is None for found in operands) or not all(found.proven for found in each):
        return None
    return _arithmetic(function, kind, [found for found in operands if found is not None], each)


def _scaled(args: Sequence[Scalar], each: Sequence[Known]) -> Bounds | None:
    """Return the interval of a decimal's units: its clamp's ends in them."""
    low, high, scale = each[1].bounds, each[2].bounds, args[3]
    if low is None or high is None or not isinstance(scale, Constant) or not isinstance(scale.value, int):
        return None
    return low[0] * 10**scale.value, high[1] * 10**scale.value


def _arithmetic(function: str, kind: Kind, ends: Sequence[Bounds], each: Sequence[Known]) -> Bounds | None:
    whole = kind == "integer"
    if function in intervals.UNARY:
        return intervals.UNARY[function](ends[0])
    match function:
        case "within":
            low, high = ends[1][0], ends[2][1]
            return intervals.held(ends[0], low, high)
        case "row_add":
            return intervals.add(ends[0], ends[1], whole=whole)
        case "row_subtract":
            return intervals.subtract(ends[0], ends[1], whole=whole)
        case "row_multiply":
            return intervals.multiply(ends[0], ends[1])
        case "row_product":
            return intervals.product(ends[0], ends[1])
        case "row_divide":
            return intervals.divide(ends[0], ends[1], Fraction(1) if each[1].scale == 0 else intervals.NEAREST)
        case "quotient":
            return intervals.quotient(ends[0], ends[1])
        case "remainder":
            return intervals.remainder(ends[0], ends[1])
        case "row_power" | "row_inverse":
            return intervals.power(ends[0], float(ends[2][0]), float(ends[1][0]), whole=each[0].scale == 0)
        case "row_raised":
            found = [float(ends[0][0]) ** float(end) for end in ends[1]]
            return intervals.outward(min(found), max(found))
        case "seconds":
            low, high = (Fraction(math.floor((end - 1) * 86_400)) for end in ends[0])
            return low, high
        case "days_between":
            return intervals.subtract(ends[1], ends[0], whole=True)
    return None


def _extreme(function: str, args: Sequence[Scalar], each: Sequence[Known]) -> Bounds | None:
    """Return the interval of the least or greatest of several, of which those that are NULL do not count.

    Why this is sound: the value is one of those that are not NULL; the least is not above any of them, but only a
    constant is certain not to be NULL. (A policy's ``nullable: false`` is not enforced here.)
    """
    if not all(found.proven and found.bounds is not None for found in each):
        return None
    some = [found.bounds for found in each if found.bounds is not None]
    low, high = intervals.hull(some)
    for arg, bounds in zip(args, some, strict=True):
        if isinstance(arg, Constant):
            low, high = (low, min(high, bounds[1])) if function == "least" else (max(low, bounds[0]), high)
    return low, high


def _imaged(found: Known, function: str, args: Sequence[Scalar], each: Sequence[Known]) -> Known:
    """Add the public values of a function of public values, where it can be computed here as on every engine.

    Why this is sound: the list is made of the policy and the text alone, and the bounded SQL drops every row whose
    value is not on it; a value that is missing here would cost meaning, never privacy.
    """
    if function in images.CUT and each[0].bounds is not None and each[0].proven:
        listed = images.periods(function, each[0].bounds, MOST_LISTED)
        return found if listed is None else replace(found, values=listed)
    if function in images.WHOLE and found.kind == "integer":
        return _whole(found, function, args, each)
    compute = images.IMAGES.get(function)
    if compute is None or all(isinstance(arg, Constant) for arg in args):
        return found
    lists = images.few([part.values if part.values is not None else between(part) for part in each])
    if lists is None:
        return found
    values = tuple(dict.fromkeys(compute(*chosen) for chosen in product(*lists)))
    nullable = any(part.nullable for part in each) or None in values
    return replace(found, values=tuple(value for value in values if value is not None), nullable=nullable)


def between(found: Known) -> tuple[int, ...] | None:
    """Return the whole numbers between two ends, None if they are not known or more than are listed one by one.

    They are declared of a column as it is, or computed so; a number outside is on no list, and its row is dropped.
    """
    if found.kind != "integer" or found.bounds is None or not (found.proven or found.origin is not None):
        return None
    first, last = math.ceil(found.bounds[0]), math.floor(found.bounds[1])
    return tuple(range(first, last + 1)) if last - first < images.MOST_WHOLE else None


def _whole(found: Known, function: str, args: Sequence[Scalar], each: Sequence[Known]) -> Known:
    """Add the values that a function gives of few whole numbers, where they are fewer than lie between its ends."""
    lists = [part.values if part.values is not None and part.proven else between(part) for part in each]
    values = images.whole(function, args, lists)
    if values is None or found.bounds is None or len(values) > found.bounds[1] - found.bounds[0]:
        return found
    return replace(found, values=tuple(sorted(value for value in values if isinstance(value, int))))
