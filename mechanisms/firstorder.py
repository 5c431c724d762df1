"""Intervals of second moments to first order: what the noises do, but for the products of two of them.

Each statistic is the t with N - t D = 0, N and D linear in the moments about the exact means. With the noisy means
instead, the noisy N - t D at the exact t is a linear form of the noises, but for products of two. With e the noises of
the moments and f_a = e_a - m_a e_n that of the sum of distances from the mean m_a, these hold exactly, n the noisy one:

    noise of V_ab  =  e_ab - m_b e_a - m_a e_b + m_a m_b e_n  -  f_a f_b / n
    covariance     :  V_ab - t n = 0
    slope          :  V_ab - t V_aa = 0
    line at a = k  :  V_aa m_b + (k - m_a) V_ab - t V_aa = 0
    correlation    :  V_ab - t (q V_aa + V_bb / q) / 2 = 0  at the exact q = sqrt(V_bb / V_aa)

What is kept are all t at which |N - t D| is no more than the half-width of its noise at t (Fieller 1954), with the
deviation of the products added. So a D that may be near zero costs no more than it must: no quotient is expanded. Where
the noise leaves open whether it is above zero, a slope's or a line's interval has no end.

With s the slope that belongs to t, the line's N - t D is exactly a sum of the noises of two sums that would be zero, of
residuals b - t - s (a - k) and of their products with a - k, weighed so that s drops out of it. It is thus enough to
know s as well as anything else: it is that of the line through (k, t) that is nearest to the points.

Why a correlation needs no interval of q: V_ab <= t sqrt(V_aa V_bb) is, for t > 0, a convex set of (V_aa, V_bb, V_ab),
since the geometric mean is concave, and its supporting planes are V_ab = t (q V_aa + V_bb / q) / 2 for all q > 0. A
point above it is as many deviations away from it as from the plane that it is furthest from, a point below as from the
plane that it is nearest to: so the lower end is the greatest that any q gives, and so is the upper one (the least for
t < 0, mirrored). The noise is thus measured across the surface that exact moments lie on, as a profile likelihood does
it; of the surface's curvature the two ends feel opposite parts. Where the noise leaves open whether a column varies,
all up to 1 is left: an end that what is possible gives holds always, and the interval more often than is said.

The means are taken from the noisy moments. Where products are no small part of the half-width, or the noise no small
part of the count, nothing is said, and the intervals of ``moments`` stand, which hold whatever the noise: they are
wider there, since they allow for the worst that products may be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mechanisms.intervals import half_width_beyond
from mechanisms.moments import Estimates, Flags, Noisy, count_range
from mechanisms.tails import Floats, variance

_PRODUCTS = 0.1
"""The deviation of products of two noises may be this part of the half-width of the linear form."""

_RELATIVE = 0.25
"""The deviation of the noise in a count may be this part of it."""

_SHAPES = 8
"""Shapes of linear forms whose half-widths are looked for."""

_FINE, _COARSE = 2.0**-6, 0.5
"""How close two shapes are to share a half-width, at first and at most (``_factors``)."""

_FIRST = 2.0
"""The half-width in deviations from which the ends are looked for: at 95 % it is between 1.9 and 2.2."""

_SPANS = ((2.0, 9), (0.5, 9), (0.125, 5))
"""How far around the best power of two that is known, and at how many, the q of a correlation is looked for."""

_LEAST = 2.0**-40
"""What of the square of D may be left beside its noise and count as none, so that nothing is divided by zero."""

Solver: TypeAlias = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """Between which ends the exact statistics lie, group by group, where that is ``sure``."""

    low: Floats
    high: Floats
    sure: Flags

    def narrowed(self, found: Estimates) -> Estimates:
        """Return estimates with their intervals cut to what is said here."""
        low = np.where(self.sure, np.maximum(found.low, self.low), found.low)
        high = np.where(self.sure, np.minimum(found.high, self.high), found.high)
        # Nothing of an interval may be left where a value beyond what is possible was held to that.
        known = low <= high
        return Estimates(
            found.value, np.where(known, low, found.low), np.where(known, high, found.high), found.undefined
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Centre:
    """The noisy count, means and central sums of a group, held away from zero where they are of no use."""

    n: Floats
    mean: Mapping[str, Floats]
    sums: Mapping[str, Floats]


def _centre(moments: Noisy, *products: str) -> _Centre:
    n = np.maximum(moments.values["n"], 1.0)
    mean = {name: moments.values[name] / n for name in ("a", "b") if name in moments.values}
    sums = {name: moments.values[name] - n * mean[name[0]] * mean[name[1]] for name in products}
    return _Centre(n, mean, sums)


def _laws(moments: Noisy) -> dict[str, float]:
    """Return the deviation of each noise that some moment has."""
    keys = sorted({key for terms in moments.terms.values() for key, _ in terms})
    return {key: math.sqrt(variance(moments.noises[key])) for key in keys}


def _entered(moments: Noisy, coefficients: Mapping[str, Floats]) -> Floats:
    """Return how much of each noise is in a linear form of the moments, in its deviations: a row a noise."""
    rows = {key: np.zeros_like(moments.values["n"]) for key in _laws(moments)}
    for name, coefficient in coefficients.items():
        for key, weight in moments.terms[name]:
            rows[key] = rows[key] + coefficient * weight
    return np.stack([found * each for found, each in zip(rows.values(), _laws(moments).values(), strict=True)])


def _norm(entered: Floats) -> Floats:
    return np.asarray(np.maximum(np.sqrt((entered * entered).sum(axis=0)), 1e-300), dtype=np.float64)


def _deviation(moments: Noisy, coefficients: Mapping[str, Floats]) -> Floats:
    return _norm(_entered(moments, coefficients))


def _factors(moments: Noisy, entered: Floats, sure: Flags, allowed: float) -> Floats:
    """Return the half-width of a linear form in its deviations, group by group.

    It hangs on the form's shape alone, the parts that the noises have in its deviation, and hardly on that: at 95 % it
    is between 1.9 and 2.2 whatever the shape. So like shapes share that of the first.
    """
    shapes, step = np.where(sure, np.abs(entered) / _norm(entered), 0.0), _FINE
    while step < _COARSE and len(np.unique(np.round(shapes / step), axis=1).T) > _SHAPES:
        step *= 2
    _, first, which = np.unique(np.round(shapes / step), axis=1, return_index=True, return_inverse=True)
    laws = _laws(moments)
    found = []
    for shape in shapes.T[first].tolist():
        terms = [
            (part / each, moments.noises[key]) for part, (key, each) in zip(shape, laws.items(), strict=True) if part
        ]
        found.append(half_width_beyond(terms, allowed))
    return np.asarray(np.array(found)[which.reshape(-1)], dtype=np.float64)


def _counted(moments: Noisy, centre: _Centre, confidence: float) -> Flags:
    """Return where the noise of the count is a small part of it, and surely no count of nothing looks so."""
    noise = _deviation(moments, {"n": np.ones_like(centre.n)})
    least, _ = count_range(moments, confidence)
    return np.asarray((centre.n >= 2) & (least > 0) & (noise <= _RELATIVE * centre.n), dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class _Pencil:
    """``above - t * below`` of the noisy moments, and the variances and the covariance of the noise in both."""

    above: Floats
    below: Floats
    of_above: Floats
    of_both: Floats
    of_below: Floats

    def ends(self, factor: Floats) -> tuple[Floats, Floats, Flags]:
        """Return the ends of the t at which it is no more than so many deviations, and where they bound all these t.

        (N - t D)^2 <= f^2 (A - 2 B t + C t^2) is an interval where D is more than f deviations away from zero. Where it
        is not, and N is, the ends are those of the t on either side of zero at which it begins to hold.
        """
        square = factor * factor
        leading = self.below * self.below - square * self.of_below
        leading = np.where(np.abs(leading) > _LEAST * self.below**2, leading, -_LEAST * self.below**2)
        middle = self.above * self.below - square * self.of_both
        last = self.above * self.above - square * self.of_above
        root = np.sqrt(np.maximum(middle * middle - leading * last, 0.0))
        return (middle - root) / leading, (middle + root) / leading, np.asarray(leading > 0, dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class _At:
    """An end, how much of each noise is in ``above - t * below`` there, and the deviation of products of noises."""

    end: Floats
    entered: Floats
    products: Floats


Finder: TypeAlias = Callable[[int, Floats], _At]
"""Gives the lower (0) or the upper end (1), so many deviations away."""


def _reached(moments: Noisy, find: Finder, sure: Flags, confidence: float) -> Reach:
    """Return between which ends a statistic lies: each so many deviations away as its own form's half-width is."""
    ends = []
    for side in (0, 1):
        near = find(side, np.full_like(moments.values["n"], _FIRST))
        factors, products = _factors(moments, near.entered, sure, 1 - confidence), near.products / _norm(near.entered)
        sure = np.asarray(sure & (products <= _PRODUCTS * factors), dtype=np.bool_)
        ends.append(find(side, factors + products).end)
    return Reach(ends[0], ends[1], sure)


