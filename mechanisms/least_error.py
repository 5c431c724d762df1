"""The bound of about the least error, by the exponential mechanism, from how many privacy units exceed each.

Bounds s_0 < s_1 < … < s_k, of which c_j units are above s_j. At bound j the error is taken to be

    E_j = w * s_j + sum over i >= j of (s_(i+1) - s_i) * c_i

in units of the bound: the noise grows with it (w units' worth of it), and what units above it lose, up to the last
bound, is at most the sum, since who lies between s_i and s_(i+1) loses at most all steps up to there. Bound j is told
with probability in proportion to exp(-E_j / scale) (McSherry and Talwar 2007).

Why this is sound: one unit more raises some of the c_i by one and lowers none, so that it changes each E_j by at most
s_k - s_j, and no more than s_k - s_0; the loss is what OpenDP's map says of a selection at that sensitivity, and
nothing else of the counts is read. Steps and w are public.

On a long list the last bound, and with it the sensitivity, is far above what anybody has, and so is what is told:
``LONGEST`` bounds at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mechanisms.loss import Loss
from mechanisms.noise import ScaleError, Selection, calibrate_selection, price_selection, select

LONGEST = 15
"""Bounds, each twice the one before: beyond, AboveThreshold errs less."""


@dataclass(frozen=True, slots=True)
class LeastError:
    """The choice among bounds of which the noise at each weighs as much as ``weight`` units that are above it."""

    selection: Selection
    steps: tuple[int, ...]
    weight: int

    def __post_init__(self) -> None:
        if not 0 < len(self.steps) <= LONGEST or self.weight < 0 or list(self.steps) != sorted(set(self.steps)):
            raise ScaleError("no such choice")

    @property
    def sensitivity(self) -> int:
        """The most that one unit changes the error of any bound."""
        return span(self.steps)

    @property
    def candidates(self) -> int:
        """How many bounds there are."""
        return len(self.steps)

    @property
    def level(self) -> int:
        """About how many units are above the bound of the least error. Public, and no matter of privacy."""
        return self.weight

    def errors(self, counts: Sequence[int]) -> list[int]:
        """Return the error of each bound, given how many units are above each."""
        if len(counts) != len(self.steps):
            raise ValueError("a count for each candidate")
        found, lost = [self.weight * self.steps[-1]], 0
        for place in range(len(self.steps) - 2, -1, -1):
            lost += (self.steps[place + 1] - self.steps[place]) * counts[place]
            found.append(self.weight * self.steps[place] + lost)
        return found[::-1]


def span(steps: Sequence[int]) -> int:
    """Return how far the bounds are apart: at least one, since a choice among one has a price as well."""
    return max(steps[-1] - steps[0], 1)


def calibrate_least(steps: tuple[int, ...], weight: int, budget: int, unit: Literal["epsilon", "rho"]) -> LeastError:
    """Return the choice that costs at most ``budget`` (epsilon in 1e-9, or rho in 1e-12), or ``ScaleError``."""
    return LeastError(calibrate_selection(span(steps), unit, budget), steps, weight)


def price_least(choice: LeastError) -> Loss:
    """Return what one choice costs: what OpenDP's maps say of its selection."""
    return price_selection(choice.selection, choice.sensitivity)


def least(choice: LeastError, counts: Sequence[int]) -> int:
    """Return the place of a bound, drawn by its error.

    Takes:
        choice: calibrated for these bounds.
        counts: of privacy units above each, such that one unit more raises none by more than one and lowers none.
    """
    return select(choice.selection, choice.errors(counts))
