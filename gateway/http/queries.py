"""``/v1/queries``: the caller's own charges, the answer of one, and its end before its time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Final, Literal, TypeAlias

from fastapi import APIRouter, Depends, Path, Query
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from budget import balance, records, suspensions
from budget.errors import NoGrant
from budget.errors import Suspended as LedgerSuspended
from budget.records import Record
from gateway import query as conductor
from gateway.asked import asked, labels
from gateway.auth.principal import Principal
from gateway.errors import AnswerDeleted, Conflict, DiscreetError, ExecutionFailed, NotFound, Unavailable
from gateway.executing import abandoned
from gateway.http.ask import iso
from gateway.http.entry import SCHEME, Caller, Guarded, Services
from gateway.http.formats import Format, negotiate, render
from gateway.http.jobs import Found, Job
from gateway.http.openapi import problems
from gateway.http.waiting import LATER, RENDERED, Preferred, jobs_of, later, patience
from gateway.quantum import shows, wait
from gateway.refused import refused
from gateway.service import Service
from gateway.submission import Submission
from gateway.wire import QueryRequest, QueryResponse, QuerySummary
from mechanisms.loss import DELTA_UNIT, EPSILON_UNIT, RHO_UNIT

router = APIRouter(
    prefix="/v1", route_class=Guarded, dependencies=[Depends(SCHEME)], responses=problems(401, 403, 500, 503)
)

QueryId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]

State: TypeAlias = Literal["unknown", "running", "abandoned", "settled"]

_UNKNOWN: Final = ("query-unknown", "There is no such query of yours.")


@router.get("/queries", summary="List one's own charges, newest first", responses=problems(422))
async def queries(
    caller: Caller,
    services: Services,
    dataset: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[QuerySummary]:
    """List the caller's own charges and what became of them."""
    service, threads = services

    def read() -> list[QuerySummary]:
        with service.reads.connect() as conn:
            found = records.of_analyst_on(conn, caller.name, dataset, limit)
            return [_summary(conn, record, service.settings.latency_quantum_ms) for record in found]

    return await threads.control(read)


@router.get(
    "/queries/{query_id}",
    summary="Fetch the answer of one of one's own queries",
    response_model=QueryResponse,
    responses=problems(404, 406, 409, 410, 422, 429) | {200: RENDERED, 202: LATER},
)
async def query_by_id(
    request: Request, query_id: QueryId, caller: Caller, services: Services, preferred: Preferred
) -> Response:
    """Return the answer as it was or would have been sent to who asked, or the constant failure; 202 while it runs.

    Another's query looks like none. With `Prefer: wait=N` the end is waited for.
    """
    service, threads = services
    wanted = negotiate(request.headers.getlist("accept"))
    jobs = jobs_of(request)
    job = jobs.find(query_id, caller.name)
    quantum = service.settings.latency_quantum_ms / 1000
    waits = patience(preferred, service.settings, 0.0)
    record, state = await threads.control(lambda: _state(service, caller, query_id))
    if job is not None and state in ("unknown", "running"):
        if not await job.within(job.patience(waits, quantum)):
            return later(query_id)
        if waits:
            await asyncio.sleep(max(job.wait(quantum), 0.0))
        record, state = await threads.control(lambda: _state(service, caller, query_id))
    if record is not None and state == "running" and record.outcome is not None and waits:
        # The charge is later than the submission, and its multiples are the ledger's.
        await asyncio.sleep(max(wait(record, service.settings.latency_quantum_ms), 0.0))
        record, state = await threads.control(lambda: _state(service, caller, query_id))
    if record is None:
        return await threads.recall(caller.name, lambda: _unwritten(service, caller, job, quantum, query_id, wanted))
    if state == "running":
        return later(query_id)
    wants = None if job is None else job.request
    if state == "settled":
        return await threads.recall(caller.name, lambda: render(_settled(service, caller, record, wants), wanted))
    if wants is None:
        raise Conflict(
            "query-abandoned",
            "The gateway that answered that query is gone.",
            hint="Send the question again, with the same Idempotency-Key: it is not charged again.",
        )
    submission = Submission(query_id)
    work = _once_more(service, caller, record, wants, wanted, submission)
    going = threads.query(caller.name, work, dry_run=False, began=submission.began)
    again = jobs.start(submission, caller.name, wants, going)
    again.late = True
    return later(query_id)


