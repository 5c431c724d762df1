"""What is known about the columns of an owned relation: intervals, public domains, absence of NULL, rows per owner.

Each rule says why it is sound. A fact about data holds only where something enforces it: the clamp or the CASE that the
rewriting puts into the bounded SQL, or a constraint of the database's own catalogue.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Literal

from gateway.policy.model import Column, Owner, RowOwner, Table, Value
from gateway.sql.algebra import Call, Constant, Filter, Ref, Relation, Scalar, Scan, conjuncts

EXACT = 2**40
"""The widest bound that is kept in a column's own integers or decimals; beyond, the unit is coarser."""

WIDEST = Fraction(2**62)
"""Whole numbers and decimals are clamped here at the latest: narrower than declared is as sound."""

RESOLUTION = 24
"""A float's unit is its largest bound divided by about 2^24."""

_COMPARISONS = frozenset({"eq", "neq", "lt", "lte", "gt", "gte"})


@dataclass(frozen=True, slots=True)
class Quantum:
    """How a bounded column becomes exact integers: multiples of ``step`` from ``lower`` to ``upper``, both inclusive.

    ``how`` says by which arithmetic of one row: the column's own integers, its decimals, or a float rounded once.

    Why this is sound: the value is clamped, rounded and clamped again before anything is summed, so that whatever the
    row holds, its integer lies between ``lower`` and ``upper``; NULL and NaN have no integer and count as nothing.
    """

    how: Literal["integer", "decimal", "float"]
    step: Fraction
    lower: int
    upper: int

    @property
    def width(self) -> int:
        """The number of steps between the bounds, at least one so that a constant column still counts its rows."""
        return max(self.upper - self.lower, 1)


def quantum(column: Column) -> Quantum:
    """Return the quantisation of a numeric column with declared bounds."""
    lower, upper = column.lower, column.upper
    assert isinstance(lower, Fraction)
    assert isinstance(upper, Fraction)
    if column.physical.kind != "float":
        lower, upper = max(lower, -WIDEST), min(upper, WIDEST)
    widest = max(abs(lower), abs(upper))
    scale = 0 if column.physical.kind == "integer" else column.physical.scale
    if column.physical.kind != "float" and scale is not None and scale <= 12 and widest * 10**scale <= EXACT:
        step = Fraction(1, 10**scale)
        how: Literal["integer", "decimal"] = "integer" if column.physical.kind == "integer" else "decimal"
        return Quantum(how, step, math.floor(lower / step), math.ceil(upper / step))
    exponent = 0 if widest == 0 else math.ceil(math.log2(widest)) - RESOLUTION
    step = Fraction(2) ** max(min(exponent, 900), -900)
    return Quantum("float", step, round(lower / step), round(upper / step))


def scanned(relation: Relation) -> tuple[Scan, tuple[Scalar, ...]]:
    """Return the scan below a chain of filters and every condition that all remaining rows meet."""
    conditions: list[Scalar] = []
    while isinstance(relation, Filter):
        conditions += conjuncts(relation.predicate)
        relation = relation.source
    assert isinstance(relation, Scan)
    return relation, tuple(conditions)


def never_null(column: Column, conditions: Iterable[Scalar]) -> bool:
    """Whether no remaining row holds NULL in the column.

    Why this is sound: a filter keeps only rows whose condition is true, and a comparison with NULL is not; a column
    that the policy or the catalogue calls not nullable has its NULLs dropped where that matters (keys) or counted as
    nothing (measures), so that a wrong declaration costs meaning and never privacy.
    """
    if not column.nullable:
        return True
    for condition in conditions:
        match condition:
            case Call("not", (Call("is_null", (Ref(name),)),)) if name == column.name:
                return True
            case Call(function, args) if function in _COMPARISONS and Ref(column.name, column.physical.kind) in args:
                return True
            case Call("or", _) if _listed(condition, column.name) is not None:
                return True
            case _:
                pass
    return False


def domain(column: Column, conditions: Iterable[Scalar], widest: int) -> tuple[Value, ...] | None:
    """Return the public values that a group key may take, NULL last if it may, or None if they are not known.

    They come from the policy's ``values``, from a list in WHERE, from a truth value, or from declared bounds of a whole
    number that are at most ``widest`` apart.

    Why this is sound: the list is made of the policy and the query's text alone, and the bounded SQL maps every other
    value away before anything is counted, so that which groups appear says nothing about the data.
    """
    conditions = tuple(conditions)
    found = _declared(column, widest)
    for condition in conditions:
        listed = _listed(condition, column.name)
        if listed is not None and column.physical.kind in ("integer", "text", "boolean", "date"):
            found = tuple(value for value in found or () if value in listed) or listed
    if found is None:
        return None
    return found if never_null(column, conditions) else (*found, None)


def _declared(column: Column, widest: int) -> tuple[Value, ...] | None:
    if column.values is not None:
        return column.values
    if column.type == "boolean":
        return (False, True)
    if column.type == "integer" and isinstance(column.lower, Fraction) and isinstance(column.upper, Fraction):
        first, last = math.ceil(column.lower), math.floor(column.upper)
        if last - first < widest:
            return tuple(range(first, last + 1))
    return None


def _listed(condition: Scalar, name: str) -> tuple[Value, ...] | None:
    """Return the constants of ``name = c`` or ``name = c OR name = d``, None if the condition is of another form."""
    match condition:
        case Call("eq", (Ref(found), Constant(value))) if found == name and value is not None:
            return (value,)
        case Call("or", parts):
            lists = [_listed(part, name) for part in parts]
            if any(found is None for found in lists):
                return None
            return tuple(dict.fromkeys(value for found in lists if found is not None for value in found))
    return None


def groups(domains: Iterable[tuple[Value, ...] | None], limit: int) -> int | None:
    """Return how many groups public domains make together, None if one is private or there are more than ``limit``."""
    count = 1
    for values in domains:
        if values is None:
            return None
        count *= len(values)
    return count if count <= limit else None


def combinations(domains: Iterable[tuple[Value, ...]]) -> list[tuple[Value, ...]]:
    """Return every combination of public key values, in the policy's order."""
    return list(product(*domains))


def rows_per_owner(table: Table) -> int | None:
    """Return the declared bound on an owner's rows, one where each row is a unit; None where nothing bounds them."""
    if isinstance(table.owner, RowOwner) or table.unique_owner:
        return 1
    return table.max_rows_per_unit


def one_row_enforced(table: Table) -> bool:
    """Whether an owner has at most one row by construction, so that no clip is needed.

    Why this is sound: either every row is its own unit, or the catalogue holds a validated PRIMARY KEY or UNIQUE
    constraint on the owner's own column; execution looks it up again inside the reading transaction.
    """
    return isinstance(table.owner, RowOwner) or table.unique_owner


def tables_read(table: Table) -> tuple[str, ...]:
    """Return the tables that a scan touches: itself and those that its owner path passes through."""
    hops = table.owner.hops if isinstance(table.owner, Owner) else ()
    return tuple(dict.fromkeys((table.name, *(hop.table for hop in hops))))


def canonical_order(key: tuple[Value, ...]) -> tuple[tuple[object, ...], ...]:
    """Return what key tuples are sorted by before noise is drawn, since the order in which rows come is data."""
    return tuple((1,) if value is None else (0, value) for value in key)
