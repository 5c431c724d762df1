"""Lower IN, EXISTS and scalar subqueries: each says something of a row by the rows that it finds for its owner.

``WHERE EXISTS (SELECT 1 FROM visit v WHERE v.person_id = p.person_id)``  →  ``SemiJoin(person, visit, …)``
``(SELECT COUNT(*) FROM visit v WHERE v.person_id = p.person_id) > 3``  →  ``Filter(Lookup(person, visit, …), a0 > 3)``

Why this is sound: a private row may ask of private rows only those of its own owner (a condition says so, and the
rewriting adds owner equality inside), and public ones; what it learns is exact, so that it stays a function of its
owner's rows and of public data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from sqlglot import exp

from gateway.sql.above.correlated import grouped
from gateway.sql.algebra import (
    Call,
    Constant,
    FoldAggregate,
    Join,
    Lookup,
    Ref,
    Relation,
    Scalar,
    SemiJoin,
    references,
)
from gateway.sql.below.folds import FoldNames, aggregates, named
from gateway.sql.below.joins import all_of
from gateway.sql.below.ties import tie_hint, tied
from gateway.sql.inference.domains import conditions
from gateway.sql.inference.facts import Facts, facts, finds_one, pairs_once
from gateway.sql.inference.known import known
from gateway.sql.refusals import refuse
from gateway.sql.relations import nested
from gateway.sql.scalars.resolve import Context, RowNames, Scope, only
from gateway.sql.scalars.scalar import compare, scalar

if TYPE_CHECKING:
    from gateway.sql.relations.sources import From


@dataclass(frozen=True, slots=True)
class Read:
    """How queries are read: FROM and WHERE of one whose conditions may be on the query around, or one of its own.

    ``released`` is one of its own that has to be released first, None of any other; ``grouped`` the same of one that
    has groups.
    """

    inside: Callable[[exp.Select, Context, Scope | None], From]
    apart: Callable[[exp.Expression, Context], tuple[Relation, tuple[tuple[str, Ref], ...]]]
    released: Callable[[exp.Expression, Context], tuple[Relation, tuple[tuple[str, Ref], ...]] | None]
    grouped: Callable[[exp.Select, Context], tuple[Relation, tuple[tuple[str, Ref], ...]] | None]


_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery, exp.Exists)


def has_subquery(node: exp.Expression) -> bool:
    """Whether a query stands anywhere inside an expression."""
    return node.find(*_QUERIES) is not None


@dataclass(frozen=True, slots=True)
class Test:
    """Whether a subquery finds a row (``anti``: none): one that equals the members, for IN and NOT IN.

    ``op`` is how a single member is compared with the row: ``x > ALL (…)`` finds none for which ``x <= …``.
    """

    node: exp.Expression
    query: exp.Expression
    members: tuple[exp.Expression, ...] | None
    anti: bool
    op: str = "eq"


_QUANTIFIED: Mapping[type[exp.Expr], tuple[str, str]] = MappingProxyType(
    {
        exp.EQ: ("eq", "neq"),
        exp.NEQ: ("neq", "eq"),
        exp.LT: ("lt", "gte"),
        exp.LTE: ("lte", "gt"),
        exp.GT: ("gt", "lte"),
        exp.GTE: ("gte", "lt"),
    }
)
"""Each comparison, and the one that is true where it is false."""


def subquery_test(node: exp.Expression) -> Test | None:
    """Return the IN, EXISTS, ``= ANY`` or ``> ALL`` that a condition is, negated or not; None for any other."""
    anti, inner, op = False, node, "eq"
    while type(inner) in (exp.Not, exp.Paren):
        only(inner, "this")
        anti ^= type(inner) is exp.Not
        inner = inner.this
    if type(inner) is exp.Exists:
        only(inner, "this")
        return Test(node, inner.this, None, anti)
    query = None
    if type(inner) is exp.In and inner.args.get("query") is not None:
        only(inner, "this", "query")
        query = inner.args["query"]
    elif type(inner) in _QUANTIFIED and type(inner.args.get("expression")) in (exp.Any, exp.All):
        only(inner, "this", "expression")
        only(inner.expression, "this")
        every = type(inner.expression) is exp.All
        query, anti, op = inner.expression.this, anti ^ every, _QUANTIFIED[type(inner)][every]
    if query is None:
        return None
    member = inner.this
    while type(member) is exp.Paren:
        only(member, "this")
        member = member.this
    if type(member) is exp.Tuple:
        only(member, "expressions")
        if op != "eq":
            refuse("subquery-unsupported", node, message="Rows are compared with a subquery by IN alone.")
        return Test(node, query, tuple(member.expressions), anti)
    return Test(node, query, (member,), anti, op)


# --- what a subquery finds


@dataclass(frozen=True, slots=True)
class _Found:
    """The rows that a subquery may find, the conditions that tie them to a row around, and its items."""

    relation: Relation
    scope: Scope
    on: tuple[Scalar, ...]
    items: tuple[Scalar, ...]


def _unwrapped(query: exp.Expression) -> exp.Expression:
    while type(query) in (exp.Subquery, exp.Paren):
        only(query, "this", code="subquery-unsupported")
        query = query.this
    return query


_PLAIN = ("expressions", "from_", "joins", "where")


def _found(test: Test, scope: Scope, context: Context, read: Read) -> _Found:
    """Return what a subquery under IN or EXISTS finds: rows tied by conditions, or those of a query of its own."""
    query = _unwrapped(test.query)
    plain = type(query) is exp.Select and not any(query.args.get(clause) for clause in ("group", "distinct", "with_"))
    if not plain:
        relation, columns = read.apart(query, context)
        inside = Scope((), dict(facts(relation, context.dataset).columns))
        return _Found(relation, inside, (), tuple(ref for _, ref in columns))
    assert isinstance(query, exp.Select)
    only(query, *_PLAIN, code="subquery-unsupported")
    found = read.inside(query, context, scope)
    if test.members is None:
        # An aggregate has a row even where there is none, so that EXISTS would always be true: it is refused here.
        nested.items(query, found.scope, RowNames(found.scope))
        return _Found(found.relation, found.scope, found.correlated, ())
    names = RowNames(replace(found.scope, outer=None))
    items = tuple(meaning for _, meaning in nested.items(query, found.scope, names))
    return _Found(found.relation, found.scope, found.correlated, items)


def _conditions(test: Test, found: _Found, scope: Scope, left: Facts, right: Facts) -> tuple[list[Scalar], bool]:
    """Return the conditions under which a row of the subquery is found, and whether the test is never NULL.

    Why NOT IN is written as "no row that equals or may equal": ``x NOT IN (…)`` is true only if no row equals x and
    neither x nor any of the rows is NULL, unless there is no row at all; of columns that hold no NULL that is the same
    as NOT EXISTS with the equality. ``x > ALL (…)`` is "no row for which ``x <= …`` is true or NULL" likewise.
    """
    on = list(found.on)
    if test.members is None:
        return on, True
    if len(test.members) != len(found.items):
        refuse("subquery-unsupported", test.node, message="IN takes a subquery of as many columns as stand before it.")
    never_null = True
    for member, there in zip(test.members, found.items, strict=True):
        here = scalar(member, RowNames(scope))
        equal = compare(test.op, here, there, test.node, RowNames(replace(found.scope, outer=scope)))
        missing = [(here, left), (there, right)]
        nulls = [part for part, side in missing if not _present(part, side)]
        never_null = never_null and not nulls
        absent = tuple(Call("is_null", (part,), "boolean") for part in nulls)
        on.append(Call("or", (equal, *absent), "boolean") if test.anti and absent else equal)
    return on, never_null


def _present(part: Scalar, side: Facts) -> bool:
    """Whether a scalar holds no NULL, as far as it is made of one side's columns."""
    return references(part) <= side.columns.keys() and not known(part, side.columns).nullable


