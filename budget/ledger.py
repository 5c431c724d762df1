"""Charging privacy loss, settling charges, taking them over, and the one refund.

Every function takes a Connection inside a transaction that the caller owns, and is whole in it: what it wrote holds
when that transaction commits, and nothing does if it rolls back. A COMMIT of unknown result is read back by charge id
(``records.find``) before anything runs.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Connection

from budget import admission, records, sales
from budget.balance import Balance
from budget.book import Book, opened
from budget.chain import canonical_json
from budget.errors import KeyReused, NotForSale, NotRefundable, Suspended, UnknownCharge
from budget.payloads import EMPTY, digest
from budget.records import Charge, Outcome, Record
from budget.rules import NAME_LENGTH, RECORD_LENGTH, TEXT_LENGTH
from budget.scopes import CAP, checked_name, of_analyst, paying
from budget.standing import Standing
from mechanisms.loss import DELTA_UNIT, MAX_EPSILON, Loss

_ID: Final = re.compile(r"[0-9a-f]{32}")
_KEY: Final = re.compile(rf"[\x21-\x7e]{{1,{NAME_LENGTH}}}")


def new_id() -> str:
    """Return a fresh random id, of 128 bits, for a charge."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """What is to be charged, and what it is for.

    ``loss`` is the privacy loss read off the compiled mechanisms; ``price`` the epsilon (1e-9) that the request stated
    and ``conversion_delta`` (1e-18) the delta at which a Gaussian price is stated (both for figures in refusals);
    ``request_hash`` the SHA-256 of the whole request, 32 bytes; ``mechanism`` the canonical JSON of what will run, so
    that it can be accounted anew later; ``process`` the identity that executes it (``process.py``).

    ``source`` buys the stored answer of that charge, whose loss it states, or else it is not for sale (``sales.py``).

    ``publication`` makes it public loss: what an admin (then named by ``analyst``) buys for everybody and publishes, in
    words. It is charged to the cap alone, and adds to what every analyst was promised.
    """

    dataset: str
    analyst: str
    loss: Loss
    price: int
    request_hash: bytes
    plan_fingerprint: str
    policy_version: int
    data_version: int
    mechanism: str
    process: str
    idempotency_key: str | None = None
    conversion_delta: int = 0
    publication: str | None = None
    source: str | None = None
    id: str = field(default_factory=new_id)

    def __post_init__(self) -> None:
        checked_name(self.dataset)
        checked_name(self.analyst)
        checked_name(self.plan_fingerprint)
        if not all(_ID.fullmatch(name) for name in (self.id, self.process)):
            raise ValueError("ids are 32 hexadecimal digits")
        if self.idempotency_key is not None and not _KEY.fullmatch(self.idempotency_key):
            raise ValueError("an idempotency key is 1 to 200 visible ASCII characters")
        if len(self.request_hash) != 32:
            raise ValueError("a request hash has 32 bytes")
        if max(self.price, self.loss.epsilon or 0) > MAX_EPSILON or self.price < 0 or self.loss.delta > DELTA_UNIT:
            raise ValueError("a loss out of range")
        if not 0 <= self.conversion_delta <= DELTA_UNIT or min(self.policy_version, self.data_version) < 0:
            raise ValueError("a figure out of range")
        if self.publication is not None and not 1 <= len(self.publication) <= TEXT_LENGTH:
            raise ValueError("a publication is told in 1 to 1000 characters")
        if self.source is not None and (self.publication is not None or not _ID.fullmatch(self.source)):
            raise ValueError("what is bought is the answer of a charge, by an analyst")
        if len(self.mechanism) > RECORD_LENGTH or canonical_json(json.loads(self.mechanism)) != self.mechanism:
            raise ValueError("the mechanism record is not canonical JSON")


@dataclass(frozen=True, slots=True)
class Receipt:
    """A charge that stands, and the balance after it; ``replayed`` if an earlier request under the same key made it."""

    record: Record
    balance: Balance
    replayed: bool


@dataclass(frozen=True, slots=True)
class OutcomeRequest:
    """An outcome to be stored for a charge, unless it has one; ``payload`` are the noisy tables, empty for a failure.

    ``marks`` are what an answer is found by when the same is asked again (``records.held``).
    ``dataset`` and ``analyst`` are the charge's own: they say which chain to lock before the charge is read.
    """

    dataset: str
    analyst: str
    charge: str
    status: Literal["answered", "failed"]
    payload: bytes
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome that stands; ``won`` if this call stored it; ``withheld`` while the analyst is suspended."""

    outcome: Outcome
    won: bool
    withheld: bool


Turn: TypeAlias = Literal["settled", "running", "taken", "lost"]
"""What a retry finds: an outcome; a process that may be alive; a charge it now executes; one that died twice."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The charge that a retry asked for, and what is to be done about it."""

    record: Record
    turn: Turn


