"""Grants with all their terms, projects, and the ledger as a document, over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.http.world import World


def act(world: World, method: str, path: str, status: int = 200, **body: Any) -> Any:
    response = world.client().request(
        method, f"/v1/admin/{path}", json={"dataset": "health"} | body, headers=world.bearer("root")
    )
    assert response.status_code == status, response.text
    return response.json()


def read(world: World, path: str) -> Any:
    response = world.client().get(f"/v1/admin/{path}", headers=world.bearer("root"))
    assert response.status_code == 200, response.text
    return response


def remaining(world: World) -> Any:
    (found,) = world.client().get("/v1/budget", headers=world.bearer()).json()
    return found["epsilon_remaining"]


def test_a_project_over_http(fresh: World) -> None:
    made = act(fresh, "PUT", "grants", project="cohort", epsilon=2, max_epsilon=0.5)
    assert (made["kind"], made["gaussian"], made["window"]) == ("project", True, None)
    act(fresh, "POST", "projects/cohort/join", analyst="ada")
    act(fresh, "POST", "projects/cohort/join", 409, analyst="ada")
    act(fresh, "POST", "projects/cohort/join", 404, analyst="nobody")
    act(fresh, "POST", "projects/none/join", 404, analyst="ada")
    assert remaining(fresh) == 0.5
    assert act(fresh, "POST", "grants/suspend", project="cohort", reason="an inquiry")["paused"] is True
    assert remaining(fresh) == 0
    act(fresh, "POST", "grants/resume", project="cohort")
    act(fresh, "POST", "projects/cohort/leave", analyst="ada")
    assert remaining(fresh) == 3
    assert {each["kind"] for each in read(fresh, "grants?dataset=health").json()} == {"analyst", "cap", "project"}


def test_a_suspended_cap_leaves_nothing_to_anybody(fresh: World) -> None:
    assert act(fresh, "POST", "grants/suspend")["kind"] == "cap"
    assert remaining(fresh) == 0
    act(fresh, "POST", "grants/suspend", 409)
    act(fresh, "POST", "grants/resume")
    assert remaining(fresh) == 3


@pytest.mark.parametrize(
    "terms",
    [
        {"epsilon": -1},
        {"epsilon": 1, "window": "hourly"},
        {"epsilon": 1, "window": ""},
        {"epsilon": 1, "window": 0},
        {"epsilon": 1, "delta": 1},
        {"epsilon": 1, "delta": -1e-9},
        {"epsilon": 1, "max_epsilon": -1},
        {"epsilon": 10**7},
        {"epsilon": 1, "project": ""},
        {"epsilon": 1, "project": " cohort"},
        {"epsilon": 1, "window": "daily", "timezone": "Nowhere"},
        {"epsilon": 1, "timezone": "UTC"},
        {"epsilon": 1, "expires": "soon"},
        {"epsilon": 1, "expires": "0001-01-01T00:00+14:00"},
        {"epsilon": 1, "analyst": "ada", "project": "p"},
        {"epsilon": 1, "reason": "x" * 1001},
    ],
)
def test_bad_terms(fresh: World, terms: dict[str, Any]) -> None:
    before = len(read(fresh, "ledger?dataset=health").json())
    act(fresh, "PUT", "grants", 422, **terms)
    assert len(read(fresh, "ledger?dataset=health").json()) == before


def test_a_grant_for_nobody_and_of_nothing(fresh: World) -> None:
    before = len(read(fresh, "ledger?dataset=health").json())
    act(fresh, "PUT", "grants", 404, epsilon=1, analyst="nobody")
    act(fresh, "PUT", "grants", 404, epsilon=1, dataset="wealth")
    act(fresh, "POST", "grants/suspend", 404, project="nothing")
    assert len(read(fresh, "ledger?dataset=health").json()) == before


def test_the_head_and_the_export(fresh: World) -> None:
    signed = read(fresh, "ledger/head").json()
    facts = read(fresh, "ledger?dataset=health").json()
    assert signed["heads"][0]["hash"] == facts[-1]["hash"]
    act(fresh, "POST", "ledger/acknowledge", 409, reason="nothing is behind")
    lines = read(fresh, "ledger/export").text.splitlines()
    assert [json.loads(line)["hash"] for line in lines] == [fact["hash"] for fact in facts]
    assert read(fresh, "ledger/export?format=csv").headers["content-type"].startswith("text/csv")
    assert read(fresh, "ledger/export?format=parquet&dataset=health").content[:4] == b"PAR1"


def test_analysts_may_do_none_of_it(fresh: World) -> None:
    for path in ("grants", "ledger/head", "ledger/export"):
        assert fresh.client().get(f"/v1/admin/{path}", headers=fresh.bearer()).status_code == 403
