"""Charges and what became of them, as values read from the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Connection, Row, Select, bindparam, func, select

from budget import schema
from budget.balance import read
from budget.errors import Suspended, UnknownCharge
from budget.payloads import digest
from budget.scopes import of_analyst
from mechanisms.loss import Loss

Status: TypeAlias = Literal["answered", "failed", "void"]


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge as it stands in the ledger; ``scopes`` are those that paid, ``price`` the epsilon that was asked for.

    ``publication`` is what it bought for everybody; None for an analyst's own question. ``source`` is the charge whose
    stored answer it bought; None for a fresh one.
    """

    id: str
    dataset: str
    seq: int
    at: int
    analyst: str
    scopes: tuple[str, ...]
    loss: Loss
    price: int
    request_hash: bytes
    idempotency_key: str | None
    key_use: int
    plan_fingerprint: str
    policy_version: int
    data_version: int
    mechanism: str
    process: str
    publication: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The one end of a charge; a void one has an empty payload, a payload that was deleted is None."""

    charge: str
    seq: int
    at: int
    status: Status
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class Record:
    """A charge, its outcome if it has one, and the process that took it over if one did."""

    charge: Charge
    outcome: Outcome | None
    retaken_by: str | None


def find(conn: Connection, charge_id: str) -> Record | None:
    """Return a charge by its id (how a COMMIT of unknown result is read back), or None."""
    return _one(conn, _BY_ID, {"id": charge_id})


def get(conn: Connection, charge_id: str) -> Record:
    """Return a charge by its id; ``UnknownCharge`` if there is none."""
    record = find(conn, charge_id)
    if record is None:
        raise UnknownCharge(charge_id)
    return record


def find_key(conn: Connection, dataset: str, analyst: str, idempotency_key: str) -> Record | None:
    """Return the last charge under an analyst's idempotency key on a dataset (a void one included), or None."""
    return _one(conn, _BY_KEY, {"dataset": dataset, "analyst": analyst, "idempotency_key": idempotency_key})


def find_keys(conn: Connection, dataset: str, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Record]:
    """Return the last charge under each (analyst, idempotency key) of a dataset that has one."""
    analysts, names = {analyst for analyst, _ in keys}, {name for _, name in keys}
    named = {"dataset": dataset, "analysts": list(analysts), "keys": list(names)}
    found = {}
    for row in conn.execute(_BY_KEYS, named):
        if (row.analyst, row.idempotency_key) in keys:
            found[row.analyst, row.idempotency_key] = _record(row)
    return found


def find_all(conn: Connection, charge_ids: Sequence[str]) -> list[Record]:
    """Return the charges that there are of these ids."""
    return [_record(row) for row in conn.execute(_BY_IDS, {"ids": list(charge_ids)})]


def held(
    conn: Connection, dataset: str, analyst: str, marks: Sequence[str], *, since: int = 0, limit: int = 20
) -> list[Record]:
    """Return the analyst's answered charges that bear one of these marks, charged since an instant, the last first.

    Deleted ones bear none. They are theirs to have again at no price; ``Suspended`` while their outcomes are withheld,
    whether or not there are any: that a query in flight has come to an answer is what is withheld.
    """
    found = _marked(conn, _HELD, dataset, marks, since, limit, analyst=analyst)
    # After the answers: what became one while nobody was suspended may be told.
    if read(conn, dataset, [of_analyst(analyst)])[0].suspended:
        raise Suspended
    return found


def sold(conn: Connection, dataset: str, mark: str, *, since: int = 0, limit: int = 20) -> list[Record]:
    """Return the stored answers that bear a mark and may be sold to others, the last first (``sales.py``)."""
    found = _marked(conn, _SOLD, dataset, [mark], since, limit)
    analysts = sorted({record.charge.analyst for record in found})
    standings = read(conn, dataset, [of_analyst(analyst) for analyst in analysts])
    withheld = {analyst for analyst, standing in zip(analysts, standings, strict=True) if standing.suspended}
    return [record for record in found if record.charge.analyst not in withheld]


def _marked(
    conn: Connection, query: Select[Any], dataset: str, marks: Sequence[str], since: int, limit: int, **named: str
) -> list[Record]:
    given = {"of": dataset, "marks": list(marks), "since": since, "most": limit, **named}
    found = (_record(row) for row in conn.execute(query, given))
    return [record for record in found if record.outcome is not None and record.outcome.payload is not None]


def of_analyst_on(conn: Connection, analyst: str, dataset: str | None = None, limit: int = 100) -> list[Record]:
    """Return an analyst's last charges, newest first, on one dataset or on all."""
    c = schema.charge.c
    query = _records().where(c.analyst == analyst).order_by(c.at.desc(), c.dataset, c.seq.desc()).limit(limit)
    if dataset is not None:
        query = query.where(c.dataset == dataset)
    return [_record(row) for row in conn.execute(query)]


