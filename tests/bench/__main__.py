"""``python -m tests.bench [--json]``: what planning, asking and charging take on this machine. Nothing is asserted."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.bench.measures import MEASUREMENTS
from tests.bench.world import ROWS, world


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of each generated table")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="discreet-bench-") as folder, world(Path(folder), given.rows) as made:
        figures = [each for measure in MEASUREMENTS for each in measure(made)]
    if given.json:
        about = {"rows": given.rows, "python": platform.python_version(), "machine": platform.machine()}
        json.dump(about | {"figures": [asdict(each) for each in figures]}, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    width = max(len(each.name) for each in figures)
    sys.stdout.write(f"{given.rows:,} rows; median of blocks, least to greatest\n")
    for each in figures:
        spread = f"{each.least:,.2f} – {each.greatest:,.2f}"
        sys.stdout.write(f"{each.name:<{width}}  {each.median:>10,.2f} {each.unit:<3} ({spread})\n")


if __name__ == "__main__":
    main()
