"""Subqueries inside expressions above the frontier: each is asked once and becomes a column of the rows around it.

``SELECT n / (SELECT SUM(n) FROM released) FROM released``  →  ``Pick(Attach(…, s1, value, Group(…)), [n / s1])``
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from sqlglot import exp

from gateway.sql.algebra import Ref, Scalar
from gateway.sql.refusals import refuse
from gateway.sql.scalars.constants import NUMERIC
from gateway.sql.scalars.resolve import Context, only
from gateway.sql.scalars.scalar import Names, number, scalar
from gateway.sql.tables import Attach, Pick, Public, Shown, single


@dataclass(slots=True)
class Attached:
    """Subqueries of expressions, each to become a column of the rows around it."""

    context: Context
    lookups: list[tuple[str, Literal["value", "member", "exists"], Scalar | None, Public]] = field(default_factory=list)
    about: dict[str, Shown] = field(default_factory=dict)

    def over(self, table: Public) -> Public:
        """Return a table with the columns attached to its rows, and forget them."""
        for name, how, subject, other in self.lookups:
            table = Attach(table, name, how, subject, other)
        self.lookups.clear()
        return table

    def whole(self, node: exp.Expression, names: Names) -> Scalar | None:
        """Return what a subquery in an expression means, None if the node is none."""
        if type(node) is exp.Subquery:
            only(node, "this")
            return self._value(node)
        if type(node) is exp.Exists:
            only(node, "this")
            found = self.context.subquery(node.this, self.context)
            return Ref(self._add(node, "exists", None, found.table, Shown("boolean", "derived")), "boolean")
        if type(node) is exp.In and node.args.get("query") is not None:
            only(node, "this", "query")
            return self._member(node, names)
        return None

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
