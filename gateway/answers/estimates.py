"""Noisy tables as what stands above them reads them: keys, estimates and the ends of their intervals, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from gateway.answers.estimated import Estimated, estimate
from gateway.answers.exact import Whole
from gateway.noisy import NoisyTable
from gateway.policy.model import Value
from gateway.sql.algebra import Kind
from gateway.sql.planning.plan import PlannedRelease
from gateway.sql.tables import ends_of
from gateway.sql.writing.post import ROW
from mechanisms.tails import Floats

Column: TypeAlias = Sequence[Any] | Whole | Floats
"""Keys as they are, or numbers as an array."""

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
class Released:
    """One noisy table with its estimates, cut to the most groups that are shown."""

    planned: PlannedRelease
    table: NoisyTable
    estimates: dict[str, Estimated]

    @property
    def columns(self) -> dict[str, Column]:
        """The columns by name: keys, estimates, and the ends of their intervals beside them."""
        found: dict[str, Column] = {
            key.name: [values[index] for values in self.table.keys] for index, key in enumerate(self.planned.keys)
        }
        for name, estimated in self.estimates.items():
            columns = (estimated.values, estimated.low, estimated.high)
            found |= zip((name, *ends_of(name)), columns, strict=True)
        return found

    @property
    def arrow(self) -> pa.Table:
        """The table for the sandbox, its rows numbered in canonical order; noisy numbers are doubles there."""
        kinds = {key.name: key.kind for key in self.planned.keys}
        columns: dict[str, pa.Array[Any]] = {ROW: pa.array(np.arange(len(self.table.keys), dtype=np.int64))}
        for name, values in self.columns.items():
            if isinstance(values, np.ndarray):
                # where nothing bounds a value, its ends are NaN here, and NULL there
                columns[name] = pa.array(values.astype(np.float64), from_pandas=True)
                continue
            kind = kinds[name]
            found = [_float(value) for value in values] if kind in ("float", "decimal") else values
            columns[name] = pa.array(found, type=_ARROW[kind])
        return pa.table(columns)


def _float(value: Value) -> float | None:
    return None if value is None else float(value)  # type: ignore[arg-type]


def released(planned: PlannedRelease, table: NoisyTable, confidence: float, most_groups: int) -> Released:
    """Return a noisy table with its estimates; intervals cover the noise at ``confidence``.

    Its plan is that of the bound that was chosen, where there was one to choose.
    """
    planned = planned.at(table.clip)
    cut = replace(table, keys=table.keys[:most_groups], measures=table.measures[:most_groups])
    return Released(planned, cut, estimate(planned, cut, confidence))
