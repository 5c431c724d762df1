"""What is known about a relation: its owner, how many rows one owner has, which columns are keys.

Each rule says why it is sound. A fact about data holds only where something enforces it: the clamp or the CASE that the
rewriting puts into the bounded SQL, or a constraint of the database's own catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType
from typing import assert_never

from gateway.policy.model import Column, Dataset, Owner, Table, Value
from gateway.sql.algebra import (
    Call,
    Combine,
    Constant,
    Fed,
    Filter,
    Fold,
    FoldAggregate,
    Join,
    Kind,
    Lookup,
    Project,
    Ref,
    Relation,
    Scalar,
    Scan,
    SemiJoin,
    Values,
    Window,
    WindowFunction,
    implied,
    inputs,
)
from gateway.sql.functions import repeats
from gateway.sql.inference.keys import is_key
from gateway.sql.inference.known import Known, declared_bounds, held_bounds, known, picked
from gateway.sql.inference.narrowed import narrowed
from gateway.sql.refusals import refuse
from gateway.sql.remember import remembered

MOST_ROWS = 2**31
MOST_NESTED = 500
"""Nodes of a subquery's column once written out: steps that each write it twice would double it without end."""


Sets = frozenset[frozenset[str]]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a relation.

    ``private`` if a private table stands below it, ``owner`` its column that names the owner (None for ``unit: row``,
    where each row is its own). ``rows`` is how many rows one owner is meant to have, which bounding SQL enforces;
    ``one_row`` that it has at most one by construction or by the catalogue, ``most`` that it has no more than so many,
    since a prepared copy holds no more. ``unique`` are sets of columns of which no
    two rows of this very relation hold the same values, NULL being none: by construction, or a table's that the
    catalogue enforces, as long as nothing multiplies its rows; ``keys`` those of which the policy says so.
    ``multiplied`` counts the joins below of which nothing says how many pairs a row finds; ``product`` says that
    ``rows`` is a product of what several relations are meant to have, far above what anybody has, as a rule.
    """

    columns: Mapping[str, Known]
    private: bool
    owner: str | None
    rows: int | None
    one_row: bool
    unique: Sets = frozenset()
    keys: Sets = frozenset()
    multiplied: int = 0
    product: bool = False
    most: int | None = None

    @property
    def held(self) -> int | None:
        """How many rows one owner has by construction, where they are no more than it is meant to have."""
        return self.most if self.most is not None and self.rows is not None and self.most <= self.rows else None


@remembered
def facts(relation: Relation, dataset: Dataset) -> Facts:
    """Return what is known of a relation below the frontier."""
    match relation:
        case Scan():
            return _scanned(relation, dataset)
        case Filter(source, predicate):
            below = facts(source, dataset)
            return replace(below, columns=narrowed(below.columns, predicate))
        case Values():
            return _constant(relation)
        case Fed():
            return _fed(relation)
        case Project(source, columns):
            return _projected(columns, facts(source, dataset))
        case Join(kind, left, right, on):
            found = joined(kind, facts(left, dataset), facts(right, dataset), () if on is None else (on,))
            if kind != "inner" or on is None:
                return found
            return replace(found, columns=narrowed(found.columns, on))
        case SemiJoin(left):
            return facts(left, dataset)
        case Lookup(left, right, _, _, aggregates):
            about, there = facts(left, dataset), facts(right, dataset)
            added = {name: fold_known(aggregate, there) for name, aggregate in aggregates}
            return replace(about, columns=MappingProxyType({**about.columns, **added}))
        case Fold():
            return _folded(relation, facts(relation.source, dataset))
        case Window(source, _, functions):
            below = facts(source, dataset)
            added = {name: window_known(function, below) for name, function in functions}
            return replace(below, columns=MappingProxyType({**_settled(below.columns), **added}))
        case Combine():
            return _combined(relation, facts(relation.left, dataset), facts(relation.right, dataset))
    assert_never(relation)


def _settled(columns: Mapping[str, Known]) -> dict[str, Known]:
    """Return what is known of columns once a query of their own has computed them: each is one name above."""
    return {name: replace(found, size=1) for name, found in columns.items()}


def _constant(values: Values) -> Facts:
    """Return what is known of constant rows: everything, since the text says it.

    Why ``unique`` is sound: constants are compared as the engine will hold them, and several texts are one double.
    """
    found: dict[str, Known] = {}
    unique: set[frozenset[str]] = {frozenset()} if len(values.rows) <= 1 else set()
    for place, (name, kind) in enumerate(values.columns):
        cells = [row[place] for row in values.rows]
        found[name] = replace(picked(cells, [known(cell, {}) for cell in cells]), kind=kind)
        here = [_held(cell.value, kind) for cell in cells if cell.value is not None]
        if len(set(here)) == len(here):
            unique.add(frozenset({name}))
    return Facts(MappingProxyType(found), False, None, None, one_row=False, unique=frozenset(unique))


def _held(value: Value, kind: Kind) -> Value | float:
    return float(value) if kind == "float" and isinstance(value, int | Fraction) else value


def _fed(found: Fed) -> Facts:
    """Return what is known of released values among rows: kinds, bounds, and what tells their rows apart.

    Why this is sound: they are constants once the release that they come from was drawn, and nothing of them is taken
    for known that their writing does not enforce (``gateway.feeding``): bounds are clamped, equal keys written once.
    """
    columns = {
        column.name: Known(column.kind, 0 if column.kind == "integer" else None, column.bounds)
        for column in found.columns
    }
    whole: Sets = frozenset({frozenset()}) if found.single else frozenset()
    keys = found.unique | whole
    return Facts(MappingProxyType(columns), False, None, None, one_row=False, unique=keys, keys=keys)


def _projected(columns: tuple[tuple[str, Scalar], ...], below: Facts) -> Facts:
    found = {name: replace(known(scalar, below.columns), size=_size(scalar, below.columns)) for name, scalar in columns}
    if any(column.size > MOST_NESTED for column in found.values()):
        refuse("sql-too-deep", hint="A subquery's columns are written out where they are used; nest less.")
    if below.owner is not None:
        found[below.owner] = below.columns[below.owner]
    unique, keys = (_carried(columns, sets, below.owner) for sets in (below.unique, below.keys))
    return replace(below, columns=MappingProxyType(found), unique=unique, keys=keys)


def _combined(combine: Combine, left: Facts, right: Facts) -> Facts:
    """Return what is known of rows put together by position.

    Why this is sound: the owner is one of the columns, so that a set operation only ever compares rows of one owner;
    rows per owner add (or are some of the left's). What a column was is lost, since two may have met in it; only that
    it names the owner stays where it does on both sides.
    """
    found: dict[str, Known] = {}
    for name, here, there in combine.columns:
        sides = [known(here, left.columns), known(there, right.columns)]
        kept = picked((here, there), sides) if combine.kind in ("append", "union") else sides[0]
        owner = all(side.owner for side in sides)
        found[name] = replace(kept, origin=None, scan=None, owner=owner, padded=False, size=1)
    owner_name = None
    if left.owner is not None:
        owner_name = combined_owner(combine)
        found[owner_name] = replace(left.columns[left.owner], size=1)
    every = frozenset({frozenset(found)}) if combine.kind != "append" else frozenset()
    rows, one_row = left.rows, left.one_row
    if combine.kind in ("append", "union"):
        rows = None if left.rows is None or right.rows is None else min(left.rows + right.rows, MOST_ROWS)
        one_row = False
    return Facts(
        MappingProxyType(found),
        left.private,
        owner_name,
        rows,
        one_row,
        every,
        multiplied=left.multiplied + right.multiplied,
        product=left.product or right.product,
        most=_most(combine, left.most, right.most),
    )


def _most(combine: Combine, left: int | None, right: int | None) -> int | None:
    """Return how many rows an owner has at most of both sides together, or of the left where no others stay."""
    if combine.kind in ("except", "intersect"):
        return left
    return None if left is None or right is None else left + right


def combined_owner(combine: Combine) -> str:
    """Return what the owner of combined rows is called in the relations above."""
    return f"#{combine.number}"


def _carried(columns: Iterable[tuple[str, Scalar]], sets: Sets, owner: str | None) -> Sets:
    """Return what sets of columns are called above, those of which every column is still there."""
    named = {scalar.name: name for name, scalar in columns if isinstance(scalar, Ref)}
    if owner is not None:
        named[owner] = owner
    return frozenset(frozenset(named[name] for name in found) for found in sets if found <= named.keys())


def _size(scalar: Scalar, columns: Mapping[str, Known]) -> int:
    """Return how many nodes an expression has once the columns it reads are written out in it."""
    match scalar:
        case Ref(name):
            return columns[name].size
        case Constant():
            return 1
        case Call(function, args):
            return 1 + sum(_size(arg, columns) * repeats(function, place) for place, arg in enumerate(args))
    assert_never(scalar)


def _scanned(scan: Scan, dataset: Dataset) -> Facts:
    """Return what the policy and the catalogue say of a table.

    Why ``one_row`` is sound: either every row is its own unit, or the catalogue holds a validated PRIMARY KEY or UNIQUE
    constraint on the owner's own column; execution looks it up again inside the reading transaction. Why ``most`` is:
    the copy that is read in place of the table holds no further rows, by a rank under a constraint of its own.
    """
    table = dataset.table(scan.table)
    assert table is not None
    columns = {scan.name(column.name): _declared(column, table, scan.number) for column in table.columns}
    enforced = table.unique if table.copy is None else table.copy.unique
    if table.copy is None and isinstance(table.owner, Owner) and not leads_once(table.owner, dataset):
        enforced = frozenset()
    named = {column.name for column in table.columns}
    unique = frozenset(frozenset(map(scan.name, found)) for found in enforced if named >= found)
    keys = unique | {frozenset({scan.name(c.name)}) for c in table.columns if is_key((table.name, c.name), dataset)}
    if table.public:
        return Facts(MappingProxyType(columns), False, None, None, one_row=False, unique=unique, keys=keys)
    if not isinstance(table.owner, Owner):
        return Facts(MappingProxyType(columns), True, None, 1, one_row=True, unique=unique, keys=keys)
    name = owner_name(scan)
    columns[name] = Known(dataset.owner_column(table).physical.kind, nullable=False, owner=True)
    rows = 1 if table.unique_owner else table.max_rows_per_unit
    most = None if table.copy is None else table.copy.most
    return Facts(MappingProxyType(columns), True, name, rows, table.unique_owner, unique, keys, most=most)


def leads_once(owner: Owner, dataset: Dataset) -> bool:
    """Whether a path leads a row to one owner at most, once: each key that it passes through is enforced unique.

    A path over keys that repeat leads one row to several owners, or several times to one, each of which holds it.
    """
    reached = ((dataset.table(hop.table), hop.key) for hop in owner.hops)
    return all(table is not None and frozenset({key}) in table.unique for table, key in reached)


def owner_name(scan: Scan) -> str:
    """Return what the owner of a scan's rows is called in the relations above."""
    return f"#{scan.number}"


def _declared(column: Column, table: Table, scan: int) -> Known:
    owner = isinstance(table.owner, Owner) and not table.owner.hops and table.owner.column == column.name
    scale = 0 if column.physical.kind == "integer" else column.physical.scale
    held = table.held(column.name) if column.values is None else None
    return Known(
        column.physical.kind,
        scale,
        declared_bounds(column) or held_bounds(table, column.name),
        column.values if held is None else held,
        column.nullable and not owner,  # rows without an owner belong to nobody and are dropped
        (table.name, column.name),
        None if held is None else scan,
        owner,
    )


def joined(kind: str, left: Facts, right: Facts, on: Iterable[Scalar]) -> Facts:
    """Return what is known of a join: what was known of each side, the right one NULL where a left join has no pair.

    Rows per owner are one side's where the other side's join key is unique in the catalogue or declared to be, else the
    product, else unknown. They need no proof: the bounding SQL holds an owner to that many rows' worth.

    Why ``one_row`` is sound: it stays only where a row finds at most one pair on the other side, by columns of which
    the catalogue or the construction of that side enforces that no two rows hold the same values; where both sides are
    owned, the owner is among the columns that are equated. Why ``most`` is: each row finds at most one pair then, and
    else at most as many as its owner has rows on the other side.
    """
    on = tuple(part for condition in on for part in implied(condition))
    added = right.columns
    if kind == "left":
        # Where there is no pair the right side's owner is NULL too, and names nobody.
        added = {name: replace(found, nullable=True, owner=False, padded=True) for name, found in right.columns.items()}
    columns = MappingProxyType({**left.columns, **added})
    both = left.private and right.private
    at_most_one = pairs_once(right, on, owned=both)
    found_once = kind == "inner" and pairs_once(left, on, owned=both)
    unique = (left.unique if at_most_one else frozenset()) | (right.unique if found_once else frozenset())
    left_once, right_once = ((both and side.rows == 1) or finds_one(side, on, owned=both) for side in (left, right))
    keys = (left.keys if right_once else frozenset()) | (right.keys if left_once else frozenset())
    own = left if left.private or not right.private else right
    one_row = own.one_row and (at_most_one if own is left else found_once)
    rows = own.rows if (right_once if own is left else left_once) else None
    if both:
        one_row = one_row or (found_once and right.one_row)
        product = None if left.rows is None or right.rows is None else min(left.rows * right.rows, MOST_ROWS)
        rows = left.rows if right_once else right.rows if left_once and kind == "inner" else product
    several = both and left.rows != 1 and right.rows != 1 and not right_once and not (left_once and kind == "inner")
    fans_out = own.private and not right_once and not left_once and rows is None
    multiplied = left.multiplied + right.multiplied + fans_out
    wide = several or left.product or right.product
    most = own.most if (at_most_one if own is left else found_once) else None
    if both and most is None and left.most is not None and right.most is not None:
        most = right.most if found_once else left.most * right.most
    return Facts(columns, own.private, own.owner, rows, one_row, unique, keys, multiplied, wide, most)


def _equated(side: Facts, on: Iterable[Scalar], *, owned: bool) -> frozenset[str]:
    """Return the columns of one side that a condition equates with a column of the other, or with a constant.

    ``owned`` says that the owners of both sides are equated as well.
    """
    found = {name for name, about in side.columns.items() if owned and about.owner}
    for condition in on:
        match condition:
            case Call("eq", (Ref(first), Ref(second))):
                ours = [name for name in (first, second) if name in side.columns]
                found |= set(ours) if len(ours) == 1 else set()
            case Call("eq", (Ref(name), Constant())) if name in side.columns:
                found.add(name)
            case _:
                pass
    return frozenset(found)


def pairs_once(side: Facts, on: Iterable[Scalar], *, owned: bool) -> bool:
    """Whether a row of the other side finds at most one pair on this one, by columns that are enforced unique."""
    equated = _equated(side, on, owned=owned)
    return (owned and side.one_row) or any(found <= equated for found in side.unique)


def finds_one(side: Facts, on: Iterable[Scalar], *, owned: bool) -> bool:
    """Whether rows are meant to find at most one pair on this side: it is joined by a key, declared or enforced."""
    equated = _equated(side, on, owned=owned)
    return (owned and side.one_row) or any(found <= equated for found in side.keys | side.unique)


def _folded(fold: Fold, below: Facts) -> Facts:
    """Return what is known of one owner's folds: no two hold the same keys, and with no key but the owner it has one.

    Why this is sound: the rewriting groups by the keys and the owner, whatever the rows hold.
    """
    columns = {name: replace(known(scalar, below.columns), size=1) for name, scalar in fold.keys}
    named = frozenset(columns) | ({below.owner} if below.owner is not None else frozenset())
    unique = frozenset({named}) | _carried(fold.keys, below.unique, below.owner)
    keys = unique | _carried(fold.keys, below.keys, below.owner)
    for name, aggregate in fold.aggregates:
        columns[name] = fold_known(aggregate, below)
    alone = below.owner is not None and all(known(scalar, below.columns).owner for _, scalar in fold.keys)
    if below.owner is not None:
        columns[below.owner] = replace(below.columns[below.owner], size=1)
    rows, one_row = 1 if alone else below.rows, alone or below.one_row
    owned = (below.private, below.owner, rows, one_row)
    most = 1 if alone and below.most is not None else below.most
    return Facts(MappingProxyType(columns), *owned, unique, keys, below.multiplied, below.product, most)


def fold_known(aggregate: FoldAggregate, below: Facts) -> Known:
    """Return what is known of an aggregate over some of one owner's rows, or over some public ones.

    None of it is proven: it hangs on the owner's number of rows.
    """
    rows = below.rows
    argument = None if aggregate.argument is None else known(aggregate.argument, below.columns)
    match aggregate.kind:
        case "exists":
            return Known("boolean", nullable=False)
        case "count_rows" | "count" | "count_distinct":
            bounds = None if rows is None else (Fraction(0), Fraction(rows))
            return Known("integer", 0, bounds, nullable=False)
        case "sum":
            assert argument is not None
            total = None
            if rows is not None and argument.bounds is not None:
                total = (min(argument.bounds[0] * rows, Fraction(0)), max(argument.bounds[1] * rows, Fraction(0)))
            kind: Kind = "integer" if argument.kind == "integer" else "float"
            return Known(kind, 0 if kind == "integer" else None, total, nullable=False)
        case "average":
            assert argument is not None
            return Known("float", None, argument.bounds)
        case "least" | "greatest" | "only":
            assert argument is not None
            return replace(argument, origin=None, scan=None, owner=False, nullable=True, size=1)
    assert_never(aggregate.kind)


def window_known(function: WindowFunction, below: Facts) -> Known:
    """Return what is known of what a window function says of a row.

    Why this is sound: places are counted within one owner's rows, of which it is meant to have ``rows``; sums and
    picked values lie where those of a fold lie. Each bound is a fact only behind the clamp at the measure.
    """
    match function.kind:
        case "row_number" | "rank" | "dense_rank":
            bounds = None if below.rows is None else (Fraction(1), Fraction(max(below.rows, 1)))
            return Known("integer", 0, bounds, nullable=False)
        case "lag" | "lead" | "first_value" | "last_value":
            assert function.argument is not None
            found = known(function.argument, below.columns)
            if function.default is not None:
                return picked((function.argument, function.default), [found, known(function.default, {})])
            return replace(found, origin=None, scan=None, owner=False, nullable=True, size=1)
        case "count_rows" | "count" | "sum" | "average" | "least" | "greatest":
            return fold_known(FoldAggregate(function.kind, function.argument), below)
    assert_never(function.kind)


def tables_read(relation: Relation, dataset: Dataset) -> tuple[str, ...]:
    """Return the tables that a relation touches, those that owner paths pass through included."""
    if isinstance(relation, Scan):
        table = dataset.table(relation.table)
        assert table is not None
        return tuple(dict.fromkeys((table.name, *(hop.table for hop in table.hops))))
    return tuple(dict.fromkeys(name for below in inputs(relation) for name in tables_read(below, dataset)))
