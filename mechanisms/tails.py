"""The upper tail of one discrete noise: P[Z >= m], never understated by more than floating point's last digits.

Discrete Laplace has a closed form. Discrete Gaussian of a small scale is summed, once; of a large one it is bounded by
the continuous tail from m - 1/2 on, which exceeds it by a relative (m/scale^2)^2/24 or so.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mechanisms.noise import Noise

Floats: TypeAlias = NDArray[np.float64]

SMALL = 64.0
"""Below this scale the lattice matters, and everything is summed exactly; above, half a unit is under one percent."""

_RADIUS = 16  # in scales; e^-128 lies beyond


@lru_cache(maxsize=256)
def _summed(scale: float) -> Floats:
    """Return P[Z >= m] of a discrete Gaussian for m = 0, 1, ..., added up from the far end so that nothing cancels."""
    reach = math.ceil(_RADIUS * scale) + 2
    weights = np.exp(-((np.arange(reach + 1, dtype=np.float64) / scale) ** 2) / 2)
    tails = np.cumsum(weights[::-1])[::-1]
    return np.asarray(tails / (2 * tails[0] - weights[0]), dtype=np.float64)


def _gaussian(scale: float, m: Floats) -> Floats:
    """Return P[Z >= m] for m >= 1.

    Why the large case is a bound: with f(x) = exp(-x^2/(2 scale^2)), f(n) is at most its mean over [n - 1/2, n + 1/2]
    wherever f is convex, that is beyond one scale (Hermite and Hadamard), and the sum of f over the integers is at
    least its integral (Poisson). Nearer the centre the first term of Euler and Maclaurin's formula, f'(m - 1/2)/24 < 0,
    has the same sign and outweighs the others by scale^2.
    """
    if scale < SMALL:
        table = _summed(scale)
        # Past the table the last entry stands: an overestimate of less than e^-128.
        return np.asarray(table[np.minimum(m, len(table) - 1).astype(np.int64)], dtype=np.float64)
    return np.array([math.erfc(x) / 2 for x in (m - 0.5) / (scale * math.sqrt(2))], dtype=np.float64)


def survivals(noise: Noise, m: Floats) -> Floats:
    """Return P[Z >= m] for each of many integers, given as floats of either sign."""
    upper = np.where(m > 0, m, 1 - m)  # P[Z >= m] = 1 - P[Z >= 1 - m]
    if noise.mechanism == "laplace":
        tail = np.exp(-upper / noise.scale) / (1 + math.exp(-1 / noise.scale))
    else:
        tail = _gaussian(noise.scale, upper)
    return np.asarray(np.where(m > 0, tail, 1 - tail), dtype=np.float64)


def survival(noise: Noise, m: float) -> float:
    """Return P[Z >= m] for one integer."""
    if m <= 0:
        return 1 - survival(noise, 1 - m)
    if noise.mechanism == "laplace":
        return math.exp(-m / noise.scale) / (1 + math.exp(-1 / noise.scale))
    if noise.scale < SMALL:
        table = _summed(noise.scale)
        return float(table[min(int(m), len(table) - 1)])
    return math.erfc((m - 0.5) / (noise.scale * math.sqrt(2))) / 2


def quantile(noise: Noise, target: float) -> int:
    """Return the least integer m >= 0 with P[Z >= m] <= ``target``, for 0 < target < 1."""
    if not 0 < target < 1:
        raise ValueError("probability out of range")
    # e^(-m/scale) bounds the Laplace tail, e^(-m^2/(2 scale^2)) the Gaussian one (subgaussian: Canonne, Kamath and
    # Steinke 2020); both are below the target at -scale * ln(target) * 2 + 2.
    low, high = -1, math.ceil(noise.scale * 2 * max(1.0, -math.log(target))) + 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if survival(noise, middle) <= target else (middle, high)
    return high


def variance(noise: Noise) -> float:
    """Return the variance of a noise; a discrete Gaussian one's is at most its scale squared, and nearly that.

    Of a discrete Laplace it is 1/(2 sinh(1/(2 scale))^2).
    """
    if noise.mechanism == "gaussian":
        return noise.scale**2
    return 1 / (2 * math.sinh(min(1 / (2 * noise.scale), 300.0)) ** 2)
