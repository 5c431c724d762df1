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

from gateway.policy.model import Column, Dataset, Owner, Table
from gateway.sql.algebra import (
    Call,
    Constant,
    Filter,
    Fold,
    FoldAggregate,
    Join,
    Kind,
    Project,
    Ref,
    Relation,
    Release,
    Scalar,
    Scan,
    SemiJoin,
    Sort,
    conjuncts,
)
from gateway.sql.functions import repeats
from gateway.sql.known import Known, known
from gateway.sql.refusals import refuse

MOST_ROWS = 2**31
MOST_NESTED = 500
"""Nodes of a subquery's column once written out: steps that each write it twice would double it without end."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a relation.

    ``private`` if a private table stands below it, ``owner`` its column that names the owner (None for ``unit: row``,
    where each row is its own). ``rows`` is how many rows one owner is meant to have, which bounding SQL enforces;
    ``one_row`` that it has at most one by construction or by the catalogue. ``unique`` are the columns of which no two
    rows of this very relation hold the same value: a table's that the catalogue enforces, as long as nothing multiplies
    its rows; ``keys`` those of which the policy says so.
    """

    columns: Mapping[str, Known]
    private: bool
    owner: str | None
    rows: int | None
    one_row: bool
    unique: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()


def facts(relation: Relation, dataset: Dataset) -> Facts:
    """Return what is known of a relation below the frontier."""
    match relation:
        case Scan():
            return _scanned(relation, dataset)
        case Filter(source):
            return facts(source, dataset)
        case Project(source, columns):
            below = facts(source, dataset)
            found = {
                name: replace(known(scalar, below.columns), size=_size(scalar, below.columns))
                for name, scalar in columns
            }
            if any(column.size > MOST_NESTED for column in found.values()):
                refuse("sql-too-deep", hint="A subquery's columns are written out where they are used; nest less.")
            if below.owner is not None:
                found[below.owner] = below.columns[below.owner]
            unique, keys = (_carried(columns, names) for names in (below.unique, below.keys))
            return replace(below, columns=MappingProxyType(found), unique=unique, keys=keys)
        case Join(kind, left, right, on):
            return joined(kind, facts(left, dataset), facts(right, dataset), () if on is None else (on,))
        case SemiJoin(left):
            return facts(left, dataset)
        case Fold():
            return _folded(relation, facts(relation.source, dataset), dataset)
        case Sort() | Release():
            raise AssertionError("a released relation has no facts")
    assert_never(relation)


def _carried(columns: Iterable[tuple[str, Scalar]], names: frozenset[str]) -> frozenset[str]:
    """Return what columns of those names are called above."""
    return frozenset(name for name, scalar in columns if isinstance(scalar, Ref) and scalar.name in names)


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
    constraint on the owner's own column; execution looks it up again inside the reading transaction.
    """
    table = dataset.table(scan.table)
    assert table is not None
    columns = {scan.name(column.name): _declared(column, table) for column in table.columns}
    # A path of several hops may lead one row to several owners, each of which then holds it once.
    single = not isinstance(table.owner, Owner) or not table.owner.hops
    unique = frozenset(scan.name(c.name) for c in table.columns if single and frozenset({c.name}) in table.unique)
    keys = frozenset(scan.name(c.name) for c in table.columns if is_key((table.name, c.name), dataset))
    if table.public:
        return Facts(MappingProxyType(columns), False, None, None, one_row=False, unique=unique, keys=keys)
    if not isinstance(table.owner, Owner):
        return Facts(MappingProxyType(columns), True, None, 1, one_row=True, unique=unique, keys=keys)
    name = owner_name(scan)
    reached = dataset.table(table.owner.hops[-1].table) if table.owner.hops else table
    assert reached is not None
    key = reached.column(table.owner.column)
    assert key is not None
    columns[name] = Known(key.physical.kind, nullable=False, owner=True)
    rows = 1 if table.unique_owner else table.max_rows_per_unit
    return Facts(MappingProxyType(columns), True, name, rows, table.unique_owner, unique, keys)


def owner_name(scan: Scan) -> str:
    """Return what the owner of a scan's rows is called in the relations above."""
    return f"#{scan.number}"


def _declared(column: Column, table: Table) -> Known:
    bounds = None
    if isinstance(column.lower, Fraction) and isinstance(column.upper, Fraction):
        bounds = (column.lower, column.upper)
    owner = isinstance(table.owner, Owner) and not table.owner.hops and table.owner.column == column.name
    scale = 0 if column.physical.kind == "integer" else column.physical.scale
    return Known(
        column.physical.kind,
        scale,
        bounds,
        column.values,
        column.nullable and not owner,  # rows without an owner belong to nobody and are dropped
        (table.name, column.name),
        owner,
    )


