"""What a derived column is made of: whether noise is in it, and by which formula of released sums, where by one.

``100 * SUM(x) / COUNT(*)``  →  ``Form(above={(0, a0): 100}, below={(0, a1): 1})``

Of a weighted sum the error is known before anything is drawn, of a ratio as a function of what it divides by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from gateway.sql.algebra import Call, Constant, Ref, Release, Scalar
from gateway.sql.planning.errors import Terms
from gateway.sql.planning.plan import Linear, PlannedRelease
from gateway.sql.tables import (
    Attach,
    Keep,
    OutputColumn,
    Over,
    Pair,
    Pick,
    Public,
    Query,
    Sort,
    columns,
    ends_of,
    nodes,
)
from mechanisms.noise import Noise

Source: TypeAlias = tuple[int, str, str]
"""An estimate: the place of its release, its name, and on which side of joins the release stands."""

Weights: TypeAlias = Mapping[Source, Fraction]

ONE: Source = (-1, "", "")
"""The number one among sources."""


@dataclass(frozen=True, slots=True)
class Form:
    """A weighted sum of estimates over another; what it is divided by is one where there is no division."""

    above: Weights
    below: Weights

    @property
    def constant(self) -> Fraction | None:
        """Its value where no estimate is in it."""
        if self.above.keys() | self.below.keys() != {ONE}:
            return None
        return self.above[ONE] / self.below[ONE] if self.below[ONE] else None

    @property
    def divided(self) -> bool:
        """Whether noise is in what it is divided by."""
        return self.below.keys() != {ONE}


def is_derived(query: Query, column: OutputColumn) -> bool:
    """Whether a column is a number that is computed from noisy ones, and no end of an interval itself."""
    if column.role != "derived" or column.type not in ("integer", "number"):
        return False
    noisy = any(isinstance(found, Release) for found in nodes(query.table))
    return noisy and not _is_end(query.table, column.column)


def _is_end(table: Public, name: str) -> bool:
    source = origin(table, name)
    if source is None:
        return False
    release, found = source
    return any(found in ends_of(aggregate) for aggregate, _ in release.aggregates)


def origin(table: Public, name: str) -> tuple[Release, str] | None:
    """Return the column of a release that a column is unchanged, row by row, None if it is computed."""
    match table:
        case Release():
            return table, name
        case Pick(source, found):
            meaning: Scalar = dict(found)[name]
            return origin(source, meaning.name) if isinstance(meaning, Ref) else None
        case Keep(source) | Sort(source):
            return origin(source, name)
        case Over(source, windows):
            return None if name in dict(windows) else origin(source, name)
        case Pair(_, left, right):
            return origin(left if name in columns(left) else right, name)
        case Attach(source, attached, how):
            if name != attached:
                return origin(source, name)
            [only] = columns(table.table) if how == "value" else [None]
            return None if only is None else origin(table.table, only)
        case _:
            return None


def form(query: Query, planned: tuple[PlannedRelease, ...], column: OutputColumn) -> Form | None:
    """Return the formula of a column of the answer, None where there is none of this kind.

    Why a release that is joined with itself has none: whether two of its rows are the same row, and so share their
    noise, is a matter of keys.
    """
    found = _Forms(query.releases, planned).column(query.table, column.column, "")
    if found is None:
        return None
    sides: dict[int, set[str]] = {}
    for place, _, side in (found.above.keys() | found.below.keys()) - {ONE}:
        sides.setdefault(place, set()).add(side)
    if not sides or any(len(each) > 1 and planned[place].keys for place, each in sides.items()):
        return None
    return found


@dataclass(frozen=True, slots=True)
class _Forms:
    releases: tuple[Release, ...]
    planned: tuple[PlannedRelease, ...]

    def column(self, table: Public, name: str, side: str) -> Form | None:
        match table:
            case Release():
                return self._estimate(table, name, side)
            case Pick(source, found):
                return self._scalar(dict(found)[name], source, side)
            case Keep(source) | Sort(source):
                return self.column(source, name, side)
            case Over(source, windows):
                return None if name in dict(windows) else self.column(source, name, side)
            case Pair(_, left, right):
                at, which = (left, "l") if name in columns(left) else (right, "r")
                return self.column(at, name, side + which)
            case Attach(source, attached, how):
                if name != attached:
                    return self.column(source, name, side)
                return self.column(table.table, columns(table.table)[0], f"{side}{name}.") if how == "value" else None
            case _:
                return None

    def _estimate(self, release: Release, name: str, side: str) -> Form | None:
        place = self.releases.index(release)
        planned = self.planned[place]
        if planned.clip is not None or not isinstance(dict(planned.estimators).get(name), Linear):
            return None
        return Form({(place, name, side): Fraction(1)}, {ONE: Fraction(1)})

    def _scalar(self, found: Scalar, table: Public, side: str) -> Form | None:
        match found:
            case Ref(name):
                return self.column(table, name, side)
            case Constant(value):
                number = isinstance(value, int | float | Fraction) and not isinstance(value, bool)
                return Form({ONE: Fraction(value)}, {ONE: Fraction(1)}) if number else None  # type: ignore[arg-type]
            case Call("to_float", (only,)):
                return self._scalar(only, table, side)
            case Call("negate", (only,)):
                return _scaled(self._scalar(only, table, side), Fraction(-1))
            case Call("add" | "subtract" | "multiply" | "divide" as how, (first, second)):
                left, right = self._scalar(first, table, side), self._scalar(second, table, side)
                return None if left is None or right is None else _combined(how, left, right)
            case _:
                return None


def _scaled(found: Form | None, by: Fraction | None) -> Form | None:
    if found is None or by is None:
        return None
    return Form({source: weight * by for source, weight in found.above.items()}, found.below)


def _combined(how: str, left: Form, right: Form) -> Form | None:
    match how:
        case "add" | "subtract":
            if left.divided or right.divided:
                return None
            sign = 1 if how == "add" else -1
            above = {
                source: left.above.get(source, Fraction(0)) + sign * right.above.get(source, Fraction(0))
                for source in (*left.above, *(source for source in right.above if source not in left.above))
            }
            return Form(above, left.below)
        case "multiply":
            return _scaled(left, right.constant) or _scaled(right, left.constant)
        case _:
            if right.constant is not None:
                return _scaled(left, 1 / right.constant) if right.constant else None
            return None if left.divided or right.divided else Form(left.above, right.above)


def terms(weights: Weights, planned: tuple[PlannedRelease, ...]) -> Terms:
    """Return a weighted sum of estimates as one of measures, each called after its release's place and its own name."""
    sums: dict[str, Fraction] = {}
    for (place, name, _), weight in weights.items():
        if place < 0:
            continue
        estimator = dict(planned[place].estimators)[name]
        assert isinstance(estimator, Linear)
        for measure, part in estimator.terms:
            key = f"{place}.{measure}"
            sums[key] = sums.get(key, Fraction(0)) + weight * part
    return tuple(sums.items())


def noises(planned: tuple[PlannedRelease, ...]) -> dict[str, Noise]:
    """Return the law of each measure of all releases, called as in ``terms``."""
    return {f"{place}.{name}": law for place, found in enumerate(planned) for name, law in found.noises.items()}
