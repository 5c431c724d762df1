"""The two-sided layout: each averaged column, or pair of columns, becomes cells that share out one row.

With t = (x - l)/(u - l) a row is shared out as (t, 1 - t); where squares are needed as (t^2, 2t(1 - t), (1 - t)^2), the
Bernstein polynomials of degree 2; for several columns as the products of theirs.

Crossed, two or three columns that are never NULL share out one row together, though nobody asks for their products: one
vector is paid for instead of two, while a column's sums are over twice as many cells. At half the price the noise of
each would be doubled; over twice as many cells it is multiplied by the root of two.

Why the bound is sound: the cells of a row are not negative and add up to the same whole number for every row
(``cells``), a row in which a column is NULL has none, so that the vector's L1 is M times that whole: what a count alone
would have. COUNT, SUM, AVG and VAR of a column, or COVAR, CORR and REGR of two, cost one count together.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from fractions import Fraction
from itertools import product
from math import prod

from gateway.sql.planning.layout import FINE, Builder, Layout, Sums, Terms
from gateway.sql.planning.plan import Cell, Factor, Share
from gateway.sql.planning.quantum import Quantum
from gateway.sql.planning.wanted import Wanted

FIRST = {1: (-1, 1), 2: (-1, 0, 1)}
SECOND = {2: (1, -1, 1)}
"""2t - 1 and its square as combinations of the Bernstein polynomials of a degree."""

CROSSED_CELLS = 12
"""Cells that columns are crossed into at most."""

EXACT = 2**50
"""A row is never rounded where so many units are enough for that, and a price affords the noise of them: then cells are
whole products, which 64 bits hold, and their sums are read off the sums of the columns' products."""

LARGEST = 88
"""Bits that the product of all factors' grids may have: with 2^30 units and a few bits to spare it fits 127."""


def two_sided(wanted: Wanted, together: int = 1, *, fine: bool = False) -> Layout:
    """Return the layout in which each averaged column is a set of cells that add up to one row.

    At most ``together`` columns that are never NULL are crossed; if ``fine``, a row is made of up to ``EXACT`` units.
    """
    build = Builder(wanted, fine=fine)
    if wanted.separate_owners:
        build.count_owners()
    own_row_count = wanted.one_row and wanted.threshold

    def serves() -> bool:
        return wanted.every_row and build.every_row is None and not own_row_count

    for (first, second), powers in wanted.pairs.items():
        _pair(build, (first, second), powers, every_row=serves() and wanted.present(first) and wanted.present(second))
    # The cells of a column that is never NULL count all rows by themselves; any other needs one more for that.
    for names in crossed(wanted, build.moments, together):
        sums, _ = _shared_out(build, {name: 2 if name in wanted.squared else 1 for name in names}, absent=False)
        for name in names:
            build.tell(name, sums)
        if serves():
            build.every_row = sums.count
    rest = [name for name in wanted.measured if name not in build.moments]
    served = next((name for name in rest if wanted.present(name)), next(iter(rest), None))
    for name in rest:
        every_row = name == served and serves()
        if name in wanted.centred or wanted.of("count", name) or every_row:
            _column(build, name, 2 if name in wanted.squared else 1, every_row=every_row)
        else:
            build.vector([build.sum_cell(name, 2**20 if wanted.weighted else 1)])
    for name in wanted.counted:
        if name not in build.values:
            _counted(build, name, every_row=serves())
    if wanted.every_row and build.every_row is None:
        build.vector([build.row_count(FINE if wanted.weighted else 1)])
    if wanted.one_row and build.every_row is not None and len(build.every_row) == 1:
        build.owners = (build.every_row[0][0], 1)
    return build.finished("two-sided" if together == 1 else "crossed")


def crossed(wanted: Wanted, told: Container[str], together: int) -> list[list[str]]:
    """Return the columns that share out rows together, of those not ``told`` of before: none that would be rounded."""
    names = [name for name in wanted.measured if name not in told and wanted.present(name)]
    found = (names[at : at + together] for at in range(0, len(names), together))
    return [each for each in found if len(each) > 1 and _crosses(wanted, each)]


def _crosses(wanted: Wanted, names: Sequence[str]) -> bool:
    powers = {name: 2 if name in wanted.squared else 1 for name in names}
    cells, units = prod(power + 1 for power in powers.values()), 1
    for name, power in powers.items():
        units *= wanted.quanta[name].width ** power
    return cells <= CROSSED_CELLS and units <= EXACT


def _column(build: Builder, name: str, power: int, *, every_row: bool) -> None:
    if power == 1:
        _sides(build, name, every_row=every_row)
    else:
        sums, whole = _shared_out(build, {name: power}, absent=every_row and not build.wanted.present(name))
        build.tell(name, sums)
        if every_row:
            build.every_row = sums.count if build.wanted.present(name) else (*sums.count, *whole)


