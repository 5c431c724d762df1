"""Noisy tables: what left the data, and how the ledger keeps it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from types import NoneType
from typing import Any, Final, TypeVar

from gateway.policy.model import Value
from gateway.sql.algebra import Kind
from gateway.sql.planning.groups import every
from gateway.sql.planning.plan import Plan, PlannedRelease

KeyTuple = tuple[Value, ...]

T = TypeVar("T")


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


_CANONICAL: Final = frozenset({"text", "boolean", "date"})
_INTEGERS: Final = frozenset({int, NoneType})


def canonical_column(values: Sequence[Any], kind: Kind) -> Sequence[Value]:
    """Return a column of keys as ``canonical`` has them; where its type leaves no choice, nothing is asked by value."""
    if kind in _CANONICAL or (kind == "integer" and _INTEGERS.issuperset(map(type, values))):
        return values
    return [canonical(value, kind) for value in values]


def public_groups(planned: PlannedRelease) -> list[KeyTuple]:
    """Return the groups of public keys as they are drawn for: where keys stand together, not every combination is
    one.
    """
    found = every(planned.keys, planned.joint)
    columns = zip(*found, strict=True)
    return rows(
        [canonical_column(each, key.kind) for each, key in zip(columns, planned.keys, strict=False)], len(found)
    )


def encode(tables: Sequence[NoisyTable], readings: Sequence[Any] = (), asked: str | None = None) -> bytes:
    """Return noisy tables as the payload that the ledger keeps, with what it takes to read them without their plan."""
    found = [
        {"groups": len(table.keys), "keys": [_written(each) for each in zip(*table.keys, strict=True)]}
        | {"measures": list(zip(*table.measures, strict=True))}
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
    # Without groups there are no columns to be seen.
    keys = [_read(values, kind) for values, kind in zip(table["keys"], kinds, strict=True)] if table["groups"] else []
    return NoisyTable(
        tuple(rows(keys, table["groups"])),
        tuple(rows(table["measures"], table["groups"])),
        table.get("clip"),
        table.get("clipped"),
    )


def rows(columns: Sequence[Sequence[T]], count: int) -> list[tuple[T, ...]]:
    """Return columns as rows, of which there are ``count`` where there is no column to tell."""
    return list(zip(*columns, strict=True)) if columns else [()] * count


_AS_IT_IS: Final = frozenset({int, str, bool, NoneType})


def _written(column: Sequence[Value]) -> Sequence[Any]:
    """Return a column of keys as JSON; of the types that JSON has too, nothing is asked value by value."""
    return column if _AS_IT_IS.issuperset(map(type, column)) else [_said(value) for value in column]


def _said(value: Value) -> Any:
    if isinstance(value, Fraction):
        return str(value)
    return value.isoformat() if isinstance(value, date) else value


def _read(column: Sequence[Any], kind: Kind) -> Sequence[Value]:
    reader = _READERS.get(kind)
    return column if reader is None else [None if value is None else reader(value) for value in column]


_READERS: Final[dict[Kind, Callable[[Any], Value]]] = {
    "float": Fraction,
    "decimal": Fraction,
    "date": date.fromisoformat,
    "timestamp": datetime.fromisoformat,
}
