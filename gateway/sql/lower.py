"""Lower a parsed SELECT to the algebra; a clause, source or function without an arm here is refused.

``SELECT sex, COUNT(*) AS n FROM person WHERE age > 30 GROUP BY sex HAVING n > 5 ORDER BY 2 DESC``
→  ``Project(Sort(Filter(Release(Filter(Scan(person), age > 30), [sex], [count_rows]), n > 5), [n desc]), [sex, n])``

Why the order of what stands above the release is free: it is computed from the noisy table alone, and post-processing
loses nothing of the promise whatever it does.
"""

from __future__ import annotations

from sqlglot import exp

from gateway.policy.model import Dataset
from gateway.sql.algebra import (
    Constant,
    Filter,
    Project,
    Query,
    Relation,
    Release,
    Scalar,
    Sort,
)
from gateway.sql.bind import Given
from gateway.sql.facts import facts
from gateway.sql.noisy import Noisy
from gateway.sql.refusals import refuse
from gateway.sql.resolve import Context, RowNames, matches, only
from gateway.sql.scalar import predicate, scalar
from gateway.sql.sources import read, with_clause

_CLAUSES = (
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
    "laterals",
)
MOST_KEYS = 16


def lower(select: exp.Select, dataset: Dataset) -> Query:
    """Return the question that a SELECT asks, or refuse."""
    if select.args.get("distinct") is not None:
        refuse("distinct-unsupported", select.args["distinct"])
    only(select, *_CLAUSES)
    context = with_clause(select, Context(dataset))
    found = read(select, context)
    about = facts(found.relation, dataset)
    if not about.private:
        refuse("public-only", select.args["from_"].this)
    rows = RowNames(found.scope)
    keys = _keys(select, rows)
    noisy = Noisy(rows, about, keys)
    columns = [noisy.item(item) for item in select.expressions]
    having = _having(select, noisy)
    order = [noisy.ordering(item) for item in _ordered(select)]
    if not noisy.aggregates and not keys:
        # PostgreSQL's grammar has a SELECT of nothing
        refuse("no-aggregate", *select.expressions[:1], hint="Ask for COUNT, SUM or AVG, grouped as you like.")
    release = Release(found.relation, tuple(keys), tuple(noisy.aggregates.items()))
    above: Relation = Filter(release, having) if having is not None else release
    limit, offset = _whole(select.args.get("limit")), _whole(select.args.get("offset")) or 0
    if order or limit is not None or offset:
        above = Sort(above, tuple(order), limit, offset)
    named = tuple((f"c{index}", meaning) for index, (_, meaning) in enumerate(columns))
    return Query(Project(above, named), noisy.outputs(columns))


def _keys(select: exp.Select, rows: RowNames) -> list[tuple[str, Scalar]]:
    group = select.args.get("group")
    if group is None:
        return []
    only(group, "expressions", code="not-supported")
    found: list[Scalar] = []
    for item in group.expressions:
        key = _key(item, select, rows)
        if key not in found:
            found.append(key)
        if len(found) > MOST_KEYS:
            refuse("sql-too-deep", item, hint=f"At most {MOST_KEYS} group keys.")
    return [(f"k{index}", key) for index, key in enumerate(found)]


def _key(node: exp.Expression, select: exp.Select, rows: RowNames) -> Scalar:
    meant = node
    if type(node) is exp.Literal and not node.args.get("is_string"):
        only(node, "this")
        if not node.this.isdigit() or not 1 <= int(node.this) <= len(select.expressions):
            refuse("key-unsupported", node, message="GROUP BY names a position that the select list does not have.")
        meant = select.expressions[int(node.this) - 1]
    elif type(node) is exp.Column and node.args.get("table") is None and rows.scope.find(node) is None:
        named = (item for item in select.expressions if type(item) is exp.Alias)
        meant = next((item for item in named if matches(node.this, item.args["alias"].this)), node)
    if type(meant) is exp.Alias:
        meant = meant.this
    found = scalar(meant, rows)
    if isinstance(found, Constant):
        refuse("key-unsupported", node)
    return found


def _having(select: exp.Select, noisy: Noisy) -> Scalar | None:
    having = select.args.get("having")
    if having is None:
        return None
    only(having, "this")
    return predicate(having.this, noisy)


def _ordered(select: exp.Select) -> list[exp.Expression]:
    order = select.args.get("order")
    if order is None:
        return []
    only(order, "expressions")
    items = list(order.expressions)
    for item in items:
        if type(item) is not exp.Ordered:
            refuse("order-invalid", item)
    return items


def _whole(node: exp.Expression | None) -> int | None:
    """Return the number that LIMIT, FETCH or OFFSET writes out."""
    if node is None:
        return None
    if type(node) is exp.Fetch:
        only(node, "direction", "count", "limit_options")
        if (options := node.args.get("limit_options")) is not None:
            only(options, "rows", code="limit-invalid")
        value = node.args.get("count")
    else:
        only(node, "expression", code="limit-invalid")
        value = node.expression
    if type(value) is Given:
        number = value.args["constant"].value
        return number if type(number) is int and 0 <= number < 10**18 else refuse("limit-invalid", node)
    if (
        type(value) is not exp.Literal
        or value.args.get("is_string")
        or not value.this.isdigit()
        or len(value.this) > 18
    ):
        refuse("limit-invalid", node)
    only(value, "this")
    return int(value.this)
