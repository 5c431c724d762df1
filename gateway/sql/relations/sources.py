"""Lower FROM and WHERE: scans, joins, nested queries, and what subqueries in expressions say of each row.

``FROM person p, visit v WHERE p.person_id = v.person_id AND v.cost > 10``
→  ``Filter(Join(inner, Scan(person, 0), Scan(visit, 1), person_id#0 = person_id#1), cost#1 > 10)``
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeAlias

from sqlglot import exp

from gateway.errors import SqlRefused
from gateway.sql.above.clause import clause
from gateway.sql.above.exact import exact, listed
from gateway.sql.above.feed import feed
from gateway.sql.above.frontier import frontier
from gateway.sql.above.outer import CLAUSES, Placed, combined, over, placed
from gateway.sql.above.select import aggregated
from gateway.sql.algebra import Filter, Ref, Relation, Release, Scalar, Scan, conjuncts, references
from gateway.sql.below.folds import folds
from gateway.sql.below.joins import Item, all_of, join_all
from gateway.sql.below.sets import put_together
from gateway.sql.below.spelled import constant_rows
from gateway.sql.inference.facts import facts
from gateway.sql.refusals import refuse
from gateway.sql.relations import nested
from gateway.sql.relations.subqueries import Lookups, Read, asked_of_rows, has_subquery, semi_join, subquery_test
from gateway.sql.scalars.instead import other
from gateway.sql.scalars.resolve import Context, Named, RowNames, Scope, Source, matches, natural, only
from gateway.sql.scalars.scalar import compare, predicate
from gateway.sql.tables import Listed, nodes, single


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


Rows: TypeAlias = tuple[Relation, tuple[tuple[str, Ref], ...]]
"""A query of one owner's rows, picked or folded among themselves, with its columns as the query around sees them."""


def query(node: exp.Expression, context: Context, *, top: bool = False) -> Listed | Rows:
    """Return what a query means: rows of owners, or a table above the frontier; ``top`` where the answer is asked for.

    A SELECT over rows of owners that aggregates them is the frontier, unless it folds each owner's rows apart, which
    inside another query leaves them rows of owners.
    """
    while type(node) in (exp.Subquery, exp.Paren):
        only(node, "this", code="subquery-unsupported")
        node = node.this
    if isinstance(node, exp.SetOperation):
        return _combined(node, context)
    if type(node) is exp.Values:
        return nested.constants(node, context)
    if type(node) is not exp.Select:
        refuse("subquery-unsupported", node)
    context = with_clause(node, context)
    found = items(node, context)
    stated = clause(node)
    owned = [item for item in found if isinstance(item, Owned)]
    private = any(facts(item.relation, context.dataset).private for item in owned)
    whole = len(owned) == len(found) > 0
    if not private and not (whole and (context.below or (not top and _picks(node)))):
        if stated is not None:
            refuse("clause-misplaced", stated)
        above = [exact(i.relation, i.source, context) if isinstance(i, Owned) else i for i in found]
        return over(node, above, context)
    hint = () if stated is None else ("hint",)
    only(node, *CLAUSES, *hint)
    rows = read(node, found, context)
    about = facts(rows.relation, context.dataset)
    if top and node.args.get("distinct") is not None and not aggregated(node):
        node = _listed_groups(node)
    apart = stated is None and not top and folds(node, about, RowNames(rows.scope), context)
    if top or (about.private and aggregated(node) and not apart):
        only(node, *CLAUSES, *hint)
        return frontier(node, rows.relation, rows.scope, context)
    if stated is not None:
        refuse("clause-misplaced", stated)
    return nested.select(node, rows.relation, rows.scope, context)


def _listed_groups(node: exp.Select) -> exp.Select:
    """Return ``SELECT DISTINCT a, b`` as ``SELECT a, b … GROUP BY a, b``: those of its groups that are released."""
    distinct = node.args["distinct"]
    only(distinct, code="distinct-unsupported")
    for item in node.expressions:
        if item.is_star or item.find(exp.Window, exp.Query) is not None:
            refuse("distinct-unsupported", item, hint="Write GROUP BY; groups of few people do not appear.")
    keys = [exp.Literal.number(at) for at in range(1, len(node.expressions) + 1)]
    node.set("distinct", None)
    node.set("group", exp.Group(expressions=keys))
    return node


def _combined(node: exp.SetOperation, context: Context) -> Listed | Rows:
    """Return a set operation of two queries over public tables, or over rows of owners."""
    context = with_clause(node, context)
    left, right = (query(side, context) for side in (node.this, node.expression))
    private = any(not isinstance(s, Listed) and facts(s[0], context.dataset).private for s in (left, right))
    if isinstance(left, Listed) or isinstance(right, Listed):
        if private:
            refuse("set-not-owned", node, message="Rows of people and rows without an owner are not put together.")
    elif private or context.below:
        nested.cut(node)
        return put_together(node, left, right, context)
    sides = [side if isinstance(side, Listed) else listed(side[0], side[1], context) for side in (left, right)]
    return combined(node, sides[0], sides[1], context)


