"""How often intervals hold the exact value: over answers to one question, each with fresh noise.

The exact value is what the analyst's own SQL gives on the table, by DuckDB.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from gateway.answers.compose import compose
from gateway.release import release
from gateway.sandbox import Sandbox
from gateway.sql.planning.plan import Plan
from tests.oracles.databases import DuckdbDatabase, duckdb_dataset
from tests.oracles.questions import Mechanism, plan, written
from tests.oracles.worlds import Col, Tab, World

CITIES = 40

TOWNS = World(
    "towns",
    "{table: person, key: person_id}",
    (
        Tab(
            "person",
            (
                Col("person_id", "integer", "INTEGER", "INTEGER", ()),
                Col("city", "integer", "INTEGER", "INTEGER", (), declared=f"lower: 0, upper: {CITIES - 1}"),
                Col("x", "integer", "INTEGER", "INTEGER", (), declared="lower: 0, upper: 100"),
                Col("y", "integer", "INTEGER", "INTEGER", (), declared="lower: 0, upper: 100"),
            ),
            "person_id",
            enforced="person_id",
        ),
    ),
)

# Cities of 150 to 540 people; x spreads over its bounds, y follows it with as much again of its own.
_ROWS = """
INSERT INTO person SELECT i, c, x, (x + o) // 2 FROM (
    SELECT i, i % 40 AS c, (i * 7919) % 101 AS x, (i * 104729 + 17) % 101 AS o FROM range(24_000) t(i)
) WHERE c * 10 + 150 > (i // 40)
"""


@dataclass(frozen=True)
class Covered:
    """One question, the number of leading key columns, and how its answers are drawn."""

    name: str
    sql: str
    keys: int = 1
    mechanism: Mechanism = "laplace"
    epsilon: float = 0.2
    runs: int = 50

    def __str__(self) -> str:
        return self.name

    def plan(self) -> Plan:
        asked = replace(written(self.sql, self.mechanism), epsilon=self.epsilon)
        return plan(asked, duckdb_dataset(TOWNS))


@dataclass
class Tally:
    """Intervals by column: how many there are, how many hold the value, and how many rows have none."""

    all: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    none: Counter[str] = field(default_factory=Counter)


def towns() -> DuckdbDatabase:
    """Return the database, filled."""
    base = DuckdbDatabase(TOWNS)
    base.fill({})
    base._connection.execute(_ROWS)
    return base


def tally(case: Covered, base: DuckdbDatabase, sandbox: Sandbox, confidence: float = 0.95) -> Tally:
    """Return how often the intervals of each column held what is exact."""
    found, plan = Tally(), case.plan()
    names = [column.name for column in plan.query.columns]
    exact = {row[: case.keys]: row for row in _rows(base.fetch(case.sql))}
    tables = [[base.fetch(statement.sent) for statement in planned.statements] for planned in plan.releases]
    for _ in range(case.runs):
        noisy = [release(planned, *each) for planned, each in zip(plan.releases, tables, strict=True)]
        answer = compose(plan, noisy, sandbox, confidence, 10_000)
        for at, row in enumerate(answer.rows):
            truth = exact.get(tuple(row[: case.keys]))
            if truth is None:
                continue
            for name, value in list(zip(names, truth, strict=True))[case.keys :]:
                interval = answer.intervals.get(name, [None] * len(answer.rows))[at]
                if interval is None:
                    found.none[name] += 1
                    continue
                found.all[name] += 1
                slack = 1e-6 * max(1.0, abs(value))
                found.held[name] += interval[0] - slack <= value <= interval[1] + slack
    return found


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    columns = [[None if value is None else float(value) for value in column.to_pylist()] for column in table.columns]
    return list(zip(*columns, strict=True))
