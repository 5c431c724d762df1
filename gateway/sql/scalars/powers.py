"""Lower roots, logarithms, exponentials and powers, and the buckets of a histogram, each NULL outside its domain.

``LN(cost)`` with cost from 0 to 5000  →  ``row_ln(within(clamp(cost, 0, 5000), 5e-324, 5000))``
"""

from __future__ import annotations

import math
from fractions import Fraction

from sqlglot import exp

from gateway.sql.algebra import Call, Constant, Scalar
from gateway.sql.inference.intervals import Bounds
from gateway.sql.refusals import refuse
from gateway.sql.scalars.arithmetic import binary, computed, near, operand, rounded
from gateway.sql.scalars.comparisons import compare
from gateway.sql.scalars.names import Lower, Names, about, call, is_null, literal, number

_LEAST_POSITIVE = Fraction(5e-324)
_EXPONENT = (Fraction(-690), Fraction(346))
"""Between these the exponential neither vanishes nor exceeds 2^500."""

_BITS = 1000
"""Powers are computed only while they lie between 2^-1000 and 2^1000."""


def _double(found: Scalar, node: exp.Expression, names: Names) -> tuple[Scalar, Bounds]:
    """Return an operand as a double, and its interval."""
    if isinstance(found, Constant):
        refuse("not-supported", node, message="Write the result of this out.")
    inside = near(operand(found, node, names), node)
    bounds = about(inside, names).bounds
    assert bounds is not None
    return inside, bounds


def _within(found: Scalar, bounds: Bounds, low: Fraction, high: Fraction) -> Scalar:
    """Return a number, NULL outside two ends; nothing is written where its interval lies inside."""
    if low <= bounds[0] and bounds[1] <= high:
        return found
    ends = (Constant(min(max(low, bounds[0]), high), "float"), Constant(max(min(high, bounds[1]), low), "float"))
    return Call("within", (found, *ends), "float")


def _held(found: Scalar, bounds: Bounds, low: Fraction, high: Fraction) -> Scalar:
    """Return a number held between two ends; nothing is written where its interval lies inside."""
    if low <= bounds[0] and bounds[1] <= high:
        return found
    return Call("clamp", (found, Constant(low, "float"), Constant(high, "float")), "float")


