"""What conditions say of group keys and values: public domains, absence of NULL, and the order of groups.

``WHERE plan IN ('A', 'B') GROUP BY plan``  →  the domain of ``plan`` is A and B, without NULL
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import product
from typing import assert_never

from gateway.policy.model import Value
from gateway.sql.algebra import (
    Call,
    Combine,
    Constant,
    Fed,
    Filter,
    Fold,
    Join,
    Lookup,
    Project,
    Ref,
    Relation,
    Scalar,
    Scan,
    SemiJoin,
    Values,
    Window,
    conjuncts,
    references,
)
from gateway.sql.inference.images import MOST_LISTED, WHOLE, whole
from gateway.sql.inference.known import Columns, Known, known
from gateway.sql.inference.truth import COMPARISONS


def conditions(relation: Relation) -> tuple[Scalar, ...]:
    """Return conditions over a relation's columns that all of its rows meet.

    Why this is sound: a filter keeps the rows for which it is true, and so do an inner join's condition and what was
    true of either side; a left join keeps what was true of its left side alone.
    """
    match relation:
        case Scan() | Values() | Fed() | Fold() | Combine():
            return ()
        case Filter(source, predicate):
            return (*conditions(source), *conjuncts(predicate))
        case Project(source, columns):
            called = {scalar.name: Ref(name, scalar.kind) for name, scalar in columns if isinstance(scalar, Ref)}
            holding = conditions(source)
            return tuple(_renamed(found, called) for found in holding if references(found) <= called.keys())
        case Join("inner", left, right, on):
            own = () if on is None else conjuncts(on)
            return (*conditions(left), *conditions(right), *own)
        case Join(_, left) | SemiJoin(left) | Lookup(left) | Window(left):
            return conditions(left)
    assert_never(relation)


def equated(holding: Iterable[Scalar]) -> dict[str, set[str]]:
    """Return the columns that conditions equate, each with all that it equals."""
    found: dict[str, set[str]] = {}
    for condition in holding:
        match condition:
            case Call("eq", (Ref(first), Ref(second))):
                together = found.get(first, {first}) | found.get(second, {second})
                found |= dict.fromkeys(together, together)
            case _:
                pass
    return found


def _renamed(scalar: Scalar, called: Mapping[str, Ref]) -> Scalar:
    match scalar:
        case Ref(name):
            return called[name]
        case Constant():
            return scalar
        case Call(_, args):
            return replace(scalar, args=tuple(_renamed(arg, called) for arg in args))
    assert_never(scalar)


def never_null(scalar: Scalar, found: Known, holding: Iterable[Scalar]) -> bool:
    """Whether no row holds NULL there.

    Why this is sound: a filter keeps only rows whose condition is true, and a comparison with NULL is not; a column
    that the policy or the catalogue calls not nullable has its NULLs dropped where that matters (keys) or counted as
    nothing (measures), so that a wrong declaration costs meaning and never privacy.
    """
    if not found.nullable:
        return True
    for condition in holding:
        match condition:
            case Call("not", (Call("is_null", (subject,)),)) if subject == scalar:
                return True
            case Call(function, args) if function in COMPARISONS and scalar in args:
                return True
            case Call("or", _) if _listed(condition, scalar) is not None:
                return True
            case _:
                pass
    return False


def domain(scalar: Scalar, found: Known, holding: Iterable[Scalar], widest: int) -> tuple[Value, ...] | None:
    """Return the public values that a group key may take, NULL last if it may, or None if they are not known.

    They come from the policy's ``values`` and what functions make of them, from a list in WHERE, from a truth value,
    from constants that a CASE picks among, from the periods that declared dates are cut to, or from the interval of a
    whole number whose ends are at most ``widest`` apart.

    Why this is sound: the list is made of the policy and the query's text alone, and the bounded SQL maps every other
    value away before anything is counted, so that which groups appear says nothing about the data.
    """
    holding = tuple(holding)
    public = _public(found, widest)
    for condition in holding:
        listed = _listed(condition, scalar)
        if listed is not None and found.kind in ("integer", "text", "boolean", "date"):
            public = tuple(value for value in public or () if value in listed) or listed
    if public is None or found.kind == "float":
        # Different constants may be one double, and one group drawn for twice would be two draws for one price.
        return None
    return public if never_null(scalar, found, holding) else (*public, None)


def complete(scalar: Scalar, columns: Columns, holding: Iterable[Scalar], values: tuple[Value, ...]) -> bool:
    """Whether every row has one of these values there, whatever the rows hold: nothing is dropped for having another.

    Why this is sound: a filter's list leaves no other value; a truth value is true, false or NULL; a CASE is one of its
    constants; and what is computed lies within what its operands' clamps enforce. What the policy or the catalogue
    declares is not asked: a row may have another value all the same.
    """
    holding, public = tuple(holding), frozenset(values)
    if any((listed := _listed(each, scalar)) is not None and public.issuperset(listed) for each in holding):
        return True
    possible = _possible(scalar, columns, len(values))
    if possible is None:
        return False
    if never_null(scalar, replace(known(scalar, columns), nullable=True), holding):
        possible -= {None}
    return possible <= public


def _possible(scalar: Scalar, columns: Columns, most: int) -> frozenset[Value] | None:
    """Return the values that an expression may have, whatever the rows hold; None if they are unknown or many more."""
    match scalar:
        case Constant(value):
            return frozenset({value})
        case Call("case" | "coalesce" as function, args):
            picked = (*args[1:-1:2], args[-1]) if function == "case" else args
            each = [_possible(arg, columns, most) for arg in picked]
            some = [found for found in each if found is not None]
            return frozenset().union(*some) if len(some) == len(each) else None
    if scalar.kind == "boolean":
        return frozenset({False, True, None})
    match scalar:
        case Call(computed, args, "integer") if computed in WHOLE:
            values = whole(computed, args, [_possible(arg, columns, MOST_LISTED) for arg in args])
            if values is not None:
                return values
    found = known(scalar, columns)
    if scalar.kind != "integer" or not found.proven or found.bounds is None:
        return None
    first, last = math.ceil(found.bounds[0]), math.floor(found.bounds[1])
    return frozenset((*range(first, last + 1), None)) if last - first <= most else None


def _public(found: Known, widest: int) -> tuple[Value, ...] | None:
    if found.values is not None:
        computed = found.kind == "integer" and found.origin is None
        return None if computed and len(found.values) > widest else tuple(dict.fromkeys(found.values))
    if found.kind == "boolean":
        return (False, True)
    if found.kind == "integer" and found.bounds is not None and (found.origin is not None or found.proven):
        first, last = math.ceil(found.bounds[0]), math.floor(found.bounds[1])
        if last - first < widest:
            return tuple(range(first, last + 1))
    return None


def _listed(condition: Scalar, subject: Scalar) -> tuple[Value, ...] | None:
    """Return the constants of ``subject = c`` or ``subject = c OR subject = d``, None for any other condition."""
    match condition:
        case Call("eq", (found, Constant(value))) if found == subject and value is not None:
            return (value,)
        case Call("or", parts):
            lists = [_listed(part, subject) for part in parts]
            if any(found is None for found in lists):
                return None
            return tuple(dict.fromkeys(value for found in lists if found is not None for value in found))
    return None


def combinations(domains: Iterable[tuple[Value, ...]]) -> list[tuple[Value, ...]]:
    """Return every combination of public key values, in the policy's order."""
    return list(product(*domains))


def canonical_order(key: tuple[Value, ...]) -> tuple[tuple[object, ...], ...]:
    """Return what key tuples are sorted by before noise is drawn, since the order in which rows come is data."""
    return tuple((1,) if value is None else (0, value) for value in key)
