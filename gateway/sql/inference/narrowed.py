"""What a condition leaves of what the policy declares of columns.

``WHERE amount BETWEEN 10 AND 20``, of an ``amount`` declared between 0 and 1000  →  it is between 10 and 20

Why this is sound: declared bounds and values are no facts about data. Whatever they are, clamps and lists in the
bounded SQL enforce them, so that any that are made of the policy and the text alone will do. Why it is right: a row
outside of the narrower ones does not meet the condition, or is held at the same end as before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from fractions import Fraction
from types import MappingProxyType
from typing import Final, TypeAlias

from gateway.policy.model import Value
from gateway.sql.algebra import Call, Constant, Kind, Ref, Scalar, implied, references, written
from gateway.sql.inference.known import Known, position
from gateway.sql.inference.truth import COMPARISONS, MOST_STEPS, let_through, readable

Ends: TypeAlias = tuple[Fraction | None, Fraction | None]

_MICROSECOND: Final = Fraction(1, 86_400_000_000)
_STEPS: Final[Mapping[Kind, Fraction]] = MappingProxyType(
    {
        "integer": Fraction(1),
        "date": Fraction(1),
        "timestamp": _MICROSECOND,
        "decimal": Fraction(0),
        "float": Fraction(0),
    }
)
"""How far apart two different values of a kind are at least, in days for dates; 0 where that is not known."""

_FAR: Final = Fraction(2**62)
"""Numbers beyond which a text bounds no column: sums are laid out for no larger ones."""

_FINE: Final = 2**15
"""How many times a float's interval may be as far from zero as it is wide: its grid is as fine as its distance."""

_TURNED: Final = {"lt": "gt", "lte": "gte", "gt": "lt", "gte": "lte", "eq": "eq"}


def narrowed(columns: Mapping[str, Known], predicate: Scalar) -> Mapping[str, Known]:
    """Return what is known of columns of rows for which a condition is true.

    What is proven stays as it is: it holds by what computes it, not by what is declared. A comparison with NULL is not
    true.
    """
    conditions = implied(predicate)
    found = dict(columns)
    for name in frozenset().union(*map(_present, conditions)):
        if found[name].nullable:
            found[name] = replace(found[name], nullable=False)
    ends: dict[str, Ends] = {}
    for condition in conditions:
        ends = _both(ends, _ends(condition))
    for name, (low, high) in ends.items():
        about = found[name]
        if about.proven or about.kind not in _STEPS:
            continue
        first, last = about.bounds or (None, None)
        least, most = _greatest(low, first), _least(high, last)
        if least is not None and most is not None and _usable(least, most, about.kind):
            alone = about.told or about.bounds is None
            wide = None if alone else about.wide or about.bounds
            found[name] = replace(about, bounds=(least, most), wide=wide, told=alone)
    left = MOST_STEPS // 10  # of one predicate: those of subqueries in each other add up
    for name in sorted(references(predicate)):
        about = found[name]
        if about.values is not None and about.scan is None:
            rows = [(value,) for value in about.values]
            told = readable((condition for condition in conditions if name in references(condition)), len(rows))
            steps = sum(map(written, told)) * len(rows)
            if steps > left:
                continue
            left -= steps
            kept = let_through(rows, told, {name: 0})
            found[name] = replace(about, values=tuple(value for (value,) in kept) or about.values)
    return MappingProxyType(found)


def _usable(least: Fraction, most: Fraction, kind: Kind) -> bool:
    """Whether a column may be held between two ends: of numbers, apart; some statistics have no sense of one alone."""
    far, width = max(abs(least), abs(most)), most - least
    if kind in ("date", "timestamp"):
        return width >= 0
    return width > 0 and far <= _FAR and (kind != "float" or far <= width * _FINE)


def _present(condition: Scalar) -> frozenset[str]:
    """Return the columns that are not NULL where a condition is true."""
    match condition:
        case Call("and", parts):
            return frozenset().union(*map(_present, parts))
        case Call("or", (first, *others)):
            return _present(first).intersection(*map(_present, others))
        case Call("not", (Call("is_null", (Ref(name),)),)):
            return frozenset({name})
        case Call(function, args) if function in COMPARISONS:
            return frozenset(arg.name for arg in args if isinstance(arg, Ref))
    return frozenset()


def _ends(condition: Scalar) -> dict[str, Ends]:
    """Return between what a condition holds columns; a constant that is not compared by size says nothing."""
    match condition:
        case Call("and", parts):
            found: dict[str, Ends] = {}
            for part in parts:
                found = _both(found, _ends(part))
            return found
        case Call("or", parts):
            first, *others = (_ends(part) for part in parts)
            for other in others:
                first = {name: _either(ends, other[name]) for name, ends in first.items() if name in other}
            return first
        case Call(function, (Ref() as column, Constant(value))) if function in _TURNED:
            return _compared(function, column, value)
        case Call(function, (Constant(value), Ref() as column)) if function in _TURNED:
            return _compared(_TURNED[function], column, value)
    return {}


def _compared(function: str, column: Ref, value: Value) -> dict[str, Ends]:
    step = _STEPS.get(column.kind)
    dated = column.kind in ("date", "timestamp")
    if step is None or isinstance(value, bool) or not isinstance(value, date if dated else int | Fraction):
        return {}
    at = Fraction(position(value)) if isinstance(value, date | Fraction) else Fraction(value)
    low, high = at, at
    if step == 1:
        low, high = Fraction(math.ceil(at)), Fraction(math.floor(at))
    match function:
        case "eq":
            return {column.name: (low, high)}
        case "gte":
            return {column.name: (low, None)}
        case "lte":
            return {column.name: (None, high)}
        case "gt":
            return {column.name: (low + step if low == at else low, None)}
    return {column.name: (None, high - step if high == at else high)}


def _both(one: Mapping[str, Ends], other: Mapping[str, Ends]) -> dict[str, Ends]:
    found = {**one, **other}
    for name in one.keys() & other.keys():
        (low, high), (least, most) = one[name], other[name]
        found[name] = _greatest(low, least), _least(high, most)
    return found


def _either(one: Ends, other: Ends) -> Ends:
    low = None if one[0] is None or other[0] is None else min(one[0], other[0])
    high = None if one[1] is None or other[1] is None else max(one[1], other[1])
    return low, high


def _greatest(one: Fraction | None, other: Fraction | None) -> Fraction | None:
    return other if one is None else one if other is None else max(one, other)


def _least(one: Fraction | None, other: Fraction | None) -> Fraction | None:
    return other if one is None else one if other is None else min(one, other)
