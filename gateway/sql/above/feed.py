"""Feed released tables to other releases: computed first, then constants among the rows of owners.

``WHERE income > (SELECT AVG(income) FROM person)``  →  ``Filter(Join(left, person, Fed(Release(person, average))), …)``

Why this is sound: what is fed is computed from noisy tables alone, so that to the release that reads it, it is public:
the two are composed one after the other, the second chosen after the first was seen, and their prices add up. Which
rows are fed is decided by released values alone: keys are public or passed their threshold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlglot import exp

from gateway.policy.model import Dialect
from gateway.sql.above.sizes import unique, written_out
from gateway.sql.algebra import Constant, Fed, FedColumn, Ref, Relation
from gateway.sql.planning.plan import PlannedRelease
from gateway.sql.scalars.resolve import Context
from gateway.sql.tables import Listed, single

MOST_ROWS = 1_000
"""Rows of a released table that are put among the rows of another release; the first in its order."""

MOST_IN_SQLITE = 400
"""Of all released tables in one statement together: SQLite puts at most 500 SELECTs together."""

Columns = tuple[tuple[str, Ref], ...]


def feed(found: Listed, node: exp.Expression, context: Context) -> tuple[Relation, Columns]:
    """Return a table above the frontier as public rows below it, and its columns as the query around sees them."""
    written_out(found.table)
    number = context.number(node)
    columns = []
    shown = []
    names: dict[str, str] = {}
    for index, (name, ref) in enumerate(found.columns):
        # Noisy numbers and decimals are doubles above the frontier, and are written as such.
        kind = "float" if ref.kind == "decimal" else ref.kind
        bounds = found.about[ref.name].bounds if kind in ("float", "integer") else None
        column = FedColumn(f"f{index}#{number}", kind, ref.name, bounds)
        columns.append(column)
        names.setdefault(ref.name, column.name)
        shown.append((name, Ref(column.name, kind)))
    keys = frozenset(frozenset(names[key] for key in keys) for keys in unique(found.table) if keys <= names.keys())
    return Fed(number, tuple(columns), found.table, single(found.table), keys), tuple(shown)


def filled(planned: PlannedRelease, rows: Mapping[Fed, tuple[tuple[Constant, ...], ...]]) -> PlannedRelease:
    """Return a planned release with the values that were released before it; its SQL is to be written anew."""

    def known(value: Any) -> Any:
        match value:
            case Fed():
                return dataclasses.replace(value, rows=rows[value])
            case tuple():
                return tuple(map(known, value))
            case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
                changed = {f.name: known(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
                return dataclasses.replace(value, **changed)
            case _:
                return value

    def made(part: PlannedRelease) -> PlannedRelease:
        release = dataclasses.replace(part.release, source=known(part.release.source))
        return dataclasses.replace(part, release=release, parts=tuple(map(made, part.parts)))

    return made(planned)


def most_rows(found: Sequence[Fed], dialect: Dialect) -> int:
    """Return how many rows of each released table a statement takes, given all that stand in it.

    Why it is said by the plan: a statement that the engine could not read would fail after it was paid for.
    """
    return min(MOST_ROWS, MOST_IN_SQLITE // max(len(found), 1)) if dialect == "sqlite" else MOST_ROWS


def notes(found: Sequence[Fed], dialect: Dialect) -> list[str]:
    """Return what a reader has to know of released tables that feed others."""
    if any(not fed.single for fed in found):
        return [f"At most the first {most_rows(found, dialect)} rows of a released table are used below another."]
    return []
