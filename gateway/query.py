"""The conductor: the whole order in which a question is answered, and the owner of its transactions.

text → plan (pure) → charge, COMMIT → execute → noise → persist and settle, COMMIT → post-process → answer
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from sqlalchemy import Connection

from budget import balance, ledger, records, suspensions
from budget.balance import Balance
from budget.chain import canonical_json
from budget.errors import BudgetExhausted as LedgerExhausted
from budget.errors import GaussianRefused, KeyReused, LedgerError, NoGrant
from budget.errors import Suspended as LedgerSuspended
from budget.records import Record
from gateway import price, wire
from gateway.answer import compose
from gateway.auth.principal import Principal
from gateway.engines.base import EngineError, EngineUnavailable, Limits
from gateway.errors import BudgetExhausted, Conflict, DiscreetError, ExecutionFailed, Forbidden, Unavailable
from gateway.policy.model import Dataset
from gateway.release import decode, encode, release
from gateway.service import Service
from gateway.sql import explain
from gateway.sql.compile import compile_query
from gateway.sql.plan import Plan
from gateway.standing import shown
from mechanisms.loss import EPSILON_UNIT

log = logging.getLogger("discreet.query")

SUSPENDER = "gateway"


def answer(
    service: Service, principal: Principal, request: wire.QueryRequest, idempotency_key: str | None
) -> wire.QueryResponse:
    """Answer one request, or refuse it at no charge, or fail constantly after one; see ``gateway.errors``."""
    if request.dry_run:
        return _response(*_planned(service, principal, request))
    _ready(service)
    with service.slots.hold(principal.name), _executing() as held:
        claim = _again(service, principal, request, idempotency_key, held)
        if claim is None:
            dataset, plan, _ = _planned(service, principal, request)
            claim = _charge(service, principal, request, idempotency_key, dataset, plan, held)
        if claim.execute:
            _execute(service, claim)
        return _answered(service, principal, request, claim)


_RUNNING: set[str] = set()
"""The charges that threads of this process execute: any other of its own is abandoned, as if its process were dead."""


@contextmanager
def _executing() -> Iterator[_Held]:
    """Hold the charges that this thread executes until the block ends."""
    held = _Held([])
    try:
        yield held
    finally:
        _RUNNING.difference_update(held.charges)


@dataclass(frozen=True, slots=True)
class _Held:
    charges: list[str]

    def add(self, charge_id: str) -> None:
        """Count a charge as executing: said before the COMMIT that lets others see it."""
        self.charges.append(charge_id)
        _RUNNING.add(charge_id)


@dataclass(frozen=True, slots=True)
class _Claim:
    """A charge to answer from: with its plan, whether it is this process that executes it, and at what price now."""

    record: Record
    dataset: Dataset
    plan: Plan
    execute: bool
    free: bool


def _ready(service: Service) -> None:
    if service.faults:
        raise Unavailable("not-ready", "The gateway is not ready to answer.")


def _planned(service: Service, principal: Principal, request: wire.QueryRequest) -> tuple[Dataset, Plan, Balance]:
    """Return what a request means now: the dataset in force, the plan, and the caller's standing. Reads no data."""
    with service.reads.connect() as conn:
        dataset = service.catalogue.current(conn, request.dataset)
        standing = _standing(conn, dataset, principal)
    question = price.question(request, dataset, service.settings, gaussian=standing.gaussian and standing.gaussian_used)
    plan = compile_query(question, dataset)
    price.check(plan, dataset)
    if request.plan_id is not None and request.plan_id != plan.fingerprint:
        raise Conflict("plan-changed", "The plan is no longer the one named.", hint="Look at a new dry run.")
    return dataset, plan, standing


def _standing(conn: Connection, dataset: Dataset, principal: Principal) -> Balance:
    try:
        return balance.of(conn, dataset.name, principal.name)
    except NoGrant:
        _refused(NoGrant("analyst"), dataset)


