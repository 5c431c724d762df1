"""What outcomes hold: kept beside the facts, found by marks, and deleted when an admin or the retention says so.

An outcome's fact holds the SHA-256 of its payload. Deleting the payload leaves every fact and every charge as it is,
the chain can still be followed, and what was answered can no longer be read, by anybody.

Why a payload that does not have its digest counts as deleted: somebody changed it behind the gateway's back, and an
analyst is shown what was drawn or nothing; ``verify`` names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection, delete, insert, select

from budget import chain, schema

EMPTY: Final = sha256(b"").digest()
"""The digest of what a void outcome holds."""

_PAGE: Final = 500


def digest(payload: bytes) -> bytes:
    """Return the digest by which an outcome names its payload."""
    return sha256(payload).digest()


def keep(conn: Connection, charge: str, payload: bytes, marks: Sequence[str] = ()) -> None:
    """Keep a charge's payload, and by which marks it is found again."""
    conn.execute(insert(schema.payload), {"charge": charge, "payload": payload})
    if marks:
        conn.execute(insert(schema.mark), [{"charge": charge, "mark": each} for each in dict.fromkeys(marks)])


def kept(conn: Connection, dataset: str, *, before: int | None = None, below_version: int | None = None) -> list[str]:
    """Return the answered charges of a dataset whose payload is kept: charged before an instant (microseconds since
    1970), of data versions below one.
    """
    charge, outcome = schema.charge.c, schema.outcome.c
    query = (
        select(charge.id)
        .join(schema.outcome, outcome.charge == charge.id)
        .join(schema.payload, schema.payload.c.charge == charge.id)
        .where(charge.dataset == dataset, outcome.status == "answered")
        .order_by(charge.seq)
    )
    if before is not None:
        query = query.where(charge.at < before)
    if below_version is not None:
        query = query.where(charge.data_version < below_version)
    return list(conn.execute(query).scalars())


def remove(conn: Connection, charges: Sequence[str]) -> int:
    """Delete what those settled charges hold, and return of how many there was something to delete.

    A purchase holds nothing of its own: it ends with the answer that was bought. What feeds a charge that is not
    settled yet stays: without it the charge's noise could be drawn twice.

    The chains are locked first: a purchase that is under way is through, and goes with what it bought, or comes later
    and is refused; nobody pays for what is gone.
    """
    for dataset in _datasets(conn, charges):
        chain.lock(conn, dataset)
    removed = 0
    for start in range(0, len(charges), _PAGE):
        page = list(charges[start : start + _PAGE])
        settled = select(schema.outcome.c.charge).where(schema.outcome.c.charge.in_(page))
        bought = select(schema.purchase.c.charge).where(schema.purchase.c.source.in_(page))
        conn.execute(delete(schema.mark).where(schema.mark.c.charge.in_(settled)))
        conn.execute(delete(schema.mark).where(schema.mark.c.charge.in_(bought)))
        conn.execute(delete(schema.inner).where(schema.inner.c.charge.in_(settled)))
        removed += conn.execute(delete(schema.payload).where(schema.payload.c.charge.in_(settled))).rowcount
    return removed


def _datasets(conn: Connection, charges: Sequence[str]) -> list[str]:
    found: set[str] = set()
    for start in range(0, len(charges), _PAGE):
        chosen = schema.charge.c.id.in_(charges[start : start + _PAGE])
        found.update(conn.execute(select(schema.charge.c.dataset).where(chosen).distinct()).scalars())
    return sorted(found)


def altered(conn: Connection, dataset: str) -> Iterator[str]:
    """Yield the charges of a dataset whose kept payload is not the one that its outcome names, in order."""
    outcome, payload = schema.outcome, schema.payload
    after = 0
    while True:
        page = conn.execute(
            select(outcome.c.seq, outcome.c.charge, outcome.c.digest, payload.c.payload)
            .join(payload, payload.c.charge == outcome.c.charge)
            .where(outcome.c.dataset == dataset, outcome.c.seq > after)
            .order_by(outcome.c.seq)
            .limit(_PAGE)
        ).all()
        yield from (row.charge for row in page if digest(bytes(row.payload)) != bytes(row.digest))
        if not page:
            return
        after = page[-1].seq


def undrawn(conn: Connection, dataset: str) -> Iterator[tuple[str, int]]:
    """Yield what feeds other releases of its request and is not what was drawn, by charge and place, in order.

    What is missing is wrong as long as its charge has no outcome: afterwards it may be deleted.
    """
    draw, inner, outcome = schema.draw, schema.inner, schema.outcome
    same = (inner.c.charge == draw.c.charge) & (inner.c.place == draw.c.place)
    said = (
        select(draw.c.charge, draw.c.place, draw.c.digest, inner.c.payload, outcome.c.charge.label("settled"))
        .select_from(draw.outerjoin(inner, same).outerjoin(outcome, outcome.c.charge == draw.c.charge))
        .where(draw.c.dataset == dataset)
        .order_by(draw.c.seq)
    )
    for row in conn.execute(said):
        kept = None if row.payload is None else digest(bytes(row.payload))
        if kept != bytes(row.digest) and not (kept is None and row.settled is not None):
            yield row.charge, row.place
    charges = schema.charge.c
    made_up = (
        select(inner.c.charge, inner.c.place)
        .join(schema.charge, charges.id == inner.c.charge)
        .outerjoin(draw, same)
        .outerjoin(outcome, outcome.c.charge == inner.c.charge)
        .where(charges.dataset == dataset, draw.c.charge.is_(None), outcome.c.charge.is_(None))
        .order_by(inner.c.charge, inner.c.place)
    )
    yield from ((row.charge, row.place) for row in conn.execute(made_up))
