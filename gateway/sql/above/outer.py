"""Lower queries over public tables: joins, conditions and groups of what was released, set operations, constants.

``SELECT a.sex, a.n - b.n FROM released a JOIN released b USING (sex) WHERE a.n > 5``
→  ``Pick(Keep(Pair(inner, …, …, a.sex = b.sex), a.n > 5), [a.sex, a.n - b.n])``
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sqlglot import exp

from gateway.sql.above.columns import TableNames
from gateway.sql.above.select import aggregated, listed, ordered, whole
from gateway.sql.above.sizes import written_out
from gateway.sql.above.summary import GroupNames
from gateway.sql.algebra import Call, Constant, Kind, Ordering, Ref, Scalar
from gateway.sql.refusals import refuse
from gateway.sql.scalars.constants import NUMERIC
from gateway.sql.scalars.resolve import Context, Scope, Source, matches, natural, only
from gateway.sql.scalars.scalar import compare, number, predicate
from gateway.sql.tables import Keep, Listed, Merge, One, Pair, Pick, Public, Shown, Sort

CLAUSES = (
    "expressions",
    "from_",
    "joins",
    "where",
    "group",
    "having",
    "order",
    "limit",
    "offset",
    "with_",
    "distinct",
    "qualify",
)


@dataclass(frozen=True, slots=True)
class Placed:
    """One item of a FROM clause above the frontier, under the name by which the query calls it."""

    listed: Listed
    source: Source


def placed(found: Listed, alias: exp.Identifier, context: Context) -> Placed:
    """Return a table as an item of FROM, its columns under names that no other item has."""
    written_out(found.table)
    at = context.number(alias)
    new = {ref.name: Ref(f"q{at}_{index}", ref.kind) for index, (_, ref) in enumerate(found.columns)}
    columns: list[tuple[str, Scalar]] = []
    about: dict[str, Shown] = {}
    for _, ref in found.columns:
        name, shown = new[ref.name].name, found.about[ref.name]
        columns.append((name, ref))
        ends = None
        if shown.interval is not None:
            ends = (f"{name}_low", f"{name}_high")
            columns += [(end, Ref(old, "float")) for end, old in zip(ends, shown.interval, strict=True)]
        about[name] = replace(shown, interval=ends)
    shown_as = tuple((name, new[ref.name]) for name, ref in found.columns)
    return Placed(Listed(Pick(found.table, tuple(columns)), shown_as, about), Source(alias, shown_as))


def over(select: exp.Select, items: Sequence[Placed], context: Context) -> Listed:
    """Return a SELECT over public tables; without any it is a SELECT without FROM."""
    only(select, *CLAUSES)
    names = _from(select, items, context)
    where = select.args.get("where")
    if where is not None:
        only(where, "this")
        condition = predicate(where.this, names)
        names.source = Keep(names.table(), condition)
    if not aggregated(select):
        return listed(select, names, context)
    grouped = GroupNames(names)
    group = select.args.get("group")
    if group is not None:
        only(group, "expressions")
        for item in group.expressions:
            grouped.add_key(item, select)
    return listed(select, grouped, context)


def _from(select: exp.Select, items: Sequence[Placed], context: Context) -> TableNames:
    """Return the rows that the items of FROM make together."""
    if not items:
        return TableNames(One(), Scope((), {}), {}, context)
    table: Public = items[0].listed.table
    sources: tuple[Source, ...] = (items[0].source,)
    about = dict(items[0].listed.about)
    for join, item in zip(select.args.get("joins") or (), items[1:], strict=True):
        only(join, "this", "side", "kind", "on", "using", "method", code="join-unsupported")
        side, kind = (str(join.args.get(name) or "").upper() for name in ("side", "kind"))
        if side not in _SIDES or kind not in ("", "INNER", "CROSS", "OUTER"):
            refuse("join-unsupported", join, hint="Write JOIN, LEFT, RIGHT, FULL or CROSS JOIN.")
        about |= item.listed.about
        names = OnNames(table, Scope(sources, {}), about, context)
        on, left, right = _using(join, _SIDES[side], names, item.source)
        sources = (*left, right)
        if join.args.get("on") is not None:
            on.append(predicate(join.args["on"], OnNames(table, Scope(sources, {}), about, context)))
        together = None if not on else on[0] if len(on) == 1 else Call("and", tuple(on), "boolean")
        table = Pair(_SIDES[side], table, item.listed.table, together)
    return TableNames(table, Scope(sources, {}), about, context)


_SIDES: dict[str, Literal["inner", "left", "right", "full"]] = {
    "": "inner",
    "LEFT": "left",
    "RIGHT": "right",
    "FULL": "full",
}


class OnNames(TableNames):
    """What names mean in the condition of a join, where no subquery stands."""

    def whole(self, node: exp.Expression) -> Scalar | None:
        """Return a column; refuse a subquery."""
        if isinstance(node, exp.Query | exp.Exists) or (type(node) is exp.In and node.args.get("query") is not None):
            refuse("subquery-unsupported", node, hint="Put it into WHERE.")
        return super().whole(node)


def _using(
    join: exp.Join, kind: Literal["inner", "left", "right", "full"], names: TableNames, right: Source
) -> tuple[list[Scalar], tuple[Source, ...], Source]:
    """Return the equalities of USING, and both sides with the columns hidden that the other side shows."""
    named = natural(join, names.scope, right) or join.args.get("using") or []
    if named and kind == "full":
        refuse("join-unsupported", join, hint="Write FULL JOIN … ON, and COALESCE where one column is wanted.")
    on: list[Scalar] = []
    hidden: set[str] = set()
    sources = names.scope.sources
    for identifier in named:
        here = [(name, ref) for name, ref in right.columns if matches(identifier, name)]
        there = names.scope.find(exp.Column(this=identifier.copy()))
        if len(here) != 1 or there is None:
            refuse("column-unknown", join)
        [(name, ref)] = here
        if there.kind != ref.kind and not {there.kind, ref.kind} <= NUMERIC:
            refuse("type-mismatch", join, message="The columns of USING are of different types.")
        on.append(compare("eq", there, ref, join, names))
        hidden.add(there.name if kind == "right" else name)
    if kind != "right":
        return on, sources, replace(right, merged=frozenset(hidden))
    left = tuple(replace(s, merged=s.merged | {name for name, ref in s.columns if ref.name in hidden}) for s in sources)
    return on, left, right


# --- set operations

_KINDS: dict[type[exp.Expression], Literal["union", "except", "intersect"]] = {
    exp.Union: "union",
    exp.Except: "except",
    exp.Intersect: "intersect",
}


def combined(node: exp.SetOperation, left: Listed, right: Listed, context: Context) -> Listed:
    """Return UNION, EXCEPT or INTERSECT of two queries over public tables, with the names of the left one."""
    only(node, "this", "expression", "distinct", "order", "limit", "offset", "with_", code="set-unsupported")
    if len(left.columns) != len(right.columns):
        refuse("set-unsupported", node, message="Both sides of a set operation have the same number of columns.")
    at, kind, every = context.number(node), _KINDS[type(node)], not node.args.get("distinct")
    sides: tuple[list[tuple[str, Scalar]], ...] = ([], [])
    refs: list[Ref] = []
    about: dict[str, Shown] = {}
    for index, ((_, mine), (_, other)) in enumerate(zip(left.columns, right.columns, strict=True)):
        name = f"c{at}_{index}"
        shown = _either(left.about[mine.name], right.about[other.name], whole=every and kind == "union")
        parts, alike = _alike(mine, other, node)
        for side, part in zip(sides, parts, strict=True):
            side.append((name, part))
        refs.append(Ref(name, alike))
        ends = None
        if shown.interval is not None:
            ends = (f"{name}_low", f"{name}_high")
            for side, found in zip(sides, (left.about[mine.name], right.about[other.name]), strict=True):
                side += [(end, _end(found, which)) for which, end in enumerate(ends)]
        about[name] = replace(shown, interval=ends)
    names = tuple(name for name, _ in sides[0])
    picked = [Pick(found.table, tuple(side)) for found, side in zip((left, right), sides, strict=True)]
    table: Public = Merge(kind, every, names, picked[0], picked[1])
    shown_as = tuple((name, ref) for (name, _), ref in zip(left.columns, refs, strict=True))
    return Listed(_ordered(node, table, shown_as), shown_as, about)


def _either(mine: Shown, other: Shown, *, whole: bool) -> Shown:
    """Return what is known of a column that holds values of both sides; ``whole`` where no two rows become one."""
    role = mine.role if mine.role == other.role else "derived"
    if role == "noisy" and not whole:
        role = "derived"
    kept = role == "noisy"
    return Shown(
        mine.type if mine.type == other.type else "number",
        role,
        mine.scale if mine.scale == other.scale else None,
        (*mine.sources, *other.sources) if kept else (),
        (mine.interval or other.interval) if kept else None,
    )


def _alike(mine: Ref, other: Ref, node: exp.Expression) -> tuple[tuple[Scalar, Scalar], Kind]:
    """Return both sides of a column as values of one kind, or refuse."""
    if mine.kind == other.kind:
        return (mine, other), mine.kind
    if {mine.kind, other.kind} <= NUMERIC:
        return (number(mine, node), number(other, node)), "float"
    refuse("type-mismatch", node, message="The columns of a set operation are of different types.")


def _end(shown: Shown, which: int) -> Scalar:
    return Constant(None, "float") if shown.interval is None else Ref(shown.interval[which], "float")


def _ordered(node: exp.SetOperation, table: Public, shown_as: tuple[tuple[str, Ref], ...]) -> Public:
    """Return the rows in the order that the set operation asks for, by its columns or their positions."""
    order = []
    for item in ordered(node):
        only(item, "this", "desc", "nulls_first")
        by = item.this
        found: Ref | None = None
        if type(by) is exp.Literal and not by.args.get("is_string") and by.this.isdigit():
            only(by, "this")
            found = shown_as[int(by.this) - 1][1] if 1 <= int(by.this) <= len(shown_as) else None
        elif type(by) is exp.Column and by.args.get("table") is None and isinstance(by.this, exp.Identifier):
            only(by, "this")
            found = next((ref for name, ref in shown_as if matches(by.this, name)), None)
        if found is None:
            refuse("order-invalid", item, message="A set operation is ordered by its columns or their positions.")
        order.append(Ordering(found, bool(item.args.get("desc")), bool(item.args.get("nulls_first"))))
    limit, offset = whole(node.args.get("limit")), whole(node.args.get("offset")) or 0
    return Sort(table, tuple(order), limit, offset) if order or limit is not None or offset else table