def _again(
    service: Service, principal: Principal, request: wire.QueryRequest, key: str | None, held: _Held
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
        dataset = service.catalogue.current(conn, request.dataset)
        suspended = _standing(conn, dataset, principal).suspended
    if earlier.charge.request_hash != request_hash(request):
        _refused(KeyReused(), dataset)
    if suspended and earlier.outcome is None:
        _refused(LedgerSuspended(), dataset)
    return _replayed(service, request, earlier, held)


def _charge(
    service: Service,
    principal: Principal,
    request: wire.QueryRequest,
    key: str | None,
    dataset: Dataset,
    plan: Plan,
    held: _Held,
) -> _Claim:
    """Charge the plan's loss and COMMIT, unless the same question or the same request was charged before.

    Why an earlier answer is free: it is the same noisy table, and whoever paid for it may compute anything on it.
    """
    digest = request_hash(request)
    try:
        with service.control.begin() as conn:
            earlier = None if key is None else records.find_key(conn, dataset.name, principal.name, key)
            if earlier is None and request.use_cache:
                known = records.latest_answered(
                    conn, dataset.name, principal.name, plan.fingerprint, dataset.data_version
                )
                if known is not None:
                    return _Claim(known, dataset, plan, execute=False, free=True)
            charge = _charge_request(service, principal, request, key, digest, dataset, plan)
            held.add(charge.id)
            receipt = ledger.charge(conn, charge)
    except LedgerError as refusal:
        _refused(refusal, dataset)
    if not receipt.replayed:
        return _Claim(receipt.record, dataset, plan, execute=True, free=False)
    return _replayed(service, request, receipt.record, held)


def request_hash(request: wire.QueryRequest) -> bytes:
    """Return the digest that binds an idempotency key to one request."""
    return hashlib.sha256(canonical_json(request.model_dump(mode="json", exclude={"dry_run"})).encode()).digest()


def _charge_request(
    service: Service,
    principal: Principal,
    request: wire.QueryRequest,
    key: str | None,
    digest: bytes,
    dataset: Dataset,
    plan: Plan,
) -> ledger.ChargeRequest:
    return ledger.ChargeRequest(
        dataset=dataset.name,
        analyst=principal.name,
        loss=plan.loss,
        price=plan.price,
        request_hash=digest,
        plan_fingerprint=plan.fingerprint,
        policy_version=dataset.version,
        data_version=dataset.data_version,
        mechanism=canonical_json(explain.record(plan, request.labels)),
        process=service.process.id,
        idempotency_key=key,
        conversion_delta=plan.conversion_delta,
    )


def _replayed(service: Service, request: wire.QueryRequest, record: Record, held: _Held) -> _Claim:
    """Return what a retry under an idempotency key finds: an outcome, a running query, or a dead process's charge.

    The plan is made anew under the versions that the charge carries, and must be the one that was charged.
    """
    charge = record.charge

    def is_dead(process: str) -> bool:
        return service.is_dead(process) or (process == service.process.id and charge.id not in _RUNNING)

    with service.control.begin() as conn:
        dataset = service.catalogue.at(conn, charge.dataset, charge.policy_version, charge.data_version)
        turn = ledger.claim_retry(conn, charge.id, process=service.process.id, is_dead=is_dead)
        if turn.turn == "taken":
            held.add(charge.id)
    plan = _plan_of(service, request, dataset, record)
    match turn.turn:
        case "settled":
            return _Claim(turn.record, dataset, plan, execute=False, free=False)
        case "taken":
            return _Claim(turn.record, dataset, plan, execute=True, free=False)
        case "lost":
            _settle(service, record, None)
            return _Claim(_reread(service, record), dataset, plan, execute=False, free=False)
        case "running":
            raise Conflict(
                "query-running", "That request is still running.", hint="Send it again, with the same key, in a moment."
            )


def _plan_of(service: Service, request: wire.QueryRequest, dataset: Dataset, record: Record) -> Plan:
    gaussian = record.charge.loss.epsilon is None
    plan = compile_query(price.question(request, dataset, service.settings, gaussian=gaussian), dataset)
    if plan.fingerprint != record.charge.plan_fingerprint:
        raise Conflict("plan-changed", "This version of the gateway plans that request otherwise than it was charged.")
    return plan


def _execute(service: Service, claim: _Claim) -> None:
    """Run the bounded SQL, draw noise and settle; a failure of any kind is the constant one, and suspends.

    The one refund: the database could not be reached, or is not the one that the policy was applied to, so that no
    statement of the request was handed to it.
    """
    handed = False
    try:
        limits = Limits(service.settings.statement_seconds, service.settings.engine_memory)
        with service.engine(claim.dataset).session(limits) as session:
            _same_shapes(claim, session.schema([table for found in claim.plan.releases for table in found.tables]))
            handed = True
            payload = encode([release(planned, session.fetch(planned.sql)) for planned in claim.plan.releases])
    except Exception as error:
        if isinstance(error, EngineUnavailable) and not handed and claim.record.retaken_by is None:
            _void(service, claim.record, error)
        log.exception("execution of charge %s failed", claim.record.charge.id)
        _settle(service, claim.record, None)
        return
    _settle(service, claim.record, payload)


def _same_shapes(claim: _Claim, found: object) -> None:
    """Refuse to read tables that are no longer as ``dataset apply`` found them: a fact must be enforced now."""
    known = dict(claim.dataset.shapes)
    for planned in claim.plan.releases:
        for table in planned.tables:
            if not isinstance(found, dict) or found.get(table) != known.get(table):
                raise EngineUnavailable(f"table {table} is no longer as it was when the policy was applied")


def _void(service: Service, record: Record, error: EngineError) -> NoReturn:
    log.error("charge %s is taken back: %s", record.charge.id, error)
    with service.control.begin() as conn:
        ledger.void(conn, record.charge.id, process=service.process.id, reason="the database was not reached")
    raise Unavailable(
        "engine-unavailable", "The database of this dataset cannot be used now.", hint="Nothing was charged."
    ) from None


def _settle(service: Service, record: Record, payload: bytes | None) -> None:
    """Persist a charge's one outcome and COMMIT; after a failure the analyst is suspended in the same transaction."""
    charge = record.charge
    with service.control.begin() as conn:
        if payload is not None:
            ledger.settle(conn, charge.id, "answered", payload)
            return
        settlement = ledger.settle(conn, charge.id, "failed", b"")
        if settlement.won and service.settings.suspend_on_failure:
            suspensions.suspend(
                conn, charge.dataset, charge.analyst, actor=SUSPENDER, reason="execution failed", charge=charge.id
            )


def _reread(service: Service, record: Record) -> Record:
    with service.reads.connect() as conn:
        return records.get(conn, record.charge.id)


def _answered(service: Service, principal: Principal, request: wire.QueryRequest, claim: _Claim) -> wire.QueryResponse:
    """Post-process the outcome that stands and send it, or the constant failure; nothing while suspended."""
    with service.reads.connect() as conn:
        record = records.get(conn, claim.record.charge.id)
        standing = _standing(conn, claim.dataset, principal)
    if record.outcome is None or record.outcome.status != "answered":
        raise ExecutionFailed(query_id=record.charge.id)
    if standing.suspended:
        _refused(LedgerSuspended(), claim.dataset)
    tables = decode(claim.plan, record.outcome.payload)
    try:
        found = compose(claim.plan, tables, service.sandbox, request.confidence, service.settings.released_groups)
    except Exception:
        log.exception("post-processing of charge %s failed", record.charge.id)
        raise PostProcessingFailed(query_id=record.charge.id) from None
    response = _response(claim.dataset, claim.plan, standing)
    free = claim.free
    return response.model_copy(
        update={
            "query_id": record.charge.id,
            "rows": found.rows,
            "intervals": found.intervals,
            "warnings": found.warnings,
            "cached": free,
            "dry_run": False,
            "cost": _nothing(response.cost) if free else response.cost,
        }
    )


class PostProcessingFailed(DiscreetError):
    """The noisy tables stand and are paid for, but what was to be computed from them took too long or too much."""

    status = 422
    charged = True

    def __init__(self, *, query_id: str) -> None:
        super().__init__(
            "post-processing-failed",
            "The noisy results could not be combined as asked, within the limits.",
            hint="Ask for less above the aggregates; the same aggregates are already paid for.",
            query_id=query_id,
        )


def _nothing(cost: wire.Cost) -> wire.Cost:
    return wire.Cost(epsilon=0.0, rho=0.0, delta=0.0, pure=cost.pure, items=[])


def _response(dataset: Dataset, plan: Plan, standing: Balance) -> wire.QueryResponse:
    """Return the response of a dry run, which a real one fills in."""
    return wire.QueryResponse(
        query_id=None,
        columns=explain.columns(plan),
        rows=[],
        intervals={},
        cost=explain.cost(plan),
        budget=shown(standing, dataset.per_query.delta),
        cached=False,
        dry_run=True,
        plan=explain.explain(plan),
        warnings=list(plan.notes),
    )


def _refused(refusal: LedgerError, dataset: Dataset) -> NoReturn:
    """Raise the ledger's refusal as the client sees it."""
    match refusal:
        case NoGrant():
            raise Forbidden("no-grant", f"You hold no grant on dataset {dataset.name}.") from None
        case LedgerSuspended():
            raise Forbidden(
                "suspended",
                "A query of yours failed on this dataset; an administrator has to clear that first.",
            ) from None
        case GaussianRefused():
            raise Forbidden("gaussian-refused", "Your grant, or the dataset's cap, admits no Gaussian noise.") from None
        case LedgerExhausted(required=required, remaining=remaining):
            raise BudgetExhausted(
                "budget-exhausted",
                "The price does not fit what remains of your budget or of the dataset's.",
                hint="Ask at a lower epsilon, or ask an administrator.",
                epsilon_required=required / EPSILON_UNIT,
                epsilon_remaining=remaining / EPSILON_UNIT,
            ) from None
        case KeyReused():
            raise Conflict(
                "idempotency-key-reused", "That Idempotency-Key belongs to another request.", hint="Use a new one."
            ) from None
    raise Unavailable("ledger-busy", "The ledger could not take the charge; nothing was charged.") from None
