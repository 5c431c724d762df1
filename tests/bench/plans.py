"""``python -m tests.bench.plans [--rows N]``: whole requests through HTTP beside the analyst's own SQL; no asserts.

COUNT, SUM and AVG by 32 and by 1,000 groups, one row an owner by a declared key, and five rows an owner who is held to
five. Plain is the same SQL on the gateway's own connection, fetched as Arrow; bounded is the plan's SQL there, without
the rest of the request; whole is a fresh charged request on a kept connection, answered in Arrow. Medians of
interleaved rounds; the latency quantum is off.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import duckdb

from tests.bench.figures import Work, interleaved
from tests.bench.served import ARROW, Asker, served, statements

TABLE = """
    owner: owner_id
    columns:
      owner_id: {type: integer}
      few: {type: integer, lower: 0, upper: 31, nullable: false}
      many: {type: integer, lower: 0, upper: 999, nullable: false}
      amount: {type: number, lower: 0, upper: 1000}
"""
POLICY = f"""
dataset: plans
engine: duckdb:///plans.duckdb
privacy_unit: {{key: owner_id}}
tables:
  single:{TABLE}
  several:
    max_rows_per_unit: 5{TABLE}
budget: {{epsilon: 1000000, delta: 1e-6}}
per_query: {{max_epsilon: 10, delta: 1e-9}}
"""
COLUMNS = "(owner_id BIGINT{key}, few INTEGER NOT NULL, many INTEGER NOT NULL, amount DOUBLE)"
VALUES = "hash(i + 7) % 32, hash(i + 9) % 1000, hash(i + 1) % 100000 / 100 FROM range({rows}) t(i)"
QUESTION = "SELECT {key}, COUNT(*) AS n, SUM(amount) AS s, AVG(amount) AS a FROM {table} GROUP BY {key}"
LINES = {
    "one row an owner, 32 groups": ("single", "few"),
    "one row an owner, 1,000 groups": ("single", "many"),
    "five rows an owner, 32 groups": ("several", "few"),
    "five rows an owner, 1,000 groups": ("several", "many"),
}


def make(path: Path, rows: int) -> None:
    """Make both tables; of ``several`` the rows of an owner are scattered."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE TABLE single {COLUMNS.format(key=' PRIMARY KEY')}")
        connection.execute(f"INSERT INTO single SELECT i, {VALUES.format(rows=rows)}")
        connection.execute(f"CREATE TABLE several {COLUMNS.format(key='')}")
        connection.execute(f"INSERT INTO several SELECT hash(i) % {max(rows // 5, 1)}, {VALUES.format(rows=rows)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plans", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of each table")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of which the median is taken")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="discreet-plans-") as name:
        folder = Path(name)
        make(folder / "plans.duckdb", given.rows)
        with served(folder, POLICY, 1) as gateway:
            asker = Asker(gateway.port, gateway.tokens[0])
            for line, (table, key) in LINES.items():
                sql = QUESTION.format(table=table, key=key)
                asked = {"sql": sql, "dataset": "plans", "epsilon": 0.01, "mechanism": "laplace", "use_cache": False}
                [bounded] = statements(asker.ask({**asked, "dry_run": True}))
                works: dict[str, Work] = {
                    "plain": partial(gateway.plain, sql),
                    "bounded": partial(gateway.plain, bounded),
                    "whole": partial(asker.ask, asked, ARROW),
                }
                found = {work: median(seconds) * 1000 for work, seconds in interleaved(works, given.rounds).items()}
                sys.stdout.write(
                    f"{line}: plain {found['plain']:.0f} ms, bounded {found['bounded']:.0f} ms "
                    f"({found['bounded'] / found['plain']:.1f} ×), whole {found['whole']:.0f} ms "
                    f"({found['whole'] / found['plain']:.1f} ×), beside the engine "
                    f"{found['whole'] - found['bounded']:.0f} ms\n"
                )
                sys.stdout.flush()
            asker.close()


if __name__ == "__main__":
    main()
