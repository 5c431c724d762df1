"""Every way to ask wrongly: a clear error with its own code, nothing charged, and nothing of the inside shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.client.errors import GatewayError, NotAuthorized, NotFound, QueryRefused
from tests.end_to_end.home import SECRETS, Home, make_home, problem, serving

GOOD: dict[str, Any] = {"sql": "SELECT COUNT(*) FROM person", "dataset": "health", "epsilon": 0.5}
JSON = {"Content-Type": "application/json"}
COUNT = "SELECT COUNT(*) FROM person"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = make_home(tmp_path_factory.mktemp("asking"))
    made.do("analyst", "add", "bob")
    made.tokens["bob"] = made.do("token", "issue", "bob", "--role", "analyst").strip()
    with serving(made):
        yield made
    log = made.log.read_text()
    assert "Traceback" not in log
    assert not [word for word in (*SECRETS, *made.tokens.values(), "SELECT", "DROP") if word in log]


@pytest.fixture
def http(home: Home) -> Iterator[httpx.Client]:
    """Return a client, and hold that nothing was written to the ledger while it was used."""
    before = home.heads()
    with home.http() as client:
        yield client
    assert home.heads() == before


def ask(http: httpx.Client, home: Home, **request: Any) -> httpx.Response:
    """Send one request as ada, with a key that a charge would be found under."""
    headers = home.bearer() | {"Idempotency-Key": "never-charged"} | request.pop("headers", {})
    return http.post("/v1/query", headers=headers, **request)


@pytest.mark.parametrize(
    "content", [b"{", b"\xff\xfe", b'{"sql": "SELECT 1",}', b"NaN", b"[" * 50_000, b'{"a": 1, "a": 2}']
)
def test_malformed_json(http: httpx.Client, home: Home, content: bytes) -> None:
    code = "request-invalid" if content == b"NaN" else "json-invalid"
    problem(ask(http, home, content=content, headers=JSON), 422 if content == b"NaN" else 400, code)


@pytest.mark.parametrize(
    ("sql", "code", "place"),
    [
        ("SELECT COUNT(*) FROM persons", "table-unknown", (1, 22)),
        ("SELECT SUM(wage) FROM person", "column-unknown", (1, 12)),
        ("SELECT\n  COUNT(*),\n  FROBNICATE(age) FROM person", "function-unknown", (3, 3)),
        ("SELECT COUNT(*) FROM person; SELECT COUNT(*) FROM visit", "sql-not-one-select", (1, 1)),
        ("SELECT COUNT(*) FROM person; DROP TABLE person", "sql-not-one-select", (1, 1)),
        ("DROP TABLE person", "sql-not-one-select", (1, 1)),
        ("CREATE TABLE t AS SELECT * FROM person", "sql-not-one-select", (1, 1)),
        ("INSERT INTO person VALUES (1)", "sql-not-one-select", (1, 1)),
        ("UPDATE person SET age = 1", "sql-not-one-select", (1, 1)),
        ("ATTACH 'other.duckdb'", "sql-not-one-select", (1, 1)),
        ("COPY person TO 'out.csv'", "sql-not-one-select", (1, 1)),
        ("PRAGMA database_list", "sql-not-one-select", (1, 1)),
        ("", "sql-not-one-select", (1, 1)),
        ("SELECT * FROM person", "no-aggregate", None),
        ("SELECT income FROM person", "not-grouped", None),
        ("SELECT COUNT(*) FROM read_csv('/etc/passwd')", None, None),
        ("SELECT COUNT(*) FROM 'health.duckdb'", None, None),
        ("SELECT COUNT(*) FROM person WHERE age = (SELECT age FROM person LIMIT 1)", None, None),
        (f"SELECT COUNT({'(' * 100}age{')' * 100}) FROM person", "sql-too-deep", None),
        (f"SELECT COUNT(*) FROM person WHERE {'NOT ' * 100}age = 1", "sql-too-deep", None),
        (f"SELECT COUNT(*) FROM person WHERE age IN ({', '.join(['1'] * 20_000)})", "sql-too-deep", None),
        (f"SELECT COUNT(*) FROM person -- {'x' * 70_000}", "sql-too-long", None),
        ("SELECT COUNT(* FROM person", "sql-syntax", None),
        ("SELECT 'open FROM person", "sql-syntax", None),
        ("SELECT COUNT(*) FROM person\x00", "sql-syntax", None),
    ],
    ids=lambda value: str(value)[:40].encode("ascii", "replace").decode() if isinstance(value, str) else "",
)
def test_sql_that_is_not_admitted(
    http: httpx.Client, home: Home, sql: str, code: str | None, place: tuple[int, int] | None
) -> None:
    response = ask(http, home, json=GOOD | {"sql": sql})
    found = problem(response, 422, code or response.json()["code"])
    if place is not None:
        assert found["sql_position"] == {"line": place[0], "column": place[1]}
    dry = ask(http, home, json=GOOD | {"sql": sql, "dry_run": True})
    assert dry.json() == found, "a dry run refuses what a real one refuses, and in the same words"


def test_a_megabyte_of_sql(http: httpx.Client, home: Home) -> None:
    problem(ask(http, home, json=GOOD | {"sql": COUNT + " " * 1_000_000}), 413, "body-too-large")
    problem(ask(http, home, json=GOOD | {"sql": COUNT + " " * 100_000}), 422, "sql-too-long")


@pytest.mark.parametrize(
    ("price", "code"),
    [
        ("-1", "price-invalid"),
        ("0", "price-invalid"),
        ("-0.0", "price-invalid"),
        ("NaN", "price-invalid"),
        ("Infinity", "price-invalid"),
        ("-Infinity", "price-invalid"),
        ("1e999", "price-invalid"),
        ("1e300", "price-invalid"),
        ("1e7", "price-invalid"),
        ("1e-13", "price-invalid"),
        ("5e-324", "price-invalid"),
        ("1" + "0" * 400, "price-invalid"),
        ('"1"', "price-invalid"),
        ("true", "price-invalid"),
        ("[1]", "price-invalid"),
        ("1e6", "price-too-high"),
        ("10.000000001", "price-too-high"),
        ("null", "price-missing"),
        ('0.5, "rho": 0.1', "price-conflict"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_prices(http: httpx.Client, home: Home, price: str, code: str) -> None:
    body = json.dumps(GOOD).replace("0.5", price)
    problem(ask(http, home, content=body, headers=JSON), 422, code)
    if code == "price-invalid":
        problem(ask(http, home, content=body.replace('"epsilon"', '"rho"'), headers=JSON), 422, code)


def test_names_that_mean_nothing_here(http: httpx.Client, home: Home) -> None:
    problem(ask(http, home, json=GOOD | {"dataset": "wealth"}), 404, "dataset-unknown")
    problem(ask(http, home, json=GOOD | {"dataset": "a\x00b"}), 404, "dataset-unknown")
    problem(ask(http, home, json=GOOD | {"dialect": "cobol"}), 422, "dialect-unknown")
    problem(ask(http, home, json=GOOD | {"plan_id": "0" * 32}), 409, "plan-changed")
    problem(ask(http, home, json=GOOD | {"frobnicate": 1}), 422, "request-invalid")
    problem(ask(http, home, json=GOOD, headers={"Accept": "image/png"}), 406, "not-acceptable")


def test_tokens_that_do_not_open(http: httpx.Client, home: Home) -> None:
    now = datetime.now(UTC)
    claims = {"iss": "discreet", "aud": "discreet", "sub": "ada", "role": "admin", "iat": now, "jti": "x"}
    later = {"exp": now + timedelta(hours=1)}
    own = home.tokens["ada"]
    head, body, signature = own.split(".")
    for token in (
        jwt.encode(claims | later, Ed25519PrivateKey.generate(), algorithm="EdDSA"),
        jwt.encode(claims | later, "k" * 64, algorithm="HS256"),
        jwt.encode(claims | later, "", algorithm="none"),
        f"{head}.{body}.{signature[::-1]}",
        f"{head}.{home.tokens['root'].split('.')[1]}.{signature}",
        "nonsense",
    ):
        for path, what in (("/v1/query", GOOD), ("/v1/admin/analysts", {"name": "eve"})):
            response = http.post(path, json=what, headers={"Authorization": f"Bearer {token}"})
            problem(response, 401, "token-invalid")
    problem(http.post("/v1/query", json=GOOD), 401, "token-missing")
    problem(http.post("/v1/query", json=GOOD, headers={"Authorization": f"Basic {own}"}), 401, "token-missing")


def test_an_expired_token(http: httpx.Client, home: Home) -> None:
    key = (home.folder / "home" / "signing.pem").read_bytes()
    claims = jwt.decode(home.tokens["ada"], options={"verify_signature": False})
    head = jwt.get_unverified_header(home.tokens["ada"])
    claims |= {"iat": claims["iat"] - 100_000, "exp": claims["iat"] - 50_000}
    old = jwt.encode(claims, key, algorithm="EdDSA", headers=head)
    problem(http.post("/v1/query", json=GOOD, headers={"Authorization": f"Bearer {old}"}), 401, "token-expired")


def test_a_token_of_the_gateways_own_key_that_it_never_issued(http: httpx.Client, home: Home) -> None:
    """Whoever holds the key file may act as anybody; a token for nobody still opens nothing."""
    key = (home.folder / "home" / "signing.pem").read_bytes()
    claims = jwt.decode(home.tokens["ada"], options={"verify_signature": False})
    head = jwt.get_unverified_header(home.tokens["ada"])
    for change in ({"sub": "eve"}, {"role": "admin"}, {"aud": "other"}, {"iss": "other"}):
        token = jwt.encode(claims | change, key, algorithm="EdDSA", headers=head)
        response = http.post("/v1/query", json=GOOD, headers={"Authorization": f"Bearer {token}"})
        assert response.status_code in (401, 403)
        problem(response, response.status_code, response.json()["code"])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/admin/datasets", None),
        ("POST", "/v1/admin/analysts", {"name": "eve"}),
        ("POST", "/v1/admin/tokens", {"name": "ada", "role": "admin"}),
        ("PUT", "/v1/admin/budgets", {"dataset": "health", "analyst": "ada", "epsilon": 1000.0}),
        ("POST", "/v1/admin/analysts/ada/resume", {"dataset": "health"}),
        ("POST", "/v1/admin/datasets/health/data-version", None),
        ("GET", "/v1/admin/ledger?dataset=health", None),
        ("GET", "/metrics", None),
    ],
)
def test_an_analyst_on_an_admin_route(http: httpx.Client, home: Home, method: str, path: str, body: Any) -> None:
    problem(http.request(method, path, json=body, headers=home.bearer()), 403, "admin-only")


def test_who_holds_no_grant_learns_nothing(http: httpx.Client, home: Home) -> None:
    for name in ("bob", "root"):
        for body in (GOOD, GOOD | {"dry_run": True}):
            problem(http.post("/v1/query", json=body, headers=home.bearer(name)), 403, "no-grant")
        problem(http.get("/v1/datasets/health", headers=home.bearer(name)), 404, "dataset-unknown")


def test_disabling_and_revoking_take_effect_at_the_next_request(http: httpx.Client, home: Home) -> None:
    body = {"name": "carol", "role": "analyst"}
    assert http.post("/v1/admin/analysts", json=body, headers=home.bearer("root")).status_code == 201
    issued = http.post("/v1/admin/tokens", json=body, headers=home.bearer("root")).json()
    carol = {"Authorization": f"Bearer {issued['token']}"}
    assert http.get("/v1/budget", headers=carol).status_code == 200
    http.post("/v1/admin/analysts/carol/disable", headers=home.bearer("root"))
    problem(http.get("/v1/budget", headers=carol), 403, "principal-disabled")
    http.post("/v1/admin/analysts/carol/enable", headers=home.bearer("root"))
    assert http.get("/v1/budget", headers=carol).status_code == 200
    http.delete(f"/v1/admin/tokens/{issued['id']}", headers=home.bearer("root"))
    problem(http.get("/v1/budget", headers=carol), 401, "token-revoked")


def test_the_python_client_raises_what_the_gateway_says(home: Home) -> None:
    before = home.heads()
    with home.client() as client:
        for kind, code, sql, dataset, epsilon in (
            (QueryRefused, "column-unknown", "SELECT SUM(wage) FROM person", "health", 1.0),
            (QueryRefused, "price-invalid", COUNT, "health", float("nan")),
            (QueryRefused, "price-missing", COUNT, "health", None),
            (NotFound, "dataset-unknown", COUNT, "wealth", 1.0),
        ):
            with pytest.raises(kind) as caught:
                client.sql(sql, dataset=dataset, epsilon=epsilon)
            assert isinstance(caught.value, GatewayError)
            assert (caught.value.code, caught.value.charged) == (code, False)
    with home.client("bob") as client, pytest.raises(NotAuthorized):
        client.sql(COUNT, dataset="health", epsilon=1)
    assert home.heads() == before


def test_nothing_was_charged_in_all(home: Home) -> None:
    assert home.spent() == 0
    assert "charge" not in {fact["kind"] for fact in home.facts()}
    assert home.command("ledger", "verify").exit_code == 0
