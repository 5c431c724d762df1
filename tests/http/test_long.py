"""Questions that take longer than their request: told of, fetched, waited for, cancelled, and nobody else's."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from budget import suspensions
from budget.records import Record
from gateway import admin, executing, query
from gateway.engines.duckdb import DuckdbSession
from gateway.http import jobs, queries
from gateway.service import Service
from gateway.submission import Submission
from gateway.wire import QueryRequest
from tests.http.shapes import problem
from tests.http.world import InProcess, World, rote, world

ASKED = {"sql": "SELECT sex, COUNT(*) AS n FROM person GROUP BY sex", "dataset": "health", "epsilon": 0.5}
ASYNC = {"Prefer": "respond-async"}
ENDLESS = "SELECT count(*) FROM range(1000000) a, range(1000000) b, range(1000000) c WHERE a.range + b.range = c.range"


class Engine:
    """What the data's database does: a statement waits until ``go``, or goes on for ever."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Event()
        self.endless = False
        self.fails = False
        self.statements = 0


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    fetch = DuckdbSession.fetch

    def fetched(session: DuckdbSession, sql: str) -> pa.Table:
        made.statements += 1
        made.begun.set()
        if made.endless:
            return fetch(session, ENDLESS)
        assert made.go.wait(30)
        if made.fails:
            raise ValueError("what no analyst sees")
        return fetch(session, sql)

    monkeypatch.setattr(DuckdbSession, "fetch", fetched)
    return made


@contextmanager
def gateway(folder: Path, **settings: Any) -> Iterator[tuple[World, InProcess]]:
    with world(folder, **settings) as made:
        yield made, made.client(query.answer)


@pytest.fixture
def here_and_client(tmp_path: Path) -> Iterator[tuple[World, InProcess]]:
    with gateway(tmp_path) as made:
        yield made


def ask(made: World, client: InProcess, name: str = "ada", **headers: str) -> httpx.Response:
    return client.post("/v1/query", json=ASKED, headers={**made.bearer(name), **ASYNC, **headers})


def begun(made: World, client: InProcess, engine: Engine, **changes: Any) -> str:
    """Ask, and return where the answer will be once the database is asked: the loop of these clients runs with them."""
    place = later(client.post("/v1/query", json={**ASKED, **changes}, headers={**made.bearer(), **ASYNC}))
    while not engine.begun.wait(0.01):
        later(client.get(place, headers=made.bearer()))
    return place


def later(response: httpx.Response) -> str:
    """Check that a question goes on, and return where its answer will be."""
    assert response.status_code == 202, response.text
    body = response.json()
    assert body["status"] == "running"
    assert response.headers["location"] == f"/v1/queries/{body['query_id']}"
    return str(response.headers["location"])


def test_a_question_that_takes_long_is_fetched_when_it_is_there(
    here_and_client: tuple[World, InProcess], engine: Engine
) -> None:
    made, client = here_and_client
    place = begun(made, client, engine)
    later(client.get(place, headers=made.bearer()))
    assert client.get("/v1/queries", headers=made.bearer()).json()[0]["status"] == "running"
    engine.go.set()
    first = client.get(place, headers={**made.bearer(), "Prefer": "wait=20"})
    assert first.status_code == 200, first.text
    body = first.json()
    assert place.endswith(body["query_id"])
    assert len(body["rows"]) == 3
    assert body["cost"]["epsilon"] == 0.5
    again = client.get(place, headers={**made.bearer(), "Accept": "text/csv"})
    assert again.headers["content-type"].startswith("text/csv")
    assert again.headers["discreet-query-id"] == body["query_id"]
    assert [line.split(",")[1] for line in again.text.splitlines()[1:]] == [str(row[1]) for row in body["rows"]]
    assert engine.statements == 1, "an answer that stands is drawn once"
    retried = client.post("/v1/query", json=ASKED, headers=made.bearer()).json()
    assert retried["rows"] == body["rows"], "it is held like any other"


def test_what_the_setting_says_is_waited_for_unasked(tmp_path: Path, engine: Engine) -> None:
    with gateway(tmp_path, answer_within_seconds=0.2) as (made, client):
        response = client.post("/v1/query", json=ASKED, headers=made.bearer())
        place = later(response)
        engine.go.set()
        assert client.get(place, headers={**made.bearer(), "Prefer": "wait=20"}).status_code == 200
        quick = client.post("/v1/query", json={**ASKED, "use_cache": False}, headers=made.bearer())
        assert quick.status_code == 200


def test_nobody_elses_query_is_seen_or_cancelled(here_and_client: tuple[World, InProcess], engine: Engine) -> None:
    made, client = here_and_client
    place = begun(made, client, engine)
    for name in ("bob", "root"):
        absent = "/v1/queries/" + "0" * 32
        for method in ("GET", "DELETE"):
            seen = problem(client.request(method, place, headers=made.bearer(name)), 404, "query-unknown")
            assert seen == problem(client.request(method, absent, headers=made.bearer(name)), 404, "query-unknown")
    engine.go.set()
    assert client.get(place, headers={**made.bearer(), "Prefer": "wait=20"}).status_code == 200


