"""Lower FROM and WHERE: scans, joins, semi-joins and nested queries, each owned side tied to the same owner.

``FROM person p, visit v WHERE p.person_id = v.person_id AND v.cost > 10``
→  ``Filter(Join(inner, Scan(person, 0), Scan(visit, 1), person_id#0 = person_id#1), cost#1 > 10)``
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeAlias

from sqlglot import exp

from gateway.sql.above import aggregated
from gateway.sql.algebra import (
    Call,
    Filter,
    Fold,
    Join,
    Project,
    Ref,
    Relation,
    Scalar,
    Scan,
    SemiJoin,
    conjuncts,
    references,
)
from gateway.sql.clause import clause
from gateway.sql.exact import exact, listed
from gateway.sql.facts import Facts, facts, joined
from gateway.sql.folds import folded, folds, named, per_owner
from gateway.sql.frontier import frontier
from gateway.sql.outer import CLAUSES, Placed, combined, over, placed
from gateway.sql.refusals import refuse
from gateway.sql.resolve import Context, Named, RowNames, Scope, Source, matches, only
from gateway.sql.scalar import compare, predicate, scalar
from gateway.sql.tables import Listed
from gateway.sql.ties import tie_hint, tied


@dataclass(frozen=True, slots=True)
class From:
    """A lowered FROM and WHERE: the relation, what names mean over it, and conditions on the query around."""

    relation: Relation
    scope: Scope
    correlated: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Owned:
    """One item of a FROM clause below the frontier: rows of owners, or public rows that may meet them."""

    relation: Relation
    source: Source


@dataclass(frozen=True, slots=True)
class _Step:
    kind: str
    right: Relation
    on: tuple[Scalar, ...]
    node: exp.Expression


def items(select: exp.Select, context: Context) -> list[Owned | Placed]:
    """Return the items of a FROM clause with its joins, each lowered."""
    if select.args.get("laterals"):
        refuse("join-unsupported", select.args["laterals"][0])
    if select.args.get("from_") is None:
        return []
    only(select.args["from_"], "this")
    return [
        _item(node, context) for node in (select.args["from_"].this, *(j.this for j in select.args.get("joins") or ()))
    ]


def read(select: exp.Select, found: Sequence[Owned | Placed], context: Context, outer: Scope | None = None) -> From:
    """Return what a SELECT's FROM and WHERE mean; ``outer`` is the query around that may be referred to."""
    owned = [item for item in found if isinstance(item, Owned)]
    if len(owned) != len(found):
        refuse("subquery-unsupported", select, message="Released tables do not meet tables of the database here yet.")
    first, source = owned[0].relation, owned[0].source
    scope = Scope((source,), dict(facts(first, context.dataset).columns), outer)
    steps: list[_Step] = []
    for join, item in zip(select.args.get("joins") or (), owned[1:], strict=True):
        step, scope = _step(join, item, scope, context)
        steps.append(step)
    where = select.args.get("where")
    if where is not None:
        only(where, "this")
    tests = [] if where is None else list(_parts(where.this))
    semis = [test for test in tests if _subquery(test) is not None]
    plain = [predicate(test, RowNames(scope)) for test in tests if _subquery(test) is None]
    plain = [part for found in plain for part in conjuncts(found)]
    relation, rest = _join_all(first, steps, plain, context)
    inside = tuple(found for found in rest if references(found) <= scope.known.keys())
    correlated = tuple(found for found in rest if not references(found) <= scope.known.keys())
    if correlated and outer is None:
        raise AssertionError("a reference to no query around")
    if inside:
        relation = Filter(relation, _all(inside))
    for test in semis:
        relation = _semi_join(relation, test, scope, context)
    return From(relation, scope, correlated)


def _all(conditions: Sequence[Scalar]) -> Scalar:
    """Return the conjunction of conditions."""
    return conditions[0] if len(conditions) == 1 else Call("and", tuple(conditions), "boolean")


def _parts(node: exp.Expression) -> list[exp.Expression]:
    """Return the parts of a conjunction as the analyst wrote them."""
    found, rest = [], [node]
    while rest:
        top = rest.pop()
        while type(top) is exp.Paren:
            top = top.this
        if type(top) is exp.And:
            only(top, "this", "expression")
            rest += [top.expression, top.this]
        else:
            found.append(top)
    return found


def _subquery(node: exp.Expression) -> exp.Expression | None:
    """Return the IN or EXISTS with a subquery that a condition is, negated or not."""
    inner = node
    while type(inner) in (exp.Not, exp.Paren):
        inner = inner.this
    if type(inner) is exp.Exists:
        return inner
    return inner if type(inner) is exp.In and inner.args.get("query") is not None else None


