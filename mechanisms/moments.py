"""Covariance, slope and correlation from noisy moments, with intervals that cover the noise.

The points (a, b) lie in the square [-1, 1]^2; the moments are n, the sums of a, b, ab, a^2 and b^2, each a known linear
form of independent noisy measures. A variance is the covariance of a with itself.

How the intervals are found. Each statistic t solves an equation N(e) - t D(e) = 0 of the exact moments, whose
coefficients hang on further unknowns e (the means, for a correlation also the ratio of the two deviations). Of the
noisy moments N(e) - t D(e) is therefore pure noise at the true t and e (Fieller 1954): |N - t D| <= h(t, e), h its
half-width. The unknowns e lie in a box found from the noisy moments with a small share of what the confidence allows;
the equations are chosen so that they move N - t D in second order only (a sum of squares is least at its mean, and
(v + w)/2 at v = w). All t for which some e of the box admits them are kept.

h at (t, e) is never computed there, but bounded from one nominal point (t0, e0): the noise at (t, e) is that at
(t0, e0) plus the difference of the coefficients times the moments' noises, so that by the union bound h(t, e) at what
is allowed is at most h(t0, e0) at a little less plus the sum of |difference| times the moments' own half-widths at
small shares. This is an inequality between numbers, whatever made one choose the nominal point: it may come from the
noisy values, and from a coarse lattice, so that many groups share one half-width. Groups whose intervals are not
``needed``, since others are known, all have one: theirs hold too, and are wider.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mechanisms.intervals import MAX_CONFIDENCE, half_width_beyond
from mechanisms.noise import Noise
from mechanisms.tails import Floats

Terms: TypeAlias = tuple[tuple[str, float], ...]
Flags: TypeAlias = NDArray[np.bool_]

MOST_NOMINAL = 64
"""Half-widths that one call may ask for; with more groups the lattice of nominal points is coarser."""

PARTS = 128
"""The allowed probability is spent in so many parts: one for each event on the way."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Noisy:
    """Noisy moments by name (``n``, ``a``, ``b``, ``ab``, ``aa``, ``bb``), one value a group, and the noise in each."""

    values: Mapping[str, Floats]
    terms: Mapping[str, Terms]
    noises: Mapping[str, Noise]

    def variance(self, of: str = "a") -> Noisy:
        """Return the moments by which the covariance of one variable with itself is its variance."""
        names = {"n": "n", "a": of, "b": of, "ab": of + of}
        return Noisy(
            {name: self.values[source] for name, source in names.items()},
            {name: self.terms[source] for name, source in names.items()},
            self.noises,
        )

    def half_width(self, coefficients: Mapping[str, float], allowed: float) -> float:
        """Return the half-width of a linear form of the moments."""
        sums: dict[str, float] = {}
        for name, coefficient in coefficients.items():
            for key, weight in self.terms[name]:
                sums[key] = sums.get(key, 0.0) + coefficient * weight
        return half_width_beyond([(weight, self.noises[key]) for key, weight in sums.items()], allowed)


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Values and interval ends, group by group; where ``undefined`` the noisy moments leave no value, and it is 0."""

    value: Floats
    low: Floats
    high: Floats
    undefined: Flags


@dataclass(frozen=True, slots=True, eq=False)
class _Box:
    """What is known beside the statistic: where the means lie, and the moments' own half-widths at small shares.

    ``known`` marks the groups whose count surely is above zero; what is said of the others is not to be used.
    """

    n: Floats
    known: Flags
    mean: Mapping[str, Floats]
    off: Mapping[str, Floats]
    width: Mapping[str, float]


def _square(at: Floats, off: Floats) -> Floats:
    """Return by how much the square of what is ``off`` away from ``at`` at most may differ from its own."""
    return np.asarray(2 * np.abs(at) * off + off * off, dtype=np.float64)


def _allowed(confidence: float) -> float:
    if not 0 < confidence <= MAX_CONFIDENCE:
        raise ValueError("confidence out of range")
    return 1 - confidence


def count_range(moments: Noisy, confidence: float) -> tuple[Floats, Floats]:
    """Return what the count lies in, at one part of what the confidence allows: the part that every statistic spends.

    So a statistic multiplied with a factor of the count needs nothing more for it.
    """
    width = moments.half_width({"n": 1.0}, _allowed(confidence) / PARTS)
    return moments.values["n"] - width, moments.values["n"] + width


def _box(moments: Noisy, allowed: float) -> _Box:
    """Return the box of the means: m - A/n = (noise of A - A/n * noise of n)/(true n), with A and n the noisy ones."""
    width = {name: moments.half_width({name: 1.0}, allowed / PARTS) for name in moments.terms}
    n = moments.values["n"]
    least = n - width["n"]
    known = (least > 0) & (n >= 1)
    safe, least = np.maximum(n, 1.0), np.where(known, least, 1.0)
    mean = {name: moments.values[name] / safe for name in ("a", "b")}
    off = {name: (width[name] + np.abs(mean[name]) * width["n"]) / least for name in ("a", "b")}
    return _Box(safe, known, mean, off, width)


def _central(moments: Noisy, box: _Box, first: str, second: str) -> Floats:
    """Return the noisy sum of products of the distances from the noisy means."""
    product = moments.values[first + second]
    return np.asarray(product - moments.values[first] * moments.values[second] / box.n, dtype=np.float64)


def _nominal(sure: Flags, *coordinates: Floats) -> Floats:
    """Return nominal points, a column each, moved to a lattice on which few are left; zero where none is needed."""
    points = np.where(sure, np.stack(coordinates), 0.0)
    step = 2.0**-12
    while True:
        found = np.round(points / step) * step
        if len(np.unique(found, axis=1).T) <= MOST_NOMINAL or step > 2.0**40:
            return np.asarray(found, dtype=np.float64)
        step *= 2


def _half_widths(
    moments: Noisy, points: Floats, coefficients: Callable[..., dict[str, float]], allowed: float
) -> Floats:
    """Return the half-width at each nominal point, a column each; equal ones are computed once."""
    different, which = np.unique(points, axis=1, return_inverse=True)
    found = [moments.half_width(coefficients(*column), allowed) for column in different.T.tolist()]
    return np.asarray(np.array(found)[which.reshape(-1)], dtype=np.float64)


def _ends(
    nominal: Floats, excess: tuple[Floats, Floats], reach: Floats, slope: Floats | float, least: Floats
) -> tuple[Floats, Floats]:
    """Return the ends of {t: |e - (t - t0) D| <= reach + |t - t0| * slope for some e in ``excess`` and D >= ``least``}.

    For t > t0 it means (t - t0)(D - slope) <= e + reach, and likewise below. Where D may be as small as ``slope``, any
    t is admitted.
    """
    gap = least - slope
    room = np.where(gap > 0, gap, 1.0)
    reach = reach * (1 + _ROUNDING) + np.abs(least) * 2.0**-44
    high = np.where(gap > 0, nominal + np.maximum(excess[1] + reach, 0.0) / room, np.inf)
    low = np.where(gap > 0, nominal - np.maximum(reach - excess[0], 0.0) / room, -np.inf)
    return low, high


def _estimates(
    value: Floats, ends: tuple[Floats, Floats], usable: Flags, known: Flags, most: Floats | float, widest: float
) -> Estimates:
    """Hold values and ends within what is possible; nothing is known of a group whose count may be zero."""
    low = np.where(known, np.clip(ends[0], -widest, widest), -widest)
    high = np.where(known, np.clip(ends[1], -widest, widest), widest)
    return Estimates(np.where(usable, np.clip(value, -most, most), 0.0), low, high, ~usable)


def covariance(moments: Noisy, confidence: float, needed: Flags | bool = True) -> Estimates:
    """Return population covariances, which lie in [-1, 1]: the c with Sab - m_b Sa - m_a Sb + (m_a m_b - c) n = 0.

    Moving the means by d_a and d_b moves this by n d_a d_b.
    """
    allowed = _allowed(confidence)
    box = _box(moments, allowed)
    total = _central(moments, box, "a", "b")
    value = total / box.n
    points = _nominal(box.known & needed, np.clip(value, -1, 1), box.mean["a"], box.mean["b"])
    nominal, at_a, at_b = points
    off_a, off_b = (box.off[name] + np.abs(box.mean[name] - at) for name, at in (("a", at_a), ("b", at_b)))

    def coefficients(c: float, m_a: float, m_b: float) -> dict[str, float]:
        return {"ab": 1.0, "a": -m_b, "b": -m_a, "n": m_a * m_b - c}

    reach = _half_widths(moments, points, coefficients, allowed * (1 - 6 / PARTS))
    product = np.abs(at_a) * off_b + np.abs(at_b) * off_a + off_a * off_b
    reach = reach + off_b * box.width["a"] + off_a * box.width["b"] + product * box.width["n"]
    middle = total - nominal * box.n
    swing = box.n * box.off["a"] * box.off["b"]
    ends = _ends(nominal, (middle - swing, middle + swing), reach, box.width["n"], box.n)
    return _estimates(value, ends, moments.values["n"] >= 2, box.known, 1.0, 1.0)


def slope(moments: Noisy, confidence: float, needed: Flags | bool = True) -> Estimates:
    """Return slopes of b on a, of any size: the s with Sab - m_b Sa - m_a Sb + m_a m_b n - s (Saa - 2 m_a Sa + m_a^2 n)
    = 0.

    No slope is steeper than 1/sqrt(variance of a), since b varies by 1 at most. Where the noise leaves open whether a
    varies at all, the interval has no end.
    """
    allowed = _allowed(confidence)
    box = _box(moments, allowed)
    shared, spread = _central(moments, box, "a", "b"), _central(moments, box, "a", "a")
    positive = spread > 0
    below = np.where(positive, spread, 1.0)
    steepest = np.sqrt(box.n / below)
    value = np.where(positive, np.clip(shared / below, -steepest, steepest), 0.0)
    points = _nominal(box.known & positive & needed, value, box.mean["a"], box.mean["b"])
    nominal, at_a, at_b = points
    off_a, off_b = (box.off[name] + np.abs(box.mean[name] - at) for name, at in (("a", at_a), ("b", at_b)))

    def coefficients(s: float, m_a: float, m_b: float) -> dict[str, float]:
        return {"ab": 1.0, "aa": -s, "a": 2 * s * m_a - m_b, "b": -m_a, "n": m_a * m_b - s * m_a * m_a}

    reach = _half_widths(moments, points, coefficients, allowed * (1 - 7 / PARTS))
    square = _square(at_a, off_a)
    steep = np.abs(nominal)
    product = np.abs(at_a) * off_b + np.abs(at_b) * off_a + off_a * off_b + steep * square
    reach = reach + (off_b + 2 * steep * off_a) * box.width["a"] + off_a * box.width["b"] + product * box.width["n"]
    noise = box.width["aa"] + 2 * (np.abs(at_a) + off_a) * box.width["a"] + (at_a * at_a + square) * box.width["n"]
    middle = shared - nominal * spread
    swing = box.n * box.off["a"] * (box.off["b"] + steep * box.off["a"])
    ends = _ends(nominal, (middle - swing, middle + swing), reach, noise, spread)
    usable = (moments.values["n"] >= 2) & positive
    return _estimates(value, ends, usable, box.known & positive, steepest, np.inf)


def correlation(moments: Noisy, confidence: float, needed: Flags | bool = True) -> Estimates:
    """Return correlations, which lie in [-1, 1].

    With V the sums of squared distances and q = sqrt(V_b/V_a): the r with V_ab - r (q V_a + V_b/q)/2 = 0, since the
    bracket is 2 sqrt(V_a V_b) at that q and is least there.
    """
    allowed = _allowed(confidence)
    box = _box(moments, allowed)
    shared, spread = _central(moments, box, "a", "b"), {of: _central(moments, box, of, of) for of in ("a", "b")}
    # V_a of the exact moments: the noisy sum of squares about the true mean, give or take its noise.
    noise = {
        of: box.width[of + of]
        + 2 * (np.abs(box.mean[of]) + box.off[of]) * box.width[of]
        + (np.abs(box.mean[of]) + box.off[of]) ** 2 * box.width["n"]
        for of in ("a", "b")
    }
    above = {of: spread[of] + box.n * box.off[of] ** 2 for of in ("a", "b")}
    sure = box.known & (spread["a"] > noise["a"]) & (spread["b"] > noise["b"])
    positive = (spread["a"] > 0) & (spread["b"] > 0)
    safe = {of: np.where(positive, spread[of], 1.0) for of in ("a", "b")}
    value = np.where(positive, shared / np.sqrt(safe["a"] * safe["b"]), 0.0)
    value = np.clip(value, -1, 1)
    lows = {of: np.where(sure, spread[of] - noise[of], 1.0) for of in ("a", "b")}
    highs = {of: np.where(sure, above[of] + noise[of], 1.0) for of in ("a", "b")}
    flat, steep = np.sqrt(lows["b"] / highs["a"]), np.sqrt(highs["b"] / lows["a"])
    ratio = np.where(sure, np.sqrt(safe["b"] / safe["a"]), 1.0)
    points = _nominal(sure & needed, value, box.mean["a"], box.mean["b"], np.log2(ratio))
    nominal, at_a, at_b, power = points
    at_q, at_p = 2.0**power, 2.0**-power
    off_a, off_b = (box.off[name] + np.abs(box.mean[name] - at) for name, at in (("a", at_a), ("b", at_b)))
    off_q = np.maximum(np.abs(steep - at_q), np.abs(flat - at_q))
    off_p = np.maximum(np.abs(1 / steep - at_p), np.abs(1 / flat - at_p))

    def coefficients(r: float, m_a: float, m_b: float, log: float) -> dict[str, float]:
        q, p = 2.0**log, 2.0**-log
        centre = m_a * m_b - r * (q * m_a * m_a + p * m_b * m_b) / 2
        a, b = r * q * m_a - m_b, r * p * m_b - m_a
        return {"ab": 1.0, "aa": -r * q / 2, "bb": -r * p / 2, "a": a, "b": b, "n": centre}

    reach = _half_widths(moments, points, coefficients, allowed * (1 - 10 / PARTS))
    tied = np.abs(nominal)
    square_a, square_b = _square(at_a, off_a), _square(at_b, off_b)
    by_n = np.abs(at_a) * off_b + np.abs(at_b) * off_a + off_a * off_b
    by_n = by_n + tied / 2 * ((at_q + off_q) * square_a + off_q * at_a**2 + (at_p + off_p) * square_b + off_p * at_b**2)
    by_a = off_b + tied * (at_q * off_a + np.abs(at_a) * off_q + off_a * off_q)
    by_b = off_a + tied * (at_p * off_b + np.abs(at_b) * off_p + off_b * off_p)
    reach = reach + by_n * box.width["n"] + by_a * box.width["a"] + by_b * box.width["b"]
    reach = reach + tied / 2 * (off_q * box.width["aa"] + off_p * box.width["bb"])
    both = (steep * noise["a"] + noise["b"] / flat) / 2
    least = np.sqrt(safe["a"] * safe["b"])
    most = np.maximum(flat * above["a"] + above["b"] / flat, steep * above["a"] + above["b"] / steep) / 2
    swing = box.n * box.off["a"] * box.off["b"]
    smaller, larger = np.minimum(nominal * least, nominal * most), np.maximum(nominal * least, nominal * most)
    ends = _ends(nominal, (shared - swing - larger, shared + swing - smaller), reach, both, least)
    usable = (moments.values["n"] >= 2) & positive
    return _estimates(value, ends, usable, sure, 1.0, 1.0)
