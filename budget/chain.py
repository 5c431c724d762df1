"""The hash chain of each dataset's facts: canonical encoding, the head that writers lock, and appending.

``hash = SHA-256(previous hash ‖ SHA-256(content) ‖ "seq:at")``, beginning from a hash of the dataset's name. The
content is hashed by itself because it is known before the transaction begins; the place (seq and the database's time)
only inside it. PostgreSQL can so compute the outer hash in the statement that inserts.

Every writer locks the head of its dataset first. The chain orders a dataset's facts in any case, so that this lock
costs nothing that the chain does not, and it makes check-and-charge one step: balances read after it cannot change
before the commit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Connection, TextClause, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from budget import schema
from budget.errors import Contended

_PLACE: Final = frozenset({"dataset", "seq", "at", "hash"})

_CLOCK: Final[Mapping[str, TextClause]] = {
    "sqlite": text(
        "SELECT (CAST(strftime('%s', 'now') AS INTEGER) * 1000"
        " + CAST(substr(strftime('%f', 'now'), 4) AS INTEGER)) * 1000"
    ),
    "postgresql": text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"),
}


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a dataset's chain: the last fact's number, time and hash (0, 0 and the beginning before the first)."""

    dataset: str
    seq: int
    at: int
    hash: bytes


def canonical_json(value: object) -> str:
    """Return the one JSON text of a value: keys sorted, no spaces, ASCII; ``ValueError`` for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def beginning(dataset: str) -> bytes:
    """Return the hash that a dataset's first fact is chained to."""
    return sha256(b"discreet ledger 1\n" + dataset.encode()).digest()


def content(kind: str, values: Mapping[str, Any]) -> bytes:
    """Return the digest of what a fact says, its place aside.

    NULL columns are left out, so that a column added later changes no old hash; bytes stand as their digest.
    """
    said = {
        name: sha256(value).hexdigest() if isinstance(value, bytes) else value
        for name, value in values.items()
        if value is not None and name not in _PLACE
    }
    return sha256(canonical_json([kind, said]).encode()).digest()


def link(previous: bytes, digest: bytes, seq: int, at: int) -> bytes:
    """Return the hash of a fact with this content digest, at this place after that hash."""
    return sha256(previous + digest + f"{seq}:{at}".encode()).digest()


def now(conn: Connection) -> int:
    """Return the database's time in microseconds since 1970."""
    return int(conn.execute(_CLOCK[conn.dialect.name]).scalar_one())


def lock(conn: Connection, dataset: str) -> Head | None:
    """Lock a dataset's chain until the transaction ends and return its head; None where the dataset has no facts.

    On SQLite the transaction itself is the lock (it must have begun IMMEDIATE: gateway/store/engine.py); the
    conditions in ``append`` and in the balances' updates catch one that did not.
    """
    row = conn.execute(select(schema.head).where(schema.head.c.dataset == dataset).with_for_update()).one_or_none()
    return None if row is None else Head(row.dataset, row.seq, row.at, bytes(row.hash))


def open_or_lock(conn: Connection, dataset: str) -> Head:
    """Lock a dataset's chain, beginning it if there is none."""
    first = {"dataset": dataset, "seq": 0, "at": 0, "hash": beginning(dataset)}
    if conn.dialect.name == "sqlite":
        conn.execute(sqlite_insert(schema.head).values(first).on_conflict_do_nothing())
    else:
        conn.execute(postgresql_insert(schema.head).values(first).on_conflict_do_nothing())
    head = lock(conn, dataset)
    if head is None:
        raise Contended("the dataset's chain went away")
    return head


def append(conn: Connection, head: Head, kind: str, values: Mapping[str, Any]) -> Head:
    """Append a fact to a locked chain and return the new head.

    Time never runs backwards along a chain: a clock that was set back repeats the last fact's time.
    """
    seq, at = head.seq + 1, max(now(conn), head.at)
    after = Head(head.dataset, seq, at, link(head.hash, content(kind, values), seq, at))
    place = {"dataset": after.dataset, "seq": after.seq, "at": after.at, "hash": after.hash}
    conn.execute(insert(schema.FACTS[kind]).values(**place, **values))
    moved = conn.execute(
        update(schema.head)
        .where(schema.head.c.dataset == head.dataset, schema.head.c.seq == head.seq, schema.head.c.hash == head.hash)
        .values(seq=after.seq, at=after.at, hash=after.hash)
    )
    if moved.rowcount != 1:
        raise Contended("the dataset's chain moved on")
    return after
