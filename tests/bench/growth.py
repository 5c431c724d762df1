"""``python -m tests.bench.growth [--rows N …] [--groups N …] [--data FILE]``: time and memory as data grow.

COUNT, SUM and AVG by so many groups of a private key, over tables of so many rows on DuckDB, one row an owner: whole
requests beside the analyst's own SQL as ``tests.bench.plans`` measures them; and the most memory that the gateway's
process, which the database is part of, has held by then. The data are made by another process, in ``--data`` if it is
given: found there, they are not made again. ``--rows 1000000 10000000 100000000`` takes some minutes and 4 GB of disk.
No asserts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

from gateway import admin
from tests.bench.figures import Work, interleaved, made_apart, peak
from tests.bench.served import ARROW, Asker, Served, served

POLICY = """
dataset: growth
engine: duckdb:///{data}
privacy_unit: {{key: owner_id}}
tables:
"""
TABLE = """
  rows_{rows}:
    owner: owner_id
    columns:
      owner_id: {{type: integer}}
      amount: {{type: number, lower: 0, upper: 1000}}
{keys}
"""
KEY = "      by_{groups}: {{type: integer}}"
LIMITS = """
budget: {epsilon: 1000000, delta: 1e-6}
per_query: {max_epsilon: 10, delta: 1e-9}
"""
QUESTION = "SELECT by_{groups}, COUNT(*) AS n, SUM(amount) AS s, AVG(amount) AS a FROM rows_{rows} GROUP BY by_{groups}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000], help="rows of each table")
    parser.add_argument("--groups", type=int, nargs="+", default=[10, 1_000, 100_000], help="groups of each key")
    parser.add_argument("--data", type=Path, help="the file of the tables, which is kept")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of which the median is taken")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="discreet-growth-") as name:
        folder = Path(name)
        file = (given.data or folder / "growth.duckdb").absolute()
        if not file.exists():
            made_apart(file, [each for rows in given.rows for each in data(rows, given.groups)])
        keys = "\n".join(KEY.format(groups=groups) for groups in given.groups)
        tables = "".join(TABLE.format(rows=rows, keys=keys) for rows in given.rows)
        with served(folder, POLICY.format(data=file) + tables + LIMITS, 1) as gateway:
            admin.set_budget(
                gateway.service.control, "growth", "analyst0", epsilon=1_000_000, delta=1e-6, actor="bench"
            )
            asker = Asker(gateway.port, gateway.tokens[0])
            sys.stdout.write(f"before any question: {peak():,} MB\n")
            for rows in sorted(given.rows):
                for groups in sorted(given.groups):
                    measure(gateway, asker, rows, groups, given.rounds)
            asker.close()


def data(rows: int, keys: list[int]) -> list[str]:
    """Return the statements that make a table of so many rows, each of an owner of its own."""
    columns = ", ".join(f"by_{groups} INTEGER NOT NULL" for groups in keys)
    values = ", ".join(f"hash(i + {groups}) % {groups}" for groups in keys)
    return [
        f"CREATE TABLE rows_{rows} (owner_id BIGINT, amount DOUBLE, {columns})",
        f"INSERT INTO rows_{rows} SELECT i, hash(i) % 100000 / 100, {values} FROM range({rows}) t(i)",
        f"ALTER TABLE rows_{rows} ADD PRIMARY KEY (owner_id)",
    ]


def measure(gateway: Served, asker: Asker, rows: int, groups: int, rounds: int) -> None:
    """Measure one size and print it."""
    sql = QUESTION.format(rows=rows, groups=groups)
    asked = {"sql": sql, "dataset": "growth", "epsilon": 0.1, "mechanism": "laplace", "use_cache": False}
    works: dict[str, Work] = {"whole": partial(asker.ask, asked, ARROW)}
    asker.ask(asked, ARROW)
    held = peak()  # before the plain SQL of this line: it runs in this process, too
    works["plain"] = partial(gateway.plain, sql)
    found = {work: median(seconds) * 1000 for work, seconds in interleaved(works, rounds).items()}
    sys.stdout.write(
        f"{rows:,} rows, {groups:,} groups: plain {found['plain']:.0f} ms, whole {found['whole']:.0f} ms "
        f"({found['whole'] / found['plain']:.1f} ×), peak {held:,} MB\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