def _picks(node: exp.Select) -> bool:
    """Whether a SELECT of public rows only picks and computes row by row, as may stand below the frontier too."""
    beyond = any(node.args.get(name) is not None for name in ("order", "limit", "offset", "distinct"))
    inner = (found for found in node.find_all(exp.Window, exp.Query) if found is not node)
    return not beyond and not aggregated(node) and next(inner, None) is None


def read(select: exp.Select, found: Sequence[Owned | Placed], context: Context, outer: Scope | None = None) -> From:
    """Return what a SELECT's FROM and WHERE mean; ``outer`` is the query around that may be referred to."""
    joined, scope = _joined(select, found, context, outer)
    where = select.args.get("where")
    if where is not None:
        only(where, "this")
    tests = [] if where is None else list(_parts(where.this))
    plain = [predicate(test, RowNames(scope)) for test in tests if not has_subquery(test)]
    plain = [part for condition in plain for part in conjuncts(condition)]
    relation, rest = join_all(joined, plain, context)
    inside = tuple(part for part in rest if references(part) <= scope.known.keys())
    correlated = [part for part in rest if not references(part) <= scope.known.keys()]
    if inside:
        relation = Filter(relation, all_of(inside))
    lookups = Lookups(relation, scope, context, _READ)
    for test in (test for test in tests if has_subquery(test)):
        asked = subquery_test(test)
        if asked is not None:
            lookups.relation = semi_join(lookups.relation, asked, scope, context, _READ)
            continue
        lookups.attach(test)
        condition = predicate(test, RowNames(lookups.scope))
        if references(condition) <= lookups.scope.known.keys():
            lookups.relation = Filter(lookups.relation, condition)
        else:
            correlated.append(condition)
    for node in asked_of_rows(select):
        lookups.attach(node)
    if correlated and outer is None:
        raise AssertionError("a reference to no query around")
    # What is known is known of the rows as joined: a column that a left join pads with NULL may hold NULL.
    scope = replace(lookups.scope, known=facts(lookups.relation, context.dataset).columns)
    return From(lookups.relation, scope, tuple(correlated))


def _inside(select: exp.Select, context: Context, outer: Scope | None) -> From:
    """Return what FROM and WHERE of a subquery in an expression mean, whose conditions may be on the query around."""
    if select.args.get("from_") is None:
        refuse("subquery-unsupported", select, message="A subquery here names a table in FROM.")
    below = replace(context, below=True)
    return read(select, items(select, below), below, outer)


def _apart(node: exp.Expression, context: Context) -> Rows:
    """Return a subquery in an expression that is a query of its own, over rows of owners or public ones."""
    found = query(node, replace(context, below=True))
    return feed(found, node, context) if isinstance(found, Listed) else found


def _released(node: exp.Expression, context: Context) -> Rows | None:
    """Return a subquery that is a release of its own as one fed value, None if it asks of a row's own."""
    try:
        found = query(node, replace(context, below=False))
    except SqlRefused:  # it refers to the query around, or is refused again where it is read with it
        return None
    if not isinstance(found, Listed) or not any(isinstance(table, Release) for table in nodes(found.table)):
        return None
    if len(found.columns) != 1 or not single(found.table):
        hint = "Select one aggregate without GROUP BY, or add LIMIT 1."
        refuse("subquery-unsupported", node, message="A subquery in an expression gives one value.", hint=hint)
    return feed(found, node, context)


def _grouped(node: exp.Select, context: Context) -> Rows | None:
    """Return a grouped subquery that is a release as its groups, fed; None if it stays rows of owners."""
    found = query(node, replace(context, below=False))
    return feed(found, node, context) if isinstance(found, Listed) else None


_READ = Read(_inside, _apart, _released, _grouped)


def _parts(node: exp.Expression) -> list[exp.Expression]:
    """Return the parts of a conjunction as the analyst wrote them."""
    found, rest = [], [node]
    while rest:
        top = rest.pop()
        while type(top) is exp.Paren:
            only(top, "this")
            top = top.this
        if type(top) is exp.And:
            only(top, "this", "expression")
            rest += [top.expression, top.this]
        else:
            found.append(top)
    return found


# --- items of FROM

_LATERAL = "Write a join on the owner's key, or a subquery in the select list tied to the same owner."