def _check(
    test: Test, on: Sequence[Scalar], left: Facts, right: Facts, context: Context, holding: Sequence[Scalar]
) -> None:
    """Refuse a subquery that would let other people's rows say something of a row."""
    if any(not references(condition) <= left.columns.keys() | right.columns.keys() for condition in on):
        refuse("subquery-unsupported", test.node, message="A subquery refers to the query right around it alone.")
    if right.private and not left.private:
        refuse("join-unsupported", test.node, message="Public rows cannot be picked by private ones.")
    if right.private and (left.owner is None or not tied(on, left, right, context.dataset, holding)):
        negated = test.anti and test.members is not None
        hint = tie_hint(left, right, context.dataset)
        refuse("not-in-unsupported" if negated else "join-not-owned", test.node, hint=hint)


def semi_join(relation: Relation, test: Test, scope: Scope, context: Context, read: Read) -> Relation:
    """Return the rows of a relation for which a test of WHERE is true."""
    found = _found(test, scope, context, read)
    left, right = facts(relation, context.dataset), facts(found.relation, context.dataset)
    on, _ = _conditions(test, found, scope, left, right)
    _check(test, on, left, right, context, (*conditions(relation), *conditions(found.relation)))
    return SemiJoin(relation, found.relation, all_of(on) if on else None, test.anti)


