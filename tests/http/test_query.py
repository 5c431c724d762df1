"""Answers in their formats, and the time at which they show."""

from __future__ import annotations

import csv
import io
import json
import logging
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import Connection

from budget import ledger
from gateway import query
from gateway.asked import request_hash
from gateway.auth.principal import Principal
from gateway.errors import SqlRefused, Unavailable
from gateway.http.formats import FORMATS, STREAMED, Format, negotiate
from gateway.http.problems import HttpError
from gateway.service import Service
from gateway.watch.readiness import Readiness
from gateway.wire import QueryRequest, QueryResponse
from tests.budget.ledgers import pure
from tests.http.shapes import problem
from tests.http.world import World, rote, world

GOOD: dict[str, Any] = {"sql": "SELECT COUNT(*) FROM person", "dataset": "health", "epsilon": 0.5}
ARROW = "application/vnd.apache.arrow.stream"


def test_json(here: World) -> None:
    response = here.client().post("/v1/query", json=GOOD, headers=here.bearer())
    answer = QueryResponse.model_validate_json(response.content)
    assert answer.rows == [["F", 17, "2020-01-02"], [None, -(2**63), None]]
    assert answer.cost.epsilon == 0.5


def test_csv(here: World) -> None:
    response = here.client().post("/v1/query", json=GOOD, headers=here.bearer() | {"Accept": "text/csv"})
    assert response.headers["content-type"].startswith("text/csv")
    rows = list(csv.reader(io.StringIO(response.text)))
    assert rows == [["sex", "n", "day"], ["F", "17", "2020-01-02"], ["", str(-(2**63)), ""]]
    assert response.headers["discreet-query-id"] == "0" * 32
    assert response.headers["discreet-epsilon"] == "0.5"


def test_arrow(here: World) -> None:
    response = here.client().post("/v1/query", json=GOOD, headers=here.bearer() | {"Accept": ARROW})
    assert response.headers["content-type"] == ARROW
    with pa.ipc.open_stream(response.content) as reader:
        table = reader.read_all()
    assert table.to_pylist() == [
        {"sex": "F", "n": 17, "day": date(2020, 1, 2)},
        {"sex": None, "n": -(2**63), "day": None},
    ]
    metadata = table.schema.metadata
    assert metadata is not None
    assert json.loads(metadata[b"discreet"])["intervals"] == {"n": [[14.0, 20.0], None]}


def test_integers_beyond_64_bits_and_columns_of_one_name_go_into_arrow(here: World) -> None:
    def answer(*request: Any) -> QueryResponse:
        usual = rote(*request).model_dump()
        columns = [{"name": "n", "type": "integer", "role": "noisy"}] * 2
        return QueryResponse(**usual | {"columns": columns, "rows": [[2**63, 1], [None, None]], "intervals": {}})

    response = here.client(answer).post("/v1/query", json=GOOD, headers=here.bearer() | {"Accept": ARROW})
    with pa.ipc.open_stream(response.content) as reader:
        table = reader.read_all()
    assert [column.to_pylist() for column in table.columns] == [[float(2**63), None], [1, None]]


def many(*request: Any) -> QueryResponse:
    """Answer with more rows than are sent at once, NULLs, commas, quotes and ends of intervals among them."""
    usual = rote(*request).model_dump()
    rows: list[list[Any]] = [[f'"{number}",\nü', number, "2020-01-02"] for number in range(2 * STREAMED + 7)]
    rows[STREAMED] = [None, -(2**63), None]
    ends: list[Any] = [(number - 0.5, number + 0.5) for number in range(len(rows))]
    ends[1] = None
    return QueryResponse(**usual | {"rows": rows, "intervals": {'n"': ends, "empty": []}})


@pytest.mark.parametrize("accept", FORMATS)
def test_many_rows_are_sent_in_pieces_and_say_what_they_say_at_once(here: World, accept: Format) -> None:
    answer = many(here.service, None, QueryRequest(**GOOD), None)
    response = here.client(many).post("/v1/query", json=GOOD, headers=here.bearer() | {"Accept": accept})
    assert "content-length" not in response.headers
    match accept:
        case "application/json":
            assert response.text == answer.model_dump_json()
        case "text/csv":
            rows = list(csv.reader(io.StringIO(response.text)))
            assert rows[1:] == [["" if value is None else str(value) for value in row] for row in answer.rows]
        case _:
            with pa.ipc.open_stream(response.content) as reader:
                batches = list(reader)
            assert [batch.num_rows for batch in batches] == [STREAMED, STREAMED, 7]
            assert [list(row.values())[:2] for batch in batches for row in batch.to_pylist()] == [
                row[:2] for row in answer.rows
            ]
            metadata = reader.schema.metadata
            assert metadata is not None
            assert json.loads(metadata[b"discreet"]) == json.loads(
                answer.model_copy(update={"rows": []}).model_dump_json()
            )
            assert response.headers["discreet-epsilon"] == "0.5"


