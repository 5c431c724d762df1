"""Join the items of FROM: inner joins in whichever order ties them, outer joins where the query writes them.

``FROM nation, orders, customer WHERE c_nation = n_key AND o_cust = c_key``
→  ``Join(Join(orders, customer, o_cust = c_key), nation, c_nation = n_key)``

Why the order is free: an inner join is the product of its items, filtered by all of their conditions together, and
neither the product nor the conjunction depends on an order. So owned items come first, each by what ties it to those
before, then public ones by their keys; an outer join stays where it stands, with all before it on one side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlglot import exp

from gateway.sql.algebra import Call, Join, Relation, Scalar, references
from gateway.sql.below.ties import tie_hint, tied
from gateway.sql.inference.domains import conditions
from gateway.sql.inference.facts import Facts, facts, joined
from gateway.sql.refusals import refuse
from gateway.sql.scalars.resolve import Context


@dataclass(frozen=True, slots=True)
class Item:
    """An item of FROM with how it is joined to those before it, and the conditions that are written there."""

    kind: Literal["inner", "left", "right"]
    relation: Relation
    on: tuple[Scalar, ...]
    node: exp.Expression


def all_of(conditions: Sequence[Scalar]) -> Scalar:
    """Return the conjunction of conditions."""
    return conditions[0] if len(conditions) == 1 else Call("and", tuple(conditions), "boolean")


def join_all(items: Sequence[Item], plain: Sequence[Scalar], context: Context) -> tuple[Relation, list[Scalar]]:
    """Return all items joined, and the conditions of WHERE that no inner join has taken in.

    What stands to the left of a RIGHT JOIN takes no condition of WHERE, which is asked after NULLs were added there.
    """
    rest = list(plain)
    block = [items[0]]
    for item in items[1:]:
        if item.kind == "inner":
            block.append(item)
            continue
        before, kept = _inner(block, [] if item.kind == "right" else rest, context)
        rest = rest if item.kind == "right" else kept
        left, right = (item.relation, before) if item.kind == "right" else (before, item.relation)
        holding = (*conditions(left), *conditions(right))
        _check(facts(left, context.dataset), facts(right, context.dataset), item.on, item, context, holding)
        joint = Join("left", left, right, all_of(item.on) if item.on else None)
        block = [Item("inner", joint, (), item.node)]
    return _inner(block, rest, context)


def _inner(block: Sequence[Item], where: Sequence[Scalar], context: Context) -> tuple[Relation, list[Scalar]]:
    """Return a run of inner joins in an order that ties their items, and the conditions of WHERE left over."""
    about = [facts(item.relation, context.dataset) for item in block]
    written = [condition for item in block for condition in item.on]
    rest, waiting = list(where), list(range(len(block)))
    start = next((at for at in waiting if about[at].private), 0)
    waiting.remove(start)
    relation, known = block[start].relation, about[start]
    while waiting:
        ready = {at: _ready(known, about[at], written, rest) for at in waiting}
        holding = conditions(relation)
        # What is tied by nothing in the end is told so at its own place, what may still become so waits.
        best = min(waiting, key=lambda at: (_rank(known, about[at], ready[at], context, holding), at))
        on = ready[best]
        _check(known, about[best], on, block[best], context, holding)
        relation = Join("inner", relation, block[best].relation, all_of(on) if on else None)
        known = joined("inner", known, about[best], on)
        written = [condition for condition in written if condition not in on]
        rest = [condition for condition in rest if condition not in on]
        waiting.remove(best)
    return relation, rest


def _ready(here: Facts, there: Facts, written: Sequence[Scalar], where: Sequence[Scalar]) -> list[Scalar]:
    """Return the conditions for which all columns are there once two sides are joined: of WHERE, those about both."""
    both = here.columns.keys() | there.columns.keys()
    found = [condition for condition in written if references(condition) <= both]
    straddling = (c for c in where if references(c) & here.columns.keys() and references(c) & there.columns.keys())
    return found + [condition for condition in straddling if references(condition) <= both]


def _rank(here: Facts, there: Facts, on: Sequence[Scalar], context: Context, holding: Sequence[Scalar]) -> int:
    """Return how soon an item is joined: owned ones that are tied, public ones by a key, by a condition, others."""
    if here.private and there.private:
        return 0 if tied(on, here, there, context.dataset, holding) else 5
    once = joined("inner", here, there, on)
    if there.private or not here.private:
        return 1 if on else 4
    return 2 if once.multiplied == here.multiplied + there.multiplied else 3 if on else 4


def _check(
    left: Facts, right: Facts, on: Sequence[Scalar], item: Item, context: Context, holding: Sequence[Scalar]
) -> None:
    """Refuse a join that would give a row two owners, or keep a public row because a private one is missing."""
    if right.private and not left.private and item.kind != "inner":
        refuse(
            "join-unsupported",
            item.node,
            message="Public rows that are kept whether or not a private row matches would show which do.",
            hint="Write JOIN: of groups of the public table those without private rows appear as well.",
        )
    both = left.private and right.private
    if both and (left.owner is None or not tied(on, left, right, context.dataset, holding)):
        refuse("join-not-owned", item.node, hint=tie_hint(left, right, context.dataset))
    together = joined("inner" if item.kind == "inner" else "left", left, right, on)
    if together.private and together.owner is None and not together.one_row:
        refuse(
            "join-unsupported",
            item.node,
            message="Each row is a privacy unit here, and this join may multiply it.",
            hint="Join on a key of the public table that the database enforces as unique.",
        )
    if together.private and together.multiplied > 1:
        refuse(
            "join-unsupported",
            item.node,
            message="Two joins here multiply one person's rows without a bound that is known.",
            hint="Join on keys; or an administrator declares the key of the public table, or max_rows_per_unit.",
        )
