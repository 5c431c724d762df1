"""What names mean over rows of public tables: their columns, and subqueries over other public tables."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from gateway.sql.above.attached import Attached
from gateway.sql.algebra import Ref, Scalar
from gateway.sql.functions import Level
from gateway.sql.refusals import refuse
from gateway.sql.scalars.resolve import Context, Scope, starred
from gateway.sql.tables import Public, Shown


class TableNames:
    """What names mean over rows of public tables."""

    level: Level = "post"

    def __init__(self, source: Public, scope: Scope, about: Mapping[str, Shown], context: Context) -> None:
        self.source, self.scope, self.about, self.attached = source, scope, about, Attached(context)

    def column(self, node: exp.Column) -> Scalar:
        """Return the column that a node names, or refuse."""
        if isinstance(node.this, exp.Star):
            refuse("not-supported", node)
        return self.scope.column(node)

    def whole(self, node: exp.Expression) -> Scalar | None:
        """Return a column or a subquery, None if the node has to be taken apart; refuse an aggregate."""
        if type(node) is exp.Column and not isinstance(node.this, exp.Star):
            return self.scope.find(node)
        if isinstance(node, exp.AggFunc) or type(node) is exp.Filter:
            refuse("aggregate-misplaced", node, hint="Conditions on aggregates stand in HAVING.")
        return self.attached.whole(node, self)

    def scale(self, ref: Ref) -> int | None:
        """Return the decimals of an integer or decimal column."""
        return 0 if ref.kind == "integer" else self.shown(ref.name).scale if ref.name in self.about else None

    def shown(self, name: str) -> Shown:
        """Return what is known of a column."""
        found = self.attached.about.get(name)
        return found if found is not None else self.about[name]

    def ends(self, name: str) -> tuple[str, str] | None:
        """Return the columns that hold the ends of a column's interval."""
        return self.shown(name).interval

    def star(self, node: exp.Expression) -> list[tuple[str, Ref]]:
        """Return the columns that a star stands for."""
        return starred(node, self.scope)

    def table(self) -> Public:
        """Return the rows, with the subqueries read so far attached."""
        self.source = self.attached.over(self.source)
        return self.source
