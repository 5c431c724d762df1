"""The conductor: the whole order in which a question is answered.

text → plan (pure) → charge, COMMIT → execute → noise → persist and settle, COMMIT → post-process → answer
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from budget import balance, ledger, records, suspensions
from budget.balance import Balance
from budget.errors import KeyReused, LedgerError, NoGrant, NotForSale
from budget.errors import Suspended as LedgerSuspended
from budget.records import Record
from gateway import price, wire
from gateway.aim import aim
from gateway.answers.compose import compose, composed
from gateway.asked import request_hash, said
from gateway.auth.principal import Principal
from gateway.engines.base import EngineError
from gateway.errors import (
    AnswerDeleted,
    Conflict,
    DiscreetError,
    ExecutionFailed,
    OutcomeUnknown,
    PlanGone,
    PostProcessingFailed,
    Unavailable,
)
from gateway.executing import Held, executing, is_dead
from gateway.execution import Execution, Settled, execute, fail, not_reached
from gateway.kept import Kept
from gateway.policy.model import Dataset
from gateway.publics import PublicTooLarge, fetch
from gateway.quantum import pause, shows, wait
from gateway.refused import refused
from gateway.reuse.find import Offer, stands
from gateway.reuse.given import given, given_before
from gateway.reuse.offers import offers, since, taken
from gateway.reuse.offers import shown as shown_offer
from gateway.sandbox import SandboxFailed
from gateway.service import Service
from gateway.sql import explain
from gateway.sql.planning.plan import Plan
from gateway.standing import shown
from gateway.submission import Submission
from gateway.target import named, priced

log = logging.getLogger("discreet.query")


def answer(
    service: Service,
    principal: Principal,
    request: wire.QueryRequest,
    idempotency_key: str | None,
    submission: Submission | None = None,
) -> wire.QueryResponse:
    """Answer one request, or refuse it at no charge, or fail constantly after one; see ``gateway.errors``.

    What is charged has the id of the submission, and ends when that is cancelled.
    """
    submission = submission or Submission()
    if request.error_target is not None:
        last, first = (
            partial(answer, service, principal, submission=each) for each in (submission, submission.first())
        )
        return aim(service, principal, request, idempotency_key, last, first)
    if request.dry_run:
        return _dry(service, principal, request)
    if service.readiness.look():
        raise Unavailable("not-ready", "The gateway is not ready to answer.")
    with service.slots.hold(principal.name, submission.began), executing() as held:
        claim = _again(service, principal, request, idempotency_key, held, submission)
        if claim is None:
            submission.refuse()
            with service.turns.turn():
                dataset, plan, standing = _planned(service, principal, request)
                offer = _stored(service, principal, request, dataset, plan) if plan.releases else None
            if not plan.releases:
                return _exactly(service, request, dataset, plan, standing)
            if offer is not None and offer.held:
                read_now = None if _rested(service, offer) else standing
                claim = _Claim(Execution(offer.records[0], dataset, plan), free=True, offer=offer, standing=read_now)
            else:
                claim = _charge(service, principal, request, idempotency_key, dataset, plan, held, offer, submission)
        return _concluded(service, principal, request, claim)


def recall(
    service: Service, principal: Principal, request: wire.QueryRequest, record: Record, submission: Submission
) -> wire.QueryResponse:
    """Answer from a charge of the caller's own as a retry of its request would: what stands, or one more execution."""
    if request.error_target is not None:
        request = priced(request, record.charge.price, named(record))
    with executing() as held:
        return _concluded(service, principal, request, _replayed(service, principal, request, record, held, submission))


def _concluded(service: Service, principal: Principal, request: wire.QueryRequest, claim: _Claim) -> wire.QueryResponse:
    with _charged(claim):
        settled = execute(service, claim.execution) if claim.execute else None
        return _answered(service, principal, request, claim, settled)


@dataclass(frozen=True, slots=True)
class _Claim:
    """A charge to answer from: its plan, whether it is this thread that executes it, whether it is free now, and the
    stored answer that is given; the caller's standing where both were read in this very moment.
    """

    execution: Execution
    execute: bool = False
    free: bool = False
    offer: Offer | None = None
    standing: Balance | None = None


