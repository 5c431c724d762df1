"""The eight tables of TPC-H with their policy, the customer being the privacy unit, and its generator's rows."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from gateway.engines.base import Limits
from gateway.engines.open import open_engine
from gateway.policy.document import load
from gateway.policy.model import Dataset
from gateway.policy.resolve import resolve
from gateway.sql.planning.plan import Plan
from tests.oracles.questions import plan, written

HERE = Path(__file__).parent
SCHEMA = (HERE / "schema.sql").read_text()
POLICY = (HERE / "policy.yaml").read_text()
QUERIES = {path.stem: path.read_text() for path in sorted((HERE / "queries").glob("q*.sql"))}
"""The standard texts, with the parameters that the specification uses for validation."""

TABLES = ("region", "nation", "supplier", "part", "partsupp", "customer", "orders", "lineitem")
GENERATOR = Path(sys.executable).with_name("tpchgen-cli")


@cache
def dataset() -> Dataset:
    """The policy, resolved against the schema that DuckDB holds."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "tpch.duckdb"
        with duckdb.connect(str(path)) as connection:
            connection.execute(SCHEMA)
        document = load(POLICY.replace("{url}", f"duckdb:///{path}"))
        engine = open_engine(f"duckdb:///{path}")
        try:
            with engine.session(Limits(60)) as session:
                return resolve(document, session.schema(list(document.tables)), "duckdb", 1)
        finally:
            engine.close()


def planned(name: str) -> Plan:
    """The plan of a standard query at epsilon 1, or its refusal."""
    return plan(written(QUERIES[name]), dataset())


def generated(folder: Path, scale: float = 0.01) -> duckdb.DuckDBPyConnection:
    """Return a database with the standard rows: 1,500 customers at the default scale."""
    subprocess.run([GENERATOR, "csv", "-s", str(scale), "--output-dir", folder], check=True, capture_output=True)
    connection = duckdb.connect(config={"threads": 2})
    for statement in SCHEMA.split(";"):
        if statement.strip():
            connection.execute(statement)
    for name in TABLES:
        connection.execute(f"COPY {name} FROM '{folder / name}.csv' (HEADER)")
    return connection


def neighbour(connection: duckdb.DuckDBPyConnection, customer: int) -> duckdb.DuckDBPyConnection:
    """Return a copy of a database without one customer, the orders of that customer and their lines."""
    copy = duckdb.connect(config={"threads": 2})
    for name in TABLES:
        rows = connection.sql(f"SELECT * FROM {name}").to_arrow_table()
        copy.register("rows", rows)
        copy.execute(f"CREATE TABLE {name} AS SELECT * FROM rows")
        copy.unregister("rows")
    copy.execute(
        f"DELETE FROM lineitem WHERE l_orderkey IN (SELECT o_orderkey FROM orders WHERE o_custkey = {customer})"
    )
    copy.execute(f"DELETE FROM orders WHERE o_custkey = {customer}")
    copy.execute(f"DELETE FROM customer WHERE c_custkey = {customer}")
    return copy