def _scalar(above: Floats, below: Floats, into: tuple[Floats, Floats], products: Solver) -> Finder:
    """Return what finds the ends of t with above - t * below = 0, where nothing else is unknown."""
    first, second = into
    pencil = _Pencil(above, below, _dot(first, first), _dot(first, second), _dot(second, second))
    value = above / below

    def find(side: int, factor: Floats) -> _At:
        *ends, bounded = pencil.ends(factor)
        at = np.where(bounded, ends[side], value)
        return _At(np.where(bounded, ends[side], np.inf if side else -np.inf), first - at * second, products(at))

    return find


def _dot(left: Floats, right: Floats) -> Floats:
    return np.asarray((left * right).sum(axis=0), dtype=np.float64)


def _shared(moments: Noisy, centre: _Centre) -> Floats:
    """Return the noises in the sum of products of distances from the means."""
    m_a, m_b = centre.mean["a"], centre.mean["b"]
    return _entered(moments, {"ab": np.ones_like(m_a), "a": -m_b, "b": -m_a, "n": m_a * m_b})


def _distances(moments: Noisy, centre: _Centre, of: str) -> Floats:
    """Return the deviation of the noise of the sum of distances from a mean."""
    return _deviation(moments, {of: np.ones_like(centre.n), "n": -centre.mean[of]})


