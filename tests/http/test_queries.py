"""The caller's own charges, and nobody else's."""

from __future__ import annotations

from typing import Literal

from budget import ledger, suspensions
from budget.chain import canonical_json
from gateway import query
from mechanisms.loss import Loss
from tests.http.shapes import problem
from tests.http.world import World


def charge(world: World, analyst: str = "ada", status: Literal["answered", "failed"] | None = "answered") -> str:
    """Make a charge, and settle it unless it is to be running."""
    request = ledger.ChargeRequest(
        dataset="health",
        analyst=analyst,
        loss=Loss(250_000_000, 31_000_000_000),
        price=250_000_000,
        request_hash=bytes(32),
        plan_fingerprint="plan",
        policy_version=1,
        data_version=1,
        mechanism=canonical_json({}),
        process=world.service.process.id,
    )
    with world.service.control.begin() as conn:
        made = ledger.charge(conn, request).record.charge.id
        if status is not None:
            ledger.settle(conn, made, status, b"rows that stay here")
    return made


def test_own_queries_newest_first(fresh: World) -> None:
    first, second, third = charge(fresh), charge(fresh, status="failed"), charge(fresh, status=None)
    client = fresh.client()
    response = client.get("/v1/queries", headers=fresh.bearer())
    assert [(each["query_id"], each["status"]) for each in response.json()] == [
        (third, "running"),
        (second, "failed"),
        (first, "answered"),
    ]
    assert "rows" not in response.text
    shown = response.json()[2]
    assert (shown["epsilon"], shown["rho"], shown["pure"]) == (0.25, 0.031, True)
    assert len(client.get("/v1/queries?limit=1", headers=fresh.bearer()).json()) == 1
    assert client.get("/v1/queries?dataset=wealth", headers=fresh.bearer()).json() == []


def test_long_labels_are_refused_before_anything_is_charged(fresh: World) -> None:
    client = fresh.client(query.answer)
    body = {"sql": "SELECT COUNT(*) FROM person", "dataset": "health", "epsilon": 0.5}
    for labels in ({"for": "\U0001f600" * 100_000}, {"x" * 101: "y"}):
        sent = client.post("/v1/query", json={**body, "labels": labels}, headers=fresh.bearer())
        problem(sent, 422, "request-invalid")
    assert client.get("/v1/queries", headers=fresh.bearer()).json() == []


def test_labels_stand_with_the_query_that_they_were_given_to(fresh: World) -> None:
    client = fresh.client(query.answer)
    body = {"sql": "SELECT COUNT(*) FROM person", "dataset": "health", "epsilon": 0.5, "labels": {"for": "table 1 “ü”"}}
    answered = client.post("/v1/query", json=body, headers=fresh.bearer()).json()
    charge(fresh)
    shown = client.get("/v1/queries", headers=fresh.bearer()).json()
    assert [each["labels"] for each in shown] == [{}, {"for": "table 1 “ü”"}]
    assert shown[1]["query_id"] == answered["query_id"]


def test_anothers_query_looks_like_none(fresh: World) -> None:
    made = charge(fresh)
    client = fresh.client()
    for name in ("bob", "root"):
        problem(client.get(f"/v1/queries/{made}", headers=fresh.bearer(name)), 404, "query-unknown")
        assert client.get("/v1/queries", headers=fresh.bearer(name)).json() == []


def test_outcomes_are_withheld_while_the_caller_is_suspended(fresh: World) -> None:
    charge(fresh), charge(fresh, status="failed"), charge(fresh, status=None)
    with fresh.service.control.begin() as conn:
        suspensions.suspend(conn, "health", "ada", actor="gateway")
    shown = fresh.client().get("/v1/queries", headers=fresh.bearer()).json()
    assert [each["status"] for each in shown] == ["withheld"] * 3
