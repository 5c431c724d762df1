"""Which vectors of exact integers carry the aggregates of a release, and how each aggregate is read off them.

Three layouts. *Two-sided* (``twosided``, for Laplace): a bounded column becomes cells whose sum is the same for every
row, so that COUNT, SUM, AVG and VAR together cost what the count alone costs. *Crossed*: so do two or three columns
together. *Shared* (``shared``, for Gaussian, and for Laplace with several columns that may be NULL): one vector of one
count, the columns' distances from their mid-points, and the products of these.

Why the bounds are sound: a row's cells are bounded by construction (``quantum.Quantum``, ``cells``), and an owner's
rows count for at most M rows over all groups, cells and columns together, because each row of an owner with n > M rows
is weighted M/n, rounded toward zero. So any vector has L1 at most M times the most that one row adds to it, and the L2
norm of a sum of rows is at most the sum of the rows' L2 norms; where they are in different groups, it is the root of M
times a row's, and no number changes by more than one row's part (``apart``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, TypeAlias

from gateway.sql.algebra import Aggregate
from gateway.sql.planning.plan import AnyCell, Cell, Estimator, Linear, Mean, Measure, Moments, Variable
from gateway.sql.planning.quantum import Quantum
from gateway.sql.planning.wanted import PAIRED, SQUARED, Wanted

FINE = 2**12
"""Units of a count whose rows may be weighted: a twelfth binary place of a row."""

Terms: TypeAlias = tuple[tuple[str, Fraction], ...]


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

    name: Literal["two-sided", "crossed", "shared"]
    vectors: tuple[Vector, ...]
    estimators: tuple[tuple[str, Estimator], ...]
    owners: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class Sums:
    """What a vector tells of one or two columns as variables in [-1, 1]: count, sums, squares' and products'."""

    count: Terms
    first: Mapping[str, Terms]
    second: Mapping[str, Terms]
    product: Terms = ()


@dataclass(slots=True)
class Builder:
    """A layout in the making: its vectors, and how counts, sums and moments of values are read off them."""

    wanted: Wanted
    fine: bool = False
    vectors: list[Vector] = field(default_factory=list)
    every_row: Terms | None = None
    values: dict[str, Terms] = field(default_factory=dict)
    sums: dict[str, Terms] = field(default_factory=dict)
    moments: dict[str, Sums] = field(default_factory=dict)
    pairs: dict[tuple[str, str], Sums] = field(default_factory=dict)
    owners: tuple[str, int] | None = None
    taken: int = 0

    def measure(self, kind: str, cell: Cell, quantity: Quantum | None, unit: Fraction) -> tuple[Measure, int]:
        """Return a measure of one cell and the most that one row adds to it."""
        ends = (quantity.lower, quantity.upper) if quantity is not None else (cell.origin,)
        most = max(max(abs(cell.multiplier * (end - cell.origin) + cell.offset) for end in ends), 1)
        return self.bounded(kind, cell, most, unit)

    def bounded(self, kind: str, cell: AnyCell, most: int, unit: Fraction) -> tuple[Measure, int]:
        """Return a measure of a cell that one row adds at most ``most`` to, and that."""
        bound = most * self.wanted.rows
        name = f"m{self.taken}"
        self.taken += 1
        if self.wanted.apart:
            return Measure(name, kind, cell, unit, bound, bound * most, most), most
        return Measure(name, kind, cell, unit, bound, bound * bound, bound), most

    def vector(self, cells: list[tuple[Measure, int]], row_l1: int | None = None) -> None:
        """Add a vector; ``row_l1`` where one row's cells have a smaller sum than that of their bounds."""
        rows = self.wanted.rows
        l1 = rows * (sum(most for _, most in cells) if row_l1 is None else row_l1)
        l2_squared = (rows if self.wanted.apart else rows * rows) * sum(most * most for _, most in cells)
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
        if self.wanted.rows == 1 and reach == 1 and not self.wanted.chosen:
            # An owner held to one row is one row: the rows need no measure of their own.
            self.every_row = ((name, Fraction(1)),)

    def finished(self, name: Literal["two-sided", "crossed", "shared"]) -> Layout:
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
        if aggregate.kind == "count":
            counted = self.values.get(name, self.every_row)
            assert counted is not None
            return Linear(counted, Fraction(1))
        column = self.wanted.quanta[name]
        if aggregate.kind == "sum":
            return Linear(self.sums[name], column.step if column.how != "float" else None)
        if aggregate.kind in PAIRED:
            return self._paired(aggregate)
        x = self.variable(name, self.moments[name])
        if aggregate.kind in SQUARED:
            return Moments(aggregate.kind, self.moments[name].count, x, None, ())  # type: ignore[arg-type]
        spread = tuple((measure, weight * x.half) for measure, weight in x.first)
        return Mean(spread, self.moments[name].count, x.centre, x.lower, x.upper)

    def _paired(self, aggregate: Aggregate) -> Moments:
        names = self.wanted.pair(aggregate)
        sums = self.pairs[min(names), max(names)]
        y, x = (self.variable(name, sums) for name in names)
        return Moments(aggregate.kind, sums.count, x, y, sums.product)  # type: ignore[arg-type]

    def variable(self, name: str, sums: Sums) -> Variable:
        """Return a column as a variable in [-1, 1]; one without width is at -1 of a width of one step."""
        column = self.wanted.quanta[name]
        half = column.width * column.step / 2
        lower, upper = column.lower * column.step, column.upper * column.step
        return Variable(lower + half, half, lower, upper, sums.first[name], sums.second.get(name, ()))

    def row_count(self, fine: int) -> tuple[Measure, int]:
        """Return the measure that counts rows, each as ``fine`` units."""
        found = self.measure("rows", Cell(None, "always", offset=fine), None, Fraction(1, fine))
        self.every_row = ((found[0].name, Fraction(1, fine)),)
        return found

    def sum_cell(self, name: str, most: int) -> tuple[Measure, int]:
        """Return the measure that sums a column, scaled so that a row adds about ``most`` at most."""
        column = self.wanted.quanta[name]
        scale = max(most // max(abs(column.lower), abs(column.upper), 1), 1)
        unit = column.step / scale
        found = self.measure("sum", Cell(name, "present", scale), column, unit)
        self.sums[name] = ((found[0].name, unit),)
        return found

    def tell(self, name: str, sums: Sums) -> None:
        """Let a column's count, sum and mean be read off these sums, unless others were there first."""
        if name in self.moments:
            return
        self.moments[name] = sums
        self.values.setdefault(name, sums.count)
        x = self.variable(name, sums)
        self.sums[name] = combined((sums.count, x.centre), (sums.first[name], x.half))


def combined(*parts: tuple[Terms, Fraction | int]) -> Terms:
    """Return the sum of weighted sums, each measure once."""
    found: dict[str, Fraction] = {}
    for terms, weight in parts:
        for name, coefficient in terms:
            found[name] = found.get(name, Fraction(0)) + coefficient * weight
    return tuple((name, coefficient) for name, coefficient in found.items() if coefficient)
