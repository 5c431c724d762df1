"""``POST /v1/query``, and the caller's own datasets and budgets."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Path, Query
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from budget import balance
from gateway.admin.budgets import budgets_of
from gateway.auth.principal import Principal
from gateway.catalogue import describe, unknown
from gateway.http.entry import SCHEME, Caller, Guarded, Services
from gateway.http.formats import negotiate, render
from gateway.http.jobs import Found
from gateway.http.openapi import problems
from gateway.http.problems import HttpError
from gateway.http.waiting import LATER, RENDERED, Preferred, jobs_of, later, patience
from gateway.service import Service
from gateway.submission import Submission
from gateway.wire import Budget, DatasetInfo, QueryRequest, QueryResponse

Answer = Callable[[Service, Principal, QueryRequest, str | None, Submission | None], QueryResponse]
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
    responses=problems(400, 404, 406, 409, 413, 415, 422, 429) | {200: RENDERED, 202: LATER},
)
async def query(
    request: Request,
    body: QueryRequest,
    caller: Caller,
    services: Services,
    preferred: Preferred,
    idempotency_key: Key = None,
) -> Response:
    """Charge the price to the caller's budget, and return the noisy answer; a dry run returns the plan at no price.

    What takes longer than the setting `answer_within_seconds`, or than the client prefers to wait, is answered 202,
    and goes on.
    """
    service, threads = services
    wanted = negotiate(request.headers.getlist("accept"))
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise HttpError(422, "idempotency-key-invalid", hint="Send it once.")
    if service.faults and await threads.control(service.readiness.look):
        raise HttpError(503, "not-ready")
    answer: Answer = request.app.state.answer
    jobs = jobs_of(request)
    submission = Submission(began=getattr(request.state, "began", time.monotonic()))

    def work() -> Found:
        found = answer(service, caller, body, idempotency_key, submission)
        return found, render(found, wanted)

    going = threads.query(caller.name, work, dry_run=body.dry_run, began=submission.began)
    job = jobs.start(submission, caller.name, body, going)
    settings = service.settings
    waits = None if body.dry_run else patience(preferred, settings, settings.answer_within_seconds)
    if not await job.within(waits):
        job.late = True
        return later(submission.id)
    if job.error is not None:
        raise job.error
    if job.found is None:
        raise HttpError(503, "not-ready")  # the gateway stops
    return job.found[1]


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


def iso(microseconds: int) -> str:
    """Return a time of the control database as text (ISO 8601, UTC)."""
    return datetime.fromtimestamp(microseconds // MICROSECONDS, UTC).isoformat().replace("+00:00", "Z")