@contextmanager
def _charged(claim: _Claim) -> Iterator[None]:
    """Turn what nobody foresaw after a charge into an error that says that it was charged, and how to go on."""
    try:
        yield
    except DiscreetError:
        raise
    except Exception:
        log.exception("charge %s was left without an answer", claim.execution.record.charge.id)
        raise OutcomeUnknown(query_id=claim.execution.record.charge.id) from None


def _planned(service: Service, principal: Principal, request: wire.QueryRequest) -> tuple[Dataset, Plan, Balance]:
    """Return what a request means now: the dataset in force, the plan, and the caller's standing. Reads no data."""
    with service.reads.connect() as conn:
        dataset = service.catalogue.current(conn, request.dataset)
        standing = _standing(conn, dataset.name, principal)
        keys = given(conn, service.settings, principal.name, request, withheld=standing.suspended)
    gaussian = standing.gaussian and standing.gaussian_used
    question = price.question(request, dataset, service.settings, gaussian=gaussian, at=datetime.now(UTC), given=keys)
    plan = service.plans.get(question, dataset)
    price.check(plan, dataset)
    return dataset, plan, standing


def _standing(conn: Connection, dataset: str, principal: Principal) -> Balance:
    try:
        return balance.of(conn, dataset, principal.name)
    except NoGrant as refusal:
        refused(refusal, dataset)


def _again(
    service: Service,
    principal: Principal,
    request: wire.QueryRequest,
    key: str | None,
    held: Held,
    submission: Submission,
) -> _Claim | None:
    """Return the claim of a retry, None for a first request.

    It is looked for before anything is planned: what was charged is answered under the policy that it was charged
    under, even if the one in force now would refuse it.
    """
    if key is None:
        return None
    with service.reads.connect() as conn:
        earlier = records.find_key(conn, request.dataset, principal.name, key)
        if earlier is None or (earlier.outcome is not None and earlier.outcome.status == "void"):
            return None
        if earlier.charge.request_hash != request_hash(request) or earlier.charge.publication is not None:
            refused(KeyReused(), request.dataset)
        withhold(conn, principal, earlier)
    return _replayed(service, principal, request, earlier, held, submission)


def withhold(conn: Connection, principal: Principal, record: Record) -> Balance:
    """Return the caller's standing, or refuse: while suspended nothing is told but the failure that it began with."""
    charge = record.charge
    standing = _standing(conn, charge.dataset, principal)
    if standing.suspended and suspensions.cause(conn, charge.dataset, charge.analyst) != charge.id:
        refused(LedgerSuspended(), charge.dataset)
    return standing


def _dry(service: Service, principal: Principal, request: wire.QueryRequest) -> wire.QueryResponse:
    """Return a plan, its price, and the stored answers that stand open; while suspended none is told of."""
    dataset, plan, standing = _planned(service, principal, request)
    found: list[Offer] = []
    if not standing.suspended:
        with suppress(LedgerSuspended), service.reads.connect() as conn:  # suspended in this very moment
            found = offers(conn, service.settings, principal.name, request, dataset, plan)
    if request.plan_id not in (None, plan.fingerprint, *(offer.id for offer in found)):
        raise _changed()
    return _response(dataset, plan, standing).model_copy(update={"offers": [shown_offer(offer) for offer in found]})


def _stored(
    service: Service, principal: Principal, request: wire.QueryRequest, dataset: Dataset, plan: Plan
) -> Offer | None:
    """Return the stored answer that a request takes, None if there is none or a fresh one is wanted.

    Why what is held is free: it is the same noisy table, and whoever paid for it may compute anything on it.
    """
    try:
        with service.reads.connect() as conn:
            found = taken(offers(conn, service.settings, principal.name, request, dataset, plan), request, plan)
    except LedgerError as refusal:
        refused(refusal, dataset.name)
    if found is None and request.plan_id not in (None, plan.fingerprint):
        raise _changed()
    return found


def _rested(service: Service, offer: Offer) -> bool:
    """Wait until what is held may be seen, and return whether that took time.

    The first answer may have gone out sooner than its charge's own multiple: less than a quantum is left.
    """
    pause = max(wait(record, service.settings.latency_quantum_ms) for record in offer.records)
    if pause > 0:
        time.sleep(pause)
    return pause > 0


def _changed() -> Conflict:
    return Conflict("plan-changed", "The plan is no longer the one named.", hint="Look at a new dry run.")


