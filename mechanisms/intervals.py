"""Intervals for what was released: how far noise, known in law, may have moved a linear combination or a ratio.

They cover the noise alone, not what clipping took away. Everything here is a function of public figures (scales,
released values) and uses no randomness. An interval at confidence c covers with probability at least c, and hardly
more.

The parts of a combination are independent noises; a noise that enters twice (numerator and denominator of a mean) is
one part with its coefficients added, which is why an ``Estimate`` names its noises by key.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from mechanisms.combine import Terms, grid_of, tail
from mechanisms.noise import Noise
from mechanisms.tails import quantile

MAX_CONFIDENCE = 1 - 1e-6
"""Above it the rounding errors of the numerical convolution would be felt."""

Interval: TypeAlias = tuple[float, float]

_STEPS = 48  # halvings: to 4e-15 of the range searched


@dataclass(frozen=True, slots=True)
class Estimate:
    """A released value and its noise: the sum over ``terms`` of coefficient times the noise of that key.

    Two estimates that name the same key share that very draw. Different keys are independent draws.
    """

    value: float
    terms: tuple[tuple[str, float], ...]


def _allowed(confidence: float) -> float:
    if not 0 < confidence <= MAX_CONFIDENCE:
        raise ValueError("confidence out of range")
    return 1 - confidence


def _canonical(terms: Sequence[tuple[float, Noise]]) -> Terms:
    """Return the terms with positive coefficients (noise is symmetric), in one order.

    Left out is what could not move a float: parts less than 2^-80 of the largest, which leaves 2^-70 of it unaccounted.
    """
    for coefficient, _ in terms:
        if not math.isfinite(coefficient):
            raise ValueError("coefficient is not finite")
    least = max((abs(coefficient) * noise.scale for coefficient, noise in terms), default=0.0) * 2.0**-80
    kept = [(abs(coefficient), noise) for coefficient, noise in terms if abs(coefficient) * noise.scale > least]
    return tuple(sorted(kept, key=lambda term: (term[1].mechanism, term[1].scale, term[0])))


def half_width(terms: Sequence[tuple[float, Noise]], confidence: float) -> float:
    """Return the least h with P[|c_1 Z_1 + c_2 Z_2 + ...| <= h] >= confidence, up to a slack of at most a percent.

    Takes:
        terms: coefficient and noise of each independent part; the result has the unit of the coefficients.
        confidence: above 0, at most ``MAX_CONFIDENCE``.

    One term: exact on the lattice. Otherwise the tail of ``combine`` is inverted.
    """
    return _half_width(_canonical(terms), _allowed(confidence))


@lru_cache(maxsize=4096)
def _half_width(terms: Terms, allowed: float) -> float:
    if not terms:
        return 0.0
    if len(terms) == 1:
        coefficient, noise = terms[0]
        # Least t with P[|Z| >= t + 1] = 2 P[Z >= t + 1] <= allowed.
        return coefficient * max(0, quantile(noise, allowed / 2) - 1)
    grid = grid_of(terms)
    if grid is not None:
        return grid.half_width(allowed)
    # By the union bound the sum of the parts' own half-widths is wide enough.
    high = sum(_half_width((term,), allowed / len(terms)) + term[0] for term in terms)
    low = 0.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if tail(terms, middle) <= allowed else (middle, high)
    return high


def interval(estimate: Estimate, noises: Mapping[str, Noise], confidence: float) -> Interval:
    """Return the interval around a released linear combination; ``noises`` gives the law of each key."""
    width = half_width([(coefficient, noises[key]) for key, coefficient in _merged(estimate)], confidence)
    return estimate.value - width, estimate.value + width


def _merged(estimate: Estimate) -> list[tuple[str, float]]:
    sums: dict[str, float] = {}
    for key, coefficient in estimate.terms:
        sums[key] = sums.get(key, 0.0) + coefficient
    return list(sums.items())


def ratio_interval(
    numerator: Estimate,
    denominator: Estimate,
    noises: Mapping[str, Noise],
    confidence: float,
    lower: float,
    upper: float,
) -> Interval:
    """Return a confidence interval for a ratio of two exact values known to lie in [lower, upper], by Fieller's method.

    Takes:
        numerator: released value N and its noise.
        denominator: released value D and its noise, sharing keys with the numerator where it shares draws.
        noises: the law of each key.
        confidence: above 0, at most ``MAX_CONFIDENCE``.
        lower: what the ratio cannot be below, as the mean of values in [lower, upper] cannot.
        upper: what it cannot be above.

    The set is that of all t in [lower, upper] for which N - t*D lies where noise puts a zero: P[|noise of N - t*D| >=
    |N - t*D|] > 1 - confidence (Fieller 1954). The exact ratio makes N - t*D pure noise, so it is in the set with at
    least the stated probability, whatever the sign or size of D. The smallest interval around the set is returned; all
    of [lower, upper] if the set is empty, which happens with probability 1 - confidence at most.

    Why halving finds its ends: N - t*D is linear in t, and the half-width of a symmetric log-concave noise is a norm of
    its coefficients (Bobkov 2010), so convex in t. Where N - t*D exceeds it is thus one interval, and likewise where it
    falls short of its negative: from a t inside the set, each side is left once.
    """
    allowed = _allowed(confidence)
    if not (math.isfinite(lower) and math.isfinite(upper) and lower <= upper):
        raise ValueError("bounds are not an interval")
    above, below = dict(_merged(numerator)), dict(_merged(denominator))
    keys = sorted(above.keys() | below.keys())

    def inside(t: float) -> bool:
        terms = _canonical([(above.get(key, 0.0) - t * below.get(key, 0.0), noises[key]) for key in keys])
        return tail(terms, abs(numerator.value - t * denominator.value)) > allowed

    start = _zero(numerator.value, denominator.value, lower, upper)
    if start is None:
        # N - t*D keeps its sign, so at most one of the two ways out exists, and it reaches an end if it is there at
        # all.
        start = lower if inside(lower) else upper
        if not inside(start):
            return lower, upper
    return _edge(inside, start, lower), _edge(inside, start, upper)


def _zero(numerator: float, denominator: float, lower: float, upper: float) -> float | None:
    """Return a t in [lower, upper] with numerator = t * denominator, if there is one."""
    if denominator == 0:
        return lower if numerator == 0 else None
    ratio = numerator / denominator
    return ratio if lower <= ratio <= upper else None


def _edge(inside: Callable[[float], bool], start: float, end: float) -> float:
    """Return where the set is left between ``start``, which is inside, and ``end``, erring on the outer side."""
    if inside(end):
        return end
    for _ in range(_STEPS):
        middle = (start + end) / 2
        start, end = (middle, end) if inside(middle) else (start, middle)
    return end
