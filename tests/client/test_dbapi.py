"""PEP 249 and SQLAlchemy over the client: what is sent, what comes back, what is raised; and one real gateway."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from importlib.metadata import EntryPoint
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import registry

from gateway import admin, query
from gateway.auth import keys
from gateway.client import dbapi
from gateway.client.alchemy import DiscreetDialect, HttpDialect
from gateway.client.client import Client
from gateway.client.errors import QueryRefused
from gateway.http.app import create_app
from tests.client.answers import answer
from tests.client.test_client import Reply, client, refusal
from tests.docs.pages import ROOT
from tests.reuse.world import world

COUNT = "SELECT plan, COUNT(*) AS n, SUM(x) AS spent FROM person GROUP BY plan"


def connection(*replies: Reply, epsilon: float | None = 0.5) -> tuple[dbapi.Connection, list[httpx.Request]]:
    made, received = client(*replies, retries=0)
    return dbapi.connect(dataset="health", epsilon=epsilon, client=made), received


def good(**changes: Any) -> httpx.Response:
    return httpx.Response(200, json=answer(**changes))


def sent(request: httpx.Request) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.content)
    return found


def test_the_module_says_what_pep_249_asks() -> None:
    assert (dbapi.apilevel, dbapi.threadsafety, dbapi.paramstyle) == ("2.0", 2, "named")
    assert issubclass(dbapi.Warning, Exception)
    for name in (
        "DataError",
        "OperationalError",
        "IntegrityError",
        "InternalError",
        "ProgrammingError",
        "NotSupportedError",
    ):
        assert issubclass(getattr(dbapi, name), dbapi.DatabaseError)
    assert issubclass(dbapi.DatabaseError, dbapi.Error)
    assert issubclass(dbapi.InterfaceError, dbapi.Error)
    assert dbapi.NUMBER == "integer"
    assert dbapi.NUMBER != "text"
    assert dbapi.STRING == "text"
    assert dbapi.DATETIME == "date"
    assert dbapi.BINARY != "text"
    assert dbapi.TimeFromTicks(0) == dbapi.TimestampFromTicks(0).time()
    with pytest.raises(dbapi.NotSupportedError):
        dbapi.Binary(b"")


def test_a_statement_and_its_rows() -> None:
    made, received = connection(good(), good())
    with made, made.cursor() as cursor:
        assert (cursor.description is None, cursor.rowcount) == (True, -1)
        with pytest.raises(dbapi.InterfaceError):
            cursor.fetchone()
        assert cursor.execute(COUNT) is cursor
        assert [(name, kind) for name, kind, *_ in cursor.description or ()] == [
            ("plan", "text"),
            ("n", "integer"),
            ("spent", "number"),
        ]
        assert cursor.rowcount == 2
        assert cursor.fetchone() == ("A", 1234, 70.123456)
        assert cursor.fetchmany(5) == [(None, 40, 80.5)]
        assert (cursor.fetchone(), cursor.fetchall(), cursor.fetchmany()) == (None, [], [])
        assert cursor.result is not None
        assert list(map(str, cursor.result.intervals["n"])) == ["(1204.0, 1264.0)", "(10.0, 70.0)"]
        assert [row[0] for row in cursor.execute(COUNT, epsilon=0.25)] == ["A", None]
        made.commit()
        made.rollback()
    assert [(sent(each)["epsilon"], sent(each)["dataset"]) for each in received] == [(0.5, "health"), (0.25, "health")]
    for used in (made.cursor, made.commit, cursor.fetchall):
        with pytest.raises(dbapi.InterfaceError):
            used()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"a": 1, "d": date(2024, 1, 2)}, {"a": 1, "d": {"type": "date", "value": "2024-01-02"}}),
        ([Decimal("2"), Decimal("2.5")], [2, 2.5]),
        ((np.int64(3), np.float64(0.5), np.bool_(True)), [3, 0.5, True]),
        ({}, None),
        (None, None),
    ],
)
def test_parameters(given: Any, expected: Any) -> None:
    made, received = connection(good())
    made.cursor().execute(COUNT, given)
    assert sent(received[0]).get("parameters") == expected


@pytest.mark.parametrize("wrong", ["text", {"a": float("nan")}])
def test_parameters_that_are_none(wrong: Any) -> None:
    made, received = connection()
    with pytest.raises(dbapi.DataError):
        made.cursor().execute(COUNT, wrong)
    assert received == []


def test_without_a_price_the_statement_names_its_own() -> None:
    made, received = connection(good(), epsilon=None)
    made.cursor().execute(COUNT)
    assert "epsilon" not in sent(received[0])


@pytest.mark.parametrize(
    ("reply", "raised"),
    [
        (refusal(422, "not-supported"), dbapi.ProgrammingError),
        (refusal(404, "dataset-unknown"), dbapi.ProgrammingError),
        (refusal(403, "budget-exhausted", epsilon_required=1, epsilon_remaining=0), dbapi.OperationalError),
        (refusal(401, "token-invalid"), dbapi.OperationalError),
        (refusal(503, "overloaded"), dbapi.OperationalError),
        (httpx.ConnectError("no"), dbapi.OperationalError),
        (httpx.Response(200, text="hello"), dbapi.InternalError),
    ],
)
def test_errors(reply: Reply, raised: type[dbapi.Error]) -> None:
    made, _ = connection(reply)
    cursor = made.cursor()
    with pytest.raises(raised) as caught:
        cursor.execute(COUNT)
    assert caught.type is raised
    assert caught.value.__cause__ is not None
    assert cursor.description is None


def test_what_there_is_not() -> None:
    made, received = connection()
    with pytest.raises(dbapi.NotSupportedError):
        made.cursor().executemany(COUNT, [])
    assert received == []
    cursor = made.cursor()
    cursor.close()
    with pytest.raises(dbapi.InterfaceError):
        cursor.execute(COUNT)


def test_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISCREET_URL", "DISCREET_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(dbapi.InterfaceError, match="DISCREET_URL"):
        dbapi.connect(dataset="health")
    with pytest.raises(dbapi.InterfaceError):
        dbapi.connect("nowhere", "t", dataset="health")
    monkeypatch.setenv("DISCREET_URL", "http://gw.test")
    monkeypatch.setenv("DISCREET_TOKEN", "t")
    made = dbapi.connect(dataset="health")
    made.close()
    made.close()
    with pytest.raises(dbapi.InterfaceError):
        made.cursor()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "discreet://:s3cret@gw.test:8443/health?epsilon=0.1",
            {
                "url": "https://gw.test:8443",
                "token": "s3cret",
                "dataset": "health",
                "epsilon": 0.1,
                "dialect": "postgres",
            },
        ),
        (
            "discreet:///health?dialect=duckdb",
            {"url": None, "token": None, "dataset": "health", "epsilon": None, "dialect": "duckdb"},
        ),
        (
            "discreet://:t@[::1]:80/h",
            {"url": "https://[::1]:80", "token": "t", "dataset": "h", "epsilon": None, "dialect": "postgres"},
        ),
    ],
)
def test_urls(url: str, expected: dict[str, Any]) -> None:
    assert DiscreetDialect().create_connect_args(sa.make_url(url)) == ((), expected)
    assert (HttpDialect().create_connect_args(sa.make_url(url))[1]["url"] or "http").startswith("http")


@pytest.mark.parametrize(
    "url", ["discreet://gw", "discreet://ada:t@gw/h", "discreet://:t@gw/h?ssl=1", "discreet://:t@gw/h?epsilon=x"]
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(sa.exc.ArgumentError):
        DiscreetDialect().create_connect_args(sa.make_url(url))


class InProcess(httpx.BaseTransport):
    """A gateway's application in this process, for a client that is not asynchronous."""

    def __init__(self, app: Any) -> None:
        self._runner, self._inner = asyncio.Runner(), httpx.ASGITransport(app=app)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def go() -> httpx.Response:
            response = await self._inner.handle_async_request(request)
            return httpx.Response(response.status_code, headers=response.headers, content=await response.aread())

        return self._runner.run(go())

    def close(self) -> None:
        self._runner.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with world(tmp_path_factory.mktemp("gateway")) as here:
        service = here.service
        token, _ = admin.issue_token(
            service.control, service.settings, keys.load(service.settings.signing_key_file), "ann", "analyst", actor="t"
        )
        transport = InProcess(create_app(service, query.answer))
        with Client("http://gateway", token, transport=transport) as made:
            yield made