def covariance(moments: Noisy, confidence: float) -> Reach:
    """Return population covariances."""
    centre = _centre(moments, "ab")
    sure = _counted(moments, centre, confidence)
    products = _distances(moments, centre, "a") * _distances(moments, centre, "b") / centre.n
    into = _shared(moments, centre), _entered(moments, {"n": np.ones_like(centre.n)})
    find = _scalar(centre.sums["ab"], centre.n, into, lambda _: products)
    return _reached(moments, find, sure, confidence)


def slope(moments: Noisy, confidence: float) -> Reach:
    """Return slopes of b on a."""
    centre = _centre(moments, "ab", "aa")
    m_a, one = centre.mean["a"], np.ones_like(centre.n)
    positive = centre.sums["aa"] > 0
    below = np.where(positive, centre.sums["aa"], 1.0)
    sure = np.asarray(_counted(moments, centre, confidence) & positive, dtype=np.bool_)
    distances = _distances(moments, centre, "a")

    def products(steep: Floats) -> Floats:
        return distances * _residuals(moments, steep, centre.mean["b"] - steep * m_a) / centre.n

    into = _shared(moments, centre), _entered(moments, {"aa": one, "a": -2 * m_a, "n": m_a * m_a})
    return _reached(moments, _scalar(centre.sums["ab"], below, into, products), sure, confidence)


def _residuals(moments: Noisy, steep: Floats, level: Floats) -> Floats:
    """Return the deviation of the noise of the sum of residuals."""
    return _deviation(moments, {"b": np.ones_like(steep), "a": -steep, "n": -level})


def intercept(moments: Noisy, confidence: float, at: float) -> Reach:
    """Return what the line of b on a says of b at one value of a.

    The slope that goes with each i is that of the line through (at, i) that is nearest to the points.
    """
    centre = _centre(moments, "ab", "aa")
    positive = centre.sums["aa"] > 0
    n, below = centre.n, np.where(positive, centre.sums["aa"], 1.0)
    sure = np.asarray(_counted(moments, centre, confidence) & positive, dtype=np.bool_)
    away = at - centre.mean["a"]
    squares = below / n + away * away
    # s = steep - i * turn: of the products with a - at, and of the sum of a - at, by the sum of its squares.
    steep = (centre.sums["ab"] / n - away * centre.mean["b"]) / squares
    turn = -away / squares

    def weighed(one: float, i: float, s: Floats) -> Floats:
        """Return the noises in ``one * b - i - s * (a - at)``, each row weighed with squares + away * (a - at)."""
        return _entered(
            moments,
            {
                "ab": one * away,
                "aa": -s * away,
                "a": -s * squares + away * (2 * at * s - i),
                "b": one * (squares - at * away),
                "n": (squares - at * away) * (s * at - i),
            },
        )

    def products(i: Floats) -> Floats:
        s = steep - i * turn
        level = i - s * at
        residuals = _residuals(moments, s, level)
        return _distances(moments, centre, "a") / n * (np.abs(away) * residuals + _tilts(moments, centre, s, level))

    above = below * centre.mean["b"] + away * centre.sums["ab"]
    into = weighed(1.0, 0.0, steep), weighed(0.0, -1.0, turn)
    return _reached(moments, _scalar(above, below, into, products), sure, confidence)


