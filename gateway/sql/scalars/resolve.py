"""Resolve names: which declared table or earlier query, which column of it.

``SELECT p.Age FROM Person AS p``  →  column ``age#0`` of the scan of table ``person``
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

from sqlglot import exp

from gateway.policy.model import Dataset, Table
from gateway.sql.algebra import Ref, Scalar
from gateway.sql.functions import Level
from gateway.sql.inference.known import Known, known
from gateway.sql.refusals import refuse
from gateway.sql.tables import Listed


def only(node: exp.Expression, *admitted: str, code: str = "not-supported") -> None:
    """Refuse a node that has any filled argument besides those admitted: default deny reaches every argument."""
    for name, value in node.args.items():
        if name in admitted or value is None or value is False or value == []:
            continue
        where = value if isinstance(value, exp.Expression) else node
        if isinstance(value, list) and value and isinstance(value[0], exp.Expression):
            where = value[0]
        refuse(code, where)


def matches(identifier: exp.Identifier, name: str) -> bool:
    """Whether an identifier means a declared name: exactly if quoted, else whatever its case."""
    only(identifier, "this", "quoted")
    written = identifier.this
    if not isinstance(written, str):  # the parser takes some functions for names: USING CEIL(a)
        refuse("not-supported", identifier)
    return written == name or (not identifier.args.get("quoted") and written.lower() == name.lower())


@dataclass(frozen=True, slots=True)
class Source:
    """One item of a FROM clause under the name by which the query calls it, and its columns under theirs.

    ``merged`` holds the columns that USING shows once, under the other side's.
    """

    alias: exp.Identifier
    columns: tuple[tuple[str, Ref], ...]
    merged: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Scope:
    """What column names may refer to, what is known of those columns, and the query around, if names may mean its.

    ``attached`` says what subqueries inside expressions mean, by the identity of their nodes.
    """

    sources: tuple[Source, ...]
    known: Mapping[str, Known]
    outer: Scope | None = None
    attached: Mapping[int, Scalar] = field(default_factory=dict)

    def find(self, node: exp.Column) -> Ref | None:
        """Return the column that a node names, None if there is none; refuse a name that means several."""
        only(node, "this", "table")
        identifier, qualifier = node.this, node.args.get("table")
        if not isinstance(identifier, exp.Identifier):
            refuse("not-supported", node)
        only(identifier, "this", "quoted")
        sources = [s for s in self.sources if qualifier is None or matches(qualifier, s.alias.this)]
        shown = [
            (name, ref)
            for source in sources
            for name, ref in source.columns
            if qualifier is not None or name not in source.merged
        ]
        exact = [ref for name, ref in shown if name == identifier.this]
        found = exact or [ref for name, ref in shown if matches(identifier, name)]
        if len(found) > 1:
            refuse("column-ambiguous", node)
        if found:
            return found[0]
        return None if self.outer is None else self.outer.find(node)

    def column(self, node: exp.Column) -> Ref:
        """Return the column that a node names, or refuse."""
        found = self.find(node)
        if found is None:
            names = sorted({name for source in self.sources for name, _ in source.columns})
            refuse("column-unknown", node, hint=f"Declared here: {', '.join(names)}." if names else None)
        return found

    def about(self, name: str) -> Known | None:
        """Return what is known of a column of this query or the one around."""
        found = self.known.get(name)
        return found if found is not None or self.outer is None else self.outer.about(name)

    def __getitem__(self, name: str) -> Known:
        """Return what is known of a column in reach."""
        found = self.about(name)
        assert found is not None
        return found


def starred(node: exp.Expression, scope: Scope) -> list[tuple[str, Ref]]:
    """Return the columns that a star stands for, as FROM names them, without those that EXCEPT or EXCLUDE lists."""
    star, sources = node, scope.sources
    if type(node) is not exp.Star:
        only(node, "this", "table")
        star, sources = node.this, tuple(s for s in sources if matches(node.args["table"], s.alias.this))
    only(star, "except_")
    found = [(name, ref) for source in sources for name, ref in source.columns if name not in source.merged]
    for column in star.args.get("except_") or []:
        only(column, "this")
        if not isinstance(column.this, exp.Identifier) or not any(matches(column.this, name) for name, _ in found):
            refuse("column-unknown", column)
        found = [(name, ref) for name, ref in found if not matches(column.this, name)]
    if not found:
        refuse("column-unknown", node)
    return found


def natural(join: exp.Join, scope: Scope, source: Source) -> list[exp.Identifier]:
    """Return the columns that a NATURAL JOIN equates: those declared under one name on both sides; none of another."""
    method = join.args.get("method")
    if not method:
        return []
    if str(method).upper() != "NATURAL" or join.args.get("on") is not None or join.args.get("using"):
        refuse("join-unsupported", join)
    there = {name.lower() for earlier in scope.sources for name, _ in earlier.columns if name not in earlier.merged}
    common = [name for name, _ in source.columns if name.lower() in there and name not in source.merged]
    if not common:
        hint = "Write CROSS JOIN, or JOIN … ON."
        refuse("join-unsupported", join, message="No column has one name on both sides of this join.", hint=hint)
    return [exp.to_identifier(name) for name in common]


@dataclass(slots=True)
class RowNames:
    """What names mean in an expression over rows (``gateway.sql.scalars.scalar.Names``)."""

    scope: Scope
    level: Level = field(default="row", init=False)

    def column(self, node: exp.Column) -> Scalar:
        """Return the column that a node names, or refuse."""
        if isinstance(node.this, exp.Star):
            refuse("no-aggregate", node)
        return self.scope.column(node)

    def whole(self, node: exp.Expression) -> Scalar | None:
        """Return what a subquery says of a row; refuse an aggregate where rows are meant."""
        attached = self.scope.attached.get(id(node))
        if attached is not None:
            return attached
        if isinstance(node, exp.AggFunc) or type(node) is exp.Filter:
            refuse("aggregate-misplaced", node, hint="Conditions on aggregates stand in HAVING.")
        return None

    def scale(self, ref: Ref) -> int | None:
        """Return the decimals of an integer or decimal column."""
        found = self.scope.about(ref.name)
        return None if found is None else found.scale

    def known(self, found: Scalar) -> Known:
        """Return what is known of an expression over the columns in reach."""
        return known(found, self.scope)


@dataclass(frozen=True, slots=True)
class Named:
    """A query of WITH: read anew wherever it is used, or ``listed`` once where it is one over public tables."""

    name: exp.TableAlias
    query: exp.Expression
    context: Context
    listed: Listed | None


@dataclass(frozen=True, slots=True)
class Context:
    """What lowering one text has at hand: the dataset, a supply of numbers, and the queries of WITH so far.

    ``subquery`` lowers a query inside an expression, which has to be one over public tables, and ``inside`` says what
    names mean over its FROM alone. ``below`` says that what
    is read meets rows of owners, so that public rows stay rows, whatever is done to them.
    """

    dataset: Dataset
    subquery: Callable[[exp.Expression, Context], Listed]
    inside: Callable[[exp.Select, Context], Scope]
    most: int = 64
    numbers: Iterator[int] = field(default_factory=count)
    named: tuple[Named, ...] = ()
    below: bool = False

    def number(self, node: exp.Expression) -> int:
        """Return a fresh number for a relation; refuse a text whose WITH multiplies into more than ``most``."""
        found = next(self.numbers)
        if found >= self.most:
            refuse(
                "sql-too-deep",
                node,
                hint=f"At most {self.most} tables and subqueries, those of WITH counted each time.",
            )
        return found

    def table(self, node: exp.Table) -> Table:
        """Return the declared table that a node names, or refuse."""
        only(node.this, "this", "quoted")
        found = [table for table in self.dataset.tables if table.name == node.this.this]
        found = found or [table for table in self.dataset.tables if matches(node.this, table.name)]
        if len(found) != 1:
            names = ", ".join(sorted(table.name for table in self.dataset.tables))
            refuse("table-unknown", node, hint=f"Declared in dataset {self.dataset.name}: {names}.")
        return found[0]
