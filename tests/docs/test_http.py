"""The page about HTTP and the interface say the same: addresses, fields, an error's shape."""

from __future__ import annotations

import json
import re
from typing import get_type_hints

from fastapi.routing import APIRoute

from gateway.http import administer, ask, copies, grants, health, queries
from gateway.wire import Problem, QueryRequest, QueryResponse
from tests.docs.pages import blocks, named, page

PAGE = page("docs/http.md")


def test_every_address_is_described() -> None:
    routers = (
        ask.router,
        queries.router,
        administer.router,
        copies.router,
        grants.router,
        health.router,
        health.guarded,
    )
    routes = {
        f"{method} {getattr(route, 'path')}"  # noqa: B009 (the base class of routes has none)
        for router in routers
        for route in router.routes
        for method in getattr(route, "methods")  # noqa: B009
    }
    described = {name for name in named(PAGE) if re.match(r"[A-Z]+ /", name)}
    assert described | {"POST /v1/query"} == routes | {"GET /openapi.json"}
    assert "`POST /v1/query`" in PAGE


def test_what_admins_send_is_described() -> None:
    seen = 0
    for route in (*administer.router.routes, *grants.router.routes, *copies.router.routes):
        assert isinstance(route, APIRoute)
        body = get_type_hints(route.endpoint).get("body")
        if body is None:
            continue
        [method] = list(route.methods or [])
        (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{method} {route.path}` |")]
        assert set(re.findall(r'"([a-z_]+)"', row)) == set(body.model_fields), row
        seen += 1
    assert seen > 8


def test_every_field_is_described() -> None:
    described = {name for name in named(PAGE) if re.fullmatch(r"[a-z_]+", name)}
    assert described == set(QueryRequest.model_fields) | set(QueryResponse.model_fields)


def test_defaults_are_described_as_they_are() -> None:
    asking = PAGE[PAGE.index("## Asking") : PAGE.index("The answer:")]
    for name, field in QueryRequest.model_fields.items():
        if field.default in (True, False) or isinstance(field.default, str | float):
            (row,) = [line for line in asking.splitlines() if line.startswith(f"| `{name}` |")]
            assert row.endswith(f"| `{str(field.default).lower()}` |"), name


def test_the_problem_shown_is_one() -> None:
    (shown,) = blocks(PAGE, "json")
    assert set(json.loads(shown)) == set(Problem.model_fields)
    Problem.model_validate_json(shown)