def _tilts(moments: Noisy, centre: _Centre, steep: Floats, level: Floats) -> Floats:
    """Return the deviation of the noise of the sum of products of residuals with distances from the mean of a."""
    m_a = centre.mean["a"]
    form = {"ab": np.ones_like(m_a), "aa": -steep, "a": steep * m_a - level, "b": -m_a, "n": level * m_a}
    return _deviation(moments, form)


def correlation(moments: Noisy, confidence: float) -> Reach:
    """Return correlations, which lie in [-1, 1]."""
    centre = _centre(moments, "ab", "aa", "bb")
    positive = (centre.sums["aa"] > 0) & (centre.sums["bb"] > 0)
    surface = _surface(moments, centre, positive)
    sure = np.asarray(_counted(moments, centre, confidence) & positive, dtype=np.bool_)
    f_a, f_b = _distances(moments, centre, "a"), _distances(moments, centre, "b")

    def find(side: int, factor: Floats) -> _At:
        end, q = surface.end(side, factor)
        r = np.clip(end, -1, 1)
        products = (f_a * f_b + np.abs(r) / 2 * (q * f_a * f_a + f_b * f_b / q)) / centre.n
        return _At(r, surface.shared - r * (q * surface.half_a + surface.half_b / q), products)

    return _reached(moments, find, sure, confidence)


@dataclass(frozen=True, slots=True, eq=False)
class _Surface:
    """V_ab, V_aa and V_bb of the noisy moments, and how much of each noise is in V_ab and half of the others."""

    v_ab: Floats
    v_aa: Floats
    v_bb: Floats
    shared: Floats
    half_a: Floats
    half_b: Floats

    def end(self, side: int, factor: Floats) -> tuple[Floats, Floats]:
        """Return the lower or the upper end of correlations, and the q of the plane that gives it.

        Where a covariance of zero is too far away, all lie on one side of zero, whatever the noise says of variances.
        """
        of_shared, with_a, with_b = (_dot(self.shared, each) for each in (self.shared, self.half_a, self.half_b))
        of_a, of_b, both = (
            _dot(self.half_a, self.half_a),
            _dot(self.half_b, self.half_b),
            _dot(self.half_a, self.half_b),
        )
        away = 1.0 if side else -1.0
        apart = -away * self.v_ab > factor * np.sqrt(of_shared)
        sign = np.where(apart, -away, away)

        def out(q: Floats) -> Floats:
            p = 1 / q
            below, of_below = (q * self.v_aa + p * self.v_bb) / 2, q * q * of_a + 2 * both + p * p * of_b
            pencil = _Pencil(self.v_ab, below, of_shared, q * with_a + p * with_b, of_below)
            *ends, bounded = pencil.ends(factor)
            return np.asarray(sign * np.where(bounded | apart, ends[side], away * np.inf), dtype=np.float64)

        at = np.log2(self.v_bb / self.v_aa) / 2
        best = out(2.0**at)
        for span, many in _SPANS:
            centre = at
            for step in np.linspace(-span, span, many).tolist():
                found = out(2.0 ** (centre + step))
                at, best = np.where(found > best, centre + step, at), np.maximum(found, best)
        return sign * best, 2.0**at


def _surface(moments: Noisy, centre: _Centre, positive: Flags) -> _Surface:
    half = np.full_like(centre.n, 0.5)
    halves = {
        of: _entered(moments, {of + of: half, of: -centre.mean[of], "n": centre.mean[of] ** 2 / 2}) for of in ("a", "b")
    }
    squares = {of: np.where(positive, centre.sums[of + of], 1.0) for of in ("a", "b")}
    shared = _shared(moments, centre)
    return _Surface(centre.sums["ab"], squares["a"], squares["b"], shared, halves["a"], halves["b"])
