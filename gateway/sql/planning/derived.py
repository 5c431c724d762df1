"""What a derived column is made of: whether noise is in it, and whether it is an end of an interval."""

from __future__ import annotations

from gateway.sql.algebra import Ref, Release, Scalar
from gateway.sql.tables import (
    Attach,
    Keep,
    OutputColumn,
    Over,
    Pair,
    Pick,
    Public,
    Query,
    Sort,
    columns,
    ends_of,
    nodes,
)


def is_derived(query: Query, column: OutputColumn) -> bool:
    """Whether a column is a number that is computed from noisy ones, and no end of an interval itself."""
    if column.role != "derived" or column.type not in ("integer", "number"):
        return False
    noisy = any(isinstance(found, Release) for found in nodes(query.table))
    return noisy and not _is_end(query.table, column.column)


def _is_end(table: Public, name: str) -> bool:
    source = origin(table, name)
    if source is None:
        return False
    release, found = source
    return any(found in ends_of(aggregate) for aggregate, _ in release.aggregates)


def origin(table: Public, name: str) -> tuple[Release, str] | None:
    """Return the column of a release that a column is unchanged, row by row, None if it is computed."""
    match table:
        case Release():
            return table, name
        case Pick(source, found):
            meaning: Scalar = dict(found)[name]
            return origin(source, meaning.name) if isinstance(meaning, Ref) else None
        case Keep(source) | Sort(source):
            return origin(source, name)
        case Over(source, windows):
            return None if name in dict(windows) else origin(source, name)
        case Pair(_, left, right):
            return origin(left if name in columns(left) else right, name)
        case Attach(source, attached, how):
            if name != attached:
                return origin(source, name)
            [only] = columns(table.table) if how == "value" else [None]
            return None if only is None else origin(table.table, only)
        case _:
            return None
