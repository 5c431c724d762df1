"""What surrounds every request: body limit, latency quantum, security headers, the last net, the access log.

Pure ASGI, outside the framework, so that it holds for every outcome: the framework's own errors are quantised and
dressed like any other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.problems import HttpError, internal, response
from gateway.observe import Metrics, fields
from gateway.quantum import left
from gateway.settings import Settings

access = logging.getLogger("discreet.access")

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_QUANTISED: Final = ("/v1/query", "/v1/queries")
_OTHER: Final = "(none)"


class Guard:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, *, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._limit = settings.request_bytes
        self._quantum = settings.latency_quantum_ms / 1000
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        quantum = self._quantum if scope["path"].startswith(_QUANTISED) else 0.0
        status: int | None = None
        scope.setdefault("state", {})["began"] = began  # a query's own multiples are those of its request

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(HEADERS)
                # How long a query took may tell of data; what shows is in which quantum it ended (DESIGN section 5).
                await asyncio.sleep(left(began, quantum))
            await send(message)

        try:
            if _declared(scope) > self._limit:
                await response(_too_large())(scope, receive, dressed)
            else:
                await self._app(scope, _limited(receive, self._limit), dressed)
        except Exception as error:
            if status is not None:
                raise  # the answer has begun: the server can only break it off
            await response(internal(error))(scope, receive, dressed)
        finally:
            self._note(scope, status, time.monotonic() - began)

    def _note(self, scope: Scope, status: int | None, seconds: float) -> None:
        """Log and count a request: by the route's template, since a path may hold names."""
        route = str(getattr(scope.get("route"), "path", _OTHER))
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        principal = scope.get("state", {}).get("principal")
        said = {
            "method": method,
            "route": route,
            "status": status,
            "seconds": round(seconds, 4),
            "principal": getattr(principal, "name", None),
        }
        access.info("request", extra=fields(**said))
        self._metrics.observe(method, route, status or 0, seconds)


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


def _declared(scope: Scope) -> int:
    """Return the length that the request declares for its body; 0 where it declares none (then it is counted)."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 20 else 2**63
    return 0


def _limited(receive: Receive, limit: int) -> Receive:
    """Return a reader that counts, for bodies that come in chunks: what is beyond the limit is never gathered."""
    read = 0

    async def counted() -> Message:
        nonlocal read
        message = await receive()
        if message["type"] == "http.request":
            read += len(message.get("body", b""))
            if read > limit:
                # The framework's own exception, since it lets no other pass unchanged while it reads a body.
                raise HTTPException(413)
        return message

    return counted


def _too_large() -> HttpError:
    return HttpError(413, "body-too-large", hint="The setting request_bytes holds the limit.")
