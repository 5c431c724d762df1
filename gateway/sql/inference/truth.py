"""What a condition may be of a row of which some values are known: true, false or NULL, as far as it can be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import accumulate
from operator import eq, ge, gt, le, lt, ne
from typing import Final, TypeAlias

from gateway.policy.model import Value
from gateway.sql.algebra import Call, Constant, Ref, Scalar, written
from gateway.sql.inference.images import IMAGES

Row: TypeAlias = tuple[Value, ...]

Truth: TypeAlias = frozenset[bool | None]

MOST_STEPS = 200_000
"""Steps that reading conditions of all rows may take; nothing is told by those beyond."""

_UNTOLD: Final[Truth] = frozenset({True, False, None})
COMPARISONS: Final = {"eq": eq, "neq": ne, "lt": lt, "lte": le, "gt": gt, "gte": ge}


def readable(conditions: Iterable[Scalar], rows: int) -> list[Scalar]:
    """Return the conditions that are read of so many rows."""
    given = tuple(conditions)
    steps = accumulate(written(condition) * rows for condition in given)
    return [condition for condition, taken in zip(given, steps, strict=True) if taken <= MOST_STEPS]


def let_through(rows: Iterable[Row], conditions: Sequence[Scalar], names: Mapping[str, int]) -> list[Row]:
    """Return the rows of which no condition is certain not to be true; ``names`` are the places of what is known."""
    return [row for row in rows if all(True in truth(condition, row, names) for condition in conditions)]


def truth(condition: Scalar, row: Row, names: Mapping[str, int]) -> Truth:
    """Return what a condition may be of a row, where only the columns of ``names`` are known."""
    match condition:
        case Call("and" | "or" as how, parts):
            return _joined([truth(part, row, names) for part in parts], decides=how == "or")
        case Call("not", (part,)):
            return frozenset(None if value is None else not value for value in truth(part, row, names))
        case Call("is_null", (Ref(name),)) if name in names:
            return frozenset({row[names[name]] is None})
        case Call(function, (one, other)) if function in COMPARISONS:
            sides = [_value(side, row, names) for side in (one, other)]
            if None in sides:
                return _UNTOLD
            (first,), (second,) = (side or (None,) for side in sides)
            if first is None or second is None:
                return frozenset({None})
            if _family(first) != _family(second):
                return _UNTOLD
            return frozenset({bool(COMPARISONS[function](first, second))})
    found = _value(condition, row, names)
    told = found is not None and (found[0] is None or isinstance(found[0], bool))
    return frozenset({None if found[0] is None else bool(found[0])}) if found is not None and told else _UNTOLD


def _joined(parts: Sequence[Truth], *, decides: bool) -> Truth:
    """Return what parts together may be: one that is ``decides`` decides, and if all are the other, so are they."""
    found: set[bool | None] = set()
    if any(decides in part for part in parts):
        found.add(decides)
    if all(part != {decides} for part in parts) and any(None in part for part in parts):
        found.add(None)
    if all((not decides) in part for part in parts):
        found.add(not decides)
    return frozenset(found)


def _value(scalar: Scalar, row: Row, names: Mapping[str, int]) -> tuple[Value] | None:
    """Return the value of a constant, of a column that is known, or of a function of such; None if it is neither."""
    match scalar:
        case Constant(value):
            return (value,)
        case Ref(name) if name in names:
            return (row[names[name]],)
        case Call(function, args) if function in IMAGES:
            each = [_value(arg, row, names) for arg in args]
            told = [found for found in each if found is not None]
            return (IMAGES[function](*(value for (value,) in told)),) if len(told) == len(each) else None
        case _:
            return None


def _family(value: Value) -> str:
    """Return with what a value can be compared as every engine compares it."""
    match value:
        case bool():
            return "boolean"
        case str():
            return "text"
        case date():
            return type(value).__name__
        case _:
            return "number"