@pytest.fixture
def engine(gateway: Client) -> Iterator[sa.Engine]:
    registry.register("discreet.http", "gateway.client.alchemy", "HttpDialect")
    made = sa.create_engine(
        "discreet+http:///health",
        creator=lambda: dbapi.connect(dataset="health", epsilon=2.0, client=gateway, dialect="postgres"),
    )
    yield made
    made.dispose()


def test_pandas_reads_noisy_tables_with_parameters(engine: sa.Engine, gateway: Client) -> None:
    sql = "SELECT sex, COUNT(*) AS n FROM person WHERE age >= :least GROUP BY sex ORDER BY sex"
    before = gateway.budget("health").epsilon_spent
    frame = pd.read_sql(sa.text(sql), engine, params={"least": 20})
    assert list(frame.columns) == ["sex", "n"]
    assert list(frame["sex"]) == ["F", "M"]
    assert abs(frame["n"].sum() - 3000) < 100
    assert gateway.budget("health").epsilon_spent - before == 2.0
    again = pd.read_sql(sa.text(sql), engine, params={"least": 20})
    assert again.equals(frame)
    assert gateway.budget("health").epsilon_spent - before == 2.0  # what is held is free
    bare = dbapi.connect(dataset="health", epsilon=1.0, client=gateway)
    with bare, pytest.warns(UserWarning, match="SQLAlchemy"):
        other = pd.read_sql("SELECT COUNT(*) AS n FROM person WHERE age < ?", bare, params=(30,))  # type: ignore[call-overload]
    assert abs(int(other["n"].iloc[0]) - 500) < 100


