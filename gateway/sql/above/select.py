"""Lower a select list with HAVING, DISTINCT, ORDER BY and LIMIT: what is computed above the frontier.

``SELECT sex, n / SUM(n) OVER () AS part FROM released WHERE n > 5 ORDER BY part DESC LIMIT 3``
→  ``Pick(Sort(Over(Keep(…, n > 5), [SUM(n)]), [part desc], 3), [sex, n / w0])``

Why the order of what stands here is free: it is computed from noisy tables alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, NoReturn, Protocol

from sqlglot import exp

from gateway.sql.above.attached import Attached
from gateway.sql.above.windows import window
from gateway.sql.algebra import Ordering, Ref, Scalar, references, type_of
from gateway.sql.below.spread import label
from gateway.sql.functions import Level
from gateway.sql.inference.intervals import Bounds
from gateway.sql.inference.known import Known, known
from gateway.sql.refusals import refuse
from gateway.sql.scalars.bind import Given
from gateway.sql.scalars.resolve import Context, matches, only
from gateway.sql.scalars.scalar import Names, predicate, scalar
from gateway.sql.tables import (
    Distinct,
    Keep,
    Listed,
    Over,
    Pick,
    Public,
    Shown,
    Sort,
    Windowed,
)

_ENDS = {"dp_interval_low": 0, "dp_interval_high": 1}


class Base(Names, Protocol):
    """What a select list stands over, and what names mean there."""

    def table(self) -> Public:
        """Return the table, once all of the query was read."""

    def shown(self, name: str) -> Shown:
        """Return what is known of one of its columns, once all of the query was read."""

    def ends(self, name: str) -> tuple[str, str] | None:
        """Return the columns that hold the ends of a column's interval, None if it has none."""

    def star(self, node: exp.Expression) -> list[tuple[str, Ref]]:
        """Return the columns that a star stands for."""


@dataclass(slots=True)
class Listing:
    """What names mean in a select list and behind it: what they mean over the base, subqueries, windows, aliases."""

    base: Base
    context: Context
    attached: Attached
    windows: dict[str, Windowed] = field(default_factory=dict)
    computed: dict[str, Shown] = field(default_factory=dict)
    aliases: list[tuple[exp.Identifier, Scalar]] = field(default_factory=list)
    items: list[tuple[exp.Identifier, Scalar]] = field(default_factory=list)
    level: Level = field(default="post", init=False)

    def column(self, node: exp.Column) -> Scalar:
        """Return what a name means that is no column of the base: an alias of the select list; refuse any other."""
        if node.args.get("table") is None and isinstance(node.this, exp.Identifier):
            for alias, meaning in self.aliases:
                if matches(node.this, alias.this):
                    return meaning
        return self.base.column(node)

    def whole(self, node: exp.Expression) -> Scalar | None:
        """Return what a whole expression means here, None if it has to be taken apart."""
        if type(node) is exp.Window:
            return self._window(node)
        if type(node) is exp.Anonymous and str(node.this).lower() in _ENDS:
            return self._end(node)
        found = self.base.whole(node)
        return found if found is not None else self.attached.whole(node, self)

    def scale(self, ref: Ref) -> int | None:
        """Return the decimals of an integer or decimal column."""
        return self.base.scale(ref)

    def item(self, node: exp.Expression) -> None:
        """Read an item of the select list."""
        if isinstance(node, exp.Star) or (type(node) is exp.Column and isinstance(node.this, exp.Star)):
            for name, ref in self.base.star(node):
                self.items.append((exp.to_identifier(name, quoted=True), ref))
            return
        alias = None
        if type(node) is exp.Alias:
            only(node, "this", "alias")
            alias, node = node.args["alias"], node.this
            only(alias, "this", "quoted")
        meaning = scalar(node, self)
        if alias is not None:
            self.aliases.append((alias, meaning))
        named = alias or (node.this if type(node) is exp.Column else exp.to_identifier(label(node)))
        self.items.append((named, meaning))

    def ordering(self, node: exp.Expression) -> Ordering:
        """Return an item of ORDER BY: a position, an alias, or an expression."""
        only(node, "this", "desc", "nulls_first")
        by = node.this
        meaning: Scalar | None = None
        if type(by) is exp.Literal:
            only(by, "this", "is_string")
            if by.args.get("is_string") or not by.this.isdigit() or not 1 <= int(by.this) <= len(self.items):
                refuse("order-invalid", by)
            meaning = self.items[int(by.this) - 1][1]
        elif type(by) is exp.Column and by.args.get("table") is None:
            only(by, "this")
            meaning = next((found for alias, found in self.aliases if matches(by.this, alias.this)), None)
        meaning = scalar(by, self) if meaning is None else meaning
        return Ordering(meaning, bool(node.args.get("desc")), bool(node.args.get("nulls_first")))

    def shown(self, meaning: Scalar) -> Shown:
        """Return what is known of an expression."""
        if not isinstance(meaning, Ref):
            return Shown(type_of(meaning.kind), self._role(references(meaning)), bounds=self._bounds(meaning))
        extra = self.attached.about.get(meaning.name) or self.computed.get(meaning.name)
        return extra if extra is not None else self.base.shown(meaning.name)

    def _bounds(self, meaning: Scalar) -> Bounds | None:
        """Return what an expression lies between, where that is known of all that it reads."""
        read = {name: self.shown(Ref(name, "float")).bounds for name in references(meaning)}
        if any(bounds is None for bounds in read.values()):
            return None
        return known(meaning, {name: Known("float", bounds=bounds) for name, bounds in read.items()}).bounds

    def _role(self, names: Iterable[str]) -> Literal["derived", "public"]:
        """Return the role of what is computed from columns: public where all of them are."""
        return "public" if all(self.shown(Ref(name, "float")).role == "public" for name in names) else "derived"

    def ends(self, meaning: Scalar) -> tuple[str, str] | None:
        """Return the columns that hold the ends of an expression's interval, None if it has none."""
        if not isinstance(meaning, Ref) or meaning.name in self.computed:
            return None
        extra = self.attached.about.get(meaning.name)
        return extra.interval if extra is not None else self.base.ends(meaning.name)

    def _end(self, node: exp.Anonymous) -> Ref:
        only(node, "this", "expressions")
        if len(node.expressions) != 1:
            refuse("interval-unknown", node)
        ends = self.ends(scalar(node.expressions[0], self))
        if ends is None:
            refuse("interval-unknown", node, hint="Name a column that is an aggregate of private rows, unchanged.")
        name = ends[_ENDS[str(node.this).lower()]]
        self.computed[name] = Shown("number", "derived")
        return Ref(name, "float")

    def _window(self, node: exp.Window) -> Ref:
        before = len(self.windows)
        found, kind = window(node, self)
        if len(self.windows) != before:
            refuse("window-unsupported", node, message="A window stands inside another.")
        name = next((name for name, other in self.windows.items() if other == found), None)
        if name is None:
            name = f"w{self.context.number(node)}"
            self.windows[name], self.computed[name] = found, Shown(type_of(kind), "derived")
        return Ref(name, kind)


