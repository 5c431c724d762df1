"""Lower what folds one owner's rows among themselves: keys, aggregates, and what names mean over the folded rows.

``SELECT person_id, COUNT(*) AS n FROM visit GROUP BY person_id`` inside FROM
→  ``Project(Fold(Scan(visit, 0), [person_id], [count_rows]), …)``

Why this is sound: the owner always is among the keys (the rewriting adds it), so that each folded row is made of one
owner's rows; that a key of the query says whose they are is asked for so that the addition changes nothing. Public rows
are folded by any key: sums of theirs are of exact integers too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from sqlglot import exp

from gateway.errors import SqlRefused
from gateway.sql.algebra import Call, Constant, FoldAggregate, Kind, Ref, Scalar, references
from gateway.sql.functions import Level
from gateway.sql.inference.facts import Facts, fold_known
from gateway.sql.inference.keys import is_owned_thing
from gateway.sql.inference.known import Known, known
from gateway.sql.refusals import refuse
from gateway.sql.scalars.casts import to_kind
from gateway.sql.scalars.constants import NUMERIC, ONE
from gateway.sql.scalars.resolve import Context, RowNames, matches, only
from gateway.sql.scalars.scalar import Names, different, predicate, scalar

MOST_SUMMED = Fraction(10**38)
"""What is summed lies within this, as declared bounds do: of what is wider, the noise would be all that is seen."""

FOLDED: dict[type[exp.Expression], str] = {
    exp.Count: "count",
    exp.Sum: "sum",
    exp.Avg: "average",
    exp.Min: "least",
    exp.Max: "greatest",
}


def group_keys(select: exp.Select, names: RowNames) -> list[Scalar]:
    """Return the keys of a nested GROUP BY: columns, expressions, positions or aliases of the select list."""
    group = select.args.get("group")
    if group is None:
        return []
    only(group, "expressions")
    keys: list[Scalar] = []
    for item in group.expressions:
        key = scalar(_meant(item, select, names), names)
        if isinstance(key, Constant):
            refuse("key-unsupported", item, hint="Group by columns, or by expressions over them.")
        if key not in keys:
            keys.append(key)
    return keys


def _meant(item: exp.Expression, select: exp.Select, names: RowNames) -> exp.Expression:
    """Return the item of the select list that a position or an alias in GROUP BY names, else what is written there."""
    if type(item) is exp.Column and item.args.get("table") is None and names.scope.find(item) is None:
        aliased = (found for found in select.expressions if type(found) is exp.Alias)
        return next((found.this for found in aliased if matches(item.this, found.args["alias"].this)), item)
    if type(item) is not exp.Literal or item.args.get("is_string") or not item.this.isdigit():
        return item
    only(item, "this")
    if not 1 <= int(item.this) <= len(select.expressions):
        refuse("key-unsupported", item, message="GROUP BY names a position that the select list does not have.")
    return named(select.expressions[int(item.this) - 1], 0)[1]


def named(item: exp.Expression, index: int) -> tuple[str, exp.Expression]:
    """Return what an item of a nested select list is called, and its expression."""
    if type(item) is exp.Alias:
        only(item, "this", "alias")
        only(item.args["alias"], "this", "quoted")
        return item.args["alias"].this, item.this
    return (item.this.this if type(item) is exp.Column else f"column_{index + 1}"), item


def names_owner(keys: Iterable[Scalar], about: Facts, context: Context) -> bool:
    """Whether some key says whose rows they are: the owner's own, or one that names one owner's thing."""
    for key in keys:
        found = known(key, about.columns)
        # The NULLs of a left join are one group, of many owners.
        if found.owner or (not found.padded and is_owned_thing(found, context.dataset)):
            return True
    return False


def folds(select: exp.Select, about: Facts, names: RowNames, context: Context) -> bool:
    """Whether a SELECT that aggregates groups by something that says whose rows they are."""
    group = select.args.get("group")
    if (
        group is None
        or about.owner is None
        or any(value for name, value in group.args.items() if name != "expressions")
    ):
        return False
    for item in group.expressions:
        try:
            key = scalar(_meant(item, select, names), names)
        except SqlRefused:  # the frontier says what is wrong with it
            continue
        if names_owner([key], about, context):
            return True
    return False


def per_owner(keys: Iterable[Scalar], about: Facts, node: exp.Expression, context: Context) -> None:
    """Refuse a grouping of private rows whose keys do not say whose rows they are."""
    if not about.private:
        return
    if about.owner is None:
        refuse("subquery-unsupported", node, message="Only the rows of one owner can be folded in a subquery.")
    if names_owner(keys, about, context):
        return
    owner = next((f"{f.origin[0]}.{f.origin[1]}" for f in about.columns.values() if f.owner and f.origin), None)
    hint = None if owner is None else f"Group by {owner} too, or aggregate only once."
    refuse("subquery-crosses-owners", node, hint=hint)


def aggregates(node: exp.Expression, *, filtered: bool = False) -> Iterator[exp.Expression]:
    """Yield the aggregates of an expression that are this query's own: not a subquery's, no window's function.

    ``filtered`` yields an aggregate with the FILTER around it.
    """
    if isinstance(node, exp.Query | exp.Exists) or (type(node) is exp.In and node.args.get("query") is not None):
        return
    if type(node) is exp.Window:
        inner = node.this
        while type(inner) in (exp.Filter, exp.IgnoreNulls, exp.RespectNulls):
            inner = inner.this
        parts = [*inner.iter_expressions(), *(part for part in node.iter_expressions() if part is not node.this)]
        for part in parts:
            yield from aggregates(part, filtered=filtered)
        return
    if isinstance(node, exp.AggFunc) or (filtered and type(node) is exp.Filter):
        yield node
        return
    for child in node.iter_expressions():
        yield from aggregates(child, filtered=filtered)


class FoldNames:
    """What names mean over one owner's folded rows: keys and aggregates."""

    level: Level = "row"

    def __init__(self, rows: RowNames, about: Facts, number: int, keys: list[tuple[str, Scalar]]) -> None:
        self.rows, self.about, self.number, self.keys = rows, about, number, keys
        self.aggregates: list[tuple[str, FoldAggregate]] = []

    def column(self, node: exp.Column) -> Scalar:
        """Return the fold's key that a column is, or refuse."""
        meaning = self.rows.column(node)
        for name, key in self.keys:
            if key == meaning:
                return Ref(name, meaning.kind)
        refuse("not-grouped", node)

    def whole(self, node: exp.Expression) -> Scalar | None:
        """Return the fold's aggregate or key that an expression is; None if it is to be taken apart."""
        truth = _truth(node)
        if truth is not None:
            return scalar(truth, self)
        found = aggregated(node, self.rows)
        if found is None:
            return self._key(node)
        if found.kind in ("sum", "average") and found.argument is not None:
            bounded(found.argument, self.about, node)
        return self.add(found)

    def _key(self, node: exp.Expression) -> Ref | None:
        """Return the key that an expression is, None if none."""
        if type(node) in (exp.Column, exp.Literal, exp.Paren) or all(isinstance(key, Ref) for _, key in self.keys):
            return None
        try:
            found = scalar(node, self.rows)
        except SqlRefused:  # it is made of aggregates, and is taken apart
            return None
        return next((Ref(name, key.kind) for name, key in self.keys if key == found), None)

    def add(self, aggregate: FoldAggregate) -> Ref:
        """Return a reference to an aggregate; equal ones are computed once."""
        kind: Kind = "integer" if aggregate.kind.startswith("count") else "float"
        argument = aggregate.argument
        if argument is not None and aggregate.kind in ("least", "greatest", "only"):
            kind = argument.kind
        if argument is not None and aggregate.kind == "sum" and argument.kind == "integer":
            kind = "integer"
        for name, found in self.aggregates:
            if found == aggregate:
                return Ref(name, kind)
        name = f"a{len(self.aggregates)}#{self.number}"
        self.aggregates.append((name, aggregate))
        return Ref(name, kind)

    def known(self, found: Scalar) -> Known:
        """Return what is known of an expression over keys and aggregates."""
        columns = {name: known(key, self.about.columns) for name, key in self.keys}
        columns |= {name: fold_known(aggregate, self.about) for name, aggregate in self.aggregates}
        return known(found, columns)

    def scale(self, ref: Ref) -> int | None:
        """Return the decimals of a key, or of the least and the greatest of a column; 0 of a whole number."""
        if ref.kind == "integer":
            return 0
        picked = {
            name: found.argument for name, found in self.aggregates if found.kind in ("least", "greatest", "only")
        }
        meaning = picked.get(ref.name) or dict(self.keys).get(ref.name)
        return None if meaning is None else known(meaning, self.about.columns).scale


