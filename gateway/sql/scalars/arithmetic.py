"""Lower arithmetic: over rows exact or in doubles, behind clamps and guards; over noisy tables in doubles.

``SUM(cost * (1 - discount))``  →  ``row_product(clamp(cost, 0, 5000), row_subtract(1, clamp(discount, 0, 1)))``

Why it is total: a column enters behind a clamp to its declared bounds, so that the interval of each operation is known
before it is computed (``intervals``); whole numbers are computed in 64 bits only where the result's interval fits them,
else in doubles; doubles enter an operation only below 2^500, and where a product or quotient could vanish they are held
away from zero first, since PostgreSQL refuses those; guards for roots, logarithms and powers stand around the argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import NoReturn

from sqlglot import exp

from gateway.sql.algebra import Call, Constant, Kind, Scalar, references
from gateway.sql.inference.intervals import EXACT_FLOAT, LIMIT, WHOLE, Bounds
from gateway.sql.refusals import refuse
from gateway.sql.scalars import constants
from gateway.sql.scalars.names import Arm, Lower, Names, about, call, literal, number

_BOUNDED = (*constants.NUMERIC, "date", "timestamp")
_PICKING = ("case", "coalesce")
_NARROW = ("case", "coalesce", "least", "greatest")
_EXACT: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
}
_NEAR = {"add": "row_add", "subtract": "row_subtract", "multiply": "row_product", "divide": "row_divide"}
_WHOLE = {"add": "row_add", "subtract": "row_subtract", "multiply": "row_multiply"}


def operand(found: Scalar, node: exp.Expression, names: Names) -> Scalar:
    """Return a number as it enters a computation over rows: within a proven interval, as BIGINT or double.

    A column, or what picks among columns, is clamped to its declared bounds; refused where it has none.
    """
    if isinstance(found, Constant):
        return found if found.kind == "integer" else number(found, node)
    known = about(found, names)
    if known.kind not in constants.NUMERIC:
        refuse("type-mismatch", node, message="A number is needed here.")
    if isinstance(found, Call) and found.function in _PICKING and not known.proven:
        return _widened(_among(found, node, names))
    if known.proven:
        return _widened(found)
    if known.bounds is None:
        _unbounded(found, node, names)
    return clamped(found, known.bounds, node)


def _among(found: Call, node: exp.Expression, names: Names) -> Call:
    """Return a CASE or COALESCE with its values, not its conditions, as operands of one kind."""
    last = len(found.args) - 1
    places = [at for at in range(last + 1) if found.function != "case" or at % 2 or at == last]
    parts = {
        at: arg if isinstance(arg, Constant) and arg.value is None else operand(arg, node, names)
        for at, arg in enumerate(found.args)
        if at in places
    }
    whole = all(part.kind == "integer" for part in parts.values() if not _absent(part))
    kind: Kind = "integer" if whole else "float"
    made = {
        at: Constant(None, kind) if _absent(part) else part if whole else near(part, node) for at, part in parts.items()
    }
    return Call(found.function, tuple(made.get(at, arg) for at, arg in enumerate(found.args)), kind)


def _absent(part: Scalar) -> bool:
    return isinstance(part, Constant) and part.value is None


def _widened(found: Scalar) -> Scalar:
    """Return a whole number as BIGINT; computed ones are, columns and what picks among literals may be narrower."""
    if found.kind == "decimal":
        return Call("to_float", (found,), "float")
    if found.kind != "integer" or (isinstance(found, Call) and found.function not in _NARROW):
        return found
    return Call("to_whole", (found,), "integer")


def clamped(found: Scalar, bounds: Bounds, node: exp.Expression) -> Scalar:
    """Return a number held between two ends: as BIGINT where they fit, else as a double."""
    low, high = math.floor(bounds[0]), math.ceil(bounds[1])
    if found.kind == "integer" and low >= -WHOLE and high <= WHOLE:
        return Call("clamp_whole", (found, Constant(low, "integer"), Constant(high, "integer")), "integer")
    return Call("clamp", (number(found, node), *(Constant(end, "float") for end in bounds)), "float")


def near(found: Scalar, node: exp.Expression) -> Scalar:
    """Return an operand as a double."""
    if isinstance(found, Constant):
        return number(found, node)
    return found if found.kind == "float" else Call("as_double", (found,), "float")


def _unbounded(found: Scalar, node: exp.Expression, names: Names) -> NoReturn:
    origins = {about(part, names).origin for part in _columns(found) if part.kind in _BOUNDED}
    listed = ", ".join(sorted(origin[1] for origin in origins if origin is not None))
    hint = "Hold it between two numbers with LEAST and GREATEST."
    if listed:
        hint = f"Ask an administrator to declare lower and upper for {listed}, or write GREATEST(LEAST(…, high), low)."
    refuse("bounds-missing", node, message="Nothing bounds this value, so that it cannot be computed with.", hint=hint)


def _columns(found: Scalar) -> list[Scalar]:
    if isinstance(found, Call):
        return [column for arg in found.args for column in _columns(arg)]
    return [found] if references(found) else []


def _bounds(found: Scalar, node: exp.Expression, names: Names) -> Bounds:
    """Return an operand's interval; refuse a double that may be too large to compute with."""
    bounds = about(found, names).bounds
    if bounds is None:
        _unbounded(found, node, names)
    if max(-bounds[0], bounds[1]) > LIMIT:
        refuse(
            "bounds-missing",
            node,
            message="This value may become too large to compute with.",
            hint="Keep divisors away from zero, or hold the value between two numbers with LEAST and GREATEST.",
        )
    return bounds


