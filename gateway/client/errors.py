"""What can go wrong between a client and its gateway, as a tree; each error carries the gateway's problem document.

GatewayError
├── QueryRefused        not answered, nothing charged: the SQL or the price is not admitted (with position and hint)
├── BudgetExhausted     the price does not fit: ``required`` and ``remaining``
├── NotAuthorized       no valid token, no grant, a suspension, or another role is needed
├── NotFound            no such dataset or query
├── Conflict            an idempotency key used again for another request, or a plan that has changed
├── QueryFailed         charged, and it stays charged: the query could not be completed
├── Unavailable         nothing was answered after all retries: too many requests, or the gateway is out of reach
└── ServerError         an answer that no gateway of this version gives
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import httpx
from pydantic import ValidationError

from gateway.client.caret import caret, visible
from gateway.client.display import number
from gateway.wire import Problem


class GatewayError(Exception):
    """An error of the gateway: ``code`` is stable, ``detail`` one sentence, ``hint`` what to do instead.

    ``idempotency_key`` is the key under which a failed question was sent, for asking again at one price.
    """

    def __init__(self, problem: Problem, *, sql: str | None = None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.code = problem.code
        self.status = problem.status
        self.detail = problem.detail
        self.hint = problem.hint
        self.charged = problem.charged
        self.sql = sql
        self.idempotency_key: str | None = None

    @property
    def position(self) -> tuple[int, int] | None:
        """Line and column in the SQL, both from 1, where the gateway names a place."""
        place = self.problem.sql_position or {}
        return (place["line"], place["column"]) if {"line", "column"} <= place.keys() else None

    def __str__(self) -> str:
        extra = self.problem.model_extra or {}
        return describe(self.code, self.detail, hint=self.hint, sql=self.sql, position=self.position, extra=extra)


class QueryRefused(GatewayError):
    """Not answered and not charged; ``position`` says where in the SQL, ``hint`` what would be accepted."""


class BudgetExhausted(GatewayError):
    """The price does not fit what remains of the grant or of the dataset's cap."""

    @property
    def required(self) -> float | None:
        """The epsilon that the request would have cost."""
        return _number(self.problem.model_extra or {}, "epsilon_required")

    @property
    def remaining(self) -> float | None:
        """The largest epsilon that would be admitted now."""
        return _number(self.problem.model_extra or {}, "epsilon_remaining")


class NotAuthorized(GatewayError):
    """The token, the role, the grant or a suspension stands against the request."""


class NotFound(GatewayError):
    """The gateway knows nothing of that name, or does not show it to this analyst."""


class Conflict(GatewayError):
    """The request contradicts an earlier one."""


class QueryFailed(GatewayError):
    """The price was charged and stays charged; asking again under the same idempotency key fails the same way."""


class Unavailable(GatewayError):
    """No answer after all retries; asking again under the same idempotency key costs nothing more."""


class ServerError(GatewayError):
    """The gateway failed in a way that it should not, or something that is no gateway answered."""


def describe(
    code: str,
    detail: str,
    *,
    hint: str | None = None,
    sql: str | None = None,
    position: tuple[int, int] | None = None,
    extra: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """Return an error as a person reads it: the sentence with its code, the place under its SQL line, the hint.

    Of ``extra``, the members of the problem document that only some have, what a price lacks is shown.
    """
    lines = [f"{visible(detail)} [{visible(code)}]"]
    pointed = caret(sql, *position) if sql is not None and position is not None else None
    if pointed is not None and position is not None:
        lines.append(f"line {position[0]}, column {position[1]}:")
        lines.extend(f"  {line}" for line in pointed.split("\n"))
    required, remaining = _number(extra, "epsilon_required"), _number(extra, "epsilon_remaining")
    if required is not None and remaining is not None:
        lines.append(f"required ε = {number(required)}, remaining ε = {number(remaining)}")
    if hint:
        lines.append(f"hint: {visible(hint)}")
    return "\n".join(lines)


def from_response(response: httpx.Response, sql: str | None = None) -> GatewayError:
    """Return the typed error that an HTTP response of 400 or above stands for."""
    problem = _problem(response)
    return _class(problem)(problem, sql=sql)


def out_of_reach(cause: Exception) -> Unavailable:
    """Return the error of a gateway that could not be reached, named by the kind of failure alone."""
    return Unavailable(
        Problem(
            type="about:blank",
            title="Out of reach",
            status=0,
            code="gateway-unreachable",
            detail=f"The gateway could not be reached ({type(cause).__name__}).",
            hint="Check the URL; under the same idempotency key, an answer already paid for is not paid again.",
        )
    )


def _class(problem: Problem) -> type[GatewayError]:
    if problem.charged:
        return QueryFailed
    if problem.code == "budget-exhausted":
        return BudgetExhausted
    match problem.status:
        case 401 | 403:
            return NotAuthorized
        case 404:
            return NotFound
        case 409:
            return Conflict
        case 429 | 502 | 503 | 504:
            return Unavailable
        case status if 400 <= status < 500:
            return QueryRefused
        case _:
            return ServerError


def _problem(response: httpx.Response) -> Problem:
    try:
        body = response.json()
        if isinstance(body, Mapping):
            return Problem.model_validate({**body, "status": response.status_code})
    except (ValueError, ValidationError):
        pass  # a proxy's page, or nothing: the status says what is known
    return Problem(
        type="about:blank",
        title=response.reason_phrase or "Error",
        status=response.status_code,
        code=f"http-{response.status_code}",
        detail=f"The server answered {response.status_code} without a problem document.",
        hint="Check that the URL is a gateway's.",
    )


def _number(extra: Mapping[str, Any], name: str) -> float | None:
    value = extra.get(name)
    return float(value) if isinstance(value, int | float) else None
