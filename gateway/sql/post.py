"""Write what stands above the frontier as one SELECT over the noisy table, in the sandbox's dialect.

``HAVING n > 5 ORDER BY 2 DESC``  →  ``SELECT rid, … FROM r0 WHERE a0 > 5.0 ORDER BY a0 DESC NULLS LAST, rid``

Why this is sound: the text is rendered from our own algebra and reads noisy tables alone, so that whatever it computes
is post-processing. Every order ends in the row number, so that it is total.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sql.algebra import Filter, Ordering, Project, Query, Ref, Relation, Release, Scalar, Sort
from gateway.sql.render import identifier, scalar

TABLE = "r0"
ROW = "rid"


@dataclass(frozen=True, slots=True)
class Above:
    """What is computed over one noisy table: a condition, an order, a limit, and the columns of the answer."""

    release: Release
    condition: Scalar | None
    sort: Sort | None
    columns: tuple[tuple[str, Scalar], ...]

    @property
    def plain(self) -> bool:
        """Whether rows are only picked, ordered by single columns and cut, which needs no database at all."""
        ordered = () if self.sort is None else self.sort.order
        scalars = [meaning for _, meaning in self.columns] + [ordering.by for ordering in ordered]
        return self.condition is None and all(isinstance(found, Ref) for found in scalars)


def above(query: Query) -> Above:
    """Return the parts of a lowered query that stand above its release."""
    relation: Relation = query.relation
    assert isinstance(relation, Project)
    columns, relation = relation.columns, relation.source
    sort = condition = None
    if isinstance(relation, Sort):
        sort, relation = relation, relation.source
    if isinstance(relation, Filter):
        condition, relation = relation.predicate, relation.source
    assert isinstance(relation, Release)
    return Above(relation, condition, sort, columns)


def post(query: Query) -> str | None:
    """Return the SELECT over the noisy table, None where plain picking and ordering is all."""
    parts = above(query)
    if parts.plain:
        return None
    picked = [ROW, *(f"{_sql(found)} AS {name}" for name, found in parts.columns if not isinstance(found, Ref))]
    text = f"SELECT {', '.join(picked)} FROM {TABLE}"
    if parts.condition is not None:
        text += f" WHERE {_sql(parts.condition)}"
    order = [] if parts.sort is None else [_ordering(ordering) for ordering in parts.sort.order]
    text += f" ORDER BY {', '.join([*order, ROW])}"
    if parts.sort is not None and parts.sort.limit is not None:
        text += f" LIMIT {parts.sort.limit}"
    if parts.sort is not None and parts.sort.offset:
        text += f" OFFSET {parts.sort.offset}"
    return text


def _ordering(ordering: Ordering) -> str:
    direction = "DESC" if ordering.descending else "ASC"
    return f"{_sql(ordering.by)} {direction} NULLS {'FIRST' if ordering.nulls_first else 'LAST'}"


def _sql(found: Scalar) -> str:
    return scalar(found, identifier, "duckdb")
