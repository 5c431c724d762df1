"""A whole gateway in this process: real data, ledger, noise and post-processing, asked without HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from budget.verify import verify
from gateway import admin
from gateway.auth.principal import Principal
from gateway.query import answer
from gateway.service import Service, open_service
from gateway.settings import Settings
from gateway.wire import QueryRequest, QueryResponse

POLICY = """
dataset: health
engine: duckdb:///health.duckdb
privacy_unit: {table: person, key: person_id}
tables:
  person:
    columns:
      person_id: {type: integer}
      sex: {type: text, values: [F, M], nullable: false}
      site: {type: text, values: [a, b, c], nullable: false}
      town: {type: text}
      age: {type: integer, lower: 0, upper: 110}
      income: {type: number, lower: 0, upper: 1000, nullable: true}
  visit:
    owner: {person_id: person.person_id}
    max_rows_per_unit: 4
    columns:
      kind: {type: text, values: [in, out], nullable: false}
      cost: {type: number, lower: 0, upper: 100}
  call:
    owner: {person_id: person.person_id}
    columns: {kind: {type: text, values: [in, out], nullable: false}}
budget: {epsilon: 500, delta: 1e-6, gaussian: true}
per_query: {max_epsilon: 5, delta: 1e-9}
"""

PEOPLE = 3000


def make_data(folder: Path) -> None:
    """Make the data file that ``POLICY`` speaks of."""
    with duckdb.connect(str(folder / "health.duckdb")) as conn:
        conn.execute(
            "CREATE TABLE person (person_id INTEGER PRIMARY KEY, sex VARCHAR, site VARCHAR, town VARCHAR, age INTEGER,"
            " income DOUBLE)"
        )
        conn.execute(
            "INSERT INTO person SELECT i, CASE WHEN i % 2 = 0 THEN 'F' ELSE 'M' END, chr((97 + i % 3)::INTEGER),"
            f" 'T' || i % 5, 20 + i % 60, i % 500 FROM range({PEOPLE}) t(i)"
        )
        conn.execute("CREATE TABLE visit (person_id INTEGER, kind VARCHAR, cost DOUBLE)")
        conn.execute(
            "INSERT INTO visit SELECT i % 1000, CASE WHEN i % 3 = 0 THEN 'in' ELSE 'out' END, i % 90"
            " FROM range(3000) t(i)"
        )
        conn.execute("CREATE TABLE call AS SELECT person_id, kind FROM visit")


@dataclass(frozen=True)
class World:
    """A gateway with people: root (admin); ann, bob, eve and dan (analysts with grants)."""

    service: Service

    def ask(self, sql: str, epsilon: float | None = 1.0, analyst: str = "ann", **more: Any) -> QueryResponse:
        """Ask one question."""
        key = more.pop("key", None)
        request = QueryRequest(sql=sql, dataset="health", epsilon=epsilon, **more)
        return answer(self.service, Principal(analyst, "analyst"), request, key)

    def spent(self, analyst: str = "ann") -> float:
        """Return what an analyst's own scope has spent."""
        return self.scope(f"analyst:{analyst}")

    def scope(self, name: str) -> float:
        """Return what a scope has spent in all, as the sum of its charges' epsilons."""
        from budget import balance

        with self.service.reads.connect() as conn:
            [found] = balance.read(conn, "health", [name])
        return found.life.epsilon / 1e9

    def sound(self) -> bool:
        """Return whether the ledger verifies."""
        with self.service.reads.connect() as conn:
            return verify(conn).ok


@contextmanager
def world(folder: Path, **settings: Any) -> Iterator[World]:
    """Make a world in a folder."""
    found = Settings(home=folder / "home", **{"latency_quantum_ms": 0, **settings})
    admin.init(found)
    make_data(folder)
    service = open_service(found)
    try:
        control = service.control
        admin.apply_dataset(control, found, POLICY, actor="test", folder=folder, opener=service.engines.get)
        admin.add_analyst(control, "root", role="admin", actor="test")
        for name in ("ann", "bob", "eve", "dan"):
            admin.add_analyst(control, name, actor="test")
            admin.set_budget(control, "health", name, epsilon=100, delta=1e-6, gaussian=True, actor="test")
        assert service.faults == ()
        yield World(service)
    finally:
        service.close()
