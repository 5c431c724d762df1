"""The groups of an earlier answer, for a request that names it in ``keys_from``.

``SELECT town, COUNT(*) … GROUP BY town`` listed twelve towns  →  a later question by town has these twelve groups, each
of them, without a threshold and without a delta

Why this is sound: what an answer lists was released at its own price, and whoever holds it may compute anything of it,
the next question included. Who does not hold it is refused, in the same words whether there is such a query or not.
"""

from __future__ import annotations

from sqlalchemy import Connection

from budget import records
from budget.errors import Suspended
from budget.records import Record
from gateway import wire
from gateway.errors import RequestInvalid
from gateway.quantum import shows
from gateway.refused import refused
from gateway.reuse.offers import since
from gateway.reuse.reading import opened
from gateway.settings import Settings
from gateway.sql.planning.groups import Given


def given(
    conn: Connection, settings: Settings, analyst: str, request: wire.QueryRequest, *, withheld: bool = False
) -> tuple[Given, ...]:
    """Return the groups that a request takes from an answer of its analyst's own, or refuse: ``keys-unknown``.

    ``withheld`` while the analyst is suspended: then no answer is told of.
    """
    if request.keys_from is None:
        return ()
    if withheld:
        refused(Suspended(), request.dataset)
    record = records.find(conn, request.keys_from)
    if (
        record is None
        or (record.charge.dataset, record.charge.analyst) != (request.dataset, analyst)
        or record.outcome is None
        or record.outcome.payload is None
        or record.outcome.status != "answered"
        or record.charge.at < since(settings)
        or not shows(record, settings.latency_quantum_ms)
    ):
        raise _unknown()
    found = _groups(record, record.outcome.payload)
    if not found:
        raise _unknown()
    return found


def given_before(
    conn: Connection, settings: Settings, charged: Record, request: wire.QueryRequest
) -> tuple[Given, ...]:
    """Return the groups that a charge was planned over, or refuse: also where the answer that listed them is deleted.

    Why this is sound: they are read off the charge's own tables then, which are what is given again; and whether the
    plan that is made with them is the one that was charged, its fingerprint tells.
    """
    try:
        return given(conn, settings, charged.charge.analyst, request)
    except RequestInvalid:
        record = None if request.keys_from is None else records.find(conn, request.keys_from)
        payload = None if charged.outcome is None else charged.outcome.payload
        if record is None or payload is None or record.charge.analyst != charged.charge.analyst:
            raise
        return _groups(record, payload)


def _groups(record: Record, payload: bytes) -> tuple[Given, ...]:
    """Return the groups of a payload's tables, as those that a charge drew or bought."""
    drew = record.charge.source or record.charge.id
    return tuple(
        Given(drew, tuple(zip(reading.meanings, (kind for _, kind in reading.keys), strict=True)), table.keys)
        for reading, table in opened(payload)
        if reading.keys and reading.meanings and table.keys
    )


def _unknown() -> RequestInvalid:
    return RequestInvalid(
        "keys-unknown",
        "keys_from names no answered query of yours on this dataset that listed groups.",
        hint="Ask for the groups once, and name the query_id of that answer.",
    )