def test_what_cannot_be_written_is_told_before_the_first_byte(here: World) -> None:
    def answer(*request: Any) -> QueryResponse:
        found = many(*request)
        found.rows[-1][2] = "no date"
        return found

    response = here.client(answer).post("/v1/query", json=GOOD, headers=here.bearer() | {"Accept": ARROW})
    assert response.status_code == 500
    assert response.json()["code"] == "internal"


def test_an_answer_without_rows_goes_into_arrow(here: World) -> None:
    def answer(*request: Any) -> QueryResponse:
        return rote(*request).model_copy(update={"rows": []})

    response = here.client(answer).post("/v1/query", json=GOOD, headers=here.bearer() | {"Accept": ARROW})
    with pa.ipc.open_stream(response.content) as reader:
        assert reader.read_all().num_rows == 0


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ([], "application/json"),
        (["*/*"], "application/json"),
        (["text/*"], "text/csv"),
        (["text/csv, application/json;q=0.5"], "text/csv"),
        (["text/csv;q=0.2", "application/json;q=0.5"], "application/json"),
        (["application/problem+json"], "application/json"),
        ([f"text/html, {ARROW}"], ARROW),
        (["TEXT/CSV ; charset=utf-8"], "text/csv"),
    ],
)
def test_negotiation(accept: list[str], wanted: str) -> None:
    assert negotiate(accept) == wanted


@pytest.mark.parametrize("accept", ["text/csv;q=nan", "text/csv;q=2", "text/csv;q=x", "nonsense"])
def test_negotiation_refuses_what_it_cannot_read(accept: str) -> None:
    with pytest.raises(HttpError):
        negotiate([accept])


def test_a_query_that_runs_keeps_nobody_out(here: World) -> None:
    release = threading.Event()
    begun = threading.Event()

    def slow(*request: Any) -> QueryResponse:
        begun.set()
        assert release.wait(30)
        return rote(*request)

    client = here.client(slow)

    def others() -> None:
        assert begun.wait(30)
        release.set()

    watcher = threading.Thread(target=others)
    watcher.start()
    asked = {"method": "POST", "url": "/v1/query", "json": GOOD, "headers": here.bearer()}
    looked = {"method": "GET", "url": "/v1/budget", "headers": here.bearer()}
    responses = client.together(asked, *[looked] * 40)
    watcher.join()
    assert [response.status_code for response in responses] == [200] * 41


def test_one_analysts_queries_cannot_fill_the_queue(here: World) -> None:
    release = threading.Event()

    def slow(*request: Any) -> QueryResponse:
        assert release.wait(30)
        return rote(*request)

    client = here.client(slow)
    own = {"method": "POST", "url": "/v1/query", "json": GOOD | {"dry_run": True}, "headers": here.bearer()}
    other = {**own, "headers": here.bearer("bob")}
    threading.Timer(0.5, release.set).start()
    *owns, others = client.together(*[own] * 10, other)
    codes = sorted(response.status_code for response in owns)
    assert codes == [200] * here.settings.queries_per_analyst + [429] * (10 - here.settings.queries_per_analyst)
    assert others.status_code == 200
    for response in owns:
        if response.status_code == 429:
            problem(response, 429, "too-many-queries")


def test_more_queries_than_may_be_in_flight_wait_for_their_turn_and_dry_runs_do_not(tmp_path: Path) -> None:
    planned = threading.Event()

    def held(
        service: Service, principal: Principal, request: QueryRequest, key: str | None, *_: object
    ) -> QueryResponse:
        if request.dry_run:
            planned.set()
        else:
            with service.slots.hold(principal.name):
                assert planned.wait(30)
        return rote(service, principal, request, key)

    with world(tmp_path, queries_in_all=1) as made:
        real = [
            {"method": "POST", "url": "/v1/query", "json": GOOD, "headers": made.bearer(name)}
            for name in ("ada", "bob", "ada", "bob")
        ]
        responses = made.client(held).together(*real, {**real[0], "json": GOOD | {"dry_run": True}})
    assert [response.status_code for response in responses] == [200] * 5