def charge(conn: Connection, request: ChargeRequest) -> Receipt:
    """Charge the loss to every scope that it falls under, or return the charge that this key already made.

    Raises ``NoGrant``, ``Suspended``, ``GaussianRefused``, ``BudgetExhausted``, or ``KeyReused`` when the key belongs
    to another request; nothing is written then.

    Why nothing is charged twice: under the dataset's lock a key with a charge that is not void makes no other, and the
    database holds (dataset, analyst, key, use) unique. A void charge refunded everything and showed nothing, so that
    its key may be used anew.

    Why a suspended analyst gets nothing by asking again: an answer is withheld like any other; a failure is the same
    constant bytes that they were given when it happened.
    """
    with opened(conn, request.dataset, [request.analyst]) as book:
        return post(book, request)


def post(book: Book, request: ChargeRequest) -> Receipt:
    """Charge in an open book, as ``charge`` does; ``group.py`` charges several at once."""
    own = of_analyst(request.analyst)
    scopes = (CAP,) if request.publication is not None else paying(request.analyst, book.projects_of(request.analyst))
    earlier = _earlier(book, request)
    standings = tuple(_in_force(book, scope) for scope in scopes)
    suspended = any(standing.suspended for standing in standings if standing.scope == own)
    if earlier is not None and (earlier.outcome is None or earlier.outcome.status != "void"):
        if suspended and not (earlier.outcome is not None and earlier.outcome.status == "failed"):
            raise Suspended
        shown = tuple(standing.as_of(book.at) for standing in standings)
        return Receipt(earlier, Balance(request.dataset, request.analyst, shown), replayed=True)
    if suspended:
        raise Suspended
    sale = None
    if request.source is not None:
        sale = sales.open_sale(book, request.source)
        if sale.source.charge.loss != request.loss:
            raise NotForSale(request.source)  # at another price than its own
        holding = sale.holder(request.analyst)
        if holding is not None:
            shown = tuple(standing.as_of(book.at) for standing in standings)
            return Receipt(book.charge(holding), Balance(request.dataset, request.analyst, shown), replayed=True)
        admission.in_force(standings, at=book.at)  # also the scopes that have paid: what is paused receives nothing
        standings = tuple(standing for standing in standings if standing.scope not in sale.paid)
    admission.admit(standings, request.loss, price=request.price, at=book.at, conversion_delta=request.conversion_delta)
    payers = tuple(standing.scope for standing in standings)
    standings = tuple(book.renew(book.standing(scope)) for scope in payers)
    key_use = 1 if earlier is None else earlier.charge.key_use + 1
    if sale is not None:
        book.post("purchase", {"charge": request.id, "source": request.source})
    head = book.post("charge", _columns(request, payers, key_use))
    for standing in standings:
        book.put(standing.adding(request.loss, head.seq))
    record = Record(_charge(request, payers, key_use, head.seq, head.at), None, None)
    if sale is not None:
        record = _bought(book, record, sale)
    if request.idempotency_key is not None:
        book.keyed[request.analyst, request.idempotency_key] = record
    after = tuple(book.standing(scope).as_of(book.at) for scope in scopes)
    return Receipt(record, Balance(request.dataset, request.analyst, after), replayed=False)


def _bought(book: Book, record: Record, sale: sales.Sale) -> Record:
    """Settle a purchase with the answer that it bought, in the same transaction: it is never without an outcome."""
    charge, answer = record.charge, sale.source.outcome
    assert answer is not None
    assert answer.payload is not None
    fact = {"charge": charge.id, "status": "answered", "digest": digest(answer.payload), "reason": None}
    head = book.post("outcome", fact)
    book.share(sale.source.charge.id, charge.id)
    book.sales[sale.source.charge.id] = sale.sold(charge.analyst, charge.id, charge.scopes)
    found = Record(charge, Outcome(charge.id, head.seq, head.at, "answered", answer.payload), None)
    book.charges[charge.id] = found
    return found


def settle(conn: Connection, charge_id: str, status: Literal["answered", "failed"], payload: bytes) -> Settlement:
    """Store a charge's outcome unless it has one, and return the one that stands.

    The loser of two discards what it drew: otherwise noise could be drawn until it is liked. ``UnknownCharge`` if there
    is no such charge.
    """
    charge = records.get(conn, charge_id).charge
    return conclude(conn, OutcomeRequest(charge.dataset, charge.analyst, charge_id, status, payload))


def conclude(conn: Connection, request: OutcomeRequest) -> Settlement:
    """Settle a charge whose dataset is known, as ``settle`` does."""
    with opened(conn, request.dataset, [request.analyst]) as book:
        return post_outcome(book, request)


