"""A gateway in this process over a million generated rows, with a grant that no measurement exhausts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from gateway import admin, query, wire
from gateway.auth.principal import Principal
from gateway.engines.base import Limits
from gateway.policy.model import Dataset
from gateway.service import Service, open_service
from gateway.settings import load

ROWS: Final = 1_000_000
OWNERS: Final = ROWS // 5
ASKER: Final = Principal("ada", "analyst")

_TABLE: Final = """
    owner: owner_id
    columns:
      owner_id: {type: integer}
      bucket: {type: integer, lower: 0, upper: 31, nullable: false}
      amount: {type: number, lower: 0, upper: 1000}
"""
POLICY: Final = f"""
dataset: bench
engine: duckdb:///bench.duckdb
privacy_unit: {{key: owner_id}}
tables:
  single:{_TABLE}
  several:
    max_rows_per_unit: 5{_TABLE}
budget: {{epsilon: 1000000, delta: 1e-6}}
per_query: {{max_epsilon: 10, delta: 1e-9}}
"""

DATA: Final = (
    "CREATE TABLE single (owner_id BIGINT PRIMARY KEY, bucket INTEGER NOT NULL, amount DOUBLE)",
    "INSERT INTO single SELECT i, hash(i) % 32, hash(i + 1) % 100000 / 100 FROM range({rows}) t(i)",
    "CREATE TABLE several (owner_id BIGINT, bucket INTEGER NOT NULL, amount DOUBLE)",
    "INSERT INTO several SELECT hash(i) % {owners}, hash(i + 7) % 32, hash(i + 1) % 100000 / 100 "
    "FROM range({rows}) t(i)",
)


@dataclass(frozen=True, slots=True)
class World:
    """A service, and the dataset as it is in force."""

    service: Service
    dataset: Dataset

    def ask(self, sql: str, epsilon: float = 0.01) -> None:
        """Ask a question whole, as a request over HTTP does once it is read: charge, noise, outcome, answer."""
        request = wire.QueryRequest(sql=sql, dataset="bench", epsilon=epsilon, use_cache=False)
        query.answer(self.service, ASKER, request, None)

    def plain(self, sql: str) -> None:
        """Run a statement as it is, on the connection that the gateway uses."""
        with self.service.engine(self.dataset).session(Limits(60)) as session:
            session.fetch(sql)


@contextmanager
def world(folder: Path, rows: int = ROWS) -> Iterator[World]:
    """Make a gateway in a folder, and close it again."""
    with duckdb.connect(str(folder / "bench.duckdb")) as connection:
        for statement in DATA:
            connection.execute(statement.format(rows=rows, owners=max(rows // 5, 1)))
    settings = load(home=folder / "home", database=None, signing_key=None, process_folder=None, latency_quantum_ms=0)
    admin.init(settings)
    service = open_service(settings)
    try:
        assert not service.faults, service.faults
        admin.apply_dataset(service.control, settings, POLICY, actor="bench", folder=folder)
        admin.add_analyst(service.control, ASKER.name, actor="bench")
        admin.set_budget(service.control, "bench", ASKER.name, epsilon=1_000_000, delta=0, actor="bench")
        with service.reads.connect() as conn:
            dataset = service.catalogue.current(conn, "bench")
        yield World(service, dataset)
    finally:
        service.close()
