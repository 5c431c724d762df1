"""Lower a nested query that folds one owner's rows among themselves.

``SELECT person_id, COUNT(*) AS n FROM visit GROUP BY person_id`` inside FROM
→  ``Project(Fold(Scan(visit, 0), [person_id], [count_rows]), …)``

Why this is sound: the owner always is among the keys (the rewriting adds it), so that each folded row is made of one
owner's rows; that a key of the query says whose they are is asked for so that the addition changes nothing.
"""

from __future__ import annotations

from fractions import Fraction

from sqlglot import exp

from gateway.errors import SqlRefused
from gateway.sql.algebra import Call, Constant, Filter, Fold, FoldAggregate, Project, Ref, Relation, Scalar, references
from gateway.sql.constants import NUMERIC
from gateway.sql.facts import Facts, facts, fold_known, is_owned_key
from gateway.sql.functions import Level
from gateway.sql.known import Known, known
from gateway.sql.refusals import refuse
from gateway.sql.resolve import Context, RowNames, Scope, only
from gateway.sql.scalar import predicate, scalar

MOST_SUMMED = Fraction(10**38)
"""What is summed lies within this, as declared bounds do: of what is wider, the noise would be all that is seen."""

_FOLDED: dict[type[exp.Expression], str] = {
    exp.Count: "count",
    exp.Sum: "sum",
    exp.Avg: "average",
    exp.Min: "least",
    exp.Max: "greatest",
}


def folded(
    select: exp.Select, source: Relation, scope: Scope, context: Context
) -> tuple[Relation, tuple[tuple[str, Ref], ...]]:
    """Return one owner's rows folded: GROUP BY with the owner among the keys."""
    number = context.number(select)
    about = facts(source, context.dataset)
    names = RowNames(scope)
    keys: list[Scalar] = []
    group = select.args.get("group")
    if group is not None:
        only(group, "expressions")
        for item in group.expressions:
            key = scalar(_meant(item, select), names)
            if isinstance(key, Constant):
                refuse("key-unsupported", item, hint="Group by columns, or by what is computed from them.")
            if key not in keys:
                keys.append(key)
    per_owner(keys, about, select, context)
    fold = FoldNames(names, about, number, [(f"k{index}#{number}", key) for index, key in enumerate(keys)])
    items: list[tuple[str, Scalar]] = []
    for index, item in enumerate(select.expressions):
        name, node = named(item, index)
        if any(name.lower() == other.lower() for other, _ in items):
            refuse("column-name-duplicate", item)
        items.append((name, scalar(node, fold)))
    having = select.args.get("having")
    if having is not None:
        only(having, "this")
    condition = None if having is None else predicate(having.this, fold)
    relation: Relation = Fold(source, number, tuple(fold.keys), tuple(fold.aggregates))
    if condition is not None:
        relation = Filter(relation, condition)
    outside = context.number(select)
    columns = tuple((f"{name}#{outside}", meaning) for name, meaning in items)
    shown = tuple((name, Ref(f"{name}#{outside}", meaning.kind)) for name, meaning in items)
    return Project(relation, columns), shown


def folds(select: exp.Select, source: Relation, scope: Scope, context: Context) -> bool:
    """Whether a SELECT that aggregates groups by the owner or a key of the owner's things."""
    group = select.args.get("group")
    about = facts(source, context.dataset)
    for item in [] if group is None or about.owner is None else group.expressions:
        meant = _meant(item, select)
        key = scope.find(meant) if type(meant) is exp.Column and not isinstance(meant.this, exp.Star) else None
        if key is not None and key.name in about.columns and _owned(about.columns[key.name], context):
            return True
    return False


def _owned(found: Known, context: Context) -> bool:
    # The NULLs of a left join are one group, of many owners.
    return found.owner or (not found.padded and is_owned_key(found, context.dataset))


def _meant(item: exp.Expression, select: exp.Select) -> exp.Expression:
    """Return the item of the select list that a position in GROUP BY names, else what is written there."""
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


