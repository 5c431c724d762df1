"""The application: routes, handlers and the guard, put together around a service and a conductor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from gateway.errors import DiscreetError
from gateway.http import administer, ask, copies, grants, health, openapi, problems, queries
from gateway.http.entry import Threads
from gateway.http.guard import Guard
from gateway.http.jobs import Jobs
from gateway.observe import Metrics
from gateway.service import Service


@asynccontextmanager
async def _finishing(app: FastAPI) -> AsyncIterator[None]:
    """Let every question end before the gateway stops, also those whose request has ended."""
    yield
    await app.state.jobs.drain()


def create_app(service: Service, answer: ask.Answer) -> FastAPI:
    """Return the ASGI application of a gateway; ``answer`` is ``gateway.query.answer``, or what a test puts there."""
    app = FastAPI(
        title="Discreet",
        version=version("discreet"),
        description="A differential-privacy gateway in front of a SQL database.",
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json" if service.settings.api_docs else None,
        redirect_slashes=False,  # a redirect would carry the token along
        lifespan=_finishing,
    )
    app.state.jobs = Jobs()
    metrics = Metrics(lambda: service.slots.in_flight)
    app.state.service = service
    app.state.preparing = copies.Preparing(service)
    app.state.answer = answer
    app.state.threads = Threads(
        per_analyst=service.settings.queries_per_analyst,
        in_all=service.settings.queries_in_all,
        quantum=service.settings.latency_quantum_ms / 1000,
        server=service.control.dialect.name != "sqlite",
    )
    app.state.metrics = metrics
    for router in (
        ask.router,
        queries.router,
        administer.router,
        copies.router,
        grants.router,
        health.router,
        health.guarded,
    ):
        app.include_router(router)
    app.add_exception_handler(DiscreetError, problems.of_discreet)
    app.add_exception_handler(RequestValidationError, problems.of_validation)
    app.add_exception_handler(HTTPException, problems.of_http)
    app.add_middleware(Guard, settings=service.settings, metrics=metrics)
    app.openapi = lambda: openapi.describe(app)  # type: ignore[method-assign]
    return app
