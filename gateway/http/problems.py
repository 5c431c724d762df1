"""Errors as problem documents (RFC 9457): one shape for everything that can go wrong, and no data in any."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from gateway import wire, wire_admin
from gateway.errors import DiscreetError
from gateway.observe import fields

log = logging.getLogger("discreet.http")

MEDIA_TYPE: Final = "application/problem+json"

CODES: Final[Mapping[str, str]] = {
    "json-invalid": "The body is no JSON, or names a key twice.",
    "request-invalid": "The request has not the form that this address takes; `problems` says where.",
    "parameter-invalid": "A parameter's value is not of its type, or out of range.",
    "price-invalid": "The price is not a positive, finite number within range.",
    "idempotency-key-invalid": "The Idempotency-Key header is not one of 1 to 200 visible ASCII characters.",
    "token-missing": "The request carries no bearer token.",
    "token-invalid": "The token does not verify.",
    "token-expired": "The token has expired.",
    "token-revoked": "The token was revoked.",
    "principal-disabled": "This account is disabled.",
    "admin-only": "This needs an admin's token.",
    "identity-provider-unavailable": "The identity provider cannot be reached.",
    "not-found": "There is nothing at this address.",
    "method-not-allowed": "This address does not take that method.",
    "not-acceptable": "Answers come as JSON, CSV or Arrow.",
    "body-too-large": "The body is longer than this gateway reads.",
    "media-type-unsupported": "This address takes another type of body.",
    "http-error": "The request cannot be processed.",
    "too-many-queries": "Too many queries are in flight.",
    "dataset-unknown": "There is no such dataset for you.",
    "query-unknown": "There is no such query of yours.",
    "query-cancelled": "The query was cancelled before it was charged.",
    "query-abandoned": "The gateway that answered that query is gone.",
    "query-elsewhere": "Another gateway answers that query, or did until it ended.",
    "query-unreadable": "What was asked is not kept with that answer.",
    "control-unavailable": "The control database cannot be reached; nothing was done.",
    "not-ready": "The gateway's start-up check found a fault; nothing is answered until it is repaired.",
    "internal": "Something unforeseen happened; the administrator finds it in the log under `reference`.",
    "analyst-unknown": "There is no analyst of that name.",
    "analyst-exists": "There is an analyst of that name already.",
    "name-invalid": "This cannot be a name.",
    "role-differs": "The analyst has another role.",
    "lifetime-invalid": "A token cannot live that long, or not at all.",
    "token-unknown": "No token has this id.",
    "token-id-invalid": "This cannot be the id of a token.",
    "issuer-unknown": "No tokens of this issuer are accepted.",
    "amount-invalid": "This budget cannot be granted.",
    "reason-invalid": "A reason has at most 1000 printable characters.",
    "grant-unknown": "The analyst has no grant on the dataset.",
    "no-change": "That is so already.",
    "head-invalid": "The ledger's signed head cannot be compared with the ledger.",
    "not-suspended": "The analyst is not suspended on the dataset.",
    "policy-invalid": "The policy cannot be applied; `problems` says why.",
    "public-failed": "What was asked of the public tables could not be computed within the limits.",
    "engine-unavailable": "The data engine cannot be reached.",
    "engine-writable": "The gateway's rights on the data are not read-only.",
    "prepare-unsupported": "No copy can be made of data in this engine.",
    "prepare-no-writer": "A copy in PostgreSQL needs a role that may make a schema there.",
    "prepare-no-room": "There is no room for the copy.",
    "prepare-failed": "The copy could not be made; plans read what they read before.",
    "changed-meanwhile": "Somebody else did the same at the same moment.",
}
"""Every code that comes from HTTP, authentication or administration; SQL's own are in ``gateway/sql/refusals.py``."""

_BY_STATUS: Final[Mapping[int, str]] = {
    400: "json-invalid",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    413: "body-too-large",
    415: "media-type-unsupported",
}
_OF_FIELD: Final[Mapping[str, str]] = {
    "epsilon": "price-invalid",
    "rho": "price-invalid",
    "Idempotency-Key": "idempotency-key-invalid",
}
_NAMES: Final = frozenset(
    name
    for model in (*vars(wire).values(), *vars(wire_admin).values())
    if isinstance(model, type) and issubclass(model, BaseModel)
    for name in model.model_fields
) | {"Idempotency-Key", "Prefer", "query_id", "after", "limit", "issuer", "token_id", "format"}
_MORE_PROBLEMS: Final = 20
_LONGEST: Final = 64
"""Letters of a name that are compared with names of fields."""


