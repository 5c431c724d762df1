"""The ledger's facts in the order of their chains, as ``ledger show``, export and ``verify`` read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, RowMapping, bindparam, func, select, union

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


Page: TypeAlias = list[tuple[int, str, Sequence[Any]]]
"""(number, kind, whole row as the driver gave it) of facts, in order."""


def pages(conn: Connection, dataset: str, last: int, rest: Rest | None = None) -> Iterator[Page]:
    """Yield a dataset's facts up to the number ``last``, in order, by pages.

    Pages, not open cursors: whoever stops at the first wrong row leaves nothing open behind. A page is a range of
    numbers, so that kinds need no merging; the first begins below any number, so that none hides there. Kinds are asked
    only between the first and the last number that they have: most have few facts.
    """
    low, top = -(2**63), 2**63 - 1
    ends = {kind: conn.execute(_ENDS[kind], {"of": dataset, "low": low, "high": top}).one() for kind in schema.FACTS}
    last = min(last, max((most for _, most in ends.values() if most is not None), default=0))  # no pages of nothing
    for high in range(min(_PAGE, last), last + _PAGE, _PAGE):
        page: Page = []
        for kind, statement in _RANGE.items():
            least, most = ends[kind]
            if least is None or not (least <= high and most >= low):
                continue
            result = conn.execute(statement, {"of": dataset, "low": low, "high": min(high, last)})
            # Past SQLAlchemy's row objects, which cost more than the hashing: what both drivers give is plain values.
            rows = result.cursor.fetchall()
            page += zip(map(_NUMBER, rows), repeat(kind), rows, strict=False)
            result.close()
        if rest is not None:
            rest()
        page.sort(key=_PLACE)
        yield page
        low = high + 1


_WITHIN: Final = {
    kind: (table.c.dataset == bindparam("of")) & table.c.seq.between(bindparam("low"), bindparam("high"))
    for kind, table in schema.FACTS.items()
}
_RANGE: Final = {kind: select(table).where(_WITHIN[kind]) for kind, table in schema.FACTS.items()}
_ENDS: Final = {
    kind: select(func.min(table.c.seq), func.max(table.c.seq)).where(_WITHIN[kind])
    for kind, table in schema.FACTS.items()
}
_NUMBER: Final = itemgetter(1)
_PLACE: Final = itemgetter(0)


def _entry(kind: str, row: RowMapping) -> Entry:
    place = ("dataset", "seq", "at", "hash")
    says = {name: value for name, value in row.items() if name not in place and value is not None}
    return Entry(row["dataset"], row["seq"], row["at"], kind, bytes(row["hash"]), says)
