"""``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import Response

from budget import schema
from gateway.errors import Unavailable
from gateway.http.entry import SCHEME, AdminOnly, Services
from gateway.http.openapi import problems
from gateway.http.problems import HttpError
from gateway.observe import Metrics
from gateway.store.engine import present
from gateway.wire import Status

router = APIRouter(responses=problems(500))
guarded = APIRouter(route_class=AdminOnly, dependencies=[Depends(SCHEME)], responses=problems(401, 403, 500, 503))


@router.get("/healthz", summary="Whether the process runs")
async def healthz() -> Status:
    """Say that the process runs."""
    return Status()


@router.get("/readyz", summary="Whether questions are answered", responses=problems(503))
async def readyz(services: Services) -> Status:
    """Say whether the control database answers and the start-up check found nothing; no data engine is asked."""
    service, threads = services

    def read() -> None:
        if not present(service.control):
            raise Unavailable("control-unavailable", "The control database cannot be reached; its file is gone.")
        with service.reads.connect() as conn:
            conn.execute(select(schema.head.c.dataset).limit(1)).all()

    if service.faults and await threads.control(service.readiness.look):
        raise HttpError(503, "not-ready")
    await threads.control(read)
    return Status()


@guarded.get(
    "/metrics",
    summary="Counters for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request, services: Services) -> Response:
    """Return the gateway's counters."""
    found: Metrics = request.app.state.metrics
    upkeep = services[0].upkeep
    return Response(found.text({} if upkeep is None else upkeep.changed), media_type="text/plain; version=0.0.4")
