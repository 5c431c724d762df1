"""Read aggregates of second moments: variances, deviations, covariances, correlations, regressions.

``REGR_SLOPE(cost, age)``  →  ``slope`` of ``CASE WHEN age IS NOT NULL THEN cost END`` on
``CASE WHEN cost IS NOT NULL THEN age END``

Pairs with a NULL on either side do not count, as SQL has it: both values are made NULL together, so that one set of
measures tells all about the pair and about either of its values.
"""

from __future__ import annotations

from sqlglot import exp

from gateway.sql.algebra import Aggregate, Call, Constant, Scalar, Spread
from gateway.sql.below.folds import bounded
from gateway.sql.inference.facts import Facts
from gateway.sql.inference.known import known
from gateway.sql.refusals import refuse
from gateway.sql.scalars.resolve import RowNames, only
from gateway.sql.scalars.scalar import scalar

_ONE: dict[type[exp.Expression], Spread] = {
    exp.Variance: "variance_sample",
    exp.VariancePop: "variance_population",
    exp.Stddev: "deviation_sample",
    exp.StddevSamp: "deviation_sample",
    exp.StddevPop: "deviation_population",
}

_SPELLED: dict[str, Spread] = {
    "VAR": "variance_sample",
    "VARP": "variance_population",
    "STDEVP": "deviation_population",
    "STD": "deviation_sample",  # Spark's; MySQL's, of the population, is read as STDDEV_POP by its own dialect
}
"""Names that the parser of no dialect knows."""

_TWO: dict[type[exp.Expression], Spread] = {
    exp.CovarPop: "covariance_population",
    exp.CovarSamp: "covariance_sample",
    exp.Corr: "correlation",
    exp.RegrR2: "determination",
    exp.RegrSlope: "slope",
    exp.RegrIntercept: "intercept",
}

_REGRESSED = (exp.RegrCount, exp.RegrAvgx, exp.RegrAvgy)


def spread(node: exp.Expression, rows: RowNames, about: Facts, condition: Scalar | None) -> Aggregate | None:
    """Return the aggregate that a node is, over the rows for which a condition is true; None if it is no such one."""
    kind = _ONE.get(type(node))
    if kind is not None:
        only(node, "this")
        return Aggregate(kind, _where(condition, _argument(node.this, node, rows, about)), "float")
    if type(node) is exp.Anonymous and isinstance(node.this, str) and node.this.upper() in _SPELLED:
        only(node, "this", "expressions")
        argument = node.expressions[0] if len(node.expressions) == 1 else None
        found = _argument(argument, node, rows, about)
        return Aggregate(_SPELLED[node.this.upper()], _where(condition, found), "float")
    if type(node) in _TWO or type(node) in _REGRESSED:
        return _paired(node, rows, about, condition)
    return None


def label(node: exp.Expression) -> str:
    """Return what a column is called that is this expression without an alias: the function's own name."""
    if type(node) is exp.Anonymous and isinstance(node.this, str):
        return node.this.lower()
    if isinstance(node, exp.Func) and type(node) in (*_ONE, *_TWO, *_REGRESSED):
        return str(node.sql_name()).lower()
    return str(node.key)


def _paired(node: exp.Expression, rows: RowNames, about: Facts, condition: Scalar | None) -> Aggregate:
    # Snowflake's parser writes down what its CORR means by a flag; a third argument of the analyst's is a tree.
    flag = ("null_on_zero_variance",) if node.args.get("null_on_zero_variance") is True else ()
    only(node, "this", "expression", *flag)
    y, x = (_argument(node.args.get(name), node, rows, about) for name in ("this", "expression"))
    kind = _TWO.get(type(node))
    if y == x and kind is not None:
        if type(node) not in (exp.CovarPop, exp.CovarSamp):
            refuse("aggregate-argument", node, message="This aggregate takes two different values.")
        same: Spread = "variance_population" if type(node) is exp.CovarPop else "variance_sample"
        return Aggregate(same, _where(condition, y), "float")
    if kind is not None and type(node) not in (exp.CovarPop, exp.CovarSamp):
        _varies(node, "expression", x, about)
        _varies(node, "this", y, about)
    of_y, of_x = (_where(_both(condition, other, about), value) for value, other in ((y, x), (x, y)))
    if kind is not None:
        return Aggregate(kind, of_y, "float", second=of_x)
    if type(node) is exp.RegrCount:
        return Aggregate("count", of_y, "integer")
    return Aggregate("average", of_y if type(node) is exp.RegrAvgy else of_x, "float")


def _varies(node: exp.Expression, place: str, value: Scalar, about: Facts) -> None:
    """Refuse a correlation or regression of what the policy holds to a single value: only noise would vary."""
    found = known(value, about.columns).bounds
    if found is not None and found[0] == found[1]:
        refuse("aggregate-argument", node.args[place], message="The declared bounds leave this a single value.")


def _argument(node: exp.Expression | None, whole: exp.Expression, rows: RowNames, about: Facts) -> Scalar:
    if node is None:
        refuse("aggregate-argument", whole)
    if type(node) is exp.Distinct:
        refuse("distinct-unsupported", node)
    found = scalar(node, rows)
    if isinstance(found, Constant):
        refuse("aggregate-argument", node)
    bounded(found, about, node)
    return found


def _both(condition: Scalar | None, other: Scalar, about: Facts) -> Scalar | None:
    """Return the condition that holds where the given one does and the other value is there."""
    if not known(other, about.columns).nullable:
        return condition
    there = Call("not", (Call("is_null", (other,), "boolean"),), "boolean")
    return there if condition is None else Call("and", (condition, there), "boolean")


def _where(condition: Scalar | None, value: Scalar) -> Scalar:
    """Return a value where a condition is true, NULL elsewhere."""
    return value if condition is None else Call("case", (condition, value, Constant(None, value.kind)), value.kind)
