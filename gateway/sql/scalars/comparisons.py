"""Lower conditions: logic, comparisons in which no engine converts a value, lists and tests.

``p.age BETWEEN 18 AND 30.5``  →  ``and(gte(age, 18), lte(age, 30))``
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from sqlglot import exp

from gateway.sql.algebra import Call, Constant, Ref, Scalar
from gateway.sql.refusals import refuse
from gateway.sql.scalars import constants
from gateway.sql.scalars.constants import FLIPPED, NUMERIC
from gateway.sql.scalars.names import Arm, Lower, Names, call, is_null, number
from gateway.sql.scalars.resolve import only

MOST_DECIMALS = 19
"""The decimals of a column beside which any constant, being below 2^63, fits into 38 digits."""


def condition(found: Scalar, node: exp.Expression) -> Scalar:
    """Return a scalar that is a truth value, or refuse."""
    if found.kind != "boolean":
        refuse("type-mismatch", node, message="A condition is needed here, and this is none.")
    return found


def logic(function: str) -> Arm:
    """Return the arm of a chain of ANDs or ORs."""

    def arm(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
        # A chain of ANDs is a left-deep tree: it is walked here, since a text may hold thousands.
        parts, rest = [], [node]
        while rest:
            top = rest.pop()
            if type(top) is type(node):
                only(top, "this", "expression")
                rest += [top.args["expression"], top.this]
            else:
                parts.append(condition(lower(top), top))
        return call(function, tuple(parts), "boolean", node, names)

    return arm


def negation(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return NOT of a condition."""
    inner = lower(node.this)
    if inner.kind != "boolean":
        refuse("type-mismatch", node, message="NOT takes a condition.")
    return call("not", (inner,), "boolean", node, names)


def comparison(op: str) -> Arm:
    """Return the arm of a comparison."""

    def arm(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
        return compare(op, lower(node.this), lower(node.expression), node, names)

    return arm


def compare(op: str, left: Scalar, right: Scalar, node: exp.Expression, names: Names) -> Scalar:
    """Return a comparison in which no engine converts a value, or refuse operands that do not fit together."""
    for side in (left, right):
        if isinstance(side, Constant) and side.value is None:
            refuse("null-comparison", node, hint="Write IS NULL or IS NOT NULL.")
    if isinstance(left, Constant) and isinstance(right, Constant):
        return constants.fold(op, left, right, node)
    if isinstance(left, Constant):
        left, right, op = right, left, FLIPPED[op]
    if isinstance(right, Constant):
        if left.kind == "date" and right.kind == "timestamp":
            left = Call("as_timestamp", (left,), "timestamp")
        right = constants.as_kind(right, left.kind, node)
        scale = _grid(left, names)
        if scale is not None:
            return constants.on_grid(op, left, right, scale)
        if left.kind in NUMERIC:
            left, right = number(left, node), number(right, node)
    elif {left.kind, right.kind} <= NUMERIC:
        if not (left.kind == right.kind == "integer" or (names.level == "row" and alike((left, right), names))):
            left, right = number(left, node), number(right, node)
    elif {left.kind, right.kind} == {"date", "timestamp"}:
        left, right = (
            Call("as_timestamp", (side,), "timestamp") if side.kind == "date" else side for side in (left, right)
        )
    elif left.kind != right.kind:
        refuse("type-mismatch", node, message=f"A {left.kind} cannot be compared with a {right.kind}.")
    return call(op, (left, right), "boolean", node, names)


def _grid(found: Scalar, names: Names) -> int | None:
    """Return the decimals of a column or a computed whole number, None where they are not fixed."""
    if isinstance(found, Ref):
        return names.scale(found) if found.kind in ("integer", "decimal") else None
    return 0 if found.kind == "integer" and names.level == "row" else None


def between(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return BETWEEN as two comparisons."""
    subject = lower(node.this)
    low = compare("gte", subject, lower(node.args["low"]), node, names)
    high = compare("lte", subject, lower(node.args["high"]), node, names)
    return call("and", (low, high), "boolean", node, names)


def member(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return IN of a list as equalities."""
    if node.args.get("query") is not None or not node.args.get("expressions"):
        refuse("subquery-unsupported", node.args.get("query") or node)
    subject = lower(node.this)
    parts = [compare("eq", subject, lower(item), item, names) for item in node.expressions]
    return parts[0] if len(parts) == 1 else call("or", tuple(parts), "boolean", node, names)


def distinct(negated: bool) -> Arm:
    """Return the arm of IS DISTINCT FROM, or of its negation: a comparison in which NULL is a value like any other."""

    def arm(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
        left, right = lower(node.this), lower(node.expression)
        absent = [call("is_null", (side,), "boolean", node, names) for side in (left, right)]
        if is_null(left) or is_null(right):
            found: Scalar = absent[1] if is_null(left) else absent[0]
        else:
            equal = compare("eq", left, right, node, names)
            false = Constant(False, "boolean")
            found = call("case", (absent[0], absent[1], absent[1], false, equal), "boolean", node, names)
        return found if negated else call("not", (found,), "boolean", node, names)

    return arm


def test(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return IS NULL, IS TRUE or IS FALSE."""
    subject, asked = lower(node.this), node.expression
    only(asked, "this")
    if type(asked) is exp.Null:
        found = call("is_null", (subject,), "boolean", node, names)
    elif type(asked) is exp.Boolean and subject.kind == "boolean":
        found = call("is_true" if asked.this else "is_false", (subject,), "boolean", node, names)
    else:
        refuse("not-supported", node, message="IS takes NULL, TRUE or FALSE.")
    # PostgreSQL's parser keeps IS NOT in one node, DuckDB's writes NOT around it.
    return call("not", (found,), "boolean", node, names) if node.args.get("negate") else found


def alike(parts: Iterable[Scalar], names: Names) -> bool:
    """Whether decimals have the same number of decimals.

    Why it is asked: DuckDB brings decimals of different scales to one of at most 38 digits, and a value that does not
    fit there raises an error, which data would decide; of one scale the widest holds them all.
    """
    columns = [part for part in parts if not isinstance(part, Constant)]
    scales = {_scale(part, names) for part in columns}
    if any(part.kind != "decimal" for part in columns) or len(scales) > 1:
        return False
    places = next(iter(scales), None)
    values = [part.value for part in parts if isinstance(part, Constant) and part.value is not None]
    if not columns or (not values and (places is not None or len(set(columns)) == 1)):
        return True
    if places is None:
        return False
    on_grid = (isinstance(value, int | Fraction) and (value * 10**places) % 1 == 0 for value in values)
    return places <= MOST_DECIMALS and all(on_grid)


def _scale(part: Scalar, names: Names) -> int | None:
    """Return the decimals of a column, or of the columns that an expression picks among, which have the same."""
    if isinstance(part, Call):
        picked = (*part.args[1:-1:2], part.args[-1]) if part.function == "case" else part.args
        return next((_scale(arg, names) for arg in picked if not isinstance(arg, Constant)), None)
    return names.scale(part) if isinstance(part, Ref) else None
