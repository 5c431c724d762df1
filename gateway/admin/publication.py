"""A question that an admin buys for everybody: the conductor's order, charged to the dataset's cap as public loss.

text → plan (pure) → charge, COMMIT → execute → noise → persist and settle, COMMIT → post-process → answer

Execution, noise and the charge's one outcome are those of every question (``gateway.execution``). What differs is who
pays: the cap alone, which is what every analyst was promised (docs/ledger.md). No stored answer is taken or offered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from budget import ledger, records
from budget.errors import KeyReused, LedgerError
from budget.records import Record
from gateway import price, wire
from gateway.answers.compose import compose
from gateway.asked import request_hash
from gateway.errors import AnswerDeleted, Conflict, ExecutionFailed, PlanGone, PostProcessingFailed, Unavailable
from gateway.execution import Execution, execute, fail
from gateway.policy.model import Dataset
from gateway.refused import refused
from gateway.reuse.find import stands
from gateway.service import Service
from gateway.sql.planning.plan import Plan

log = logging.getLogger("discreet.publication")


@dataclass(frozen=True, slots=True)
class Published:
    """What was bought: the charge's id, the dataset and plan that it was charged under, and the rows of the answer."""

    query_id: str
    dataset: Dataset
    plan: Plan
    rows: list[list[wire.JsonValue]]


Asked = Callable[[Dataset], wire.QueryRequest]
"""What a request is, given the dataset in some version of its policy."""


def planned(service: Service, name: str, asked: Asked) -> tuple[Dataset, Plan, wire.QueryRequest]:
    """Return the dataset in force, the plan of what is asked of it, and the request; at no price."""
    with service.reads.connect() as conn:
        dataset = service.catalogue.source(conn, name)  # the data, not a prepared copy that may be cut already
    return dataset, *_plan(service, dataset, asked)


def _plan(service: Service, dataset: Dataset, asked: Asked) -> tuple[Plan, wire.QueryRequest]:
    request = asked(dataset)
    question = price.question(request, dataset, service.settings, gaussian=False, at=datetime.now(UTC))
    plan = service.plans.get(question, dataset)
    price.check(plan, dataset)
    return plan, request


def publish(service: Service, name: str, actor: str, asked: Asked, publication: str, key: str) -> Published:
    """Buy one question for everybody, under an idempotency key that gets one answer at one price.

    ``publication`` says in words what it is, for the ledger. Raises what ``gateway.query.answer`` raises.
    """
    if service.readiness.look():
        raise Unavailable("not-ready", "The gateway is not ready to answer.")
    with service.reads.connect() as conn:
        earlier = records.find_key(conn, name, actor, key)
    if earlier is not None and (earlier.outcome is None or earlier.outcome.status != "void"):
        return _again(service, earlier, asked)
    dataset, plan, request = planned(service, name, asked)
    charge = replace(
        price.charge(request, dataset, plan, plan, analyst=actor, process=service.process.id),
        idempotency_key=key,
        publication=publication,
    )
    try:
        receipt = service.committer.charge(charge)
    except LedgerError as refusal:
        refused(refusal, dataset.name)
    if receipt.replayed:  # the same key, charged by another process in this very moment
        return _again(service, receipt.record, asked)
    execution = Execution(receipt.record, dataset, plan)
    execute(service, execution)
    return _published(service, execution)


def _again(service: Service, record: Record, asked: Asked) -> Published:
    """Return what a retry finds; a charge whose process is proven dead is executed once more, from the same plan."""
    charge = record.charge
    with service.reads.connect() as conn:
        dataset = service.catalogue.at(conn, charge.dataset, charge.policy_version, charge.data_version)
    plan, request = _plan(service, dataset, asked)
    if charge.request_hash != request_hash(request) or charge.publication is None:
        refused(KeyReused(), charge.dataset)
    with service.control.begin() as conn:
        claim = ledger.claim_retry(conn, charge.id, process=service.process.id, is_dead=service.is_dead)
    if claim.turn == "running":
        raise Conflict("query-running", "That request is still running.", hint="Send it again in a moment.")
    same = plan.fingerprint == charge.plan_fingerprint
    if claim.turn == "lost" or (claim.turn == "taken" and not same):
        fail(service, claim.record)
        raise ExecutionFailed(query_id=charge.id)
    if not same:
        raise PlanGone(query_id=charge.id)
    execution = Execution(claim.record, dataset, plan)
    if claim.turn == "taken":
        execute(service, execution)
    return _published(service, execution)


def _published(service: Service, execution: Execution) -> Published:
    """Return the outcome that stands, or the constant failure."""
    plan = execution.plan
    with service.reads.connect() as conn:
        record = records.get(conn, execution.record.charge.id)
    if record.outcome is None or record.outcome.status != "answered":
        raise ExecutionFailed(query_id=record.charge.id)
    offer = stands(plan, record)
    if offer is None:
        raise AnswerDeleted(query_id=record.charge.id)
    try:
        found = compose(plan, offer.tables, service.sandbox, 0.95, service.settings.released_groups, ())
    except Exception:
        log.exception("post-processing of charge %s failed", record.charge.id)
        raise PostProcessingFailed(query_id=record.charge.id) from None
    return Published(record.charge.id, execution.dataset, plan, found.rows)