def _charge(
    service: Service,
    principal: Principal,
    request: wire.QueryRequest,
    key: str | None,
    dataset: Dataset,
    plan: Plan,
    held: Held,
    offer: Offer | None,
    submission: Submission,
) -> _Claim:
    """Charge the plan's loss and COMMIT (with whoever charges now too), before the data's database is touched.

    Or buy the stored answer that is offered: then there is nothing to execute.
    """
    priced = plan if offer is None else offer.plan
    charge = replace(
        price.charge(request, dataset, plan, priced, analyst=principal.name, process=service.process.id),
        idempotency_key=key,
        source=None if offer is None else offer.records[0].charge.id,
        id=submission.id,
    )
    submission.refuse()
    held.add(charge.id)
    try:
        receipt = service.committer.charge(charge)
    except NotForSale:
        # Deleted, or withheld, in this very moment.
        if request.plan_id not in (None, plan.fingerprint):
            raise _changed() from None
        return _charge(service, principal, request, key, dataset, plan, held, None, submission)
    except LedgerError as refusal:
        refused(refusal, dataset.name)
    record = receipt.record
    if not receipt.replayed:
        execution = Execution(record, dataset, plan, submission, said(request))
        return _Claim(execution, execute=offer is None, offer=offer)
    if offer is not None and (key is None or record.charge.idempotency_key != key):
        return _Claim(Execution(record, dataset, plan), free=True, offer=offer)  # bought by another request just now
    return _replayed(service, principal, request, record, held, submission)


def _still_running() -> Conflict:
    return Conflict(
        "query-running", "That request is still running.", hint="Send it again, with the same key, in a moment."
    )


def _replayed(
    service: Service,
    principal: Principal,
    request: wire.QueryRequest,
    record: Record,
    held: Held,
    submission: Submission,
) -> _Claim:
    """Return what a retry under an idempotency key finds: an outcome, a running query, or a dead process's charge.

    The plan is made anew under the versions that the charge carries, before the charge is taken over: one that can no
    longer be made is settled as the constant failure.
    """
    charge = record.charge
    # An answer is sent at multiples of the quantum since it was asked for, which is a moment before it was charged: a
    # retry of who has just got it must find it, and one sent earlier tells no more for being looked at then.
    time.sleep(pause(record, service.settings.latency_quantum_ms))
    with service.reads.connect() as conn:
        datasets = service.catalogue.either(conn, charge.dataset, charge.policy_version, charge.data_version)
    found = ((dataset, _plan_of(service, request, dataset, record)) for dataset in datasets)
    dataset, plan = next((each for each in found if each[1] is not None), (datasets[-1], None))
    with service.control.begin() as conn:
        claim = ledger.claim_retry(
            conn, charge.id, process=service.process.id, is_dead=partial(is_dead, service, charge.id)
        )
        if claim.turn == "taken":
            held.add(charge.id)
    if claim.record.outcome is not None and claim.record.outcome.status == "void":
        raise not_reached()  # taken back in this very moment
    if claim.turn == "running" or not shows(claim.record, service.settings.latency_quantum_ms):
        raise _still_running()
    if claim.turn == "lost" or (claim.turn == "taken" and plan is None):
        fail(service, record)
    if plan is None or claim.turn == "lost":
        with service.reads.connect() as conn:
            withhold(conn, principal, record)
        raise PlanGone(query_id=charge.id) if claim.turn == "settled" else ExecutionFailed(query_id=charge.id)
    # What is settled is read without the data; a copy that it was computed on may be gone, and public rows are there.
    read = dataset if claim.turn == "taken" else datasets[-1]
    execution = Execution(claim.record, read, plan, submission, said(request))
    return _Claim(execution, execute=claim.turn == "taken")


def _plan_of(service: Service, request: wire.QueryRequest, dataset: Dataset, record: Record) -> Plan | None:
    """Return the plan that was charged, None if this gateway, or its settings, would make another of the request.

    It was made in the minute of the charge or in the one before, which a question about the present time hangs on.
    """
    gaussian = record.charge.loss.epsilon is None
    charged = datetime.fromtimestamp(record.charge.at / 1_000_000, UTC)
    for at in (charged, charged - timedelta(minutes=1)):
        try:
            with service.reads.connect() as conn:
                keys = given_before(conn, service.settings, record, request)
            question = price.question(request, dataset, service.settings, gaussian=gaussian, at=at, given=keys)
            plan = service.plans.get(question, dataset)
        except DiscreetError:
            return None
        if plan.fingerprint == record.charge.plan_fingerprint:
            return plan
    return None


