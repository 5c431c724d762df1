"""GoogleSQL's contribution bounds: a value of a row, or of one unit's rows in a group, held to a narrower interval.

``SUM(x, contribution_bounds_per_row => (0, 9))``  →  ``SUM(clamp(x, 0, 9))``
``SUM(x, contribution_bounds_per_group => (0, 9)) … GROUP BY k``  →  ``SUM(clamp(s, 0, 9)) … GROUP BY k`` over
``SELECT owner, k, SUM(x) AS s … GROUP BY owner, k``

Why this is sound: the first is an expression over one row behind its own clamp. The second folds each owner's rows of a
group among themselves, which keeps them that owner's alone, and clamps the fold; an owner has one such row a group, and
the bounded SQL holds an owner to as many of them as it may have groups, weighted down beyond that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from sqlglot import exp

from gateway.sql.algebra import (
    Aggregate,
    Call,
    Constant,
    Fold,
    FoldAggregate,
    Kind,
    Ref,
    Relation,
    Scalar,
)
from gateway.sql.below.folds import bounded
from gateway.sql.inference.facts import Facts
from gateway.sql.inference.intervals import WHOLE, Bounds
from gateway.sql.inference.known import known
from gateway.sql.reading.grammar import CONTRIBUTION_BOUNDS, Bounded
from gateway.sql.refusals import refuse
from gateway.sql.scalars.arithmetic import clamped
from gateway.sql.scalars.constants import NUMERIC
from gateway.sql.scalars.resolve import RowNames, only
from gateway.sql.scalars.scalar import scalar

_ROW, _GROUP = CONTRIBUTION_BOUNDS
_PER_ROW = frozenset(
    {
        *("sum", "average", "quantile", "variance_population", "variance_sample"),
        *("deviation_population", "deviation_sample"),
    }
)


def stated(node: Bounded, rows: RowNames) -> dict[str, Bounds]:
    """Return the contribution bounds of a call, by their names in GoogleSQL."""
    only(node, "this", "expressions")
    found: dict[str, Bounds] = {}
    for argument in node.expressions:
        only(argument, "this", "expression")
        only(argument.this, "this")
        name, value = argument.name.lower(), argument.expression
        if name in found or type(value) is not exp.Tuple or len(value.expressions) != 2:
            refuse("contribution-bounds-invalid", argument)
        only(value, "expressions")
        low, high = (_number(end, rows) for end in value.expressions)
        if low > high:
            refuse("contribution-bounds-invalid", argument)
        found[name] = (low, high)
    return found


def _number(node: exp.Expression, rows: RowNames) -> Fraction:
    found = scalar(node, rows)
    if not isinstance(found, Constant) or isinstance(found.value, bool) or not isinstance(found.value, int | Fraction):
        refuse("contribution-bounds-invalid", node)
    return Fraction(found.value)


def limited(aggregate: Aggregate, limits: Mapping[str, Bounds], about: Facts, node: exp.Expression) -> Aggregate:
    """Return an aggregate within its contribution bounds; those of a group are kept for ``per_group``."""
    if _ROW in limits:
        if aggregate.kind not in _PER_ROW or aggregate.argument is None:
            refuse("contribution-bounds-invalid", node, message="Bounds per row are for aggregates of one number.")
        aggregate = replace(aggregate, argument=_per_row(aggregate.argument, limits[_ROW], about, node))
    return replace(aggregate, limits=limits.get(_GROUP))


def _per_row(found: Scalar, bounds: Bounds, about: Facts, node: exp.Expression) -> Scalar:
    """Return an argument of an aggregate held to its contribution bounds, which narrow what is known of it."""
    bounded(found, about, node)
    of = known(found, about.columns)
    declared = of.wide or of.bounds
    assert declared is not None
    low, high = bounds
    if low < declared[0] or high > declared[1]:
        ends = " and ".join(f"{float(end):g}" for end in declared)
        refuse("contribution-bounds-invalid", node, hint=f"They lie between {ends} here.")
    if found.kind == "integer":
        low, high = Fraction(math.ceil(low)), Fraction(math.floor(high))
        if low > high:
            refuse("contribution-bounds-invalid", node)
    return clamped(found, (low, high), node)


Released = tuple[Relation, tuple[tuple[str, Scalar], ...], tuple[tuple[str, Aggregate], ...]]


def per_group(
    source: Relation,
    keys: tuple[tuple[str, Scalar], ...],
    aggregates: tuple[tuple[str, Aggregate], ...],
    number: int,
    node: exp.Expression,
) -> Released:
    """Return a release over each owner's rows folded by group, its aggregates those of the clamped folds."""
    folds: dict[str, FoldAggregate] = {}
    made: list[tuple[str, Aggregate]] = []
    for name, aggregate in aggregates:
        if aggregate.kind == "count_owners":
            made.append((name, aggregate))
        elif aggregate.limits is None or aggregate.kind not in ("count_rows", "count", "sum"):
            refuse(
                "contribution-bounds-invalid",
                node,
                message="Bounds per group are for COUNT and SUM, and for all of a SELECT's aggregates or none.",
                hint="Write contribution_bounds_per_row, or another SELECT for the others.",
            )
        else:
            made.append((name, _folded(name, aggregate, number, folds, node)))
    named = tuple((f"{name}#{number}", key) for name, key in keys)
    fold = Fold(source, number, named, tuple(folds.items()))
    return fold, tuple((name, Ref(f"{name}#{number}", key.kind)) for name, key in keys), tuple(made)


def _folded(
    name: str, aggregate: Aggregate, number: int, folds: dict[str, FoldAggregate], node: exp.Expression
) -> Aggregate:
    assert aggregate.limits is not None
    low, high = aggregate.limits
    if max(-low, high) > WHOLE:
        refuse("contribution-bounds-invalid", node, hint="Bounds lie between -2^62 and 2^62.")
    argument = aggregate.argument
    total = f"{name}#{number}"
    folds[total] = FoldAggregate("sum" if aggregate.kind == "sum" else aggregate.kind, argument)  # type: ignore[arg-type]
    kind: Kind = "integer" if aggregate.result == "integer" else "float"
    value = clamped(Ref(total, kind), _whole((low, high), node) if kind == "integer" else (low, high), node)
    if aggregate.kind == "sum" and argument is not None and not low <= 0 <= high:
        # A unit without any value in a group adds nothing to it, and not the nearer bound.
        present = f"n{name}#{number}"
        folds[present] = FoldAggregate("count", argument)
        some = Call("gt", (Ref(present, "integer"), Constant(0, "integer")), "boolean")
        value = Call("case", (some, value, Constant(None, value.kind)), value.kind)
    assert value.kind in NUMERIC
    return Aggregate("sum", value, "integer" if kind == "integer" else "float")


def _whole(bounds: Bounds, node: exp.Expression) -> Bounds:
    low, high = Fraction(math.ceil(bounds[0])), Fraction(math.floor(bounds[1]))
    if low > high:
        refuse("contribution-bounds-invalid", node)
    return low, high