# --- items of FROM


def _item(node: exp.Expression, context: Context) -> Owned | Placed:
    if type(node) is exp.Subquery:
        only(node, "this", "alias")
        if node.args.get("alias") is None:
            refuse("subquery-unsupported", node, message="A subquery in FROM needs a name.")
        return _named(query(node.this, context), _alias(node.args["alias"]), context)
    if type(node) is not exp.Table or not isinstance(node.this, exp.Identifier):
        refuse("table-unknown", node)
    only(node, "this", "alias")
    alias = node.this if node.args.get("alias") is None else _alias(node.args["alias"])
    for earlier in reversed(context.named):
        if matches(node.this, earlier.name.this):
            listed = earlier.listed
            return _named(query(earlier.query, earlier.context) if listed is None else listed, alias, context)
    table = context.table(node)
    scan = Scan(table.name, context.number(node))
    columns = tuple((column.name, Ref(scan.name(column.name), column.physical.kind)) for column in table.columns)
    return Owned(scan, Source(alias, columns))


def _named(found: Listed | Rows, alias: exp.Identifier, context: Context) -> Owned | Placed:
    """Return a query as an item of FROM."""
    return placed(found, alias, context) if isinstance(found, Listed) else Owned(found[0], Source(alias, found[1]))


def _alias(node: exp.Expression) -> exp.Identifier:
    only(node, "this")
    found = node.this
    if not isinstance(found, exp.Identifier):
        refuse("not-supported", node)
    only(found, "this", "quoted")
    return found


def with_clause(select: exp.Expression, context: Context) -> Context:
    """Return the context in which a query stands after its WITH."""
    clause = select.args.get("with_")
    if clause is None:
        return context
    only(clause, "expressions", code="subquery-unsupported")
    for item in clause.expressions:
        if type(item) is not exp.CTE:
            refuse("subquery-unsupported", item)
        only(item, "this", "alias", code="subquery-unsupported")
        # Read even if nothing uses it, so that what no arm admits is refused wherever it stands.
        found = query(item.this, replace(context, numbers=count()))
        listed = found if isinstance(found, Listed) else None
        named = Named(_alias(item.args["alias"]), item.this, context, listed)
        context = replace(context, named=(*context.named, named))
    return context


# --- joins


def _step(join: exp.Join, item: Owned, scope: Scope, context: Context) -> tuple[_Step, Scope]:
    only(join, "this", "side", "kind", "on", "using", code="join-unsupported")
    side, kind = (str(join.args.get(name) or "").upper() for name in ("side", "kind"))
    if side not in ("", "LEFT") or kind not in ("", "INNER", "CROSS", "OUTER"):
        refuse("join-unsupported", join, hint="Write JOIN, LEFT JOIN or CROSS JOIN.")
    right, source = item.relation, item.source
    about = facts(right, context.dataset)
    using = join.args.get("using") or []
    merged = frozenset(name for name, _ in source.columns if any(matches(found, name) for found in using))
    wider = Scope((*scope.sources, replace(source, merged=merged)), {**scope.known, **about.columns}, scope.outer)
    on: list[Scalar] = []
    for found in using:
        here = [ref for name, ref in source.columns if matches(found, name)]
        there = scope.find(exp.Column(this=found.copy()))
        if len(here) != 1 or there is None:
            refuse("column-unknown", join)
        if there.kind != here[0].kind:
            refuse("type-mismatch", join, message="The columns of USING are of different types.")
        on.append(compare("eq", there, here[0], join, RowNames(wider)))
    if join.args.get("on") is not None:
        on += conjuncts(predicate(join.args["on"], RowNames(wider)))
    if any(not references(found) <= wider.known.keys() for found in on):
        refuse("subquery-unsupported", join, message="The query around is referred to in WHERE alone.")
    return _Step("left" if side == "LEFT" else "inner", right, tuple(on), join), wider


def _join_all(
    relation: Relation, steps: list[_Step], plain: list[Scalar], context: Context
) -> tuple[Relation, list[Scalar]]:
    """Return all items joined, conditions of WHERE moved to the inner joins that they tie, and those left over."""
    rest = list(plain)
    for step in steps:
        left, right = facts(relation, context.dataset), facts(step.right, context.dataset)
        on = list(step.on)
        if step.kind == "inner":
            both = left.columns.keys() | right.columns.keys()
            moved = [
                found
                for found in rest
                if references(found) <= both
                and references(found) & left.columns.keys()
                and references(found) & right.columns.keys()
            ]
            on += moved
            rest = [found for found in rest if found not in moved]
        _check_join(left, right, on, step, context)
        relation = Join("left" if step.kind == "left" else "inner", relation, step.right, _all(on) if on else None)
    return relation, rest