_EXTREMES: dict[type[exp.Expression], type[exp.Expression]] = {exp.LogicalOr: exp.Max, exp.LogicalAnd: exp.Min}


def _truth(node: exp.Expression) -> exp.Expression | None:
    """Return BOOL_OR and BOOL_AND as an extreme of ones and zeros that is 1; a NULL among them does not count."""
    function = node.this if type(node) is exp.Filter else node
    extreme = _EXTREMES.get(type(function))
    if extreme is None:
        return None
    only(function, "this")
    ends = [(function.this.copy(), 1), (exp.Not(this=exp.Paren(this=function.this.copy())), 0)]
    ifs = [exp.If(this=condition, true=exp.Literal.number(number)) for condition, number in ends]
    found: exp.Expression = extreme(this=exp.Case(ifs=ifs))
    if function is not node:
        only(node, "this", "expression")
        found = exp.Filter(this=found, expression=node.expression.copy())
    return exp.EQ(this=found, expression=exp.Literal.number(1))


def aggregated(node: exp.Expression, names: Names) -> FoldAggregate | None:
    """Return the aggregate among one owner's rows that an expression is, with its FILTER; None if it is none."""
    condition = None
    if type(node) is exp.Filter:
        only(node, "this", "expression")
        only(node.expression, "this")
        condition = predicate(node.expression.this, names)
        node = node.this
        if type(node) not in (*FOLDED, exp.CountIf):
            refuse("aggregate-unsupported", node)
    if type(node) is exp.CountIf:
        only(node, "this")
        return FoldAggregate("count", _where(condition, _where(predicate(node.this, names), ONE)))
    kind = FOLDED.get(type(node))
    if kind is None:
        if isinstance(node, exp.AggFunc):
            refuse("aggregate-unsupported", node)
        return None
    only(node, "this", "big_int")
    argument = node.this
    if kind == "count" and isinstance(argument, exp.Star):
        only(argument)
        return (
            FoldAggregate("count_rows", None) if condition is None else FoldAggregate("count", _where(condition, ONE))
        )
    if type(argument) is exp.Distinct:
        only(argument, "expressions")
        if kind != "count":
            refuse("distinct-unsupported", argument)
        kind, meaning = "count_distinct", different(argument, names)
    else:
        meaning = scalar(argument, names)
    if isinstance(meaning, Constant):
        refuse("aggregate-argument", node)
    if kind in ("sum", "average"):
        meaning = counted(meaning, argument, names)
    if kind in ("least", "greatest") and meaning.kind == "boolean":
        refuse("type-mismatch", node, message="MIN and MAX take no truth value.")
    return FoldAggregate(kind, _where(condition, meaning))  # type: ignore[arg-type]


