"""Values released first, written into the statements of the releases that read them.

Why this is sound: they are computed from noisy tables that are drawn already, and become constants of our own writing:
a number is held to its bounds, a text is quoted, and of rows that were to differ in their keys only the first is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Any

import pyarrow as pa

from gateway.answers.estimates import released
from gateway.noisy import NoisyTable
from gateway.policy.model import Dataset, Value
from gateway.sandbox import Sandbox
from gateway.sql.above.feed import filled, most_rows
from gateway.sql.algebra import Constant, Fed, FedColumn, Release, feeds
from gateway.sql.planning.plan import Plan, PlannedRelease
from gateway.sql.tables import Exact, nodes
from gateway.sql.writing.post import named, select
from gateway.sql.writing.rewrite import rewrite

CONFIDENCE = 0.95
"""Of the intervals that a fed table may name: fixed, since what is asked of the data hangs on nothing but the plan."""

Row = tuple[Constant, ...]


@dataclass(frozen=True, slots=True)
class Feeding:
    """What the releases of a plan are fed from: ``fetch`` reads public rows, in the session that reads private ones."""

    plan: Plan
    dataset: Dataset
    sandbox: Sandbox
    fetch: Callable[[str], pa.Table]
    most_groups: int

    def ready(self, place: int, found: Sequence[NoisyTable]) -> PlannedRelease:
        """Return the planned release of a place with its statements as they are sent, given the tables before it."""
        planned = self.plan.releases[place]
        needed = tuple(feeds(planned.release.source))
        if not needed:
            return planned
        most = most_rows(needed, self.dataset.dialect)
        rows = {fed: self._rows(fed, found, most) for fed in dict.fromkeys(needed)}
        return rewrite(filled(planned, rows), self.dataset)

    def _rows(self, fed: Fed, found: Sequence[NoisyTable], most: int) -> tuple[Row, ...]:
        names = named(self.plan.query)
        tables = {}
        for node in nodes(fed.table):
            if isinstance(node, Release) and node in self.plan.query.releases:
                place = self.plan.query.releases.index(node)
                noisy = released(self.plan.releases[place], found[place], CONFIDENCE, self.most_groups)
                tables[names[node]] = noisy.arrow
            elif isinstance(node, Exact):
                read = self.plan.publics[self.plan.query.exacts.index(node)]
                tables[names[node]] = self.fetch(read.sql)
        result = self.sandbox.run(select(fed.table, names, most=most), tables)
        columns = [result.column(column.source).to_pylist() for column in fed.columns]
        rows = [
            tuple(_constant(value, column) for value, column in zip(row, fed.columns, strict=True))
            for row in zip(*columns, strict=True)
        ]
        return _different(fed, rows[:1] if fed.single else rows)


def feeding(plan: Plan) -> frozenset[int]:
    """Return the places of the releases that others are fed from."""
    places = {release: place for place, release in enumerate(plan.query.releases)}
    return frozenset(
        places[node]
        for planned in plan.releases
        for fed in feeds(planned.release.source)
        for node in nodes(fed.table)
        if isinstance(node, Release)
    )


def _constant(value: Any, column: FedColumn) -> Constant:
    """Return a released value as a constant of its column; what no statement can say is NULL."""
    return Constant(_canonical(value, column), column.kind)


def _canonical(value: Any, column: FedColumn) -> Value:
    match value:
        case bool() | date():
            found: Value = value
            return found
        case str():
            return None if "\0" in value or any("\ud800" <= each <= "\udfff" for each in value) else value
        case int() | float() if column.kind in ("integer", "float"):
            if not math.isfinite(value):
                return None
            return _held(int(value) if column.kind == "integer" else value, column)
        case _:
            return None


def _held(value: float, column: FedColumn) -> Value:
    """Return a number between the bounds of its column; a double is kept as the fraction that it is.

    Also one that is held to its bounds: two that are written alike are then equal, and no key holds both.
    """
    exact = Fraction(value)
    if column.bounds is not None:
        exact = min(max(exact, column.bounds[0]), column.bounds[1])
    return int(exact) if column.kind == "integer" else Fraction(float(exact))


def _different(fed: Fed, rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return rows without those that equal an earlier one in columns by which rows are to be told apart."""
    places = {column.name: place for place, column in enumerate(fed.columns)}
    kept: list[Row] = []
    seen: set[tuple[object, ...]] = set()
    for row in rows:
        marks = {(keys, *(row[places[name]].value for name in sorted(keys))) for keys in fed.unique}
        if not marks & seen:
            kept.append(row)
            seen |= marks
    return tuple(kept)
