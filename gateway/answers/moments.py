"""Variances, covariances, correlations and regressions, with intervals, read off the noisy moments of a release.

Everything is computed in [-1, 1] of each column (``mechanisms.moments``) and scaled back; what a statistic cannot be
is cut off, which loses nothing of the promise. Of fewer than two noisy rows, or of columns that by the noisy numbers do
not vary where they would have to, zero stands for the statistic, and for an intercept the mean of y.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from gateway.answers.exact import Whole, combined, quotients
from gateway.sql.planning.plan import Moments, Variable
from mechanisms import firstorder
from mechanisms.intervals import ratio_intervals
from mechanisms.moments import Estimates, Flags, Noisy, correlation, count_range, covariance, slope
from mechanisms.noise import Noise
from mechanisms.tails import Floats

Terms = tuple[tuple[str, Fraction], ...]
Columns = Mapping[str, Whole]
"""The noisy integers of each measure, group by group."""


@dataclass(frozen=True, slots=True, eq=False)
class Statistic:
    """A statistic of each group, and its ends, NaN where nothing bounds it; zero stands where it is ``undefined``."""

    values: Floats
    low: Floats
    high: Floats
    undefined: Flags


def statistic(moments: Moments, columns: Columns, noises: Mapping[str, Noise], confidence: float) -> Statistic:
    """Return a statistic of second moments, group by group."""
    noisy = noisy_moments(moments, columns, noises)
    match moments.statistic:
        case "variance_population" | "variance_sample" | "deviation_population" | "deviation_sample":
            return _variance(moments, noisy, confidence)
        case "covariance_population" | "covariance_sample":
            return _covariance(moments, noisy, confidence)
        case "correlation":
            return _shown(_correlation(noisy, confidence))
        case "determination":
            return _shown(_squared(_correlation(noisy, confidence)))
        case "slope":
            found = _slope(noisy, confidence)
            return _shown(_scaled(found, float(_of_y(moments).half / moments.x.half)))
        case "intercept":
            return _intercept(moments, noisy, confidence)


def noiseless(moments: Moments, sums: Mapping[str, Floats]) -> Floats:
    """Return a statistic alone, without intervals, of moments called as in ``noisy_moments``."""
    n, many = np.maximum(sums["n"], 1.0), sums["n"] >= 2

    def central(first: str, second: str) -> Floats:
        return np.asarray(sums[first + second] - sums[first] * sums[second] / n, dtype=np.float64)

    kind, x, y = moments.statistic, moments.x, moments.y
    sample = np.maximum(n, 2.0) / (np.maximum(n, 2.0) - 1) if kind.endswith("sample") else 1.0
    if y is None:
        squares = np.where(many, np.clip(central("a", "a") / n, -1, 1), 0.0) * float(x.half**2) * sample
        squares = np.clip(squares, 0.0, _widest(x) ** 2 * sample)
        return np.asarray(np.sqrt(squares) if kind.startswith("deviation") else squares, dtype=np.float64)
    if kind.startswith("covariance"):
        most = _widest(x) * _widest(y) * sample
        product = np.where(many, np.clip(central("a", "b") / n, -1, 1), 0.0) * float(x.half * y.half)
        return np.asarray(np.clip(product * sample, -most, most), dtype=np.float64)
    along = central("a", "a")
    if kind in ("correlation", "determination"):
        other = central("b", "b")
        usable = many & (along > 0) & (other > 0)
        tied = central("a", "b") / np.sqrt(np.where(usable, along * other, 1.0))
        tied = np.where(usable, np.clip(tied, -1, 1), 0.0)
        return np.asarray(tied**2 if kind == "determination" else tied, dtype=np.float64)
    usable, below = many & (along > 0), np.where(along > 0, along, 1.0)
    steepest = np.sqrt(n / below)
    steep = np.where(usable, np.clip(central("a", "b") / below, -steepest, steepest), 0.0)
    if kind == "slope":
        return np.asarray(steep * float(y.half / x.half), dtype=np.float64)
    at = np.clip(sums["a"] / n, -1, 1) + float(x.centre / x.half)
    level = np.clip(sums["b"] / n, -1, 1) - steep * at
    return np.asarray(level * float(y.half) + float(y.centre), dtype=np.float64)


def moment_terms(moments: Moments) -> dict[str, Terms]:
    """Return each moment as a weighted sum of measures, those that the statistic has."""
    terms: dict[str, Terms] = {"n": moments.count, "a": moments.x.first, "aa": moments.x.second}
    if moments.y is not None:
        terms |= {"b": moments.y.first, "bb": moments.y.second, "ab": moments.product}
    return {name: found for name, found in terms.items() if found}


def weighted(terms: Terms, columns: Columns) -> tuple[Whole, int]:
    """Return the weighted sum of each group, exactly, as whole numbers over one denominator."""
    below = math.lcm(*(weight.denominator for _, weight in terms))
    return combined(*((int(weight * below), columns[name]) for name, weight in terms)), below


def noisy_moments(moments: Moments, columns: Columns, noises: Mapping[str, Noise]) -> Noisy:
    """Return the moments as doubles: sums are exact until here."""
    terms = moment_terms(moments)
    return Noisy(
        {name: quotients(*weighted(found, columns)) for name, found in terms.items()},
        {name: tuple((key, float(weight)) for key, weight in found) for name, found in terms.items()},
        noises,
    )


def _of_y(moments: Moments) -> Variable:
    assert moments.y is not None
    return moments.y


def _widest(variable: Variable) -> float:
    """Return the greatest standard deviation within the bounds (Popoviciu 1935)."""
    return float(variable.upper - variable.lower) / 2


def _combined(
    first: Callable[[Noisy, float], firstorder.Reach],
    worst: Callable[[Noisy, float, Flags], Estimates],
    noisy: Noisy,
    confidence: float,
) -> Estimates:
    """Return estimates with intervals to first order; where these say nothing, they allow for the worst."""
    reach = first(noisy, confidence)
    return reach.narrowed(worst(noisy, confidence, ~reach.sure))


def _variance(moments: Moments, noisy: Noisy, confidence: float) -> Statistic:
    alone = noisy.variance()
    found = _combined(firstorder.covariance, covariance, alone, confidence)
    found = _scaled(found, float(moments.x.half**2))
    if moments.statistic.endswith("sample"):
        found = _sampled(found, noisy, confidence)
    found = _held(found, 0.0, _widest(moments.x) ** 2, moments, noisy)
    if moments.statistic.startswith("deviation"):
        found = Estimates(np.sqrt(found.value), np.sqrt(found.low), np.sqrt(found.high), found.undefined)
    return _shown(found)


def _covariance(moments: Moments, noisy: Noisy, confidence: float) -> Statistic:
    y = _of_y(moments)
    found = _combined(firstorder.covariance, covariance, noisy, confidence)
    found = _scaled(found, float(moments.x.half * y.half))
    if moments.statistic.endswith("sample"):
        found = _sampled(found, noisy, confidence)
    most = _widest(moments.x) * _widest(y)
    return _shown(_held(found, -most, most, moments, noisy))


def _correlation(noisy: Noisy, confidence: float) -> Estimates:
    return _combined(firstorder.correlation, correlation, noisy, confidence)


def _slope(noisy: Noisy, confidence: float) -> Estimates:
    return _combined(firstorder.slope, slope, noisy, confidence)


def _intercept(moments: Moments, noisy: Noisy, confidence: float) -> Statistic:
    """Return ``mean of y - slope * mean of x``: three intervals that hold together, by the union bound.

    The slope's is given three quarters of what the confidence allows: far from the middle of x it decides.
    """
    x, y = moments.x, _of_y(moments)
    shift, at_slope = float(x.centre / x.half), 1 - (1 - confidence) * 3 / 4
    reach = firstorder.intercept(noisy, confidence, -shift)
    steep = slope(noisy, at_slope, ~reach.sure)
    if not reach.sure.all():
        steep = firstorder.slope(noisy, at_slope).narrowed(steep)
    n = np.maximum(noisy.values["n"], 1.0)
    ends = {name: _means(noisy, name, 1 - (1 - confidence) / 8) for name in ("a", "b")}
    level = np.clip(noisy.values["b"] / n, -1, 1)
    value = level - steep.value * (np.clip(noisy.values["a"] / n, -1, 1) + shift)
    bounded = np.isfinite(steep.low) & np.isfinite(steep.high)
    slopes = [np.where(bounded, end, 0.0) for end in (steep.low, steep.high)]
    products = [end * (mean + shift) for end in slopes for mean in ends["a"]]
    low, high = ends["b"][0] - np.maximum.reduce(products), ends["b"][1] - np.minimum.reduce(products)
    found = Estimates(value, np.where(bounded, low, -np.inf), np.where(bounded, high, np.inf), steep.undefined)
    scaled = _scaled(reach.narrowed(found), float(y.half))
    middle = float(y.centre)
    return _shown(Estimates(scaled.value + middle, scaled.low + middle, scaled.high + middle, scaled.undefined))


def _means(noisy: Noisy, name: str, confidence: float) -> tuple[Floats, Floats]:
    values, terms = noisy.values, noisy.terms
    return ratio_intervals(values[name], values["n"], terms[name], terms["n"], noisy.noises, confidence, -1.0, 1.0)


def _most_factor(moments: Moments, noisy: Noisy) -> Floats:
    """Return n/(n - 1) of the noisy count for a sample, at most the 2 of two rows; 1 for a population."""
    n = np.maximum(noisy.values["n"], 2.0)
    return n / (n - 1) if moments.statistic.endswith("sample") else np.ones_like(n)


def _sampled(found: Estimates, noisy: Noisy, confidence: float) -> Estimates:
    """Return the same of a sample: times n/(n - 1), with n anywhere that its own interval says; two rows at least."""
    n = np.maximum(noisy.values["n"], 2.0)
    fewest, most = (np.maximum(end, 2.0) for end in count_range(noisy, confidence))
    large, small = fewest / (fewest - 1), most / (most - 1)
    return Estimates(
        found.value * n / (n - 1),
        np.minimum(found.low * large, found.low * small),
        np.maximum(found.high * large, found.high * small),
        found.undefined,
    )


def _held(found: Estimates, least: float, most: float, moments: Moments, noisy: Noisy) -> Estimates:
    """Return what is possible: of a sample up to n/(n - 1) times as much as of a population, twice at most."""
    factor = _most_factor(moments, noisy)
    widest = 2.0 if moments.statistic.endswith("sample") else 1.0
    low, high = (np.clip(end, least * widest, most * widest) for end in (found.low, found.high))
    return Estimates(np.clip(found.value, least * factor, most * factor), low, high, found.undefined)


def _scaled(found: Estimates, by: float) -> Estimates:
    return Estimates(found.value * by, found.low * by, found.high * by, found.undefined)


def _squared(found: Estimates) -> Estimates:
    ends = np.abs(found.low), np.abs(found.high)
    low = np.where(found.low * found.high <= 0, 0.0, np.minimum(*ends))
    return Estimates(found.value**2, low**2, np.maximum(*ends) ** 2, found.undefined)


def _shown(found: Estimates) -> Statistic:
    bounded = np.isfinite(found.low) & np.isfinite(found.high)
    low, high = (np.where(bounded, end, np.nan) for end in (found.low, found.high))
    return Statistic(found.value, low, high, found.undefined)
