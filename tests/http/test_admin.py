"""What admins do over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from budget import suspensions
from tests.http.shapes import dressed, problem
from tests.http.world import POLICY, InProcess, World

YAML = {"Content-Type": "application/yaml"}


def located(world: World, text: str = POLICY) -> str:
    """Return the policy with the file named from the root, as a remote admin must."""
    return text.replace("duckdb:///health.duckdb", f"duckdb:///{world.settings.home.parent}/health.duckdb")


def test_applying_a_policy_again_makes_a_version_and_keeps_what_is_spent(fresh: World) -> None:
    client, root = fresh.client(), fresh.bearer("root")
    wider = located(fresh).replace("upper: 110", "upper: 120").replace("epsilon: 20", "epsilon: 30")
    response = client.post("/v1/admin/datasets", content=wider, headers=root | YAML)
    assert response.status_code == 200, response.text
    dressed(response)
    assert (response.json()["version"], response.json()["data_version"]) == (2, 1)
    assert response.json()["applied_by"] == "root"
    (age,) = [
        column
        for column in client.get("/v1/datasets/health", headers=fresh.bearer()).json()["tables"][0]["columns"]
        if column["name"] == "age"
    ]
    assert age["upper"] == 120
    facts = client.get("/v1/admin/ledger?dataset=health", headers=root).json()
    assert [(fact["kind"], fact["says"]["scope"], fact["says"]["epsilon"]) for fact in facts] == [
        ("grant", "cap", 20 * 10**9),
        ("grant", "analyst:ada", 3 * 10**9),
        ("grant", "cap", 30 * 10**9),
    ]
    again = client.request("PUT", "/v1/admin/datasets/health", content=wider, headers=root | YAML)
    assert again.json()["version"] == 3
    assert len(client.get("/v1/admin/ledger?dataset=health", headers=root).json()) == 3  # the same cap is no new fact


def test_a_cap_that_an_admin_lowered_is_not_raised_by_an_edit_of_something_else(fresh: World) -> None:
    client, root = fresh.client(), fresh.bearer("root")

    def cap() -> float:
        scopes = client.get("/v1/admin/grants?dataset=health", headers=root).json()
        return next(float(each["epsilon_granted"]) for each in scopes if each["kind"] == "cap")

    def apply(text: str) -> None:
        assert client.post("/v1/admin/datasets", content=text, headers=root | YAML).status_code == 200

    lower = {"dataset": "health", "epsilon": 7, "reason": "what a restored ledger does not know of"}
    assert client.request("PUT", "/v1/admin/grants", json=lower, headers=root).status_code == 200
    apply(located(fresh).replace("upper: 110", "upper: 120"))
    assert cap() == 7
    apply(located(fresh).replace("epsilon: 20", "epsilon: 9"))
    assert cap() == 9


def test_a_policy_may_be_json(fresh: World) -> None:
    policy = {
        "dataset": "rows",
        "engine": f"duckdb:///{fresh.settings.home.parent}/health.duckdb",
        "privacy_unit": "row",
        "tables": {"person": {"columns": {"age": {"type": "integer", "lower": 0, "upper": 110}}}},
        "budget": {"epsilon": 0.1},
        "per_query": {"max_epsilon": 0.1},
    }
    response = fresh.client().post("/v1/admin/datasets", json=policy, headers=fresh.bearer("root"))
    assert response.status_code == 200, response.text
    assert response.json()["info"]["privacy_unit"] == "row"


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("upper: 110", "upper: -1", "tables.person.columns.age"),
        ("person_id: {type", "person_ix: {type", "tables.person.columns.person_ix"),
        ("epsilon: 20", "epsilon: .nan", "budget.epsilon"),
        ("duckdb:///", "mysql:///", "engine"),
        ("dataset: health", "dataset: health\ndataset: health", "line 3, column 1"),
        ("dataset: health", "dataset: health\nviews: {cut: SELECT * FROM person LIMIT 3}", "views.cut"),
    ],
)
def test_a_policy_that_cannot_be_applied(here: World, old: str, new: str, path: str) -> None:
    policy = located(here).replace(old, new)
    response = here.client().post("/v1/admin/datasets", content=policy, headers=here.bearer("root") | YAML)
    found = problem(response, 422, "policy-invalid")
    assert any(each["path"].startswith(path) for each in found["problems"]), found


def test_a_view_of_the_policy_is_shown_to_analysts(here: World) -> None:
    view = "SELECT * FROM person WHERE age > 40"
    policy = located(here).replace("dataset: health", f"dataset: health\nviews: {{older: {view}}}")
    assert here.client().post("/v1/admin/datasets", content=policy, headers=here.bearer("root") | YAML).is_success
    shown = here.client().get("/v1/datasets/health", headers=here.bearer("ada")).json()
    assert shown["views"] == {"older": view}


def test_a_database_that_is_not_there(here: World) -> None:
    policy = located(here).replace("health.duckdb", "missing.duckdb")
    before = here.client().get("/v1/admin/datasets/health", headers=here.bearer("root")).json()["version"]
    response = here.client().post("/v1/admin/datasets", content=policy, headers=here.bearer("root") | YAML)
    problem(response, 503, "engine-unavailable")
    assert here.client().get("/v1/admin/datasets/health", headers=here.bearer("root")).json()["version"] == before


def test_a_policy_of_another_dataset_than_the_address(here: World) -> None:
    response = here.client().request(
        "PUT", "/v1/admin/datasets/wealth", content=located(here), headers=here.bearer("root") | YAML
    )
    assert problem(response, 422, "policy-invalid")["problems"][0]["path"] == "dataset"


def test_policies_that_are_no_text(here: World) -> None:
    root = here.bearer("root")
    client = here.client()
    problem(client.post("/v1/admin/datasets", content=b"\xff", headers=root | YAML), 400, "json-invalid")
    problem(client.post("/v1/admin/datasets", content=b"a: &a [*a]", headers=root | YAML), 422, "policy-invalid")
    problem(client.post("/v1/admin/datasets", content=b"", headers=root | YAML), 422, "policy-invalid")
    problem(
        client.post("/v1/admin/datasets", content=b"x", headers=root | {"Content-Type": "text/plain"}),
        415,
        "media-type-unsupported",
    )


def test_the_data_version(fresh: World) -> None:
    client, root = fresh.client(), fresh.bearer("root")
    response = client.post("/v1/admin/datasets/health/data-version", headers=root)
    assert response.json() == {"dataset": "health", "data_version": 2}
    assert client.get("/v1/datasets/health", headers=fresh.bearer()).json()["data_version"] == 2
    problem(client.post("/v1/admin/datasets/wealth/data-version", headers=root), 404, "dataset-unknown")


def test_stored_answers_are_deleted(fresh: World) -> None:
    client, root = fresh.client(), fresh.bearer("root")
    path = "/v1/admin/datasets/health/answers/delete"
    done = client.post(path, json={"older_than_seconds": 0}, headers=root)
    assert done.json() == {"dataset": "health", "deleted": 0}
    problem(client.post(path, json={}, headers=root), 422, "request-invalid")
    problem(client.post(path, json={"query_id": "0" * 32}, headers=root), 404, "query-unknown")
    problem(client.post(path, json={"older_than_seconds": 0}, headers=fresh.bearer()), 403, "admin-only")
    other = client.post(path.replace("health", "wealth"), json={"below_data_version": 2}, headers=root)
    problem(other, 404, "dataset-unknown")


def test_from_nobody_to_a_budget(fresh: World) -> None:
    client, root = fresh.client(), fresh.bearer("root")
    assert client.post("/v1/admin/analysts", json={"name": "eve@example.org"}, headers=root).status_code == 201
    issued = client.post("/v1/admin/tokens", json={"name": "eve@example.org", "role": "analyst"}, headers=root)
    assert issued.status_code == 201
    eve = {"Authorization": f"Bearer {issued.json()['token']}"}
    assert client.get("/v1/budget", headers=eve).json() == []
    grant = {"dataset": "health", "analyst": "eve@example.org", "epsilon": 0.1, "delta": 1e-9, "reason": "asked"}
    given = client.request("PUT", "/v1/admin/budgets", json=grant, headers=root)
    assert given.json()["epsilon_remaining"] == 0.1
    assert client.get("/v1/budget", headers=eve).json() == [given.json()]
    listed = client.get("/v1/admin/budgets?analyst=eve@example.org", headers=root).json()
    assert listed == [given.json()]
    tokens = client.get("/v1/admin/tokens?name=eve@example.org", headers=root).json()
    assert [each["id"] for each in tokens] == [issued.json()["id"]]
    assert "token" not in tokens[0]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/analysts", {"name": "ada"}, 409, "analyst-exists"),
        ("POST", "/analysts", {"name": "a b"}, 422, "name-invalid"),
        ("POST", "/analysts", {"name": "a/b"}, 422, "name-invalid"),
        ("POST", "/analysts", {"name": ""}, 422, "name-invalid"),
        ("POST", "/analysts", {"name": "x" * 201}, 422, "name-invalid"),
        ("POST", "/analysts", {"name": "x", "role": "king"}, 422, "request-invalid"),
        ("POST", "/analysts/nobody/disable", None, 404, "analyst-unknown"),
        ("POST", "/analysts/nobody/enable", None, 404, "analyst-unknown"),
        ("POST", "/analysts/ada/resume", {"dataset": "health"}, 409, "not-suspended"),
        ("POST", "/analysts/ada/resume", {"dataset": "wealth"}, 404, "grant-unknown"),
        ("POST", "/analysts/ada/resume", {"dataset": "health", "reason": "a\nb"}, 422, "reason-invalid"),
        ("POST", "/tokens", {"name": "nobody", "role": "analyst"}, 404, "analyst-unknown"),
        ("POST", "/tokens", {"name": "newroot", "role": "admin"}, 404, "analyst-unknown"),
        ("POST", "/tokens", {"name": "ada", "role": "admin"}, 409, "role-differs"),
        ("POST", "/tokens", {"name": "ada", "role": "analyst", "seconds": 10**9}, 422, "lifetime-invalid"),
        ("POST", "/tokens", {"name": "ada", "role": "analyst", "seconds": 0}, 422, "request-invalid"),
        ("DELETE", "/tokens/" + "0" * 32, None, 404, "token-unknown"),
        ("DELETE", "/tokens/x?issuer=https://nowhere", None, 404, "issuer-unknown"),
        ("PUT", "/budgets", {"dataset": "wealth", "analyst": "ada", "epsilon": 1}, 404, "dataset-unknown"),
        ("PUT", "/budgets", {"dataset": "health", "analyst": "nobody", "epsilon": 1}, 404, "analyst-unknown"),
        ("PUT", "/budgets", {"dataset": "health", "analyst": "ada", "epsilon": -1}, 422, "amount-invalid"),
        ("PUT", "/budgets", {"dataset": "health", "analyst": "ada", "epsilon": 1e300}, 422, "amount-invalid"),
        ("PUT", "/budgets", {"dataset": "health", "analyst": "ada", "epsilon": 1, "delta": 1}, 422, "amount-invalid"),
        ("PUT", "/budgets", {"dataset": "health", "analyst": "ada", "epsilon": 1, "delta": -1}, 422, "amount-invalid"),
        ("PUT", "/budgets", {"dataset": "health", "analyst": "ada", "epsilon": "1"}, 422, "price-invalid"),
        ("GET", "/ledger?dataset=health&after=-1", None, 422, "request-invalid"),
        ("GET", "/datasets/wealth", None, 404, "dataset-unknown"),
    ],
)
def test_refusals(here: World, method: str, path: str, body: Any, status: int, code: str) -> None:
    request: dict[str, Any] = {} if body is None else {"json": body}
    response = here.client().request(method, "/v1/admin" + path, headers=here.bearer("root"), **request)
    problem(response, status, code)


@pytest.mark.parametrize("epsilon", ["NaN", "Infinity", "1" + "0" * 400])
def test_a_budget_that_is_no_number(here: World, epsilon: str) -> None:
    body = '{"dataset": "health", "analyst": "ada", "epsilon": EPSILON}'.replace("EPSILON", epsilon)
    headers = here.bearer("root") | {"Content-Type": "application/json"}
    response = here.client().request("PUT", "/v1/admin/budgets", content=body, headers=headers)
    assert response.json()["code"] in ("amount-invalid", "price-invalid")
    assert response.status_code == 422


def test_suspension_and_its_clearing(fresh: World) -> None:
    client: InProcess = fresh.client()
    with fresh.service.control.begin() as conn:
        suspensions.suspend(conn, "health", "ada", actor="gateway", reason="a query failed")
    assert client.get("/v1/budget?dataset=health", headers=fresh.bearer()).json()[0]["suspended"] is True
    body = {"dataset": "health", "reason": "an outage"}
    response = client.post("/v1/admin/analysts/ada/resume", json=body, headers=fresh.bearer("root"))
    assert response.json()["suspended"] is False
    facts = client.get("/v1/admin/ledger?dataset=health", headers=fresh.bearer("root")).json()
    assert [fact["says"].get("action") for fact in facts][-2:] == ["suspend", "clear"]
    assert facts[-1]["says"]["actor"] == "root"


def test_the_ledger_is_read_of_one_dataset_or_of_all(fresh: World) -> None:
    client, root = fresh.client(), fresh.bearer("root")
    wealth = located(fresh).replace("dataset: health", "dataset: wealth")
    made = client.post("/v1/admin/datasets", content=wealth, headers=root | {"Content-Type": "application/yaml"})
    assert made.status_code == 200, made.text
    both = client.get("/v1/admin/ledger", headers=root).json()
    assert [fact["dataset"] for fact in both] == sorted(fact["dataset"] for fact in both)
    assert {fact["dataset"] for fact in both} == {"health", "wealth"}
    for name in ("health", "wealth"):
        of_one = client.get(f"/v1/admin/ledger?dataset={name}", headers=root).json()
        assert of_one == [fact for fact in both if fact["dataset"] == name]
    first = client.get("/v1/admin/ledger?limit=1", headers=root).json()
    assert [(fact["dataset"], fact["seq"]) for fact in first] == [("health", 1), ("wealth", 1)]


def test_the_ledger_is_verified(here: World) -> None:
    report = here.client().get("/v1/admin/ledger/verify", headers=here.bearer("root")).json()
    assert report == {"ok": True, "facts": {"health": 2}, "faults": [], "missing_triggers": []}


def test_metrics_count_routes_and_not_names(here: World) -> None:
    client = here.client()
    client.get("/v1/datasets/Zebulon", headers=here.bearer())
    client.request("BREW", "/coffee/Zebulon", headers=here.bearer())
    text = client.get("/metrics", headers=here.bearer("root")).text
    assert 'route="/v1/datasets/{name}",status="404"' in text
    assert "Zebulon" not in text
    assert "BREW" not in text