def binary(function: str, left: Scalar, right: Scalar, node: exp.Expression, names: Names) -> Scalar:
    """Return a sum, difference, product or quotient over rows."""
    if isinstance(left, Constant) and isinstance(right, Constant):
        return _folded(function, left, right, node)
    left, right = operand(left, node, names), operand(right, node, names)
    if left.kind == right.kind == "integer" and function in _WHOLE:
        made = Call(_WHOLE[function], (left, right), "integer")
        bounds = about(made, names).bounds
        if bounds is not None and max(-bounds[0], bounds[1]) <= WHOLE:
            return made
    left, right = near(left, node), near(right, node)
    _bounds(left, node, names), _bounds(right, node, names)
    return call(_NEAR[function], (left, right), "float", node, names)


def _folded(function: str, left: Constant, right: Constant, node: exp.Expression) -> Constant:
    """Return what arithmetic of two constants is, exactly."""
    a, b = left.value, right.value
    if not isinstance(a, int | Fraction) or not isinstance(b, int | Fraction) or isinstance(a, bool):
        if a is None or b is None:
            return Constant(None, "float")
        refuse("type-mismatch", node, message="Numbers are needed here.")
    first, second = Fraction(a), Fraction(b)
    if function == "divide":
        value = Fraction(float(first / second)) if second else None
        kind = "float"
    else:
        value = _EXACT[function](first, second)
        kind = "integer" if left.kind == right.kind == "integer" else "decimal"
        if "float" in (left.kind, right.kind) or (kind == "decimal" and value.denominator > 10**18):
            value, kind = Fraction(float(value)), "float"
    if value is not None and abs(value) >= constants.LARGEST:
        refuse("constant-invalid", node, hint="Numbers lie between -2^63 and 2^63.")
    if kind == "integer":
        assert value is not None
        return Constant(int(value), "integer")
    return Constant(value, "decimal" if kind == "decimal" else "float")


