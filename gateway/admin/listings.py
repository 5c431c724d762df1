"""What public tables hold, read when a policy is applied: the groups of questions that are grouped by their columns,
and between which ends those lie that questions compute with.

``site`` of six rows  →  one list of all its columns; ``part`` of 200,000  →  one list for each column of few values,
and the least and greatest price
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from fractions import Fraction
from typing import Any, Final

from gateway.engines.base import EngineError, Session
from gateway.noisy import canonical
from gateway.policy.model import Column, Dataset, Ends, Listing, Listings, Table, Value
from gateway.sql.above import exact
from gateway.sql.algebra import Kind, Ref, Scan
from gateway.sql.inference.domains import canonical_order
from gateway.sql.tables import Exact

MOST_ROWS: Final = 1_000
"""The longest list: of more different rows or values, none is made."""

MOST_COLUMNS: Final = 50

_FAR: Final = 2**63
"""Numbers from here on bound nothing that is computed with."""

MOST_CHARACTERS: Final = 200

_MEASURED: Final = frozenset({"integer", "decimal", "float", "date", "timestamp"})

_KINDS: Final = frozenset({"integer", "text", "boolean", "date"})
"""Kinds of which equal values are identical; other columns are in no list."""

log = logging.getLogger("discreet.admin")


def read(session: Session, dataset: Dataset) -> Listings:
    """Return what the public tables of a dataset hold, of those that can be read; the others stay without a list."""
    found: dict[str, tuple[Listing | Ends, ...]] = {
        table.name: (*_lists(session, table, dataset), *_ends(session, table, dataset))
        for table in dataset.tables
        if table.public
    }
    return {name: lists for name, lists in found.items() if lists}


def _lists(session: Session, table: Table, dataset: Dataset) -> Iterator[Listing]:
    columns = [column for column in table.columns if _exact(column)][:MOST_COLUMNS]
    whole = _list(session, table, columns, dataset)
    if whole is not None:
        yield whole
        return
    for column in columns:
        alone = _list(session, table, [column], dataset)
        if alone is not None:
            yield alone


def _exact(column: Column) -> bool:
    return column.physical.exact and column.physical.kind in _KINDS


def _list(session: Session, table: Table, columns: Sequence[Column], dataset: Dataset) -> Listing | None:
    """Return the different rows of some columns; None if they are too many, too long, or cannot be read."""
    if not columns:
        return None
    scan = Scan(table.name, 0)
    named = ((f"c{at}", Ref(scan.name(each.name), each.physical.kind)) for at, each in enumerate(columns))
    statement = exact.read(Exact(scan, tuple(named)), dataset, MOST_ROWS, distinct=True)
    try:
        held = session.fetch(statement.sql)
    except EngineError:
        log.warning("the values of public table %s of dataset %s could not be listed", table.name, dataset.name)
        return None
    if held.num_rows > MOST_ROWS:
        return None
    values = [
        [_read(value, column.physical.kind) for value in held.column(place).to_pylist()]
        for place, column in enumerate(columns)
    ]
    found = sorted(set(zip(*values, strict=True)), key=canonical_order)
    if not all(_shown(value) for row in found for value in row):
        return None
    return Listing(tuple(column.name for column in columns), tuple(found))


def _ends(session: Session, table: Table, dataset: Dataset) -> list[Ends]:
    """Return the least and greatest values of columns without declared bounds; none if they cannot be read."""
    columns = [each for each in table.columns if each.physical.kind in _MEASURED and each.lower is None][:MOST_COLUMNS]
    if not columns:
        return []
    scan = Scan(table.name, 0)
    named = ((f"c{at}", Ref(scan.name(each.name), each.physical.kind)) for at, each in enumerate(columns))
    statement = exact.ends(Exact(scan, tuple(named)), dataset)
    try:
        [row] = session.fetch(statement.sql).to_pylist()
    except EngineError:
        log.warning("the ends of public table %s of dataset %s could not be read", table.name, dataset.name)
        return []
    found = [(row[f"low_c{at}"], row[f"high_c{at}"]) for at in range(len(columns))]
    ends = [(each, _end(low, each), _end(high, each)) for each, (low, high) in zip(columns, found, strict=True)]
    return [Ends(each.name, low, high) for each, low, high in ends if low is not None and high is not None]


def _end(value: Any, column: Column) -> Fraction | date | None:
    """Return an end as bounds are declared; None for what is no number. Decimals were read as doubles near them."""
    kind = column.physical.kind
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    found = _read(value, "float" if kind == "decimal" else kind)
    if kind == "decimal" and isinstance(found, Fraction) and column.physical.scale is not None:
        found = Fraction(round(found * 10**column.physical.scale), 10**column.physical.scale)
    if isinstance(found, date):
        return found
    number = Fraction(found) if isinstance(found, int | Fraction) else None
    return None if number is None or abs(number) >= _FAR else number


def _read(value: Any, kind: Kind) -> Value:
    """Return a value as Discreet compares it; engines without dates have them as texts of their canonical form."""
    if isinstance(value, str) and kind in ("date", "timestamp"):
        return date.fromisoformat(value) if kind == "date" else datetime.fromisoformat(value)
    return canonical(value, kind)


def _shown(value: Value) -> bool:
    """Whether a group with that value is shown as it is: neither a text beyond use, nor NULL for being too large."""
    if isinstance(value, str):
        return len(value) <= MOST_CHARACTERS and "\0" not in value
    return not isinstance(value, int) or abs(value) < 2**63