def test_a_cancelled_query_is_the_constant_failure_stays_charged_and_suspends_nobody(
    here_and_client: tuple[World, InProcess], engine: Engine
) -> None:
    made, client = here_and_client
    engine.endless = True
    place = begun(made, client, engine)
    began = time.monotonic()
    assert client.request("DELETE", place, headers=made.bearer()).status_code == 204
    failed = client.get(place, headers={**made.bearer(), "Prefer": "wait=30"})
    assert time.monotonic() - began < 15, "the engine was not reached"
    assert (failed.status_code, failed.json()["code"], failed.json()["charged"]) == (500, "execution-failed", True)
    assert client.request("DELETE", place, headers=made.bearer()).status_code == 204, "what has ended stays as it is"
    (budget,) = client.get("/v1/budget", headers=made.bearer()).json()
    assert (budget["epsilon_spent"], budget["suspended"]) == (0.5, False)
    engine.endless = False
    engine.go.set()
    assert ask(made, client).status_code in (200, 202)


def test_an_answer_that_comes_after_the_cancellation_is_thrown_away(
    here_and_client: tuple[World, InProcess], engine: Engine
) -> None:
    """Whether the engine was just done, or had just failed of its own, does not show."""
    made, client = here_and_client
    ended = []
    for fails in (False, True):
        engine.fails = fails
        engine.go.clear()
        engine.begun.clear()
        place = begun(made, client, engine, use_cache=False)
        assert client.request("DELETE", place, headers=made.bearer()).status_code == 204
        engine.go.set()
        failed = client.get(place, headers={**made.bearer(), "Prefer": "wait=30"})
        ended.append((failed.status_code, {**failed.json(), "query_id": ""}))
    assert ended[0] == ended[1]
    assert client.get("/v1/budget", headers=made.bearer()).json()[0]["suspended"] is False


def test_a_query_that_is_cancelled_before_its_charge_costs_nothing(tmp_path: Path, engine: Engine) -> None:
    with gateway(tmp_path, queries_in_all=1) as (made, client):
        first = later(ask(made, client))
        second = later(ask(made, client, **{"Idempotency-Key": "second"}))
        assert client.request("DELETE", second, headers=made.bearer()).status_code == 204
        engine.go.set()
        assert client.get(first, headers={**made.bearer(), "Prefer": "wait=20"}).status_code == 200
        gone = client.get(second, headers={**made.bearer(), "Prefer": "wait=20"})
        problem(gone, 409, "query-cancelled")
        (budget,) = client.get("/v1/budget", headers=made.bearer()).json()
        assert budget["epsilon_spent"] == 0.5


def test_what_is_withheld_is_withheld_by_every_way(here_and_client: tuple[World, InProcess], engine: Engine) -> None:
    made, client = here_and_client
    place = begun(made, client, engine)
    with made.service.control.begin() as conn:
        suspensions.suspend(conn, "health", "ada", actor="gateway")
    problem(client.get(place, headers=made.bearer()), 403, "suspended")
    engine.go.set()
    problem(client.get(place, headers={**made.bearer(), "Prefer": "wait=20"}), 403, "suspended")
    with made.service.control.begin() as conn:
        suspensions.clear(conn, "health", "ada", actor="root")
    assert client.get(place, headers={**made.bearer(), "Prefer": "wait=20"}).status_code == 200


def test_a_failure_that_comes_late_is_the_constant_one(
    here_and_client: tuple[World, InProcess], engine: Engine
) -> None:
    made, client = here_and_client
    engine.fails = True
    place = begun(made, client, engine)
    engine.go.set()
    failed = client.get(place, headers={**made.bearer(), "Prefer": "wait=20"})
    assert (failed.status_code, failed.json()["code"]) == (500, "execution-failed")
    assert "no analyst" not in failed.text
    assert client.get("/v1/budget", headers=made.bearer()).json()[0]["suspended"] is True


def test_a_refusal_that_comes_late_is_told_once_it_is_there(tmp_path: Path, engine: Engine) -> None:
    with gateway(tmp_path, queries_in_all=1) as (made, client):
        first = later(ask(made, client))
        wrong = {**ASKED, "sql": "SELECT missing FROM person"}
        second = later(client.post("/v1/query", json=wrong, headers={**made.bearer(), **ASYNC}))
        engine.go.set()
        refused = client.get(second, headers={**made.bearer(), "Prefer": "wait=20"})
        problem(refused, 422, "column-unknown")
        problem(client.get(second, headers=made.bearer("bob")), 404, "query-unknown")
        assert client.get(first, headers={**made.bearer(), "Prefer": "wait=20"}).status_code == 200


