"""The OpenAPI document: complete, and true of what the gateway does."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.http.app import create_app
from tests.http.world import World, rote


def test_every_error_is_declared_as_a_problem_document(here: World) -> None:
    document = here.client().get("/openapi.json").json()
    assert document["components"]["schemas"]["Problem"]["required"]
    operations = [
        (path, method, operation) for path, each in document["paths"].items() for method, operation in each.items()
    ]
    for path, method, operation in operations:
        expected = {"500"}
        if path not in ("/healthz", "/readyz"):
            expected |= {"401", "403", "503"}
            assert operation["security"], path
        if operation.get("parameters") or operation.get("requestBody"):
            expected |= {"422"}
        if operation.get("requestBody"):
            expected |= {"400", "413", "415"}
        errors = {status for status in operation["responses"] if status[0] in "45"}
        assert expected <= errors, (path, method, expected - errors)
        for status in errors:
            assert list(operation["responses"][status]["content"]) == ["application/problem+json"], (path, status)
        assert operation["summary"]
        assert operation["description"]


def test_it_can_be_turned_off(here: World) -> None:
    from dataclasses import replace

    quiet = here.settings.model_copy(update={"api_docs": False})
    made = World(replace(here.service, settings=quiet), here.tokens)
    client = made.client()
    assert client.get("/openapi.json").status_code == 404
    client.close()


CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture
def api(fresh: World) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", create_app(fresh.service, rote))