@router.delete(
    "/queries/{query_id}",
    summary="Cancel one of one's own queries",
    status_code=204,
    response_class=Response,
    responses=problems(404, 409, 422),
)
async def cancel(request: Request, query_id: QueryId, caller: Caller, services: Services) -> Response:
    """End a query that runs: what was charged stays charged, and its outcome is the constant failure.

    One that has ended stays as it is; what is answered here is the same.
    """
    service, threads = services
    jobs = jobs_of(request)
    job = jobs.find(query_id, caller.name)
    if job is not None:
        await jobs.cancel(job, service.settings.latency_quantum_ms / 1000)
        return Response(status_code=204)

    _, state = await threads.control(lambda: _state(service, caller, query_id))
    match state:
        case "unknown":
            raise NotFound(*_UNKNOWN)
        case "settled":
            return Response(status_code=204)
        case _:
            raise Conflict("query-elsewhere", "Another gateway answers that query, or did until it ended.")


def _state(service: Service, caller: Principal, query_id: str) -> tuple[Record | None, State]:
    """Return a charge of the caller's own and what may be seen of it; refused while its outcome is withheld."""
    with service.reads.connect() as conn:
        record = records.find(conn, query_id)
        if record is None or record.charge.analyst != caller.name:
            return None, "unknown"
        conductor.withhold(conn, caller, record)
    if abandoned(service, record):
        with service.reads.connect() as conn:
            record = records.get(conn, query_id)  # it may have come to its end just before nobody worked at it any more
            conductor.withhold(conn, caller, record)
        if record.outcome is None:
            return record, "abandoned"
    if record.outcome is None or not shows(record, service.settings.latency_quantum_ms):
        return record, "running"
    return record, "settled"


def _settled(service: Service, caller: Principal, record: Record, wants: QueryRequest | None) -> QueryResponse:
    """Return what was answered, or the failure that stands in its place."""
    assert record.outcome is not None
    wants = wants or asked(record)
    match record.outcome.status:
        case "failed":
            raise ExecutionFailed(query_id=record.charge.id)
        case "void":
            raise Unavailable("engine-unavailable", "The database could not be reached.", hint="Nothing was charged.")
        case "answered" if record.outcome.payload is None:
            raise AnswerDeleted(query_id=record.charge.id)
        case "answered" if wants is None:
            raise Conflict(
                "query-unreadable",
                "What was asked is not kept with that answer.",
                hint="Ask the same question again: what is yours already is given at no charge.",
            )
    assert wants is not None
    return conductor.recall(service, caller, wants, record, Submission())


def _once_more(
    service: Service, caller: Principal, record: Record, wants: QueryRequest, wanted: Format, submission: Submission
) -> Callable[[], Found]:
    """Return the one more execution that a charge gets whose thread was lost."""

    def work() -> Found:
        if service.readiness.look():
            raise Unavailable("not-ready", "The gateway is not ready to answer.")
        with service.slots.hold(caller.name, submission.began):
            found = conductor.recall(service, caller, wants, record, submission)
        return found, render(found, wanted)

    return work


def _unwritten(
    service: Service, caller: Principal, job: Job | None, quantum: float, query_id: str, wanted: Format
) -> Response:
    """Return what a question came to that has no charge of its own in the ledger."""
    if job is None or (job.found is None and job.error is None):
        raise NotFound(*_UNKNOWN)
    if job.wait(quantum) > 0:
        return later(query_id)
    charged = job.error.extra.get("query_id") if isinstance(job.error, DiscreetError) else None
    with service.reads.connect() as conn:
        dataset, analyst = job.request.dataset, caller.name
        try:
            suspended = balance.of(conn, dataset, analyst).suspended
        except NoGrant:
            suspended = False  # nothing was told then, and nothing is withheld now
        if suspended and (charged is None or suspensions.cause(conn, dataset, analyst) != charged):
            refused(LedgerSuspended(), dataset)
        if job.found is not None and job.found[0].query_id is not None:
            held = records.find(conn, job.found[0].query_id)
            if held is not None and held.outcome is not None and held.outcome.payload is None:
                raise AnswerDeleted(query_id=held.charge.id)  # given at no charge then, it is nobody's any more
    if job.error is not None:
        raise job.error
    assert job.found is not None
    return render(job.found[0], wanted)


def _summary(conn: Connection, record: Record, quantum_ms: int) -> QuerySummary:
    """Return a charge for showing.

    Why a suspended analyst is not told what became of any: whether other queries failed as well would be bits beyond
    the one that the suspension is for (DESIGN section 1).
    """
    charge = record.charge
    try:
        withheld = balance.of(conn, charge.dataset, charge.analyst).suspended
    except NoGrant:
        withheld = True
    settled = "running" if record.outcome is None or not shows(record, quantum_ms) else record.outcome.status
    return QuerySummary(
        query_id=charge.id,
        dataset=charge.dataset,
        charged_at=iso(charge.at),
        status="withheld" if withheld else settled,
        epsilon=charge.price / EPSILON_UNIT,
        rho=charge.loss.rho / RHO_UNIT,
        delta=charge.loss.delta / DELTA_UNIT,
        pure=charge.loss.epsilon is not None,
        policy_version=charge.policy_version,
        data_version=charge.data_version,
        labels=labels(record),
    )