def _check_join(left: Facts, right: Facts, on: list[Scalar], step: _Step, context: Context) -> None:
    """Refuse a join that would give a row two owners, or keep a public row because a private one is missing."""
    if right.private and not left.private and step.kind == "left":
        refuse(
            "join-unsupported",
            step.node,
            message="Public rows that are kept whether or not a private row matches would show which do.",
            hint="Write an inner join, or group by the public key.",
        )
    if left.private and right.private and (left.owner is None or not tied(on, left, right, context.dataset)):
        refuse("join-not-owned", step.node, hint=tie_hint(left, right))
    together = joined(step.kind, left, right, on)
    if together.private and together.owner is None and not together.one_row:
        refuse(
            "join-unsupported",
            step.node,
            message="Each row is a privacy unit here, and this join may multiply it.",
            hint="Join on a key of the public table that the database enforces as unique.",
        )


# --- IN and EXISTS


def _semi_join(relation: Relation, test: exp.Expression, scope: Scope, context: Context) -> Relation:
    anti, inner = False, test
    while type(inner) in (exp.Not, exp.Paren):
        only(inner, "this")
        anti ^= type(inner) is exp.Not
        inner = inner.this
    on: list[Scalar] = []
    if type(inner) is exp.Exists:
        only(inner, "this")
        asked = inner.this
    else:
        only(inner, "this", "query")
        asked = inner.args["query"]
    while type(asked) in (exp.Subquery, exp.Paren):
        only(asked, "this")
        asked = asked.this
    if type(asked) is not exp.Select:
        refuse("subquery-unsupported", test)
    only(asked, "expressions", "from_", "joins", "where", code="subquery-unsupported")
    if asked.args.get("from_") is None:
        refuse("subquery-unsupported", test)
    found = read(asked, items(asked, context), context, scope)
    on += found.correlated
    left, right = facts(relation, context.dataset), facts(found.relation, context.dataset)
    if type(inner) is exp.In:
        on.append(_member(inner, asked, (found.scope, right), (scope, left), anti=anti))
    else:
        _check_items(asked, found.scope)
    if any(not references(condition) <= left.columns.keys() | right.columns.keys() for condition in on):
        refuse("subquery-unsupported", test, message="A subquery refers to the query right around it alone.")
    if right.private and not left.private:
        refuse("join-unsupported", test, message="Public rows cannot be picked by private ones.")
    if left.private and right.private and (left.owner is None or not tied(on, left, right, context.dataset)):
        refuse("join-not-owned", test, hint=tie_hint(left, right))
    return SemiJoin(relation, found.relation, _all(on) if on else None, anti)


def _check_items(query: exp.Select, scope: Scope) -> None:
    """Refuse what EXISTS may not select: an aggregate has a row even where there is none, so that it is always true."""
    for index, item in enumerate(query.expressions):
        if type(item) is exp.Star or (type(item) is exp.Column and type(item.this) is exp.Star):
            _star(item, scope)
        else:
            scalar(named(item, index)[1], RowNames(scope))


def _member(
    node: exp.In, query: exp.Select, inside: tuple[Scope, Facts], around: tuple[Scope, Facts], *, anti: bool
) -> Scalar:
    """Return the equality that ``x IN (SELECT y …)`` means.

    Why NOT IN is only taken between owners: one NULL would empty it for everybody; owners are never NULL, so that there
    it says the same as NOT EXISTS.
    """
    if len(query.expressions) != 1:
        refuse("subquery-unsupported", node, message="IN takes a subquery of one column.")
    item = query.expressions[0]
    value = scalar(item.this if type(item) is exp.Alias else item, RowNames(replace(inside[0], outer=None)))
    subject = scalar(node.this, RowNames(around[0]))
    if not isinstance(value, Ref) or not isinstance(subject, Ref):
        refuse("subquery-unsupported", node, message="IN compares a column with a column.")
    here, there = around[1].columns.get(subject.name), inside[1].columns.get(value.name)
    if anti and not (here is not None and here.owner and there is not None and there.owner):
        refuse("not-in-unsupported", node, hint="Write NOT EXISTS (SELECT 1 FROM … WHERE …), tied to the same owner.")
    return compare("eq", subject, value, node, RowNames(inside[0]))


# --- nested queries


Rows: TypeAlias = tuple[Relation, tuple[tuple[str, Ref], ...]]
"""A query of one owner's rows, picked or folded among themselves, with its columns as the query around sees them."""


