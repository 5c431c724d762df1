"""Race to the top (R2T): a sum of what is never negative, clipped at every bound, of which the largest is told.

Of the sums Q_0 <= Q_1 <= … at bounds s, 2s, 4s, … (L of them) each is drawn with Laplace noise Z_j of scale b_j, and

    max(0, max over j of Q_j + Z_j - b_j * ln(L / beta))

is told (Dong, Fang, Yi, Tao and Machanavajjhala, "R2T: Instance-optimal truncation for differentially private query
evaluation with foreign keys", SIGMOD 2022, algorithm 1). Each Q_j is at most the exact sum, and no Z_j is above what is
taken away but with probability beta / (2L): but with probability beta / 2 the answer is not above the exact sum.

Why this is sound: Q_j changes by at most its bound with one unit, so that Q_j + Z_j costs what OpenDP's map says of its
noise at that bound: an L-th part of the price. All L are drawn, one after the other, and their losses add up; which of
them is told, and what is taken away, is computed from them and from public numbers alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mechanisms.loss import Loss
from mechanisms.noise import Noise, ScaleError, calibrate, draw, price

BETA = 0.05
"""The largest part of all answers, twice, that are above the exact sum."""


@dataclass(frozen=True, slots=True)
class Race:
    """A race among ``candidates`` bounds, each twice the one before; ``noise`` is that at the first, of ``bound``."""

    noise: Noise
    candidates: int
    bound: int

    def __post_init__(self) -> None:
        if self.noise.mechanism != "laplace" or self.candidates < 1 or self.bound < 1:
            raise ScaleError("no such race")

    def at(self, place: int) -> Noise:
        """Return the noise at a bound: twice as wide at twice the bound, which is the same quotient exactly."""
        return Noise("laplace", self.noise.scale * 2**place)

    def handicap(self, place: int) -> int:
        """Return what is taken away of the noisy sum at a bound."""
        return math.ceil(self.at(place).scale * math.log(self.candidates / BETA))

    @property
    def level(self) -> int:
        """About how many units' worth of its bound the answer is below the exact one. Public."""
        return math.ceil(2 * self.handicap(0) / self.bound)


def calibrate_race(bound: int, candidates: int, budget: int) -> Race:
    """Return the race from a first bound that costs at most ``budget`` (epsilon in 1e-9), or ``ScaleError``."""
    return Race(calibrate("laplace", bound, budget // candidates), candidates, bound)


def price_race(race: Race) -> Loss:
    """Return what all draws of a race cost: so many times what OpenDP's map says of the first at its bound."""
    once = price(race.noise, race.bound, race.bound, race.bound)
    assert once.epsilon is not None
    return Loss(once.epsilon * race.candidates, once.rho * race.candidates)


def winner(race: Race, sums: Sequence[int]) -> tuple[int, int]:
    """Return the place of the sum that is told, and it with its noise; nothing is taken away of it yet.

    Takes:
        race: calibrated for the first bound.
        sums: what is never negative, clipped at each bound.
    """
    if len(sums) != race.candidates:
        raise ValueError("a sum for each candidate")
    noisy = [exact + draw(race.at(place), 1)[0] for place, exact in enumerate(sums)]
    place = max(range(race.candidates), key=lambda each: noisy[each] - race.handicap(each))
    return place, noisy[place]
