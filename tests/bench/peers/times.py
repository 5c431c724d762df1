"""``python -m tests.bench.peers.times [--rows N] [--rounds N]``: what protection costs in time, beside the peers.

The tables and questions of ``tests.bench.plans`` on one PostgreSQL server: plain SQL, Discreet's whole request through
HTTP, and both peers with the owner as privacy unit, in an environment of their own. Overhead is the ratio to plain less
one. The last figure of a line is how many times that of Discreet the better peer's is; a peer that trusts the data to
keep to a bound, instead of holding them to it, is shown and not counted. Discreet and plain SQL are measured in turns,
the peers after them. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.bench.figures import Work, interleaved
from tests.bench.peers.lines import EPSILON, LINES, Line, Took, read
from tests.bench.peers.lines import Server as Asked
from tests.bench.plans import POLICY, database, prepare
from tests.bench.served import ARROW, Asker, Served, served

PEERS: Final = ("tests.bench.peers.snsqltimes", "tests.bench.peers.qrlewtimes")
COUNTED: Final = ("SmartNoise", "Qrlew")
OURS: Final = ("Discreet", "Discreet, prepared")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers.times", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each table")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of which the median is taken")
    parser.add_argument("--python", default=".venv-peers/bin/python", help="the peers' Python")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dpt-") as name:
        folder = Path(name)
        with database(folder, given.rows, "postgres") as url:
            host = url.partition("host=")[2]
            plain, found = ours(folder, url, given.rounds)
            for module in PEERS:
                for took in theirs(Asked(host, "postgres", given.rounds), module, given.python):
                    found[took.line][took.who] = took
    sys.stdout.write(f"{given.rows:,} rows a table; times that of plain SQL, and overhead\n")
    for line in LINES:
        report(line, median(plain[line.name]), found[line.name])


def ours(folder: Path, url: str, rounds: int) -> tuple[dict[str, list[float]], dict[str, dict[str, Took]]]:
    """Return the seconds of plain SQL by line, and Discreet's: on the data, and on a prepared copy where that helps."""
    plain: dict[str, list[float]] = {}
    found: dict[str, dict[str, Took]] = {}
    with served(folder, POLICY.format(engine=url), 1) as gateway:
        asker = Asker(gateway.port, gateway.tokens[0])
        for line in LINES:
            seconds = measured(gateway, asker, line, rounds)
            plain[line.name] = seconds["plain"]
            found[line.name] = {OURS[0]: Took(OURS[0], line.name, tuple(seconds["whole"]))}
        prepare(gateway, url.replace("reader@", "postgres@"))
        for line in LINES:
            if line.rows > 1:
                seconds = measured(gateway, asker, line, rounds)
                plain[line.name] += seconds["plain"]
                found[line.name][OURS[1]] = Took(OURS[1], line.name, tuple(seconds["whole"]))
        asker.close()
    return plain, found


def measured(gateway: Served, asker: Asker, line: Line, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of plain SQL, and of whole charged requests, in turns."""
    asked: dict[str, Any] = {
        "sql": line.sql,
        "dataset": "plans",
        "epsilon": EPSILON,
        "mechanism": "laplace",
        "use_cache": False,
    }
    works: dict[str, Work] = {"plain": partial(gateway.plain, line.sql), "whole": partial(asker.ask, asked, ARROW)}
    return interleaved(works, rounds)


def theirs(asked: Asked, module: str, python: str) -> Iterator[Took]:
    """Ask a peer every line, in its own environment."""
    done = subprocess.run(
        [python, "-m", module], input=json.dumps(asdict(asked)), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.stderr.write(done.stderr)
    yield from read(done.stdout.splitlines())


def report(line: Line, plain: float, found: Mapping[str, Took]) -> None:
    """Print one line of the comparison."""
    over = {who: median(took.seconds) / plain - 1 for who, took in found.items() if took.seconds}
    cells = [f"{who} {value + 1:.2f} × ({value:+.2f})" for who, value in over.items()]
    sys.stdout.write(f"{line.name}: plain {plain * 1000:.0f} ms; {'; '.join(cells)}\n")
    peers = [over[who] for who in COUNTED if who in over]
    for who in OURS:
        if who in over and peers:
            times = f"{min(peers) / over[who]:.1f} times" if over[who] > 0 else "any number of times"
            sys.stdout.write(f"    the better peer's overhead is {times} that of {who}\n")
    for who, took in found.items():
        if took.refused:
            sys.stdout.write(f"    {who} gave no answer: {took.refused}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
