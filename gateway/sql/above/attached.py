"""Subqueries inside expressions above the frontier: each is asked once and becomes a column of the rows around it.

``SELECT n / (SELECT SUM(n) FROM released) FROM released``  →  ``Pick(Attach(…, s1, value, Group(…)), [n / s1])``
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from sqlglot import exp

from gateway.sql.above.correlated import Grouped, grouped, refers
from gateway.sql.algebra import Call, Ref, Release, Scalar
from gateway.sql.refusals import refuse
from gateway.sql.scalars.constants import NUMERIC
from gateway.sql.scalars.resolve import Context, only
from gateway.sql.scalars.scalar import Names, compare, number, scalar
from gateway.sql.tables import Attach, Listed, Pair, Pick, Public, Shown, single


@dataclass(slots=True)
class Attached:
    """Subqueries of expressions, each to become a column of the rows around it."""

    context: Context
    lookups: list[tuple[str, Literal["value", "member", "exists"], Scalar | None, Public]] = field(default_factory=list)
    joins: list[tuple[Public, Scalar]] = field(default_factory=list)
    about: dict[str, Shown] = field(default_factory=dict)

    def over(self, table: Public) -> Public:
        """Return a table with the columns attached to its rows, and forget them."""
        for other, on in self.joins:
            table = Pair("left", table, other, on)
        for name, how, subject, other in self.lookups:
            table = Attach(table, name, how, subject, other)
        self.lookups.clear()
        self.joins.clear()
        return table

    def whole(self, node: exp.Expression, names: Names) -> Scalar | None:
        """Return what a subquery in an expression means, None if the node is none."""
        if type(node) is exp.Subquery:
            only(node, "this")
            return self._asked(node, names) or self._value(node)
        if type(node) is exp.Exists:
            only(node, "this")
            met = self._met(node, names)
            if met is not None:
                return met
            found = self.context.subquery(node.this, self.context)
            return Ref(self._add(node, "exists", None, found.table, Shown("boolean", "derived")), "boolean")
        if type(node) is exp.In and node.args.get("query") is not None:
            only(node, "this", "query")
            return self._member(node, names)
        return None

    def _asked(self, node: exp.Subquery, names: Names) -> Scalar | None:
        """Return the value of a subquery that refers to the rows around it, which are joined to it; None of others.

        A group that a release does not show has no value, whatever it counts; where public rows are grouped, a group
        that is not there has no rows.
        """
        select = node.this
        apart = grouped(select, self.context.inside(select, self.context)) if refers(select) else None
        if apart is None:
            return None
        found = self._joined(apart, node, names)
        *keys, (_, value) = found.columns
        if apart.nothing is None or _released(found):
            return value
        absent = Call("is_null", (keys[0][1],), "boolean")
        return Call("case", (absent, number(scalar(apart.nothing, names), node), number(value, node)), "float")

    def _met(self, node: exp.Exists, names: Names) -> Scalar | None:
        """Return whether public rows meet those around; None of a subquery that does not refer to these."""
        select = node.this
        inside = self.context.inside(select, self.context) if refers(select) else None
        apart = None if inside is None else grouped(select, inside, exp.Count(this=exp.Star()))
        if apart is None:
            return None
        found = self._joined(apart, node, names)
        if _released(found):
            message = "Private rows would decide which of the rows around are shown."
            hint = "Compare a count: (SELECT COUNT(*) FROM … WHERE …) > 10; groups of few people have none."
            refuse("subquery-unsupported", node, message=message, hint=hint)
        return Call("not", (Call("is_null", (found.columns[0][1],), "boolean"),), "boolean")

    def _joined(self, apart: Grouped, node: exp.Expression, names: Names) -> Listed:
        """Return the groups of a subquery, to be joined to the rows around by what each of them asks."""
        found = self.context.subquery(apart.query, self.context)
        pairs = zip(found.columns, apart.outer, strict=False)
        on = tuple(compare("eq", scalar(outer, names), key, node, names) for (_, key), outer in pairs)
        self.joins.append((found.table, on[0] if len(on) == 1 else Call("and", on, "boolean")))
        self.about |= found.about
        return found

    def _value(self, node: exp.Subquery) -> Ref:
        found = self.context.subquery(node.this, self.context)
        if len(found.columns) != 1 or not single(found.table):
            refuse(
                "subquery-unsupported",
                node,
                message="A subquery in an expression gives one value.",
                hint="Select one aggregate without GROUP BY, or add LIMIT 1.",
            )
        [(_, ref)] = found.columns
        shown = found.about[ref.name]
        ends = None
        if shown.interval is not None:
            low, high = (
                self._add(
                    node, "value", None, Pick(found.table, ((end, Ref(end, "float")),)), Shown("number", "derived")
                )
                for end in shown.interval
            )
            ends = (low, high)
        alone = Pick(found.table, ((ref.name, ref),))
        return Ref(self._add(node, "value", None, alone, replace(shown, interval=ends)), ref.kind)

    def _member(self, node: exp.In, names: Names) -> Ref:
        found = self.context.subquery(node.args["query"], self.context)
        if len(found.columns) != 1:
            refuse("subquery-unsupported", node, message="IN takes a subquery of one column.")
        subject: Scalar = scalar(node.this, names)
        value: Scalar = found.columns[0][1]
        if {subject.kind, value.kind} <= NUMERIC and subject.kind != value.kind:
            subject, value = number(subject, node), number(value, node)
        if subject.kind != value.kind:
            refuse("type-mismatch", node, message=f"A {subject.kind} is never among values of type {value.kind}.")
        alone = Pick(found.table, (("c", value),))
        return Ref(self._add(node, "member", subject, alone, Shown("boolean", "derived")), "boolean")

    def _add(
        self,
        node: exp.Expression,
        how: Literal["value", "member", "exists"],
        subject: Scalar | None,
        table: Public,
        shown: Shown,
    ) -> str:
        name = f"s{self.context.number(node)}"
        self.lookups.append((name, how, subject, table))
        self.about[name] = shown
        return name


def _released(found: Listed) -> bool:
    """Whether groups are those of a release, so that those of few people are missing."""
    table = found.table
    while isinstance(table, Pick):
        table = table.source
    return isinstance(table, Release)
