"""Releases inside a request that feed its other releases: kept when they are drawn, one row each, never changed.

They go when what the request answered is deleted (``payloads.py``), which is after its outcome.

Why they are kept before the outcome: the next statement of the request hangs on them. A charge that is executed again
after its process died goes on from what was drawn, so that no noise is drawn twice at one price. That each was drawn,
and its digest, is a fact of the chain: one that was changed or taken away behind the gateway's back is never gone on
from, and never drawn again.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from budget import records, schema
from budget.book import opened
from budget.errors import Altered, Contended
from budget.payloads import digest


def keep(conn: Connection, charge: str, place: int, payload: bytes) -> None:
    """Keep what the release at a place of a charge's plan drew; a second draw is refused by the table's key.

    ``Contended`` if the charge was settled meanwhile: then nothing more is drawn for it.
    """
    with opened(conn, records.get(conn, charge).charge.dataset) as book:
        if book.charge(charge).outcome is not None:
            raise Contended("the charge has an outcome already")
        book.post("draw", {"charge": charge, "place": place, "digest": digest(payload)})
    conn.execute(insert(schema.inner).values(charge=charge, place=place, payload=payload))


def of(conn: Connection, charge: str) -> dict[int, bytes]:
    """Return what was drawn for a charge without an outcome so far, by place; ``Altered`` if it is not what its facts
    say.
    """
    said = select(schema.draw.c.place, schema.draw.c.digest).where(schema.draw.c.charge == charge)
    drawn = {int(place): bytes(what) for place, what in conn.execute(said)}
    rows = conn.execute(select(schema.inner.c.place, schema.inner.c.payload).where(schema.inner.c.charge == charge))
    kept = {int(place): bytes(payload) for place, payload in rows}
    if drawn != {place: digest(payload) for place, payload in kept.items()}:
        raise Altered(charge)
    return kept