# --- subqueries inside expressions


class Lookups:
    """A relation to which what its query's subqueries say is attached, row by row, under names of its own."""

    def __init__(self, relation: Relation, scope: Scope, context: Context, read: Read) -> None:
        self.relation, self.scope, self.context, self.read = relation, scope, context, read

    def attach(self, node: exp.Expression) -> None:
        """Attach what each subquery inside an expression says; the expression then means that where it stands."""
        for inner in list(_outermost(node)):
            test = subquery_test(inner)
            meaning = self._valued(inner) if test is None else self._tested(test, node)
            known = {**self.scope.known, **facts(self.relation, self.context.dataset).columns}
            attached = {**self.scope.attached, id(inner): meaning}
            self.scope = replace(self.scope, known=known, attached=attached)

    def _tested(self, test: Test, root: exp.Expression) -> Scalar:
        """Return whether a subquery finds a row, for a test that is part of an expression."""
        found = _found(test, self.scope, self.context, self.read)
        left, right = (facts(side, self.context.dataset) for side in (self.relation, found.relation))
        on, never_null = _conditions(test, found, self.scope, left, right)
        _check(test, on, left, right, self.context, self._holding(found.relation))
        if not never_null and not _asked_for_truth(test.node, root):
            # There NULL and false would differ, and what is attached is never NULL.
            hint = "Write EXISTS (SELECT 1 FROM … WHERE …)."
            refuse("subquery-unsupported", test.node, message="IN may be NULL here.", hint=hint)
        number = self.context.number(test.node)
        mark = (f"a0#{number}", FoldAggregate("exists", None))
        self.relation = Lookup(self.relation, found.relation, number, all_of(on) if on else None, (mark,))
        meaning = Ref(mark[0], "boolean")
        return Call("not", (meaning,), "boolean") if test.anti else meaning

    def _holding(self, found: Relation) -> tuple[Scalar, ...]:
        return (*conditions(self.relation), *conditions(found))

    def _valued(self, node: exp.Expression) -> Scalar:
        """Return the value of a scalar subquery: made of aggregates, or of the one row that a key picks."""
        query = _unwrapped(node)
        fed = self.read.released(query, self.context)
        if fed is not None:
            # Kept if it has no row, which makes it NULL; it never has more than one.
            self.relation = Join("left", self.relation, fed[0], None)
            return fed[1][0][1]
        if type(query) is not exp.Select:
            refuse("subquery-unsupported", node)
        only(query, *_PLAIN, code="subquery-unsupported")
        found = self.read.inside(query, self.context, self.scope)
        left, right = (facts(side, self.context.dataset) for side in (self.relation, found.relation))
        on = list(found.correlated)
        test = Test(node, query, None, anti=False)
        holding = self._holding(found.relation)
        if right.private and not (left.private and tied(on, left, right, self.context.dataset, holding)):
            apart = self._apart(query, replace(found.scope, outer=None))
            if apart is not None:
                return apart
        if right.private and left.private and not tied(on, left, right, self.context.dataset, holding):
            refuse("subquery-crosses-owners", node, hint=tie_hint(left, right, self.context.dataset))
        _check(test, on, left, right, self.context, holding)
        if len(query.expressions) != 1:
            refuse("subquery-unsupported", node, message="A subquery in an expression has one column.")
        number = self.context.number(node)
        fold = FoldNames(RowNames(replace(found.scope, outer=None)), right, number, [])
        item = named(query.expressions[0], 0)[1]
        if any(True for _ in aggregates(item)):
            meaning = scalar(item, fold)
        else:
            meaning = self._picked(item, fold, on, left, right)
        told = tuple(fold.aggregates)
        self.relation = Lookup(self.relation, found.relation, number, all_of(on) if on else None, told)
        return meaning

    def _apart(self, query: exp.Select, inside: Scope) -> Scalar | None:
        """Return the value of aggregates over other people's rows too: released first, group by group, then joined.

        A row whose group is not released has no value there. None of what is no such subquery.
        """
        apart = grouped(query, inside)
        if apart is None:
            return None
        fed = self.read.grouped(apart.query, self.context)
        if fed is None:
            return None
        relation, [*keys, (_, value)] = fed
        right = facts(relation, self.context.dataset)
        names = RowNames(replace(self.scope, known={**self.scope.known, **right.columns}))
        pairs = zip(keys, apart.outer, strict=True)
        on = [compare("eq", scalar(outer, names), key, query, names) for (_, key), outer in pairs]
        if not pairs_once(right, on, owned=False):
            # A row that met several groups would count several times.
            hint = "Equate bare columns of one type."
            refuse("subquery-unsupported", query, message="A row has to find one group of this subquery.", hint=hint)
        self.relation = Join("left", self.relation, relation, all_of(on))
        return value

    def _picked(self, item: exp.Expression, fold: FoldNames, on: list[Scalar], left: Facts, right: Facts) -> Scalar:
        """Return the value of the one row that there may be.

        Why this is sound: a key says that there is one at most; should the data hold several after all, the least is
        taken, which is a function of those rows whatever their order, and raises nothing.
        """
        value = scalar(item, fold.rows)
        if isinstance(value, Constant) or not finds_one(right, on, owned=left.private and right.private):
            message = "A subquery in an expression is an aggregate, or finds at most one row by a key."
            refuse("subquery-unsupported", item, message=message, hint="Write MAX(…), or join on a key.")
        return fold.add(FoldAggregate("only", value))