def listed(select: exp.Select, base: Base, context: Context) -> Listed:
    """Return what a SELECT list and the clauses behind it make of their base."""
    listing = Listing(base, context, Attached(context))
    for item in select.expressions:
        listing.item(item)
    having = _having(select, listing)
    distinct = select.args.get("distinct")
    if distinct is not None:
        only(distinct, code="distinct-unsupported")
    qualify = _qualify(select, listing)
    order = [listing.ordering(item) for item in ordered(select)]
    table = listing.attached.over(base.table())
    if having is not None:
        table = Keep(table, having)
    if listing.windows:
        table = Over(table, tuple(listing.windows.items()))
    if qualify is not None:
        table = Keep(table, qualify)
    number = context.number(select)
    names = _names(listing)
    refs = tuple(Ref(f"c{number}_{at}", meaning.kind) for at, (_, meaning) in enumerate(listing.items))
    limit, offset = whole(select.args.get("limit")), whole(select.args.get("offset")) or 0
    if distinct is None:
        table, about = _picked(_sorted(table, order, limit, offset), listing, refs)
    else:
        table = Distinct(Pick(table, tuple((ref.name, item[1]) for ref, item in zip(refs, listing.items, strict=True))))
        table = _sorted(table, [_within(found, listing, refs, distinct) for found in order], limit, offset)
        about = {
            ref.name: replace(listing.shown(meaning), role=_bare(listing.shown(meaning)), sources=(), interval=None)
            for ref, (_, meaning) in zip(refs, listing.items, strict=True)
        }
    return Listed(table, tuple(zip(names, refs, strict=True)), about)


def _bare(shown: Shown) -> Literal["key", "derived", "public"]:
    """Return the role of a column of which rows that were equal are one now, so that no interval is its own."""
    return "derived" if shown.role == "noisy" else shown.role


def _sorted(table: Public, order: list[Ordering], limit: int | None, offset: int) -> Public:
    return Sort(table, tuple(order), limit, offset) if order or limit is not None or offset else table


