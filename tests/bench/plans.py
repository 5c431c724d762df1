"""``python -m tests.bench.plans [--rows N] [--engine E] [--prepared]``: whole requests beside the analyst's own SQL.

COUNT, SUM and AVG by 32 and by 1,000 groups, one row an owner by a declared key, and five rows an owner who is held to
five, on the data and on a prepared copy (``--prepared`` measures those lines alone); no asserts. Plain is the same SQL
on the gateway's own connection to the data, fetched as Arrow; bounded is the plan's SQL where the plan reads, without
the rest of the request; whole is a fresh charged request through HTTP on a kept connection, answered in Arrow. Medians
of interleaved rounds; the latency quantum is off. Spark, which runs in this process's own machine on folders of Parquet
files, enforces no key and has no prepared copies: there each owner of the first table is held to one row as well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Literal, TypeAlias, get_args

import psycopg

from gateway import admin
from tests.bench.figures import Work, interleaved, made_apart, timed
from tests.bench.peers.world import server
from tests.bench.served import ARROW, Asker, Served, served, statements

Engine: TypeAlias = Literal["duckdb", "postgres", "spark"]

TABLE = """
    owner: owner_id
    columns:
      owner_id: {{type: integer}}
      few: {{type: integer, lower: 0, upper: 31, nullable: false}}
      many: {{type: integer, lower: 0, upper: 999, nullable: false}}
      amount: {{type: number, lower: 0, upper: 1000}}
"""
POLICY = f"""
dataset: plans
engine: {{engine}}
privacy_unit: {{{{key: owner_id}}}}
tables:
  single:{TABLE}
  several:
    max_rows_per_unit: 5{TABLE}
budget: {{{{epsilon: 1000000, delta: 1e-6}}}}
per_query: {{{{max_epsilon: 10, delta: 1e-9}}}}
"""
COLUMNS = "(owner_id BIGINT{key}, few INTEGER NOT NULL, many INTEGER NOT NULL, amount DOUBLE PRECISION)"
VALUES = {
    "duckdb": "hash(i + 7) % 32, hash(i + 9) % 1000, hash(i + 1) % 100000 / 100 FROM range({rows}) t(i)",
    "postgres": "random() * 31, random() * 999, random() * 1000 FROM generate_series(0, {rows} - 1) t(i)",
}
OWNER = {"duckdb": "hash(i) % {owners}", "postgres": "floor(random() * {owners})"}
QUESTION = "SELECT {key}, COUNT(*) AS n, SUM(amount) AS s, AVG(amount) AS a FROM {table} GROUP BY {key}"
TABLES = ("single", "several")
_PARQUET = """
COPY (SELECT *, hash(amount) % 8 AS part FROM {table})
TO '{folder}/parquet/{table}' (FORMAT parquet, PARTITION_BY (part))
"""
LINES = {
    "one row an owner, 32 groups": ("single", "few"),
    "one row an owner, 1,000 groups": ("single", "many"),
    "five rows an owner, 32 groups": ("several", "few"),
    "five rows an owner, 1,000 groups": ("several", "many"),
}
PREPARED = {
    "prepared, five rows an owner, 32 groups": ("several", "few"),
    "prepared, five rows an owner, 1,000 groups": ("several", "many"),
}


def data(dialect: str, rows: int) -> list[str]:
    """Return the statements that make both tables; of ``several`` the rows of an owner are scattered."""
    values, owner = VALUES[dialect].format(rows=rows), OWNER[dialect].format(owners=max(rows // 5, 1))
    return [
        f"CREATE TABLE single {COLUMNS.format(key=' PRIMARY KEY')}",
        f"INSERT INTO single SELECT i, {values}",
        f"CREATE TABLE several {COLUMNS.format(key='')}",
        f"INSERT INTO several SELECT {owner}, {values}",
    ]


@contextmanager
def database(folder: Path, rows: int, engine: Engine) -> Iterator[str]:
    """Make the tables, in files or on a server of the measurement's own, and yield the engine's URL."""
    if engine != "postgres":
        made_apart(folder / "plans.duckdb", data("duckdb", rows))
        if engine == "spark":
            (folder / "parquet").mkdir()
            made_apart(folder / "plans.duckdb", [_PARQUET.format(table=name, folder=folder) for name in TABLES])
        yield "duckdb:///plans.duckdb" if engine == "duckdb" else f"spark://local?folder={folder / 'parquet'}"
        return
    with server(folder) as host:
        with psycopg.connect(host=host, dbname="postgres", user="postgres", autocommit=True) as made:
            for statement in data("postgres", rows):
                made.execute(statement.encode())
            made.execute("VACUUM ANALYZE")
            made.execute("CREATE ROLE reader LOGIN")
            made.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        yield f"postgresql://reader@/postgres?host={host}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plans", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of each table")
    parser.add_argument("--engine", choices=get_args(Engine), default="duckdb", help="where the tables are")
    parser.add_argument("--prepared", action="store_true", help="the lines of the prepared copy alone")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of which the median is taken")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="discreet-plans-") as name:
        folder = Path(name)
        policy = (
            POLICY if given.engine != "spark" else POLICY.replace("  single:", "  single:\n    max_rows_per_unit: 1")
        )
        with (
            database(folder, given.rows, given.engine) as url,
            served(folder, policy.format(engine=url), 1) as gateway,
        ):
            asker = Asker(gateway.port, gateway.tokens[0])
            if not given.prepared:
                measure(gateway, asker, LINES, given.rounds)
            if given.engine != "spark":
                prepare(gateway, url.replace("reader@", "postgres@") if given.engine == "postgres" else None)
                measure(gateway, asker, PREPARED, given.rounds)
            asker.close()


def prepare(gateway: Served, writer: str | None) -> None:
    """Make the copy, and say how long that took."""
    service = gateway.service
    seconds = timed(
        lambda: admin.prepare_dataset(service.control, service.settings, "plans", actor="bench", writer=writer)
    )
    sys.stdout.write(f"dataset prepare: {seconds:.0f} s\n")


def measure(gateway: Served, asker: Asker, lines: Mapping[str, tuple[str, str]], rounds: int) -> None:
    """Measure each line and print it."""
    for line, (table, key) in lines.items():
        sql = QUESTION.format(table=table, key=key)
        asked = {"sql": sql, "dataset": "plans", "epsilon": 0.01, "mechanism": "laplace", "use_cache": False}
        [bounded] = statements(asker.ask({**asked, "dry_run": True}))
        works: dict[str, Work] = {
            "plain": partial(gateway.plain, sql),
            "bounded": partial(gateway.bounded, bounded),
            "whole": partial(asker.ask, asked, ARROW),
        }
        found = {work: median(seconds) * 1000 for work, seconds in interleaved(works, rounds).items()}
        sys.stdout.write(
            f"{line}: plain {found['plain']:.0f} ms, bounded {found['bounded']:.0f} ms "
            f"({found['bounded'] / found['plain']:.1f} ×), whole {found['whole']:.0f} ms "
            f"({found['whole'] / found['plain']:.1f} ×), beside the engine "
            f"{found['whole'] - found['bounded']:.0f} ms\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
