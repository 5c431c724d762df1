"""Lower casts: total ones, NULL where a text is no value of the type.

``CAST(city AS INTEGER)``  →  ``text_whole(trim(left(city, 10000), ' '))``, which is NULL but for digits

Why it is total: a text is cast only if it matches a pattern of which every text is a value of the type; a number
becomes a whole number only behind its clamp, where its interval fits 64 bits.
"""

from __future__ import annotations

from fractions import Fraction

from sqlglot import exp

from gateway.sql.algebra import Call, Constant, Kind, Scalar
from gateway.sql.inference.images import LONGEST
from gateway.sql.inference.intervals import EXACT_FLOAT
from gateway.sql.position import dialect
from gateway.sql.refusals import refuse
from gateway.sql.scalars import constants
from gateway.sql.scalars.arithmetic import near, operand, rounded
from gateway.sql.scalars.constants import NUMERIC
from gateway.sql.scalars.names import Lower, Names, about, call, is_null, number
from gateway.sql.scalars.resolve import only

_WORD = exp.DataType.Type
TARGETS: dict[object, Kind] = {
    **dict.fromkeys((_WORD.TINYINT, _WORD.SMALLINT, _WORD.INT, _WORD.BIGINT), "integer"),
    **dict.fromkeys((_WORD.DOUBLE, _WORD.FLOAT), "float"),
    **dict.fromkeys((_WORD.TEXT, _WORD.VARCHAR, _WORD.NVARCHAR, _WORD.CHAR, _WORD.NCHAR), "text"),
    _WORD.DECIMAL: "decimal",
    _WORD.BOOLEAN: "boolean",
    _WORD.DATE: "date",
    **dict.fromkeys((_WORD.TIMESTAMP, _WORD.TIMESTAMPNTZ, _WORD.DATETIME, _WORD.DATETIME2), "timestamp"),
    **dict.fromkeys((_WORD.TIMESTAMPTZ, _WORD.TIMESTAMPLTZ), "timestamp"),
}
"""The kind of each type that a value may be cast to; every whole type means 64 bits, every float type a double.

A timestamp of a zone is one of UTC, as all are here; a text that names another zone is refused.
"""


_CUTTING = ("spark", "tsql", "sqlite")
"""Dialects in which a number that is cast to a whole one loses its decimals; in others it is rounded."""