def published(conn: Connection, dataset: str) -> list[Record]:
    """Return a dataset's public loss, charge by charge in order; what was taken back is not among it.

    It adds to what each analyst was promised: everybody has seen what it bought.
    """
    c, outcome = schema.charge.c, schema.outcome.c
    stands = (
        (c.dataset == dataset) & c.publication.is_not(None) & (outcome.status.is_(None) | (outcome.status != "void"))
    )
    return [_record(row) for row in conn.execute(_records().where(stands).order_by(c.seq))]


def scopes_text(scopes: tuple[str, ...]) -> str:
    """Return scopes as a charge stores them."""
    return json.dumps(sorted(scopes), separators=(",", ":"))


def scopes_from(stored: str) -> tuple[str, ...]:
    """Read the scopes of a stored charge; ``ValueError`` unless they are what ``scopes_text`` wrote."""
    scopes = json.loads(stored)
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        raise ValueError("not a list of scopes")
    if scopes_text(tuple(scopes)) != stored or len(set(scopes)) != len(scopes):
        raise ValueError("not a canonical list of scopes")
    return tuple(scopes)


def _records() -> Select[Any]:
    charge, outcome, attempt = schema.charge, schema.outcome, schema.attempt
    purchase, payload = schema.purchase, schema.payload
    return select(
        charge,
        outcome.c.seq.label("outcome_seq"),
        outcome.c.at.label("outcome_at"),
        outcome.c.status,
        outcome.c.digest,
        payload.c.payload,
        attempt.c.process.label("retaken_by"),
        purchase.c.source,
    ).select_from(
        charge.outerjoin(outcome, outcome.c.charge == charge.c.id)
        .outerjoin(attempt, attempt.c.charge == charge.c.id)
        .outerjoin(purchase, purchase.c.charge == charge.c.id)
        .outerjoin(payload, payload.c.charge == func.coalesce(purchase.c.source, charge.c.id))
    )


_charge: Final = schema.charge.c

# Made once, as every charge needs them: see ``chain.py``.
_BY_ID: Final = _records().where(_charge.id == bindparam("id"))
_BY_KEY: Final = (
    _records()
    .where(
        _charge.dataset == bindparam("dataset"),
        _charge.analyst == bindparam("analyst"),
        _charge.idempotency_key == bindparam("idempotency_key"),
    )
    .order_by(_charge.key_use.desc())
    .limit(1)
)
_BY_KEYS: Final = (
    _records()
    .where(
        _charge.dataset == bindparam("dataset"),
        _charge.analyst.in_(bindparam("analysts", expanding=True)),
        _charge.idempotency_key.in_(bindparam("keys", expanding=True)),
    )
    .order_by(_charge.key_use)
)
_BY_IDS: Final = _records().where(_charge.id.in_(bindparam("ids", expanding=True)))
_BEARING: Final = (
    _records()
    .where(
        _charge.id.in_(select(schema.mark.c.charge).where(schema.mark.c.mark.in_(bindparam("marks", expanding=True)))),
        _charge.dataset == bindparam("of"),
        _charge.at >= bindparam("since"),
        _charge.publication.is_(None),
        schema.outcome.c.status == "answered",
    )
    .order_by(_charge.seq.desc())
    .limit(bindparam("most"))
)
_HELD: Final = _BEARING.where(_charge.analyst == bindparam("analyst"))
_SOLD: Final = _BEARING.where(schema.purchase.c.source.is_(None))


def _one(conn: Connection, query: Select[Any], named: Mapping[str, Any] | None = None) -> Record | None:
    row = conn.execute(query, named).first()
    return None if row is None else _record(row)


def _record(row: Row[Any]) -> Record:
    charge = Charge(
        row.id,
        row.dataset,
        row.seq,
        row.at,
        row.analyst,
        scopes_from(row.scopes),
        Loss(row.epsilon, row.rho, row.delta),
        row.price,
        bytes(row.request_hash),
        row.idempotency_key,
        row.key_use,
        row.plan_fingerprint,
        row.policy_version,
        row.data_version,
        row.mechanism,
        row.process,
        row.publication,
        row.source,
    )
    outcome = None
    if row.outcome_seq is not None:
        outcome = Outcome(row.id, row.outcome_seq, row.outcome_at, row.status, _payload(row))
    return Record(charge, outcome, row.retaken_by)


def _payload(row: Row[Any]) -> bytes | None:
    """Return what an outcome holds; None if it was deleted, or is not what the fact says (``payloads.py``)."""
    if row.payload is None:
        return b"" if row.status == "void" else None
    payload = bytes(row.payload)
    return payload if digest(payload) == bytes(row.digest) else None
