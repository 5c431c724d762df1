"""Releases inside a request that feed its other releases: kept when they are drawn, one row each, never changed.

They go when what the request answered is deleted (``payloads.py``), which is after its outcome.

Why they are kept before the outcome: the next statement of the request hangs on them. A charge that is executed again
after its process died goes on from what was drawn, so that no noise is drawn twice at one price.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from budget.schema import inner


def keep(conn: Connection, charge: str, place: int, payload: bytes) -> None:
    """Keep what the release at a place of a charge's plan drew; a second draw is refused by the table's key."""
    conn.execute(insert(inner).values(charge=charge, place=place, payload=payload))


def of(conn: Connection, charge: str) -> dict[int, bytes]:
    """Return what was drawn for a charge so far, by place."""
    rows = conn.execute(select(inner.c.place, inner.c.payload).where(inner.c.charge == charge))
    return {int(place): bytes(payload) for place, payload in rows}
