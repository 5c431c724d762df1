"""The tail of a sum of independent discrete noises with real coefficients: P[|c_1 Z_1 + ... + c_n Z_n| >= x], from
above.

Four ways, each a bound and each within about a percent of the truth in x: one noise exactly; all Gaussian, or two
Laplace, of a large scale by the continuous closed form and half a unit of slack; two noises, one of a small scale, by
summing over the small one; everything else by convolution on a grid.

Two of them are inverted here for many sets of coefficients at once, as the ratios of ``intervals`` need it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from statistics import NormalDist
from typing import TypeAlias

import numpy as np

from mechanisms.noise import Noise
from mechanisms.tails import SMALL, Floats, quantile, survival, survivals

Terms: TypeAlias = tuple[tuple[float, Noise], ...]
"""Positive coefficients with their noises, in a canonical order."""

_COUPLING = 0.51
"""A discrete noise of scale >= SMALL and the continuous one of that scale can be drawn together within this distance.

Laplace: P[Z >= m] = P[L >= m - d] with d = b ln(2/(1+e^(-1/b))) in (1/2 - 1/(8b), 1/2], so drawing both from one
uniform keeps them within 1/2 + 1/(8b) <= 0.502. Gaussian: the same draw keeps them within 1/2 + |Z|/(24 scale^2), at
most 0.51 out to thirty scales (Euler and Maclaurin's first term).
"""

_ROUNDING = 1e-12  # relative error of a few float operations, with room
_FAR = 1e300  # no noise reaches it; a larger number of units would overflow
_GRID_BITS = 15
_HALVINGS = 15  # of a range that the union bound makes three times too wide at most
_ELEMENTS = 2**18  # of one intermediate array: 2 MB
_CUT = 1e-12  # probability left outside the grid, by each part and by the sum


def tail(terms: Terms, x: float) -> float:
    """Return a bound on P[|sum| >= x], never above 1; ``terms`` are canonical."""
    if x <= 0:
        return 1.0
    if not terms:
        return 0.0
    if len(terms) == 1:
        coefficient, noise = terms[0]
        least = min(x / coefficient * (1 - _ROUNDING), _FAR)
        return min(1.0, 2 * survival(noise, max(1, math.ceil(least))))
    if is_closed([noise for _, noise in terms]):
        return _continuous(terms, x - _COUPLING * sum(coefficient for coefficient, _ in terms))
    if len(terms) == 2 and min(noise.scale for _, noise in terms) < SMALL:
        return _enumerated(terms, x)
    return _grid(terms).tail(x)


def is_closed(noises: Sequence[Noise]) -> bool:
    """Return whether all scales are large and the continuous sum has a closed form."""
    mechanisms = {noise.mechanism for noise in noises}
    large = min(noise.scale for noise in noises) >= SMALL
    return large and (mechanisms == {"gaussian"} or (mechanisms == {"laplace"} and len(noises) == 2))


def coupling(coefficients: Floats) -> Floats:
    """Return how far the discrete and the continuous sum are apart at most, all scales large: one figure a column."""
    return np.asarray(_COUPLING * np.abs(coefficients).sum(axis=0), dtype=np.float64)


def _continuous(terms: Terms, x: float) -> float:
    """Return P[|sum| >= x] for continuous noises: any number of Gaussian ones, or two Laplace."""
    if x <= 0:
        return 1.0
    scales = sorted(coefficient * noise.scale for coefficient, noise in terms)
    if terms[0][1].mechanism == "gaussian":
        return math.erfc(x / math.hypot(*scales) / math.sqrt(2))
    small, large = scales
    # (l^2 e^(-x/l) - s^2 e^(-x/s)) / (l^2 - s^2), by partial fractions of the characteristic function, written with
    # expm1 so that scales close to each other do not cancel; equal ones have the limit (1 + x/(2l)) e^(-x/l).
    gap = large - small
    if gap <= _ROUNDING * large:
        share = x / (2 * large)
    else:
        share = -math.expm1(-(x / large) * (gap / small)) * (small / gap) * (small / (large + small))
    return min(1.0, math.exp(-x / large) * (1 + share) * (1 + _ROUNDING))


def closed_half_widths(coefficients: Floats, noises: Sequence[Noise], allowed: float) -> Floats:
    """Return for each column of coefficients an h with P[|sum| > h] <= ``allowed``, where ``is_closed``.

    Takes:
        coefficients: a row for each noise, a column for each sum, of either sign.
        noises: independent.
        allowed: above 0, below 1.
    """
    scaled = np.abs(coefficients) * np.array([[noise.scale] for noise in noises])
    large = scaled.max(axis=0)
    if noises[0].mechanism == "gaussian":
        unit = np.where(large > 0, large, 1.0)
        width = -NormalDist().inv_cdf(allowed / 2) * unit * np.sqrt(((scaled / unit) ** 2).sum(axis=0))
    else:
        width = large * _laplace_pair(scaled.min(axis=0) / np.where(large > 0, large, 1.0), allowed)
    return np.asarray(width * (1 + 1e-9) + coupling(coefficients), dtype=np.float64)


def _laplace_pair(ratio: Floats, allowed: float) -> Floats:
    """Return a y with P[|L + ratio * L'| >= y] <= ``allowed``, for continuous Laplace of scale 1 and ratios in [0, 1].

    It is the fixed point of y = ln(1/allowed) + ln(1 + share(y)), the equation of ``_continuous``. The right side grows
    with y, at a slope of 1/(2 + y) at most, so that from above the steps come down to the point and never pass it.
    """
    least = -math.log(allowed)
    gap = 1 - ratio
    small = np.maximum(ratio, 1e-300)
    y = np.full_like(ratio, 2 * least + 2)
    for _ in range(60):
        apart = -np.expm1(-y * gap / small) * small * small / (np.where(gap > 0, gap, 1.0) * (1 + ratio))
        lower = least + np.log1p(np.where(gap > _ROUNDING, apart, y / 2))
        settled = bool(np.all(y - lower <= 1e-12 * y))
        y = lower
        if settled:
            break
    return y


def pair_half_widths(coefficients: Floats, noises: Sequence[Noise], allowed: float) -> Floats:
    """Return for each column of coefficients an h with P[|sum| > h] <= ``allowed``, of two noises by enumeration.

    It exceeds the least such h by 2^-13 of it or so. The arguments are those of ``closed_half_widths``; one scale must
    be small.
    """
    order = sorted(range(2), key=lambda index: noises[index].scale)
    little, other = (noises[index] for index in order)
    inner, outer = (np.abs(coefficients[index]) for index in order)
    # As for canonical terms: what is 2^-80 of the other cannot move a float. Without the floor it would divide by zero.
    outer = np.maximum(outer, inner * (little.scale / other.scale) * 2.0**-80)
    outer = np.where(outer > 0, outer, 1.0)
    values, weights = _law(little)
    # What is cut off the law is counted as if it were in the tail.
    kept = np.abs(values) <= quantile(little, allowed * 1e-4)
    values, weights = values[kept], weights[kept]
    missing = 2 * survival(little, float(values[-1]) + 1)
    high = inner * quantile(little, allowed / 4) + outer * quantile(other, allowed / 4)
    low = np.zeros_like(high)
    rows = max(1, _ELEMENTS // len(values))
    for at in range(0, len(high), rows):
        here = slice(at, at + rows)
        shift = np.multiply.outer(inner[here] / outer[here], values)
        for _ in range(_HALVINGS):
            middle = (low[here] + high[here]) / 2
            reached = (middle / outer[here])[:, None]
            needed = np.ceil(reached - shift - _ROUNDING * (reached + np.abs(shift)))
            beyond = 2 * (survivals(other, needed.ravel()).reshape(needed.shape) @ weights + missing) > allowed
            low[here] = np.where(beyond, middle, low[here])
            high[here] = np.where(beyond, high[here], middle)
    return np.where(np.abs(coefficients).max(axis=0) > 0, high, 0.0)


def _enumerated(terms: Terms, x: float) -> float:
    """Return P[|sum| >= x] of two noises as the sum over all values of the one of smaller scale.

    By symmetry it is 2 P[c Z >= x - c' Z'], whose summands are tails of the other noise.
    """
    (inner, little), (outer, other) = sorted(terms, key=lambda term: term[1].scale)
    values, weights = _law(little)
    needed = np.ceil((x - inner * values) / outer - _ROUNDING * (abs(x) / outer + np.abs(values) * (inner / outer)))
    missing = 2 * survival(little, float(values[-1]) + 1)
    return min(1.0, 2 * (float(weights @ survivals(other, needed)) + missing))


@lru_cache(maxsize=64)
def _law(noise: Noise) -> tuple[Floats, Floats]:
    """Return the integers that a noise leaves with probability e^-36 or so, and their probabilities."""
    reach = math.ceil(noise.scale * 36) + 2
    values = np.arange(-reach, reach + 1, dtype=np.float64)
    return values, survivals(noise, values) - survivals(noise, values + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The law of |sum| with each part rounded to multiples of ``step``: ``tails[i]`` bounds P[|rounded sum| >= i *
    step].

    The sum and the rounded sum are never further apart than ``slack``.
    """

    step: float
    slack: float
    tails: Floats

    def tail(self, x: float) -> float:
        """Return a bound on P[|sum| >= x]."""
        index = max(0, math.ceil((x - self.slack) / self.step - 1e-9))
        return float(self.tails[min(index, len(self.tails) - 1)])

    def half_width(self, allowed: float) -> float:
        """Return the least h on the grid with P[|sum| > h] <= ``allowed``."""
        beyond = int(np.argmax(self.tails <= allowed))
        if self.tails[beyond] > allowed:
            raise ValueError("confidence is beyond the grid")
        return max(0, beyond - 1) * self.step + self.slack


def grid_of(terms: Terms) -> Grid | None:
    """Return the grid by which two or more terms are convolved, or None where a closed form serves better."""
    return None if is_closed([noise for _, noise in terms]) else _grid(terms)


@lru_cache(maxsize=64)
def _grid(terms: Terms) -> Grid:
    """Convolve the parts, each rounded to the grid, by Fourier transform.

    Errors, all added to the tails: each part and the sum leave the window with probability ``_CUT`` each, and the
    transform is right to 1e-13 a part. Rounding moves each part by half a step at most; not at all where the step
    divides all coefficients.
    """
    window = _window(terms)
    size = 2**_GRID_BITS
    common = _common_step([coefficient for coefficient, _ in terms])
    exact = common * (size - 2) > 2 * window
    step = common if exact else 2 * window / (size - 2)
    half = size // 2
    points = np.arange(-half, half, dtype=np.float64)
    transformed = np.ones(half + 1, dtype=np.complex128)
    for (coefficient, noise), times in Counter(terms).items():
        edges = np.ceil((np.append(points, half) - 0.5) * (step / coefficient))
        reached = survivals(noise, edges)
        mass = np.maximum(reached[:-1] - reached[1:], 0.0)
        transformed *= np.fft.rfft(np.roll(mass, -half)) ** times
    mass = np.maximum(np.fft.irfft(transformed, size), 0.0)
    folded = mass[1:half] + mass[:-half:-1]  # of +i and of -i, for i = 1 ... half - 1
    tails = np.cumsum(folded[::-1])[::-1]
    error = (len(terms) + 1) * (2 * _CUT + 1e-13)
    tails = np.minimum(1.0, np.concatenate(([1.0], tails, [0.0])) + error)
    return Grid(step, 0.0 if exact else len(terms) * step / 2, tails)


def _window(terms: Terms) -> float:
    """Return a w with P[|sum| >= w] <= ``_CUT``, by the least of Chernoff's bounds.

    E e^(sZ) of a discrete Laplace is 1/(1 - (sinh(s/2)/sinh(1/(2b)))^2) <= 1/(1 - (sb)^2), of a discrete Gaussian at
    most e^(s^2 scale^2/2) (Canonne, Kamath and Steinke 2020).
    """
    laplace = [c * noise.scale for c, noise in terms if noise.mechanism == "laplace"]
    deviation = math.hypot(*(c * noise.scale for c, noise in terms if noise.mechanism == "gaussian"))
    unit = max(c * noise.scale for c, noise in terms)
    best = math.inf
    for power in range(1, 81):
        # From far below 1/unit to close to it for Laplace; on to tens of it for Gaussian alone.
        s = (1 - 0.9**power) / unit if laplace else 1.15 ** (power - 40) / unit
        if any(s * scale >= 1 for scale in laplace):
            continue
        exponent = (s * deviation) ** 2 / 2 - math.fsum(math.log1p(-((s * scale) ** 2)) for scale in laplace)
        best = min(best, (exponent + math.log(2 / _CUT)) / s)
    return best


def _common_step(coefficients: list[float]) -> float:
    """Return the greatest step that divides all coefficients, exactly, as floats are fractions."""
    fractions = [Fraction(coefficient) for coefficient in coefficients]
    denominator = math.lcm(*(fraction.denominator for fraction in fractions))
    return math.gcd(*(int(fraction * denominator) for fraction in fractions)) / denominator
