"""What error to expect of an estimate before anything is drawn: a function of the known noise alone.

A mean or a statistic of second moments is a ratio, whose error falls with the group's size n, which nobody may know;
its error is told as a number over n.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from gateway.sql.planning.plan import Estimator, Linear, Mean, Moments, Picked, Variable
from mechanisms.intervals import half_width
from mechanisms.noise import Noise

Terms = tuple[tuple[str, Fraction], ...]

EVEN = Fraction(1, 3)
"""The variance of values that spread evenly over [-1, 1]."""


@dataclass(frozen=True, slots=True)
class First:
    """What the noise adds to an estimate to first order: ``size`` times a weighted sum of the measures' noises.

    Of a mean or a statistic of second moments that is a number over the group's size.
    """

    weights: Mapping[str, Fraction]
    size: float


def first_order(estimator: Linear | Mean | Moments, *, aside: bool = False) -> First:
    """Return what the noise adds to an estimate to first order.

    The values of a mean or a statistic of second moments are taken to spread evenly around the middle of their bounds,
    a quarter of the bounds' distance from it if ``aside``; a deviation's error is that of its square, over twice the
    deviation.
    """
    match estimator:
        case Linear(terms):
            return First(_sum((terms, Fraction(1))), 1.0)
        case Mean(spread, count):
            offset = (estimator.upper - estimator.lower) / 4 if aside else Fraction(0)
            return First(_sum((spread, Fraction(1)), (count, -offset)), 1.0)
        case Moments():
            return _of_moments(estimator, Fraction(1, 2) if aside else Fraction(0))


def expected_error(estimator: Linear | Mean | Moments, noises: Mapping[str, Noise], *, aside: bool = False) -> float:
    """Return the 95 % half-width of an estimate; of a mean or a statistic of second moments, times the group's size."""
    first = first_order(estimator, aside=aside)
    return half_width([(float(weight), noises[name]) for name, weight in first.weights.items()], 0.95) * first.size


def _sum(*parts: tuple[Terms, Fraction]) -> dict[str, Fraction]:
    sums: dict[str, Fraction] = {}
    for terms, factor in parts:
        for name, weight in terms:
            sums[name] = sums.get(name, Fraction(0)) + factor * weight
    return sums


def _of_moments(moments: Moments, mean: Fraction) -> First:
    """Return the noise over n at means of ``mean``, even spread and no correlation.

    It is that of the sum of (a - mean)(b - mean), less the statistic's share of the count's.
    """
    x, y = moments.x, moments.y
    if y is None:
        squares = _sum((x.second, Fraction(1)), (x.first, -2 * mean), (moments.count, mean * mean - EVEN))
        deviation = moments.statistic.startswith("deviation")
        return First(squares, float(x.half) / (2 * math.sqrt(EVEN)) if deviation else float(x.half) ** 2)
    product = _sum((moments.product, Fraction(1)), (x.first, -mean), (y.first, -mean), (moments.count, mean * mean))
    match moments.statistic:
        case "covariance_population" | "covariance_sample":
            return First(product, float(x.half * y.half))
        case "slope":
            return First(product, float(y.half / x.half / EVEN))
        case "intercept":
            along = -(x.centre / x.half + mean) / EVEN
            level = ((y.first, Fraction(1)), (moments.count, -mean))
            return First(_sum(*level, (tuple(product.items()), along)), float(y.half))
        case _:
            return First(product, 1 / float(EVEN))


def log_error(estimator: Estimator, noises: Mapping[str, Noise]) -> float:
    """Return the logarithm of the error by which ways to release an aggregate are compared; of a quantile, in rows."""
    if isinstance(estimator, Picked):
        return math.log(estimator.rows)
    return math.log(max(expected_error(estimator, noises, aside=True), 1e-300))


def note(estimator: Mean | Moments, error: float) -> str:
    """Say how an error falls with the size of the group."""
    size = f"within {error:.6g} / n of a group of n rows"
    least = error / _unit(estimator)
    if isinstance(estimator, Mean):
        return f"{size}, for n well above {least:.3g}"
    return (
        f"{size} whose values spread evenly within their bounds, for n well above {least:.3g}; less spread, more error"
    )


def _unit(moments: Mean | Moments) -> float:
    """Return the size of a statistic of values that spread evenly, against which an error is large.

    Of a mean it is how far the ends of its bounds are from their middle.
    """
    if isinstance(moments, Mean):
        return float(moments.upper - moments.lower) / 2 or 1.0
    x, y = float(moments.x.half), float(_half(moments.y))
    match moments.statistic:
        case "variance_population" | "variance_sample":
            return x * x * float(EVEN)
        case "deviation_population" | "deviation_sample":
            return x * math.sqrt(EVEN)
        case "covariance_population" | "covariance_sample":
            return x * y * float(EVEN)
        case "slope":
            return y / x
        case "intercept":
            return y
        case _:
            return 1.0


def _half(variable: Variable | None) -> Fraction:
    return Fraction(1) if variable is None else variable.half
