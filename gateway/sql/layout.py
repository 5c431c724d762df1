"""Which vectors of exact integers carry the aggregates of a release, and how each aggregate is read off them.

Two layouts. *Two-sided* (for Laplace): a bounded column becomes the two cells q - l and u - q of each row, whose sum is
the same for every row, so that COUNT, SUM and AVG together cost what the count alone costs. *Shared* (for Gaussian, and
for Laplace with three columns or more): one vector of one count and the columns' distances from their mid-points.

Why the bounds are sound: a row's cells are bounded by construction (``quantum.Quantum``), and an owner's rows count for
at most M rows over all groups, cells and columns together, because each row of an owner with n > M rows is weighted
M/n, rounded toward zero. So any vector has L1 at most M times the most that one row adds to it, and the L2 norm of a
sum of rows is at most the sum of the rows' L2 norms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from gateway.sql.algebra import Aggregate, Scalar
from gateway.sql.plan import Cell, Estimator, Linear, Mean, Measure
from gateway.sql.quantum import Quantum

FINE = 2**12
"""Units of a count whose rows may be weighted: a twelfth binary place of a row."""

COMMON = 2**24
"""What a row adds at most to each measure of a shared vector, roughly."""

Terms = tuple[tuple[str, Fraction], ...]


@dataclass(frozen=True, slots=True)
class Vector:
    """Measures to be drawn as one, with the bounds of one owner's part in all of them together."""

    measures: tuple[Measure, ...]
    l1: int
    l2_squared: int
    linf: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Vectors, the estimator of each aggregate, and the measure (with what one owner adds to it) that counts owners."""

    name: Literal["two-sided", "shared"]
    vectors: tuple[Vector, ...]
    estimators: tuple[tuple[str, Estimator], ...]
    owners: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a release has to tell.

    ``rows`` is the bound M on an owner's rows, ``weighted`` whether weights enforce it, ``reach`` the most groups that
    one owner may be counted in, ``threshold`` whether owners must be counted to decide which groups appear.
    """

    aggregates: tuple[tuple[str, Aggregate], ...]
    values: Mapping[Scalar, str]
    quanta: Mapping[str, Quantum]
    present: Callable[[str], bool]
    rows: int
    weighted: bool
    one_row: bool
    reach: int
    threshold: bool

    def of(self, kind: str, name: str) -> bool:
        """Whether an aggregate of that kind over that value is asked for."""
        return any(aggregate.kind == kind and self.named(aggregate) == name for _, aggregate in self.aggregates)

    def named(self, aggregate: Aggregate) -> str | None:
        """Return the name of the value that an aggregate is over, None for one over rows or owners."""
        return None if aggregate.argument is None else self.values[aggregate.argument]

    def _over(self, *kinds: str) -> list[str]:
        names = (self.named(aggregate) for _, aggregate in self.aggregates if aggregate.kind in kinds)
        return list(dict.fromkeys(name for name in names if name is not None))

    @property
    def measured(self) -> list[str]:
        """The values that are summed or averaged, in the order of the query."""
        return self._over("sum", "average")

    @property
    def counted(self) -> list[str]:
        """The values that are counted and may be NULL, in the order of the query."""
        return [name for name in self._over("count") if not self.present(name)]

    @property
    def owners_asked(self) -> bool:
        """Whether privacy units are to be counted."""
        return any(aggregate.kind == "count_owners" for _, aggregate in self.aggregates)

    @property
    def every_row(self) -> bool:
        """Whether all rows have to be counted: asked for, or meant by a count of what is never NULL."""
        asked = any(aggregate.kind == "count_rows" for _, aggregate in self.aggregates)
        meant = any(self.present(name) for name in self._over("count"))
        return asked or meant or (self.one_row and (self.threshold or self.owners_asked))

    @property
    def separate_owners(self) -> bool:
        """Whether owners are counted by a measure of their own: where each has one row, the row count serves."""
        return not self.one_row and (self.threshold or self.owners_asked)


