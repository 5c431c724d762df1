"""Lower scalar expressions onto the allow-list: every node is built anew; what has no arm is refused.

``p.age BETWEEN 18 AND 30.5``  →  ``and(gte(age, 18), lte(age, 30))``

The arms stand in rooms of their own: ``comparisons``, ``choices``, ``arithmetic``, ``powers``, ``texts``, ``dates``,
``casts``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NoReturn

from sqlglot import exp

from gateway.sql.algebra import Constant, Scalar
from gateway.sql.position import dialect
from gateway.sql.refusals import refuse
from gateway.sql.scalars import casts, choices, comparisons, constants, dates, powers, spans, texts
from gateway.sql.scalars.arithmetic import absolute, arithmetic, computed, negative, rounding, sign
from gateway.sql.scalars.bind import Given
from gateway.sql.scalars.comparisons import compare, comparison, condition, logic
from gateway.sql.scalars.instead import instead, other
from gateway.sql.scalars.names import Arm, Lower, Names, number
from gateway.sql.scalars.resolve import only

__all__ = ["ARMS", "Names", "compare", "different", "number", "predicate", "scalar"]

MAX_DEPTH = 200


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
    return arm(node, names, lambda part: scalar(part, names, depth + 1))


def predicate(node: exp.Expression, names: Names) -> Scalar:
    """Return a scalar that is a truth value, or refuse."""
    return condition(scalar(node, names), node)


def different(node: exp.Distinct, names: Names) -> Scalar:
    """Return what COUNT(DISTINCT …) tells apart: a value, or several as one."""
    if not node.expressions:
        refuse("aggregate-argument", node)
    if len(node.expressions) == 1:
        return scalar(node.expressions[0], names)
    return texts.together(node.expressions, names, lambda part: scalar(part, names))


def _unknown(node: exp.Expression) -> NoReturn:
    if isinstance(node, exp.Subquery | exp.Select | exp.Exists | exp.SetOperation):
        refuse("subquery-unsupported", node)
    hint = instead(node)
    if hint is not None:
        refuse("aggregate-unsupported", node, hint=hint)
    if isinstance(node, exp.Func):
        refuse("function-unknown", node, hint=other(node))
    refuse("not-supported", node)


def _paren(node: exp.Expression, _names: Names, lower: Lower) -> Scalar:
    return lower(node.this)


def _column(node: exp.Expression, names: Names, _lower: Lower) -> Scalar:
    assert isinstance(node, exp.Column)
    return names.column(node)


def _literal(node: exp.Expression, _names: Names, _lower: Lower) -> Scalar:
    assert isinstance(node, exp.Literal)
    return constants.literal(node)


def _given(node: exp.Expression, _names: Names, _lower: Lower) -> Scalar:
    found = node.args["constant"]
    assert isinstance(found, Constant)
    return found


def _boolean(node: exp.Expression, _names: Names, _lower: Lower) -> Scalar:
    return Constant(bool(node.this), "boolean")


def _null(_node: exp.Expression, _names: Names, _lower: Lower) -> Scalar:
    return constants.NULL


_INTERVAL = "The difference of two timestamps is an interval, which is no number."


def _additive(function: str) -> Arm:
    """Return the arm of + or -, of numbers or of dates."""

    def arm(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
        sign_ = 1 if function == "add" else -1
        left, right = node.this, node.expression
        if sign_ == 1 and type(left) is exp.Interval:
            left, right = right, left
        if type(right) is exp.Interval:
            amount, unit = dates.interval(right)
            return dates.shift(lower(left), sign_ * amount, unit, node, names)
        first, second = lower(left), lower(right)
        if first.kind in dates.MOMENTS and second.kind in dates.MOMENTS and sign_ == -1:
            if "timestamp" in (first.kind, second.kind):
                refuse("type-mismatch", node, message=_INTERVAL, hint="DATE_DIFF('second', a, b) / 3600.0 for hours.")
            return spans.between(second, first, "day", node, names)
        if sign_ == 1 and first.kind == second.kind == "text" and dialect(node) == "tsql":
            return texts.concat(node, names, lower)
        if first.kind == "date" and isinstance(second, Constant) and type(second.value) is int:
            return dates.shift(first, sign_ * second.value, "day", node, names)
        return computed(function, first, second, node, names)

    return arm


_UNPARSED: Mapping[str, Arm] = {"NOW": dates.now, "TODAY": dates.today, "DATE_PART": dates.named_part}


def _unparsed(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return one of the few functions that the parser knows by their names alone."""
    arm = _UNPARSED.get(node.this.upper()) if isinstance(node.this, str) else None
    if arm is None or (arm is not dates.named_part and node.expressions):
        _unknown(node)
    return arm(node, names, lower)


