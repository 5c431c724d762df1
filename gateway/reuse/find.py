"""What an analyst may have again, and what is for sale: released tables that answer the plan at hand.

Why what is given free is free: it is read from noisy tables that this analyst has received and paid for, and from
nothing else. Whether there are any, for them or for sale, is decided from the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from budget import records
from budget.records import Record
from gateway.feeding import feeding
from gateway.kept import Kept
from gateway.noisy import NoisyTable, decode
from gateway.quantum import shows
from gateway.reuse.canonical import base, digest, same
from gateway.reuse.match import Entry, Match, match, mechanisms, no_weaker
from gateway.reuse.reading import opened
from gateway.reuse.rollup import rolled_up
from gateway.sql.planning.plan import Plan
from mechanisms.loss import Loss

LARGEST = 65_536
"""Bytes of a stored answer beyond which it is read anew each time."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Noisy tables that stand for the releases of a plan.

    ``plan`` is the plan as they are read; ``records`` are the charges that they come from, the last first. What is not
    ``held`` is bought at the price and loss that the plan then has. ``unasked`` where it is given to
    whoever asks for the plan and says nothing of stored answers.
    """

    id: str
    plan: Plan
    tables: tuple[NoisyTable, ...]
    records: tuple[Record, ...]
    unasked: bool
    notes: tuple[str, ...] = ()
    held: bool = True


_WHOLE: Kept[Offer | None] = Kept(512)


def stands(plan: Plan, record: Record) -> Offer | None:
    """Return what a charge drew, or bought, for a plan; None if it was deleted.

    A charge of this very plan that was written without readings is read by the plan.
    """
    assert record.outcome is not None
    payload = record.outcome.payload
    if payload is None:
        return None
    entries = opened(payload)
    found = [made for planned in plan.releases if (made := match(plan, planned, entries)) is not None]
    offer = _offer(plan, found, [record], unasked=True)
    if offer is None and record.charge.source is None:
        offer = Offer("", plan, decode(plan, payload), (record,), unasked=True)
    elif offer is not None:
        read = replace(offer.plan, price=record.charge.price, loss=record.charge.loss)
        # What was just drawn for this very plan is read as it is: what is said of it was said before, and is kept.
        offer = replace(offer, plan=plan if read == plan else read)
    return offer


def held(conn: Connection, plan: Plan, analyst: str, mechanism: str, since: int) -> list[Offer]:
    """Return what an analyst may have again for a plan, the best first; ``Suspended``.

    What was drawn for the very releases is given unasked if no aggregate errs more than it would at the price that is
    asked for; a roll-up if the release that it is made from cost no less. A mechanism that is named is kept to.
    """
    marks = list(dict.fromkeys(same(plan, planned) for planned in plan.releases))
    found = records.held(conn, plan.dataset, analyst, marks, since=since)
    offers = [offer for record in found if (offer := _kept_whole(plan, record, mechanism)) is not None]
    if not any(offer.unasked for offer in offers) and not feeding(plan):
        drawn = [(record, _entries(record)) for record in found]
        finer = list(dict.fromkeys(base(plan, planned) for planned in plan.releases if planned.public))
        found = records.held(conn, plan.dataset, analyst, finer, since=since) if finer else []
        drawn += [(record, _entries(record)) for record in found]
        offers += _mixed(plan, drawn, mechanism)
    return sorted(offers, key=lambda offer: not offer.unasked)


def sold(conn: Connection, plan: Plan, analyst: str, since: int, quantum_ms: int, conversion: int) -> list[Offer]:
    """Return the stored answers of others that answer a plan, each with its price.

    One is bought unasked if its price and its mechanisms are those of the plan: it costs the analyst what a fresh
    answer would, and the dataset nothing. ``conversion`` is the delta at which Gaussian prices are stated.
    """
    offers = []
    for record in records.sold(conn, plan.dataset, same(plan, plan.releases[0]), since=since):
        entries = _entries(record)
        found = [made for planned in plan.releases if (made := match(plan, planned, entries)) is not None]
        charge = record.charge
        if charge.analyst == analyst or not shows(record, quantum_ms) or len(entries) != len(plan.releases):
            continue
        equal = charge.loss == plan.loss and charge.price == plan.price
        alike = equal and all(
            mechanisms(made.planned) == mechanisms(planned) and no_weaker(made, planned)
            for made, planned in zip(found, plan.releases, strict=False)
        )
        offer = _offer(plan, found, [record], unasked=alike)
        if offer is not None:
            offers.append(_priced(offer, charge.price, charge.loss, conversion))
    return sorted(offers, key=lambda offer: not offer.unasked)


def _priced(offer: Offer, price: int, loss: Loss, conversion: int) -> Offer:
    """Return an offer of what is for sale, at what it once cost."""
    thresholds = [planned.threshold.delta for planned in offer.plan.releases if planned.threshold is not None]
    delta = 0 if loss.epsilon is not None else conversion - sum(thresholds)
    return replace(offer, plan=replace(offer.plan, price=price, loss=loss, conversion_delta=delta), held=False)


def _entries(record: Record) -> list[Entry]:
    assert record.outcome is not None
    return opened(record.outcome.payload or b"{}")


def _kept_whole(plan: Plan, record: Record, mechanism: str) -> Offer | None:
    """Return ``_whole`` of a charge that was just read: what it drew never changes, and is read once for each plan."""
    assert record.outcome is not None

    def made() -> Offer | None:
        return _whole(plan, record, _entries(record), mechanism)

    if len(record.outcome.payload or b"") > LARGEST:
        return made()
    return _WHOLE.get((plan,), (record.charge.id, mechanism), made)


def _whole(plan: Plan, record: Record, entries: Sequence[Entry], mechanism: str) -> Offer | None:
    """Return what one charge holds of a plan's releases, if it holds all of them."""
    found = [made for planned in plan.releases if (made := match(plan, planned, entries)) is not None]
    if len(found) != len(plan.releases):
        return None
    unasked = all(_given(plan, place, made, mechanism) for place, made in enumerate(found))
    return _offer(plan, found, [record], unasked=unasked)


