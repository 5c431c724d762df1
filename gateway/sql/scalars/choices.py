"""Lower what picks one of several values: CASE, IF, COALESCE, NULLIF, LEAST and GREATEST.

``NULLIF(cost, 0)``  →  ``CASE WHEN cost = 0 THEN NULL ELSE cost END``
"""

from __future__ import annotations

from fractions import Fraction

from sqlglot import exp

from gateway.sql.algebra import Call, Constant, Kind, Scalar
from gateway.sql.refusals import refuse
from gateway.sql.scalars import constants
from gateway.sql.scalars.arithmetic import extremes
from gateway.sql.scalars.comparisons import alike, compare, condition
from gateway.sql.scalars.constants import NUMERIC
from gateway.sql.scalars.dates import MOMENTS, within_calendar
from gateway.sql.scalars.names import Arm, Lower, Names, call, is_null, number
from gateway.sql.scalars.resolve import only


def same(node: exp.Expression, names: Names, found: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    """Return values as values of one kind, or refuse those that do not fit together."""
    kinds = {part.kind for part in found if not is_null(part)}
    among = {part.kind for part in found if not isinstance(part, Constant)} or kinds
    exact = len(among) == 1 and kinds <= NUMERIC and all(_fits(part, *among) for part in found)
    if names.level == "row" and exact and (among != {"decimal"} or alike(found, names)):
        (kind,) = among
        return tuple(constants.as_kind(part, kind, node) if isinstance(part, Constant) else part for part in found)
    if kinds <= NUMERIC and kinds:
        return tuple(Constant(None, "float") if is_null(part) else number(part, node) for part in found)
    if kinds == {"date", "timestamp"}:
        return tuple(_timestamp(part, node) for part in found)
    if len(kinds) == 2 and "text" in kinds and kinds & {"date", "timestamp"}:
        # a text that is written out beside dates is a date
        (kind,) = kinds - {"text"}
        found = tuple(constants.as_kind(p, kind, node) if isinstance(p, Constant) else p for p in found)
        kinds = {part.kind for part in found if not is_null(part)}
    if len(kinds) != 1:
        refuse("type-mismatch", node, message="These values are of different types.")
    (kind,) = kinds
    return tuple(Constant(None, kind) if is_null(part) else part for part in found)


def _timestamp(part: Scalar, node: exp.Expression) -> Scalar:
    if isinstance(part, Constant):
        return constants.as_kind(part, "timestamp", node)
    return part if part.kind == "timestamp" else Call("as_timestamp", (part,), "timestamp")


def _fits(found: Scalar, kind: Kind) -> bool:
    """Whether a part is of that kind, or a constant that it can say exactly."""
    if not isinstance(found, Constant) or found.value is None or kind == "float":
        return True
    places = 0 if kind == "integer" else 12
    return isinstance(found.value, int | Fraction) and (Fraction(found.value) * 10**places).denominator == 1


def coalesce(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return the first value that is not NULL."""
    parts = same(node, names, tuple(lower(part) for part in (node.this, *node.expressions)))
    return call("coalesce", parts, parts[0].kind, node, names)


def extreme(function: str) -> Arm:
    """Return the arm of LEAST or GREATEST; in dialects where one NULL makes them NULL, it does."""

    def arm(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
        parts = same(node, names, tuple(lower(part) for part in (node.this, *node.expressions)))
        if any(part.kind == "boolean" for part in parts):
            refuse("type-mismatch", node, message="LEAST and GREATEST take no truth values.")
        found = parts
        if names.level == "row" and parts[0].kind in NUMERIC:
            found = extremes(parts, node, names)
        elif names.level == "row" and parts[0].kind in MOMENTS:
            found = tuple(within_calendar(part, node, names) for part in parts)
        picked = call(function, found, found[0].kind, node, names)
        tests = tuple(Call("is_null", (part,), "boolean") for part in parts if not isinstance(part, Constant))
        if node.args.get("ignore_nulls") is not False or not tests:
            return picked
        absent = tests[0] if len(tests) == 1 else Call("or", tests, "boolean")
        return Call("case", (absent, Constant(None, picked.kind), picked), picked.kind)

    return arm


def nullif(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return a value, NULL where it equals another."""
    parts = same(node, names, (lower(node.this), lower(node.expression)))
    if names.level == "post":
        return call("nullif", parts, parts[0].kind, node, names)
    equal = compare("eq", parts[0], parts[1], node, names)
    return Call("case", (equal, Constant(None, parts[0].kind), parts[0]), parts[0].kind)


def case(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return CASE, with a subject or without."""
    conditions, values = [], []
    subject = lower(node.this) if node.this is not None else None
    for branch in node.args["ifs"]:
        only(branch, "this", "true")
        if subject is None:
            conditions.append(condition(lower(branch.this), branch.this))
        else:
            conditions.append(compare("eq", subject, lower(branch.this), branch, names))
        values.append(lower(branch.args["true"]))
    otherwise = node.args.get("default")
    return _chosen(conditions, [*values, constants.NULL if otherwise is None else lower(otherwise)], node, names)


def if_else(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return IF, IFF or IIF as a CASE."""
    otherwise = node.args.get("false")
    values = [lower(node.args["true"]), constants.NULL if otherwise is None else lower(otherwise)]
    return _chosen([condition(lower(node.this), node.this)], values, node, names)


def _chosen(conditions: list[Scalar], values: list[Scalar], node: exp.Expression, names: Names) -> Scalar:
    parts = same(node, names, tuple(values))
    args = tuple(arg for pair in zip(conditions, parts, strict=False) for arg in pair)
    return call("case", (*args, parts[-1]), parts[0].kind, node, names)
