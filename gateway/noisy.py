"""Noisy tables: what left the data, and how the ledger keeps it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any

from gateway.policy.model import Value
from gateway.sql.algebra import Kind
from gateway.sql.planning.plan import Plan, PlannedRelease

KeyTuple = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class NoisyTable:
    """What left the data: group keys in canonical order, and for each the noisy integers of the plan's measures.

    ``clip`` is the place of the bound that was chosen, where there was one to choose; ``clipped`` the noisy number of
    units that count for less than they have, where that was asked for.
    """

    keys: tuple[KeyTuple, ...]
    measures: tuple[tuple[int, ...], ...]
    clip: int | None = None
    clipped: int | None = None


def canonical(value: Any, kind: Kind) -> Value:
    """Return a key as Discreet compares it: numbers exact, floats by their bits, times in UTC."""
    if value is None:
        return None
    match kind:
        case "integer":
            return int(value)
        case "float":
            return Fraction(float(value))
        case "decimal":
            return Fraction(value)
        case "timestamp" if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(UTC).replace(tzinfo=None)
        case _:
            found: Value = value
            return found


def encode(tables: Sequence[NoisyTable], readings: Sequence[Any] = (), asked: str | None = None) -> bytes:
    """Return noisy tables as the payload that the ledger keeps, with what it takes to read them without their plan."""
    found = [
        {"keys": [[_written(value) for value in key] for key in table.keys], "measures": table.measures}
        | ({} if table.clip is None else {"clip": table.clip})
        | ({} if table.clipped is None else {"clipped": table.clipped})
        for table in tables
    ]
    beside: dict[str, Any] = {"readings": readings} if readings else {}
    beside |= {} if asked is None else {"asked": asked}
    return json.dumps({"tables": found, **beside}, separators=(",", ":")).encode()


def decode(plan: Plan, payload: bytes) -> tuple[NoisyTable, ...]:
    """Read the payload of a plan's outcome back."""
    found = json.loads(payload)["tables"]
    return tuple(
        table_of([key.kind for key in planned.keys], table) for planned, table in zip(plan.releases, found, strict=True)
    )


def decode_one(planned: PlannedRelease, payload: bytes) -> NoisyTable:
    """Read the payload of one release back."""
    [table] = json.loads(payload)["tables"]
    return table_of([key.kind for key in planned.keys], table)


def table_of(kinds: Sequence[Kind], table: Any) -> NoisyTable:
    """Read one noisy table of a payload back, given the kinds of its keys."""
    keys = (tuple(_read(value, kind) for value, kind in zip(values, kinds, strict=True)) for values in table["keys"])
    return NoisyTable(
        tuple(keys), tuple(tuple(row) for row in table["measures"]), table.get("clip"), table.get("clipped")
    )


def _written(value: Value) -> Any:
    if isinstance(value, Fraction):
        return str(value)
    return value.isoformat() if isinstance(value, date) else value


def _read(value: Any, kind: Kind) -> Value:
    if value is None:
        return None
    match kind:
        case "float" | "decimal":
            return Fraction(value)
        case "date":
            return date.fromisoformat(value)
        case "timestamp":
            return datetime.fromisoformat(value)
        case _:
            found: Value = value
            return found
