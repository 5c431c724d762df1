"""The ledger's facts in the order of their chains, as ``ledger show``, export and ``verify`` read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, RowMapping, select, union

from budget import schema

_PAGE: Final = 2000


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact: its place, its kind and what it says; an outcome's payload stands as its digest."""

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
        query = select(table).where(table.c.dataset == dataset, table.c.seq > after).order_by(table.c.seq)
        found += [(row["seq"], kind, row) for row in conn.execute(query.limit(limit)).mappings()]
    found.sort(key=lambda each: each[:2])
    return [_entry(kind, row) for _, kind, row in found[:limit]]


def datasets(conn: Connection) -> list[str]:
    """Return every dataset that any row of the ledger names, derived rows included."""
    named = [table.c.dataset for table in (*schema.FACTS.values(), schema.head, schema.scope)]
    return sorted(conn.execute(union(*(select(column) for column in named))).scalars())


Rest: TypeAlias = Callable[[], object]
"""Called between pages: the connection's ``rollback``, so that a long reading is not one long transaction, which on
SQLite would hold up every commit. It may end anywhere, since facts never change.
"""


def walk(
    conn: Connection, dataset: str, last: int, rest: Rest | None = None
) -> Iterator[tuple[int, str, Sequence[Any]]]:
    """Yield (number, kind, whole row as the driver gave it) of a dataset's facts up to the number ``last``, in order.

    Pages, not open cursors: whoever stops at the first wrong row leaves nothing open behind. A page is a range of
    numbers, so that kinds need no merging; the first begins below any number, so that none hides there.
    """
    low = -(2**63)
    for high in range(min(_PAGE, last), last + _PAGE, _PAGE):
        page: list[tuple[int, str, Sequence[Any]]] = []
        for kind, table in schema.FACTS.items():
            within = (table.c.dataset == dataset) & table.c.seq.between(low, min(high, last))
            result = conn.execute(select(table).where(within))
            # Past SQLAlchemy's row objects, which cost more than the hashing: what both drivers give is plain values.
            page += [(row[1], kind, row) for row in result.cursor.fetchall()]
            result.close()
        if rest is not None:
            rest()
        page.sort(key=itemgetter(0, 1))
        yield from page
        low = high + 1


def _entry(kind: str, row: RowMapping) -> Entry:
    place = ("dataset", "seq", "at", "hash")
    says = {name: value for name, value in row.items() if name not in place and value is not None}
    return Entry(row["dataset"], row["seq"], row["at"], kind, bytes(row["hash"]), says)