_TWO = ("this", "expression")
_TEXT: Mapping[type[exp.Expression], tuple[Arm, tuple[str, ...]]] = {
    exp.Upper: (texts.cased("upper"), ("this",)),
    exp.Lower: (texts.cased("lower"), ("this",)),
    exp.Left: (texts.end("left"), (*_TWO, "negative_length_returns_empty")),
    exp.Right: (texts.end("right"), (*_TWO, "negative_length_returns_empty")),
    exp.Substring: (texts.substring, ("this", "start", "length", "zero_start")),
    exp.Trim: (texts.trim, ("this", "position", "expression")),
    exp.SplitPart: (
        texts.split_part,
        ("this", "delimiter", "part_index", "part_index_zero_as_one", "empty_delimiter_returns_whole"),
    ),
    exp.Replace: (texts.replaced, ("this", "expression", "replacement")),
    exp.Concat: (texts.concat, ("expressions", "safe", "coalesce")),
    exp.DPipe: (texts.concat, (*_TWO, "safe")),
    exp.Length: (texts.length, ("this", "binary")),
    exp.StrPosition: (texts.position, ("this", "substr", "clamp_position")),
    exp.Like: (texts.like(ignoring_case=False), (*_TWO, "negate")),
    exp.ILike: (texts.like(ignoring_case=True), (*_TWO, "negate")),
    exp.Escape: (texts.escaped_like, _TWO),
    exp.StartsWith: (texts.part("", "%"), _TWO),
    exp.EndsWith: (texts.part("%", ""), _TWO),
    exp.Contains: (texts.part("%", "%"), _TWO),
}
_TIME: Mapping[type[exp.Expression], tuple[Arm, tuple[str, ...]]] = {
    exp.Extract: (dates.extract, _TWO),
    **{
        node: (dates.part(name), ("this",))
        for node, name in (
            (exp.Year, "year"),
            (exp.Quarter, "quarter"),
            (exp.Month, "month"),
            (exp.Week, "week"),
            (exp.WeekOfYear, "week"),
            (exp.Day, "day"),
            (exp.DayOfMonth, "day"),
            (exp.DayOfWeek, "dow"),
            (exp.DayOfWeekIso, "isodow"),
            (exp.YearOfWeekIso, "isoyear"),
            (exp.DayOfYear, "doy"),
            (exp.Hour, "hour"),
            (exp.Minute, "minute"),
            (exp.Second, "second"),
        )
    },
    exp.TimestampTrunc: (dates.truncated, ("this", "unit", "input_type_preserved")),
    exp.DateTrunc: (dates.truncated, ("this", "unit", "input_type_preserved")),
    exp.DateDiff: (spans.difference, (*_TWO, "unit", "date_part_boundary", "big_int")),
    exp.DatetimeDiff: (spans.difference, (*_TWO, "unit", "date_part_boundary")),
    exp.TimestampDiff: (spans.completed, (*_TWO, "unit")),
    exp.DateAdd: (dates.added(1), (*_TWO, "unit")),
    exp.DateSub: (dates.added(-1), (*_TWO, "unit")),
    exp.TsOrDsAdd: (dates.added(1), (*_TWO, "unit")),
    exp.TimestampAdd: (dates.added(1), (*_TWO, "unit")),
    exp.TimestampSub: (dates.added(-1), (*_TWO, "unit")),
    exp.CurrentDate: (dates.today, ()),
    exp.CurrentTimestamp: (dates.now, ()),
    exp.Date: (dates.converted("date"), ("this",)),
    exp.TsOrDsToDate: (dates.converted("date"), ("this", "safe", "default_date")),
    exp.TimeStrToTime: (dates.converted("timestamp"), ("this",)),
}

