"""What every problem document must look like."""

from __future__ import annotations

from typing import Any

import httpx

from gateway.http.guard import HEADERS
from gateway.http.openapi import EXTENSIONS
from gateway.wire import Problem


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check an error of this status and code, shape and headers included, and return its document."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), (
        response.text
    )
    body: dict[str, Any] = response.json()
    Problem.model_validate(body)
    assert body["code"] == code, body
    assert body["status"] == status
    assert body["charged"] is False
    assert body["detail"]
    assert None not in body.values()
    assert set(body) <= {*Problem.model_fields, *EXTENSIONS}  # what OpenAPI declares
    dressed(response)
    return body


def dressed(response: httpx.Response) -> None:
    """Check the headers that every response carries."""
    for name, value in HEADERS.items():
        assert response.headers[name] == value
    assert not [name for name in response.headers if name.startswith("access-control")]
