"""The answer that an analyst sees, computed from noisy tables alone: rows, intervals, warnings.

Everything here is post-processing. Rows are only picked, ordered and cut in Python; anything more is one SELECT of our
own text in the sandbox.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import NoneType
from typing import Any, Final

import numpy as np
import pyarrow as pa

from gateway import wire
from gateway.answers.consistent import consistent
from gateway.answers.estimated import Intervals, pairs
from gateway.answers.estimates import Column, Released, released
from gateway.answers.nonnegative import WARNING, held, names
from gateway.answers.repeated import UNTOLD, repeated_intervals
from gateway.kept import Kept
from gateway.noisy import NoisyTable
from gateway.sandbox import Sandbox
from gateway.sql.algebra import Ref
from gateway.sql.explain import json_value
from gateway.sql.planning import clips, counted
from gateway.sql.planning.derived import is_derived
from gateway.sql.planning.plan import Plan
from gateway.sql.tables import OutputColumn
from gateway.sql.writing.post import Plain, plain, post, public_name, table_name


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows of JSON values with the interval of each noisy column, row by row."""

    rows: list[list[wire.JsonValue]]
    intervals: dict[str, list[tuple[float, float] | None]]
    warnings: list[str]
    clipped: list[wire.Clipped]


def compose(
    plan: Plan,
    tables: Sequence[NoisyTable],
    sandbox: Sandbox,
    confidence: float,
    most_groups: int,
    publics: Sequence[pa.Table] = (),
    non_negative: bool = False,
) -> Answer:
    """Return the answer to a plan, given its noisy tables and the public rows that it reads.

    Intervals cover the noise at ``confidence``; at most ``most_groups`` rows are shown. What cannot be negative is held
    at zero if ``non_negative``.
    """
    warnings = list(plan.notes)
    warnings += dict.fromkeys(
        clips.told(planned.clip, table.clip)
        for planned, table in zip(plan.releases, tables, strict=True)
        if planned.clip is not None and table.clip is not None
    )
    clipped = [
        (place, planned.clipped, table.clipped)
        for place, (planned, table) in enumerate(zip(plan.releases, tables, strict=True))
        if planned.clipped is not None and table.clipped is not None
    ]
    warnings += dict.fromkeys(counted.told(block, units, confidence) for _, block, units in clipped)
    if any(len(table.keys) > most_groups for table in tables):
        warnings.append(f"Only the first {most_groups} groups are shown.")
    found = consistent(
        plan.releases,
        [
            released(planned, table, confidence, most_groups)
            for planned, table in zip(plan.releases, tables, strict=True)
        ],
        confidence,
    )
    if non_negative:
        found = held(found)
        warnings += [WARNING] if any(names(planned) for planned in plan.releases) else []
    parts = plain(plan.query)
    if parts is not None:
        shown_one = found[plan.query.releases.index(parts.release)]
        columns: Mapping[str, Column] = _picked(parts, shown_one)
    else:
        columns = _computed(sandbox, plan, found, publics, most_groups + 1)
    outputs = plan.query.columns
    warnings += [
        f"{column.name}: {sparse}"
        for column in outputs
        for sparse in dict.fromkeys(found[place].estimates[name].sparse for place, name in column.sources)
        if sparse is not None
    ]
    if any(len(columns[column.column]) > most_groups for column in outputs):
        columns = {name: values[:most_groups] for name, values in columns.items()}
        warnings.append(f"Only the first {most_groups} rows are shown.")
    shown = [_column(columns[column.column], column) for column in outputs]
    intervals: dict[str, Intervals] = {
        column.name: _intervals(*(columns[end] for end in column.interval))
        for column in outputs
        if column.interval is not None
    }
    derived = {column: _listed(columns[column.column]) for column in outputs if is_derived(plan.query, column)}
    if derived:
        told = repeated_intervals(plan, found, publics, sandbox, confidence, derived, non_negative=non_negative)
        warnings += [f"{column.name}: {UNTOLD}" for column in derived if column.name not in told]
        intervals |= told
    return Answer(
        rows=[list(row) for row in zip(*shown, strict=True)],
        intervals=intervals,
        warnings=warnings,
        clipped=[
            wire.Clipped(release=place, units=max(units, 0), interval=counted.interval(block, units, confidence))
            for place, block, units in clipped
        ],
    )


