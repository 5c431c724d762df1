"""``python -m tests.bench.peers [--owners N …] [--worlds W …]``: how far answers err beside those of the peers.

The same data, the same bounds, the same public keys, and the same total price for all; nothing is asserted. The peers
run in an environment of their own (``make bench-peers``).
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tests.bench.peers.asked import DELTA, EPSILON, SHAPES, Answered, Shape, Value, collected, read
from tests.bench.peers.world import KINDS, World, server, world

PEERS: Final = {"SmartNoise": "tests.bench.peers.smartnoise", "Qrlew": "tests.bench.peers.qrlew"}
OWNERS: Final = (1_000, 100_000, 1_000_000)
DRAWS: Final = 400


def main() -> None:
    """Measure and print, line by line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--owners", type=int, nargs="+", default=OWNERS)
    parser.add_argument("--worlds", nargs="+", choices=sorted(KINDS), default=list(KINDS))
    parser.add_argument("--draws", type=int, default=DRAWS, help="answers to each question")
    parser.add_argument("--python", default=".venv-peers/bin/python", help="the peers' Python")
    given = parser.parse_args()
    sys.stdout.write(
        f"total price epsilon {EPSILON:g}, delta {DELTA:g}; root-mean-square errors (seconds; how it was priced)\n"
    )
    with tempfile.TemporaryDirectory(prefix="dpg-") as folder, server(Path(folder)) as host:
        for kind in given.worlds:
            for owners in given.owners:
                with world(host, kind, owners, given.draws) as made:
                    head = f"{kind}: {owners:,} owners, at most {made.asked.rows} rows each by the policy"
                    sys.stdout.write(f"\n{head}\n")
                    compared(made, given.python)


def compared(made: World, python: str) -> None:
    """Print a line for each column of each question."""
    answers = {"Discreet": {each.shape: each for each in ours(made)}}
    answers |= {name: {each.shape: each for each in theirs(made, module, python)} for name, module in PEERS.items()}
    for shape in SHAPES:
        exact = truth(made, shape)
        found = {name: each[shape.name] for name, each in answers.items()}
        for name, item in shape.items:
            label = shape.name if len(shape.items) == 1 else f"{shape.name}: {item.partition('(')[0].strip('{}')}"
            errors = {who: error(each.values, name, exact) for who, each in found.items()}
            best = min(value for who, value in errors.items() if who != "Discreet")
            cells = [f"{who} {errors[who]:>12,.4g} ({each.seconds:,.2f}; {each.paid})" for who, each in found.items()]
            ratio = f"{errors['Discreet'] / best:.3f}" if best < math.inf else "–"
            sys.stdout.write(f"{label.lower():<24} {ratio:>6}  {'  '.join(cells)}\n")
        for who, each in found.items():
            if each.refused:
                sys.stdout.write(f"    {who} refused {shape.name}: {each.refused}\n")
    sys.stdout.flush()


def error(values: Value | None, name: str, exact: Mapping[str, Mapping[str, float]]) -> float:
    """Return the root of the mean squared error over draws and groups; none is infinite, a group left out as bad."""
    if values is None:
        return math.inf
    squares = [
        (value - right) ** 2 for group, right in exact[name].items() for value in values[name].get(group, (math.inf,))
    ]
    return math.sqrt(math.fsum(squares) / len(squares))


def truth(made: World, shape: Shape) -> dict[str, dict[str, float]]:
    """Return what is right, by column and group."""
    rows = collected(shape, made.plain(shape.sql(made.asked.table, "VAR_POP")))
    return {name: {group: values[0] for group, values in groups.items()} for name, groups in rows.items()}


def ours(made: World) -> Iterator[Answered]:
    """Ask the gateway every question: once against the database, timed, then as often as noise is drawn."""
    for shape in SHAPES:
        sql = shape.sql(made.asked.table, "VAR_POP")
        again = made.remembering
        try:
            began = time.perf_counter()
            rows, mechanism = again.ask(sql)
            seconds = time.perf_counter() - began
            rows += [row for _ in range(1, made.asked.draws) for row in again.ask(sql)[0]]
        finally:
            again.service.engines.close()
        yield Answered(shape.name, seconds, mechanism, collected(shape, rows))


def theirs(made: World, module: str, python: str) -> Iterator[Answered]:
    """Ask a peer every question, in its own environment."""
    done = subprocess.run(
        [python, "-m", module], input=json.dumps(asdict(made.asked)), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.stderr.write(done.stderr)
    answered = {each.shape: each for each in read(done.stdout.splitlines())}
    for shape in SHAPES:
        yield answered.get(shape.name, Answered(shape.name, refused="no answer"))


if __name__ == "__main__":
    main()