class HttpError(DiscreetError):
    """An error of the HTTP interface itself."""

    def __init__(self, status: int, code: str, *, hint: str | None = None, **extra: Any) -> None:
        super().__init__(code, CODES[code], hint=hint, **extra)
        self.status = status


def document(error: DiscreetError) -> dict[str, Any]:
    """Return an error's problem document."""
    position = error.position
    body: dict[str, Any] = {
        **error.extra,
        "type": "about:blank",
        "title": _phrase(error.status),
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "charged": error.charged,
        "hint": error.hint,
        "sql_position": None if position is None else {"line": position.line, "column": position.column},
    }
    return {name: value for name, value in body.items() if value is not None}


def response(error: DiscreetError) -> JSONResponse:
    """Return an error's response, with the headers that belong to its status."""
    headers = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = "1"
    return JSONResponse(document(error), error.status, headers, MEDIA_TYPE)


def internal(error: BaseException) -> HttpError:
    """Log what nobody foresaw, and return what may be said of it: a reference to the log."""
    reference = secrets.token_hex(8)
    log.error("internal error", exc_info=error, extra=fields(reference=reference))
    return HttpError(
        500,
        "internal",
        hint="A query may be sent again with the same Idempotency-Key: it is never charged twice.",
        reference=reference,
    )


async def of_discreet(_request: Request, error: Exception) -> JSONResponse:
    """Handle the gateway's own errors."""
    return response(error if isinstance(error, DiscreetError) else internal(error))


async def of_http(_request: Request, error: Exception) -> JSONResponse:
    """Handle what the framework raises: its texts are replaced by ours."""
    if not isinstance(error, HTTPException):
        return response(internal(error))
    if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return response(internal(error))
    answer = response(HttpError(error.status_code, _BY_STATUS.get(error.status_code, "http-error")))
    answer.headers.update(error.headers or {})
    return answer


async def of_validation(_request: Request, error: Exception) -> JSONResponse:
    """Handle a request of the wrong form; what it held is not repeated."""
    if not isinstance(error, RequestValidationError):
        return response(internal(error))
    return response(invalid(error.errors()))


def invalid(errors: Any) -> HttpError:
    """Return the error for what pydantic found wrong: the code of the first field that has one of its own."""
    if any(each["type"] == "json_invalid" for each in errors):
        return HttpError(400, "json-invalid")
    # The first step says where: body, header, path, query.
    steps = [each["loc"][1:] for each in errors]
    codes = [_OF_FIELD[loc[0]] for loc in steps if len(loc) == 1 and loc[0] in _OF_FIELD]
    problems = [
        {"path": ".".join(map(_step, loc)) or "body", "message": _said(each, loc)}
        for loc, each in zip(steps, errors, strict=True)
    ]
    return HttpError(422, codes[0] if codes else "request-invalid", problems=problems[:_MORE_PROBLEMS])


def _said(error: Mapping[str, Any], loc: Sequence[object]) -> str:
    """Return what is wrong in one place; of a field that there is not, the name that may have been meant."""
    if error["type"] != "extra_forbidden" or not loc:
        return str(error["msg"])
    near = get_close_matches(str(loc[-1])[:_LONGEST], _NAMES, n=1)
    return f"There is no such field here; is `{near[0]}` meant?" if near else "There is no such field here."


def _step(step: object) -> str:
    """Return one step of a path as far as it is ours: names that the request made up are not repeated."""
    return str(step) if isinstance(step, int) or step in _NAMES else "…"


_PHRASES: Final[Mapping[int, str]] = {413: "Content Too Large", 422: "Unprocessable Content"}
"""As RFC 9110 has them; Python's own differ from version to version."""


def _phrase(status: int) -> str:
    if status in _PHRASES:
        return _PHRASES[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