def _mixed(plan: Plan, drawn: Sequence[tuple[Record, Sequence[Entry]]], mechanism: str) -> list[Offer]:
    """Return an offer whose tables come from several charges, or are rolled up, if each release has one.

    Not where releases feed others: what was drawn from rows that a released value chose belongs to that very value.
    """
    found: list[Match] = []
    used: list[Record] = []
    for place, planned in enumerate(plan.releases):
        ways = [(record, made) for record, entries in drawn if (made := match(plan, planned, entries)) is not None]
        ways += [(record, made) for record, entries in drawn if (made := rolled_up(plan, planned, entries)) is not None]
        ways.sort(key=lambda way: not _given(plan, place, way[1], mechanism))
        if not ways:
            return []
        record, made = ways[0]
        used.append(record)
        found.append(replace(made, planned=replace(made.planned, charge=record.charge.id)))
    unasked = all(_given(plan, place, made, mechanism) for place, made in enumerate(found))
    offer = _offer(plan, found, used, unasked=unasked)
    whole = len({record.charge.id for record in used}) == 1 and all(made.cells == 1 for made in found)
    return [] if offer is None or whole else [offer]  # what one charge holds is offered as that already


def _given(plan: Plan, place: int, made: Match, mechanism: str) -> bool:
    """Return whether a table is given unasked for a release of the plan."""
    planned = plan.releases[place]
    if mechanism != "auto" and mechanisms(made.planned) - {mechanism}:
        return False
    if made.cells == 1:
        return no_weaker(made, planned)
    paid, asked = made.planned.loss, planned.loss
    if paid.epsilon is not None and asked.epsilon is not None:
        return paid.epsilon >= asked.epsilon
    return paid.rho >= asked.rho


def _offer(plan: Plan, found: Sequence[Match], used: Sequence[Record], *, unasked: bool) -> Offer | None:
    """Return the offer of these tables, None unless there is one for each release."""
    if len(found) != len(plan.releases):
        return None
    releases = tuple(made.planned for made in found)
    said = dict.fromkeys(note for made in found for note in made.notes)
    rolled = [
        f"Rolled up from {made.cells} groups each that you hold, whose noise adds up; ask with use_cache false for a"
        " fresh answer."
        for made in found
        if made.cells > 1
    ]
    records_used = sorted({record.charge.id: record for record in used}.values(), key=lambda each: -each.charge.seq)
    return Offer(
        digest("offer", plan.fingerprint, tuple(record.charge.id for record in records_used))[:32],
        replace(plan, releases=releases, notes=tuple(said)),
        tuple(made.table for made in found),
        tuple(records_used),
        unasked,
        tuple(dict.fromkeys(rolled)),
    )
