"""What names mean over the noisy table of a release: group keys and aggregates.

``SUM(cost) / COUNT(*)`` over one release  →  ``divide(to_float(a0), to_float(a1))`` with ``a0``, ``a1`` released once
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlglot import exp

from gateway.errors import SqlRefused
from gateway.sql.above.quantiles import Quantile, quantile
from gateway.sql.algebra import Aggregate, Call, Constant, Ref, Scalar
from gateway.sql.below.contribution import limited, stated
from gateway.sql.below.folds import bounded, counted
from gateway.sql.below.spread import spread
from gateway.sql.functions import Level
from gateway.sql.inference.facts import Facts
from gateway.sql.inference.intervals import Bounds
from gateway.sql.inference.known import known, moment
from gateway.sql.reading.grammar import Bounded
from gateway.sql.refusals import refuse
from gateway.sql.scalars.dates import MOMENTS
from gateway.sql.scalars.instead import instead
from gateway.sql.scalars.resolve import RowNames, only
from gateway.sql.scalars.scalar import different, predicate, scalar
from gateway.sql.scalars.spans import between

MOST_AGGREGATES = 100

_AGGREGATES: dict[type[exp.Expression], Literal["count", "sum", "average"]] = {
    exp.Count: "count",
    exp.Sum: "sum",
    exp.Avg: "average",
}


@dataclass(slots=True)
class Noisy:
    """What names mean over the noisy table: group keys and aggregates."""

    rows: RowNames
    about: Facts
    keys: list[tuple[str, Scalar]]
    aggregates: dict[str, Aggregate] = field(default_factory=dict)
    limits: tuple[Bounded, Mapping[str, Bounds]] | None = None

    level: Level = field(default="post", init=False)

    def column(self, node: exp.Column) -> Scalar:
        """Refuse a name that is no key."""
        if isinstance(node.this, exp.Star):
            refuse("no-aggregate", node)
        self.rows.column(node)
        refuse("not-grouped", node, hint=f"Add {node.this.this} to GROUP BY, or write COUNT, SUM or AVG around it.")

    def whole(self, node: exp.Expression) -> Scalar | None:
        """Return the group key or the aggregate that an expression is, None if it has to be taken apart."""
        name = self._key(node)
        if name is not None:
            return name
        if type(node) is Bounded:
            return self._bounded(node)
        if type(node) is exp.CountIf:
            only(node, "this")
            return self._counted(predicate(node.this, self.rows))
        if type(node) is exp.Filter:
            return self._filtered(node)
        asked = quantile(node)
        if asked is not None:
            return self._quantile(asked, None)
        kind = _AGGREGATES.get(type(node))
        if kind is not None:
            return self._aggregate(node, kind, None)
        moments = spread(node, self.rows, self.about, None)
        return None if moments is None else self._add(moments)

    def scale(self, ref: Ref) -> int | None:
        """Keys keep their grid; noisy numbers are doubles over the noisy table."""
        key = next((key for name, key in self.keys if name == ref.name), None)
        return self.rows.scale(key) if isinstance(key, Ref) else None

    def _key(self, node: exp.Expression) -> Ref | None:
        """Return the group key that an expression is, None if none; an alias of its name does not hide it."""
        if type(node) is exp.Column:
            found: Scalar | None = None if isinstance(node.this, exp.Star) else self.rows.scope.find(node)
        elif type(node) is not exp.Literal and any(isinstance(key, Call) for _, key in self.keys):
            try:
                found = scalar(node, self.rows)
            except SqlRefused:  # it is made of aggregates or aliases, and is taken apart
                return None
        else:
            return None
        return next((Ref(name, key.kind) for name, key in self.keys if key == found), None)

    def _filtered(self, node: exp.Filter) -> Scalar:
        """Return an aggregate of the rows for which a condition is true."""
        only(node, "this", "expression")
        only(node.expression, "this")
        condition = predicate(node.expression.this, self.rows)
        asked = quantile(node.this)
        if asked is not None:
            return self._quantile(asked, condition)
        kind = _AGGREGATES.get(type(node.this))
        if kind is not None:
            return self._aggregate(node.this, kind, condition)
        moments = spread(node.this, self.rows, self.about, condition)
        if moments is None:
            refuse("aggregate-unsupported", node, hint=instead(node))
        return self._add(moments)

    def _counted(self, condition: Scalar) -> Scalar:
        """Return the count of the rows for which a condition is true."""
        return self._add(Aggregate("count", _where(condition, Constant(1, "integer")), "integer"))

    def _aggregate(
        self, node: exp.Expression, kind: Literal["count", "sum", "average"], condition: Scalar | None
    ) -> Scalar:
        only(node, "this", "big_int")
        argument = node.this
        if kind == "count" and isinstance(argument, exp.Star):
            only(argument)
            return (
                self._add(Aggregate("count_rows", None, "integer")) if condition is None else self._counted(condition)
            )
        if type(argument) is exp.Distinct:
            return self._distinct(argument, kind, condition)
        if argument is None:
            refuse("aggregate-argument", node, hint="Write COUNT(*).")
        found = scalar(argument, self.rows)
        if isinstance(found, Constant):
            if kind != "count" or found.value is None:
                refuse("aggregate-argument", argument)
            return (
                self._add(Aggregate("count_rows", None, "integer")) if condition is None else self._counted(condition)
            )
        if kind != "count":
            found = counted(found, argument, self.rows)
            bounded(found, self.about, argument)
        whole = kind == "sum" and known(found, self.about.columns).kind == "integer"
        argument_of = found if condition is None else _where(condition, found)
        return self._add(Aggregate(kind, argument_of, "integer" if whole or kind == "count" else "float"))

    def _distinct(self, node: exp.Distinct, kind: str, condition: Scalar | None) -> Scalar:
        """Return the number of different values: of the owner's key, or of anything else."""
        only(node, "expressions")
        if kind != "count":
            hint = "COUNT(DISTINCT x) counts different values; sums and averages are over all rows."
            refuse("distinct-unsupported", node, hint=hint)
        found = different(node, self.rows)
        if isinstance(found, Constant):
            refuse("aggregate-argument", node.expressions[0])
        if condition is None and isinstance(found, Ref) and self.about.columns[found.name].owner:
            return self._add(Aggregate("count_owners", None, "integer"))
        value = found if condition is None else _where(condition, found)
        return self._add(Aggregate("count_distinct", value, "integer"))

    def _quantile(self, asked: Quantile, condition: Scalar | None) -> Scalar:
        """Return a quantile of a bounded number."""
        found = scalar(asked.value, self.rows)
        if isinstance(found, Constant):
            refuse("aggregate-argument", asked.value)
        first: Constant | None = None
        if found.kind in MOMENTS:
            first, found = self._since(found, asked.value)
        bounded(found, self.about, asked.value)
        if any(known(key, self.about.columns).owner for _, key in self.keys):
            alone = "Each group would be one person, whose values nothing can hide."
            refuse("key-unsupported", asked.value, message=alone, hint="Group by what several people share.")
        value = found if condition is None else _where(condition, found)
        whole = first is not None or (asked.discrete and known(found, self.about.columns).kind == "integer")
        name = self._add(Aggregate("quantile", value, "integer" if whole else "float", asked.fraction))
        if first is None:
            return name
        of = "date_of_days" if first.kind == "date" else "timestamp_of_seconds"
        return Call(of, (first, name), first.kind)

    def _since(self, found: Scalar, node: exp.Expression) -> tuple[Constant, Scalar]:
        """Return a date as the number of days since the first that is declared, a timestamp as seconds, and that first.

        Why this is sound: the number is computed from one row behind the clamp to the declared bounds; what is drawn is
        a number of the grid, and the moment that it stands for is post-processing.
        """
        if self.limits is not None:
            refuse("contribution-bounds-invalid", node, message="Contribution bounds are for numbers.")
        bounds = known(found, self.about.columns).bounds
        if bounds is None:
            word = found.kind.upper()
            hint = f"Write GREATEST(LEAST(x, {word} '2024-12-31'), {word} '2024-01-01')."
            refuse("bounds-missing", node, hint=hint)
        first = moment(bounds[0], found.kind)
        if isinstance(first, datetime):
            first = first.replace(microsecond=0)
        start = Constant(first, found.kind)
        return start, between(start, found, "day" if found.kind == "date" else "second", node, self.rows)

    def _bounded(self, node: Bounded) -> Scalar:
        """Return an aggregate within its contribution bounds."""
        self.limits = (node, stated(node, self.rows))
        found = self.whole(node.this)
        if found is None or self._unused():
            refuse("contribution-bounds-invalid", node, message="Contribution bounds stand in an aggregate.")
        return found

    def _unused(self) -> bool:
        return self.limits is not None

    def _add(self, aggregate: Aggregate) -> Ref:
        """Return a reference to an aggregate; equal ones are released once."""
        if self.limits is not None:
            (node, limits), self.limits = self.limits, None
            aggregate = limited(aggregate, limits, self.about, node)
        for name, found in self.aggregates.items():
            if found == aggregate:
                return Ref(name, "float")
        if len(self.aggregates) >= MOST_AGGREGATES:
            refuse("sql-too-deep", hint=f"At most {MOST_AGGREGATES} different aggregates.")
        name = f"a{len(self.aggregates)}"
        self.aggregates[name] = aggregate
        return Ref(name, "float")


def _where(condition: Scalar, value: Scalar) -> Scalar:
    """Return a value where a condition is true, NULL elsewhere."""
    return Call("case", (condition, value, Constant(None, value.kind)), value.kind)