SMALL: Final = 100
"""Groups up to which what is told of stored tables is kept."""

_TOLD: Final[Kept[Answer]] = Kept(128)


def composed(
    plan: Plan,
    tables: tuple[NoisyTable, ...],
    sandbox: Sandbox,
    confidence: float,
    most_groups: int,
    publics: Sequence[pa.Table] = (),
    non_negative: bool = False,
) -> Answer:
    """Return ``compose`` of stored tables, which are asked for again and again: it is a function of them, and kept.

    Not where public rows are read with them, which are as they are now, nor where an interval is missing: it may have
    taken too long.
    """
    asked = (confidence, most_groups, non_negative)

    def made() -> Answer:
        return compose(plan, tables, sandbox, confidence, most_groups, publics, non_negative)

    if publics or sum(len(table.keys) for table in tables) > SMALL:
        return made()
    return _TOLD.get((plan, tables), asked, made, _complete)


def _complete(answer: Answer) -> bool:
    return not any(warning.endswith(UNTOLD) for warning in answer.warnings)


def _intervals(lows: Column, highs: Column) -> Intervals:
    """Return the ends of intervals two by two; an end that no sandbox could tell is NULL, and NaN here."""
    return pairs(np.asarray(lows, dtype=np.float64), np.asarray(highs, dtype=np.float64))


_AS_IT_IS: Final = frozenset({int, str, bool, NoneType})


def _column(values: Column, column: OutputColumn) -> list[wire.JsonValue]:
    """Return a column as JSON; of the types that JSON has too, nothing is asked value by value."""
    if isinstance(values, np.ndarray):
        exact = values.dtype != np.float64 or (column.type != "integer" and bool(np.isfinite(values).all()))
        found: list[Any] = values.tolist()
        return found if exact else [_shown(value, column) for value in found]
    types = set(map(type, values))
    plain_floats = types == {float} and column.type != "integer" and all(map(math.isfinite, values))
    if plain_floats or types <= _AS_IT_IS:
        return list(values)
    return [_shown(value, column) for value in values]


def _shown(value: Any, column: OutputColumn) -> wire.JsonValue:
    """Return a value as JSON; what is no finite number is NULL, whatever arithmetic made it."""
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if column.type == "integer" and isinstance(value, float):
        return round(value)
    return json_value(value)


def _picked(parts: Plain, found: Released) -> dict[str, Column]:
    """Return the columns of the answer after plain ordering and cutting."""
    columns = found.columns
    if parts.sort is None:
        return {name: columns[source] for name, source in parts.columns}
    numbers = list(range(len(found.table.keys)))
    for ordering in reversed(parts.sort.order):
        assert isinstance(ordering.by, Ref)
        column = _listed(columns[ordering.by.name])
        present = [number for number in numbers if column[number] is not None]
        absent = [number for number in numbers if column[number] is None]
        present.sort(key=lambda number, column=column: column[number], reverse=ordering.descending)  # type: ignore[misc]
        numbers = absent + present if ordering.nulls_first else present + absent
    end = None if parts.sort.limit is None else parts.sort.offset + parts.sort.limit
    numbers = numbers[parts.sort.offset : end]
    return {name: _taken(columns[source], numbers) for name, source in parts.columns}


def _listed(column: Column) -> Sequence[Any]:
    """Return a column's values to be compared; None for the ends of what nothing bounds."""
    if not isinstance(column, np.ndarray):
        return column
    return [None if value != value else value for value in column.tolist()]


def _taken(column: Column, numbers: list[int]) -> Column:
    return column[numbers] if isinstance(column, np.ndarray) else [column[number] for number in numbers]


def _computed(
    sandbox: Sandbox, plan: Plan, noisy: Sequence[Released], publics: Sequence[pa.Table], most: int
) -> dict[str, Column]:
    """Return the columns of the answer that the SELECT over noisy tables and public rows gives."""
    if plan.whole:
        [result] = publics
    else:
        text = post(plan.query, most)
        assert text is not None
        tables = {table_name(place): found.arrow for place, found in enumerate(noisy)}
        tables |= {public_name(place): found for place, found in enumerate(publics)}
        result = sandbox.run(text, tables)
    return {name: result.column(name).to_pylist() for name in result.column_names}