def joined(kind: str, left: Facts, right: Facts, on: Iterable[Scalar]) -> Facts:
    """Return what is known of a join: what was known of each side, the right one NULL where a left join has no pair.

    Rows per owner are the left's where the right side's join key is unique in the catalogue or declared to be, else the
    product, else unknown. They need no proof: the bounding SQL holds an owner to that many rows' worth.

    Why ``one_row`` is sound: it stays only where the other side is public and joined on a column that the catalogue
    enforces as unique, so that a row finds at most one pair.
    """
    on = tuple(part for condition in on for part in conjuncts(condition))
    added = right.columns
    if kind == "left":
        # Where there is no pair the right side's owner is NULL too, and names nobody.
        added = {name: replace(found, nullable=True, owner=False, padded=True) for name, found in right.columns.items()}
    columns = MappingProxyType({**left.columns, **added})
    single = _pairs_once(right, on)
    unique = left.unique if single else frozenset()
    both = left.private and right.private
    left_once, right_once = ((both and side.rows == 1) or _by_key(side, on) for side in (left, right))
    keys = (left.keys if right_once else frozenset()) | (right.keys if left_once else frozenset())
    if both:
        product_of = None if left.rows is None or right.rows is None else min(left.rows * right.rows, MOST_ROWS)
        return Facts(columns, True, left.owner, left.rows if right_once else product_of, False, unique, keys)
    own, other, once = (left, right, right_once) if left.private else (right, left, left_once)
    one_row = own.one_row and _pairs_once(other, on)
    return Facts(columns, own.private, own.owner, own.rows if once else None, one_row, unique, keys)


def _equated(side: Facts, on: Iterable[Scalar]) -> list[str]:
    """Return the columns of one side that a condition equates with a column of the other."""
    found = []
    for condition in on:
        match condition:
            case Call("eq", (Ref(first), Ref(second))):
                ours = [name for name in (first, second) if name in side.columns]
                found += ours if len(ours) == 1 else []
            case _:
                pass
    return found


def _pairs_once(side: Facts, on: Iterable[Scalar]) -> bool:
    """Whether a row of the other side finds at most one pair on this one, by a column that is enforced unique."""
    return any(name in side.unique for name in _equated(side, on))


def _by_key(side: Facts, on: Iterable[Scalar]) -> bool:
    """Whether rows are meant to find at most one pair on this side: it is joined by a key, declared or enforced."""
    return any(name in side.keys or name in side.unique for name in _equated(side, on))


def is_key(origin: tuple[str, str], dataset: Dataset) -> bool:
    """Whether a column is a key of its table: declared for a public one, referenced by an owner path, or unique."""
    table = dataset.table(origin[0])
    assert table is not None
    if table.key == origin[1] or frozenset({origin[1]}) in table.unique:
        return True
    owners = (found.owner for found in dataset.tables)
    hops = (hop for owner in owners if isinstance(owner, Owner) for hop in owner.hops)
    return any((hop.table, hop.key) == origin for hop in hops)


def is_owned_key(found: Known, dataset: Dataset) -> bool:
    """Whether a column is a key of one owner's things: of a private table, since those of a public one are shared."""
    table = None if found.origin is None else dataset.table(found.origin[0])
    if table is None or found.origin is None or not isinstance(table.owner, Owner):
        return False
    return is_key(found.origin, dataset)


def _folded(fold: Fold, below: Facts, dataset: Dataset) -> Facts:
    """Return what is known of one owner's folds: with no key but the owner, one row an owner by construction."""
    columns = {name: known(scalar, below.columns) for name, scalar in fold.keys}
    keys = _carried(fold.keys, below.keys)
    if len(columns) == 1:
        keys |= {name for name, found in columns.items() if found.owner or is_owned_key(found, dataset)}
    for name, aggregate in fold.aggregates:
        columns[name] = _fold_known(aggregate, below)
    alone = all(known(scalar, below.columns).owner for _, scalar in fold.keys)
    if below.owner is not None:
        columns[below.owner] = below.columns[below.owner]
    rows = 1 if alone else below.rows
    return Facts(MappingProxyType(columns), below.private, below.owner, rows, one_row=alone, keys=keys)


def _fold_known(aggregate: FoldAggregate, below: Facts) -> Known:
    rows = below.rows
    argument = None if aggregate.argument is None else known(aggregate.argument, below.columns)
    match aggregate.kind:
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
        case "least" | "greatest":
            assert argument is not None
            return replace(argument, origin=None, owner=False, nullable=True)
    assert_never(aggregate.kind)


def tables_read(relation: Relation, dataset: Dataset) -> tuple[str, ...]:
    """Return the tables that a relation touches, those that owner paths pass through included."""
    match relation:
        case Scan(name):
            table = dataset.table(name)
            assert table is not None
            hops = table.owner.hops if isinstance(table.owner, Owner) else ()
            return tuple(dict.fromkeys((table.name, *(hop.table for hop in hops))))
        case Filter(source) | Project(source) | Fold(source) | Sort(source) | Release(source):
            return tables_read(source, dataset)
        case Join(_, left, right) | SemiJoin(left, right):
            return tuple(dict.fromkeys((*tables_read(left, dataset), *tables_read(right, dataset))))
    assert_never(relation)
