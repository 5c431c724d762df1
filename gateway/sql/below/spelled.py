"""Constant rows that a query spells out, as rows that may meet those of owners.

``WITH least AS (SELECT 5 AS amount) SELECT COUNT(*) FROM orders o, least l WHERE o.amount > l.amount``
→  ``Join(inner, Scan(orders, 0), Values(1, [amount], [[5]]), …)``

Why this is sound: the rows are made of the text alone.
"""

from __future__ import annotations

from sqlglot import exp

from gateway.sql.algebra import Constant, Kind, Ref, Scalar, Values
from gateway.sql.scalars.resolve import Context
from gateway.sql.tables import Listed, Merge, One, Pick, Public

Row = dict[str, Constant]
MOST_ROWS = 1_000


def constant_rows(
    listed: Listed, node: exp.Expression, context: Context
) -> tuple[Values, tuple[tuple[str, Ref], ...]] | None:
    """Return a table above the frontier as constant rows, with its columns; None if it is not made of constants."""
    rows = _rows(listed.table)
    if not rows or len(rows) > MOST_ROWS:
        return None
    number = context.number(node)
    # Decimals of different lengths side by side have no one type in an engine that holds them all.
    kinds: list[tuple[str, Kind]] = [
        (f"{name}#{number}", "float" if ref.kind == "decimal" else ref.kind) for name, ref in listed.columns
    ]
    cells = tuple(
        tuple(Constant(row[ref.name].value, kind) for (_, ref), (_, kind) in zip(listed.columns, kinds, strict=True))
        for row in rows
    )
    shown = tuple((name, Ref(new, kind)) for (name, _), (new, kind) in zip(listed.columns, kinds, strict=True))
    return Values(number, tuple(kinds), cells), shown


def _rows(table: Public) -> list[Row] | None:
    """Return the rows of a table if each is made of constants."""
    match table:
        case One():
            return [{}]
        case Pick(source, columns):
            found = [_row(row, columns) for row in _rows(source) or ()]
            kept = [row for row in found if row is not None]
            return kept if kept and len(kept) == len(found) else None
        case Merge("union", True, names, left, right):
            here, there = _rows(left), _rows(right)
            if here is None or there is None:
                return None
            return [dict(zip(names, row.values(), strict=True)) for row in (*here, *there)]
        case _:
            return None


def _row(row: Row, columns: tuple[tuple[str, Scalar], ...]) -> Row | None:
    found: Row = {}
    for name, meaning in columns:
        value = row.get(meaning.name) if isinstance(meaning, Ref) else meaning
        if not isinstance(value, Constant):
            return None
        found[name] = value
    return found
