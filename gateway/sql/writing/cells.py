"""Write what one row adds to a measure: whole numbers, exact in the engine's own arithmetic.

Why the bounds are sound: a column's place p lies between 0 and its grid whatever the row holds, since rounding keeps
order and its ends are whole. The Bernstein polynomials of a column are not negative and add up to 1, so do their
products, and the cumulated sums C_1 <= C_2 <= ... <= C_last = D of the products' numerators, each rounded once, differ
by whole numbers that are not negative and add up to ``whole``: one row adds exactly ``whole`` to the cells together.
A centred product lies in [-D, D], and rounded onto [-whole, whole].

Where D divides ``whole``, nothing is rounded: a cell is ``whole / D`` times its numerator, itself. Then its sum over
rows is the same combination of the sums of the products of places, which are the same for all cells.
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


def added(found: Cell, *, beside: bool = False) -> str:
    """Return what one row adds to a measure of one column, NULL where that is nothing.

    ``beside`` says that its integer's presence is a column of its own.
    """
    if found.column is None:
        return str(found.offset)
    if found.when == "absent":
        return f"CASE WHEN {presence(found.column) if beside else found.column} IS NULL THEN {found.offset} END"
    if not found.multiplier:
        return f"CASE WHEN {presence(found.column) if beside else found.column} IS NOT NULL THEN {found.offset} END"
    value = f"({found.column} - ({found.origin}))" if found.origin else found.column
    value = f"{value} * ({found.multiplier})" if found.multiplier != 1 else value
    return f"({value} + ({found.offset}))" if found.offset else value


def presence(column: str) -> str:
    """Return the name of what is NULL where a row has no integer of a value, and costs less than that to compute."""
    return f"p{column}"


def total(found: Cell, write: Writer, *, beside: bool = False) -> str:
    """Return what rows add to a measure together: from the sum and the number of their integers, 0 over nothing.

    ``beside`` says that each integer's presence is a column of its own.

    ``(q - origin) * m + offset`` of each row → ``m * SUM(q) + (offset - m * origin) * COUNT(q)``

    Why it is the sum of the rows: all terms are whole numbers in a type that holds them: bounds below 2^41, multipliers
    below 2^27 and fewer than 2^56 rows stay below 2^126.
    """
    if found.column is None:
        return _times(found.offset, "COUNT(*)", write)
    present = f"COUNT({presence(found.column) if beside else found.column})"
    if found.when == "absent":
        return _times(found.offset, f"(COUNT(*) - {present})", write)
    parts = [_times(found.multiplier, write.total(found.column), write)] if found.multiplier else []
    each = found.offset - found.multiplier * found.origin
    parts += [_times(each, present, write)] if each or not parts else []
    return " + ".join(parts)


def share_total(found: Share, write: Writer, *, beside: bool = False) -> str | None:
    """Return what rows add to a cell together, from sums of products of places; None where rows are rounded.

    ``2p(G - p)`` of each row → ``2G * SUM(p) - 2 * SUM(p * p)``

    Why it is the sum of the rows: the polynomial is multiplied out in whole numbers; each product of places is at most
    D < 2^62, each coefficient times it at most 4 D, and over fewer than 2^56 rows no term reaches 2^126.
    """
    if not _narrow(found):
        return None
    terms: dict[tuple[int, ...], int] = {(): found.whole // _denominator(found.factors)}
    for factor, at in zip(found.factors, found.at, strict=True):
        grid = factor.grid
        powers = {
            (1, 0): {0: grid, 1: -1},
            (1, 1): {1: 1},
            (2, 0): {0: grid**2, 1: -2 * grid, 2: 1},
            (2, 1): {1: 2 * grid, 2: -2},
            (2, 2): {2: 1},
        }[factor.power, at]
        terms = {(*before, power): c * by for before, c in terms.items() for power, by in powers.items()}
    written = []
    for exponents, coefficient in terms.items():
        places = [
            f"({factor.column} - ({factor.origin}))"
            for factor, power in zip(found.factors, exponents, strict=True)
            for _ in range(power)
        ]
        summed = write.total(_where_all(found.factors, " * ".join(places) or "1", beside=beside))
        written.append(_times(coefficient, summed, write))
    return " + ".join(written)


def _denominator(factors: tuple[Factor, ...]) -> int:
    return prod(factor.grid**factor.power for factor in factors)


def _narrow(found: Share) -> bool:
    """Whether cells are whole products of places that are not rounded either, all of which 64 bits hold."""
    exact = found.whole % _denominator(found.factors) == 0
    return exact and found.whole < 2**61 and all(factor.grid == factor.width for factor in found.factors)


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


def _where_all(factors: tuple[Factor, ...], amount: str, *, beside: bool = False) -> str:
    columns = (presence(factor.column) if beside else factor.column for factor in factors)
    missing = " OR ".join(f"{column} IS NULL" for column in columns)
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
    denominator = _denominator(found.factors)
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
    denominator = _denominator(found.factors)
    distances = [
        f"(2 * {_place(factor, write)} - {factor.grid})" for factor in found.factors for _ in range(factor.power)
    ]
    product = " * ".join(distances)
    if found.whole % denominator == 0:
        return f"({product} * {found.whole // denominator} + ({found.offset}))"
    # Moved above zero, where every engine rounds alike.
    moved = _rounded(f"({product} + {denominator})", found.whole, denominator, write)
    return f"({moved} - {found.whole - found.offset})"