def _sides(build: Builder, name: str, *, every_row: bool) -> None:
    """Add the cells (q - l)s and (u - q)s, and for NULLs (u - l)s where all rows are counted."""
    column = build.wanted.quanta[name]
    scale = 1
    while build.wanted.weighted and column.width * scale < 2**20:
        scale *= 2
    whole = column.width * scale
    unit = Fraction(1, whole)
    upper = build.measure("upper", Cell(name, "present", scale, column.lower), column, unit)
    lower = build.measure("lower", Cell(name, "present", -scale, column.lower, whole), column, unit)
    cells = [upper, lower]
    counted: Terms = ((upper[0].name, unit), (lower[0].name, unit))
    build.tell(name, Sums(counted, {name: ((upper[0].name, unit), (lower[0].name, -unit))}, {}))
    if every_row:
        if not build.wanted.present(name):
            absent = build.measure("absent", Cell(name, "absent", offset=whole), None, unit)
            cells.append(absent)
            counted = (*counted, (absent[0].name, unit))
        build.every_row = counted
    build.vector(cells, row_l1=whole)


def _pair(build: Builder, names: tuple[str, str], powers: dict[str, int], *, every_row: bool) -> None:
    sums, _ = _shared_out(build, powers, absent=False)
    build.pairs[names] = sums
    for name in names:
        # Squares that others need are in the first pair that has them (``Wanted.pairs``).
        if name not in build.wanted.squared or name in sums.second:
            build.tell(name, sums)
    if every_row:
        build.every_row = sums.count


def _shared_out(build: Builder, powers: dict[str, int], *, absent: bool) -> tuple[Sums, Terms]:
    """Add the vector of the products of the columns' Bernstein polynomials; a cell for NULLs if ``absent``."""
    wanted = build.wanted
    factors = tuple(factor(name, wanted.quanta[name], power, sum(powers.values())) for name, power in powers.items())
    whole = _whole(factors, wanted, fine=build.fine)
    unit = Fraction(1, whole)
    exact = whole % prod(found.grid**found.power for found in factors) == 0
    numbers = list(product(*(range(found.power + 1) for found in factors)))
    cells = []
    for at in numbers:
        halved = sum((found.power, place) == (2, 1) for found, place in zip(factors, at, strict=True))
        # 2t(1 - t) is a half at most; rounding what is cumulated may add one to any cell that is not the whole.
        most = whole if not halved else min(-(-whole // 2**halved) + (not exact), whole)
        cells.append(build.bounded("moment", Share(factors, at, whole), most, unit))
    names = [measure.name for measure, _ in cells]

    def terms(*tables: Sequence[int]) -> Terms:
        weights = [prod(table[place] for table, place in zip(tables, at, strict=True)) for at in numbers]
        return tuple((name, weight * unit) for name, weight in zip(names, weights, strict=True) if weight)

    ones = [(1,) * (found.power + 1) for found in factors]
    first, second = {}, {}
    for index, found in enumerate(factors):
        first[found.column] = terms(*ones[:index], FIRST[found.power], *ones[index + 1 :])
        if found.power == 2:
            second[found.column] = terms(*ones[:index], SECOND[2], *ones[index + 1 :])
    both = terms(*(FIRST[found.power] for found in factors)) if len(factors) == 2 else ()
    null: Terms = ()
    if absent:
        cells.append(build.measure("absent", Cell(factors[0].column, "absent", offset=whole), None, unit))
        null = ((cells[-1][0].name, unit),)
    build.vector(cells, row_l1=whole)
    return Sums(terms(*ones), first, second, both), null


def factor(name: str, column: Quantum, power: int, total: int) -> Factor:
    """Return a column's factor in a product of that total degree, on a coarser grid where it would be too wide."""
    return Factor(name, column.lower, column.width, min(column.width, 2 ** (LARGEST // total)), power)


def _whole(factors: tuple[Factor, ...], wanted: Wanted, *, fine: bool) -> int:
    """Return the units of one row: the product of the grids where it is small, so that nothing is rounded; else 2^30.

    Fewer where one owner may have many rows, so that a price of 1e-6 still has a noise that can be drawn.
    """
    most = 2 ** max(14, min(30, 34 - wanted.rows.bit_length()))
    exact = prod(found.grid**found.power for found in factors)
    if fine and most < exact <= EXACT and all(found.grid == found.width for found in factors):
        return int(exact)
    if exact > most:
        return int(most)
    scale = 1
    while wanted.weighted and exact * scale < min(2**20, most):
        scale *= 2
    return int(exact * scale)


def _counted(build: Builder, name: str, *, every_row: bool) -> None:
    fine = FINE if build.wanted.weighted else 1
    unit = Fraction(1, fine)
    found = [build.measure("values", Cell(name, "present", offset=fine), None, unit)]
    build.values[name] = ((found[0][0].name, unit),)
    if every_row:
        found.append(build.measure("absent", Cell(name, "absent", offset=fine), None, unit))
        build.every_row = tuple((measure.name, unit) for measure, _ in found)
    build.vector(found, row_l1=fine)