def items(select: exp.Select, context: Context) -> list[Owned | Placed]:
    """Return the items of a FROM clause with its joins, each lowered."""
    if select.args.get("laterals"):
        refuse("join-unsupported", select.args["laterals"][0], message="LATERAL is not supported.", hint=_LATERAL)
    if select.args.get("from_") is None:
        return []
    only(select.args["from_"], "this")
    nodes = [select.args["from_"].this, *(join.this for join in select.args.get("joins") or ())]
    found = [_item(node, context) for node in nodes]
    owned = (item for item in found if isinstance(item, Owned))
    if context.below or any(facts(item.relation, context.dataset).private for item in owned):
        return [_below(item, node, context) for item, node in zip(found, nodes, strict=True)]
    return found


def _below(item: Owned | Placed, node: exp.Expression, context: Context) -> Owned | Placed:
    """Return an item that meets rows of owners: rows of public tables, constants, or a released table that is fed."""
    if isinstance(item, Owned):
        return item
    found = constant_rows(item.listed, item.source.alias, context)
    if found is not None:
        return Owned(found[0], replace(item.source, columns=found[1]))
    released = any(isinstance(table, Release) for table in nodes(item.listed.table))
    lower = item if released or context.below else _item(node, replace(context, below=True))
    if isinstance(lower, Owned):
        return lower
    relation, columns = feed(lower.listed, node, context)
    return Owned(relation, replace(lower.source, columns=columns))


def inside(select: exp.Select, context: Context) -> Scope:
    """Return what names mean over the FROM of a query alone, without the query around it."""
    return Scope(tuple(item.source for item in items(select, context)), {})


def _joined(
    select: exp.Select, found: Sequence[Owned | Placed], context: Context, outer: Scope | None
) -> tuple[list[Item], Scope]:
    """Return the items of FROM with how each is joined, and what names mean over all of them."""
    owned = [item for item in found if isinstance(item, Owned)]
    if len(owned) != len(found):
        refuse("subquery-unsupported", select, message="Released tables do not meet tables of the database here yet.")
    scope = Scope((owned[0].source,), dict(facts(owned[0].relation, context.dataset).columns), outer)
    joined = [Item("inner", owned[0].relation, (), select.args["from_"].this)]
    comma = False
    for join, item in zip(select.args.get("joins") or (), owned[1:], strict=True):
        step, scope = _step(join, item, scope, context)
        comma = comma or not any(join.args.get(word) for word in ("side", "kind", "on", "using"))
        if step.kind == "right" and comma:
            refuse("join-unsupported", join, hint="Write CROSS JOIN instead of a comma beside RIGHT JOIN.")
        joined.append(step)
    return joined, scope


def _item(node: exp.Expression, context: Context) -> Owned | Placed:
    if type(node) is exp.Subquery:
        only(node, "this", "alias")
        return _named(query(node.this, context), node.args.get("alias") or _UNNAMED, context)
    if type(node) is exp.Values:
        only(node, "expressions", "alias")
        return _named(query(node, context), node.args.get("alias") or _UNNAMED, context)
    if type(node) is exp.Lateral:
        refuse("join-unsupported", node, message="LATERAL is not supported.", hint=_LATERAL)
    if type(node) is not exp.Table or not isinstance(node.this, exp.Identifier):
        made = node.this if type(node) is exp.Table else node
        refuse("table-unknown", node, hint=other(made) if isinstance(made, exp.Expression) else None)
    if node.args.get("sample") is not None:
        refuse("not-supported", node.args["sample"], message=_SAMPLE, hint="Ask about all rows.")
    schema = node.args.get("db")
    if isinstance(schema, exp.Identifier):
        hint = f"Write the table's name alone: {node.this.this}."
        refuse("not-supported", schema, message="No table of another schema is declared.", hint=hint)
    only(node, "this", "alias")
    alias = exp.TableAlias(this=node.this.copy()) if node.args.get("alias") is None else node.args["alias"]
    for earlier in reversed(context.named):
        if matches(node.this, earlier.name.this.this):
            found: Listed | Rows | None = None if context.below else earlier.listed
            found = query(earlier.query, replace(earlier.context, below=context.below)) if found is None else found
            return _named(_renamed(found, earlier.name), alias, context)
    table = context.table(node)
    scan = Scan(table.name, context.number(node))
    columns = tuple((column.name, Ref(scan.name(column.name), column.physical.kind)) for column in table.columns)
    return _named((scan, columns), alias, context)


def _named(found: Listed | Rows, alias: exp.Expression, context: Context) -> Owned | Placed:
    """Return a query as an item of FROM."""
    if type(alias) is not exp.TableAlias:
        refuse("not-supported")
    found = _renamed(found, alias)
    if not isinstance(alias.this, exp.Identifier):
        refuse("not-supported", alias)
    only(alias.this, "this", "quoted")
    if isinstance(found, Listed):
        return placed(found, alias.this, context)
    return Owned(found[0], Source(alias.this, found[1]))


