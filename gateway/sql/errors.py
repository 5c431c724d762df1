"""What error to expect of an estimate before anything is drawn: a function of the known noise alone.

A mean or a statistic of second moments is a ratio, whose error falls with the group's size n, which nobody may know;
its error is told as a number over n.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction

from gateway.sql.plan import Estimator, Linear, Mean, Moments, Picked, Variable
from mechanisms.intervals import half_width
from mechanisms.noise import Noise

Terms = tuple[tuple[str, Fraction], ...]

EVEN = Fraction(1, 3)
"""The variance of values that spread evenly over [-1, 1]."""


def expected_error(estimator: Linear | Mean | Moments, noises: Mapping[str, Noise], *, aside: bool = False) -> float:
    """Return the 95 % half-width of an estimate; of a mean or a statistic of second moments, times the group's size.

    For these the values are taken to spread evenly around the middle of their bounds, a quarter of the bounds' distance
    from it if ``aside``; a deviation's error is that of its square, over twice the deviation.
    """
    match estimator:
        case Linear(terms):
            return _width([(terms, Fraction(1))], noises)
        case Mean(spread, count):
            offset = (estimator.upper - estimator.lower) / 4 if aside else Fraction(0)
            return _width([(spread, Fraction(1)), (count, -offset)], noises)
        case Moments():
            return _of_moments(estimator, noises, Fraction(1, 2) if aside else Fraction(0))


def _width(parts: Iterable[tuple[Terms, Fraction]], noises: Mapping[str, Noise]) -> float:
    sums: dict[str, Fraction] = {}
    for terms, factor in parts:
        for name, weight in terms:
            sums[name] = sums.get(name, Fraction(0)) + factor * weight
    return half_width([(float(weight), noises[name]) for name, weight in sums.items()], 0.95)


def _of_moments(moments: Moments, noises: Mapping[str, Noise], mean: Fraction) -> float:
    """Return the error times n at means of ``mean``, even spread and no correlation.

    To first order it is the noise of the sum of (a - mean)(b - mean), less the statistic's share of the count's.
    """
    x, y = moments.x, moments.y
    if y is None:
        squares = [(x.second, Fraction(1)), (x.first, -2 * mean), (moments.count, mean * mean - EVEN)]
        size = _width(squares, noises) * float(x.half) ** 2
        return size / (2 * float(x.half) * math.sqrt(EVEN)) if moments.statistic.startswith("deviation") else size
    products = [(moments.product, Fraction(1)), (x.first, -mean), (y.first, -mean), (moments.count, mean * mean)]
    error = _width(products, noises)
    match moments.statistic:
        case "covariance_population" | "covariance_sample":
            return error * float(x.half * y.half)
        case "slope":
            return error / float(EVEN) * float(y.half / x.half)
        case "intercept":
            level = _width([(y.first, Fraction(1)), (moments.count, -mean)], noises)
            return (level + error / float(EVEN) * float(abs(x.centre / x.half))) * float(y.half)
        case _:
            return error / float(EVEN)


def log_error(estimator: Estimator, noises: Mapping[str, Noise]) -> float:
    """Return the logarithm of the error by which ways to release an aggregate are compared; of a quantile, in rows."""
    if isinstance(estimator, Picked):
        return math.log(estimator.rows)
    return math.log(max(expected_error(estimator, noises, aside=True), 1e-300))


def note(estimator: Mean | Moments, error: float) -> str:
    """Say how an error falls with the size of the group."""
    size = f"within {error:.6g} / n of a group of n rows"
    if isinstance(estimator, Mean):
        return f"{size}, for n well above {error:.3g}"
    least = error / _unit(estimator)
    return (
        f"{size} whose values spread evenly within their bounds, for n well above {least:.3g}; less spread, more error"
    )


def _unit(moments: Moments) -> float:
    """Return the size of a statistic of values that spread evenly, against which an error is large."""
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
