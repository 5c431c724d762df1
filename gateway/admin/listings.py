"""What public tables hold, read when a policy is applied: the groups of questions that are grouped by their columns.

``site`` of six rows  →  one list of all its columns; ``part`` of 200,000  →  one list for each column of few values
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Final

from gateway.engines.base import EngineError, Session
from gateway.noisy import canonical
from gateway.policy.model import Column, Dataset, Listing, Listings, Table, Value
from gateway.sql.above import exact
from gateway.sql.algebra import Ref, Scan
from gateway.sql.inference.domains import canonical_order
from gateway.sql.tables import Exact

MOST_ROWS: Final = 1_000
"""The longest list: of more different rows or values, none is made."""

MOST_COLUMNS: Final = 50

MOST_CHARACTERS: Final = 200

_KINDS: Final = frozenset({"integer", "text", "boolean", "date"})
"""Kinds of which equal values are identical; other columns are in no list."""

log = logging.getLogger("discreet.admin")


def read(session: Session, dataset: Dataset) -> Listings:
    """Return what the public tables of a dataset hold, of those that can be read; the others stay without a list."""
    found = {table.name: tuple(_lists(session, table, dataset)) for table in dataset.tables if table.public}
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
        [canonical(value, column.physical.kind) for value in held.column(place).to_pylist()]
        for place, column in enumerate(columns)
    ]
    found = sorted(set(zip(*values, strict=True)), key=canonical_order)
    if not all(_shown(value) for row in found for value in row):
        return None
    return Listing(tuple(column.name for column in columns), tuple(found))


def _shown(value: Value) -> bool:
    """Whether a group with that value is shown as it is: neither a text beyond use, nor NULL for being too large."""
    if isinstance(value, str):
        return len(value) <= MOST_CHARACTERS and "\0" not in value
    return not isinstance(value, int) or abs(value) < 2**63