_UNNAMED = exp.TableAlias(this=exp.to_identifier("", quoted=True))
"""The name of a query in FROM that has none: no text can say it."""

_SAMPLE = "A sample drawn by the database is no function of one person's rows."


def _renamed(found: Listed | Rows, alias: exp.Expression) -> Listed | Rows:
    """Return a query with its columns under the names that an alias lists, if it lists any."""
    only(alias, "this", "columns")
    listed = alias.args.get("columns") or []
    columns = found.columns if isinstance(found, Listed) else found[1]
    if not listed:
        return found
    if len(listed) > len(columns) or not all(isinstance(name, exp.Identifier) for name in listed):
        refuse("not-supported", alias, message="The alias lists more columns than there are.")
    for name in listed:
        only(name, "this", "quoted")
    names = [name.this for name in listed] + [name for name, _ in columns[len(listed) :]]
    if len({name.lower() for name in names}) != len(names):
        refuse("column-name-duplicate", alias)
    new = tuple((name, ref) for name, (_, ref) in zip(names, columns, strict=True))
    return replace(found, columns=new) if isinstance(found, Listed) else (found[0], new)


def with_clause(select: exp.Expression, context: Context) -> Context:
    """Return the context in which a query stands after its WITH."""
    named_before = select.args.get("with_")
    if named_before is None:
        return context
    if named_before.args.get("recursive"):
        refuse("subquery-unsupported", named_before, message="A recursive query has no bound on its rows.")
    only(named_before, "expressions", code="subquery-unsupported")
    for item in named_before.expressions:
        if type(item) is not exp.CTE:
            refuse("subquery-unsupported", item)
        only(item, "this", "alias", code="subquery-unsupported")
        # Read even if nothing uses it, so that what no arm admits is refused wherever it stands.
        found = query(item.this, replace(context, numbers=count()))
        _renamed(found, item.args["alias"])
        listed = found if isinstance(found, Listed) else None
        named = Named(item.args["alias"], item.this, context, listed)
        context = replace(context, named=(*context.named, named))
    return context


# --- joins


def _step(join: exp.Join, item: Owned, scope: Scope, context: Context) -> tuple[Item, Scope]:
    side, kind = (str(join.args.get(name) or "").upper() for name in ("side", "kind"))
    if side == "FULL":
        refuse("join-unsupported", join, message=_FULL, hint="Write LEFT JOIN, or UNION ALL of two queries.")
    only(join, "this", "side", "kind", "on", "using", "method", code="join-unsupported")
    if side not in ("", "LEFT", "RIGHT") or kind not in ("", "INNER", "CROSS", "OUTER"):
        refuse("join-unsupported", join, hint="Write JOIN, LEFT JOIN, RIGHT JOIN or CROSS JOIN.")
    right, source = item.relation, item.source
    about = facts(right, context.dataset)
    using = natural(join, scope, source) or join.args.get("using") or []
    before, known = scope.sources, {**scope.known, **about.columns}
    wider = Scope((*before, source), known, scope.outer)
    on: list[Scalar] = []
    for found in using:
        here = [ref for name, ref in source.columns if matches(found, name)]
        there = scope.find(exp.Column(this=found.copy()))
        if len(here) != 1 or there is None:
            refuse("column-unknown", join)
        if there.kind != here[0].kind:
            refuse("type-mismatch", join, message="The columns of USING are of different types.")
        on.append(compare("eq", there, here[0], join, RowNames(wider)))
        # The side whose rows are kept shows the column, since the other may have no row there.
        if side == "RIGHT":
            before = tuple(_hiding(earlier, there) for earlier in before)
        else:
            source = _hiding(source, here[0])
    wider = Scope((*before, source), known, scope.outer)
    if join.args.get("on") is not None:
        if has_subquery(join.args["on"]):
            refuse("subquery-unsupported", join.args["on"], message="A subquery stands in WHERE, not in ON.")
        on += conjuncts(predicate(join.args["on"], RowNames(wider)))
    if any(not references(found) <= wider.known.keys() for found in on):
        refuse("subquery-unsupported", join, message="The query around is referred to in WHERE alone.")
    how: dict[str, str] = {"LEFT": "left", "RIGHT": "right"}
    return Item(how.get(side, "inner"), right, tuple(on), join), wider  # type: ignore[arg-type]


_FULL = "FULL JOIN keeps rows of both sides that have no pair; whose they are, nothing says."


def _hiding(source: Source, column: Ref) -> Source:
    """Return an item of FROM with one column not shown, since USING shows it once, under another side's."""
    hidden = {name for name, ref in source.columns if ref == column}
    return replace(source, merged=source.merged | hidden)
