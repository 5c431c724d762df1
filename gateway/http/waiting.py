"""How long a client waits for a question, and what it is told where that is not long enough (RFC 7240, 202)."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final

from fastapi import Depends, Header
from starlette.requests import Request
from starlette.responses import Response

from gateway.http.formats import FORMATS
from gateway.http.jobs import Jobs
from gateway.settings import Settings
from gateway.wire import Submitted

LONGEST: Final = 600.0
"""Seconds that a client may have a request held open, whatever it prefers."""

RENDERED: Final[dict[str, Any]] = {
    "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in FORMATS[1:]}
}
LATER: Final[dict[str, Any]] = {
    "model": Submitted,
    "description": "The question goes on; `Location` is where its answer will be.",
    "headers": {"Location": {"description": "Where to ask for it.", "schema": {"type": "string"}}},
}


async def _preferred(
    prefer: Annotated[
        str | None,
        Header(
            description="`wait=N`: 202 after N seconds; `respond-async`: at once, or after N seconds if both are said."
        ),
    ] = None,
) -> float | None:
    found: float | None = None
    at_once = False
    for each in (prefer or "").split(","):
        name, _, value = (word.strip().lower() for word in each.partition(";")[0].partition("="))
        value = value.strip('"')
        if name == "wait" and found is None and value.isascii() and value.isdigit():
            found = float(value[:6])
        at_once = at_once or name == "respond-async"
    return found if found is not None else 0.0 if at_once else None


Preferred = Annotated[float | None, Depends(_preferred)]
"""How long the client prefers to wait, in seconds; None where it does not say."""


def patience(preferred: float | None, settings: Settings, unasked: float) -> float:
    """Return how long a request waits, in seconds: as its client prefers, at a multiple of the quantum.

    Why a multiple: whether a question had ended by another instant would tell when it ended more finely.
    """
    seconds = min(unasked if preferred is None else preferred, LONGEST)
    quantum = settings.latency_quantum_ms / 1000
    return math.ceil(seconds / quantum) * quantum if quantum else seconds


def later(query_id: str) -> Response:
    """Return what a client is told whose question goes on."""
    body = Submitted(query_id=query_id, status="running").model_dump_json()
    return Response(body, 202, {"Location": f"/v1/queries/{query_id}"}, "application/json")


def jobs_of(request: Request) -> Jobs:
    """Return the application's questions."""
    jobs: Jobs = request.app.state.jobs
    return jobs
