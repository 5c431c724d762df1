"""The frontier: an owned relation grouped and aggregated becomes a release, the select list is computed above it.

``SELECT sex, COUNT(*) FROM person GROUP BY ROLLUP (sex)``
→  ``Merge(union, Pick(Release(Scan(person), [sex], [count])), Pick(Release(Scan(person), [], [count]), [NULL, …]))``
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from sqlglot import exp

from gateway.sql.above.clause import divided, terms
from gateway.sql.above.noisy import Noisy
from gateway.sql.above.select import listed
from gateway.sql.algebra import Aggregate, Constant, Fed, Ref, Relation, Release, Scalar, Scan, Terms, type_of
from gateway.sql.below.contribution import per_group
from gateway.sql.functions import Level
from gateway.sql.inference.facts import facts
from gateway.sql.inference.known import known
from gateway.sql.refusals import refuse
from gateway.sql.scalars.resolve import Context, RowNames, Scope, matches, only
from gateway.sql.scalars.scalar import scalar
from gateway.sql.tables import Listed, Merge, Pick, Public, Shown, ends_of

MOST_KEYS = 16
MOST_SETS = 32
"""Grouping sets of one SELECT; each is a release of its own."""


def frontier(select: exp.Select, source: Relation, scope: Scope, context: Context) -> Listed:
    """Return the releases of a SELECT over one owned relation, with its select list above them."""
    rows = RowNames(scope)
    keys, sets = _keys(select, rows)
    about = facts(source, context.dataset)
    base = Frontier(Noisy(rows, about, keys), source, sets, select, terms(select, rows, about), context)
    return listed(select, base, context)


class Frontier:
    """What names mean over the noisy tables of one SELECT: group keys, aggregates, and which keys a row is grouped by.

    ``sets`` are the keys of each release, by place; with more than one, rows of the others have NULL for a key.
    """

    level: Level = "post"

    def __init__(
        self,
        noisy: Noisy,
        source: Relation,
        sets: Sequence[tuple[int, ...]],
        select: exp.Select,
        terms: Terms | None,
        context: Context,
    ) -> None:
        self.noisy, self.source, self.sets, self.select = noisy, source, sets, select
        self.terms, self.context = terms, context
        self.grouping: list[tuple[int, ...]] = []
        self.releases: list[Release] = []

    def column(self, node: exp.Column) -> Scalar:
        """Refuse a name that is no key."""
        return self.noisy.column(node)

    def whole(self, node: exp.Expression) -> Scalar | None:
        """Return the group key or the aggregate that an expression is, None if it has to be taken apart."""
        return self._grouping(node) if type(node) is exp.Grouping else self.noisy.whole(node)

    def scale(self, ref: Ref) -> int | None:
        """Return the decimals of a key."""
        return None if ref.name.startswith("g") else self.noisy.scale(ref)

    def star(self, node: exp.Expression) -> list[tuple[str, Ref]]:
        """Refuse rows as they are."""
        refuse("no-aggregate", node, hint="Ask for COUNT, SUM or AVG, grouped as you like.")

    def ends(self, name: str) -> tuple[str, str] | None:
        """Return the columns beside an aggregate that hold the ends of its interval."""
        return ends_of(name) if name in self.noisy.aggregates else None

    def shown(self, name: str) -> Shown:
        """Return what is known of a key or an aggregate."""
        if name in self.noisy.aggregates:
            sources = tuple((release, name) for release in self.releases)
            found = self.noisy.aggregates[name]
            bounds = None
            if found.kind in ("average", "quantile") and found.argument is not None:
                bounds = known(found.argument, self.noisy.about.columns).bounds
            return Shown(type_of(found.result), "noisy", None, sources, ends_of(name), bounds)
        key = next((found for key, found in self.noisy.keys if key == name), None)
        if key is None:
            return Shown("integer", "public", 0)
        return Shown(type_of(key.kind), "key", known(key, self.noisy.about.columns).scale)

    def table(self) -> Public:
        """Return the release, or the rows of several releases."""
        aggregates = tuple(self.noisy.aggregates.items())
        if not aggregates and not self.noisy.keys:
            # PostgreSQL's grammar has a SELECT of nothing
            hint = "Ask for COUNT, SUM or AVG, grouped as you like."
            refuse("no-aggregate", *self.select.expressions[:1], hint=hint)
        self.releases = [
            numbered(self._release(chosen, aggregates, stated))
            for chosen, stated in zip(self.sets, divided(self.terms, len(self.sets)), strict=True)
        ]
        if len(self.sets) == 1 and not self.grouping:
            return self.releases[0]
        branches: list[Public] = [
            self._branch(release, chosen) for release, chosen in zip(self.releases, self.sets, strict=True)
        ]
        table = branches[0]
        assert isinstance(table, Pick)
        names = tuple(name for name, _ in table.columns)
        for branch in branches[1:]:
            table = Merge("union", True, names, table, branch)
        return table

    def _release(
        self, chosen: tuple[int, ...], aggregates: tuple[tuple[str, Aggregate], ...], stated: Terms | None
    ) -> Release:
        keys = tuple(self.noisy.keys[at] for at in chosen)
        if all(aggregate.limits is None for _, aggregate in aggregates):
            others = {at: self.noisy.keys[at][1] for each in self.sets for at in each if at not in chosen}
            within = tuple(others[at] for at in sorted(others))
            return Release(self.source, keys, aggregates, stated, within=within)
        about = self.noisy.about
        if about.private and about.owner is None:
            # Without an owner to group by, a fold would be of many units' rows, and its clamp no bound on one of them.
            refuse(
                "contribution-bounds-invalid",
                self.select,
                message="Each row is a privacy unit here.",
                hint="Write contribution_bounds_per_row.",
            )
        made = per_group(self.source, keys, aggregates, self.context.number(self.select), self.select)
        return Release(*made, stated, folded=True)

    def _branch(self, release: Release, chosen: tuple[int, ...]) -> Pick:
        """Return one release with all columns: NULL for the keys that it is not grouped by."""
        columns: list[tuple[str, Scalar]] = []
        for at, (name, key) in enumerate(self.noisy.keys):
            columns.append((name, Ref(name, key.kind) if at in chosen else Constant(None, key.kind)))
        for name in self.noisy.aggregates:
            columns += [(found, Ref(found, "float")) for found in (name, *ends_of(name))]
        for index, asked in enumerate(self.grouping):
            bits = sum((at not in chosen) << place for place, at in enumerate(reversed(asked)))
            columns.append((f"g{index}", Constant(bits, "integer")))
        return Pick(release, tuple(columns))

    def _grouping(self, node: exp.Grouping) -> Ref:
        """Return GROUPING(a, b): a bit for each key, set where the row is not grouped by it."""
        only(node, "expressions")
        asked = []
        for item in node.expressions:
            key = scalar(item, self.noisy.rows)
            places = [at for at, (_, found) in enumerate(self.noisy.keys) if found == key]
            if not places:
                refuse("not-grouped", item)
            asked.append(places[0])
        if not asked:
            refuse("not-grouped", node)
        if tuple(asked) not in self.grouping:
            self.grouping.append(tuple(asked))
        return Ref(f"g{self.grouping.index(tuple(asked))}", "integer")


def _keys(select: exp.Select, rows: RowNames) -> tuple[list[tuple[str, Scalar]], list[tuple[int, ...]]]:
    """Return the group keys, and the places of those that each grouping set has."""
    group = select.args.get("group")
    if group is None:
        return [], [()]
    only(group, "expressions", "rollup", "cube", "grouping_sets", code="not-supported")
    found: list[Scalar] = []

    def place(item: exp.Expression) -> int:
        key = _key(item, select, rows)
        if key not in found:
            found.append(key)
        if len(found) > MOST_KEYS:
            refuse("sql-too-deep", item, hint=f"At most {MOST_KEYS} group keys.")
        return found.index(key)

    sets: list[tuple[int, ...]] = [()]
    for item in [
        *group.expressions,
        *(part for name in ("rollup", "cube", "grouping_sets") for part in group.args.get(name) or ()),
    ]:
        # Several items side by side mean every combination of their sets.
        each = _sets(item, place)
        sets = [tuple(dict.fromkeys((*before, *more))) for before in sets for more in each]
        if len(sets) > MOST_SETS:
            refuse("sql-too-deep", item, hint=f"At most {MOST_SETS} grouping sets.")
    return [(f"k{index}", key) for index, key in enumerate(found)], sets


def _sets(item: exp.Expression, place: Any) -> list[tuple[int, ...]]:
    """Return the grouping sets that one item of GROUP BY means, each as places of keys."""
    if type(item) not in (exp.Rollup, exp.Cube, exp.GroupingSets):
        return [(place(item),)]
    only(item, "expressions")
    if not item.expressions:
        refuse("not-supported", item, hint="Write GROUP BY ROLLUP (a, b).")
    if type(item) is exp.GroupingSets:
        return [found for part in item.expressions for found in _listed_set(part, place)]
    parts = [_together(part, place) for part in item.expressions]
    if type(item) is exp.Rollup:
        chosen = [parts[:length] for length in range(len(parts), -1, -1)]
    else:
        if len(parts) > 5:
            refuse("sql-too-deep", item, hint="CUBE of at most 5 keys.")
        chosen = [
            [part for at, part in enumerate(parts) if not bits >> (len(parts) - 1 - at) & 1]
            for bits in range(2 ** len(parts))
        ]
    return [tuple(dict.fromkeys(at for part in some for at in part)) for some in chosen]


def _listed_set(part: exp.Expression, place: Any) -> list[tuple[int, ...]]:
    if type(part) in (exp.Rollup, exp.Cube, exp.GroupingSets):
        return _sets(part, place)
    return [_together(part, place)]


def _together(part: exp.Expression, place: Any) -> tuple[int, ...]:
    """Return the places of keys that stand or fall together: ``(a, b)`` or a single one."""
    if type(part) is exp.Tuple:
        only(part, "expressions")
        return tuple(dict.fromkeys(place(item) for item in part.expressions))
    if type(part) is exp.Paren:
        only(part, "this")
        part = part.this
    return (place(part),)


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


def numbered(release: Release) -> Release:
    """Return a release whose relations are numbered from 0, so that equal questions at two places are one release.

    Columns are named after the number of their relation (``age#2``), which is all that tells two scans apart.
    """
    numbers: dict[int, int] = {}

    def new(old: int) -> int:
        return numbers.setdefault(old, len(numbers))

    def renamed(value: Any) -> Any:
        match value:
            case Constant():
                return value  # what an analyst wrote names nothing
            case Fed(number, columns, table, single, unique):
                keys = frozenset(frozenset(map(renamed, key)) for key in unique)
                return Fed(new(number), renamed(columns), table, single, keys)
            case Scan(table, number):
                return Scan(table, new(number))
            case str():
                name, mark, old = value.rpartition("#")
                return f"{name}#{new(int(old))}" if mark and old.isdigit() else value
            case tuple():
                return tuple(renamed(part) for part in value)
            case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
                fields = [field for field in dataclasses.fields(value) if field.init]
                return type(value)(
                    **{
                        field.name: new(getattr(value, field.name))
                        if field.name == "number"
                        else renamed(getattr(value, field.name))
                        for field in fields
                    }
                )
            case _:
                return value

    return Release(
        renamed(release.source),
        renamed(release.keys),
        renamed(release.aggregates),
        release.terms,
        release.folded,
        renamed(release.within),
    )
