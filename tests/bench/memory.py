"""``python -m tests.bench.memory [--keys N] [--units N]``: the peak memory of a gateway asked for countless groups.

``SELECT word, COUNT(*) … GROUP BY word`` where every word is private and nearly every word is another one's: groups of
``--units`` units each, far below the threshold, beside a hundred that pass it. The database is in the same process, so
that its memory (held to the setting ``engine_memory``) is in the figure. No asserts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from gateway import admin
from tests.bench.figures import made_apart, peak, timed
from tests.bench.served import Asker, served

POLICY = """
dataset: memory
engine: duckdb:///memory.duckdb
privacy_unit: {key: owner_id}
tables:
  said:
    owner: owner_id
    columns: {owner_id: {type: integer}, word: {type: text}}
budget: {epsilon: 1000000, delta: 1e-6}
per_query: {max_epsilon: 10, delta: 1e-9}
"""
COMMON = 100
SQL = "SELECT word, COUNT(*) AS n FROM said GROUP BY word"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memory", description=__doc__)
    parser.add_argument("--keys", type=int, default=10_000_000, help="different private keys")
    parser.add_argument("--units", type=int, default=1, help="units that each of them has")
    given = parser.parse_args()
    rows = given.keys * given.units
    with tempfile.TemporaryDirectory(prefix="discreet-memory-") as name:
        folder = Path(name)
        statements = (
            "CREATE TABLE said (owner_id BIGINT PRIMARY KEY, word VARCHAR)",
            f"INSERT INTO said SELECT i, 'word ' || i % {given.keys} FROM range({rows}) t(i)",
            # beside them, words that a thousand units each have said
            f"INSERT INTO said SELECT i, 'common ' || i % {COMMON} FROM range({rows}, {rows + 1000 * COMMON}) t(i)",
        )
        made_apart(folder / "memory.duckdb", statements)
        with served(folder, POLICY, 1) as gateway:
            control = gateway.service.control
            admin.set_budget(control, "memory", "analyst0", epsilon=1_000_000, delta=1e-6, actor="bench")
            asker = Asker(gateway.port, gateway.tokens[0])
            before = peak()
            answers: list[bytes] = []
            ask = {"sql": SQL, "dataset": "memory", "epsilon": 1.0}
            seconds = timed(lambda: answers.append(asker.ask(ask)))
            shown = len(json.loads(answers[0])["rows"])
            asker.close()
        sys.stdout.write(
            f"{given.keys:,} private keys of {given.units} units each and {COMMON} of a thousand: {shown} shown, "
            f"{seconds:.1f} s, peak {peak():,} MB ({before:,} MB before the question)\n"
        )


if __name__ == "__main__":
    main()
