"""The OpenAPI document: what the framework knows, and the problem documents that it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gateway.http.problems import MEDIA_TYPE
from gateway.wire import Problem

Responses = dict[int | str, dict[str, Any]]

_SAID: Final = {
    400: "The body is no JSON.",
    401: "No token, or one that is not good.",
    403: "A role, a grant, a suspension or the budget stands against it.",
    404: "There is no such thing for the caller.",
    406: "Answers come as JSON, CSV or Arrow.",
    409: "The request contradicts an earlier one.",
    410: "What was answered has been deleted.",
    413: "The body is too long.",
    415: "Another type of body is taken here.",
    422: "The request, its SQL or its price is not admitted.",
    429: "Too many queries are in flight.",
    500: "Something unforeseen, or a query that failed after its charge.",
    503: "Something is out of reach; nothing was charged.",
}


EXTENSIONS: Final[Mapping[str, Any]] = {
    "problems": {
        "description": "Of a request or policy of the wrong form: where, and what is wrong.",
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
            "required": ["path", "message"],
        },
    },
    "epsilon_required": {"description": "Of `budget-exhausted`: what the request costs.", "type": "number"},
    "epsilon_remaining": {"description": "Of `budget-exhausted`: what is left for it.", "type": "number"},
    "query_id": {"description": "Of a charged query: the name under which it is found.", "type": "string"},
    "reference": {"description": "Of `internal`: what the administrator's log says of it.", "type": "string"},
}
"""Members of problem documents that only some have; a client takes any that it does not know."""


def problems(*statuses: int) -> Responses:
    """Return the declaration of problem documents of those statuses."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {status: {"description": _SAID[status], "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the application's OpenAPI document, made once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas["Problem"]["properties"].update(EXTENSIONS)
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = made
    return app.openapi_schema
