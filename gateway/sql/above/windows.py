"""Lower window functions over noisy tables.

``SUM(n) OVER (PARTITION BY sex ORDER BY age ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)``

Why the answer does not depend on how an engine happens to order equal rows: whatever looks at places among rows rather
than at values (row numbers, LAG, FIRST_VALUE, ROWS frames) has its order completed by the total order of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType

from sqlglot import exp

from gateway.sql.algebra import Constant, Kind, Ordering, Scalar
from gateway.sql.functions import UNITS
from gateway.sql.refusals import refuse
from gateway.sql.scalars.constants import NUMERIC, as_kind, literal
from gateway.sql.scalars.dates import MOMENTS, interval
from gateway.sql.scalars.resolve import only
from gateway.sql.scalars.scalar import Names, number, scalar
from gateway.sql.tables import Windowed

MOST_RANGE = 10**9
"""The widest distance of a frame of RANGE."""

MOST_ROWS = 10_000
"""The widest offset of LAG, NTILE and frames."""

_PLACES: Mapping[type[exp.Expression], str] = MappingProxyType({exp.RowNumber: "row_number"})
_RANKS: Mapping[type[exp.Expression], str] = MappingProxyType(
    {exp.Rank: "rank", exp.DenseRank: "dense_rank", exp.PercentRank: "percent_rank", exp.CumeDist: "cume_dist"}
)
_SHIFTS: Mapping[type[exp.Expression], str] = MappingProxyType({exp.Lag: "lag", exp.Lead: "lead"})
_ENDS: Mapping[type[exp.Expression], str] = MappingProxyType(
    {exp.FirstValue: "first_value", exp.LastValue: "last_value"}
)
_FOLDS: Mapping[type[exp.Expression], str] = MappingProxyType(
    {exp.Count: "count", exp.Sum: "sum", exp.Avg: "avg", exp.Min: "min", exp.Max: "max"}
)
_SIDES = {"PRECEDING", "FOLLOWING"}


def window(node: exp.Window, names: Names) -> tuple[Windowed, Kind]:
    """Return a window function and the kind of its values, or refuse."""
    only(node, "this", "partition_by", "order", "spec", "over", code="window-unsupported")
    if str(node.args.get("over") or "OVER") != "OVER":
        refuse("window-unsupported", node)
    partition = tuple(scalar(item, names) for item in node.args.get("partition_by") or ())
    order = _order(node, names)
    function, args, kind = _function(node.this, names)
    frame = _frame(node.args.get("spec"), order)
    if frame is not None and frame.startswith("RANGE") and order and order[0].by.kind in NUMERIC:
        # A distance is taken off doubles, which have no end to run over.
        order = (replace(order[0], by=number(order[0].by, node)), *order[1:])
    ranked = type(node.this) in _RANKS
    if ranked and not order:
        refuse("window-unsupported", node, message="A rank needs an ORDER BY in its window.")
    if frame is not None and (ranked or type(node.this) in _PLACES or type(node.this) in _SHIFTS):
        refuse("window-unsupported", node, message="This window function takes no frame.")
    folds = function in _FOLDS.values()
    total = not ranked and (not folds or (frame is not None and frame.startswith("ROWS")))
    if function in _ENDS.values() and frame is not None and not frame.startswith("ROWS"):
        refuse("window-unsupported", node, hint="Write ROWS BETWEEN … AND ….")
    return Windowed(function, args, partition, order, frame, total), kind


def _order(node: exp.Window, names: Names) -> tuple[Ordering, ...]:
    order = node.args.get("order")
    if order is None:
        return ()
    only(order, "expressions", code="window-unsupported")
    found = []
    for item in order.expressions:
        if type(item) is not exp.Ordered:
            refuse("window-unsupported", item)
        only(item, "this", "desc", "nulls_first", code="window-unsupported")
        by = scalar(item.this, names)
        found.append(Ordering(by, bool(item.args.get("desc")), bool(item.args.get("nulls_first"))))
    return tuple(found)


def _function(node: exp.Expression, names: Names) -> tuple[str, tuple[Scalar, ...], Kind]:
    kind = type(node)
    if kind in _PLACES or kind in _RANKS:
        only(node, code="window-unsupported")
        function = _PLACES.get(kind) or _RANKS[kind]
        return function, (), "float" if function in ("percent_rank", "cume_dist") else "integer"
    if kind is exp.Ntile:
        only(node, "this", code="window-unsupported")
        return "ntile", (_count(node.this, node, least=1),), "integer"
    if kind in _SHIFTS:
        return _shift(node, names)
    if kind in _ENDS:
        only(node, "this", code="window-unsupported")
        value = scalar(node.this, names)
        return _ENDS[kind], (value,), value.kind
    if kind in _FOLDS:
        return _fold(node, names)
    refuse("window-unsupported", node)


def _shift(node: exp.Expression, names: Names) -> tuple[str, tuple[Scalar, ...], Kind]:
    only(node, "this", "offset", "default", code="window-unsupported")
    value = scalar(node.this, names)
    offset = node.args.get("offset")
    args: list[Scalar] = [value, Constant(1, "integer") if offset is None else _count(offset, node, least=0)]
    if node.args.get("default") is not None:
        default = scalar(node.args["default"], names)
        if isinstance(default, Constant):
            default = as_kind(default, value.kind, node)
        if default.kind != value.kind:
            refuse("type-mismatch", node, message="LAG and LEAD take a default of the type of their values.")
        args.append(default)
    return _SHIFTS[type(node)], tuple(args), value.kind


def _fold(node: exp.Expression, names: Names) -> tuple[str, tuple[Scalar, ...], Kind]:
    only(node, "this", "big_int", code="window-unsupported")
    function = _FOLDS[type(node)]
    if function == "count" and isinstance(node.this, exp.Star):
        only(node.this)
        return function, (), "integer"
    if node.this is None or type(node.this) is exp.Distinct:
        refuse("window-unsupported", node)
    value = scalar(node.this, names)
    if function in ("sum", "avg"):
        return function, (number(value, node),), "float"
    return function, (value,), "integer" if function == "count" else value.kind


def _count(node: exp.Expression, where: exp.Expression, *, least: int) -> Constant:
    """Return a whole number that is written out."""
    if type(node) is not exp.Literal or node.args.get("is_string") or not node.this.isdigit() or len(node.this) > 9:
        refuse("window-unsupported", where, message="This takes a whole number written out.")
    only(node, "this")
    if not least <= int(node.this) <= MOST_ROWS:
        refuse("window-unsupported", where, hint=f"From {least} to {MOST_ROWS}.")
    return Constant(int(node.this), "integer")


def _frame(spec: exp.Expression | None, order: Sequence[Ordering]) -> str | None:
    if spec is None:
        return None
    only(spec, "kind", "start", "start_side", "end", "end_side", code="window-unsupported")
    kind = str(spec.args.get("kind") or "").upper()
    if kind not in ("ROWS", "RANGE"):
        refuse("window-unsupported", spec, hint="Write ROWS or RANGE.")
    start = _edge(spec, "start", kind, order)
    end = "CURRENT ROW" if spec.args.get("end") is None else _edge(spec, "end", kind, order)
    if start == "UNBOUNDED FOLLOWING" or end == "UNBOUNDED PRECEDING":
        refuse("window-unsupported", spec)
    if _place(start) > _place(end):
        refuse("window-unsupported", spec, message="The frame ends before it begins.")
    return f"{kind} BETWEEN {start} AND {end}"


def _edge(spec: exp.Expression, name: str, kind: str, order: Sequence[Ordering]) -> str:
    value, side = spec.args.get(name), str(spec.args.get(f"{name}_side") or "").upper()
    if value == "CURRENT ROW" and not side:
        return "CURRENT ROW"
    if side not in _SIDES:
        refuse("window-unsupported", spec)
    if value == "UNBOUNDED":
        return f"UNBOUNDED {side}"
    if not isinstance(value, exp.Expression):
        refuse("window-unsupported", spec)
    if kind == "RANGE":
        return f"{_distance(value, spec, order)} {side}"
    return f"{_count(value, spec, least=0).value} {side}"


def _distance(value: exp.Expression, spec: exp.Expression, order: Sequence[Ordering]) -> str:
    """Return how far a frame of RANGE reaches: a number beside numbers, an interval beside dates."""
    if len(order) != 1:
        refuse("window-unsupported", spec, message="RANGE with a distance takes one ORDER BY.")
    if order[0].by.kind in NUMERIC and type(value) is exp.Literal:
        found = literal(value)
        if isinstance(found.value, int | Fraction) and 0 <= found.value <= MOST_RANGE:
            return f"CAST('{float(found.value)!r}' AS DOUBLE)"
    elif order[0].by.kind in MOMENTS and type(value) is exp.Interval:
        amount, unit = interval(value)
        if amount >= 0 and unit in UNITS:
            return f"INTERVAL '{amount}' {unit.upper()}"
    hint = "A number from 0 to 1000000000 beside numbers, INTERVAL '30' DAY beside dates."
    refuse("window-unsupported", spec, message="This is no distance between values of the ORDER BY.", hint=hint)


def _place(edge: str) -> float:
    """Return where an edge lies, counted in rows, or days of intervals, from the current one."""
    words = edge.split()
    if words[0] == "INTERVAL":
        distance = int(words[1].strip("'")) * _DAYS[words[2]]
    elif words[0].startswith("CAST"):
        distance = float(words[0].removeprefix("CAST").strip("('"))
    else:
        distance = 0 if words[0] == "CURRENT" else math.inf if words[0] == "UNBOUNDED" else int(words[0])
    return -distance if words[-1] == "PRECEDING" else distance


_DAYS = {"YEAR": 365.0, "QUARTER": 91.0, "MONTH": 30.4, "WEEK": 7.0, "DAY": 1.0}
_DAYS |= {"HOUR": 1 / 24, "MINUTE": 1 / 1_440, "SECOND": 1 / 86_400}
