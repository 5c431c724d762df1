"""Lower UNION, EXCEPT and INTERSECT of queries that hold rows of people, or public rows, by position.

``SELECT person_id, day FROM visit UNION SELECT person_id, day FROM call``  →  ``Combine(union, …, …)``

Why this is sound: UNION ALL keeps each row with its owner. The others compare rows, and both sides have the owner's key
in the same place, so that only rows of one owner are ever found equal; the rewriting puts the owner beside the columns
whatever the query says. EXCEPT ALL and INTERSECT ALL are EXCEPT and INTERSECT of rows numbered among their equals.
"""

from __future__ import annotations

from typing import Literal

from sqlglot import exp

from gateway.sql.algebra import Combine, Ref, Relation, Scalar, Window, WindowFunction
from gateway.sql.inference.facts import Facts, facts
from gateway.sql.inference.known import known
from gateway.sql.refusals import refuse
from gateway.sql.scalars.constants import NUMERIC
from gateway.sql.scalars.resolve import Context, only
from gateway.sql.scalars.scalar import number

Columns = tuple[tuple[str, Ref], ...]
Side = tuple[Relation, Columns]


def put_together(node: exp.Expression, left: Side, right: Side, context: Context) -> Side:
    """Return two lowered queries put together by a set operation."""
    kind = _kind(node)
    about, there = (facts(side[0], context.dataset) for side in (left, right))
    if len(left[1]) != len(right[1]):
        refuse("set-unsupported", node, message="Both sides of a set operation have the same number of columns.")
    wide = len(left[1])
    _check(node, kind, about, there, left[1], right[1])
    if kind in ("except", "intersect") and not node.args.get("distinct"):
        left, right = (_numbered(side, context.number(node)) for side in (left, right))
        about, there = (facts(side[0], context.dataset) for side in (left, right))
    number_ = context.number(node)
    columns, shown = [], []
    for (name, here), (_, other) in zip(left[1], right[1], strict=True):
        one, two = _alike(here, other, about, there, node)
        columns.append((f"{name}#{number_}", one, two))
        shown.append((name, Ref(f"{name}#{number_}", one.kind)))
    seen = shown[:wide]  # a number of equal rows is not shown
    return Combine(kind, left[0], right[0], number_, tuple(columns)), tuple(seen)


def _kind(node: exp.Expression) -> Literal["append", "union", "except", "intersect"]:
    only(node, "this", "expression", "distinct", "with_", code="set-unsupported")
    if type(node) is exp.Union:
        return "union" if node.args.get("distinct") else "append"
    if type(node) not in (exp.Except, exp.Intersect):
        refuse("set-unsupported", node)
    return "except" if type(node) is exp.Except else "intersect"


_NAME = "n"


def _numbered(side: Side, number_: int) -> Side:
    """Return rows with their number among those that are equal to them: 1, 2, … of each.

    Why it does not matter which of equal rows is the first: there is nothing in which they differ. The owner's key is
    among the columns, and the rewriting partitions by the owner besides, so that rows of one owner are counted alone.
    """
    name = f"{_NAME}#{number_}"
    columns = tuple(ref for _, ref in side[1])
    function = WindowFunction("row_number", None, columns, (), None, 1, None, ties=True)
    return Window(side[0], number_, ((name, function),)), (*side[1], (_NAME, Ref(name, "integer")))


def _check(node: exp.Expression, kind: str, left: Facts, right: Facts, here: Columns, there: Columns) -> None:
    """Refuse to put together rows of which nothing says that they stay with their owners."""
    if not left.private and not right.private:
        return
    if left.owner is None or right.owner is None:
        refuse("set-not-owned", node)
    if kind == "append":
        return
    pairs = zip(here, there, strict=True)
    if not any(left.columns[a.name].owner and right.columns[b.name].owner for (_, a), (_, b) in pairs):
        owner = next((f.origin[1] for f in left.columns.values() if f.owner and f.origin is not None), None)
        named = "the owner's key" if owner is None else owner
        refuse("set-not-owned", node, hint=f"Select {named} in the same place on both sides, or write UNION ALL.")


def _alike(here: Ref, there: Ref, left: Facts, right: Facts, node: exp.Expression) -> tuple[Scalar, Scalar]:
    """Return two columns as values of one kind.

    Why decimals of different scales become doubles: an engine would bring them to one decimal of at most 38 digits, and
    a value that does not fit there raises an error, which data would decide.
    """
    first, second = known(here, left.columns), known(there, right.columns)
    if here.kind == there.kind and (here.kind != "decimal" or (first.scale == second.scale is not None)):
        return here, there
    if {here.kind, there.kind} <= NUMERIC:
        return number(here, node), number(there, node)
    refuse("type-mismatch", node, message=f"A {here.kind} and a {there.kind} meet in one column.")