ARMS: Mapping[type[exp.Expression], tuple[Arm, tuple[str, ...]]] = MappingProxyType(
    {
        exp.Anonymous: (_unparsed, ("this", "expressions")),
        exp.Paren: (_paren, ("this",)),
        exp.Column: (_column, ("this", "table")),
        exp.Literal: (_literal, ("this", "is_string")),
        exp.Boolean: (_boolean, ("this",)),
        Given: (_given, ("constant",)),
        exp.Null: (_null, ()),
        exp.Neg: (negative, ("this",)),
        exp.Cast: (casts.cast, ("this", "to", "_type")),
        exp.TryCast: (casts.cast, ("this", "to", "_type", "safe", "requires_string")),
        exp.And: (logic("and"), _TWO),
        exp.Or: (logic("or"), _TWO),
        exp.Not: (comparisons.negation, ("this",)),
        exp.EQ: (comparison("eq"), _TWO),
        exp.NEQ: (comparison("neq"), _TWO),
        exp.LT: (comparison("lt"), _TWO),
        exp.LTE: (comparison("lte"), _TWO),
        exp.GT: (comparison("gt"), _TWO),
        exp.GTE: (comparison("gte"), _TWO),
        exp.Between: (comparisons.between, ("this", "low", "high")),
        exp.In: (comparisons.member, ("this", "expressions", "query")),
        exp.NullSafeEQ: (comparisons.distinct(negated=True), _TWO),
        exp.NullSafeNEQ: (comparisons.distinct(negated=False), _TWO),
        exp.Is: (comparisons.test, (*_TWO, "negate")),
        exp.Add: (_additive("add"), _TWO),
        exp.Sub: (_additive("subtract"), _TWO),
        exp.Mul: (arithmetic("multiply"), _TWO),
        exp.Div: (arithmetic("divide"), (*_TWO, "typed", "safe")),
        exp.IntDiv: (arithmetic("integer_divide"), _TWO),
        exp.Mod: (arithmetic("modulo"), _TWO),
        exp.SafeDivide: (powers.safe_divide, _TWO),
        exp.Abs: (absolute, ("this",)),
        exp.Sign: (sign, ("this",)),
        **{node: (rounding(name), ("this", "decimals", *marks)) for node, name, marks in powers.ROUNDED},
        exp.Sqrt: (powers.root, ("this",)),
        exp.Ln: (powers.natural, ("this",)),
        exp.Log: (powers.logarithm, _TWO),
        exp.Exp: (powers.exponential, ("this",)),
        exp.Pow: (powers.power, _TWO),
        exp.WidthBucket: (powers.bucket, ("this", "min_value", "max_value", "num_buckets")),
        exp.Coalesce: (choices.coalesce, ("this", "expressions", "is_nvl", "is_null")),
        exp.Least: (choices.extreme("least"), ("this", "expressions", "ignore_nulls")),
        exp.Greatest: (choices.extreme("greatest"), ("this", "expressions", "ignore_nulls")),
        exp.Nullif: (choices.nullif, _TWO),
        exp.Case: (choices.case, ("this", "ifs", "default")),
        exp.If: (choices.if_else, ("this", "true", "false")),
        **_TEXT,
        **_TIME,
    }
)
