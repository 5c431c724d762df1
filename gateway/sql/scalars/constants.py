"""Constants of a query: read from the text, checked against the kind they meet, and compared exactly.

``age > 30.5`` over integers  →  ``age > 30``: a constant is moved onto the column's own grid, so that no engine
converts a column's value (``BIGINT = DOUBLE`` is lossy, a cast to a wider decimal may raise).
"""

from __future__ import annotations

import operator
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from sqlglot import exp

from gateway.sql.algebra import Call, Constant, Kind, Scalar
from gateway.sql.refusals import refuse

LARGEST = 2**63
NUMERIC: frozenset[Kind] = frozenset({"integer", "decimal", "float"})
FLIPPED = {"eq": "eq", "neq": "neq", "lt": "gt", "lte": "gte", "gt": "lt", "gte": "lte"}
COMPARE = {
    op: getattr(operator, python) for op, python in zip(FLIPPED, ("eq", "ne", "lt", "le", "gt", "ge"), strict=True)
}
NULL = Constant(None, "boolean")
ONE = Constant(1, "integer")


def literal(node: exp.Literal) -> Constant:
    """Return the constant that a literal writes: text, an integer or an exact decimal."""
    text: str = node.this
    if node.args.get("is_string"):
        if "\0" in text or (not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)):
            refuse("constant-invalid", node, hint="A text holds no NUL and no half characters.")
        return Constant(text, "text")
    try:
        number = Decimal(text)
    except InvalidOperation:
        refuse("constant-invalid", node)
    if not number.is_finite() or number.adjusted() > 40 or number.adjusted() < -400 or len(text) > 400:
        refuse("constant-invalid", node, hint="Numbers lie between -2^63 and 2^63.")
    value = Fraction(number)
    if abs(value) >= LARGEST:
        refuse("constant-invalid", node, hint="Numbers lie between -2^63 and 2^63.")
    whole = value.denominator == 1 and "." not in text and "e" not in text.lower()
    return Constant(int(value), "integer") if whole else Constant(value, "decimal")


def as_kind(constant: Constant, kind: Kind, node: exp.Expression) -> Constant:
    """Return a constant as a value of another kind (text as a date where a date is met), or refuse."""
    if constant.value is None or constant.kind == kind:
        return Constant(constant.value, kind)
    if constant.kind in NUMERIC and kind in NUMERIC:
        assert isinstance(constant.value, int | Fraction)
        exact = Fraction(constant.value)
        return Constant(int(exact) if kind == "integer" and exact.denominator == 1 else exact, kind)
    if constant.kind == "text" and kind in ("date", "timestamp"):
        return Constant(_moment(str(constant.value), kind, node), kind)
    if constant.kind == "date" and kind == "timestamp":
        assert isinstance(constant.value, date)
        return Constant(datetime(constant.value.year, constant.value.month, constant.value.day), kind)  # noqa: DTZ001
    return refuse("type-mismatch", node, message=f"A {kind} cannot be compared with this {constant.kind}.")


def _moment(text: str, kind: Kind, node: exp.Expression) -> date | datetime:
    try:
        if kind == "date":
            return date.fromisoformat(text) if len(text) == 10 else _fail(node, kind)
        moment = datetime.fromisoformat(text)
    except ValueError:
        _fail(node, kind)
    return moment if moment.tzinfo is None else _fail(node, kind)


def _fail(node: exp.Expression, kind: Kind) -> date:
    form = "'2024-12-31'" if kind == "date" else "'2024-12-31 23:59:59', without a time zone"
    refuse("constant-invalid", node, hint=f"Write a {kind} as {form}.")


def fold(op: str, left: Constant, right: Constant, node: exp.Expression) -> Constant:
    """Return what a comparison of two constants is."""
    if left.value is None or right.value is None:
        return NULL
    if left.kind != right.kind and not {left.kind, right.kind} <= NUMERIC:
        right, left = as_kind(right, left.kind, node), left
    a, b = left.value, right.value
    return Constant(bool(COMPARE[op](a, b)), "boolean")


def on_grid(op: str, operand: Scalar, constant: Constant, scale: int) -> Scalar:
    """Return ``operand op constant`` for an operand in multiples of 10^-scale, the constant moved there.

    Why this is exact: between two neighbours g and g+1 of the grid, x > c and x > g say the same of every x on the
    grid, and x = c is false of all; a NULL operand stays NULL, since the false is written ``x <> x``.
    """
    assert isinstance(constant.value, int | Fraction)
    steps = Fraction(constant.value) * 10**scale
    below = steps.numerator // steps.denominator
    exact = steps.denominator == 1
    if not exact and op in ("eq", "neq"):
        return Call("neq" if op == "eq" else "eq", (operand, operand), "boolean")
    if not exact:
        op = {"lt": "lte", "lte": "lte", "gt": "gt", "gte": "gt"}[op]
    value = below if scale == 0 else Fraction(below, 10**scale)
    return Call(op, (operand, Constant(value, operand.kind)), "boolean")