def post_outcome(book: Book, request: OutcomeRequest) -> Settlement:
    """Settle a charge in an open book, as ``settle`` does; ``group.py`` settles several at once."""
    record = book.charge(request.charge)
    charge = record.charge
    if (charge.dataset, charge.analyst) != (request.dataset, request.analyst):
        raise UnknownCharge(request.charge)
    own = None if charge.publication is not None else book.standing(of_analyst(charge.analyst))
    withheld = own is not None and own.suspended
    if record.outcome is not None:
        return Settlement(record.outcome, won=False, withheld=withheld)
    fact = {"charge": charge.id, "status": request.status, "digest": digest(request.payload), "reason": None}
    head = book.post("outcome", fact)
    book.keep(charge.id, request.payload, request.marks if request.status == "answered" else ())
    outcome = Outcome(charge.id, head.seq, head.at, request.status, request.payload)
    book.charges[charge.id] = Record(charge, outcome, record.retaken_by)
    return Settlement(outcome, won=True, withheld=withheld)


def void(conn: Connection, charge_id: str, *, process: str, reason: str) -> Outcome:
    """Take a charge back: only by the process that made it, which vouches that no statement went to the engine.

    ``NotRefundable`` if it has an outcome, was taken over, or belongs to another process: then a statement may have
    been handed over, and the engine's time, load or failure may have shown something.
    """
    with _opened(conn, charge_id) as (book, record):
        charge = record.charge
        if record.outcome is not None or record.retaken_by is not None or charge.process != process:
            raise NotRefundable(charge_id)
        head = book.post("outcome", {"charge": charge_id, "status": "void", "digest": EMPTY, "reason": reason})
        for scope in charge.scopes:
            book.put(book.standing(scope).refunding(charge.loss, charge.seq, head.seq))
        return Outcome(charge_id, head.seq, head.at, "void", b"")


def claim_retry(conn: Connection, charge_id: str, *, process: str, is_dead: Callable[[str], bool]) -> Claim:
    """Take over a charge without outcome whose process is proven dead, at most once.

    ``taken``: this process now executes the charge's plan again. ``running``: its process may be alive. ``lost``: the
    process that took it over died as well, and the caller settles it as the constant failure. ``settled``: it has an
    outcome.

    Why at most once: each execution may die of the data, and whether it did is seen in how long an answer takes.
    """
    with _opened(conn, charge_id) as (book, record):
        if record.outcome is not None:
            return Claim(record, "settled")
        if record.retaken_by is not None:
            return Claim(record, "lost" if is_dead(record.retaken_by) else "running")
        if not is_dead(record.charge.process):
            return Claim(record, "running")
        if not _ID.fullmatch(process):
            raise ValueError("ids are 32 hexadecimal digits")
        book.post("attempt", {"charge": charge_id, "process": process})
        return Claim(Record(record.charge, None, process), "taken")


@contextmanager
def _opened(conn: Connection, charge_id: str) -> Iterator[tuple[Book, Record]]:
    """Open the book of a charge's dataset, then read the charge: what it says cannot change before the commit."""
    with opened(conn, records.get(conn, charge_id).charge.dataset) as book:
        yield book, book.charge(charge_id)


def _in_force(book: Book, scope: str) -> Standing:
    """Return a scope's standing in the window that an act would fall into now; nothing is posted."""
    standing = book.standing(scope)
    begun = standing.due(book.at)
    return standing if begun is None else standing.renewed(standing.seq, begun)


def _earlier(book: Book, request: ChargeRequest) -> Record | None:
    """Return the last charge under the request's key; ``KeyReused`` if it was for another request, or if what one
    publishes the other does not: a key never makes a private answer public, nor the other way round.
    """
    if request.idempotency_key is None:
        return None
    earlier = book.under_key(request.analyst, request.idempotency_key)
    if earlier is None:
        return None
    same = secrets.compare_digest(earlier.charge.request_hash, request.request_hash)
    if not same or earlier.charge.publication != request.publication:
        raise KeyReused
    return earlier


def _charge(request: ChargeRequest, scopes: tuple[str, ...], key_use: int, seq: int, at: int) -> Charge:
    return Charge(
        request.id,
        request.dataset,
        seq,
        at,
        request.analyst,
        scopes,
        request.loss,
        request.price,
        request.request_hash,
        request.idempotency_key,
        key_use,
        request.plan_fingerprint,
        request.policy_version,
        request.data_version,
        request.mechanism,
        request.process,
        request.publication,
        request.source,
    )


def _columns(request: ChargeRequest, scopes: tuple[str, ...], key_use: int) -> dict[str, Any]:
    return {
        "id": request.id,
        "analyst": request.analyst,
        "scopes": records.scopes_text(scopes),
        "epsilon": request.loss.epsilon,
        "rho": request.loss.rho,
        "delta": request.loss.delta,
        "price": request.price,
        "request_hash": request.request_hash,
        "idempotency_key": request.idempotency_key,
        "key_use": key_use,
        "plan_fingerprint": request.plan_fingerprint,
        "policy_version": request.policy_version,
        "data_version": request.data_version,
        "mechanism": request.mechanism,
        "process": request.process,
        "publication": request.publication,
    }
