"""The answer that an analyst sees, computed from noisy tables alone: rows, intervals, warnings.

Everything here is post-processing. Rows are only picked, ordered and cut in Python; anything more is one SELECT of our
own text in the sandbox.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from gateway import wire
from gateway.policy.model import Value
from gateway.release import Estimated, NoisyTable, estimate
from gateway.sandbox import Sandbox
from gateway.sql.algebra import Kind, Ref
from gateway.sql.explain import json_value
from gateway.sql.plan import Plan, PlannedRelease
from gateway.sql.post import ROW, Plain, plain, post, public_name, table_name
from gateway.sql.tables import OutputColumn, ends_of

_ARROW: dict[Kind, pa.DataType] = {
    "integer": pa.int64(),
    "float": pa.float64(),
    "decimal": pa.float64(),
    "text": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows of JSON values with the interval of each noisy column, row by row."""

    rows: list[list[wire.JsonValue]]
    intervals: dict[str, list[tuple[float, float] | None]]
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class _Released:
    """One noisy table with its estimates, cut to the most groups that are shown."""

    planned: PlannedRelease
    table: NoisyTable
    estimates: dict[str, Estimated]

    @property
    def columns(self) -> dict[str, Sequence[Any]]:
        """The columns by name: keys, estimates, and the ends of their intervals beside them."""
        found: dict[str, Sequence[Any]] = {
            key.name: [values[index] for values in self.table.keys] for index, key in enumerate(self.planned.keys)
        }
        for name, estimated in self.estimates.items():
            found[name] = estimated.values
            for which, end in enumerate(ends_of(name)):
                found[end] = [None if interval is None else interval[which] for interval in estimated.intervals]
        return found


def compose(
    plan: Plan,
    tables: Sequence[NoisyTable],
    sandbox: Sandbox,
    confidence: float,
    most_groups: int,
    publics: Sequence[pa.Table] = (),
) -> Answer:
    """Return the answer to a plan, given its noisy tables and the public rows that it reads.

    Intervals cover the noise at ``confidence``; at most ``most_groups`` rows are shown.
    """
    warnings = list(plan.notes)
    if any(len(table.keys) > most_groups for table in tables):
        warnings.append(f"Only the first {most_groups} groups are shown.")
    released = [
        _Released(planned, cut, estimate(planned, cut, confidence))
        for planned, table in zip(plan.releases, tables, strict=True)
        for cut in [NoisyTable(table.keys[:most_groups], table.measures[:most_groups])]
    ]
    parts = plain(plan.query)
    if parts is not None:
        [only] = released
        columns: Mapping[str, Sequence[Any]] = _picked(parts, only)
    else:
        columns = _computed(sandbox, plan, released, publics, most_groups + 1)
    outputs = plan.query.columns
    warnings += [
        f"{column.name}: {sparse}"
        for column in outputs
        for sparse in dict.fromkeys(released[place].estimates[name].sparse for place, name in column.sources)
        if sparse is not None
    ]
    if any(len(columns[column.column]) > most_groups for column in outputs):
        columns = {name: values[:most_groups] for name, values in columns.items()}
        warnings.append(f"Only the first {most_groups} rows are shown.")
    shown = [[_shown(value, column) for value in columns[column.column]] for column in outputs]
    return Answer(
        rows=[list(row) for row in zip(*shown, strict=True)],
        intervals={
            column.name: [_interval(*ends) for ends in zip(*(columns[end] for end in column.interval), strict=True)]
            for column in outputs
            if column.interval is not None
        },
        warnings=warnings,
    )


def _interval(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)


def _shown(value: Any, column: OutputColumn) -> wire.JsonValue:
    """Return a value as JSON; what is no finite number is NULL, whatever arithmetic made it."""
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if column.type == "integer" and isinstance(value, float):
        return round(value)
    return json_value(value)


def _picked(parts: Plain, released: _Released) -> dict[str, list[Any]]:
    """Return the columns of the answer after plain ordering and cutting."""
    columns = released.columns
    numbers = list(range(len(released.table.keys)))
    if parts.sort is not None:
        for ordering in reversed(parts.sort.order):
            assert isinstance(ordering.by, Ref)
            column = columns[ordering.by.name]
            present = [number for number in numbers if column[number] is not None]
            absent = [number for number in numbers if column[number] is None]
            present.sort(key=lambda number, column=column: column[number], reverse=ordering.descending)  # type: ignore[misc]
            numbers = absent + present if ordering.nulls_first else present + absent
        end = None if parts.sort.limit is None else parts.sort.offset + parts.sort.limit
        numbers = numbers[parts.sort.offset : end]
    return {name: [columns[source][number] for number in numbers] for name, source in parts.columns}


def _computed(
    sandbox: Sandbox, plan: Plan, released: Sequence[_Released], publics: Sequence[pa.Table], most: int
) -> dict[str, list[Any]]:
    """Return the columns of the answer that the SELECT over noisy tables and public rows gives."""
    if plan.whole:
        [result] = publics
    else:
        text = post(plan.query, most)
        assert text is not None
        tables = {table_name(place): _arrow(found) for place, found in enumerate(released)}
        tables |= {public_name(place): found for place, found in enumerate(publics)}
        result = sandbox.run(text, tables)
    return {name: result.column(name).to_pylist() for name in result.column_names}


def _arrow(released: _Released) -> pa.Table:
    """Return a noisy table for the sandbox, its rows numbered in canonical order; noisy numbers are doubles there."""
    kinds = {key.name: key.kind for key in released.planned.keys}
    columns: dict[str, pa.Array[Any]] = {ROW: pa.array(range(len(released.table.keys)), type=pa.int64())}
    for name, values in released.columns.items():
        kind = kinds.get(name, "float")
        found = [_float(value) for value in values] if kind in ("float", "decimal") else values
        columns[name] = pa.array(found, type=_ARROW[kind])
    return pa.table(columns)


def _float(value: Value) -> float | None:
    return None if value is None else float(value)  # type: ignore[arg-type]
