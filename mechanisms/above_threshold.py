"""AboveThreshold: find the first of several counts that is low, at one price however many are looked at.

Counts c_1, c_2, … of privacy units are compared, in an order that is public, with a level T: the first j with
c_j + Z_j <= T + Z_0 is told, where all Z are discrete Laplace noise of one scale b, and Z_0 is drawn once.

Why this is sound (Lyu, Su and Li, "Understanding the Sparse Vector Technique", 2017, theorem 5 for monotone queries,
here with whole numbers): one unit more raises some of the counts by one and lowers none. Let D' be D with that unit.

*D against D'.* Fix Z_0. Before j each c_i + Z_i > T + Z_0 is at most as likely as with c'_i >= c_i; and
c_j + Z_j <= T + Z_0 is at most e^(1/b) times as likely as with c'_j <= c_j + 1, a shift of Z_j by one. So
P[j | D] <= e^(1/b) P[j | D'].

*D' against D.* Compare Z_0 = z there with Z_0 = z - 1 here: that shift costs e^(1/b). Before j, c'_i + Z_i > T + z
implies c_i + Z_i > T + z - 1. At j, c'_j + Z_j <= T + z implies c_j + Z_j <= T + z - 1 + 1, a shift of Z_j by one,
which costs e^(1/b) once more. So P[j | D'] <= e^(2/b) P[j | D].

That the search ended without any is the event "not before the end", to which the same two arguments apply without the
last factor. So the loss is 2/b, twice what OpenDP's map says of the noise at sensitivity one, whatever the number of
candidates; nothing else of the counts is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mechanisms.accounting import rho_of_pure
from mechanisms.loss import Loss
from mechanisms.noise import Noise, ScaleError, calibrate, draw, price


@dataclass(frozen=True, slots=True)
class AboveThreshold:
    """The search for the first of ``candidates`` counts that is about ``level`` or less."""

    noise: Noise
    candidates: int

    def __post_init__(self) -> None:
        if self.noise.mechanism != "laplace" or self.candidates < 1:
            raise ScaleError("no such search")

    @property
    def level(self) -> int:
        """The level T = b ln(2G), about where the largest of G noises lies: a count of zero is rarely passed over.

        Public, and no matter of privacy.
        """
        return math.ceil(self.noise.scale * math.log(2 * self.candidates))


def calibrate_search(candidates: int, budget: int) -> AboveThreshold:
    """Return the search among so many counts that costs at most ``budget`` (epsilon in 1e-9), or ``ScaleError``."""
    return AboveThreshold(calibrate("laplace", 1, budget // 2), candidates)


def price_search(search: AboveThreshold) -> Loss:
    """Return what one search costs: twice what OpenDP's map says of its noise, and the rho of any such mechanism."""
    once = price(search.noise, 1, 1, 1).epsilon
    assert once is not None
    return Loss(2 * once, rho_of_pure(2 * once))


def first_low(search: AboveThreshold, counts: Sequence[int]) -> int:
    """Return the place of the first count that is low by its noise, the last place if none is.

    Takes:
        search: calibrated for as many counts.
        counts: of privacy units, such that one unit more raises none by more than one and lowers none.
    """
    if len(counts) != search.candidates:
        raise ValueError("a count for each candidate")
    level, *noises = draw(search.noise, 1 + len(counts))
    low = (place for place, noise in enumerate(noises) if counts[place] + noise <= search.level + level)
    return next(low, len(counts) - 1)
