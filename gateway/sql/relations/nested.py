"""Lower a query inside another: one owner's rows picked, folded, ranked, put together; or public ones.

``SELECT person_id, COUNT(*) AS n FROM visit GROUP BY person_id HAVING COUNT(*) > 2`` inside FROM
→  ``Project(Filter(Fold(Scan(visit, 0), [person_id], [count_rows]), a0 > 2), …)``
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from gateway.sql.above.select import aggregated, ordered, whole
from gateway.sql.algebra import Constant, Filter, Fold, Ordering, Project, Ref, Relation, Scalar, Values
from gateway.sql.below.folds import FoldNames, group_keys, named, per_owner
from gateway.sql.below.partitions import Aliased, WindowNames, first_rows, ordering
from gateway.sql.inference.facts import facts
from gateway.sql.refusals import refuse
from gateway.sql.scalars.constants import NULL, NUMERIC, as_kind
from gateway.sql.scalars.names import RowNames
from gateway.sql.scalars.resolve import Context, Scope, only, starred
from gateway.sql.scalars.resolve import RowNames as ScopeNames
from gateway.sql.scalars.scalar import predicate, scalar

Columns = tuple[tuple[str, Ref], ...]

_CUT = "An order and a limit below an aggregate let other people's rows decide which rows count."
_CUT_HINT = "Number each person's rows: ROW_NUMBER() OVER (PARTITION BY the owner's key ORDER BY …) and QUALIFY."
MOST_CONSTANTS = 1_000


def cut(node: exp.Expression) -> None:
    """Refuse an order or a limit of rows that are put together."""
    for clause in ("limit", "offset", "order"):
        if node.args.get(clause) is not None:
            refuse("subquery-unsupported", node.args[clause], message=_CUT)


def select(node: exp.Select, relation: Relation, scope: Scope, context: Context) -> tuple[Relation, Columns]:
    """Return a SELECT inside another query; refuse what lets rows of several people decide about one of them."""
    rows = ScopeNames(scope)
    number = context.number(node)
    names: RowNames = rows
    if aggregated(node):
        about = facts(relation, context.dataset)
        keys = group_keys(node, rows)
        per_owner(keys, about, node, context)
        names = FoldNames(rows, about, number, [(f"k{at}#{number}", key) for at, key in enumerate(keys)])
    windows = WindowNames(names, number, facts(relation, context.dataset).rows)
    listed = items(node, scope, windows)
    having = _condition(node, "having", Aliased(names, listed))
    qualify = _condition(node, "qualify", Aliased(windows, listed))
    order = [_ordering(item, Aliased(windows, listed), listed) for item in ordered(node)]
    if isinstance(names, FoldNames):
        relation = Fold(relation, number, tuple(names.keys), tuple(names.aggregates))
    if having is not None:
        relation = Filter(relation, having)
    relation = windows.over(relation, context, node)
    if qualify is not None:
        relation = Filter(relation, qualify)
    return _shown(node, relation, listed, order, windows, context)


def _shown(
    node: exp.Select,
    relation: Relation,
    listed: Sequence[tuple[str, Scalar]],
    order: Sequence[Ordering],
    names: RowNames,
    context: Context,
) -> tuple[Relation, Columns]:
    """Return the select list of a nested SELECT over its rows, with what DISTINCT and LIMIT leave of them."""
    number = context.number(node)
    columns = tuple((f"{name}#{number}", meaning) for name, meaning in listed)
    shown = tuple((name, Ref(f"{name}#{number}", meaning.kind)) for name, meaning in listed)
    distinct = node.args.get("distinct")
    if distinct is not None and distinct.args.get("on") is not None:
        only(distinct, "on", code="distinct-unsupported")
        on = distinct.args["on"]
        only(on, "expressions")
        keys = [scalar(item, Aliased(names, listed)) for item in on.expressions]
        per_owner(keys, facts(relation, context.dataset), node, context)
        relation = first_rows(relation, keys, order, (0, 1), context.number(node))
    elif distinct is not None:
        only(distinct, code="distinct-unsupported")
        per_owner([meaning for _, meaning in listed], facts(relation, context.dataset), node, context)
        if node.args.get("limit") is not None or node.args.get("offset") is not None:
            refuse("subquery-unsupported", distinct, message="DISTINCT with a limit is not supported in a subquery.")
        return Fold(relation, number, columns, ()), shown
    return Project(_cut(node, relation, order, context), columns), shown


def _cut(node: exp.Select, relation: Relation, order: Sequence[Ordering], context: Context) -> Relation:
    """Return the rows that LIMIT and OFFSET leave of public rows.

    Why this is sound: rows are numbered in an order that every column takes part in, so that which ones stay is a
    function of public data; where private rows are cut, other people's would decide which of one person's stay.
    """
    clause = node.args.get("limit") or node.args.get("offset")
    if clause is None:
        return relation
    if facts(relation, context.dataset).private:
        refuse("subquery-unsupported", clause, message=_CUT, hint=_CUT_HINT)
    if not order:
        refuse("subquery-unsupported", clause, message="A limit in a subquery needs an ORDER BY.")
    skipped = whole(node.args.get("offset")) or 0
    most = whole(node.args.get("limit"))
    return first_rows(relation, (), order, (skipped, most), context.number(node))


def _condition(node: exp.Select, clause: str, names: RowNames) -> Scalar | None:
    found = node.args.get(clause)
    if found is None:
        return None
    only(found, "this")
    return predicate(found.this, names)


def _ordering(node: exp.Expression, names: RowNames, listed: Sequence[tuple[str, Scalar]]) -> Ordering:
    """Return an item of ORDER BY: an expression, an alias, or a position of the select list."""
    found = ordering(node, names)
    if not isinstance(found.by, Constant):
        return found
    at = found.by.value
    if not isinstance(at, int) or not 1 <= at <= len(listed):
        refuse("order-invalid", node)
    return replace(found, by=listed[at - 1][1])


# --- select lists


def items(node: exp.Select, scope: Scope, names: RowNames) -> list[tuple[str, Scalar]]:
    """Return the items of a nested select list, stars written out, under names that are all different."""
    found: list[tuple[str, Scalar]] = []
    for index, item in enumerate(node.expressions):
        if type(item) is exp.Star or (type(item) is exp.Column and type(item.this) is exp.Star):
            if aggregated(node):
                refuse("not-grouped", item, hint="Name the columns that are grouped by.")
            found += starred(item, scope)
            continue
        name, inner = named(item, index)
        found.append((name, scalar(inner, names)))
    taken = [name.lower() for name, _ in found]
    if len(set(taken)) != len(taken):
        refuse("column-name-duplicate", node)
    return found


def constants(node: exp.Values, context: Context) -> tuple[Relation, Columns]:
    """Return constant rows that the query writes out, each column of one kind."""
    only(node, "expressions", "alias")
    rows: list[tuple[Constant, ...]] = []
    for row in node.expressions:
        if type(row) is not exp.Tuple or len(rows) >= MOST_CONSTANTS:
            refuse("not-supported", row, hint=f"VALUES takes at most {MOST_CONSTANTS} rows of constants.")
        only(row, "expressions")
        cells = [scalar(cell, ScopeNames(Scope((), {}))) for cell in row.expressions]
        if not all(isinstance(cell, Constant) for cell in cells):
            refuse("not-supported", row, message="VALUES takes constants.")
        rows.append(tuple(cell for cell in cells if isinstance(cell, Constant)))
    if len({len(row) for row in rows}) != 1:
        refuse("not-supported", node, message="The rows of VALUES have the same number of columns.")
    number = context.number(node)
    places = [_one_kind([row[at] for row in rows], node) for at in range(len(rows[0]))]
    columns = tuple((f"column{at + 1}#{number}", cells[0].kind) for at, cells in enumerate(places))
    shown = tuple((f"column{at + 1}", Ref(name, kind)) for at, (name, kind) in enumerate(columns))
    return Values(number, columns, tuple(zip(*places, strict=True))), shown


def _one_kind(cells: Sequence[Constant], node: exp.Expression) -> list[Constant]:
    kinds = {cell.kind for cell in cells if cell.value is not None}
    if len(kinds) > 1 and not kinds <= NUMERIC:
        refuse("type-mismatch", node, message="The values of one column are of different types.")
    kind = "float" if "decimal" in kinds else next(iter(kinds), NULL.kind)
    return [as_kind(cell, kind, node) for cell in cells]
