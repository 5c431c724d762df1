"""The same gateway with its control database on PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from tests.http.shapes import problem
from tests.http.test_queries import charge
from tests.http.world import world


def test_the_control_database_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    with world(tmp_path, database=postgres_url) as made:
        client = made.client()
        root, ada = made.bearer("root"), made.bearer()
        query = charge(made)
        assert client.get("/readyz").status_code == 200
        assert [each["query_id"] for each in client.get("/v1/queries", headers=ada).json()] == [query]
        assert client.get("/v1/budget", headers=ada).json()[0]["epsilon_spent"] == 0.25
        assert client.get("/v1/admin/ledger/verify", headers=root).json()["ok"] is True
        assert client.post("/v1/admin/datasets/health/data-version", headers=root).json()["data_version"] == 2
        problem(client.post("/v1/admin/analysts/a%00b/disable", headers=root), 422, "request-invalid")
        problem(client.get("/v1/admin/budgets?dataset=a%00b", headers=root), 422, "request-invalid")
        problem(client.get("/v1/datasets/a%00b", headers=ada), 404, "dataset-unknown")
        assert client.post("/v1/admin/analysts/ada/disable", headers=root).status_code == 200
        problem(client.get("/v1/budget", headers=ada), 403, "principal-disabled")
