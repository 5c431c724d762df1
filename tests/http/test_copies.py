"""Prepared copies over HTTP: begun, looked at while they are made, removed; for admins alone."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gateway.engines.base import EngineError
from gateway.engines.duckdbcopier import DuckdbCopier
from tests.http.shapes import problem
from tests.http.world import InProcess, World

COPY = "/v1/admin/datasets/health/copy"


def ended(client: InProcess, root: dict[str, str]) -> dict[str, Any]:
    """Wait until no run goes on, and return what stands then."""
    for _ in range(600):
        found: dict[str, Any] = client.get(COPY, headers=root).json()
        if found["state"] != "running":
            return found
        time.sleep(0.05)
    raise AssertionError("a run that does not end")


def test_a_copy_is_made_and_removed(fresh: World) -> None:
    client, root = fresh.client(), fresh.bearer("root")
    assert client.get(COPY, headers=root).json()["state"] == "none"
    begun = client.post(COPY, headers=root)
    assert begun.status_code == 202, begun.text
    found = ended(client, root)
    assert found["state"] == "ready", found
    assert found["problem"] is None
    assert found["report"]["made"]
    assert [(table["name"], table["rows"], table["kept"]) for table in found["report"]["tables"]] == [("person", 2, 2)]
    assert client.get("/v1/datasets/health", headers=fresh.bearer()).json()["prepared"]
    assert client.get("/v1/admin/datasets/health", headers=root).json()["info"]["prepared"]
    assert client.request("DELETE", COPY, headers=root).json() == {"dataset": "health", "dropped": 1}
    assert client.get(COPY, headers=root).json()["state"] == "none"
    assert not client.get("/v1/datasets/health", headers=fresh.bearer()).json()["prepared"]


def test_a_run_that_fails_says_why_and_is_begun_again(fresh: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: DuckdbCopier, table: str, statements: tuple[str, ...]) -> None:
        raise EngineError("the disk is full")

    client, root = fresh.client(), fresh.bearer("root")
    with monkeypatch.context() as patch:
        patch.setattr(DuckdbCopier, "copy", failing)
        client.post(COPY, headers=root)
        found = ended(client, root)
    assert found["state"] == "failed"
    assert found["problem"]["code"] == "prepare-failed"
    client.post(COPY, headers=root)
    assert ended(client, root)["state"] == "ready"


def test_it_is_for_admins_and_for_datasets_that_exist(here: World) -> None:
    client = here.client()
    for method in ("POST", "GET", "DELETE"):
        problem(client.request(method, COPY, headers=here.bearer("ada")), 403, "admin-only")
        missing = client.request(method, COPY.replace("health", "wealth"), headers=here.bearer("root"))
        problem(missing, 404, "dataset-unknown")
