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

from gateway.policy.model import Dataset
from gateway.sql.algebra import (
    Aggregate,
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
    Scan,
    Sort,
    references,
    type_of,
)
from gateway.sql.constants import NUMERIC
from gateway.sql.functions import Level
from gateway.sql.refusals import refuse
from gateway.sql.resolve import Scope, matches, only, source
from gateway.sql.scalar import predicate, scalar

_CLAUSES = ("expressions", "from_", "where", "group", "having", "order", "limit", "offset")
_CLAUSE_CODES = {
    "joins": "join-unsupported",
    "laterals": "join-unsupported",
    "with_": "subquery-unsupported",
    "distinct": "distinct-unsupported",
}
_AGGREGATES: dict[type[exp.Expression], Literal["count", "sum", "average"]] = {
    exp.Count: "count",
    exp.Sum: "sum",
    exp.Avg: "average",
}


def lower(select: exp.Select, dataset: Dataset) -> Query:
    """Return the question that a SELECT asks, or refuse."""
    for clause, code in _CLAUSE_CODES.items():
        if select.args.get(clause):
            only(select, *(name for name in select.args if name != clause), code=code)
    only(select, *_CLAUSES)
    if select.args.get("from_") is None:
        refuse("public-only", select, hint=f"Name a table of dataset {dataset.name} in FROM.")
    only(select.args["from_"], "this")
    rows = _Rows(Scope((source(select.args["from_"].this, dataset),)))
    relation: Relation = Scan(rows.scope.sources[0].table.name, ())
    if (where := select.args.get("where")) is not None:
        only(where, "this")
        relation = Filter(relation, predicate(where.this, rows))
    if rows.scope.sources[0].table.public:
        refuse("public-only", select.args["from_"].this)
    keys = _keys(select, rows)
    noisy = _Noisy(rows, keys)
    columns = [noisy.item(item) for item in select.expressions]
    having = _having(select, noisy)
    order = [noisy.ordering(item) for item in _ordered(select)]
    if not noisy.aggregates and not keys:
        refuse("no-aggregate", select.expressions[0], hint="Ask for COUNT, SUM or AVG, grouped as you like.")
    release = Release(_scanned(relation, rows), tuple(keys), tuple(noisy.aggregates.items()))
    above: Relation = Filter(release, having) if having is not None else release
    limit, offset = _whole(select.args.get("limit")), _whole(select.args.get("offset")) or 0
    if order or limit is not None or offset:
        above = Sort(above, tuple(order), limit, offset)
    named = tuple((f"c{index}", found) for index, (_, found) in enumerate(columns))
    return Query(Project(above, named), noisy.outputs(columns))


def _scanned(relation: Relation, rows: _Rows) -> Relation:
    """Return the relation with its scan reading just the columns that the query uses, in a fixed order."""
    if isinstance(relation, Filter):
        return Filter(_scanned(relation.source, rows), relation.predicate)
    assert isinstance(relation, Scan)
    return Scan(relation.table, tuple(sorted(rows.used)))


@dataclass(slots=True)
class _Rows:
    """What names mean over the rows of the FROM clause."""

    scope: Scope
    used: set[str] = field(default_factory=set)

    level: Level = field(default="row", init=False)

    def column(self, node: exp.Column) -> Scalar:
        if isinstance(node.this, exp.Star):
            refuse("no-aggregate", node)
        column = self.scope.column(node)
        self.used.add(column.name)
        return Ref(column.name, column.physical.kind)

    def whole(self, node: exp.Expression) -> Scalar | None:
        if isinstance(node, exp.AggFunc) or type(node) is exp.Filter:
            refuse("aggregate-misplaced", node, hint="Conditions on aggregates stand in HAVING.")
        return None

    def scale(self, ref: Ref) -> int | None:
        column = self.scope.sources[0].table.column(ref.name)
        assert column is not None
        return 0 if ref.kind == "integer" else column.physical.scale


