"""A small gateway for tests: a home, a DuckDB file, a policy, people, tokens; and a conductor that answers by rote."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import duckdb
import httpx
from fastapi import FastAPI

from budget import process
from gateway import admin
from gateway.auth import keys
from gateway.auth.authenticate import verifier
from gateway.auth.principal import Principal
from gateway.catalogue import Catalogue
from gateway.control import open_control
from gateway.engines.open import open_engine
from gateway.http.app import create_app
from gateway.plans import Plans
from gateway.service import EnginePool, Service
from gateway.settings import Settings
from gateway.slots import Slots
from gateway.store.committer import Committer
from gateway.store.engine import reader
from gateway.submission import Submission
from gateway.wire import Cost, Plan, QueryRequest, QueryResponse

POLICY = """
dataset: health
engine: duckdb:///health.duckdb
privacy_unit: {table: person, key: person_id}
tables:
  person:
    columns:
      person_id: {type: integer}
      sex: {type: text, values: [F, M]}
      age: {type: integer, lower: 0, upper: 110}
      income: {type: number, lower: 0, upper: 1000.5, nullable: true}
budget: {epsilon: 20, delta: 1e-6}
per_query: {max_epsilon: 2, delta: 1e-9}
"""


class NoSandbox:
    """Stands where post-processing would be; these tests never come so far."""

    def canary(self) -> None:
        """Find nothing wrong."""

    def close(self) -> None:
        """Have nothing to close."""


def make_data(folder: Path) -> None:
    """Make the data file that ``POLICY`` speaks of."""
    with duckdb.connect(str(folder / "health.duckdb")) as conn:
        conn.execute("CREATE TABLE person (person_id INTEGER PRIMARY KEY, sex VARCHAR, age INTEGER, income DOUBLE)")
        conn.execute("INSERT INTO person VALUES (1, 'F', 31, 10.5), (2, 'M', 47, NULL)")


def make_service(settings: Settings, **changes: Any) -> Service:
    """Open a service without its canary and sandbox."""
    key = keys.load(settings.signing_key_file)
    control = open_control(settings)
    parts: dict[str, Any] = {
        "settings": settings,
        "control": control,
        "reads": reader(control),
        "committer": Committer(control),
        "process": process.begin(settings.process_files),
        "key": key,
        "verifier": verifier(settings, key),
        "engines": EnginePool(open_engine),
        "catalogue": Catalogue(settings.stored_datasets, settings.copies),
        "plans": Plans(settings.stored_plans),
        "slots": Slots(per_analyst=settings.queries_per_analyst, in_all=settings.queries_in_all),
        "sandbox": NoSandbox(),
        "drawing": ThreadPoolExecutor(1),
    }
    return Service(**{**parts, **changes})


def rote(
    service: Service, principal: Principal, request: QueryRequest, key: str | None, submission: Submission | None = None
) -> QueryResponse:
    """Answer whatever is asked with one row."""
    return QueryResponse(
        query_id="0" * 32,
        columns=[
            cast("Any", {"name": "sex", "type": "text", "role": "key"}),
            cast("Any", {"name": "n", "type": "integer", "role": "noisy"}),
            cast("Any", {"name": "day", "type": "date", "role": "key"}),
        ],
        rows=[["F", 17, "2020-01-02"], [None, -(2**63), None]],
        intervals={"n": [(14.0, 20.0), None]},
        cost=Cost(epsilon=request.epsilon or 0.0, rho=0.1, delta=0.0, pure=True, items=[]),
        budget=None,
        cached=False,
        plan=Plan(id="p", dialect="duckdb", releases=[], columns=[], post=None, notes=[]),
        warnings=[],
    )


class InProcess:
    """A client that speaks to an application in this process, on an event loop of its own."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gateway")

    def request(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send one request."""
        return self._runner.run(self._client.request(method, path, **request))

    def together(self, *requests: dict[str, Any]) -> list[httpx.Response]:
        """Send requests at the same moment."""

        async def all_of_them() -> list[httpx.Response]:
            return list(await asyncio.gather(*(self._client.request(**each) for each in requests)))

        return self._runner.run(all_of_them())

    def get(self, path: str, **request: Any) -> httpx.Response:
        """GET."""
        return self.request("GET", path, **request)

    def post(self, path: str, **request: Any) -> httpx.Response:
        """POST."""
        return self.request("POST", path, **request)

    def close(self) -> None:
        """Close the loop."""
        self._runner.run(self._client.aclose())
        self._runner.close()


@dataclass
class World:
    """A gateway with one dataset, an admin (root), an analyst with a grant (ada) and one without (bob)."""

    service: Service
    tokens: dict[str, str] = field(default_factory=dict)
    clients: list[InProcess] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return self.service.settings

    def bearer(self, name: str = "ada") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[name]}"}

    def app(self, answer: Callable[..., QueryResponse] = rote) -> FastAPI:
        return create_app(self.service, answer)

    def client(self, answer: Callable[..., QueryResponse] = rote) -> InProcess:
        made = InProcess(self.app(answer))
        self.clients.append(made)
        return made


@contextmanager
def world(folder: Path, **settings: Any) -> Iterator[World]:
    """Make a world in a folder."""
    found = Settings(home=folder / "home", **{"latency_quantum_ms": 0, **settings})
    admin.init(found)
    make_data(folder)
    service = make_service(found)
    made = World(service)
    try:
        control = service.control
        admin.add_analyst(control, "root", role="admin", actor="test")
        for name in ("ada", "bob"):
            admin.add_analyst(control, name, actor="test")
        admin.apply_dataset(control, found, POLICY, actor="test", folder=folder, opener=service.engines.get)
        admin.set_budget(control, "health", "ada", epsilon=3, delta=1e-6, actor="test")
        for name in ("root", "ada", "bob"):
            role = "admin" if name == "root" else "analyst"
            made.tokens[name], _ = admin.issue_token(control, found, service.key, name, role, actor="test")  # type: ignore[arg-type]
        yield made
    finally:
        for client in made.clients:
            client.close()
        service.close()
