"""Noisy integers as estimates of what was asked, with the intervals that their noise allows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from gateway.answers.moments import Columns, doubles, statistic, weighted
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


@dataclass(frozen=True, slots=True)
class Estimated:
    """One aggregate over all groups: values, their intervals, and what stands where some group was too small for it.

    An interval is None where nothing bounds the value.
    """

    values: tuple[int | float, ...]
    intervals: tuple[tuple[float, float] | None, ...]
    sparse: str | None


def estimate(planned: PlannedRelease, table: NoisyTable, confidence: float) -> dict[str, Estimated]:
    """Return every aggregate of a release, group by group, with intervals that cover the noise at ``confidence``."""
    planned = planned.at(table.clip)
    names, noises = planned.integers, planned.noises
    columns = dict(zip(names, zip(*table.measures, strict=True) if table.measures else [()] * len(names), strict=True))
    return {name: _estimated(found, columns, noises, confidence) for name, found in planned.estimators}


def _estimated(estimator: Estimator, columns: Columns, noises: dict[str, Noise], confidence: float) -> Estimated:
    if isinstance(estimator, Linear):
        if estimator.among > 1:
            return _of_winner(estimator, columns, noises, confidence)
        width = half_width([(float(weight), noises[name]) for name, weight in estimator.terms], confidence)
        sums, below = weighted(estimator.terms, columns)
        centres = doubles(sums, below)
        return Estimated(stepped(sums, below, estimator.step), _pairs(centres - width, centres + width), None)
    if isinstance(estimator, Picked):
        exact = [estimator.grid.value(bucket) for bucket in columns[estimator.bucket]]
        picked = tuple(math.floor(value) if estimator.whole else float(value) for value in exact)
        return Estimated(picked, (None,) * len(picked), None)
    if isinstance(estimator, Moments):
        found = statistic(estimator, columns, noises, confidence)
        return Estimated(found.values, found.intervals, UNDEFINED if any(found.undefined) else None)
    return _means(estimator, columns, noises, confidence)


def _of_winner(
    estimator: Linear, columns: Mapping[str, Sequence[int]], noises: Mapping[str, Noise], confidence: float
) -> Estimated:
    """Return what a race tells, and its interval: any of its draws may be the one that won, so that all hold together.

    The interval is around the noisy sum; what is told lies lower, and within it.
    """
    sure = min(1 - (1 - confidence) / estimator.among, MAX_CONFIDENCE)
    width = half_width([(float(weight), noises[name]) for name, weight in estimator.terms], sure)
    sums, below = weighted(estimator.terms, columns)
    lower = [max(round(total - estimator.less * below), 0) for total in sums]
    values = stepped(lower, below, estimator.step)
    ends = [(total / below - width, total / below + width) for total in sums]
    intervals = tuple((min(low, value), max(high, value)) for value, (low, high) in zip(values, ends, strict=True))
    return Estimated(values, intervals, None)


def stepped(sums: list[int], below: int, step: Fraction | None) -> tuple[int | float, ...]:
    """Return sums on the grid of what they sum, so that a count of people is a whole number."""
    if step is None:
        return tuple(total / below for total in sums)
    rounded = (_nearest(total * step.denominator, below * step.numerator) for total in sums)
    if step.denominator == 1:
        return tuple(steps * step.numerator for steps in rounded)
    return tuple(steps * step.numerator / step.denominator for steps in rounded)


def _nearest(above: int, below: int) -> int:
    """Return a quotient rounded to the nearest whole number, to the even one of two; ``below`` is above zero."""
    quotient, rest = divmod(above, below)
    return quotient + (2 * rest > below or (2 * rest == below and quotient % 2 == 1))


def _means(mean: Mean, columns: Columns, noises: dict[str, Noise], confidence: float) -> Estimated:
    """Return means within their bounds, their intervals, and whether some noisy count was too small for one.

    Below one row the middle of the bounds stands for the mean: always a number, decided from the noisy count.
    """
    (spreads, of_spread), (counts, of_count) = weighted(mean.spread, columns), weighted(mean.count, columns)
    centre, lower, upper = float(mean.centre), float(mean.lower), float(mean.upper)
    ends = ratio_intervals(
        doubles(spreads, of_spread),
        doubles(counts, of_count),
        _floats(mean.spread),
        _floats(mean.count),
        noises,
        confidence,
        float(mean.lower - mean.centre),
        float(mean.upper - mean.centre),
    )
    # centre + (spread / of_spread) / (count / of_count), divided once
    start, scale = mean.centre.numerator * of_spread, mean.centre.denominator * of_count
    below = mean.centre.denominator * of_spread
    values = [
        centre if count < of_count else (start * count + spread * scale) / (below * count)
        for spread, count in zip(spreads, counts, strict=True)
    ]
    held = np.clip(np.array(values, dtype=np.float64), lower, upper)
    return bounded(mean, held, ends, sparse=any(count < of_count for count in counts))


def bounded(mean: Mean, values: Floats, ends: Ends, *, sparse: bool) -> Estimated:
    """Return means with intervals, given those of their distances from the middle.

    A noisy sum may tell that a mean is not in the middle although the noisy count tells of no row: the interval is
    widened to what stands there, and covers no less.
    """
    centre, (low, high) = float(mean.centre), ends
    intervals = _pairs(np.minimum(centre + low, values), np.maximum(centre + high, values))
    return Estimated(tuple(values.tolist()), intervals, TOO_SMALL if sparse else None)


def _pairs(low: Floats, high: Floats) -> tuple[tuple[float, float], ...]:
    return tuple(zip(low.tolist(), high.tolist(), strict=True))


def _floats(terms: tuple[tuple[str, Fraction], ...]) -> tuple[tuple[str, float], ...]:
    return tuple((name, float(weight)) for name, weight in terms)
