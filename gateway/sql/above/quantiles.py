"""Recognise a quantile in its many spellings: which value, which fraction, and whether it is one of the values.

``PERCENTILE_DISC(0.9) WITHIN GROUP (ORDER BY cost DESC)``  →  the value ``cost`` at the fraction 1/10
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from sqlglot import exp

from gateway.sql.refusals import refuse
from gateway.sql.scalars.resolve import only

PLACES = 6
"""Decimals of a fraction: penalties are whole numbers of rows times its denominator."""

_NUMBER = re.compile(rf"[01]|[01]?\.[0-9]{{1,{PLACES}}}|[01]\.")
_EXTREMES = {exp.Min: Fraction(0), exp.Max: Fraction(1)}


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile of ``value``; 0 is the least and 1 the greatest; ``discrete`` where it is one of the values."""

    value: exp.Expression
    fraction: Fraction
    discrete: bool


def quantile(node: exp.Expression) -> Quantile | None:
    """Return the quantile that an aggregate asks for, None if it is none."""
    match node:
        case exp.Median():
            only(node, "this")
            return Quantile(node.this, Fraction(1, 2), discrete=False)
        case exp.Min() | exp.Max():
            only(node, "this")
            return Quantile(node.this, _EXTREMES[type(node)], discrete=True)
        case exp.WithinGroup(this=exp.PercentileCont() | exp.PercentileDisc()):
            return _within_group(node)
        case exp.PercentileCont() | exp.PercentileDisc():
            only(node, "this", "expression")
            return Quantile(
                node.this, _fraction(node.args.get("expression"), node), isinstance(node, exp.PercentileDisc)
            )
        case exp.Quantile() | exp.ApproxQuantile():
            only(node, "this", "quantile", "accuracy")
            return Quantile(node.this, _fraction(node.args.get("quantile"), node), discrete=True)
        case exp.Bracket(this=exp.ApproxQuantiles()):
            return _one_of_many(node)
        case exp.ApproxQuantiles():
            hint = "Ask for one of them: APPROX_QUANTILES(x, 4)[OFFSET(2)], or MEDIAN(x)."
            refuse("aggregate-unsupported", node, message="An array of quantiles cannot be shown.", hint=hint)
    return None


def _within_group(node: exp.WithinGroup) -> Quantile:
    only(node, "this", "expression")
    only(node.this, "this")
    order = node.args.get("expression")
    if type(order) is not exp.Order or len(order.expressions) != 1 or type(order.expressions[0]) is not exp.Ordered:
        refuse("aggregate-unsupported", node, hint="Write WITHIN GROUP (ORDER BY x).")
    only(order, "expressions")
    ordered = order.expressions[0]
    only(ordered, "this", "desc", "nulls_first")  # NULLs do not count, wherever they are put
    fraction = _fraction(node.this.this, node)
    fraction = 1 - fraction if ordered.args.get("desc") else fraction
    return Quantile(ordered.this, fraction, isinstance(node.this, exp.PercentileDisc))


def _one_of_many(node: exp.Bracket) -> Quantile:
    """Return the quantile that BigQuery's APPROX_QUANTILES(x, n)[OFFSET(i)] picks: the fraction i/n."""
    only(node, "this", "expressions", "offset", "safe")
    many, picked = node.this, node.expressions
    only(many, "this", "expression")
    parts, index = _whole(many.args.get("expression"), node), _whole(picked[0] if len(picked) == 1 else None, node)
    index -= int(node.args.get("offset") or 0)
    if not 0 <= index <= parts or not 1 <= parts <= 10**PLACES:
        refuse("constant-invalid", node, hint="APPROX_QUANTILES(x, n)[OFFSET(i)] takes i from 0 to n.")
    return Quantile(many.this, Fraction(index, parts), discrete=True)


def _whole(node: exp.Expression | None, where: exp.Expression) -> int:
    if type(node) is not exp.Literal or node.args.get("is_string") or not re.fullmatch("[0-9]{1,7}", node.this):
        refuse("constant-invalid", where, hint="A whole number written out is needed here.")
    only(node, "this")
    return int(node.this)


def _fraction(node: exp.Expression | None, where: exp.Expression) -> Fraction:
    if type(node) is exp.Literal and not node.args.get("is_string") and _NUMBER.fullmatch(node.this):
        only(node, "this")
        found = Fraction(node.this)
        if found <= 1:
            return found
    hint = f"One fraction from 0 to 1, written out with at most {PLACES} decimals."
    refuse("constant-invalid", where, message="A quantile takes a constant fraction.", hint=hint)
