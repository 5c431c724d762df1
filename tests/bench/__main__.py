"""``python -m tests.bench [--json]``: how long planning, asking and charging take, how far answers err; no asserts."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tests.bench.errors import errors, ranks
from tests.bench.joins import SCALE, joins
from tests.bench.measures import MEASUREMENTS
from tests.bench.world import ROWS, world


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of each generated table")
    parser.add_argument("--tpch", type=float, default=SCALE, help="scale factor of the TPC-H tables")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="discreet-bench-") as folder, world(Path(folder), given.rows) as made:
        measures = (*MEASUREMENTS, errors, ranks, partial(joins, scale=given.tpch))
        figures = [each for measure in measures for each in measure(made)]
    if given.json:
        about = {"rows": given.rows, "python": platform.python_version(), "machine": platform.machine()}
        json.dump(about | {"figures": [asdict(each) for each in figures]}, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    width = max(len(each.name) for each in figures)
    sys.stdout.write(f"{given.rows:,} rows; median of blocks, least to greatest\n")
    for each in figures:
        spread = f"{_shown(each.least)} – {_shown(each.greatest)}"
        sys.stdout.write(f"{each.name:<{width}}  {_shown(each.median):>10} {each.unit:<3} ({spread})\n")


def _shown(value: float) -> str:
    return f"{value:,.2f}" if value >= 1 else f"{value:.4f}"


if __name__ == "__main__":
    main()