def per_owner(keys: list[Scalar], about: Facts, node: exp.Expression, context: Context) -> None:
    """Refuse a grouping whose keys do not say whose rows they are."""
    if about.owner is None:
        refuse("subquery-unsupported", node, message="Only the rows of one owner can be folded in a subquery.")
    if any(_owned(known(key, about.columns), context) for key in keys):
        return
    owner = next((f"{f.origin[0]}.{f.origin[1]}" for f in about.columns.values() if f.owner and f.origin), None)
    hint = None if owner is None else f"Group by {owner} too, or aggregate only once."
    refuse("subquery-crosses-owners", node, hint=hint)


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
        kind = _FOLDED.get(type(node))
        if kind is None:
            if isinstance(node, exp.AggFunc) or type(node) is exp.Filter:
                refuse("aggregate-unsupported", node)
            return self._key(node)
        only(node, "this", "big_int")
        argument, meaning = node.this, None
        if kind == "count" and isinstance(argument, exp.Star):
            only(argument)
            kind = "count_rows"
        elif type(argument) is exp.Distinct:
            only(argument, "expressions")
            if kind != "count" or len(argument.expressions) != 1:
                refuse("distinct-unsupported", argument)
            kind, meaning = "count_distinct", scalar(argument.expressions[0], self.rows)
        else:
            meaning = scalar(argument, self.rows)
        if isinstance(meaning, Constant):
            refuse("aggregate-argument", node)
        if meaning is not None and kind in ("least", "greatest") and meaning.kind == "boolean":
            refuse("type-mismatch", node, message="MIN and MAX take no truth value.")
        if meaning is not None and kind in ("sum", "average"):
            bounded(meaning, self.about, argument)
        return self._add(FoldAggregate(kind, meaning))  # type: ignore[arg-type]

    def _key(self, node: exp.Expression) -> Ref | None:
        """Return the computed key that an expression is, None if none."""
        if type(node) in (exp.Column, exp.Literal) or not any(isinstance(key, Call) for _, key in self.keys):
            return None
        try:
            found = scalar(node, self.rows)
        except SqlRefused:  # it is made of aggregates, and is taken apart
            return None
        return next((Ref(name, key.kind) for name, key in self.keys if key == found), None)

    def _add(self, aggregate: FoldAggregate) -> Ref:
        kind = "integer" if aggregate.kind.startswith("count") else "float"
        argument = aggregate.argument
        if argument is not None and aggregate.kind in ("least", "greatest"):
            kind = argument.kind
        if argument is not None and aggregate.kind == "sum" and argument.kind == "integer":
            kind = "integer"
        for name, found in self.aggregates:
            if found == aggregate:
                return Ref(name, kind)  # type: ignore[arg-type]
        name = f"a{len(self.aggregates)}#{self.number}"
        self.aggregates.append((name, aggregate))
        return Ref(name, kind)  # type: ignore[arg-type]

    def known(self, found: Scalar) -> Known:
        """Return what is known of an expression over keys and aggregates."""
        columns = {name: known(key, self.about.columns) for name, key in self.keys}
        columns |= {name: fold_known(aggregate, self.about) for name, aggregate in self.aggregates}
        return known(found, columns)

    def scale(self, ref: Ref) -> int | None:
        """Return the decimals of a key, or of the least and the greatest of a column; 0 of a whole number."""
        if ref.kind == "integer":
            return 0
        picked = {name: found.argument for name, found in self.aggregates if found.kind in ("least", "greatest")}
        meaning = picked.get(ref.name) or dict(self.keys).get(ref.name)
        return None if meaning is None else known(meaning, self.about.columns).scale


def bounded(meaning: Scalar, about: Facts, node: exp.Expression) -> None:
    """Refuse to sum what is no number or has no bounds."""
    if meaning.kind not in NUMERIC:
        refuse("type-mismatch", node, message="This aggregate takes a number.")
    bounds = known(meaning, about.columns).bounds
    if bounds is None or max(-bounds[0], bounds[1]) > MOST_SUMMED:
        open_ended = (about.columns[name].origin for name in sorted(references(meaning)) if name in about.columns)
        names = ", ".join(sorted({origin[1] for origin in open_ended if origin is not None}))
        hint = f"Ask an administrator to declare lower and upper for {names}." if names else None
        if bounds is not None:
            hint = "Keep divisors away from zero, or write GREATEST(LEAST(…, high), low)."
        refuse("bounds-missing", node, hint=hint)
