"""Bounds of columns, and of an owner's rows, estimated privately: one question that anybody could ask, and its reading.

The question is ordinary SQL over the policy's own tables: how many units have their largest (smallest) value in each
cell of a public grid, 1, 2 and 5 times the powers of ten on both sides of zero, and of times the years. It is planned,
priced, charged and executed like any other; what is made of the noisy counts is post-processing.

A cell counts if its noisy number of units reaches ``threshold``: then, but for the stated chance, somebody is in it.
What lies beyond the outermost such cell is so few people's that clipping it costs little
(the approximate bounds of Wilson, Zhang, Lam, Desfontaines, Simmons-Marengo and Gipson, PoPETs 2020).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, TypeAlias

from gateway.errors import RequestInvalid
from gateway.policy.model import Column, Dataset, Owner, RowOwner, Table
from gateway.wire import JsonValue

MOST_PARTS: Final = 10
"""Histograms in one question: each is long, and each gets its part of the price."""

CHANCE: Final = 0.05
"""How likely it may be that noise alone puts a bound too far out, over all cells of a question."""

_LARGEST_INTEGER: Final = 18
_NUMBERS: Final = (-6, 16)
_ROWS: Final = 9
_YEARS: Final = (1700, 1750, *range(1800, 1920, 10), *range(1920, 2041), *range(2050, 2101, 10), 2200)
"""Years that cells of times begin with: each of those that records are about, and fewer of the others."""

End: TypeAlias = Decimal | date
"""An end of a bound; a ``datetime`` is a ``date`` too."""

Side = Literal["upper", "lower", "both", "rows"]


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of a histogram: on either side of zero between ``marks``, zero alone, and what lies beyond."""

    marks: tuple[Decimal, ...]

    @property
    def cells(self) -> int:
        """How many there are."""
        return 2 * len(self.marks) + 3

    def case(self, value: str) -> str:
        """Return the number of the cell that a value lies in, as SQL; NULL lies in none.

        Compared, never computed with, so that a column needs no bound for it.
        """
        ends = [f"< {-mark:f}" for mark in reversed(self.marks)] + ["< 0", "<= 0"] + [f"<= {m:f}" for m in self.marks]
        whens = " ".join(f"WHEN {value} {end} THEN {number}" for number, end in enumerate(ends))
        return f"CASE {whens} WHEN {value} > {self.marks[-1]:f} THEN {len(ends)} END"

    def ends(self, cell: int) -> tuple[Decimal | None, Decimal | None]:
        """Return the ends between which a cell's values lie, None for one that lies beyond the grid."""
        marks = [None, *(-mark for mark in reversed(self.marks)), Decimal(0), Decimal(0), *self.marks, None]
        return marks[cell], marks[cell + 1]


def _grid(first: int, last: int) -> Grid:
    return Grid(tuple(Decimal(digit).scaleb(power) for power in range(first, last + 1) for digit in (1, 2, 5)))


@dataclass(frozen=True, slots=True)
class Calendar:
    """The cells of a histogram of times: between the beginnings of ``years``, before the first and after the last.

    ``instants`` are moments of time; else they are days.
    """

    years: tuple[int, ...]
    instants: bool

    @property
    def cells(self) -> int:
        """How many there are."""
        return len(self.years) + 1

    def case(self, value: str) -> str:
        """Return the number of the cell that a value lies in, as SQL; NULL lies in none."""
        kind, clock = ("TIMESTAMP", " 00:00:00") if self.instants else ("DATE", "")
        starts = [f"{kind} '{year}-01-01{clock}'" for year in self.years]
        whens = " ".join(f"WHEN {value} < {start} THEN {number}" for number, start in enumerate(starts))
        return f"CASE {whens} WHEN {value} >= {starts[-1]} THEN {len(starts)} END"

    def ends(self, cell: int) -> tuple[date | None, date | None]:
        """Return the first and the last that a cell holds, None for one that lies beyond the grid."""
        first = None if cell == 0 else self._start(cell - 1)
        last = None if cell == len(self.years) else self._start(cell) - self._step
        return first, last

    @property
    def _step(self) -> timedelta:
        return timedelta(microseconds=1) if self.instants else timedelta(days=1)

    def _start(self, place: int) -> date:
        year = self.years[place]
        return datetime(year, 1, 1) if self.instants else date(year, 1, 1)  # noqa: DTZ001 - of the column's own time


@dataclass(frozen=True, slots=True)
class Part:
    """One histogram of a question: of a column's upper or lower ends, of both at once, or of rows an owner."""

    table: Table
    column: Column | None
    side: Side
    grid: Grid | Calendar


@dataclass(frozen=True, slots=True)
class Bound:
    """What was found: ``lower`` and ``upper`` of a column, or without one ``upper`` as an owner's rows of the table.

    None where no cell held enough units, or where the outermost lies beyond the grid (``beyond``).
    """

    table: str
    column: str | None
    lower: End | None
    upper: End | None
    beyond: bool = False


def parts(dataset: Dataset, names: Sequence[str]) -> tuple[Part, ...]:
    """Return the histograms that ``table.column`` or ``table`` (its rows an owner) stand for.

    The rows an owner of each table named are among them, where the policy does not bound them. Raises
    ``RequestInvalid``.
    """
    found: list[Part] = []
    tables: dict[str, Table] = {}
    for name in dict.fromkeys(names):
        table, column = _named(dataset, name)
        tables[table.name] = table
        if column is not None:
            grid = _grid_of(column)
            sides: tuple[Side, ...] = ("both",) if _one_row(table) else ("upper", "lower")
            found += (Part(table, column, side, grid) for side in sides)
    found += (
        Part(table, None, "rows", _grid(0, _ROWS))
        for table in tables.values()
        if table.max_rows_per_unit is None and not _one_row(table)
    )
    if not found:
        raise _refused("The policy bounds an owner's rows of that table already; name its columns.")
    if len(found) > MOST_PARTS:
        raise _refused(f"That takes {len(found)} histograms, and one question has at most {MOST_PARTS}.")
    return tuple(found)


