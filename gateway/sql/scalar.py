"""Lower scalar expressions onto the allow-list: every node is built anew; what has no arm is refused.

``p.age BETWEEN 18 AND 30.5``  →  ``and(gte(age, 18), lte(age, 30))``
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import NoReturn, Protocol

from sqlglot import exp

from gateway.sql import constants
from gateway.sql.algebra import Call, Constant, Kind, Ref, Scalar
from gateway.sql.bind import Given
from gateway.sql.constants import FLIPPED, NUMERIC
from gateway.sql.functions import FUNCTIONS, Level
from gateway.sql.instead import instead
from gateway.sql.refusals import refuse
from gateway.sql.resolve import only

MAX_DEPTH = 200

MOST_DECIMALS = 19
"""The decimals of a column beside which any constant, being below 2^63, fits into 38 digits."""


class Names(Protocol):
    """What an expression may refer to at the place where it stands."""

    @property
    def level(self) -> Level:
        """Whether this is over rows or over noisy tables."""

    def column(self, node: exp.Column) -> Scalar:
        """Return what a column name means here, or refuse."""

    def whole(self, node: exp.Expression) -> Scalar | None:
        """Return what a whole expression means here (an aggregate, a group key), None if it has to be taken apart."""

    def scale(self, ref: Ref) -> int | None:
        """Return the decimals of an integer or decimal column, None where they are not fixed."""


Arm = Callable[[exp.Expression, Names, int], Scalar]


def scalar(node: exp.Expression, names: Names, depth: int = 0) -> Scalar:
    """Return the scalar that an expression means, or refuse."""
    if depth > MAX_DEPTH:
        refuse("sql-too-deep", node)
    known = names.whole(node)
    if known is not None:
        return known
    admitted = ARMS.get(type(node))
    if admitted is None:
        _unknown(node)
    arm, arguments = admitted
    only(node, *arguments)
    return arm(node, names, depth + 1)


def predicate(node: exp.Expression, names: Names) -> Scalar:
    """Return a scalar that is a truth value, or refuse."""
    found = scalar(node, names)
    if found.kind != "boolean":
        refuse("type-mismatch", node, message="A condition is needed here, and this is none.")
    return found


def _unknown(node: exp.Expression) -> NoReturn:
    if isinstance(node, exp.Subquery | exp.Select | exp.Exists | exp.SetOperation):
        refuse("subquery-unsupported", node)
    hint = instead(node)
    if hint is not None:
        refuse("aggregate-unsupported", node, hint=hint)
    if isinstance(node, exp.Func):
        refuse("function-unknown", node)
    refuse("not-supported", node)


def _call(function: str, args: tuple[Scalar, ...], kind: Kind, node: exp.Expression, names: Names) -> Call:
    if names.level not in FUNCTIONS[function].levels:
        refuse(
            "not-supported",
            node,
            message="This can be computed from aggregates, but not inside or below them yet.",
            hint="Compare columns with constants and with each other; compute on the aggregates.",
        )
    return Call(function, args, kind)


def number(found: Scalar, node: exp.Expression) -> Scalar:
    """Return a number as a double, for arithmetic over noisy tables, or refuse what is none."""
    if found.kind not in NUMERIC:
        refuse("type-mismatch", node, message="A number is needed here.")
    if isinstance(found, Constant):
        return constants.as_kind(found, "float", node)
    return found if found.kind == "float" else Call("to_float", (found,), "float")


def _paren(node: exp.Expression, names: Names, depth: int) -> Scalar:
    return scalar(node.this, names, depth)


def _column(node: exp.Expression, names: Names, _depth: int) -> Scalar:
    assert isinstance(node, exp.Column)
    return names.column(node)


def _literal(node: exp.Expression, _names: Names, _depth: int) -> Scalar:
    assert isinstance(node, exp.Literal)
    return constants.literal(node)


def _given(node: exp.Expression, _names: Names, _depth: int) -> Scalar:
    found = node.args["constant"]
    assert isinstance(found, Constant)
    return found


def _boolean(node: exp.Expression, _names: Names, _depth: int) -> Scalar:
    return Constant(bool(node.this), "boolean")


def _null(_node: exp.Expression, _names: Names, _depth: int) -> Scalar:
    return constants.NULL


def _negative(node: exp.Expression, names: Names, depth: int) -> Scalar:
    inner = scalar(node.this, names, depth)
    if isinstance(inner, Constant) and isinstance(inner.value, int) and inner.kind == "integer":
        return Constant(-inner.value, "integer")
    operand = number(inner, node)
    if isinstance(operand, Constant) and operand.value is not None:
        assert isinstance(inner, Constant)
        return Constant(-operand.value, inner.kind)  # type: ignore[operator]
    return _call("negate", (operand,), "float", node, names)


def _date(node: exp.Expression, names: Names, depth: int) -> Scalar:
    only(node.args["to"], "this", "nested")
    target = node.args["to"].this
    inner = scalar(node.this, names, depth)
    word = exp.DataType.Type
    kinds: dict[object, Kind] = {word.DATE: "date", word.TIMESTAMP: "timestamp", word.TIMESTAMPNTZ: "timestamp"}
    if isinstance(inner, Constant) and inner.kind == "text" and target in kinds:
        return constants.as_kind(inner, kinds[target], node)
    if names.level == "post" and target in (exp.DataType.Type.DOUBLE, exp.DataType.Type.FLOAT):
        return number(inner, node)
    refuse("not-supported", node, message="This cast is not supported.")


def _logic(function: str) -> Arm:
    def arm(node: exp.Expression, names: Names, _depth: int) -> Scalar:
        # A chain of ANDs is a left-deep tree: it is walked here, since a text may hold thousands.
        parts, rest = [], [node]
        while rest:
            top = rest.pop()
            if type(top) is type(node):
                only(top, "this", "expression")
                rest += [top.args["expression"], top.this]
            else:
                parts.append(predicate(top, names))
        return _call(function, tuple(parts), "boolean", node, names)

    return arm


def _not(node: exp.Expression, names: Names, depth: int) -> Scalar:
    inner = scalar(node.this, names, depth)
    if inner.kind != "boolean":
        refuse("type-mismatch", node, message="NOT takes a condition.")
    return _call("not", (inner,), "boolean", node, names)


def _comparison(op: str) -> Arm:
    def arm(node: exp.Expression, names: Names, depth: int) -> Scalar:
        left, right = scalar(node.this, names, depth), scalar(node.expression, names, depth)
        return compare(op, left, right, node, names)

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
        right = constants.as_kind(right, left.kind, node)
        scale = names.scale(left) if isinstance(left, Ref) and left.kind in ("integer", "decimal") else None
        if scale is not None:
            return constants.on_grid(op, left, right, scale)
        if left.kind in NUMERIC:
            left, right = number(left, node), number(right, node)
    elif {left.kind, right.kind} <= NUMERIC:
        if not (left.kind == right.kind == "integer" or (names.level == "row" and _alike((left, right), names))):
            left, right = number(left, node), number(right, node)
    elif left.kind != right.kind:
        refuse("type-mismatch", node, message=f"A {left.kind} cannot be compared with a {right.kind}.")
    return _call(op, (left, right), "boolean", node, names)


def _between(node: exp.Expression, names: Names, depth: int) -> Scalar:
    subject = scalar(node.this, names, depth)
    low = compare("gte", subject, scalar(node.args["low"], names, depth), node, names)
    high = compare("lte", subject, scalar(node.args["high"], names, depth), node, names)
    return _call("and", (low, high), "boolean", node, names)


def _in(node: exp.Expression, names: Names, depth: int) -> Scalar:
    if node.args.get("query") is not None or not node.args.get("expressions"):
        refuse("subquery-unsupported", node.args.get("query") or node)
    subject = scalar(node.this, names, depth)
    parts = []
    for item in node.expressions:
        candidate = scalar(item, names, depth)
        if not isinstance(candidate, Constant):
            refuse("not-supported", item, message="IN takes a list of constants.")
        parts.append(compare("eq", subject, candidate, item, names))
    return parts[0] if len(parts) == 1 else _call("or", tuple(parts), "boolean", node, names)


def _is(node: exp.Expression, names: Names, depth: int) -> Scalar:
    subject, test = scalar(node.this, names, depth), node.expression
    only(test, "this")
    if type(test) is exp.Null:
        found = _call("is_null", (subject,), "boolean", node, names)
    elif type(test) is exp.Boolean and subject.kind == "boolean":
        found = _call("is_true" if test.this else "is_false", (subject,), "boolean", node, names)
    else:
        refuse("not-supported", node, message="IS takes NULL, TRUE or FALSE.")
    # PostgreSQL's parser keeps IS NOT in one node, DuckDB's writes NOT around it.
    return _call("not", (found,), "boolean", node, names) if node.args.get("negate") else found


def _arithmetic(function: str) -> Arm:
    def arm(node: exp.Expression, names: Names, depth: int) -> Scalar:
        found = (scalar(node.this, names, depth), scalar(node.expression, names, depth))
        left, right = (number(side, node) for side in found)
        name = function
        if name == "divide" and node.args.get("typed") and all(side.kind == "integer" for side in found):
            name = "integer_divide"
        return _call(name, (left, right), "float", node, names)

    return arm


def _numeric(function: str) -> Arm:
    def arm(node: exp.Expression, names: Names, depth: int) -> Scalar:
        return _call(function, (number(scalar(node.this, names, depth), node),), "float", node, names)

    return arm


def _round(node: exp.Expression, names: Names, depth: int) -> Scalar:
    operand = number(scalar(node.this, names, depth), node)
    decimals = node.args.get("decimals")
    if decimals is None:
        return _call("round", (operand,), "float", node, names)
    places = scalar(decimals, names, depth)
    if not isinstance(places, Constant) or not isinstance(places.value, int) or abs(places.value) > 15:
        refuse("constant-invalid", decimals, hint="ROUND takes a whole number of decimals between -15 and 15.")
    return _call("round_to", (operand, places), "float", node, names)


def _same(node: exp.Expression, names: Names, depth: int, *parts: exp.Expression) -> tuple[Scalar, ...]:
    found = [scalar(part, names, depth) for part in parts]
    kinds = {part.kind for part in found if not _is_null(part)}
    alike = {part.kind for part in found if not isinstance(part, Constant)} or kinds
    exact = len(alike) == 1 and kinds <= NUMERIC and all(_fits(part, *alike) for part in found)
    if names.level == "row" and exact and (alike != {"decimal"} or _alike(found, names)):
        (kind,) = alike
        return tuple(constants.as_kind(part, kind, node) if isinstance(part, Constant) else part for part in found)
    if kinds <= NUMERIC and kinds:
        return tuple(Constant(None, "float") if _is_null(part) else number(part, node) for part in found)
    if len(kinds) != 1:
        refuse("type-mismatch", node, message="These values are of different types.")
    kind = kinds.pop()
    return tuple(Constant(None, kind) if _is_null(part) else part for part in found)


def _alike(parts: Iterable[Scalar], names: Names) -> bool:
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


def _fits(found: Scalar, kind: Kind) -> bool:
    """Whether a part is of that kind, or a constant that it can say exactly."""
    if not isinstance(found, Constant) or found.value is None or kind == "float":
        return True
    places = 0 if kind == "integer" else 12
    return isinstance(found.value, int | Fraction) and (Fraction(found.value) * 10**places).denominator == 1


def _is_null(found: Scalar) -> bool:
    return isinstance(found, Constant) and found.value is None


def _choice(function: str) -> Arm:
    def arm(node: exp.Expression, names: Names, depth: int) -> Scalar:
        parts = _same(node, names, depth, node.this, *node.expressions)
        return _call(function, parts, parts[0].kind, node, names)

    return arm


def _nullif(node: exp.Expression, names: Names, depth: int) -> Scalar:
    parts = _same(node, names, depth, node.this, node.expression)
    return _call("nullif", parts, parts[0].kind, node, names)


def _case(node: exp.Expression, names: Names, depth: int) -> Scalar:
    conditions, values = [], []
    subject = scalar(node.this, names, depth) if node.this is not None else None
    for branch in node.args["ifs"]:
        only(branch, "this", "true")
        if subject is None:
            conditions.append(predicate(branch.this, names))
        else:
            conditions.append(compare("eq", subject, scalar(branch.this, names, depth), branch, names))
        values.append(branch.args["true"])
    otherwise = node.args.get("default")
    parts = _same(node, names, depth, *values, otherwise if otherwise is not None else exp.Null())
    args = tuple(arg for pair in zip(conditions, parts, strict=False) for arg in pair)
    return _call("case", (*args, parts[-1]), parts[0].kind, node, names)


_TWO = ("this", "expression")

ARMS: Mapping[type[exp.Expression], tuple[Arm, tuple[str, ...]]] = MappingProxyType(
    {
        exp.Paren: (_paren, ("this",)),
        exp.Column: (_column, ("this", "table")),
        exp.Literal: (_literal, ("this", "is_string")),
        exp.Boolean: (_boolean, ("this",)),
        Given: (_given, ("constant",)),
        exp.Null: (_null, ()),
        exp.Neg: (_negative, ("this",)),
        exp.Cast: (_date, ("this", "to", "_type")),
        exp.And: (_logic("and"), _TWO),
        exp.Or: (_logic("or"), _TWO),
        exp.Not: (_not, ("this",)),
        exp.EQ: (_comparison("eq"), _TWO),
        exp.NEQ: (_comparison("neq"), _TWO),
        exp.LT: (_comparison("lt"), _TWO),
        exp.LTE: (_comparison("lte"), _TWO),
        exp.GT: (_comparison("gt"), _TWO),
        exp.GTE: (_comparison("gte"), _TWO),
        exp.Between: (_between, ("this", "low", "high")),
        exp.In: (_in, ("this", "expressions", "query")),
        exp.Is: (_is, (*_TWO, "negate")),
        exp.Add: (_arithmetic("add"), _TWO),
        exp.Sub: (_arithmetic("subtract"), _TWO),
        exp.Mul: (_arithmetic("multiply"), _TWO),
        exp.Div: (_arithmetic("divide"), (*_TWO, "typed", "safe")),
        exp.IntDiv: (_arithmetic("integer_divide"), _TWO),
        exp.Mod: (_arithmetic("modulo"), _TWO),
        exp.Abs: (_numeric("abs"), ("this",)),
        exp.Floor: (_numeric("floor"), ("this",)),
        exp.Ceil: (_numeric("ceil"), ("this",)),
        exp.Sqrt: (_numeric("sqrt"), ("this",)),
        exp.Ln: (_numeric("ln"), ("this",)),
        exp.Exp: (_numeric("exp"), ("this",)),
        exp.Pow: (_arithmetic("power"), _TWO),
        exp.Round: (_round, ("this", "decimals")),
        exp.Coalesce: (_choice("coalesce"), ("this", "expressions")),
        exp.Least: (_choice("least"), ("this", "expressions", "ignore_nulls")),
        exp.Greatest: (_choice("greatest"), ("this", "expressions", "ignore_nulls")),
        exp.Nullif: (_nullif, _TWO),
        exp.Case: (_case, ("this", "ifs", "default")),
    }
)