@dataclass(slots=True)
class _Builder:
    wanted: Wanted
    vectors: list[Vector] = field(default_factory=list)
    every_row: Terms | None = None
    values: dict[str, Terms] = field(default_factory=dict)
    sums: dict[str, Terms] = field(default_factory=dict)
    spreads: dict[str, Terms] = field(default_factory=dict)
    owners: tuple[str, int] | None = None
    taken: int = 0

    def measure(self, kind: str, cell: Cell, quantity: Quantum | None, unit: Fraction) -> tuple[Measure, int]:
        """Return a measure of one cell and the most that one row adds to it."""
        ends = (quantity.lower, quantity.upper) if quantity is not None else (cell.origin,)
        most = max(max(abs(cell.multiplier * (end - cell.origin) + cell.offset) for end in ends), 1)
        bound = most * self.wanted.rows
        name = f"m{self.taken}"
        self.taken += 1
        return Measure(name, kind, cell, unit, bound, bound * bound, bound), most

    def vector(self, cells: list[tuple[Measure, int]], row_l1: int | None = None) -> None:
        """Add a vector; ``row_l1`` where one row's cells have a smaller sum than that of their bounds."""
        rows = self.wanted.rows
        l1 = rows * (sum(most for _, most in cells) if row_l1 is None else row_l1)
        l2_squared = rows * rows * sum(most * most for _, most in cells)
        self.vectors.append(
            Vector(
                tuple(measure for measure, _ in cells),
                l1,
                min(l2_squared, l1 * l1),
                max(measure.linf for measure, _ in cells),
            )
        )

    def count_owners(self) -> None:
        """Add the vector that counts owners, each at most once a group and in at most ``reach`` groups."""
        reach = self.wanted.reach
        name = f"m{self.taken}"
        self.taken += 1
        measure = Measure(name, "owners", None, Fraction(1), reach, reach, 1)
        self.vectors.append(Vector((measure,), reach, reach, 1))
        self.owners = (name, 1)
        if self.wanted.rows == 1 and reach == 1:
            # An owner held to one row is one row: the rows need no measure of their own.
            self.every_row = ((name, Fraction(1)),)

    def finished(self, name: Literal["two-sided", "shared"]) -> Layout:
        """Return the layout with an estimator for each aggregate."""
        estimators = tuple((label, self._estimator(aggregate)) for label, aggregate in self.wanted.aggregates)
        return Layout(name, tuple(self.vectors), estimators, self.owners)

    def _estimator(self, aggregate: Aggregate) -> Estimator:
        if aggregate.kind == "count_owners":
            counted = ((self.owners[0], Fraction(1)),) if self.owners and not self.wanted.one_row else self.every_row
            assert counted is not None
            return Linear(counted, Fraction(1))
        if aggregate.kind == "count_rows":
            assert self.every_row is not None
            return Linear(self.every_row, Fraction(1))
        name = self.wanted.named(aggregate)
        assert name is not None
        counted = self.values.get(name, self.every_row)
        if aggregate.kind == "count":
            assert counted is not None
            return Linear(counted, Fraction(1))
        column = self.wanted.quanta[name]
        if aggregate.kind == "sum":
            return Linear(self.sums[name], column.step if column.how != "float" else None)
        assert counted is not None
        lower, upper = column.lower * column.step, column.upper * column.step
        return Mean(self.spreads[name], counted, (lower + upper) / 2, lower, upper)


def two_sided(wanted: Wanted) -> Layout:
    """Return the layout in which each averaged column is a pair of cells."""
    build = _Builder(wanted)
    if wanted.separate_owners:
        build.count_owners()
    own_row_count = wanted.one_row and wanted.threshold
    # The pair of a column that is never NULL counts all rows by itself; any other needs a third cell for that.
    served = next((name for name in wanted.measured if wanted.present(name)), next(iter(wanted.measured), None))
    for name in wanted.measured:
        serves = name == served and wanted.every_row and build.every_row is None and not own_row_count
        if wanted.of("average", name) or wanted.of("count", name) or serves:
            _pair(build, name, every_row=serves)
        else:
            _plain_sum(build, name, 1)
    for name in wanted.counted:
        if name not in build.values:
            _counted(build, name, every_row=wanted.every_row and build.every_row is None and not own_row_count)
    if wanted.every_row and build.every_row is None:
        build.vector([_row_count(build, FINE if wanted.weighted else 1)])
    if wanted.one_row and build.every_row is not None and len(build.every_row) == 1:
        build.owners = (build.every_row[0][0], 1)
    return build.finished("two-sided")


