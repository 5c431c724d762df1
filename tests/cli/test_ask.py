"""Asking over HTTP: what the command line sends to a gateway, prints of its answers, and says of its refusals."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.cli.conftest import Call
from tests.client.answers import BUDGET, answer, problem

QUESTION = ("query", "SELECT plan, COUNT(*) AS n FROM person GROUP BY plan", "--dataset", "health")


class Gateway(HTTPServer):
    """A server on a free port that gives one reply to everything and keeps what it was sent."""

    reply: tuple[int, Any] = (200, None)

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[tuple[str, str, dict[str, str], Any]] = []

    @property
    def environment(self) -> dict[str, str]:
        return {"DISCREET_URL": f"http://127.0.0.1:{self.server_port}", "DISCREET_TOKEN": "t0ken"}


class Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.received.append((self.command, self.path, dict(self.headers), json.loads(body) if body else None))
        status, document = self.server.reply
        payload = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep the test's output clean."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_a_question_over_http(call: Call, gateway: Gateway) -> None:
    gateway.reply = (200, answer())
    asked = call(*QUESTION, "--epsilon", "0.5", "--idempotency-key", "k", env=gateway.environment)
    assert asked.exit_code == 0, asked.stderr
    assert "1,234 ± 30" in asked.stdout
    assert "remaining on health: ε = 4.5 of 5" in asked.stdout
    ((method, path, headers, body),) = gateway.received
    assert (method, path) == ("POST", "/v1/query")
    assert headers["Authorization"] == "Bearer t0ken"
    assert headers["Idempotency-Key"] == "k"
    assert (body["epsilon"], body["dataset"], body["dry_run"]) == (0.5, "health", False)


def test_json_is_the_answer_as_it_came(call: Call, gateway: Gateway) -> None:
    gateway.reply = (200, answer())
    asked = call(*QUESTION, "--epsilon", "0.5", "--json", env=gateway.environment)
    document = json.loads(asked.stdout)
    assert document["rows"] == answer()["rows"]
    assert document["intervals"] == answer()["intervals"]


def test_url_and_token_as_options(call: Call, gateway: Gateway) -> None:
    gateway.reply = (200, answer())
    asked = call(*QUESTION, "--rho", "0.1", "--url", gateway.environment["DISCREET_URL"], "--token", "other")
    assert asked.exit_code == 0
    assert gateway.received[0][2]["Authorization"] == "Bearer other"
    assert gateway.received[0][3]["rho"] == 0.1


def test_explain_is_a_dry_run(call: Call, gateway: Gateway) -> None:
    gateway.reply = (200, answer(dry_run=True, rows=[], intervals={}, query_id=None))
    explained = call("explain", "SELECT 1", "--dataset", "health", "--epsilon", "1", env=gateway.environment)
    assert explained.exit_code == 0
    assert "bounded SQL:" in explained.stdout
    assert gateway.received[0][3]["dry_run"] is True


def test_what_remains(call: Call, gateway: Gateway) -> None:
    gateway.reply = (200, [BUDGET])
    shown = call("budget", "show", env=gateway.environment)
    assert "4.5" in shown.stdout
    assert json.loads(call("budget", "show", "--dataset", "health", "--json", env=gateway.environment).stdout) == [
        BUDGET | {"suspended": False, "more_like_this": None}
    ]
    assert [path for _, path, _, _ in gateway.received] == ["/v1/budget", "/v1/budget?dataset=health"]


def test_a_refusal_shows_the_place_and_the_hint(call: Call, gateway: Gateway) -> None:
    gateway.reply = (
        422,
        problem(422, "column-unknown", hint="Write plan.", sql_position={"line": 1, "column": 8}),
    )
    refused = call(*QUESTION, "--epsilon", "1", env=gateway.environment)
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert refused.stderr == (
        "error: No. [column-unknown]\n"
        "line 1, column 8:\n"
        "  SELECT plan, COUNT(*) AS n FROM person GROUP BY plan\n"
        "         ^\n"
        "hint: Write plan.\n"
    )


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "budget-exhausted"), (401, "token-expired"), (500, "execution-failed"), (500, "internal")],
)
def test_other_refusals(call: Call, gateway: Gateway, status: int, code: str) -> None:
    gateway.reply = (status, problem(status, code))
    refused = call(*QUESTION, "--epsilon", "1", env=gateway.environment)
    assert refused.exit_code == 1
    assert refused.stderr == f"error: No. [{code}]\n"
    assert len(gateway.received) == 1


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        ((), {}),
        ((), {"DISCREET_URL": "http://127.0.0.1:1"}),
        (("--token", "t"), {}),
        (("--analyst", "ada"), {"DISCREET_URL": "http://127.0.0.1:1", "DISCREET_TOKEN": "t"}),
        (("--url", "ftp://host", "--token", "t"), {}),
        (("--url", "http://127.0.0.1:1", "--token", "two words"), {}),
        (("--confidence", "1.5", "--analyst", "ada"), {}),
        (("--mechanism", "magic", "--analyst", "ada"), {}),
        (("--max-groups-contributed", "0", "--analyst", "ada"), {}),
        (("--epsilon", "much", "--analyst", "ada"), {}),
        (("--param", "least", "--analyst", "ada"), {}),
        (("--param", "=30", "--analyst", "ada"), {}),
        (("--param", "a=1", "--param", "a=2", "--analyst", "ada"), {}),
        (("--idempotency-key", "two words", "--analyst", "ada"), {}),
        (("--idempotency-key", "", "--analyst", "ada"), {}),
        (("--idempotency-key", "x" * 201, "--analyst", "ada"), {}),
    ],
)
def test_misuse(call: Call, words: tuple[str, ...], environment: dict[str, str]) -> None:
    misused = call(*QUESTION, "--epsilon", "1", *words, env=environment)
    assert misused.exit_code == 2
    assert misused.stdout == ""
    assert "Traceback" not in misused.stderr


def test_a_price_that_is_no_number(call: Call, gateway: Gateway) -> None:
    refused = call(*QUESTION, "--epsilon", "nan", env=gateway.environment)
    assert refused.exit_code == 1
    assert "[price-invalid]" in refused.stderr
    assert gateway.received == []


def test_parameters(call: Call, gateway: Gateway) -> None:
    gateway.reply = (200, answer())
    words = [
        f"--param={option}"
        for option in ("least=30", "much=1e999", "share=0.5", "city=Ulm", 'code="30"', "old=true", "none=")
    ]
    asked = call(*QUESTION, "--epsilon", "0.5", *words, env=gateway.environment)
    assert asked.exit_code == 0, asked.stderr
    assert gateway.received[0][3]["parameters"] == {
        "least": 30,
        "much": "1e999",
        "share": 0.5,
        "city": "Ulm",
        "code": "30",
        "old": True,
        "none": "",
    }
