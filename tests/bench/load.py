"""``python -m tests.bench.load [--analysts N] [--seconds S]``: many analysts at once, one gateway process; no asserts.

Each analyst asks one small question after the other, on a connection that is kept: answered from what is stored, fresh
and charged, and, through the same stack, as plain SQL passed on to the same engine. The analysts are threads of another
process on the same machine; all begin together, each with a first answer behind it. Answers a second that came within
the time, latencies of all that were asked within it, and every answer that was not 200.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles
from threading import Barrier
from typing import Any

import duckdb

from tests.bench.served import Asker, served

POLICY = """
dataset: load
engine: duckdb:///load.duckdb
privacy_unit: {key: owner_id}
tables:
  item:
    owner: owner_id
    columns:
      owner_id: {type: integer}
      few: {type: integer, lower: 0, upper: 3, nullable: false}
      amount: {type: number, lower: 0, upper: 1000}
budget: {epsilon: 1000000, delta: 1e-6}
per_query: {max_epsilon: 10, delta: 1e-9}
"""
DATA = (
    "CREATE TABLE item (owner_id BIGINT PRIMARY KEY, few INTEGER NOT NULL, amount DOUBLE)",
    "INSERT INTO item SELECT i, hash(i) % 4, hash(i + 1) % 100000 / 100 FROM range(1000) t(i)",
)
SQL = "SELECT few, COUNT(*) AS n, SUM(amount) AS s FROM item GROUP BY few"


@dataclass(frozen=True, slots=True)
class Run:
    """What one load gave: latencies in seconds, how many answers a second, and errors by what they said."""

    latencies: tuple[float, ...]
    rate: float
    errors: Counter[str]

    def said(self) -> str:
        """Return one line."""
        wrong = "no error" if not self.errors else f"{self.errors.total()} errors: {self.errors.most_common(3)}"
        if len(self.latencies) < 2:
            return f"{len(self.latencies)} answers, {wrong}"
        middle, last = median(self.latencies), quantiles(self.latencies, n=100)[98]
        times = f"p50 {middle * 1000:.1f} ms, p99 {last * 1000:.1f} ms ({last / middle:.1f} ×)"
        return f"{self.rate:,.0f} answers/s, {times}, {wrong}"


def loaded(port: int, tokens: Sequence[str], request: dict[str, Any], seconds: float) -> Run:
    """Let every analyst ask as often as answers come, for that long; the first answers are not counted.

    The last answers come when time is up: their latencies count, lest the longest were left out, and they do not.
    """
    found: list[tuple[float, float]] = []
    errors: Counter[str] = Counter()
    ready = Barrier(len(tokens))

    def one(token: str) -> None:
        asker = Asker(port, token)
        try:
            try:
                asker.ask(request)
            except BaseException:
                ready.abort()
                raise
            ready.wait()
            end = time.perf_counter() + seconds
            while (began := time.perf_counter()) < end:
                try:
                    asker.ask(request)
                except (RuntimeError, OSError) as error:
                    errors[str(error)[:200]] += 1
                else:
                    ended = time.perf_counter()
                    found.append((ended - began, end - ended))
        finally:
            asker.close()

    with ThreadPoolExecutor(len(tokens)) as pool:
        list(pool.map(one, tokens))
    within = sum(left >= 0 for _, left in found)
    return Run(tuple(latency for latency, _ in found), within / seconds, errors)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.load", description=__doc__)
    parser.add_argument("--analysts", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each load goes on")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="discreet-load-") as name:
        folder = Path(name)
        with duckdb.connect(str(folder / "load.duckdb")) as connection:
            for statement in DATA:
                connection.execute(statement)
        asked = {"sql": SQL, "dataset": "load", "epsilon": 0.01}
        with served(folder, POLICY, given.analysts) as gateway, get_context("spawn").Pool(1) as client:
            lines = {
                "stored answers": (gateway.port, asked),
                "fresh and charged": (gateway.port, {**asked, "use_cache": False}),
                "plain SQL passed on": (gateway.plain_port, asked),
            }
            for line, (port, request) in lines.items():
                run = client.apply(partial(loaded, port, gateway.tokens, request, given.seconds))
                sys.stdout.write(f"{given.analysts} analysts, {line}: {run.said()}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