def root(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return a square root, NULL below zero."""
    found = lower(node.this)
    if names.level == "post":
        return call("sqrt", (number(found, node),), "float", node, names)
    inside, bounds = _double(found, node, names)
    return Call("row_sqrt", (_within(inside, bounds, Fraction(0), max(bounds[1], Fraction(0))),), "float")


def _logarithm(function: str, found: Scalar, node: exp.Expression, names: Names) -> Scalar:
    if names.level == "post":
        return call(function, (number(found, node),), "float", node, names)
    inside, bounds = _double(found, node, names)
    inside = _within(inside, bounds, _LEAST_POSITIVE, max(bounds[1], _LEAST_POSITIVE))
    return Call(f"row_{function}", (inside,), "float")


def natural(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return a natural logarithm, NULL at zero and below."""
    return _logarithm("ln", lower(node.this), node, names)


def logarithm(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return a logarithm to a constant base, 10 where none is written."""
    base, of = (None, node.this) if node.args.get("expression") is None else (lower(node.this), node.expression)
    if base is None or base == Constant(10, "integer"):
        return _logarithm("log10", lower(of), node, names)
    value = base.value if isinstance(base, Constant) else None
    if not isinstance(value, int | Fraction) or not 0 < value <= 10**15 or value == 1:
        refuse("constant-invalid", node, message="The base of a logarithm is a positive number, not 1, written out.")
    return computed(
        "divide",
        _logarithm("ln", lower(of), node, names),
        Constant(Fraction(math.log(value)), "float"),
        node,
        names,
    )


def exponential(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return e to a power, NULL where that exceeds 2^499."""
    found = lower(node.this)
    if names.level == "post":
        return call("exp", (number(found, node),), "float", node, names)
    inside, bounds = _double(found, node, names)
    return Call("row_exp", (_exponent(inside, bounds, *_EXPONENT, names),), "float")


def _exponent(inside: Scalar, bounds: Bounds, low: Fraction, high: Fraction, names: Names) -> Scalar:
    """Return an exponent, NULL above an end (the power overflows), held at the other (it is as good as zero)."""
    inside = _within(inside, bounds, min(bounds[0], high), high)
    bounds = about(inside, names).bounds or bounds
    return _held(inside, bounds, low, max(low, bounds[1]))


def power(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return a power whose base or exponent is written out, NULL where it is undefined or overflows."""
    base, exponent = lower(node.this), lower(node.expression)
    if names.level == "post":
        return call("power", (number(base, node), number(exponent, node)), "float", node, names)
    if isinstance(exponent, Constant) and not is_null(exponent):
        return _raised(base, exponent, node, names)
    value = base.value if isinstance(base, Constant) else None
    if isinstance(value, int | Fraction) and value <= 10**15 and float(value) > 0:
        return _of_constant(value, exponent, node, names)
    refuse("constant-invalid", node, message="POWER takes a positive base or an exponent that is written out.")


def _of_constant(base: int | Fraction, exponent: Scalar, node: exp.Expression, names: Names) -> Scalar:
    """Return a power of a constant: NULL where it overflows, as good as zero where it would vanish."""
    wide = Constant(Fraction(base), "float")
    inside, bounds = _double(exponent, node, names)
    widest = Fraction(_BITS) / max(Fraction(abs(math.log2(base))), Fraction(1, 1000))
    if base >= 1:
        inside = _exponent(inside, bounds, -widest, widest, names)
    else:
        inside = _within(inside, bounds, -widest, max(bounds[1], -widest))
        inside = _held(inside, about(inside, names).bounds or bounds, -widest, widest)
    return Call("row_raised", (wide, inside), "float")


def _raised(base: Scalar, exponent: Constant, node: exp.Expression, names: Names) -> Scalar:
    """Return a constant power.

    Why it is total: the base is held away from zero so far that its power does not vanish, is NULL where the power
    would overflow or, of a fraction, is not defined, and is cut where an inverse power would vanish.
    """
    value = exponent.value
    if not isinstance(value, int | Fraction) or not -16 <= value <= 16 or value == 0:
        refuse("constant-invalid", node, message="The exponent of POWER lies between -16 and 16, and is not 0.")
    size = abs(Fraction(value))
    inside, bounds = _double(base, node, names)
    far = Fraction(2) ** min(int(_BITS / size), 1024)  # beyond which there is no double
    nearest = Constant(Fraction(2) ** -min(int((_BITS - 10) / size) - 55, 400), "float")
    whole = Fraction(value).denominator == 1
    if not whole:
        inside = _within(inside, bounds, Fraction(0), max(bounds[1], Fraction(0)))
        bounds = about(inside, names).bounds or bounds
    power_ = Constant(Fraction(float(value)), "float")
    if value < 0:
        return Call("row_inverse", (_held(inside, bounds, -far, far), nearest, power_), "float")
    if value == 1:
        return inside
    return Call("row_power", (_within(inside, bounds, -far, far), nearest, power_), "float")


def bucket(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return WIDTH_BUCKET: 0 below the first end, one above the number of buckets from the second on.

    Why its values are public: they are that many whole numbers whatever the rows hold; the value is clamped to the two
    ends before it is computed with, so that the column needs no bounds of its own.
    """
    found = lower(node.this)
    if names.level == "post" or isinstance(found, Constant):
        refuse("not-supported", node, message="WIDTH_BUCKET takes an expression over rows.")
    if any(node.args.get(name) is None for name in ("min_value", "max_value", "num_buckets")):
        refuse("constant-invalid", node, hint="Write WIDTH_BUCKET(x, low, high, buckets).")
    count = literal(node.args["num_buckets"], lower, "The number of buckets", 1, 10_000)
    low, high = (lower(node.args[name]) for name in ("min_value", "max_value"))
    ends = [end.value if isinstance(end, Constant) else None for end in (low, high)]
    first, last = ends
    if not isinstance(first, int | Fraction) or not isinstance(last, int | Fraction) or not first < last:
        refuse("constant-invalid", node, message="WIDTH_BUCKET takes two ends, the lower one first, written out.")
    wide = number(found, node)
    inside = Call("clamp", (wide, number(low, node), number(high, node)), "float")
    place = inside if first == 0 else binary("subtract", inside, number(low, node), node, names)
    step = Constant((Fraction(last) - Fraction(first)) / count, "float")
    at = rounded("floor", binary("divide", place, step, node, names), 0, node, names)
    # Rounding may carry what is just below the last end over it; a NULL, which LEAST would pass over, is gone by then.
    least = Call("least", (at, Constant(count - 1, "integer")), "integer")
    below, above = (compare(op, wide, number(end, node), node, names) for op, end in (("lt", low), ("gte", high)))
    branches = (
        (below, Constant(0, "integer")),
        (above, Constant(count + 1, "integer")),
        (Call("is_null", (wide,), "boolean"), Constant(None, "integer")),
    )
    rest = binary("add", least, Constant(1, "integer"), node, names)
    return Call("case", (*(part for branch in branches for part in branch), rest), "integer")


def safe_divide(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return SAFE_DIVIDE or TRY_DIVIDE, as any division here."""
    return computed("divide", lower(node.this), lower(node.expression), node, names)


ROUNDED: tuple[tuple[type[exp.Expression], str, tuple[str, ...]], ...] = (
    (exp.Floor, "floor", ()),
    (exp.Ceil, "ceil", ()),
    (exp.Trunc, "trunc", ("fractions_supported",)),
    (exp.Round, "round", ("casts_non_integer_decimals",)),
)
"""The node of each way to round, and its marks of a dialect that change nothing here."""