@pytest.mark.parametrize("outcome", ["answer", "refusal", "crash", "no-token", "malformed", "too-large", "poll"])
def test_every_outcome_of_a_query_shows_at_a_multiple_of_the_quantum(tmp_path: Path, outcome: str) -> None:
    def answer(*request: Any) -> QueryResponse:
        time.sleep(0.01)
        if outcome == "refusal":
            raise SqlRefused("sql-syntax", "No.")
        if outcome == "crash":
            raise KeyError
        return rote(*request)

    with world(tmp_path, latency_quantum_ms=150) as made:
        client = made.client(answer)
        request: dict[str, Any] = {"json": GOOD, "headers": made.bearer()}
        if outcome == "no-token":
            request = {"json": GOOD}
        elif outcome == "malformed":
            request = {"content": b"{", "headers": made.bearer()}
        elif outcome == "too-large":
            request["json"] = {"sql": "x" * 1_000_000}
        path = "/v1/query" if outcome != "poll" else "/v1/queries"
        began = time.monotonic()
        client.request("GET" if outcome == "poll" else "POST", path, **request)
        passed = time.monotonic() - began
        assert passed >= 0.15
        waits = []
        for _ in range(20):  # a busy machine may delay some of them, but holds none of them back for the quantum
            began = time.monotonic()
            client.get("/healthz")
            waits.append(time.monotonic() - began)
        assert min(waits) < 0.15


def test_a_gateway_with_a_fault_answers_no_question(here: World) -> None:
    from dataclasses import replace

    faulty = World(replace(here.service, readiness=Readiness(("noise: stuck",))), here.tokens)
    client = faulty.client()
    problem(client.post("/v1/query", json=GOOD, headers=here.bearer()), 503, "not-ready")
    response = client.get("/readyz")
    problem(response, 503, "not-ready")
    assert "stuck" not in response.text
    assert client.get("/v1/admin/analysts", headers=here.bearer("root")).status_code == 200
    for each in faulty.clients:
        each.close()


def test_a_ledger_that_cannot_be_written_is_no_surprise(fresh: World, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever has the file open may read on, and is charged nothing: SQLite refuses to write to a file that moved."""
    client, path = fresh.client(query.answer), fresh.settings.home / "control.sqlite"
    question = GOOD | {"sql": "SELECT COUNT(*) FROM person WHERE age > 40"}
    assert client.post("/v1/query", json=GOOD, headers=fresh.bearer()).status_code == 200
    path.rename(path.with_suffix(".away"))
    with caplog.at_level(logging.ERROR, "discreet"):
        refused = client.post("/v1/query", json=question, headers=fresh.bearer())
    problem(refused, 503, "control-unavailable")
    assert refused.headers["retry-after"].isdigit()
    assert "readonly" in caplog.text or "unable to open" in caplog.text
    problem(client.get("/readyz"), 503, "control-unavailable")
    path.with_suffix(".away").rename(path)
    assert client.get("/readyz").json() == {"status": "ok"}
    answered = client.post("/v1/query", json=question, headers=fresh.bearer()).json()
    assert answered["budget"]["epsilon_spent"] == 1.0


def test_a_retry_that_meets_a_charge_taken_back_is_told_so(fresh: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks again while the first is being taken back is not told of a failure: nothing was charged."""
    service, asked = fresh.service, QueryRequest.model_validate(GOOD)
    charge = ledger.ChargeRequest(
        dataset="health",
        analyst="ada",
        loss=pure(1),
        price=1,
        request_hash=request_hash(asked),
        plan_fingerprint="plan",
        policy_version=1,
        data_version=1,
        mechanism="{}",
        process=service.process.id,
        idempotency_key="k",
    )
    service.committer.charge(charge)
    claim = ledger.claim_retry

    def late(conn: Connection, charge_id: str, **given: Any) -> ledger.Claim:
        ledger.void(conn, charge_id, process=service.process.id, reason="the database was not reached")
        return claim(conn, charge_id, **given)

    monkeypatch.setattr(ledger, "claim_retry", late)
    with pytest.raises(Unavailable, match="cannot be used now") as told:
        query.answer(service, Principal("ada", "analyst"), asked, "k")
    assert told.value.code == "engine-unavailable"
