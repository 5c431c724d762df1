"""Resolve the names of a SELECT: which declared table, which declared column.

``SELECT p.Age FROM Person AS p``  →  column ``age`` of table ``person``
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from gateway.policy.model import Column, Dataset, Owner, Table
from gateway.sql.refusals import refuse


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
    written: str = identifier.this
    return written == name or (not identifier.args.get("quoted") and written.lower() == name.lower())


@dataclass(frozen=True, slots=True)
class Source:
    """One table of a FROM clause under the name by which the query calls it."""

    alias: exp.Identifier
    table: Table


@dataclass(frozen=True, slots=True)
class Scope:
    """The tables that column names may refer to."""

    sources: tuple[Source, ...]

    def column(self, node: exp.Column) -> Column:
        """Return the declared column that a node names, or refuse."""
        only(node, "this", "table")
        identifier, qualifier = node.this, node.args.get("table")
        if not isinstance(identifier, exp.Identifier):
            refuse("not-supported", node)
        sources = self.sources
        if qualifier is not None:
            sources = tuple(s for s in sources if matches(qualifier, s.alias.this))
        found = [column for source in sources for column in _named(source.table.columns, identifier)]
        if not found:
            names = sorted({column.name for source in sources for column in source.table.columns})
            refuse("column-unknown", node, hint=f"Declared here: {', '.join(names)}." if names else None)
        if len(found) > 1:
            refuse("column-ambiguous", node)
        return found[0]

    def owner_column(self) -> str | None:
        """Return the column that is the owner's key itself, if a row carries it."""
        owner = self.sources[0].table.owner
        return owner.column if isinstance(owner, Owner) and not owner.hops else None


def _named(columns: Sequence[Column], identifier: exp.Identifier) -> list[Column]:
    exact = [column for column in columns if column.name == identifier.this]
    return exact or [column for column in columns if matches(identifier, column.name)]


def source(node: exp.Expression, dataset: Dataset) -> Source:
    """Return the declared table that an item of FROM names, or refuse."""
    if isinstance(node, exp.Subquery | exp.Values | exp.Lateral | exp.Unnest):
        refuse("subquery-unsupported", node)
    if type(node) is not exp.Table or not isinstance(node.this, exp.Identifier):
        refuse("table-unknown", node)
    only(node, "this", "alias")
    found = [table for table in dataset.tables if table.name == node.this.this]
    found = found or [table for table in dataset.tables if matches(node.this, table.name)]
    if len(found) != 1:
        names = ", ".join(sorted(table.name for table in dataset.tables))
        refuse("table-unknown", node, hint=f"Declared in dataset {dataset.name}: {names}.")
    alias = node.args.get("alias")
    if alias is None:
        return Source(node.this, found[0])
    only(alias, "this")
    return Source(alias.this, found[0])
