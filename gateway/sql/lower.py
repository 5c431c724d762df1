"""Lower a parsed SELECT to the algebra; a clause, source or function without an arm here is refused.

``SELECT sex, COUNT(*) AS n FROM person WHERE age > 30 GROUP BY sex HAVING n > 5 ORDER BY 2 DESC``
→  ``Project(Sort(Filter(Release(Filter(Scan(person), age > 30), [sex], [count_rows]), n > 5), [n desc]), [sex, n])``

Why the order of what stands above the release is free: it is computed from the noisy table alone, and post-processing
loses nothing of the promise whatever it does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sqlglot import exp

from gateway.errors import SqlRefused
from gateway.policy.model import Dataset
from gateway.sql.algebra import (
    Aggregate,
    Call,
    Constant,
    Filter,
    Ordering,
    OutputColumn,
    Project,
    Query,
    Ref,
    Relation,
    Release,
    Scalar,
    Sort,
    references,
    type_of,
)
from gateway.sql.facts import Facts, facts, known
from gateway.sql.folds import bounded
from gateway.sql.functions import Level
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
MOST_AGGREGATES = 100
MOST_KEYS = 16

_AGGREGATES: dict[type[exp.Expression], Literal["count", "sum", "average"]] = {
    exp.Count: "count",
    exp.Sum: "sum",
    exp.Avg: "average",
}


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
    noisy = _Noisy(rows, about, keys)
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


@dataclass(slots=True)
class _Noisy:
    """What names mean over the noisy table: group keys, aggregates, and the aliases of the items before."""

    rows: RowNames
    about: Facts
    keys: list[tuple[str, Scalar]]
    aggregates: dict[str, Aggregate] = field(default_factory=dict)
    aliases: list[tuple[exp.Identifier, Scalar]] = field(default_factory=list)
    items: list[Scalar] = field(default_factory=list)

    level: Level = field(default="post", init=False)

    def column(self, node: exp.Column) -> Scalar:
        """Return what a name that is no key means: an alias of the select list; refuse any other."""
        if node.args.get("table") is None:
            for alias, meaning in self.aliases:
                if isinstance(node.this, exp.Identifier) and matches(node.this, alias.this):
                    return meaning
        if isinstance(node.this, exp.Star):
            refuse("no-aggregate", node)
        self.rows.column(node)
        refuse("not-grouped", node, hint=f"Add {node.this.this} to GROUP BY, or write COUNT, SUM or AVG around it.")

    def whole(self, node: exp.Expression) -> Scalar | None:
        name = self._key(node)
        if name is not None:
            return name
        if type(node) is exp.CountIf:
            only(node, "this")
            return self._counted(predicate(node.this, self.rows))
        if type(node) is exp.Filter:
            return self._filtered(node)
        kind = _AGGREGATES.get(type(node))
        return None if kind is None else self._aggregate(node, kind, None)

    def scale(self, ref: Ref) -> int | None:
        """Keys keep their grid; noisy numbers are doubles over the noisy table."""
        key = next((key for name, key in self.keys if name == ref.name), None)
        return self.rows.scale(key) if isinstance(key, Ref) else None

    def item(self, node: exp.Expression) -> tuple[exp.Identifier | None, Scalar]:
        """Return an item of the select list: its alias, if any, and what it means."""
        alias = None
        if type(node) is exp.Alias:
            only(node, "this", "alias")
            alias, node = node.args["alias"], node.this
            only(alias, "this", "quoted")
        if isinstance(node, exp.Star):
            refuse("no-aggregate", node, hint="Ask for COUNT, SUM or AVG, grouped as you like.")
        meaning = scalar(node, self)
        self.items.append(meaning)
        if alias is not None:
            self.aliases.append((alias, meaning))
        return alias or (node.this if type(node) is exp.Column else exp.to_identifier(node.key)), meaning

    def ordering(self, node: exp.Expression) -> Ordering:
        only(node, "this", "desc", "nulls_first")
        by = node.this
        descending = bool(node.args.get("desc"))
        nulls_first = bool(node.args.get("nulls_first"))
        if type(by) is exp.Literal:
            return Ordering(self._at(by), descending, nulls_first)
        if type(by) is exp.Column and by.args.get("table") is None:
            only(by, "this")
            for alias, meaning in self.aliases:
                if matches(by.this, alias.this):
                    return Ordering(meaning, descending, nulls_first)
        return Ordering(scalar(by, self), descending, nulls_first)

    def outputs(self, columns: list[tuple[exp.Identifier | None, Scalar]]) -> tuple[OutputColumn, ...]:
        """Return the columns of the answer with names that are all different."""
        taken: set[str] = set()
        found = []
        for index, (identifier, meaning) in enumerate(columns):
            name = base = identifier.this if identifier is not None else f"column_{index + 1}"
            again = 1
            while name in taken:
                if any(identifier is alias for alias, _ in self.aliases):
                    refuse("column-name-duplicate", identifier)
                again += 1
                name = f"{base}_{again}"
            taken.add(name)
            found.append(self._output(name, f"c{index}", meaning))
        return tuple(found)

    def _output(self, name: str, column: str, meaning: Scalar) -> OutputColumn:
        keys = {key for key, _ in self.keys}
        if isinstance(meaning, Ref) and meaning.name in keys:
            return OutputColumn(name, column, type_of(meaning.kind), "key", meaning.name)
        if isinstance(meaning, Ref):
            return OutputColumn(name, column, type_of(self.aggregates[meaning.name].result), "noisy", meaning.name)
        read = references(meaning)
        role: Literal["derived", "public"] = "derived" if read else "public"
        return OutputColumn(name, column, type_of(meaning.kind), role, None)

    def _at(self, node: exp.Literal) -> Scalar:
        only(node, "this", "is_string")
        if node.args.get("is_string") or not node.this.isdigit() or not 1 <= int(node.this) <= len(self.items):
            refuse("order-invalid", node)
        return self.items[int(node.this) - 1]

    def _key(self, node: exp.Expression) -> Ref | None:
        """Return the group key that an expression is, None if none; an alias of its name does not hide it."""
        if type(node) is exp.Column:
            found: Scalar | None = None if isinstance(node.this, exp.Star) else self.rows.scope.find(node)
        elif type(node) in (exp.Case, exp.Coalesce) and any(isinstance(key, Call) for _, key in self.keys):
            try:
                found = scalar(node, self.rows)
            except SqlRefused:  # it is made of aggregates or aliases, and is taken apart
                return None
        else:
            return None
        return next((Ref(name, key.kind) for name, key in self.keys if key == found), None)

    def _filtered(self, node: exp.Filter) -> Scalar:
        """Return an aggregate of the rows for which a condition is true."""
        only(node, "this", "expression")
        only(node.expression, "this")
        condition = predicate(node.expression.this, self.rows)
        kind = _AGGREGATES.get(type(node.this))
        if kind is None:
            refuse("aggregate-unsupported", node)
        return self._aggregate(node.this, kind, condition)

    def _counted(self, condition: Scalar) -> Scalar:
        """Return the count of the rows for which a condition is true."""
        return self._add(Aggregate("count", _where(condition, Constant(1, "integer")), "integer"))

    def _aggregate(
        self, node: exp.Expression, kind: Literal["count", "sum", "average"], condition: Scalar | None
    ) -> Scalar:
        only(node, "this", "big_int")
        argument = node.this
        if kind == "count" and isinstance(argument, exp.Star):
            only(argument)
            return (
                self._add(Aggregate("count_rows", None, "integer")) if condition is None else self._counted(condition)
            )
        if type(argument) is exp.Distinct:
            return self._distinct(argument, kind, condition)
        if argument is None:
            refuse("aggregate-argument", node, hint="Write COUNT(*).")
        found = scalar(argument, self.rows)
        if isinstance(found, Constant):
            if kind != "count" or found.value is None:
                refuse("aggregate-argument", argument)
            return (
                self._add(Aggregate("count_rows", None, "integer")) if condition is None else self._counted(condition)
            )
        if kind != "count":
            bounded(found, self.about, argument)
        whole = kind == "sum" and known(found, self.about.columns).kind == "integer"
        argument_of = found if condition is None else _where(condition, found)
        return self._add(Aggregate(kind, argument_of, "integer" if whole or kind == "count" else "float"))

    def _distinct(self, node: exp.Distinct, kind: str, condition: Scalar | None) -> Scalar:
        only(node, "expressions")
        if kind == "count" and condition is None and len(node.expressions) == 1:
            found = scalar(node.expressions[0], self.rows)
            if isinstance(found, Ref) and self.about.columns[found.name].owner:
                return self._add(Aggregate("count_owners", None, "integer"))
        owners = {found.origin[1] for found in self.about.columns.values() if found.owner and found.origin is not None}
        hint = f"COUNT(DISTINCT {min(owners)}) counts people." if owners else None
        refuse("distinct-unsupported", node, hint=hint)

    def _add(self, aggregate: Aggregate) -> Ref:
        """Return a reference to an aggregate; equal ones are released once."""
        for name, found in self.aggregates.items():
            if found == aggregate:
                return Ref(name, "float")
        if len(self.aggregates) >= MOST_AGGREGATES:
            refuse("sql-too-deep", hint=f"At most {MOST_AGGREGATES} different aggregates.")
        name = f"a{len(self.aggregates)}"
        self.aggregates[name] = aggregate
        return Ref(name, "float")


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


def _where(condition: Scalar, value: Scalar) -> Scalar:
    """Return a value where a condition is true, NULL elsewhere."""
    return Call("case", (condition, value, Constant(None, value.kind)), value.kind)


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


def _having(select: exp.Select, noisy: _Noisy) -> Scalar | None:
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
    if (
        type(value) is not exp.Literal
        or value.args.get("is_string")
        or not value.this.isdigit()
        or len(value.this) > 18
    ):
        refuse("limit-invalid", node)
    only(value, "this")
    return int(value.this)