def cast(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return a value of another type, NULL where it has none; CAST and TRY_CAST mean the same here."""
    only(node.args["to"], "this", "nested", "expressions")
    kind = TARGETS.get(node.args["to"].this)
    if kind is None:
        times = _WORD.TIME, _WORD.TIMETZ
        hint = "EXTRACT(HOUR FROM x), and MINUTE or SECOND." if node.args["to"].this in times else None
        refuse("not-supported", node, message="This cast is not supported.", hint=hint)
    details = node.args["to"].expressions
    found = lower(node.this)
    if details and kind == "decimal":
        return _decimal(found, details, node, names)
    made = to_kind(found, kind, node, names)
    return _cut(made, details, node, names) if details else made


def _cut(made: Scalar, details: list[exp.Expression], node: exp.Expression, names: Names) -> Scalar:
    """Return VARCHAR(n): cut to so many characters, as every engine cuts it. CHAR(n), which pads, is refused."""
    [length, *_] = sizes = _sizes(details)
    pads = node.args["to"].this in (_WORD.CHAR, _WORD.NCHAR)
    held = isinstance(made, Constant) or names.level == "post"
    if made.kind != "text" or pads or held or len(sizes) > 1 or not 0 < length <= LONGEST:
        refuse("not-supported", node, message="That length in a cast is not supported.", hint="Write LEFT(x, n).")
    return call("left", (made, Constant(length, "integer")), "text", node, names)


def to_kind(found: Scalar, kind: Kind, node: exp.Expression, names: Names) -> Scalar:
    """Return a value as one of another kind."""
    if is_null(found):
        return Constant(None, kind)
    match found.kind, kind:
        case "text", "date" | "timestamp" if isinstance(found, Constant):
            return constants.as_kind(found, kind, node)
        case a, b if a == b:
            return found
        case _, "text":
            return as_text(found, node, names)
        case "text", "integer" | "float" | "decimal" | "date":
            return _parsed(found, kind, node, names)
        case "integer" | "decimal", "float" | "decimal":
            return number(found, node)
        case "float", "decimal":
            return found
        case "decimal" | "float", "integer":
            return _whole(found, node, names)
        case "boolean", "integer":
            args = (found, Constant(1, "integer"), Call("not", (found,), "boolean"), Constant(0, "integer"))
            return Call("case", (*args, Constant(None, "integer")), "integer")
        case "boolean", "float" | "decimal":
            return number(to_kind(found, "integer", node, names), node)
        case "integer", "boolean":
            return call("neq", (found, Constant(0, "integer")), "boolean", node, names)
        case "date", "timestamp":
            return call("as_timestamp", (found,), "timestamp", node, names)
        case "timestamp", "date":
            return call("as_date", (found,), "date", node, names)
    refuse("not-supported", node, message="This cast is not supported.")


def as_text(found: Scalar, node: exp.Expression, names: Names) -> Scalar:
    """Return a whole number, date or truth value as text."""
    if is_null(found):
        return Constant(None, "text")
    match found.kind:
        case "text":
            return found
        case "integer" if isinstance(found, Constant):
            return Constant(str(found.value), "text")
        case "integer":
            return call("whole_text", (found,), "text", node, names)
        case "date" if isinstance(found, Constant):
            return Constant(str(found.value), "text")
        case "date":
            return call("date_text", (found,), "text", node, names)
        case "boolean":
            args = (found, Constant("true", "text"), Call("not", (found,), "boolean"), Constant("false", "text"))
            return Call("case", (*args, Constant(None, "text")), "text")
    refuse("type-mismatch", node, message="Numbers with decimals and timestamps have no one text.")


def _parsed(found: Scalar, kind: Kind, node: exp.Expression, names: Names) -> Scalar:
    if names.level == "post" or isinstance(found, Constant):
        refuse("not-supported", node, message="This cast is not supported.")
    cut = Call("left", (found, Constant(LONGEST, "integer")), "text")
    bare = Call("trim", (cut, Constant(" ", "text")), "text")
    function: str = {"integer": "text_whole", "date": "text_date"}.get(kind, "text_float")
    return Call(function, (bare,), "float" if kind == "decimal" else kind)


def _whole(found: Scalar, node: exp.Expression, names: Names) -> Scalar:
    """Return a number as a whole one: a double by the nearest even, a decimal half away from zero, as both engines."""
    if isinstance(found, Constant):
        refuse("not-supported", node, message="Write ROUND or TRUNC instead of this cast.")
    if names.level == "post":  # all numbers are doubles there; the whole ones among them are whole
        return call("trunc" if dialect(node) in _CUTTING else "round", (number(found, node),), "float", node, names)
    if found.kind == "decimal":
        return rounded("round", found, 0, node, names)
    inside = near(operand(found, node, names), node)
    bounds = about(inside, names).bounds
    if bounds is None or max(-bounds[0], bounds[1]) >= EXACT_FLOAT:
        refuse("bounds-missing", node, message="Nothing holds this value within the whole numbers.")
    return call("even_whole", (inside,), "integer", node, names)


def _sizes(details: list[exp.Expression]) -> list[int]:
    """Return the numbers in the parentheses of a type, or refuse."""
    found = []
    for detail in details:
        size = detail.this if isinstance(detail, exp.DataTypeParam) else detail
        if type(size) is not exp.Literal or not size.this.isdigit() or len(size.this) > 5:
            refuse("not-supported", detail, message="This cast is not supported.")
        only(detail, "this")
        only(size, "this")
        found.append(int(size.this))
    return found


def _decimal(found: Scalar, details: list[exp.Expression], node: exp.Expression, names: Names) -> Scalar:
    """Return DECIMAL(p, s): rounded to s decimals, and refused where p digits may not hold it."""
    sizes = _sizes(details)
    if len(sizes) > 2:
        refuse("not-supported", node, message="This cast is not supported.")
    digits, places = (*sizes, 0)[:2]
    if not places <= digits <= 38 or places > 15:
        refuse("constant-invalid", node, message="DECIMAL has at most 38 digits, at most 15 of them decimals.")
    if names.level == "post" or isinstance(found, Constant):
        return number(found, node)
    wide = found if found.kind in NUMERIC else to_kind(found, "decimal", node, names)
    made = rounded("round", wide, places, node, names)
    bounds = about(made, names).bounds
    if bounds is None or max(-bounds[0], bounds[1]) >= Fraction(10) ** (digits - places):
        refuse("bounds-missing", node, message=f"Nothing holds this value within DECIMAL({digits}, {places}).")
    return made
