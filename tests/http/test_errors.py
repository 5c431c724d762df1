"""Every way in which a request can be wrong is a problem document with a code of its own."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.errors import BudgetExhausted, ExecutionFailed, Position, SqlRefused
from gateway.http.problems import CODES
from gateway.slots import TooManyQueries
from gateway.wire import QueryRequest, QueryResponse
from tests.http.shapes import dressed, problem
from tests.http.world import InProcess, World

GOOD: dict[str, Any] = {"sql": "SELECT COUNT(*) FROM person", "dataset": "health", "epsilon": 0.5}
JSON = {"Content-Type": "application/json"}
PRIVATE = "Zebulon-4711"


@pytest.fixture
def client(here: World) -> InProcess:
    return here.client()


def ask(client: InProcess, here: World, **request: Any) -> Any:
    headers = here.bearer() | request.pop("headers", {})
    return client.post("/v1/query", headers=headers, **request)


def test_a_good_request_is_answered(client: InProcess, here: World) -> None:
    response = ask(client, here, json=GOOD)
    assert response.status_code == 200
    dressed(response)


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"",
        b"\xff\xfe\xfa",
        b'{"sql": "SELECT 1"',
        b"nonsense",
        b'{"sql": "x", "dataset": "health", "epsilon": 1, "epsilon": 2}',
        b'{"sql": "\\ud800", "dataset": "health", "epsilon": 1}',
        b"[" * 200_000,
        b'{"a":' * 80_000,
        b'{"sql": "x", "dataset": "health", "epsilon": ' + b"9" * 5_000 + b"}",
    ],
    ids=["open", "empty", "bytes", "cut", "word", "key-twice", "half-pair", "deep-list", "deep-object", "digits"],
)
def test_malformed_json(client: InProcess, here: World, content: bytes) -> None:
    response = ask(client, here, content=content, headers=JSON)
    if content:
        problem(response, 400, "json-invalid")
    else:
        problem(response, 422, "request-invalid")


@pytest.mark.parametrize(
    "price",
    ["1", True, [], {}, "NaN"],
    ids=str,
)
@pytest.mark.parametrize("name", ["epsilon", "rho"])
def test_a_price_of_the_wrong_type(client: InProcess, here: World, name: str, price: Any) -> None:
    body = {"sql": "SELECT 1", "dataset": "health", name: price}
    problem(ask(client, here, json=body), 422, "price-invalid")


@pytest.mark.parametrize("price", ["NaN", "Infinity", "-Infinity", "1e999", "-1", "0", "1e300"])
def test_a_price_that_is_a_number_reaches_the_conductor(client: InProcess, here: World, price: str) -> None:
    content = json.dumps(GOOD).replace("0.5", price)
    assert ask(client, here, content=content, headers=JSON).status_code == 200  # the conductor by rote takes any


def test_an_integer_beyond_all_floats(client: InProcess, here: World) -> None:
    content = json.dumps(GOOD).replace("0.5", "1" + "0" * 400)
    problem(ask(client, here, content=content, headers=JSON), 422, "price-invalid")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"sql": 7}, "sql"),
        ({"dataset": None}, "dataset"),
        ({"dry_run": "no"}, "dry_run"),
        ({"mechanism": PRIVATE}, "mechanism"),
        ({"confidence": 1}, "confidence"),
        ({"max_groups_contributed": 0}, "max_groups_contributed"),
        ({"labels": {PRIVATE: 1}}, "labels.…"),
        ({PRIVATE: 1}, "…"),
    ],
    ids=lambda value: str(value).encode("ascii", "replace").decode(),
)
def test_a_field_of_the_wrong_form_is_named_and_not_repeated(
    client: InProcess, here: World, change: dict[str, Any], path: str
) -> None:
    body = json.dumps(GOOD | change)
    response = ask(client, here, content=body, headers=JSON)
    found = problem(response, 422, "request-invalid")
    assert [each["path"] for each in found["problems"]] == [path]
    assert PRIVATE not in response.text


@pytest.mark.parametrize(
    ("name", "meant"), [("epsilom", "epsilon"), ("datset", "dataset"), ("dryrun", "dry_run"), (PRIVATE, None)]
)
def test_a_field_that_there_is_not_is_told_with_the_one_that_may_be_meant(
    client: InProcess, here: World, name: str, meant: str | None
) -> None:
    found = problem(ask(client, here, json=GOOD | {name: 1}), 422, "request-invalid")
    (told,) = found["problems"]
    assert told["message"].startswith("There is no such field")
    assert ("meant" in told["message"]) == (meant is not None)
    assert meant is None or f"`{meant}`" in told["message"]


def test_fields_of_admins_are_named(client: InProcess, here: World) -> None:
    body = {"name": "ada", "role": "analyst", "seconds": "long"}
    found = problem(client.post("/v1/admin/tokens", json=body, headers=here.bearer("root")), 422, "request-invalid")
    assert [each["path"] for each in found["problems"]] == ["seconds"]
    found = problem(
        client.get("/v1/admin/ledger/export?format=xml", headers=here.bearer("root")), 422, "request-invalid"
    )
    assert [each["path"] for each in found["problems"]] == ["format"]


def test_a_body_that_is_no_object(client: InProcess, here: World) -> None:
    problem(ask(client, here, json=[1]), 422, "request-invalid")
    problem(ask(client, here, json=PRIVATE), 422, "request-invalid")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/yaml", ""])
def test_another_media_type(client: InProcess, here: World, kind: str) -> None:
    headers = {"Content-Type": kind}
    problem(ask(client, here, content=json.dumps(GOOD), headers=headers), 415, "media-type-unsupported")


def test_a_body_of_a_megabyte_is_refused_by_its_declared_length(client: InProcess, here: World) -> None:
    problem(ask(client, here, json=GOOD | {"sql": "x" * 1_000_000}), 413, "body-too-large")


def test_a_body_of_a_megabyte_in_chunks_is_refused_when_the_limit_is_passed(client: InProcess, here: World) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b"x" * 100_000

    problem(ask(client, here, content=chunks(), headers=JSON), 413, "body-too-large")
    assert sent <= here.settings.request_bytes // 100_000 + 1


@pytest.mark.parametrize("length", ["-1", "abc", "9" * 50, "1e3"])
def test_a_nonsensical_length(client: InProcess, here: World, length: str) -> None:
    headers = {"Content-Length": length}
    problem(ask(client, here, content=b"{}", headers=JSON | headers), 413, "body-too-large")


@pytest.mark.parametrize("key", ["", "a b", "x" * 201, "ä", "a\tb"])
def test_a_bad_idempotency_key(client: InProcess, here: World, key: str) -> None:
    response = ask(client, here, json=GOOD, headers={"Idempotency-Key": key.encode()})
    problem(response, 422, "idempotency-key-invalid")


def test_two_idempotency_keys(client: InProcess, here: World) -> None:
    headers = [*here.bearer().items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    problem(client.post("/v1/query", json=GOOD, headers=headers), 422, "idempotency-key-invalid")


@pytest.mark.parametrize("accept", ["text/html", "image/*", "application/json;q=0", "text/csv;q=0, image/png"])
def test_a_format_that_is_not_offered_is_refused_before_anything_is_charged(here: World, accept: str) -> None:
    def never(*_: object) -> QueryResponse:
        raise AssertionError

    response = here.client(never).post("/v1/query", json=GOOD, headers=here.bearer() | {"Accept": accept})
    problem(response, 406, "not-acceptable")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not-found"),
        ("GET", "/v1/nothing", 404, "not-found"),
        ("GET", "/v1/query", 405, "method-not-allowed"),
        ("DELETE", "/v1/budget", 405, "method-not-allowed"),
        ("GET", "/v1/datasets/nothing", 404, "dataset-unknown"),
        ("GET", "/v1/datasets/a%00b", 404, "dataset-unknown"),
        ("GET", "/v1/budget?dataset=nothing", 404, "dataset-unknown"),
        ("GET", "/v1/queries/nothing", 422, "request-invalid"),
        ("GET", "/v1/queries?limit=0", 422, "request-invalid"),
        ("GET", "/v1/queries/" + "0" * 32, 404, "query-unknown"),
        ("GET", "/v1/datasets/", 404, "not-found"),
    ],
)
def test_addresses(client: InProcess, here: World, method: str, path: str, status: int, code: str) -> None:
    problem(client.request(method, path, headers=here.bearer()), status, code)


def test_a_dataset_without_a_grant_looks_like_one_that_does_not_exist(client: InProcess, here: World) -> None:
    for path in ("/v1/datasets/{}", "/v1/budget?dataset={}"):
        withheld = client.get(path.format("health"), headers=here.bearer("bob"))
        missing = client.get(path.format("wealth"), headers=here.bearer("bob"))
        problem(withheld, 404, "dataset-unknown")
        assert withheld.text == missing.text.replace("wealth", "health")
    assert client.get("/v1/datasets", headers=here.bearer("bob")).json() == []
    assert client.get("/v1/budget", headers=here.bearer("bob")).json() == []


def answering(error: Exception) -> Any:
    def answer(*_: object) -> QueryResponse:
        raise error

    return answer


def test_a_refusal_of_the_conductor(here: World) -> None:
    error = SqlRefused("column-unknown", "No such column.", hint="Look.", position=Position(2, 5))
    found = problem(ask(here.client(answering(error)), here, json=GOOD), 422, "column-unknown")
    assert found["sql_position"] == {"line": 2, "column": 5}
    assert found["hint"] == "Look."
    assert (found["type"], found["title"]) == ("about:blank", "Unprocessable Content")


def test_an_exhausted_budget_says_by_how_much(here: World) -> None:
    error = BudgetExhausted("budget-exhausted", "Too dear.", epsilon_required=2.0, epsilon_remaining=0.25)
    found = problem(ask(here.client(answering(error)), here, json=GOOD), 403, "budget-exhausted")
    assert (found["epsilon_required"], found["epsilon_remaining"]) == (2.0, 0.25)


def test_the_constant_failure_is_charged(here: World) -> None:
    response = ask(here.client(answering(ExecutionFailed(query_id="q"))), here, json=GOOD)
    assert response.status_code == 500
    assert response.json()["charged"] is True
    assert response.json()["code"] == "execution-failed"


def test_too_many_queries_may_be_sent_again(here: World) -> None:
    response = ask(here.client(answering(TooManyQueries("Too many."))), here, json=GOOD)
    problem(response, 429, "too-many-queries")
    assert response.headers["retry-after"].isdigit()


def test_what_nobody_foresaw_says_nothing_and_is_logged_for_the_admin(
    here: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "discreet"):
        response = ask(here.client(answering(KeyError(PRIVATE))), here, json=GOOD)
    found = problem(response, 500, "internal")
    assert PRIVATE not in response.text
    assert "Traceback" not in response.text
    assert PRIVATE in caplog.text
    assert [record for record in caplog.records if found["reference"] in str(record.__dict__)]


def test_neither_sql_nor_token_is_logged(here: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        ask(
            here.client(),
            here,
            json=GOOD | {"sql": f"SELECT '{PRIVATE}'"},
            headers={"Idempotency-Key": "KEY-" + PRIVATE},
        )
    said = "".join(str(record.__dict__) for record in caplog.records if record.name.startswith("discreet"))
    assert "/v1/query" in said
    assert PRIVATE not in said
    assert here.tokens["ada"] not in said


def test_every_code_of_http_is_described() -> None:
    assert all(code.replace("-", "").isalpha() and text.endswith(".") for code, text in CODES.items())


def test_the_conductor_gets_the_request_the_caller_and_the_key(here: World) -> None:
    got: list[Any] = []

    def answer(service: object, principal: Any, request: QueryRequest, key: str | None, *_: object) -> QueryResponse:
        got.append((service, principal.name, principal.role, request, key))
        raise SqlRefused("sql-syntax", "No.")

    ask(here.client(answer), here, json=GOOD, headers={"Idempotency-Key": "k-1"})
    ask(here.client(answer), here, json=GOOD)
    assert got == [(here.service, "ada", "analyst", QueryRequest(**GOOD), key) for key in ("k-1", None)]