def _picked(table: Public, listing: Listing, refs: tuple[Ref, ...]) -> tuple[Public, dict[str, Shown]]:
    """Return the columns of the select list, each noisy one with the ends of its interval beside it."""
    columns: list[tuple[str, Scalar]] = []
    about: dict[str, Shown] = {}
    for ref, (_, meaning) in zip(refs, listing.items, strict=True):
        shown, ends = listing.shown(meaning), listing.ends(meaning)
        columns.append((ref.name, meaning))
        beside = None
        if ends is not None:
            beside = (f"{ref.name}_low", f"{ref.name}_high")
            columns += [(name, Ref(end, "float")) for name, end in zip(beside, ends, strict=True)]
        about[ref.name] = replace(shown, interval=beside)
    return Pick(table, tuple(columns)), about


def _within(found: Ordering, listing: Listing, refs: tuple[Ref, ...], node: exp.Expression) -> Ordering:
    """Return an ordering by a column of the select list: DISTINCT leaves no other."""
    for ref, (_, meaning) in zip(refs, listing.items, strict=True):
        if meaning == found.by:
            return replace(found, by=ref)
    refuse("order-invalid", node, message="Beside DISTINCT, ORDER BY takes columns of the select list.")


def _names(listing: Listing) -> list[str]:
    """Return names of the columns that are all different; refuse those that the analyst gave twice."""
    taken: list[str] = []
    for identifier, _ in listing.items:
        name = base = identifier.this
        again = 1
        while name in taken:
            if any(identifier is alias for alias, _ in listing.aliases):
                refuse("column-name-duplicate", identifier)
            again += 1
            name = f"{base}_{again}"
        taken.append(name)
    return taken


def _having(select: exp.Select, listing: Listing) -> Scalar | None:
    having = select.args.get("having")
    if having is None:
        return None
    only(having, "this")
    before = len(listing.windows)
    found = predicate(having.this, listing)
    if len(listing.windows) != before or references(found) & listing.windows.keys():
        refuse("window-unsupported", having, message="A window is computed after HAVING.")
    return found


def _qualify(select: exp.Select, listing: Listing) -> Scalar | None:
    """Return the condition of QUALIFY, which is asked of rows that have their windows."""
    qualify = select.args.get("qualify")
    if qualify is None:
        return None
    only(qualify, "this")
    return predicate(qualify.this, listing)


def ordered(select: exp.Expression) -> list[exp.Expression]:
    """Return the items of ORDER BY."""
    order = select.args.get("order")
    if order is None:
        return []
    only(order, "expressions")
    items = list(order.expressions)
    for item in items:
        if type(item) is not exp.Ordered:
            refuse("order-invalid", item)
    return items


def whole(node: exp.Expression | None) -> int | None:
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


def aggregated(select: exp.Select) -> bool:
    """Whether a SELECT folds its rows: GROUP BY, HAVING, or an aggregate that is no window's, nor of a subquery."""
    if select.args.get("group") is not None or select.args.get("having") is not None:
        return True
    ordered, qualify = select.args.get("order"), select.args.get("qualify")
    parts = [*select.expressions, *(ordered.expressions if ordered is not None else [])]
    return any(map(_aggregates, [*parts, *([] if qualify is None else [qualify])]))


def _aggregates(node: exp.Expression) -> bool:
    if isinstance(node, exp.Query | exp.Exists):
        return False
    inside = [node]
    if type(node) is exp.Window:
        function = node.this
        while type(function) in (exp.Filter, exp.IgnoreNulls, exp.RespectNulls):
            function = function.this
        inside = [function] if isinstance(function, exp.Expression) else []
        rest = [found for name, value in node.args.items() if name != "this" for found in _nodes(value)]
        return any(map(_aggregates, [*rest, *(found for top in inside for found in _children(top))]))
    return isinstance(node, exp.AggFunc) or any(map(_aggregates, _children(node)))


def _children(node: exp.Expression) -> list[exp.Expression]:
    return [found for value in node.args.values() for found in _nodes(value)]


def _nodes(value: object) -> list[exp.Expression]:
    values = value if isinstance(value, list) else [value]
    return [found for found in values if isinstance(found, exp.Expression)]


def unsupported(node: exp.Expression) -> NoReturn:
    """Refuse a query of private rows where one over public tables is needed."""
    refuse(
        "no-aggregate",
        node,
        message="Rows of private tables never leave; a subquery here has to aggregate them over people.",
        hint="Ask for COUNT, SUM or AVG, grouped as you like.",
    )
