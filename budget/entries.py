"""The ledger's facts in the order of their chains, as ``ledger show``, export and ``verify`` read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import merge
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, func, select, union

from budget import schema

_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact: its place, its kind and what it says; an outcome's payload stands as its length in bytes."""

    dataset: str
    seq: int
    at: int
    kind: str
    hash: bytes
    says: Mapping[str, Any]


def entries(conn: Connection, dataset: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
    """Return up to ``limit`` facts of a dataset that follow the fact numbered ``after``, in order."""
    found = []
    for kind, table in schema.FACTS.items():
        columns = [
            func.length(column).label("payload_bytes") if column.name == "payload" else column
            for column in table.columns
        ]
        query = select(*columns).where(table.c.dataset == dataset, table.c.seq > after).order_by(table.c.seq)
        found += [(row["seq"], kind, row) for row in conn.execute(query.limit(limit)).mappings()]
    found.sort(key=lambda each: each[:2])
    return [_entry(kind, row) for _, kind, row in found[:limit]]


def datasets(conn: Connection) -> list[str]:
    """Return every dataset that any row of the ledger names, derived rows included."""
    named = [table.c.dataset for table in (*schema.FACTS.values(), schema.head, schema.scope)]
    return sorted(conn.execute(union(*(select(column) for column in named))).scalars())


def walk(conn: Connection, dataset: str, last: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (kind, whole row) of a dataset's facts up to the number ``last``, in order, a page of each kind at a time.

    Pages, not open cursors: whoever stops at the first wrong row leaves nothing open behind.
    """

    def of_kind(kind: str) -> Iterator[tuple[int, str, RowMapping]]:
        table = schema.FACTS[kind]
        query = select(table).where(table.c.dataset == dataset, table.c.seq <= last).order_by(table.c.seq)
        page = conn.execute(query.limit(_PAGE)).mappings().all()
        while page:
            for row in page:
                yield row["seq"], kind, row
            after = page[-1]["seq"]
            page = conn.execute(query.where(table.c.seq > after).limit(_PAGE)).mappings().all()

    for _, kind, row in merge(*(of_kind(kind) for kind in schema.FACTS), key=lambda each: each[:2]):
        yield kind, dict(row)


def _entry(kind: str, row: RowMapping) -> Entry:
    place = ("dataset", "seq", "at", "hash")
    says = {name: value for name, value in row.items() if name not in place and value is not None}
    return Entry(row["dataset"], row["seq"], row["at"], kind, bytes(row["hash"]), says)
