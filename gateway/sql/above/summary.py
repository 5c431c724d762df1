"""Group rows of public tables: keys and aggregates over numbers that are noisy already.

``SELECT region, SUM(n), MAX(n) FROM released GROUP BY region``  →  ``Group(…, [region], [sum(n), greatest(n)])``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

from sqlglot import exp

from gateway.errors import SqlRefused
from gateway.sql.above.columns import TableNames
from gateway.sql.algebra import Call, Constant, Kind, Ref, Release, Scalar, type_of
from gateway.sql.functions import Level
from gateway.sql.refusals import refuse
from gateway.sql.scalars.resolve import matches, only
from gateway.sql.scalars.scalar import number, predicate, scalar
from gateway.sql.tables import Group, Public, Shown, Summarised, Summary, nodes

MOST_KEYS = 16

_SUMMARIES: Mapping[type[exp.Expression], Summarised] = MappingProxyType(
    {
        exp.Count: "count",
        exp.Sum: "sum",
        exp.Avg: "average",
        exp.Min: "least",
        exp.Max: "greatest",
        exp.Median: "median",
        exp.VariancePop: "var_pop",
        exp.Variance: "var_samp",
        exp.StddevPop: "stddev_pop",
        exp.Stddev: "stddev_samp",
        exp.StddevSamp: "stddev_samp",
    }
)


class GroupNames:
    """What names mean over groups of rows of public tables: keys and aggregates."""

    level: Level = "post"

    def __init__(self, rows: TableNames) -> None:
        self.rows = rows
        self.keys: list[tuple[str, Scalar]] = []
        self.summaries: dict[str, tuple[Summary, Kind]] = {}

    def add_key(self, node: exp.Expression, select: exp.Select) -> None:
        """Read an item of GROUP BY: a position, an expression, or an alias of the select list."""
        meant = node
        if type(node) is exp.Literal and not node.args.get("is_string"):
            only(node, "this")
            if not node.this.isdigit() or not 1 <= int(node.this) <= len(select.expressions):
                refuse("key-unsupported", node, message="GROUP BY names a position that the select list does not have.")
            meant = select.expressions[int(node.this) - 1]
        elif type(node) is exp.Column and node.args.get("table") is None and self.rows.scope.find(node) is None:
            named = (item for item in select.expressions if type(item) is exp.Alias)
            meant = next((item for item in named if matches(node.this, item.args["alias"].this)), node)
        key = scalar(meant.this if type(meant) is exp.Alias else meant, self.rows)
        if isinstance(key, Constant):
            refuse("key-unsupported", node)
        if len(self.keys) >= MOST_KEYS:
            refuse("sql-too-deep", node, hint=f"At most {MOST_KEYS} group keys.")
        if all(key != found for _, found in self.keys):
            self.keys.append((f"k{len(self.keys)}", key))

    def column(self, node: exp.Column) -> Scalar:
        """Refuse a column that is no key."""
        if isinstance(node.this, exp.Star):
            refuse("not-grouped", node)
        self.rows.column(node)
        refuse("not-grouped", node)

    def whole(self, node: exp.Expression) -> Scalar | None:
        """Return the key or the aggregate that an expression is, None if it has to be taken apart."""
        if isinstance(node, exp.AggFunc) or type(node) is exp.Filter:
            return self._summary(node)
        if isinstance(node, exp.Query | exp.Exists) or not self.keys:
            return None
        if type(node) is exp.Column:
            found: Scalar | None = None if isinstance(node.this, exp.Star) else self.rows.scope.find(node)
        elif any(isinstance(key, Call) for _, key in self.keys) and _plain(node):
            found = _tried(node, self.rows)
        else:
            return None
        return next((Ref(name, key.kind) for name, key in self.keys if key == found), None)

    def scale(self, ref: Ref) -> int | None:
        """Return the decimals of an integer or decimal column."""
        key = dict(self.keys).get(ref.name)
        return 0 if ref.kind == "integer" else self.rows.scale(key) if isinstance(key, Ref) else None

    def shown(self, name: str) -> Shown:
        """Return what is known of a key or an aggregate."""
        role: Literal["derived", "public"] = "public" if self.exact else "derived"
        if name in self.summaries:
            summary, kind = self.summaries[name]
            return Shown("integer" if self._whole(summary) else type_of(kind), role)
        key = dict(self.keys)[name]
        if not isinstance(key, Ref):
            return Shown(type_of(key.kind), role)
        found = self.rows.shown(key.name)
        return replace(found, role="derived" if found.role == "noisy" else found.role, sources=(), interval=None)

    @property
    def exact(self) -> bool:
        """Whether no release stands below, so that all that is said of the rows is public."""
        return not any(isinstance(found, Release) for found in nodes(self.rows.source))

    def _whole(self, summary: Summary) -> bool:
        """Whether an aggregate is a whole number: a sum, the least or the greatest of whole numbers."""
        argument = summary.argument
        while isinstance(argument, Call) and argument.function == "to_float":
            (argument,) = argument.args
        known = isinstance(argument, Ref) and self.rows.shown(argument.name).type == "integer"
        return known and summary.kind in ("sum", "least", "greatest")

    def ends(self, name: str) -> tuple[str, str] | None:  # noqa: ARG002 - of the protocol
        """Return None: what is computed from several noisy numbers has no interval of theirs."""
        return None

    def star(self, node: exp.Expression) -> list[tuple[str, Ref]]:
        """Refuse a star among groups."""
        refuse("not-grouped", node)

    def table(self) -> Public:
        """Return the groups."""
        aggregates = tuple((name, found) for name, (found, _) in self.summaries.items())
        return Group(self.rows.table(), tuple(self.keys), aggregates)

    def _summary(self, node: exp.Expression) -> Ref:
        condition = None
        if type(node) is exp.Filter:
            only(node, "this", "expression")
            only(node.expression, "this")
            condition, node = predicate(node.expression.this, self.rows), node.this
        if type(node) is exp.CountIf:
            only(node, "this")
            counted = predicate(node.this, self.rows)
            both = counted if condition is None else Call("and", (counted, condition), "boolean")
            return self._add(Summary("count", _where(both, Constant(1, "integer")), False), "integer")
        kind = _SUMMARIES.get(type(node))
        if kind is None:
            refuse("aggregate-unsupported", node, hint=f"Above released tables: {_OFFERED}.")
        only(node, "this", "big_int")
        argument, distinct = node.this, False
        if type(argument) is exp.Distinct:
            only(argument, "expressions")
            if kind not in ("count", "sum", "average") or len(argument.expressions) != 1:
                refuse("distinct-unsupported", argument)
            argument, distinct = argument.expressions[0], True
        if kind == "count" and isinstance(argument, exp.Star) and not distinct:
            only(argument)
            one = Constant(1, "integer")
            return self._add(Summary(kind, one if condition is None else _where(condition, one), False), "integer")
        if argument is None:
            refuse("aggregate-argument", node, hint="Write COUNT(*).")
        value = scalar(argument, self.rows)
        if kind in ("count", "least", "greatest"):
            result: Kind = "integer" if kind == "count" else value.kind
        else:
            value, result = number(value, argument), "float"
        return self._add(Summary(kind, value if condition is None else _where(condition, value), distinct), result)

    def _add(self, summary: Summary, kind: Kind) -> Ref:
        for name, (found, _) in self.summaries.items():
            if found == summary:
                return Ref(name, kind)
        name = f"a{len(self.summaries)}"
        self.summaries[name] = (summary, kind)
        return Ref(name, kind)


_OFFERED = "COUNT, SUM, AVG, MIN, MAX, MEDIAN, VAR_POP, VAR_SAMP, STDDEV_POP and STDDEV_SAMP"


def _where(condition: Scalar, value: Scalar) -> Scalar:
    return Call("case", (condition, value, Constant(None, value.kind)), value.kind)


def _plain(node: exp.Expression) -> bool:
    """Whether an expression holds no aggregate and no subquery, so that it may be a key."""
    return not any(isinstance(found, exp.AggFunc | exp.Query) for found in node.walk())


def _tried(node: exp.Expression, rows: TableNames) -> Scalar | None:
    """Return what an expression means over the rows below; None where names mean aliases."""
    try:
        return scalar(node, rows)
    except SqlRefused:
        return None
