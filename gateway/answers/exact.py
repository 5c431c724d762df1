"""Exact whole numbers as arrays: of 64 bits where they fit, of Python's own integers where they do not.

Both kinds compute alike, element by element; that nothing can overflow is decided before, from the greatest magnitude.
A double is only ever made of whole numbers that it can hold, or by Python, whose quotients are the nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mechanisms.tails import Floats

Whole: TypeAlias = NDArray[Any]
"""Whole numbers, as ``int64`` or as objects."""

_WIDEST: Final = 2**63
_IN_A_DOUBLE: Final = 2**53


def whole(values: Sequence[int]) -> Whole:
    """Return whole numbers as an array."""
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        return np.array(values, dtype=object)


def combined(*terms: tuple[int, Whole]) -> Whole:
    """Return the sum of columns, each times a factor."""
    reach = sum(max(abs(factor), 1) * max(most(column), 1) for factor, column in terms)
    kind: type = np.int64 if reach < _WIDEST else object
    (factor, first), *rest = terms
    sums: Whole = first.astype(kind) * factor
    for factor, column in rest:
        sums += column.astype(kind) * factor
    return sums


def most(values: Whole) -> int:
    """Return the greatest magnitude."""
    return max(int(values.max()), -int(values.min())) if len(values) else 0


def quotients(above: Whole, below: Whole | int) -> Floats:
    """Return the doubles that are nearest to the quotients, by one number or one by one."""
    if max(most(above), below if isinstance(below, int) else most(below)) > _IN_A_DOUBLE:
        above = above.astype(object)
    return np.asarray(above / below, dtype=np.float64)


def nearest(values: Whole, above: int, below: int) -> Whole:
    """Return ``values * above / below``, ``below`` above zero, rounded to whole numbers, of two to the even one."""
    products = combined((above, values))
    if 2 * below >= _WIDEST:
        products = products.astype(object)
    found = products // below
    rest = 2 * (products - found * below)
    rounded: Whole = found + ((rest > below) | ((rest == below) & (found % 2 == 1)))
    return rounded
