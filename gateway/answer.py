"""The answer that an analyst sees, computed from noisy tables alone: rows, intervals, warnings.

Everything here is post-processing. Rows are only picked, ordered and cut in Python; anything more is one SELECT of our
own text in the sandbox, which returns the numbers of the rows that remain and the derived values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gateway import wire
from gateway.policy.model import Value
from gateway.release import Estimated, NoisyTable, estimate
from gateway.sandbox import Sandbox
from gateway.sql.algebra import Kind, OutputColumn, Ref
from gateway.sql.explain import json_value
from gateway.sql.plan import Plan, PlannedRelease
from gateway.sql.post import ROW, TABLE, Above, above, post

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


def compose(plan: Plan, tables: Sequence[NoisyTable], sandbox: Sandbox, confidence: float, most_groups: int) -> Answer:
    """Return the answer to a plan, given its noisy tables; intervals cover the noise at ``confidence``."""
    planned, table = plan.releases[0], tables[0]
    warnings = list(plan.notes)
    if len(table.keys) > most_groups:
        table = NoisyTable(table.keys[:most_groups], table.measures[:most_groups])
        warnings.append(f"Only the first {most_groups} groups are shown.")
    estimates = estimate(planned, table, confidence)
    parts = above(plan.query)
    text = post(plan.query)
    derived: dict[str, list[Any]]
    if text is None:
        numbers, derived = _picked(parts, planned, table, estimates), {}
    else:
        numbers, derived = _computed(sandbox, text, planned, table, estimates)
    columns = [_column(column, planned, table, estimates, numbers, derived) for column in plan.query.columns]
    noisy = {column.name: estimates[column.source] for column in plan.query.columns if column.source in estimates}
    warnings += [
        f"{name}: in some groups the noisy number of rows is below one; the middle of the declared bounds stands there."
        for name, found in noisy.items()
        if found.sparse
    ]
    return Answer(
        rows=[list(row) for row in zip(*columns, strict=True)],
        intervals={name: [found.intervals[number] for number in numbers] for name, found in noisy.items()},
        warnings=warnings,
    )


def _keys(planned: PlannedRelease, table: NoisyTable) -> dict[str, list[Value]]:
    return {key.name: [values[index] for values in table.keys] for index, key in enumerate(planned.keys)}


def _column(
    column: OutputColumn,
    planned: PlannedRelease,
    table: NoisyTable,
    estimates: dict[str, Estimated],
    numbers: list[int],
    derived: dict[str, list[Any]],
) -> list[wire.JsonValue]:
    if column.source is None:
        return [_shown(value, column) for value in derived[column.column]]
    if column.source in estimates:
        values: Sequence[Value | float] = estimates[column.source].values
    else:
        values = _keys(planned, table)[column.source]
    return [_shown(values[number], column) for number in numbers]


def _shown(value: Any, column: OutputColumn) -> wire.JsonValue:
    """Return a value as JSON; what is no finite number is NULL, whatever arithmetic made it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if column.type == "integer" and isinstance(value, float):
        return round(value)
    return json_value(value)


def _picked(parts: Above, planned: PlannedRelease, table: NoisyTable, estimates: dict[str, Estimated]) -> list[int]:
    """Return the numbers of the rows that plain ordering and cutting leaves, in order."""
    numbers = list(range(len(table.keys)))
    if parts.sort is None:
        return numbers
    values: dict[str, Sequence[Any]] = {name: found.values for name, found in estimates.items()}
    values |= _keys(planned, table)
    for ordering in reversed(parts.sort.order):
        assert isinstance(ordering.by, Ref)
        column = values[ordering.by.name]
        present = [number for number in numbers if column[number] is not None]
        absent = [number for number in numbers if column[number] is None]
        present.sort(key=lambda number, column=column: column[number], reverse=ordering.descending)  # type: ignore[misc]
        numbers = absent + present if ordering.nulls_first else present + absent
    end = None if parts.sort.limit is None else parts.sort.offset + parts.sort.limit
    return numbers[parts.sort.offset : end]


def _computed(
    sandbox: Sandbox, text: str, planned: PlannedRelease, table: NoisyTable, estimates: dict[str, Estimated]
) -> tuple[list[int], dict[str, list[Any]]]:
    """Return the numbers of the rows that the SELECT over the noisy table leaves, and its derived columns."""
    columns: dict[str, pa.Array[Any]] = {ROW: pa.array(range(len(table.keys)), type=pa.int64())}
    keys = _keys(planned, table)
    for key in planned.keys:
        values = [json_value(value) if key.kind in ("float", "decimal") else value for value in keys[key.name]]
        columns[key.name] = pa.array(values, type=_ARROW[key.kind])
    for name, found in estimates.items():
        columns[name] = pa.array([float(value) for value in found.values], type=pa.float64())
    result = sandbox.run(text, {TABLE: pa.table(columns)})
    derived = {name: result.column(name).to_pylist() for name in result.column_names if name != ROW}
    numbers: list[Any] = result.column(ROW).to_pylist()
    return [int(number) for number in numbers], derived
