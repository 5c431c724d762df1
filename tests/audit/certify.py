"""Lower bounds on a privacy loss that hold but with a tiny probability, from samples of what two neighbours let out.

Events are chosen on one half of the samples and counted on the other, so that choosing among many costs nothing
(Jagielski, Ullman and Oprea 2020; Nasr et al. 2023). A count bounds its probability by Clopper and Pearson (1934).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats: TypeAlias = NDArray[np.float64]
Projections: TypeAlias = Mapping[str, Floats]
"""One number of each output, by what it is the number of; the same names for both neighbours."""

FALSE_ALARM = 1e-9
"""Probability that anything in this folder finds the claim exceeded though the promise holds."""

MOST_BOUNDS = 1_000
"""More bounds than are ever computed on held-out samples in one run of this folder."""

ERROR = FALSE_ALARM / MOST_BOUNDS / 2
_BINS = 64

Criterion: TypeAlias = Callable[[Floats, Floats], Floats]
"""A loss from a lower bound on an event's probability in one world and an upper bound on it in the other."""


def below(hits: Floats, trials: int) -> Floats:
    """Return lower bounds on probabilities, each of which fails with probability ``ERROR`` at most."""
    found = special.betaincinv(np.maximum(hits, 1), trials - hits + 1, ERROR)
    return np.asarray(np.where(hits > 0, found, 0.0), dtype=np.float64)


def above(hits: Floats, trials: int) -> Floats:
    """Return upper bounds on probabilities, each of which fails with probability ``ERROR`` at most."""
    return 1 - below(trials - hits, trials)


def epsilon(delta: float) -> Criterion:
    """Return the least epsilon at which such an event fits (epsilon, delta); minus infinity where any does."""

    def loss(low: Floats, high: Floats) -> Floats:
        return np.log(np.maximum(low - delta, 1e-300)) - np.log(high)

    return loss


def delta(epsilon: float) -> Criterion:
    """Return the least delta at which such an event fits (epsilon, delta): the hockey-stick divergence."""

    def loss(low: Floats, high: Floats) -> Floats:
        return np.asarray(low - math.exp(epsilon) * high, dtype=np.float64)

    return loss


def distance(low: Floats, high: Floats) -> Floats:
    """Return the distance in standard deviations of two normal laws that such an event tells apart as well.

    For Gaussian noise of rho it is at most sqrt(2 rho) (Dong, Roth and Su 2022, theorem 2.7).
    """
    return np.asarray(special.ndtri(low) - special.ndtri(high), dtype=np.float64)


@dataclass(frozen=True)
class Event:
    """Outputs whose number in one projection falls into some of the bins between ``edges``."""

    projection: str
    edges: Floats
    bins: NDArray[np.bool_]

    def hits(self, outputs: Projections) -> Floats:
        at = np.searchsorted(self.edges, outputs[self.projection])
        return np.asarray(float(self.bins[at].sum()))


@dataclass(frozen=True)
class Certified:
    """A loss that the held-out samples prove, and by what."""

    loss: float
    event: Event
    reversed: bool

    def __str__(self) -> str:
        return f"{self.loss:.4f} by {self.event.projection}{', reversed' if self.reversed else ''}"


def certify(with_unit: Projections, without_unit: Projections, criterion: Criterion) -> Certified:
    """Return the loss of the best event, found on the first half of the samples and proven on the second."""
    first, first_held = _halves(with_unit)
    second, second_held = _halves(without_unit)
    found = [
        (*_best(name, *pair, criterion), turned)
        for name in first
        for turned, pair in ((False, (first[name], second[name])), (True, (second[name], first[name])))
    ]
    _, event, turned = max(found, key=lambda each: each[0])
    likely, rare = (second_held, first_held) if turned else (first_held, second_held)
    low = below(event.hits(likely), _size(likely))
    high = above(event.hits(rare), _size(rare))
    return Certified(float(criterion(low, high)), event, turned)


def _halves(outputs: Projections) -> tuple[Projections, Projections]:
    middle = _size(outputs) // 2
    return (
        {name: values[:middle] for name, values in outputs.items()},
        {name: values[middle:] for name, values in outputs.items()},
    )


def _size(outputs: Projections) -> int:
    return len(next(iter(outputs.values())))


def _best(name: str, likely: Floats, rare: Floats, criterion: Criterion) -> tuple[float, Event]:
    """Return the event of one projection that promises most: bins by falling likelihood ratio, cut somewhere."""
    pooled = np.concatenate((likely, rare))
    values = np.unique(pooled)
    if len(values) > _BINS:
        values = np.unique(np.quantile(pooled, np.linspace(0, 1, _BINS + 1)[1:], method="inverted_cdf"))
    hits, misses = (
        np.bincount(np.searchsorted(values, side), minlength=len(values) + 1).astype(np.float64)
        for side in (likely, rare)
    )
    order = np.argsort(-(hits + 0.5) / (misses + 0.5), kind="stable")
    losses = criterion(below(np.cumsum(hits[order]), len(likely)), above(np.cumsum(misses[order]), len(rare)))
    cut = int(np.argmax(losses))
    bins = np.zeros(len(values) + 1, dtype=np.bool_)
    bins[order[: cut + 1]] = True
    return float(losses[cut]), Event(name, values, bins)