def _answered(
    service: Service, principal: Principal, request: wire.QueryRequest, claim: _Claim, settled: Settled | None
) -> wire.QueryResponse:
    """Post-process the outcome that stands and send it, or the constant failure."""
    dataset, plan = claim.execution.dataset, claim.execution.plan
    record, standing = claim.execution.record, claim.standing
    if standing is None:
        with service.reads.connect() as conn:
            record = records.get(conn, record.charge.id)
            standing = withhold(conn, principal, record)
    if record.outcome is None or record.outcome.status != "answered":
        raise ExecutionFailed(query_id=record.charge.id)
    offer = claim.offer or _just(plan, record, settled) or stands(plan, record)
    if offer is None or (not claim.execute and record.charge.at < since(service.settings)):
        raise AnswerDeleted(query_id=record.charge.id)
    asked, plan, tables, most = plan.fingerprint, offer.plan, offer.tables, service.settings.released_groups
    told = composed if claim.free else compose
    try:
        publics = fetch(service, dataset, plan)
    except EngineError:
        log.exception("the public tables beside charge %s could not be read", record.charge.id)
        raise OutcomeUnknown(query_id=record.charge.id) from None
    except PublicTooLarge:
        raise PostProcessingFailed(query_id=record.charge.id) from None
    try:
        found = told(plan, tables, service.sandbox, request.confidence, most, publics, request.non_negative)
    except Exception:
        log.exception("post-processing of charge %s failed", record.charge.id)
        raise PostProcessingFailed(query_id=record.charge.id) from None
    response = _response(dataset, plan, standing)
    return response.model_copy(
        update={
            "query_id": record.charge.id,
            "plan": response.plan.model_copy(update={"id": asked}),
            "rows": found.rows,
            "intervals": found.intervals,
            "warnings": [*found.warnings, *offer.notes],
            "clipped": found.clipped,
            "cached": claim.free or record.charge.source is not None,
            "dry_run": False,
            "cost": explain.nothing(response.cost) if claim.free else response.cost,
        }
    )


def _just(plan: Plan, record: Record, settled: Settled | None) -> Offer | None:
    """Return what this very request drew, where that is what stands: it is not read back from where it was kept."""
    if settled is None or record.outcome is None or record.outcome.payload != settled.payload:
        return None
    return Offer("", plan, settled.tables, (record,), unasked=True)


def _exactly(
    service: Service, request: wire.QueryRequest, dataset: Dataset, plan: Plan, standing: Balance
) -> wire.QueryResponse:
    """Answer a question over public tables alone: exactly, at no price, and with nothing in the ledger.

    An Idempotency-Key binds nothing here: asked again, the tables are read as they are then.
    """
    if standing.suspended:
        refused(LedgerSuspended(), dataset.name)
    try:
        publics = fetch(service, dataset, plan)
        found = compose(plan, (), service.sandbox, request.confidence, service.settings.released_groups, publics)
    except (EngineError, PublicTooLarge, SandboxFailed):
        log.exception("a question over public tables of dataset %s failed", dataset.name)
        raise Unavailable(
            "public-failed",
            "What was asked of the public tables could not be computed within the limits.",
            hint="Nothing was charged. Ask for less, or ask an administrator.",
        ) from None
    response = _response(dataset, plan, standing)
    return response.model_copy(update={"rows": found.rows, "warnings": found.warnings, "dry_run": False})


_SAID: Kept[tuple[list[wire.Column], wire.Cost, wire.Plan]] = Kept(512)
"""What is said of a plan, which is a function of the plan."""


def _response(dataset: Dataset, plan: Plan, standing: Balance) -> wire.QueryResponse:
    """Return the response of a dry run, which a real one fills in."""
    columns, cost, explained = _SAID.get(
        (plan,), None, lambda: (explain.columns(plan), explain.cost(plan), explain.explain(plan))
    )
    return wire.QueryResponse(
        query_id=None,
        columns=columns,
        rows=[],
        intervals={},
        cost=cost,
        budget=shown(standing, dataset.per_query.delta, plan.loss, plan.price),
        cached=False,
        dry_run=True,
        plan=explained,
        warnings=list(plan.notes),
    )