def test_sqlalchemy_selects_reflects_and_raises(engine: sa.Engine, gateway: Client) -> None:
    before = gateway.budget("health").epsilon_spent
    found = sa.inspect(engine)
    assert found.get_table_names() == ["person", "visit", "call"]
    assert found.has_table("visit")
    assert not found.has_table("nothing")
    person = sa.Table("person", sa.MetaData(), autoload_with=engine)
    assert isinstance(person.c.income.type, sa.Float)
    assert gateway.budget("health").epsilon_spent == before  # nothing of this is a question
    asked = (
        sa.select(person.c.sex, sa.func.count().label("n")).where(person.c.age >= 30).group_by(person.c.sex).limit(1)
    )
    with engine.connect() as conn:
        rows = conn.execute(asked.order_by("n"), execution_options={"epsilon": 0.5}).all()
        assert len(rows) == 1
        assert gateway.budget("health").epsilon_spent - before == 0.5
        with pytest.raises(sa.exc.ProgrammingError) as refused:
            conn.execute(sa.text("SELECT * FROM person"))
        assert isinstance(refused.value.orig and refused.value.orig.__cause__, QueryRefused)
    with pytest.raises(sa.exc.NoSuchTableError):
        sa.Table("nothing", sa.MetaData(), autoload_with=engine)


def test_sqlalchemy_finds_the_dialects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points = project["entry-points"]["sqlalchemy.dialects"]
    found = {name: EntryPoint(name, place, "sqlalchemy.dialects").load() for name, place in points.items()}
    assert found == {"discreet": DiscreetDialect, "discreet.http": HttpDialect}
