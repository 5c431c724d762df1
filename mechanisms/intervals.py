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

import numpy as np
from numpy.typing import NDArray

from mechanisms.combine import Terms, closed_half_widths, coupling, grid_of, is_closed, pair_half_widths, tail
from mechanisms.noise import Noise
from mechanisms.tails import SMALL, Floats, quantile

MAX_CONFIDENCE = 1 - 1e-6
"""Above it the rounding errors of the numerical convolution would be felt."""

Interval: TypeAlias = tuple[float, float]
Ends: TypeAlias = tuple[Floats, Floats]
"""The lower ends of many intervals, and the upper ones."""

Parts: TypeAlias = tuple[tuple[float, float, Noise], ...]
"""Coefficients in a numerator and in a denominator, and the noise that enters with both."""

_STEPS = 48  # halvings: to 4e-15 of the range searched
_SHARE = 128  # the part of the allowed probability that pays for the way from a corner
_ULPS = 2.0**-50
_ROUNDING = 1e-12
_ELEMENTS = 2**16  # of one intermediate array: half a megabyte, so that the few that there are stay in a cache


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
    return half_width_beyond(terms, _allowed(confidence))


def half_width_beyond(terms: Sequence[tuple[float, Noise]], allowed: float) -> float:
    """Return the least h with P[|c_1 Z_1 + c_2 Z_2 + ...| > h] <= allowed: ``half_width`` by what may be left beyond.

    For a share of what a confidence allows, which may be below ``1 - MAX_CONFIDENCE`` by a few hundred times.
    """
    return _half_width(_canonical(terms), allowed)


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
    width = half_width([(coefficient, noises[key]) for key, coefficient in _summed(estimate.terms).items()], confidence)
    return estimate.value - width, estimate.value + width


