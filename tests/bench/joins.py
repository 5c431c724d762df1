"""How far counts and sums over joins err where nobody declared how many rows a person has: TPC-H, as in R2T.

The questions of Dong, Fang, Yi, Tao and Machanavajjhala (SIGMOD 2022), table 2, at epsilon .8 with the customer as the
privacy unit; the errors that they publish stand beside. The policy is that of ``tests.tpch`` without its bounds.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import duckdb
import pyarrow as pa

from gateway.answers.estimated import estimate
from gateway.engines.duckdb import arrow
from gateway.policy.model import Dataset
from gateway.release import release
from gateway.sql.planning.plan import Plan
from tests.bench.figures import Figure, interleaved, ratios
from tests.bench.world import World
from tests.oracles.questions import plan, written
from tests.tpch.world import GENERATOR, SCHEMA, dataset

EPSILON: Final = 0.8
RUNS: Final = 100
SCALE: Final = 1.0
TABLES: Final = ("nation", "customer", "orders", "lineitem")

CUSTOMERS_LINES: Final = "customer JOIN orders ON o_custkey = c_custkey JOIN lineitem ON l_orderkey = o_orderkey"
QUESTIONS: Final = {
    "Q3": f"SELECT COUNT(*) FROM {CUSTOMERS_LINES} "
    "WHERE o_orderdate < DATE '1997-01-01' AND l_shipdate > DATE '1994-01-01'",
    "Q10": "SELECT COUNT(*) FROM customer JOIN orders ON o_custkey = c_custkey "
    "JOIN nation ON n_nationkey = c_nationkey",
    "Q18": f"SELECT SUM(l_quantity) FROM {CUSTOMERS_LINES}",
}
PUBLISHED: Final = {"Q3": 0.254, "Q10": 0.174, "Q18": 0.132}
"""Percent, of R2T at scale factor 1."""


def unbounded() -> Dataset:
    """Return the policy of the standard tables without a word about how many rows a customer has."""
    found = dataset()
    return replace(found, tables=tuple(replace(table, max_rows_per_unit=None) for table in found.tables))


def generated(folder: Path, scale: float) -> duckdb.DuckDBPyConnection:
    """Return a database with the standard rows of the tables that are joined, read from Parquet."""
    made = ["parquet", "-s", str(scale), "--tables", ",".join(TABLES), "--output-dir", str(folder)]
    subprocess.run([GENERATOR, *made], check=True, capture_output=True)
    connection = duckdb.connect(str(folder / "tpch.duckdb"), config={"threads": 2})
    schema = {found[1]: found[0] for found in re.finditer(r"CREATE TABLE (\w+) \(.*?\);", SCHEMA, re.DOTALL)}
    for name in TABLES:
        connection.execute(schema[name])
        connection.execute(f"INSERT INTO {name} SELECT * FROM read_parquet('{folder / name}.parquet')")
        (folder / f"{name}.parquet").unlink()
    return connection


def asked(name: str) -> Plan:
    """Return the plan of a question."""
    return plan(replace(written(QUESTIONS[name]), epsilon=EPSILON), unbounded())


def relative_errors(found: Plan, table: pa.Table, exact: float, runs: int = RUNS) -> list[float]:
    """Return how far so many answers are from the exact one, in percent of it."""
    [planned] = found.releases
    errors = []
    for _ in range(runs):
        [estimated] = estimate(planned, release(planned, table), 0.95).values()
        errors.append(100 * abs(estimated.values[0] - exact) / exact)
    return errors


def fetched(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Run a statement and fetch what it returns."""
    connection.execute(sql).fetchall()


def joins(world: World, scale: float = SCALE) -> Iterator[Figure]:
    """Yield the relative error of each question, over a hundred answers, and how long its statement takes beside plain
    SQL; ``world`` plays no part.
    """
    del world
    with TemporaryDirectory(prefix="discreet-tpch-") as folder, generated(Path(folder), scale) as connection:
        for name, sql in QUESTIONS.items():
            [row] = connection.execute(sql).fetchall()
            found = asked(name)
            bounded = found.releases[0].sql
            errors = relative_errors(found, arrow(connection, bounded), float(row[0]))
            said = f"error of TPC-H {name}, no bound declared, epsilon {EPSILON} (R2T: {PUBLISHED[name]} %)"
            yield Figure(said, "%", median(errors), min(errors), max(errors))
            took = interleaved(
                {"bounded": partial(fetched, connection, bounded), "plain": partial(fetched, connection, sql)}, 3
            )
            yield ratios(
                f"bounded SQL of TPC-H {name}, no bound declared, to plain SQL", took["bounded"], took["plain"]
            )