def test_another_process_finds_what_stands(tmp_path: Path, engine: Engine) -> None:
    """An application that knows nothing of the question reads it from the ledger, whole."""
    with gateway(tmp_path) as (made, client):
        place = begun(made, client, engine)
        other = made.client(query.answer)
        later(other.get(place, headers=made.bearer()))
        problem(other.request("DELETE", place, headers=made.bearer()), 409, "query-elsewhere")
        engine.go.set()
        first = client.get(place, headers={**made.bearer(), "Prefer": "wait=20"}).json()
        assert other.get(place, headers=made.bearer()).json() == first
        assert other.request("DELETE", place, headers=made.bearer()).status_code == 204


def test_outcomes_of_polls_show_at_multiples_since_submission(tmp_path: Path, engine: Engine) -> None:
    engine.go.set()
    with gateway(tmp_path, latency_quantum_ms=700) as (made, client):
        began = time.monotonic()
        place = later(client.post("/v1/query", json=ASKED, headers={**made.bearer(), **ASYNC}))
        got = client.get(place, headers={**made.bearer(), "Prefer": "wait=20"})
        assert got.status_code == 200
        assert time.monotonic() - began >= 1.4, "a poll has its own multiple, after that of the outcome"


def test_looks_that_wait_end_at_multiples_since_submission(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks sent at many instants, each of one second, told to the millisecond when a question had ended."""
    job = jobs.Job(Submission(), "ada", QueryRequest(sql="", dataset="health"), began=1000.0)
    for passed in (0.0, 0.003, 0.1, 0.21, 0.6999, 0.7, 7.77):
        monkeypatch.setattr(time, "monotonic", lambda passed=passed: 1000.0 + passed)
        waits = job.patience(1.0, 0.7)
        assert 1.0 - 1e-9 <= waits < 1.7 + 1e-9
        quanta = (passed + waits) / 0.7
        assert abs(quanta - round(quanta)) < 1e-6
        assert job.patience(0.0, 0.7) == 0.0
        assert job.patience(1.0, 0.0) == 1.0


def test_what_is_kept_of_one_analyst_has_limits_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No flood fills the memory, and none makes room by what is another's."""
    monkeypatch.setattr(jobs, "KEPT", 10)
    monkeypatch.setattr(jobs, "KEPT_EACH", 3)
    with world(tmp_path) as made:
        client = made.client(rote)  # answers that are no charge of their own
        kept = client.app.state.jobs._jobs

        def several(name: str, times: int) -> list[str]:
            return [_through(client, later(ask(made, client, name)), made.bearer(name)) for _ in range(times)]

        (others,) = several("bob", 1)
        mine = several("ada", 12)
        assert [each in {f"/v1/queries/{name}" for name in kept} for each in mine] == [False] * 9 + [True] * 3
        assert client.get(others, headers=made.bearer("bob")).status_code == 200
        assert all(not each.found[1].body for each in kept.values()), "as it was asked for it is kept twice"
        problem(client.get(mine[0], headers=made.bearer()), 404, "query-unknown")
        monkeypatch.setattr(jobs, "KEPT_CELLS", 6)  # of two answers: six values each
        last = several("ada", 2)
        assert [name for name, each in kept.items() if each.analyst == "ada"] == [last[1].rpartition("/")[2]]


def _through(client: InProcess, place: str, bearer: dict[str, str]) -> str:
    assert client.get(place, headers={**bearer, "Prefer": "wait=20"}).status_code == 200
    return place


def test_an_answer_that_is_deleted_is_not_given_from_memory(
    here_and_client: tuple[World, InProcess], engine: Engine
) -> None:
    made, client = here_and_client
    engine.go.set()
    first = client.post("/v1/query", json=ASKED, headers=made.bearer()).json()
    place = _through(client, later(ask(made, client)), made.bearer())
    assert client.get(place, headers=made.bearer()).json()["rows"] == first["rows"]
    assert admin.delete_answers(made.service.control, "health", actor="root", query=first["query_id"]) == 1
    gone = client.get(place, headers=made.bearer())
    assert (gone.status_code, gone.json()["code"]) == (410, "answer-deleted")


def test_a_question_is_cancelled_by_one_voice(here_and_client: tuple[World, InProcess], engine: Engine) -> None:
    """However often it is said: each would go on until the database has heard it."""
    made, client = here_and_client
    place = begun(made, client, engine)
    going = client.app.state.jobs._tasks
    for _ in range(5):
        assert client.request("DELETE", place, headers=made.bearer()).status_code == 204
    assert len(going) == 2, "the question, and who insists"
    engine.go.set()
    assert client.get(place, headers={**made.bearer(), "Prefer": "wait=20"}).json()["code"] == "execution-failed"


def test_a_question_that_ends_just_then_is_not_abandoned(
    here_and_client: tuple[World, InProcess], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at before its end, and who works at it after."""
    made, client = here_and_client
    place = begun(made, client, engine)
    honest = executing.abandoned

    def late(service: Service, record: Record) -> bool:
        engine.go.set()
        while record.charge.id in executing._RUNNING:
            time.sleep(0.01)
        return honest(service, record)

    monkeypatch.setattr(queries, "abandoned", late)
    assert made.client(query.answer).get(place, headers=made.bearer()).status_code == 200
