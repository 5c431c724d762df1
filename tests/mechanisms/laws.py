"""The laws of discrete noise by plain enumeration: a second implementation that the tests compare with."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mechanisms.noise import Noise

Floats: TypeAlias = NDArray[np.float64]


def enumerated(noise: Noise, scales: float = 45) -> tuple[Floats, Floats]:
    """Return the integers within so many scales of zero and their probabilities, normalised by their sum."""
    reach = math.ceil(noise.scale * (scales if noise.mechanism == "laplace" else 16)) + 3
    values = np.arange(-reach, reach + 1, dtype=np.float64)
    exponents = np.abs(values) / noise.scale if noise.mechanism == "laplace" else (values / noise.scale) ** 2 / 2
    weights = np.exp(-exponents)
    return values, weights / weights.sum()


def convolved(terms: list[tuple[float, Noise]], scales: float = 45) -> tuple[Floats, Floats]:
    """Return all values of the combination with their probabilities, by direct outer sums."""
    values, weights = np.zeros(1), np.ones(1)
    for coefficient, noise in terms:
        more, its = enumerated(noise, scales)
        values = np.add.outer(values, coefficient * more).ravel()
        weights = np.multiply.outer(weights, its).ravel()
    return values, weights


def within(terms: list[tuple[float, Noise]], width: float, scales: float = 45) -> float:
    """Return P[|combination| <= width], counting values that are equal up to rounding."""
    values, weights = convolved(terms, scales)
    return float(weights[np.abs(values) <= width * (1 + 1e-12)].sum())
