"""Noisy integers as estimates of what was asked, with the intervals that their noise allows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from gateway.answers.exact import Whole, combined, nearest, quotients, whole
from gateway.answers.moments import Columns, statistic, weighted
from gateway.noisy import NoisyTable
from gateway.sql.planning.plan import Estimator, Linear, Mean, Moments, Picked, PlannedRelease
from mechanisms.intervals import MAX_CONFIDENCE, Ends, half_width, ratio_intervals
from mechanisms.noise import Noise
from mechanisms.tails import Floats

TOO_SMALL = "in some groups the noisy number of rows is below one; the middle of its bounds stands there."
UNDEFINED = (
    "in some groups there are fewer than two rows, or no variation, by the noisy numbers; zero stands there, "
    "and for an intercept the mean of y."
)


Intervals: TypeAlias = list[tuple[float, float] | None]


@dataclass(frozen=True, slots=True, eq=False)
class Estimated:
    """One aggregate over all groups: values (whole numbers or doubles), the ends of their intervals, and what stands
    where some group was too small for it.

    Both ends are NaN where nothing bounds the value.
    """

    values: Whole | Floats
    low: Floats
    high: Floats
    sparse: str | None

    @property
    def intervals(self) -> Intervals:
        """The intervals, None where nothing bounds the value."""
        return pairs(self.low, self.high)


def pairs(low: Floats, high: Floats) -> Intervals:
    """Return the ends of intervals two by two, None where one of them is no number."""
    found: Intervals = list(zip(low.tolist(), high.tolist(), strict=True))
    for place in np.flatnonzero(np.isnan(low) | np.isnan(high)):
        found[place] = None
    return found


def estimate(planned: PlannedRelease, table: NoisyTable, confidence: float) -> dict[str, Estimated]:
    """Return every aggregate of a release, group by group, with intervals that cover the noise at ``confidence``."""
    planned = planned.at(table.clip)
    columns, noises = integers(planned, table), planned.noises
    return {name: _estimated(found, columns, noises, confidence) for name, found in planned.estimators}


def integers(planned: PlannedRelease, table: NoisyTable) -> Columns:
    """Return the noisy integers of each measure."""
    names = planned.integers
    columns = zip(*table.measures, strict=True) if table.measures else [()] * len(names)
    return {name: whole(column) for name, column in zip(names, columns, strict=True)}


def _estimated(estimator: Estimator, columns: Columns, noises: dict[str, Noise], confidence: float) -> Estimated:
    if isinstance(estimator, Linear):
        if estimator.among > 1:
            return _of_winner(estimator, columns, noises, confidence)
        width = half_width([(float(weight), noises[name]) for name, weight in estimator.terms], confidence)
        sums, below = weighted(estimator.terms, columns)
        centres = quotients(sums, below)
        return Estimated(stepped(sums, below, estimator.step), centres - width, centres + width, None)
    if isinstance(estimator, Picked):
        exact = [estimator.grid.value(bucket) for bucket in columns[estimator.bucket].tolist()]
        picked = whole([math.floor(value) for value in exact]) if estimator.whole else np.array(exact, dtype=np.float64)
        nothing = np.full(len(exact), np.nan)
        return Estimated(picked, nothing, nothing, None)
    if isinstance(estimator, Moments):
        found = statistic(estimator, columns, noises, confidence)
        return Estimated(found.values, found.low, found.high, UNDEFINED if found.undefined.any() else None)
    return _means(estimator, columns, noises, confidence)


def _of_winner(estimator: Linear, columns: Columns, noises: dict[str, Noise], confidence: float) -> Estimated:
    """Return what a race tells, and its interval: any of its draws may be the one that won, so that all hold together.

    The interval is around the noisy sum; what is told lies lower, and within it.
    """
    sure = min(1 - (1 - confidence) / estimator.among, MAX_CONFIDENCE)
    width = half_width([(float(weight), noises[name]) for name, weight in estimator.terms], sure)
    sums, below = weighted(estimator.terms, columns)
    lower = [max(round(total - estimator.less * below), 0) for total in sums.tolist()]
    values, centres = stepped(whole(lower), below, estimator.step), quotients(sums, below)
    told = values.astype(np.float64)
    return Estimated(values, np.minimum(centres - width, told), np.maximum(centres + width, told), None)


def stepped(sums: Whole, below: int, step: Fraction | None) -> Whole | Floats:
    """Return sums on the grid of what they sum, so that a count of people is a whole number."""
    if step is None:
        return quotients(sums, below)
    steps = combined((step.numerator, nearest(sums, step.denominator, below * step.numerator)))
    return steps if step.denominator == 1 else quotients(steps, step.denominator)


def _means(mean: Mean, columns: Columns, noises: dict[str, Noise], confidence: float) -> Estimated:
    """Return means within their bounds, their intervals, and whether some noisy count was too small for one.

    Below one row the middle of the bounds stands for the mean: always a number, decided from the noisy count.
    """
    (spreads, of_spread), (counts, of_count) = weighted(mean.spread, columns), weighted(mean.count, columns)
    centre, lower, upper = float(mean.centre), float(mean.lower), float(mean.upper)
    ends = ratio_intervals(
        quotients(spreads, of_spread),
        quotients(counts, of_count),
        _floats(mean.spread),
        _floats(mean.count),
        noises,
        confidence,
        float(mean.lower - mean.centre),
        float(mean.upper - mean.centre),
    )
    # centre + (spread / of_spread) / (count / of_count), divided once
    small = counts < of_count
    start, scale = mean.centre.numerator * of_spread, mean.centre.denominator * of_count
    above = combined((start, counts), (scale, spreads))
    below = combined((mean.centre.denominator * of_spread, np.where(small, whole([of_count]), counts)))
    values = np.where(small, centre, quotients(above, below))
    return bounded(mean, np.clip(values, lower, upper), ends, sparse=bool(small.any()))


def bounded(mean: Mean, values: Floats, ends: Ends, *, sparse: bool) -> Estimated:
    """Return means with intervals, given those of their distances from the middle.

    A noisy sum may tell that a mean is not in the middle although the noisy count tells of no row: the interval is
    widened to what stands there, and covers no less.
    """
    centre, (low, high) = float(mean.centre), ends
    low, high = np.minimum(centre + low, values), np.maximum(centre + high, values)
    return Estimated(values, low, high, TOO_SMALL if sparse else None)


def _floats(terms: tuple[tuple[str, Fraction], ...]) -> tuple[tuple[str, float], ...]:
    return tuple((name, float(weight)) for name, weight in terms)
