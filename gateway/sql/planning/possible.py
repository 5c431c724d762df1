"""Which groups there may be at all: conditions that are read of public values.

``WHERE (a = 1 AND b = 2) OR (a = 2 AND b = 1) GROUP BY a, b``  →  two groups, whatever is declared of a and b

Why this is sound: what is left is made of the policy and the text alone, as all of it was; that rows with other values
are dropped stays enforced. Why it is right: no row that is asked for has any other values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

from gateway.sql.algebra import Call, Constant, Ref, Scalar, references
from gateway.sql.inference.domains import equated
from gateway.sql.inference.truth import MOST_STEPS, Row, let_through, readable
from gateway.sql.planning.groups import Joint, Key, axes, crossed

MOST_ROWS = 1_000
"""Combinations that the bounded SQL lists: of more, all combinations are drawn for."""


def possible(
    keys: tuple[Key, ...], joint: tuple[Joint, ...], holding: Sequence[Scalar]
) -> tuple[tuple[Key, ...], tuple[Joint, ...]]:
    """Return group keys without the public values that no row has for which conditions hold, and which of the others
    stand together.
    """
    conditions = _over_keys(keys, holding)
    if not conditions:
        return keys, joint
    chosen = [(names, _kept(names, rows, conditions)) for names, rows in axes(keys, joint) if rows]
    tried: set[frozenset[str]] = set()
    taken = 0
    for condition in conditions:
        apart = [axis for axis in chosen if not references(condition).isdisjoint(axis[0])]
        number = prod(len(rows) for _, rows in apart)
        names = tuple(name for each, _ in apart for name in each)
        if len(apart) < 2 or number > MOST_STEPS or frozenset(names) in tried:
            continue  # all conditions over the same keys are read at once
        tried.add(frozenset(names))
        taken += number * len(conditions)
        if len(tried) > 1 and taken > MOST_STEPS:
            break
        rows = _kept(names, list(crossed(rows for _, rows in apart)), conditions)
        apart_still: list[tuple[tuple[str, ...], Sequence[Row]]] = [
            (each, _picked(names, rows, each)) for each, _ in apart
        ]
        sparse = len(rows) <= min(prod(len(each) for _, each in apart_still) // 2, MOST_ROWS)
        chosen = [axis for axis in chosen if axis not in apart] + ([(names, rows)] if sparse else apart_still)
    held = {
        name: tuple(value for (value,) in _picked(names, rows, (name,))) for names, rows in chosen for name in names
    }
    tied = [(names, rows) for names, rows in chosen if len(rows) < prod(len(held[name]) for name in names)]
    return (
        tuple(replace(key, values=held.get(key.name, key.values)) for key in keys),
        tuple(Joint(names, tuple(rows)) for names, rows in tied),
    )


def _kept(names: Sequence[str], rows: Sequence[Row], conditions: Sequence[Scalar]) -> Sequence[Row]:
    """Return the rows of keys that conditions may let through, all of them if it were none."""
    places = {name: place for place, name in enumerate(names)}
    about = [condition for condition in conditions if not references(condition).isdisjoint(names)]
    return let_through(rows, readable(about, len(rows)), places) or rows


def _picked(names: Sequence[str], rows: Sequence[Row], some: Sequence[str]) -> list[Row]:
    """Return what some of the keys have in rows of several, each combination once."""
    places = [names.index(name) for name in some]
    return list(dict.fromkeys(tuple(row[place] for place in places) for row in rows))


def _over_keys(keys: Sequence[Key], holding: Sequence[Scalar]) -> list[Scalar]:
    """Return the conditions that say something of keys, over their names: each stands for what is grouped by, and for
    what equals it in every row.
    """
    same = equated(holding)
    named: dict[Scalar, Ref] = {}
    public = [key for key in reversed(keys) if key.values is not None]
    for key in public:
        others = same.get(key.scalar.name, ()) if isinstance(key.scalar, Ref) else ()
        named |= {Ref(name, key.kind): Ref(key.name, key.kind) for name in others}
    named |= {key.scalar: Ref(key.name, key.kind) for key in public}
    told = frozenset(key.name for key in public)
    found = (_called(condition, named) for condition in dict.fromkeys(holding))
    return [condition for condition in found if not told.isdisjoint(references(condition))]


def _called(scalar: Scalar, named: Mapping[Scalar, Ref]) -> Scalar:
    if scalar in named:
        return named[scalar]
    match scalar:
        case Call(_, args):
            return replace(scalar, args=tuple(_called(arg, named) for arg in args))
        case Ref() | Constant():
            return scalar