@dataclass(slots=True)
class _Noisy:
    """What names mean over the noisy table: group keys, aggregates, and the aliases of the items before."""

    rows: _Rows
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
        column = self.rows.scope.column(node)
        refuse("not-grouped", node, hint=f"Add {column.name} to GROUP BY, or write COUNT, SUM or AVG around it.")

    def whole(self, node: exp.Expression) -> Scalar | None:
        if type(node) is exp.Column and not isinstance(node.this, exp.Star) and self._is_key(node):
            meaning = self.rows.column(node)
            name = next(name for name, key in self.keys if key == meaning)
            return Ref(name, meaning.kind)
        kind = _AGGREGATES.get(type(node))
        return None if kind is None else self._aggregate(node, kind)

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
        if node.args.get("is_string") or not node.this.isdigit() or not 1 <= int(node.this) <= len(self.items):
            refuse("order-invalid", node)
        return self.items[int(node.this) - 1]

    def _is_key(self, node: exp.Column) -> bool:
        """Whether a column name means a group key; an alias of the same name does not hide it."""
        scope = self.rows.scope
        if not isinstance(node.this, exp.Identifier):
            return False
        names = {key.name for _, key in self.keys if isinstance(key, Ref)}
        if not any(matches(node.this, name) for name in names):
            return False
        return scope.column(node).name in names

    def _aggregate(self, node: exp.Expression, kind: Literal["count", "sum", "average"]) -> Scalar:
        only(node, "this", "big_int")
        argument = node.this
        if kind == "count" and isinstance(argument, exp.Star):
            only(argument)
            return self._add(Aggregate("count_rows", None, "integer"))
        if type(argument) is exp.Distinct:
            return self._distinct(argument, kind)
        if argument is None:
            refuse("aggregate-argument", node, hint="Write COUNT(*).")
        found = scalar(argument, self.rows)
        if kind == "count":
            if isinstance(found, Constant) and found.value is not None:
                return self._add(Aggregate("count_rows", None, "integer"))
            if not isinstance(found, Ref):
                refuse("aggregate-argument", argument)
            return self._add(Aggregate("count", found, "integer"))
        if not isinstance(found, Ref):
            refuse("aggregate-argument", argument, hint="Write a column with declared bounds.")
        return self._bounded(kind, found, argument)

    def _bounded(self, kind: Literal["sum", "average"], found: Ref, node: exp.Expression) -> Scalar:
        if found.kind not in NUMERIC:
            refuse("type-mismatch", node, message=f"{kind.upper()[:3]} takes a number, and {found.name} is none.")
        column = self.rows.scope.sources[0].table.column(found.name)
        assert column is not None
        if column.lower is None or column.upper is None:
            refuse("bounds-missing", node, hint=f"Ask an administrator to declare lower and upper for {found.name}.")
        whole = kind == "sum" and found.kind == "integer"
        return self._add(Aggregate(kind, found, "integer" if whole else "float"))

    def _distinct(self, node: exp.Distinct, kind: str) -> Scalar:
        only(node, "expressions")
        owner = self.rows.scope.owner_column()
        if kind == "count" and len(node.expressions) == 1:
            found = scalar(node.expressions[0], self.rows)
            if isinstance(found, Ref) and found.name == owner:
                return self._add(Aggregate("count_owners", None, "integer"))
        hint = f"COUNT(DISTINCT {owner}) counts people." if owner else None
        refuse("distinct-unsupported", node, hint=hint)

    def _add(self, aggregate: Aggregate) -> Ref:
        """Return a reference to an aggregate; equal ones are released once."""
        for name, known in self.aggregates.items():
            if known == aggregate:
                return Ref(name, "float")
        name = f"a{len(self.aggregates)}"
        self.aggregates[name] = aggregate
        return Ref(name, "float")


def _keys(select: exp.Select, rows: _Rows) -> list[tuple[str, Scalar]]:
    group = select.args.get("group")
    if group is None:
        return []
    only(group, "expressions", code="not-supported")
    found: list[Scalar] = []
    for item in group.expressions:
        key = _key(item, select, rows)
        if key not in found:
            found.append(key)
    return [(f"k{index}", key) for index, key in enumerate(found)]


def _key(node: exp.Expression, select: exp.Select, rows: _Rows) -> Scalar:
    meant = node
    if type(node) is exp.Literal and not node.args.get("is_string"):
        if not node.this.isdigit() or not 1 <= int(node.this) <= len(select.expressions):
            refuse("key-unsupported", node, message="GROUP BY names a position that the select list does not have.")
        meant = select.expressions[int(node.this) - 1]
    elif type(node) is exp.Column and node.args.get("table") is None and not _declared(node, rows):
        named = (item for item in select.expressions if type(item) is exp.Alias)
        meant = next((item for item in named if matches(node.this, item.args["alias"].this)), node)
    if type(meant) is exp.Alias:
        meant = meant.this
    while type(meant) is exp.Paren:
        meant = meant.this
    if type(meant) is not exp.Column:
        refuse("key-unsupported", node, hint="Group by columns of the table.")
    return rows.column(meant)


def _declared(node: exp.Column, rows: _Rows) -> bool:
    columns = (column for found in rows.scope.sources for column in found.table.columns)
    return isinstance(node.this, exp.Identifier) and any(matches(node.this, column.name) for column in columns)


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
    return int(value.this)
