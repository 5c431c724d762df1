"""``python -m tests.bench.tpch [--scale S]``: the answered queries of TPC-H beside the standard's own SQL; no asserts.

Those of ``docs/tpch.md`` that are answered and need no threshold, on DuckDB, with Laplace noise. Plain, bounded and
whole are what they are in ``tests.bench.plans``; the last line is the geometric mean of the ratios.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import geometric_mean, median
from typing import Final

import duckdb

from tests.bench.figures import Work, interleaved
from tests.bench.served import ARROW, Asker, Served, served, statements
from tests.tpch.status import status
from tests.tpch.world import GENERATOR, POLICY, QUERIES, SCHEMA, TABLES

EPSILON: Final = 0.01


def generated(folder: Path, scale: float) -> str:
    """Write the standard rows into a database file, and return the engine's URL."""
    made = ["parquet", "-s", str(scale), "--output-dir", str(folder)]
    subprocess.run([GENERATOR, *made], check=True, capture_output=True)
    with duckdb.connect(str(folder / "tpch.duckdb"), config={"threads": 2}) as connection:
        connection.execute(SCHEMA)
        for name in TABLES:
            connection.execute(f"INSERT INTO {name} SELECT * FROM read_parquet('{folder / name}.parquet')")
            (folder / f"{name}.parquet").unlink()
    return "duckdb:///tpch.duckdb"


def each_of(gateway: Served, bounded: Sequence[str]) -> None:
    """Run the statements of a plan one after the other."""
    for statement in bounded:
        gateway.plain(statement)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tpch", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="scale factor")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of which the median is taken")
    given = parser.parse_args()
    answered = [name for name in QUERIES if status(name).word == "answered"]
    with tempfile.TemporaryDirectory(prefix="discreet-tpch-") as made:
        folder = Path(made)
        policy = POLICY.replace("{url}", generated(folder, given.scale)).replace("epsilon: 100,", "epsilon: 1000000,")
        with served(folder, policy, 1) as gateway:
            asker = Asker(gateway.port, gateway.tokens[0])
            ratios: dict[str, list[float]] = {"bounded": [], "whole": []}
            for name in answered:
                sql = QUERIES[name]
                asked = {"sql": sql, "dataset": "tpch", "epsilon": EPSILON, "mechanism": "laplace", "use_cache": False}
                bounded = statements(asker.ask({**asked, "dry_run": True}))
                works: dict[str, Work] = {
                    "plain": partial(gateway.plain, sql),
                    "bounded": partial(each_of, gateway, bounded),
                    "whole": partial(asker.ask, asked, ARROW),
                }
                found = {work: median(seconds) * 1000 for work, seconds in interleaved(works, given.rounds).items()}
                for work, of in ratios.items():
                    of.append(found[work] / found["plain"])
                sys.stdout.write(
                    f"{name}: plain {found['plain']:.0f} ms, bounded {found['bounded']:.0f} ms "
                    f"({ratios['bounded'][-1]:.1f} ×), whole {found['whole']:.0f} ms ({ratios['whole'][-1]:.1f} ×)\n"
                )
                sys.stdout.flush()
            asker.close()
    means = ", ".join(f"{work} {geometric_mean(of):.1f} ×" for work, of in ratios.items())
    sys.stdout.write(f"geometric mean of {len(answered)}: {means}\n")


if __name__ == "__main__":
    main()