def _summed(terms: Sequence[tuple[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for key, coefficient in terms:
        sums[key] = sums.get(key, 0.0) + coefficient
    return sums


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A line with corners (``at[i]``, ``width[i]``) that nowhere runs below h(t), from ``at[0]`` to ``at[-1]``."""

    at: Floats
    width: Floats


@lru_cache(maxsize=64)
def _profile(parts: Parts, allowed: float, lower: float, upper: float) -> Profile:
    """Return a line above the half-width h(t) of sum (a_i - t*b_i) Z_i for all t in [lower, upper].

    Takes:
        parts: a_i, b_i and the noise Z_i; independent.
        allowed: the probability that may be left beyond the half-width.

    Why chords will do where all scales are large, or the noise is one: the half-width of a symmetric log-concave
    continuous noise is a norm of its coefficients (Bobkov 2010), so convex in t, and chords lie above; the discrete sum
    is never further from the continuous one than ``coupling``, which is convex in t too.

    Small scales leave a lattice, on which nothing is convex. There the noise at t is that at a corner s plus (s - t)
    times the noise of the denominator. So, with W the half-width of the latter at a small share of what is allowed and
    h that of the former at the rest, P[|noise at t| > h + |s - t| * W] <= allowed, by the union bound. Between two
    corners the lesser of the two such bounds is below their chord raised by half their distance times W.
    """
    if not parts:
        return Profile(np.unique([lower, upper]), np.zeros(len({lower, upper})))
    noises = [noise for _, _, noise in parts]
    chords = len(parts) == 1 or min(noise.scale for noise in noises) >= SMALL
    share = 0.0 if chords else allowed / _SHARE
    slope = 0.0 if chords else _half_width(_canonical([(b, noise) for _, b, noise in parts]), share)
    widths, most, close = _solver(parts, allowed - share)
    kinks = [a / b for a, b, _ in parts if b != 0 and lower < a / b < upper][: most // 4]
    at = np.unique([*np.linspace(lower, upper, 9), *kinks])
    width = widths(at)
    least = max(float(width.max()), slope * (upper - lower)) * 2.0**-30 or 1.0
    rough = np.full(len(at) - 1, np.inf)  # how much too high the line may be in each cell, in parts of what is close
    while len(at) < most:
        if not chords:
            rough = np.diff(at) * slope / 2 / (close * np.maximum(np.minimum(width[:-1], width[1:]), least))
        # The roughest first: they may lie in a millionth of the range, where the noise all but vanishes.
        worst = np.argsort(-rough, kind="stable")[: most - len(at)]
        worst = np.sort(worst[rough[worst] >= max(1.0, float(rough.max(initial=0.0)) / 4)])
        middle = (at[worst] + at[worst + 1]) / 2
        worst, middle = worst[middle > at[worst]], middle[middle > at[worst]]
        if not len(worst):
            break
        found = widths(middle)
        excess = (width[worst] + width[worst + 1]) / 2 - found
        # A chord too high by g in the middle of a convex arc is so by 2g at most anywhere.
        lowest = np.minimum(found, np.minimum(width[worst], width[worst + 1]))
        rough[worst] = excess / (close * np.maximum(lowest, least))
        rough = np.insert(rough, worst + 1, rough[worst])
        at, width = np.insert(at, worst + 1, middle), np.insert(width, worst + 1, found)
    if not chords and len(at) > 1:
        cells = np.diff(at) * slope / 2
        width = width + np.maximum(np.append(cells, 0.0), np.insert(cells, 0, 0.0))
    return Profile(at, width)


def _solver(parts: Parts, allowed: float) -> tuple[Callable[[Floats], Floats], int, float]:
    """Return what gives h, or a bound of it, for many t; how many corners it may be asked for; how close to come."""
    noises = [noise for _, _, noise in parts]
    a = np.array([[part[0]] for part in parts])
    b = np.array([[part[1]] for part in parts])

    def single(at: Floats) -> Floats:
        # The lattice allows no slack; what the subtraction rounds off is added.
        sizes = np.abs(a - b * at) + _ULPS * (np.abs(a) + np.abs(b * at))
        return np.asarray(sizes[0] * max(0, quantile(noises[0], allowed / 2) - 1), dtype=np.float64)

    def closed(at: Floats) -> Floats:
        return closed_half_widths(a - b * at, noises, allowed)

    def pair(at: Floats) -> Floats:
        return pair_half_widths(a - b * at, noises, allowed)

    def convolved(at: Floats) -> Floats:
        coefficients = a - b * at
        columns = [_canonical(list(zip(column, noises, strict=True))) for column in coefficients.T.tolist()]
        found = np.array([_half_width(terms, allowed) for terms in columns])
        # To the continuous sum and back.
        return np.asarray(found + 2 * coupling(coefficients), dtype=np.float64) if large else found

    large = min(noise.scale for noise in noises) >= SMALL
    if len(parts) == 1:
        return single, 16, 1e-3
    if is_closed(noises):
        return closed, 1024, 1e-3
    if len(parts) == 2 and not large:
        return pair, 512, 5e-3
    return convolved, 128, 5e-3


def ratio_intervals(
    numerators: Sequence[float] | Floats,
    denominators: Sequence[float] | Floats,
    numerator_terms: Sequence[tuple[str, float]],
    denominator_terms: Sequence[tuple[str, float]],
    noises: Mapping[str, Noise],
    confidence: float,
    lower: float,
    upper: float,
) -> Ends:
    """Return confidence intervals for ratios of exact values known to lie in [lower, upper], by Fieller's method.

    Takes:
        numerators: released values N, each with noise of one law.
        denominators: the released values D that belong to them, likewise.
        numerator_terms: key and coefficient of each noise in a numerator.
        denominator_terms: the same of a denominator; a key in both is one draw that both share.
        noises: the law of each key.
        confidence: above 0, at most ``MAX_CONFIDENCE``.
        lower: what a ratio cannot be below, as the mean of values in [lower, upper] cannot.
        upper: what it cannot be above.

    The set is that of all t in [lower, upper] for which N - t*D lies where noise puts a zero: |N - t*D| <= h(t), h(t)
    the half-width of the noise of N - t*D (Fieller 1954). The exact ratio makes N - t*D pure noise, so it is in the set
    with at least the stated probability, whatever the sign or size of D. The smallest interval around the set is
    returned; all of [lower, upper] if the set is empty, which happens with probability 1 - confidence at most.

    h depends on t, not on N and D: it is found once, as the corners of a line that nowhere runs below it, and the ends
    of each set are where |N - t*D|, of two straight lines too, crosses that line.
    """
    allowed = _allowed(confidence)
    if not (math.isfinite(lower) and math.isfinite(upper) and lower <= upper):
        raise ValueError("bounds are not an interval")
    above, below = _summed(numerator_terms), _summed(denominator_terms)
    parts = tuple(sorted((above.get(key, 0.0), below.get(key, 0.0), key) for key in above.keys() | below.keys()))
    if not all(math.isfinite(a) and math.isfinite(b) for a, b, _ in parts):
        raise ValueError("coefficient is not finite")
    profile = _profile(
        tuple((a, b, noises[key]) for a, b, key in parts if a != 0 or b != 0), allowed, float(lower), float(upper)
    )
    return ratios_within(numerators, denominators, profile)


def ratios_within(
    numerators: Sequence[float] | Floats, denominators: Sequence[float] | Floats, profile: Profile
) -> Ends:
    """Return the smallest intervals around the ratios t at which |N - t*D| is below a line, as ``ratio_intervals``."""
    n, d = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    if n.shape != d.shape or not (np.isfinite(n).all() and np.isfinite(d).all()):
        raise ValueError("values are not finite pairs")
    rows = max(1, _ELEMENTS // len(profile.at))
    low, high = np.empty_like(n), np.empty_like(n)
    for first in range(0, len(n), rows):
        part = slice(first, first + rows)
        low[part], high[part] = _hulls(n[part], d[part], profile)
    return low, high


def _hulls(n: Floats, d: Floats, profile: Profile) -> tuple[Floats, Floats]:
    """Return the ends of the smallest intervals around {t: |n - t*d| <= h(t)}, erring on the outer side."""
    at = profile.at
    with np.errstate(over="ignore", invalid="ignore"):  # what is no number counts as inside
        products = np.multiply.outer(d, at)
        left = n[:, None] - products
        # The numbers came as floats and are subtracted as floats: four rounding errors of their sizes.
        height = profile.width + _ULPS * (np.abs(n)[:, None] + np.abs(products))
        inside = ~(np.abs(left) > height)
        ratio = np.divide(n, d, out=np.full_like(n, np.nan), where=d != 0)
    # A set that holds no corner lies within a cell, and N - t*D, straight there, has its zero in it.
    zero = (at[0] <= ratio) & (ratio <= at[-1])
    start, end = at[inside.argmax(axis=1)], at[len(at) - 1 - inside[:, ::-1].argmax(axis=1)]
    some = inside.any(axis=1)
    start, end = np.where(some, start, ratio), np.where(some, end, ratio)
    start, end = np.where(zero, np.fmin(start, ratio), start), np.where(zero, np.fmax(end, ratio), end)
    known = some | zero
    start, end = np.where(known, start, at[0]), np.where(known, end, at[-1])
    before = np.maximum(np.searchsorted(at, start, side="left") - 1, 0)
    after = np.minimum(np.searchsorted(at, end, side="right"), len(at) - 1)
    low = np.where(start > at[0], _crossing(at, left, height, before, +1), at[0])
    high = np.where(end < at[-1], _crossing(at, left, height, after, -1), at[-1])
    return np.clip(np.minimum(low, start), at[0], at[-1]), np.clip(np.maximum(high, end), at[0], at[-1])


def _crossing(at: Floats, left: Floats, height: Floats, corner: NDArray[np.int64], step: int) -> Floats:
    """Return where, from a corner outside the set towards the next inside it, the line of |n - t*d| meets h(t)."""
    row = np.arange(len(corner))
    other = np.clip(corner + step, 0, len(at) - 1)
    sign = np.sign(left[row, corner])
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        excess = sign * left[row, corner] - height[row, corner]
        further = sign * left[row, other] - height[row, other]
        share = excess / (excess - further)
    # Rounding may leave no crossing: the corner itself is outside.
    share = np.where((share > 0) & (share <= 1), share * (1 - _ROUNDING), 0.0)
    return np.asarray(np.nextafter(at[corner] + (at[other] - at[corner]) * share, -step * np.inf), dtype=np.float64)