def _outermost(node: exp.Expression) -> Iterator[exp.Expression]:
    """Yield the subqueries of an expression, each with the test that it stands in, not those inside them."""
    if isinstance(node, exp.Select | exp.SetOperation):
        refuse("subquery-unsupported", node)
    if isinstance(node, exp.Subquery) or subquery_test(node) is not None:
        yield node
        return
    for child in node.iter_expressions():
        yield from _outermost(child)


def _asked_for_truth(node: exp.Expression, root: exp.Expression) -> bool:
    """Whether NULL is as good as false where a condition stands: in WHERE, FILTER, CASE WHEN, under AND and OR."""
    while node is not root:
        parent, key = node.parent, node.arg_key
        assert isinstance(parent, exp.Expression)
        if type(parent) is exp.If and key == "this" and type(parent.parent) is exp.Case:
            return parent.parent.this is None
        if type(parent) in (exp.Where, exp.CountIf):
            return True
        if type(parent) not in (exp.And, exp.Or, exp.Paren):
            return False
        node = parent
    return type(root.parent) in (exp.And, exp.Where, exp.Paren)


def asked_of_rows(select: exp.Select) -> Iterable[exp.Expression]:
    """Yield the expressions of a SELECT, besides WHERE, that are asked of its rows rather than of groups of them."""
    group = select.args.get("group")
    rest = [select.args.get(clause) for clause in ("having", "qualify", "order")]
    parts = [*select.expressions, *(part for part in rest if part is not None)]
    grouped = group is not None or any(True for part in parts for _ in aggregates(part))
    if group is not None:
        yield from (item for item in group.expressions if isinstance(item, exp.Expression))
    for part in parts:
        yield from aggregates(part, filtered=True) if grouped else (part,)