def query(node: exp.Expression, context: Context, *, top: bool = False) -> Listed | Rows:
    """Return what a query means: rows of owners, or a table above the frontier; ``top`` where the answer is asked for.

    A SELECT over rows of owners that aggregates them is the frontier, unless it folds each owner's rows apart, which
    inside another query leaves them rows of owners.
    """
    while type(node) in (exp.Subquery, exp.Paren):
        only(node, "this")
        node = node.this
    if isinstance(node, exp.SetOperation):
        return _combined(node, context)
    if type(node) is not exp.Select:
        refuse("subquery-unsupported", node)
    context = with_clause(node, context)
    found = items(node, context)
    stated = clause(node)
    owned = [item for item in found if isinstance(item, Owned)]
    private = any(facts(item.relation, context.dataset).private for item in owned)
    if not private and (top or len(owned) < len(found) or not found or not _picks(node)):
        if stated is not None:
            refuse("clause-misplaced", stated)
        placed = [exact(i.relation, i.source, context) if isinstance(i, Owned) else i for i in found]
        return over(node, placed, context)
    only(node, *CLAUSES, *(() if stated is None else ("hint",)))
    rows = read(node, found, context)
    about = facts(rows.relation, context.dataset)
    if top and node.args.get("distinct") is not None and not aggregated(node):
        refuse("distinct-unsupported", node.args["distinct"])
    apart = stated is None and not top and folds(node, rows.relation, rows.scope, context)
    if top or (about.private and aggregated(node) and not apart):
        return frontier(node, rows.relation, rows.scope, context)
    if stated is not None:
        refuse("clause-misplaced", stated)
    return _rows(node, rows, context)


def _picks(node: exp.Select) -> bool:
    """Whether a SELECT of public rows only picks and computes row by row, as may stand below the frontier too."""
    beyond = any(node.args.get(name) is not None for name in ("order", "limit", "offset", "distinct"))
    return not beyond and not aggregated(node) and next(node.find_all(exp.Window, exp.Query), node) is node


def _combined(node: exp.SetOperation, context: Context) -> Listed:
    """Return a set operation of two queries over public tables."""
    context = with_clause(node, context)
    left, right = (query(side, context) for side in (node.this, node.expression))
    return combined(node, _public(left, node, context), _public(right, node, context), context)


def _public(found: Listed | Rows, node: exp.Expression, context: Context) -> Listed:
    """Return a query over public tables as a table above the frontier; refuse private rows."""
    if isinstance(found, Listed):
        return found
    if facts(found[0], context.dataset).private:
        refuse("subquery-unsupported", node, message="Set operations are taken of released and public tables alone.")
    return listed(found[0], found[1], context)


def _rows(select: exp.Select, found: From, context: Context) -> Rows:
    """Return a query inside FROM: one owner's rows picked, or folded among themselves; refuse what crosses owners."""
    for name in ("limit", "offset", "order"):
        if select.args.get(name) is not None:
            refuse(
                "subquery-unsupported",
                select.args[name],
                message="An order or a limit below an aggregate lets other people's rows decide which rows count.",
            )
    if aggregated(select):
        if select.args.get("distinct") is not None:
            refuse("distinct-unsupported", select.args["distinct"])
        return folded(select, found.relation, found.scope, context)
    items = _items(select, found.scope)
    number = context.number(select)
    columns = [(f"{name}#{number}", meaning) for name, meaning in items]
    shown = tuple((name, Ref(f"{name}#{number}", meaning.kind)) for name, meaning in items)
    if select.args.get("distinct") is not None:
        only(select.args["distinct"], code="distinct-unsupported")
        about = facts(found.relation, context.dataset)
        per_owner([meaning for _, meaning in items], about, select, context)
        return Fold(found.relation, number, tuple(columns), ()), shown
    return Project(found.relation, tuple(columns)), shown


def _items(select: exp.Select, scope: Scope) -> list[tuple[str, Scalar]]:
    found: list[tuple[str, Scalar]] = []
    for index, item in enumerate(select.expressions):
        if type(item) is exp.Star or (type(item) is exp.Column and type(item.this) is exp.Star):
            found += _star(item, scope)
            continue
        name, node = named(item, index)
        found.append((name, scalar(node, RowNames(scope))))
    names = [name.lower() for name, _ in found]
    if len(set(names)) != len(names):
        refuse("column-name-duplicate", select)
    return found


def _star(node: exp.Expression, scope: Scope) -> list[tuple[str, Scalar]]:
    if type(node) is exp.Star:
        only(node)
        sources = scope.sources
    else:
        only(node.this)
        only(node, "this", "table")
        sources = tuple(s for s in scope.sources if matches(node.args["table"], s.alias.this))
        if not sources:
            refuse("column-unknown", node)
    return [(name, ref) for source in sources for name, ref in source.columns if name not in source.merged]
