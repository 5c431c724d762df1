"""``POST /v1/query``, and the caller's own queries, datasets and budgets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Path, Query
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from budget import balance, records
from budget.errors import NoGrant
from gateway.admin.budgets import budgets_of
from gateway.auth.principal import Principal
from gateway.catalogue import describe, unknown
from gateway.errors import NotFound
from gateway.http.entry import SCHEME, Caller, Guarded, Services
from gateway.http.formats import FORMATS, negotiate, render
from gateway.http.openapi import problems
from gateway.http.problems import HttpError
from gateway.quantum import shows
from gateway.service import Service
from gateway.wire import Budget, DatasetInfo, QueryRequest, QueryResponse, QuerySummary
from mechanisms.loss import DELTA_UNIT, EPSILON_UNIT, RHO_UNIT

Answer = Callable[[Service, Principal, QueryRequest, str | None], QueryResponse]
"""The conductor: ``gateway.query.answer``. Synchronous, safe in threads, raises the errors of ``gateway/errors.py``."""

MICROSECONDS: Final = 1_000_000

router = APIRouter(
    prefix="/v1", route_class=Guarded, dependencies=[Depends(SCHEME)], responses=problems(401, 403, 500, 503)
)

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[!-~]+$",
        description="One key gets one answer at one price, however often it is sent.",
    ),
]
DatasetName = Annotated[str, Path(min_length=1, max_length=200)]


@router.post(
    "/query",
    summary="Ask one question at a price",
    response_model=QueryResponse,
    responses=problems(400, 404, 406, 409, 413, 415, 422, 429)
    | {200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in FORMATS[1:]}}},
)
async def query(
    request: Request, body: QueryRequest, caller: Caller, services: Services, idempotency_key: Key = None
) -> Response:
    """Charge the price to the caller's budget, and return the noisy answer; a dry run returns the plan at no price."""
    service, threads = services
    wanted = negotiate(request.headers.getlist("accept"))
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise HttpError(422, "idempotency-key-invalid", hint="Send it once.")
    if service.faults and await threads.control(service.readiness.look):
        raise HttpError(503, "not-ready")
    answer: Answer = request.app.state.answer
    return await threads.query(
        caller.name,
        lambda: render(answer(service, caller, body, idempotency_key), wanted),
        dry_run=body.dry_run,
    )


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


@router.get("/queries/{query_id}", summary="Show one of one's own charges", responses=problems(404, 422))
async def query_by_id(
    query_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$")], caller: Caller, services: Services
) -> QuerySummary:
    """Show one of the caller's own charges; another's looks like none."""
    service, threads = services

    def read() -> QuerySummary:
        with service.reads.connect() as conn:
            record = records.find(conn, query_id)
            if record is None or record.charge.analyst != caller.name:
                raise NotFound("query-unknown", "There is no such query of yours.")
            return _summary(conn, record, service.settings.latency_quantum_ms)

    return await threads.control(read)


@router.get("/datasets", summary="List the datasets on which one has a grant")
async def datasets(caller: Caller, services: Services) -> list[DatasetInfo]:
    """List the caller's datasets: tables, columns, bounds, declared values; never data."""
    service, threads = services

    def read() -> list[DatasetInfo]:
        with service.reads.connect() as conn:
            names = [name for name, _ in balance.all_of(conn, None, caller.name)]
            return [describe(service.catalogue.current(conn, name)) for name in names]

    return await threads.control(read)


@router.get("/datasets/{name}", summary="Show one dataset", responses=problems(404, 422))
async def dataset_by_name(name: DatasetName, caller: Caller, services: Services) -> DatasetInfo:
    """Show one of the caller's datasets; one without a grant looks like none."""
    service, threads = services

    def read() -> DatasetInfo:
        with service.reads.connect() as conn:
            _granted(conn, name, caller)
            return describe(service.catalogue.current(conn, name))

    return await threads.control(read)


@router.get("/budget", summary="Show what remains", responses=problems(404, 422))
async def budget(
    caller: Caller, services: Services, dataset: Annotated[str | None, Query(max_length=200)] = None
) -> list[Budget]:
    """Show what the caller was granted, has spent and has left: on every dataset, or on one."""
    service, threads = services

    def read() -> list[Budget]:
        with service.reads.connect() as conn:
            if dataset is not None:
                _granted(conn, dataset, caller)
            return budgets_of(conn, service.catalogue, dataset, caller.name)

    return await threads.control(read)


def _granted(conn: Connection, dataset: str, caller: Principal) -> None:
    """Return if the caller has a grant; otherwise the dataset looks like one that does not exist."""
    if "\0" in dataset or not balance.all_of(conn, dataset, caller.name):
        raise unknown(dataset)


def _summary(conn: Connection, record: records.Record, quantum_ms: int) -> QuerySummary:
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
    )


def iso(microseconds: int) -> str:
    """Return a time of the control database as text (ISO 8601, UTC)."""
    return datetime.fromtimestamp(microseconds // MICROSECONDS, UTC).isoformat().replace("+00:00", "Z")
