"""Take a subquery of aggregates that refers to the query around it apart: by what it is asked, and what it answers.

``(SELECT AVG(qty) FROM item WHERE item.part = p.part AND qty > 0)``
→  ``SELECT part AS k0, AVG(qty) AS v FROM item WHERE qty > 0 GROUP BY part``, joined on ``k0 = p.part``

Why it means the same: an aggregate has one value for each row around, that of the rows whose key equals what the row
asks for; grouped by that key, these are the groups. A row that asks for a key without a group, or for NULL, has no pair
and keeps NULL, or the value over nothing.

Why this is sound: the grouped query stands on its own, and passes every rule as if the analyst had written it; over
private rows it is a release, and what is joined to it are its released values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlglot import exp

from gateway.sql.scalars.resolve import Scope

KEY, VALUE = "k", "v"
_PLAIN = ("expressions", "from_", "joins", "where")
_OF_NOTHING = (exp.Count, exp.CountIf, exp.Sum)


@dataclass(frozen=True, slots=True)
class Grouped:
    """A subquery as a query of its own, grouped by what it is asked by: ``outer`` are the rows' sides, by place.

    ``nothing`` is its value over no rows, None where that is NULL.
    """

    query: exp.Select
    outer: tuple[exp.Expression, ...]
    nothing: exp.Expression | None


def refers(select: exp.Expression) -> bool:
    """Whether a query may refer to one around it by an equality, as far as its text says."""
    plain = type(select) is exp.Select and all(not value or name in _PLAIN for name, value in select.args.items())
    where = select.args.get("where")
    if not plain or where is None or select.args.get("from_") is None:
        return False
    sides = ((part.this, part.expression) for part in _parts(where.this) if type(part) is exp.EQ)
    return any(next(_columns(left), None) and next(_columns(right), None) for left, right in sides)


def grouped(select: exp.Expression, inside: Scope, asked: exp.Expression | None = None) -> Grouped | None:
    """Return a subquery taken apart; None of one that cannot be, or that refers to no query around it.

    ``inside`` is what names mean over its own FROM; ``asked`` is asked of its rows in place of what it selects.
    """
    if not refers(select) or (asked is None and len(select.expressions) != 1):
        return None
    where = select.args["where"]
    item = select.expressions[0] if asked is None else asked
    item = item.this if type(item) is exp.Alias else item
    if (
        not any(_aggregates(item))
        or item.find(exp.Window, exp.Query) is not None
        or _side(item, inside) in ("outer", "both")
    ):
        return None
    kept: list[exp.Expression] = []
    keys: list[tuple[exp.Expression, exp.Expression]] = []
    for part in _parts(where.this):
        if _side(part, inside) in ("inner", "neither"):
            kept.append(part)
            continue
        pair = _key(part, inside)
        if pair is None:
            return None
        keys.append(pair)
    return _made(select, item, kept, keys) if keys else None


def _made(
    select: exp.Expression,
    item: exp.Expression,
    kept: Sequence[exp.Expression],
    keys: Sequence[tuple[exp.Expression, exp.Expression]],
) -> Grouped:
    made = exp.Select(
        expressions=[
            *(exp.alias_(mine.copy(), f"{KEY}{at}", quoted=True) for at, (mine, _) in enumerate(keys)),
            exp.alias_(item.copy(), VALUE, quoted=True),
        ],
        from_=select.args["from_"].copy(),
        joins=[join.copy() for join in select.args.get("joins") or ()],
        group=exp.Group(expressions=[mine.copy() for mine, _ in keys]),
    )
    if kept:
        made.set("where", exp.Where(this=exp.and_(*(part.copy() for part in kept), copy=False)))
    made.meta.update(select.root().meta)
    return Grouped(made, tuple(other for _, other in keys), _nothing(item, made.meta))


def _nothing(item: exp.Expression, around: Mapping[str, object]) -> exp.Expression | None:
    """Return what an expression of aggregates is over no rows: counts and sums are 0, all else is NULL."""
    if not any(isinstance(found, _OF_NOTHING) for found in _aggregates(item)):
        return None
    whole = exp.Paren(this=item.copy())
    for found in list(_aggregates(whole)):
        inner = found.this if type(found) is exp.Filter else found
        found.replace(exp.Literal.number(0) if isinstance(inner, _OF_NOTHING) else exp.Null())
    whole.meta.update(around)
    return whole


def _aggregates(node: exp.Expression) -> Iterator[exp.Expression]:
    if isinstance(node, exp.AggFunc) or type(node) is exp.Filter:
        yield node
        return
    for child in node.iter_expressions():
        yield from _aggregates(child)


def _parts(node: exp.Expression) -> Iterator[exp.Expression]:
    while type(node) is exp.Paren:
        node = node.this
    if type(node) is exp.And:
        yield from _parts(node.this)
        yield from _parts(node.expression)
    else:
        yield node


def _side(node: exp.Expression, inside: Scope) -> Literal["inner", "outer", "both", "neither"]:
    """Return whose columns an expression reads, those of queries inside it left out."""
    found = {inside.find(column) is not None for column in _columns(node)}
    if len(found) == 2:
        return "both"
    return "neither" if not found else "inner" if True in found else "outer"


def _columns(node: exp.Expression) -> Iterator[exp.Column]:
    if isinstance(node, exp.Query):
        return
    if type(node) is exp.Column:
        if isinstance(node.this, exp.Identifier):
            yield node
        return
    for child in node.iter_expressions():
        yield from _columns(child)


def _key(node: exp.Expression, inside: Scope) -> tuple[exp.Expression, exp.Expression] | None:
    """Return the sides of an equality of the subquery's own columns with columns around it, its own first."""
    if type(node) is not exp.EQ or node.find(exp.Query) is not None:
        return None
    sides = (node.this, node.expression)
    match tuple(_side(side, inside) for side in sides):
        case ("inner", "outer"):
            return sides
        case ("outer", "inner"):
            return sides[::-1]
    return None
