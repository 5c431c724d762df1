"""The shared layout: one vector for all columns, each measure scaled to about the same bound.

It holds one count, the distances 2t - 1 of each averaged column from the middle of its bounds, and where second moments
are needed their products, and their squares less a half, which lie within half a row.

Why the bound is sound: a row's entry in each measure is at most the measure's own bound, so its L2 norm is at most the
root of the sum of their squares; an owner's rows count for at most M rows, and norms add up at most.
"""

from __future__ import annotations

from fractions import Fraction

from gateway.sql.planning.layout import FINE, Builder, Layout, Sums, Terms, combined
from gateway.sql.planning.plan import Cell, Centred, Measure
from gateway.sql.planning.quantum import Quantum
from gateway.sql.planning.twosided import factor
from gateway.sql.planning.wanted import Wanted

COMMON = 2**25
"""What a row adds at most to each measure of a shared vector, roughly: as much as a float has steps between its bounds
(``quantum``), so that none of them is rounded again."""


def shared(wanted: Wanted) -> Layout:
    """Return the layout with one vector for all columns."""
    build = Builder(wanted)
    if wanted.separate_owners:
        build.count_owners()
    cells = _counts(build)
    for name in wanted.measured:
        counted = build.values.get(name, build.every_row if wanted.present(name) else None)
        if counted is None:
            cells.append(build.sum_cell(name, COMMON))
            continue
        cells.append(_shifted(build, name))
        first = _one(cells[-1], cells[-1][1])
        second: Terms = ()
        if name in wanted.squared:
            cells.append(_product(build, (name, name)))
            second = combined((_one(cells[-1], COMMON), 1), (counted, Fraction(1, 2)))
        build.tell(name, Sums(counted, {name: first}, {name: second}))
    for names in wanted.pairs:
        cells.append(_product(build, names))
        told = [build.moments[name] for name in names]
        first_of = {name: sums.first[name] for name, sums in zip(names, told, strict=True)}
        second_of = {name: sums.second[name] for name, sums in zip(names, told, strict=True)}
        build.pairs[names] = Sums(told[0].count, first_of, second_of, _one(cells[-1], COMMON))
    if cells:
        build.vector(cells)
    return build.finished("shared")


def _counts(build: Builder) -> list[tuple[Measure, int]]:
    """Return the measures that count rows and values; the two values of a pair are counted once."""
    wanted = build.wanted
    cells: list[tuple[Measure, int]] = []
    needs_rows = wanted.every_row or any(wanted.present(name) for name in wanted.centred)
    if needs_rows and build.every_row is None:
        fine = COMMON if wanted.measured or wanted.counted else FINE if wanted.weighted else 1
        cells.append(build.row_count(fine))
        if wanted.one_row:
            build.owners = (cells[0][0].name, fine)
    for name in dict.fromkeys([*wanted.counted, *wanted.centred]):
        if wanted.present(name) or name in build.values:
            continue
        cells.append(build.measure("values", Cell(name, "present", offset=COMMON), None, Fraction(1, COMMON)))
        build.values[name] = ((cells[-1][0].name, Fraction(1, COMMON)),)
        for pair in wanted.pairs:
            if name in pair:
                build.values.update((other, build.values[name]) for other in pair if not wanted.present(other))
    return cells


def _shifted(build: Builder, name: str) -> tuple[Measure, int]:
    """Return the cell of 2t - 1."""
    column = build.wanted.quanta[name]
    if column.width > COMMON:
        centred = Centred((factor(name, column, 1, 1),), COMMON, 0)
        return build.bounded("spread", centred, COMMON, _half(column) / COMMON)
    scale = COMMON // column.width
    whole = column.width * scale
    cell = Cell(name, "present", 2 * scale, column.lower, -whole)
    return build.bounded("spread", cell, whole, _half(column) / whole)


def _product(build: Builder, names: tuple[str, str]) -> tuple[Measure, int]:
    """Return the cell of (2s - 1)(2t - 1), or of a column's square less a half."""
    quanta = build.wanted.quanta
    if names[0] == names[1]:
        squared = Centred((factor(names[0], quanta[names[0]], 2, 2),), COMMON, -COMMON // 2)
        return build.bounded("moment", squared, COMMON // 2, _half(quanta[names[0]]) ** 2 / COMMON)
    centred = Centred(tuple(factor(name, quanta[name], 1, 2) for name in names), COMMON, 0)
    return build.bounded("moment", centred, COMMON, _half(quanta[names[0]]) * _half(quanta[names[1]]) / COMMON)


def _half(column: Quantum) -> Fraction:
    return column.width * column.step / 2


def _one(cell: tuple[Measure, int], whole: int) -> Terms:
    """Return what a measure tells of a variable in [-1, 1], in parts of a row."""
    return ((cell[0].name, Fraction(1, whole)),)
