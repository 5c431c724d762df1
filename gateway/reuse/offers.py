"""The stored answers that stand open to one request, and the one that it takes."""

from __future__ import annotations

import time

from sqlalchemy import Connection

from gateway import wire
from gateway.policy.model import Dataset
from gateway.quantum import shows
from gateway.reuse.find import Offer, held, sold
from gateway.settings import Settings
from gateway.sql import explain
from gateway.sql.planning.plan import Plan

DAY = 86_400_000_000


def since(settings: Settings) -> int:
    """Return the instant (microseconds since 1970) from which on answers are given again."""
    days = settings.answers_days
    return 0 if days is None else time.time_ns() // 1000 - days * DAY


def offers(
    conn: Connection, settings: Settings, analyst: str, request: wire.QueryRequest, dataset: Dataset, plan: Plan
) -> list[Offer]:
    """Return what a request may have of stored answers, what is held before what is for sale; ``Suspended``.

    Who asks what is open, or for an offer by its id, is told of what is held only once its outcome may be seen: both
    cost nothing, and sent at many instants they would tell more finely than the quantum when a question had ended.
    """
    if not plan.releases or not request.use_cache:
        return []
    begun, quantum = since(settings), settings.latency_quantum_ms
    mine = held(conn, plan, analyst, request.mechanism, begun)
    if request.dry_run or request.plan_id not in (None, plan.fingerprint):
        mine = [offer for offer in mine if all(shows(record, quantum) for record in offer.records)]
    if any(offer.unasked for offer in mine) and request.plan_id is None and not request.dry_run:
        return mine
    others = sold(conn, plan, analyst, begun, quantum, dataset.per_query.delta)
    limit = dataset.per_query.max_epsilon
    return [*mine, *(offer for offer in others if offer.plan.price <= limit)]


def taken(found: list[Offer], request: wire.QueryRequest, plan: Plan) -> Offer | None:
    """Return the stored answer that a request takes: the one that it names, or one that is given unasked."""
    if request.plan_id is not None and request.plan_id != plan.fingerprint:
        return next((offer for offer in found if offer.id == request.plan_id), None)
    return next((offer for offer in found if offer.unasked), None)


def shown(offer: Offer) -> wire.Offer:
    """Return an offer as a dry run shows it."""
    cost = explain.cost(offer.plan)
    return wire.Offer(
        plan_id=offer.id,
        held=offer.held,
        unasked=offer.unasked,
        epsilon=0.0 if offer.held else cost.epsilon,
        rho=0.0 if offer.held else cost.rho,
        columns=explain.explain(offer.plan).columns,
        notes=[*offer.notes, *offer.plan.notes],
    )
