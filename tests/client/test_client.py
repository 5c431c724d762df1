"""The client over a recorded transport: what it sends, when it asks again, and what it raises."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import httpx
import pytest

from gateway.client.client import Client, Parameters
from gateway.client.errors import (
    BudgetExhausted,
    Conflict,
    GatewayError,
    NotAuthorized,
    NotFound,
    QueryFailed,
    QueryRefused,
    ServerError,
    Unavailable,
)
from gateway.wire import QueryRequest, TypedParameter
from tests.client.answers import BUDGET, SUMMARY, answer, problem

Reply = httpx.Response | Exception
AT = datetime.fromisoformat("2024-01-31 10:00:00")


def client(*replies: Reply, retries: int = 4, timeout: float = 120) -> tuple[Client, list[httpx.Request]]:
    """Return a client whose gateway gives these replies in turn, and the requests that it will have received."""
    received: list[httpx.Request] = []
    queue = list(replies)

    def handle(request: httpx.Request) -> httpx.Response:
        received.append(request)
        reply = queue.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    transport = httpx.MockTransport(handle)
    made = Client("http://gw.test", "t0ken", transport=transport, retries=retries, pause=0, timeout=timeout)
    return made, received


def refusal(status: int, code: str, **extra: Any) -> httpx.Response:
    return httpx.Response(
        status, json=problem(status, code, **extra), headers={"Content-Type": "application/problem+json"}
    )


def ask(gateway: Client, **arguments: Any) -> Any:
    return gateway.sql("SELECT COUNT(*) FROM person", dataset="health", epsilon=0.5, **arguments)


def test_a_question_carries_token_key_and_only_what_was_said() -> None:
    gateway, received = client(httpx.Response(200, json=answer()))
    ask(gateway, labels={"study": "costs"})
    (request,) = received
    assert request.method == "POST"
    assert request.url == "http://gw.test/v1/query"
    assert request.headers["authorization"] == "Bearer t0ken"
    assert 1 <= len(request.headers["idempotency-key"]) <= 200
    assert json.loads(request.content) == {
        "sql": "SELECT COUNT(*) FROM person",
        "dataset": "health",
        "epsilon": 0.5,
        "mechanism": "auto",
        "bounding": "auto",
        "clipped_count": False,
        "dry_run": False,
        "confidence": 0.95,
        "non_negative": False,
        "use_cache": True,
        "labels": {"study": "costs"},
    }


def test_two_questions_have_two_keys() -> None:
    gateway, received = client(httpx.Response(200, json=answer()), httpx.Response(200, json=answer()))
    ask(gateway)
    ask(gateway)
    assert len({request.headers["idempotency-key"] for request in received}) == 2


@pytest.mark.parametrize(
    "passing",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
        refusal(429, "too-many-queries"),
        refusal(503, "unavailable"),
        refusal(409, "query-running"),
        httpx.Response(502, text="<html>proxy</html>"),
    ],
    ids=lambda reply: type(reply).__name__ if isinstance(reply, Exception) else str(reply.status_code),
)
def test_what_passes_is_asked_again_under_the_same_key(passing: Reply) -> None:
    gateway, received = client(passing, passing, httpx.Response(200, json=answer()))
    assert ask(gateway, idempotency_key="mine").query_id == "q-1"
    assert [request.headers["idempotency-key"] for request in received] == ["mine"] * 3


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (refusal(403, "budget-exhausted", epsilon_required=1.0, epsilon_remaining=0.25), BudgetExhausted),
        (refusal(403, "no-grant"), NotAuthorized),
        (refusal(401, "token-expired"), NotAuthorized),
        (refusal(404, "dataset-unknown"), NotFound),
        (refusal(409, "idempotency-key-reused"), Conflict),
        (refusal(422, "column-unknown"), QueryRefused),
        (refusal(413, "body-too-large"), QueryRefused),
        (refusal(400, "json-invalid"), QueryRefused),
        (refusal(500, "execution-failed", charged=True), QueryFailed),
        (refusal(503, "execution-failed", charged=True), QueryFailed),
        (refusal(500, "internal"), ServerError),
        (httpx.Response(500, text="<html>trace</html>"), ServerError),
        (httpx.Response(307, headers={"Location": "http://evil.test/"}), ServerError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value.status_code),
)
def test_an_answer_is_final_and_typed(reply: httpx.Response, kind: type[GatewayError]) -> None:
    gateway, received = client(reply)
    with pytest.raises(GatewayError) as raised:
        ask(gateway)
    assert type(raised.value) is kind
    assert raised.value.status == reply.status_code
    assert len(received) == 1
    assert raised.value.idempotency_key == received[0].headers["idempotency-key"]


def test_an_exhausted_budget_says_how_much() -> None:
    gateway, _ = client(refusal(403, "budget-exhausted", epsilon_required=1.0, epsilon_remaining=0.25))
    with pytest.raises(BudgetExhausted) as raised:
        ask(gateway)
    assert raised.value.required == 1.0
    assert raised.value.remaining == 0.25
    assert not raised.value.charged
    assert "required ε = 1, remaining ε = 0.25" in str(raised.value)


def test_a_refusal_points_into_the_sql() -> None:
    sql = "SELECT COUNT(*)\nFROM person\nWHERE agee > 3"
    gateway, _ = client(
        refusal(
            422,
            "column-unknown",
            detail="No such column.",
            hint="Write age.",
            sql_position={"line": 3, "column": 7},
        )
    )
    with pytest.raises(QueryRefused) as raised:
        gateway.sql(sql, dataset="health", epsilon=1)
    assert raised.value.position == (3, 7)
    assert str(raised.value) == (
        "No such column. [column-unknown]\nline 3, column 7:\n  WHERE agee > 3\n        ^\nhint: Write age."
    )


def test_out_of_reach_after_all_retries_keeps_the_key() -> None:
    gateway, received = client(*[httpx.ConnectError("refused: secret-host")] * 3, retries=2)
    with pytest.raises(Unavailable) as raised:
        ask(gateway)
    assert raised.value.code == "gateway-unreachable"
    assert "secret-host" not in str(raised.value)
    assert len(received) == 3
    assert raised.value.idempotency_key == received[0].headers["idempotency-key"]


def test_still_busy_after_all_retries() -> None:
    gateway, received = client(*[refusal(429, "too-many-queries")] * 2, retries=1)
    with pytest.raises(Unavailable) as raised:
        ask(gateway)
    assert raised.value.code == "too-many-queries"
    assert len(received) == 2


@pytest.mark.parametrize("key", ["", "two words", "x" * 201, "a\r\nX-Evil: 1", "é"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    gateway, received = client()
    with pytest.raises(ValueError, match="idempotency key"):
        ask(gateway, idempotency_key=key)
    assert received == []


@pytest.mark.parametrize("price", [float("nan"), float("inf")])
def test_a_price_that_json_cannot_say_is_refused_as_the_gateway_would(price: float) -> None:
    gateway, received = client()
    with pytest.raises(QueryRefused) as raised:
        gateway.sql("SELECT 1", dataset="health", epsilon=price)
    assert raised.value.code == "price-invalid"
    assert received == []


def test_retry_after_is_obeyed_within_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("gateway.client.client.time.sleep", waited.append)
    replies = [
        httpx.Response(429, json=problem(429, "too-many-queries"), headers={"Retry-After": after})
        for after in ("7", "99999", "soon")
    ]
    gateway = Client(
        "http://gw.test",
        "t",
        transport=httpx.MockTransport(lambda _: replies.pop(0) if replies else httpx.Response(200, json=answer())),
        pause=0.5,
    )
    ask(gateway)
    assert waited[0] == 7
    assert waited[1] == 30
    assert 2.0 <= waited[2] < 3.0


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"not json", json.dumps(answer(rows="none")).encode()], ids=repr)
def test_an_answer_of_something_else_is_said_to_be_that(body: bytes) -> None:
    gateway, _ = client(httpx.Response(200, content=body))
    with pytest.raises(ServerError) as raised:
        ask(gateway)
    assert raised.value.code == "answer-unreadable"


@pytest.mark.parametrize("body", [b"[]", b"\xff", b'{"detail": 3}'], ids=repr)
def test_a_refusal_without_a_problem_document_is_named_by_its_status(body: bytes) -> None:
    gateway, _ = client(httpx.Response(404, content=body))
    with pytest.raises(NotFound) as raised:
        gateway.datasets()
    assert raised.value.code == "http-404"


def test_an_answer_of_a_newer_gateway_is_still_read() -> None:
    gateway, _ = client(httpx.Response(200, json=answer(news="a field of tomorrow")))
    assert len(ask(gateway)) == 2


def test_explain_is_a_dry_run() -> None:
    gateway, received = client(httpx.Response(200, json=answer(dry_run=True, rows=[], intervals={}, query_id=None)))
    explained = gateway.explain("SELECT COUNT(*) FROM person", dataset="health", epsilon=1)
    assert json.loads(received[0].content)["dry_run"] is True
    assert explained.plan.id == "p-1"
    assert explained.cost.epsilon == 0.5


def test_budgets_and_datasets() -> None:
    gateway, received = client(
        httpx.Response(200, json=[BUDGET]),
        httpx.Response(200, json=[BUDGET]),
        httpx.Response(200, json=[]),
        httpx.Response(200, json=[SUMMARY]),
        refusal(404, "dataset-unknown"),
    )
    assert gateway.budgets()[0].epsilon_remaining == 4.5
    assert gateway.budget("health").dataset == "health"
    assert gateway.datasets() == []
    assert gateway.queries("health", limit=5)[0].status == "answered"
    with pytest.raises(NotFound):
        gateway.dataset("a/../b ?")
    assert [request.url.raw_path for request in received] == [
        b"/v1/budget",
        b"/v1/budget?dataset=health",
        b"/v1/datasets",
        b"/v1/queries?limit=5&dataset=health",
        b"/v1/datasets/a%2F..%2Fb%20%3F",
    ]


def test_a_path_prefix_is_kept() -> None:
    seen: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        return httpx.Response(200, json=[])

    with Client("https://host.test/privacy/", "t", transport=httpx.MockTransport(handle)) as gateway:
        gateway.datasets()
    assert seen == ["/privacy/v1/datasets"]


@pytest.mark.parametrize(
    "build",
    [
        lambda: Client("http://gw.test", "s3cret\r\nX-Evil: 1"),
        lambda: Client("http://gw.test", ""),
        lambda: Client("gw.test:8000", "s3cret"),
        lambda: Client("http://", "s3cret"),
        lambda: Client("http://a:b:c", "s3cret"),
    ],
)
def test_a_bad_url_or_token_is_refused_without_showing_the_token(build: Callable[[], Client]) -> None:
    with pytest.raises(ValueError, match=r"token|URL") as raised:
        build()
    assert "s3cret" not in str(raised.value)


def test_the_token_is_not_shown() -> None:
    gateway, _ = client()
    assert "t0ken" not in repr(gateway)


def test_from_env(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISCREET_URL", raising=False)
    monkeypatch.setenv("DISCREET_TOKEN", "t")
    with pytest.raises(LookupError, match="set DISCREET_URL in"):
        Client.from_env()
    monkeypatch.setenv("DISCREET_URL", "http://gw.test")
    assert repr(Client.from_env()) == "Client('http://gw.test')"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ([30, 0.5, "Ulm", True, None], [30, 0.5, "Ulm", True, None]),
        ({"least": 30}, {"least": 30}),
        ([date(2024, 1, 31)], [{"type": "date", "value": "2024-01-31"}]),
        ({"at": AT}, {"at": {"type": "timestamp", "value": "2024-01-31T10:00:00"}}),
        ([TypedParameter(type="text", value=None)], [{"type": "text", "value": None}]),
    ],
)
def test_parameters_are_sent_with_their_types(given: Parameters, sent: object) -> None:
    gateway, received = client(httpx.Response(200, json=answer()))
    ask(gateway, parameters=given)
    body = json.loads(received[0].content)
    assert body["parameters"] == sent
    assert QueryRequest.model_validate_json(received[0].content).parameters is not None


@pytest.mark.parametrize("given", ["30", [float("nan")]])
def test_parameters_that_are_none(given: Any) -> None:
    gateway, received = client()
    with pytest.raises((TypeError, ValueError)):
        ask(gateway, parameters=given)
    assert received == []


def running(query_id: str = "a" * 32) -> httpx.Response:
    return httpx.Response(202, json={"query_id": query_id, "status": "running"})


def test_what_takes_long_is_waited_for() -> None:
    gateway, received = client(running(), running(), httpx.Response(200, json=answer()))
    assert ask(gateway).query_id == "q-1"
    assert [(each.method, each.url.path) for each in received] == [
        ("POST", "/v1/query"),
        ("GET", "/v1/queries/" + "a" * 32),
        ("GET", "/v1/queries/" + "a" * 32),
    ]
    assert received[1].headers["prefer"] == "wait=20"


@pytest.mark.parametrize("lost", [refusal(404, "query-unknown"), refusal(409, "query-abandoned")])
def test_what_a_gateway_lost_is_sent_again_under_its_key(lost: httpx.Response) -> None:
    gateway, received = client(running(), lost, running("b" * 32), httpx.Response(200, json=answer()))
    assert ask(gateway, idempotency_key="mine").query_id == "q-1"
    assert [each.method for each in received] == ["POST", "GET", "POST", "GET"]
    assert {each.headers["idempotency-key"] for each in received if each.method == "POST"} == {"mine"}
    assert received[0].content == received[2].content


def test_a_failure_that_comes_late_is_raised_with_its_key() -> None:
    gateway, _ = client(running(), refusal(500, "execution-failed", charged=True))
    with pytest.raises(QueryFailed) as raised:
        ask(gateway, idempotency_key="mine")
    assert raised.value.idempotency_key == "mine"


def test_a_question_is_submitted_looked_at_and_taken_back() -> None:
    gateway, received = client(
        running(), running(), httpx.Response(204), running(), httpx.Response(200, json=answer()), httpx.Response(204)
    )
    pending = gateway.submit("SELECT COUNT(*) FROM person", dataset="health", epsilon=0.5)
    assert received[0].headers["prefer"] == "respond-async"
    assert pending.query_id == "a" * 32
    assert not pending.done()
    pending.cancel()
    assert (received[-1].method, received[-1].url.path) == ("DELETE", "/v1/queries/" + "a" * 32)
    with pytest.raises(TimeoutError):
        pending.result(timeout=0)
    assert pending.result().query_id == pending.query_id == "q-1"
    pending.cancel()
    assert len(received) == 5, "what has ended is not cancelled"


def test_a_client_of_little_patience_has_requests_held_open_for_less() -> None:
    gateway, received = client(running(), httpx.Response(200, json=answer()), timeout=7)
    ask(gateway)
    assert [each.headers["prefer"] for each in received] == ["wait=3", "wait=3"]
