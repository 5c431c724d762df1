"""Write what one row adds to a measure: whole numbers, exact in the engine's own arithmetic.

Why the bounds are sound: a column's place p lies between 0 and its grid whatever the row holds, since rounding keeps
order and its ends are whole. The Bernstein polynomials of a column are not negative and add up to 1, so do their
products, and the cumulated sums C_1 <= C_2 <= ... <= C_last = D of the products' numerators, each rounded once, differ
by whole numbers that are not negative and add up to ``whole``: one row adds exactly ``whole`` to the cells together.
A centred product lies in [-D, D], and rounded onto [-whole, whole].
"""

from __future__ import annotations

from math import prod
from typing import assert_never

from gateway.sql.planning.plan import AnyCell, Cell, Centred, Factor, Share
from gateway.sql.writing.dialects.writer import Writer


def cell(found: AnyCell, write: Writer) -> str:
    """Return what one row adds to a measure."""
    match found:
        case Cell():
            return _linear(found)
        case Share(factors):
            return _where_all(factors, _share(found, write))
        case Centred(factors):
            return _where_all(factors, _centred(found, write))
    assert_never(found)


def total(found: Cell, write: Writer) -> str:
    """Return what rows add to a measure together: from the sum and the number of their integers, 0 over nothing.

    ``(q - origin) * m + offset`` of each row → ``m * SUM(q) + (offset - m * origin) * COUNT(q)``

    Why it is the sum of the rows: all terms are whole numbers in a type that holds them: bounds below 2^41, multipliers
    below 2^27 and fewer than 2^56 rows stay below 2^126.
    """
    if found.column is None:
        return _times(found.offset, "COUNT(*)", write)
    present = f"COUNT({found.column})"
    if found.when == "absent":
        return _times(found.offset, f"(COUNT(*) - {present})", write)
    parts = [_times(found.multiplier, write.total(found.column), write)] if found.multiplier else []
    each = found.offset - found.multiplier * found.origin
    parts += [_times(each, present, write)] if each or not parts else []
    return " + ".join(parts)


def _times(factor: int, counted: str, write: Writer) -> str:
    return counted if factor == 1 else f"{write.wide(counted)} * ({factor})"


def _linear(found: Cell) -> str:
    if found.column is None:
        return str(found.offset)
    value = found.column
    if found.when == "absent":
        return f"CASE WHEN {value} IS NULL THEN {found.offset} ELSE 0 END"
    amount = str(found.offset)
    if found.multiplier:
        amount = f"({value} - ({found.origin})) * ({found.multiplier}) + ({found.offset})"
    return f"CASE WHEN {value} IS NULL THEN 0 ELSE {amount} END"


def _where_all(factors: tuple[Factor, ...], amount: str) -> str:
    missing = " OR ".join(f"{factor.column} IS NULL" for factor in factors)
    return f"CASE WHEN {missing} THEN 0 ELSE {amount} END"


def _place(factor: Factor, write: Writer) -> str:
    """Return p, rounded half up where the grid is coarser than the column's own steps."""
    distance = write.wide(f"({factor.column} - ({factor.origin}))")
    if factor.grid == factor.width:
        return distance
    return write.quotient(f"{distance} * {2 * factor.grid} + {factor.width}", 2 * factor.width)


def _below(factor: Factor, at: int, write: Writer) -> str:
    """Return the numerator, over grid^power, of the first ``at`` Bernstein polynomials together."""
    p, grid = _place(factor, write), factor.grid
    if at == 0:
        return "0"
    if at > factor.power:
        return str(grid**factor.power)
    if factor.power == 1:
        return f"({grid} - {p})"
    return f"(({grid} - {p}) * ({grid} - {p}))" if at == 1 else f"({grid**2} - {p} * {p})"


def _bernstein(factor: Factor, at: int, write: Writer) -> str:
    """Return the numerator of one Bernstein polynomial."""
    p, grid = _place(factor, write), factor.grid
    low = [f"({grid} - {p})"] * (factor.power - at)
    twice = ["2"] if (factor.power, at) == (2, 1) else []
    return f"({' * '.join([*twice, *low, *([p] * at)])})"


def _cumulated(factors: tuple[Factor, ...], at: tuple[int, ...], write: Writer) -> str:
    """Return the numerator of all products before ``at`` (excluded), the last factor counting fastest."""
    first, rest = factors[0], factors[1:]
    if not rest:
        return _below(first, at[0], write)
    all_of_rest = prod(factor.grid**factor.power for factor in rest)
    within = _cumulated(rest, at[1:], write)
    parts = [f"{_below(first, at[0], write)} * {all_of_rest}"] if at[0] else []
    parts += [f"{_bernstein(first, at[0], write)} * {within}"] if within != "0" else []
    return f"({' + '.join(parts)})" if parts else "0"


def _share(found: Share, write: Writer) -> str:
    denominator = prod(factor.grid**factor.power for factor in found.factors)
    if found.whole % denominator == 0:
        numerators = [_bernstein(factor, at, write) for factor, at in zip(found.factors, found.at, strict=True)]
        return " * ".join([*numerators, str(found.whole // denominator)])
    start, end = found.at, (*found.at[:-1], found.at[-1] + 1)
    after = str(found.whole)
    if any(at < factor.power for at, factor in zip(found.at, found.factors, strict=True)):
        after = _rounded(_cumulated(found.factors, end, write), found.whole, denominator, write)
    if not any(start):
        return after
    return f"({after} - {_rounded(_cumulated(found.factors, start, write), found.whole, denominator, write)})"


def _rounded(numerator: str, whole: int, denominator: int, write: Writer) -> str:
    """Return ``numerator * whole / denominator`` rounded half up, of what is not negative."""
    return write.quotient(f"{numerator} * {2 * whole} + {denominator}", 2 * denominator)


def _centred(found: Centred, write: Writer) -> str:
    denominator = prod(factor.grid**factor.power for factor in found.factors)
    distances = [
        f"(2 * {_place(factor, write)} - {factor.grid})" for factor in found.factors for _ in range(factor.power)
    ]
    product = " * ".join(distances)
    if found.whole % denominator == 0:
        return f"({product} * {found.whole // denominator} + ({found.offset}))"
    # Moved above zero, where every engine rounds alike.
    moved = _rounded(f"({product} + {denominator})", found.whole, denominator, write)
    return f"({moved} - {found.whole - found.offset})"