def _named(dataset: Dataset, name: str) -> tuple[Table, Column | None]:
    tables = [table for table in dataset.tables if name == table.name or name.startswith(f"{table.name}.")]
    table = max(tables, key=lambda each: len(each.name), default=None)
    if table is None:
        raise _refused(f"{name} is no table of the policy, nor table.column.")
    if table.public:
        raise _refused(f"{table.name} is public: its values can be looked at.")
    if name == table.name:
        return table, None
    column = table.column(name.removeprefix(f"{table.name}."))
    if column is None:
        raise _refused(f"{name} is no column of the policy; declare it there, without bounds.")
    if column.type in ("text", "boolean"):
        raise _refused(f"{name} is of type {column.type}, and bounds are estimated of numbers and times.")
    return table, column


def _refused(message: str) -> RequestInvalid:
    return RequestInvalid("request-invalid", message)


def _grid_of(column: Column) -> Grid | Calendar:
    if column.type in ("date", "timestamp"):
        return Calendar(_YEARS, instants=column.type == "timestamp")
    if column.type == "integer":
        return _grid(0, _LARGEST_INTEGER)
    first, last = _NUMBERS
    return _grid(first if column.physical.scale is None else max(first, -column.physical.scale), last)


def _one_row(table: Table) -> bool:
    return isinstance(table.owner, RowOwner) or table.unique_owner


def question(found: Sequence[Part]) -> str:
    """Return the SQL that asks for histograms, in standard spelling: rows of (part, cell, units).

    Each owner counts once in each: rows are folded by owner first, where an owner may have more than one.
    """
    return "\nUNION ALL\n".join(f"SELECT {number} AS part, {_histogram(part)}" for number, part in enumerate(found))


def _histogram(part: Part) -> str:
    if part.side == "both":
        assert part.column is not None
        cell = part.grid.case(_quoted(part.column.name))
        return f"{cell} AS cell, COUNT(*) AS units FROM {_quoted(part.table.name)} GROUP BY 2"
    assert isinstance(part.table.owner, Owner)
    source = f"{_quoted(part.table.name)} AS t0"
    for place, hop in enumerate(part.table.owner.hops):
        there = f"t{place + 1}"
        source += (
            f" JOIN {_quoted(hop.table)} AS {there} ON t{place}.{_quoted(hop.column)} = {there}.{_quoted(hop.key)}"
        )
    owner = f"t{len(part.table.owner.hops)}.{_quoted(part.table.owner.column)}"
    folded = "COUNT(*)"
    if part.column is not None:
        folded = f"{'MAX' if part.side == 'upper' else 'MIN'}(t0.{_quoted(part.column.name)})"
    units = f"SELECT {owner} AS unit, {folded} AS v FROM {source} GROUP BY {owner}"  # noqa: S608
    return f"{part.grid.case('v')} AS cell, COUNT(*) AS units FROM ({units}) AS u GROUP BY 2"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def rows(found: Sequence[Part]) -> int:
    """Return how many rows a question's answer has: every cell of every part, and those without a value."""
    return sum(part.grid.cells + 1 for part in found)


def threshold(found: Sequence[Part], scale: float) -> int:
    """Return the noisy count from which a cell counts as held by somebody.

    Discrete Laplace noise of that scale reaches t with a chance of at most exp(-t/scale); over all cells of all parts
    that adds up to ``CHANCE``.
    """
    cells = sum(part.grid.cells for part in found)
    return max(1, math.ceil(scale * math.log(cells / CHANCE)))


def read(found: Sequence[Part], noisy: Sequence[Sequence[JsonValue]], least: int) -> tuple[Bound, ...]:
    """Return the bounds that noisy rows of (part, cell, units) tell, in the order of the parts."""
    held: dict[int, list[int]] = {number: [] for number in range(len(found))}
    for number, cell, units in noisy:
        if isinstance(number, int) and isinstance(cell, int) and isinstance(units, int | float) and units >= least:
            held[number].append(cell)
    bounds: dict[tuple[str, str | None], Bound] = {}
    for number, part in enumerate(found):
        at = (part.table.name, part.column.name if part.column else None)
        before = bounds.get(at, Bound(*at, lower=None, upper=None))
        bounds[at] = _with(before, part, held[number])
    return tuple(bounds.values())


def _with(before: Bound, part: Part, cells: Sequence[int]) -> Bound:
    if not cells:
        return before
    lower, upper, beyond = before.lower, before.upper, before.beyond
    if part.side in ("lower", "both"):
        lower, beyond = part.grid.ends(min(cells))[0], beyond or min(cells) == 0
    if part.side in ("upper", "both", "rows"):
        upper, beyond = part.grid.ends(max(cells))[1], beyond or max(cells) == part.grid.cells - 1
    return Bound(before.table, before.column, lower, upper, beyond)


def told(found: Sequence[Part]) -> str:
    """Return what is bought, in words for the ledger."""
    said: Mapping[str, None] = dict.fromkeys(_told(found))
    return f"bounds of {', '.join(said)}"[:1_000]


def _told(found: Sequence[Part]) -> Iterator[str]:
    for part in found:
        yield f"{part.table.name}.{part.column.name}" if part.column else f"rows a unit of {part.table.name}"