def shared(wanted: Wanted) -> Layout:
    """Return the layout with one vector for all columns, each measure scaled to about the same bound."""
    build = _Builder(wanted)
    if wanted.separate_owners:
        build.count_owners()
    cells: list[tuple[Measure, int]] = []
    needs_rows = wanted.every_row or any(
        wanted.present(name) and wanted.of("average", name) for name in wanted.measured
    )
    if needs_rows and build.every_row is None:
        fine = COMMON if wanted.measured or wanted.counted else FINE if wanted.weighted else 1
        cells.append(_row_count(build, fine))
        if wanted.one_row:
            build.owners = (cells[0][0].name, fine)
    for name in dict.fromkeys([*wanted.counted, *wanted.measured]):
        counts_values = name in wanted.counted or wanted.of("average", name)
        if counts_values and not wanted.present(name):
            measure = build.measure("values", Cell(name, "present", offset=COMMON), None, Fraction(1, COMMON))
            build.values[name] = ((measure[0].name, Fraction(1, COMMON)),)
            cells.append(measure)
    for name in wanted.measured:
        counted = build.values.get(name, build.every_row if wanted.present(name) else None)
        if counted is None:
            cells.append(_sum_cell(build, name, COMMON))
        else:
            cells.append(_shifted(build, name, counted))
    if cells:
        build.vector(cells)
    return build.finished("shared")


def _row_count(build: _Builder, fine: int) -> tuple[Measure, int]:
    found = build.measure("rows", Cell(None, "always", offset=fine), None, Fraction(1, fine))
    build.every_row = ((found[0].name, Fraction(1, fine)),)
    return found


def _pair(build: _Builder, name: str, *, every_row: bool) -> None:
    """Add the cells (q - l)s and (u - q)s, and for NULLs (u - l)s where all rows are counted."""
    column = build.wanted.quanta[name]
    scale = 1
    while build.wanted.weighted and column.width * scale < 2**20:
        scale *= 2
    whole = column.width * scale
    top = column.lower + column.width
    unit = Fraction(1, whole)
    upper = build.measure("upper", Cell(name, "present", scale, column.lower), column, unit)
    lower = build.measure("lower", Cell(name, "present", -scale, column.lower, whole), column, unit)
    cells = [upper, lower]
    a, b = upper[0].name, lower[0].name
    counted: Terms = ((a, unit), (b, unit))
    build.values[name] = counted
    build.sums[name] = ((a, top * column.step * unit), (b, column.lower * column.step * unit))
    half = column.step * column.width / 2 * unit
    build.spreads[name] = ((a, half), (b, -half))
    if every_row:
        if not build.wanted.present(name):
            absent = build.measure("absent", Cell(name, "absent", offset=whole), None, unit)
            cells.append(absent)
            counted = (*counted, (absent[0].name, unit))
        build.every_row = counted
    build.vector(cells, row_l1=whole)


def _sum_cell(build: _Builder, name: str, most: int) -> tuple[Measure, int]:
    column = build.wanted.quanta[name]
    scale = max(most // max(abs(column.lower), abs(column.upper), 1), 1)
    unit = column.step / scale
    found = build.measure("sum", Cell(name, "present", scale), column, unit)
    build.sums[name] = ((found[0].name, unit),)
    return found


def _plain_sum(build: _Builder, name: str, most: int) -> None:
    build.vector([_sum_cell(build, name, 2**20 if build.wanted.weighted else most)])


def _counted(build: _Builder, name: str, *, every_row: bool) -> None:
    fine = FINE if build.wanted.weighted else 1
    unit = Fraction(1, fine)
    found = [build.measure("values", Cell(name, "present", offset=fine), None, unit)]
    build.values[name] = ((found[0][0].name, unit),)
    if every_row:
        found.append(build.measure("absent", Cell(name, "absent", offset=fine), None, unit))
        build.every_row = tuple((measure.name, unit) for measure, _ in found)
    build.vector(found, row_l1=fine)


def _shifted(build: _Builder, name: str, counted: Terms) -> tuple[Measure, int]:
    """Return the cell (2q - l - u)s, from which with the count the sum and the mean follow."""
    column = build.wanted.quanta[name]
    scale = max(COMMON // column.width, 1)
    middle = column.lower + column.upper
    unit = column.step / (2 * scale)
    found = build.measure(
        "spread", Cell(name, "present", 2 * scale, column.lower, (column.lower - column.upper) * scale), column, unit
    )
    build.spreads[name] = ((found[0].name, unit),)
    centre = middle * column.step / 2
    build.sums[name] = ((found[0].name, unit), *((term, weight * centre) for term, weight in counted))
    return found