def counted(meaning: Scalar, node: exp.Expression, names: Names) -> Scalar:
    """Return what SUM and AVG add: a truth value as 1 or 0, as MySQL and DuckDB add it, anything else as it is."""
    return to_kind(meaning, "integer", node, names) if meaning.kind == "boolean" else meaning


def _where(condition: Scalar | None, value: Scalar) -> Scalar:
    """Return a value where a condition is true, NULL elsewhere."""
    if condition is None:
        return value
    return Call("case", (condition, value, Constant(None, value.kind)), value.kind)


def bounded(meaning: Scalar, about: Facts, node: exp.Expression) -> None:
    """Refuse to sum what is no number or has no bounds."""
    if meaning.kind not in NUMERIC:
        refuse("type-mismatch", node, message="This aggregate takes a number.")
    bounds = known(meaning, about.columns).bounds
    if bounds is None or max(-bounds[0], bounds[1]) > MOST_SUMMED:
        open_ended = (about.columns[name].origin for name in sorted(references(meaning)) if name in about.columns)
        names = ", ".join(sorted({origin[1] for origin in open_ended if origin is not None}))
        hint = "Write GREATEST(LEAST(…, high), low)."
        if names:
            hint = (
                f"Ask an administrator to declare lower and upper for {names}, or write GREATEST(LEAST(…, high), low)."
            )
        if bounds is not None:
            hint = "Keep divisors away from zero, or write GREATEST(LEAST(…, high), low)."
        refuse("bounds-missing", node, hint=hint)
