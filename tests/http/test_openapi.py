"""The OpenAPI document: complete, and true of what the gateway does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.http.app import create_app
from gateway.settings import Settings
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


CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def operations() -> list[str]:
    """Return the addresses of the application, as ``METHOD /path``."""
    control = SimpleNamespace(dialect=SimpleNamespace(name="sqlite"))
    service = SimpleNamespace(settings=Settings(home=Path("/nowhere")), slots=None, control=control)
    app = create_app(cast("Any", service), rote)
    return [f"{method.upper()} {path}" for path, each in app.openapi()["paths"].items() for method in each]


@pytest.mark.parametrize("operation", operations())
def test_whatever_is_sent_is_answered_as_declared(used: World, operation: str) -> None:
    """Requests made up from the document, of its form and not, get answers of the declared status, type and form."""
    method, path = operation.split(" ", 1)
    api = schemathesis.openapi.from_dict(used.app().openapi())[path][method]
    cases = api.as_strategy(GenerationMode.POSITIVE) | api.as_strategy(GenerationMode.NEGATIVE)
    client = used.client()

    @given(case=cases)
    @settings(
        max_examples=8,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    def send(case: schemathesis.Case[Any]) -> None:
        request = case.as_transport_kwargs(base_url="http://gateway")
        if "data" in request:
            request["content"] = request.pop("data")
        request["headers"] = {**(request.get("headers") or {}), **used.bearer("root")}
        del request["cookies"]  # the gateway reads none
        case.validate_response(client.request(request.pop("method"), request.pop("url"), **request), checks=CHECKS)

    send()