def arithmetic(function: str) -> Arm:
    """Return the arm of an operation of two numbers."""

    def arm(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
        return computed(function, lower(node.this), lower(node.expression), node, names)

    return arm


def computed(function: str, left: Scalar, right: Scalar, node: exp.Expression, names: Names) -> Scalar:
    """Return an operation of two numbers where it stands: over rows, or over noisy tables."""
    if function == "divide" and node.args.get("typed") and left.kind == right.kind == "integer":
        function = "integer_divide"
    if names.level == "post":
        return call(function, (number(left, node), number(right, node)), "float", node, names)
    if function in ("integer_divide", "modulo"):
        return _whole("quotient" if function == "integer_divide" else "remainder", left, right, node, names)
    return binary(function, left, right, node, names)


def _whole(function: str, left: Scalar, right: Scalar, node: exp.Expression, names: Names) -> Scalar:
    """Return a quotient rounded toward zero, or a remainder, of whole numbers; NULL by zero."""
    if isinstance(left, Constant) and isinstance(right, Constant):
        refuse("not-supported", node, message="Write the result of this out.")
    left, right = operand(left, node, names), operand(right, node, names)
    if left.kind != "integer" or right.kind != "integer":
        refuse(
            "type-mismatch",
            node,
            message="Whole numbers are divided with a remainder, and one of these may have decimals.",
            hint="Write FLOOR(x / y), or round to whole numbers first.",
        )
    made = tuple(Call("to_whole", (side,), "integer") if isinstance(side, Constant) else side for side in (left, right))
    return call(function, made, "integer", node, names)


def negative(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return a number with its sign changed."""
    inner = lower(node.this)
    if isinstance(inner, Constant) and isinstance(inner.value, int) and inner.kind == "integer":
        return Constant(-inner.value, "integer")
    operand_ = number(inner, node)
    if isinstance(operand_, Constant) and operand_.value is not None:
        assert isinstance(inner, Constant)
        return Constant(-operand_.value, inner.kind)  # type: ignore[operator]
    if names.level == "row":
        return binary("subtract", Constant(0, "integer"), inner, node, names)
    return call("negate", (operand_,), "float", node, names)


def sign(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return -1, 0 or 1; over rows by comparisons, which need no bounds."""
    found = lower(node.this)
    if names.level == "post" or isinstance(found, Constant):
        return call("sign", (number(found, node),), "float", node, names)
    wide = number(found, node) if found.kind != "integer" else found
    zero = Constant(0, wide.kind)
    tests = [(op, Constant(value, "integer")) for op, value in (("gt", 1), ("lt", -1), ("eq", 0))]
    args = tuple(arg for op, value in tests for arg in (Call(op, (wide, zero), "boolean"), value))
    return Call("case", (*args, Constant(None, "integer")), "integer")


def rounding(function: str) -> Arm:
    """Return the arm of FLOOR, CEIL, TRUNC or ROUND, with a number of decimals where it has one."""

    def arm(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
        found, decimals = lower(node.this), node.args.get("decimals")
        places = 0 if decimals is None else literal(decimals, lower, "The number of decimals", -15, 15)
        if names.level == "post":
            near_ = number(found, node)
            if not places:
                return call(function, (near_,), "float", node, names)
            if function == "round":
                return call("round_to", (near_, Constant(places, "integer")), "float", node, names)
            scale = Constant(Fraction(10) ** abs(places), "float")
            first, second = ("multiply", "divide") if places > 0 else ("divide", "multiply")
            return Call(second, (Call(function, (Call(first, (near_, scale), "float"),), "float"), scale), "float")
        if isinstance(found, Constant):
            refuse("not-supported", node, message="Write the result of this out.")
        return rounded(function, found, places, node, names)

    return arm


def rounded(function: str, found: Scalar, places: int, node: exp.Expression, names: Names) -> Scalar:
    """Return a number over rows rounded to some decimals: a whole number where its interval allows, else a double."""
    inside = operand(found, node, names)
    if inside.kind == "integer" and places >= 0:
        return inside
    inside = near(inside, node)
    if not places:
        low, high = _bounds(inside, node, names)
        if max(-low, high) < EXACT_FLOAT:
            return call(f"{function}_whole", (inside,), "integer", node, names)
        return call(f"row_{function}", (inside,), "float", node, names)
    scale = Constant(10 ** abs(places), "integer")
    first, second = ("multiply", "divide") if places > 0 else ("divide", "multiply")
    return binary(
        second, rounded(function, binary(first, inside, scale, node, names), 0, node, names), scale, node, names
    )


def absolute(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return an absolute value."""
    found = lower(node.this)
    if names.level == "post":
        return call("abs", (number(found, node),), "float", node, names)
    inside = operand(found, node, names)
    if isinstance(inside, Constant):
        refuse("not-supported", node, message="Write the result of this out.")
    return call("row_abs", (inside,), inside.kind, node, names)


def extremes(parts: tuple[Scalar, ...], node: exp.Expression, names: Names) -> tuple[Scalar, ...]:
    """Return the numbers of LEAST or GREATEST: clamped to their bounds, or to the widest where they have none.

    So an analyst may bound a column that the policy does not: ``GREATEST(LEAST(x, 100), 0)`` lies between 0 and 100.
    """
    found = []
    for part in parts:
        if isinstance(part, Constant) or about(part, names).bounds is not None:
            found.append(operand(part, node, names))
        else:
            widest = Fraction(WHOLE) if part.kind == "integer" else LIMIT
            found.append(clamped(part, (-widest, widest), node))
    if all(part.kind == "integer" for part in found):
        return tuple(found)
    return tuple(near(part, node) for part in found)
