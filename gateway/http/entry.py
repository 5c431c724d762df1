"""How a request enters: who asks is settled before its body is read; work that blocks runs in threads."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Annotated, Any, Final, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import Depends
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from sqlalchemy.exc import DataError, SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response

from gateway.auth.authenticate import Claimed, authenticate, claimed, of_provider
from gateway.auth.principal import Principal
from gateway.errors import Unauthenticated, Unavailable
from gateway.http.problems import HttpError
from gateway.service import Service
from gateway.slots import Slots

log = logging.getLogger("discreet.http")

Result = TypeVar("Result")
Handler = Callable[[Request], Coroutine[Any, Any, Response]]

SCHEME: Final = HTTPBearer(
    auto_error=False, description="A token of `discreet token issue`, or of the identity provider."
)
"""Declares the token in the OpenAPI document; ``Guarded`` verifies it."""

CONTROL_THREADS: Final = 16
FILE_THREADS: Final = 1
"""Who asks is looked up at every request, in a moment. In a file more threads look up no more in the same time, and
take the interpreter from each other (``gateway.turns``); of a server's answers many can be waited for at once.
"""
PROVIDER_THREADS: Final = 4
PLAN_THREADS: Final = 8
"""Dry runs touch no data and end soon: they do not wait behind queries."""

PLACES_A_THREAD: Final = 8
"""Queries that may be here, as a multiple of those that may run: the others wait, in the order in which they came."""


class Threads:
    """Sets of threads: queries, which may take long, never keep out who asks for anything else.

    Before a query waits for a thread it takes a place: one analyst's, dry runs included, cannot fill the queue.
    ``server`` says whether the control database is one.
    """

    def __init__(self, *, per_analyst: int, in_all: int, quantum: float = 0.0, server: bool = False) -> None:
        self._control = CapacityLimiter(CONTROL_THREADS)
        self._identity = CapacityLimiter(CONTROL_THREADS if server else FILE_THREADS)
        self._provider = CapacityLimiter(PROVIDER_THREADS)
        # As many as may be in flight: one more waits here for its turn, where it would be refused inside.
        self._queries = CapacityLimiter(in_all)
        self._plans = CapacityLimiter(PLAN_THREADS)
        self._places = Slots(per_analyst=per_analyst, in_all=in_all * PLACES_A_THREAD, quantum=quantum)
        self._seats = Slots(per_analyst=per_analyst, in_all=in_all * PLACES_A_THREAD)

    async def control(self, work: Callable[[], Result]) -> Result:
        """Run something that reads or writes the control database; 503 if that cannot be reached."""
        return await anyio.to_thread.run_sync(partial(_reachable, work), limiter=self._control)

    async def identity(self, work: Callable[[], Result]) -> Result:
        """Look up who asks, in the control database; 503 if that cannot be reached."""
        return await anyio.to_thread.run_sync(partial(_reachable, work), limiter=self._identity)

    async def provider(self, work: Callable[[], Result]) -> Result:
        """Run something that may wait for the identity provider: when that hangs, own tokens still are verified."""
        return await anyio.to_thread.run_sync(work, limiter=self._provider)

    async def query(self, analyst: str, work: Callable[[], Result], *, dry_run: bool, began: float) -> Result:
        """Run a query that was submitted then; 429 if too many wait. It is never broken off half-way: who hangs up
        finds the outcome later.
        """
        with self._places.hold(analyst, began, told=dry_run):
            limiter = self._plans if dry_run else self._queries
            return await anyio.to_thread.run_sync(partial(_reachable, work), limiter=limiter)

    async def recall(self, analyst: str, work: Callable[[], Result]) -> Result:
        """Run the reading of an answer that stands, which keeps no question of the same analyst out; 429 as above."""
        with self._seats.hold(analyst):
            return await anyio.to_thread.run_sync(partial(_reachable, work), limiter=self._plans)


def _reachable(work: Callable[[], Result]) -> Result:
    """Return what the work returns; 503 if the control database fails, full or not to be written included.

    Why nothing is charged then: whatever fails after a charge is turned into `outcome-unknown` where it happens.
    """
    try:
        return work()
    except DataError as error:
        # A text that the database cannot hold (PostgreSQL: a NUL) names nothing in it.
        raise HttpError(422, "request-invalid") from error
    except SQLAlchemyError as error:
        log.error("the control database failed", exc_info=error)
        raise Unavailable("control-unavailable", "The control database cannot be reached; nothing was done.") from error


def service_of(request: Request) -> Service:
    """Return the service that the application was made for."""
    service: Service = request.app.state.service
    return service


def threads_of(request: Request) -> Threads:
    """Return the application's threads."""
    threads: Threads = request.app.state.threads
    return threads


async def _caller(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


Caller = Annotated[Principal, Depends(_caller)]
"""Who is asking; ``Guarded`` has proven it."""


async def _services(request: Request) -> tuple[Service, Threads]:
    return service_of(request), threads_of(request)


Services = Annotated[tuple[Service, Threads], Depends(_services)]
"""What a route works with."""


class StrictRequest(Request):
    """A request whose JSON names no key twice: which of two prices would have been meant?"""

    async def json(self) -> Any:
        """Return the body's JSON."""
        body = await self.body()
        try:
            found = json.loads(body, object_pairs_hook=_unique)
            if b"\\u" in body:
                # Half of a surrogate pair is no character: no database could store it, no log could write it.
                json.dumps(found, ensure_ascii=False).encode()
            return found
        except (ValueError, RecursionError) as error:
            raise json.JSONDecodeError("not JSON", "", 0) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


class Guarded(APIRoute):
    """A route that only a known principal enters, before anything of the body is read."""

    admin_only = False

    def get_route_handler(self) -> Handler:
        """Return the framework's handler behind the checks."""
        handler = super().get_route_handler()
        accepted = _media_types(self)

        async def guarded(request: Request) -> Response:
            request.state.principal = await _authenticated(request)
            if self.admin_only and request.state.principal.role != "admin":
                raise HttpError(403, "admin-only")
            _check_media_type(request, accepted)
            return await handler(StrictRequest(request.scope, request.receive))

        return guarded


class AdminOnly(Guarded):
    """A route that only an admin enters."""

    admin_only = True


async def _authenticated(request: Request) -> Principal:
    token = _bearer(request.headers.getlist("authorization"))
    service = service_of(request)

    def verified() -> Claimed | None:
        return claimed(service.verifier, token)

    def known(who: Claimed | None) -> Principal:
        with service.reads.connect() as conn:
            return authenticate(conn, token, who)

    threads = threads_of(request)
    if of_provider(service.verifier, token):
        who = await threads.provider(verified)
        return await threads.identity(lambda: known(who))
    return await threads.identity(lambda: known(verified()))


def _bearer(headers: Sequence[str]) -> str:
    scheme, _, token = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated(
            "token-missing", "The request carries no bearer token.", hint="Send Authorization: Bearer TOKEN."
        )
    return token.strip()


def _media_types(route: APIRoute) -> tuple[str, ...]:
    """Return the types of body that a route takes, from its own declaration; none if it takes no body."""
    declared = (route.openapi_extra or {}).get("requestBody", {}).get("content", {})
    return tuple(declared) or (("application/json",) if route.body_field is not None else ())


def _check_media_type(request: Request, accepted: tuple[str, ...]) -> None:
    empty = request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if accepted and not empty and kind not in accepted:
        raise HttpError(415, "media-type-unsupported", hint=f"Send {' or '.join(accepted)}.")
