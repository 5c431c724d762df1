"""Ties: whether a condition says that the rows it pairs belong to the same owner.

``ON v.person_id = p.person_id`` (the owner's own key), ``ON i.visit_id = v.visit_id`` (the very foreign key of the
owner path with the key that it references), ``ON a.visit_id = b.visit_id`` (the same key of the same table, or the very
foreign keys of two owner paths to it)

Why a tie is asked for although the rewriting adds owner equality anyway: with it the analyst's own text already says
that only rows of one owner meet, so that the addition does not change what was asked.
Two rows that name one thing, each by the foreign key of its own owner path, belong to that thing's owner; where dirty
data say otherwise, the addition parts them.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.policy.model import Dataset, Owner
from gateway.sql.algebra import Call, Ref, Scalar, conjuncts
from gateway.sql.inference.domains import equated
from gateway.sql.inference.facts import Facts
from gateway.sql.inference.keys import is_owned_key


def tied(on: Iterable[Scalar], left: Facts, right: Facts, dataset: Dataset, holding: Iterable[Scalar] = ()) -> bool:
    """Whether a top-level equality says that rows of both sides belong to the same owner.

    ``holding`` are conditions that all rows of either side meet: what they equate counts as one.
    """
    found = [part for condition in on for part in conjuncts(condition)]
    if any(_ties(condition, left, right, dataset) for condition in found):
        return True
    same = equated(holding)
    if not same:
        return False
    further = (
        Call("eq", (Ref(here, first.kind), Ref(there, second.kind)), "boolean")
        for condition in found
        if isinstance(condition, Call) and condition.function == "eq"
        for first, second in (condition.args,)
        if isinstance(first, Ref) and isinstance(second, Ref)
        for here in same.get(first.name, {first.name})
        for there in same.get(second.name, {second.name})
    )
    return any(_ties(condition, left, right, dataset) for condition in further)


def _ties(condition: Scalar, left: Facts, right: Facts, dataset: Dataset) -> bool:
    match condition:
        case Call("or", parts):
            return all(any(_ties(part, left, right, dataset) for part in conjuncts(choice)) for choice in parts)
        case Call("eq", (Ref(first), Ref(second))):
            if first in right.columns:
                first, second = second, first
            if first not in left.columns or second not in right.columns:
                return False
            here, there = left.columns[first], right.columns[second]
            if here.owner and there.owner:
                return True
            if here.origin is None or there.origin is None:
                return False
            if here.origin == there.origin and is_owned_key(here, dataset):
                return True
            # What each side says of the thing that its rows belong to: its key itself, or the path's first step to it.
            things = [_referenced(origin, dataset) for origin in (here.origin, there.origin)]
            return things[0] == there.origin or things[1] == here.origin or (None not in things and len({*things}) == 1)
    return False


def _referenced(column: tuple[str, str], dataset: Dataset) -> tuple[str, str] | None:
    """Return the key that a column references, if it is the very foreign key of its table's owner path."""
    table = dataset.table(column[0])
    if table is None or not isinstance(table.owner, Owner) or not table.owner.hops:
        return None
    hop = table.owner.hops[0]
    return (hop.table, hop.key) if hop.column == column[1] else None


def tie_hint(left: Facts, right: Facts, dataset: Dataset) -> str | None:
    """Return the condition that would tie two owned sides, in the policy's names."""

    def owner(side: Facts) -> str | None:
        return next((f"{f.origin[0]}.{f.origin[1]}" for f in side.columns.values() if f.owner and f.origin), None)

    here, there = owner(left), owner(right)
    if here is None or there is None:
        here, there = _pair(left, right, dataset) or (None, None)
    if here is None or there is None:
        return "Join along the owner path."
    return f"Add `AND {here} = {there}` to the join's condition (with the names that your query gives the tables)."


def _pair(left: Facts, right: Facts, dataset: Dataset) -> tuple[str, str] | None:
    """Return two columns whose equality would tie two owned sides, in the policy's names."""
    for name, here in left.columns.items():
        for other, there in right.columns.items():
            equal = Call("eq", (Ref(name, here.kind), Ref(other, there.kind)), "boolean")
            if here.origin is not None and there.origin is not None and _ties(equal, left, right, dataset):
                return f"{here.origin[0]}.{here.origin[1]}", f"{there.origin[0]}.{there.origin[1]}"
    return None
