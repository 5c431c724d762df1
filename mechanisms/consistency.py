"""Tables of sums over the same rows by different keys, made to add up by weighted least squares.

Each table (a *margin*) has a cell for every combination of values of its keys, all with independent noise of one
variance. The sums of the rows themselves add up; the noisy ones do not. The consistent tables that lie nearest to what
was released, each distance weighted by its variance, are the best linear unbiased estimate of all of them at once:
each cell, and each weighted sum of cells, has the least variance that any unbiased linear estimate can give it (Gauss
and Markov). Whatever is computed from released values loses nothing of the promise.

Least squares need no matrix here. A table falls into independent effects, one for each set T of its keys (those of the
analysis of variance): what is left of its sums by T when the means along each key of T are taken off. Every margin that
has the keys T tells of the effect T, with a variance in proportion to its own and to the number of cells that it adds
up for that; the average weighted by the inverse of these is the estimate of the effect, and a margin is the sum of its
effects (Barak, Chaudhuri, Dwork, Kale, McSherry and Talwar, PODS 2007, for margins; Hay, Rastogi, Miklau and Suciu,
VLDB 2010, for nested ones).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations, pairwise, product
from typing import TypeAlias

import numpy as np

from mechanisms.intervals import Profile, half_width
from mechanisms.noise import Noise
from mechanisms.tails import Floats, variance

Axes: TypeAlias = tuple[int, ...]

MANY = 32
"""So many independent noises of one law and one coefficient are taken as a Gaussian one of their variance."""

_SURE = 0.999
"""Above this confidence they are not: far out the tails of a sum are not those of a Gaussian law."""


@dataclass(frozen=True, slots=True)
class Margin:
    """A table: its keys, by number and increasing, and the variance of the noise in each of its cells."""

    axes: Axes
    variance: float


@dataclass(frozen=True, slots=True)
class Part:
    """Noises of some cells of a margin as they enter one cell: all ``times`` of them with one coefficient."""

    coefficient: float
    times: int
    margin: int


@dataclass(frozen=True, slots=True)
class Design:
    """Margins of one table of which key number i has ``sizes[i]`` values."""

    sizes: tuple[int, ...]
    margins: tuple[Margin, ...]

    def cells(self, axes: Iterable[int]) -> int:
        """Return how many combinations some keys have."""
        return math.prod(self.sizes[axis] for axis in axes)

    def _weights(self, effect: Axes) -> dict[int, float]:
        """Return the share of each margin in the estimate of an effect; they add up to one."""
        precise = {
            place: 1 / (margin.variance * self.cells(set(margin.axes) - set(effect)))
            for place, margin in enumerate(self.margins)
            if set(effect) <= set(margin.axes)
        }
        total = math.fsum(precise.values())
        return {place: found / total for place, found in precise.items()}

    def adjusted(self, tables: Sequence[Floats]) -> list[Floats]:
        """Return consistent tables.

        Takes:
            tables: one for each margin, a row for each cell, the last of its keys counting fastest, and a column for
                each of the worlds that are to be made consistent apart from each other.

        What is found is added to what was given, so that nothing is lost where sums are large and noise is small.
        """
        shapes = [tuple(self.sizes[axis] for axis in margin.axes) for margin in self.margins]
        given = [np.asarray(table, dtype=np.float64) for table in tables]
        cubes = [table.reshape(*shape, table.shape[-1]) for table, shape in zip(given, shapes, strict=True)]
        found = [np.zeros_like(cube) for cube in cubes]
        for effect in _effects(self.margins):
            weights = self._weights(effect)
            if len(weights) < 2:
                continue
            told = {place: self._effect(cubes[place], place, effect) for place in weights}
            best = sum(weights[place] * each for place, each in told.items())
            for place, each in told.items():
                spread = [axis for axis in self.margins[place].axes if axis not in effect]
                whole = tuple(self.sizes[axis] if axis in effect else 1 for axis in self.margins[place].axes)
                more = (best - each) / self.cells(spread)
                found[place] += more.reshape(*whole, more.shape[-1])
        return [table + more.reshape(table.shape) for table, more in zip(given, found, strict=True)]

    def _effect(self, cube: Floats, place: int, effect: Axes) -> Floats:
        """Return what a margin tells of an effect: its sums by these keys less their means along each key."""
        axes = self.margins[place].axes
        summed = cube.sum(axis=tuple(index for index, axis in enumerate(axes) if axis not in effect))
        for index, _ in enumerate(effect):
            summed = summed - summed.mean(axis=index, keepdims=True)
        return np.asarray(summed, dtype=np.float64)

    def law(self, place: int) -> tuple[Part, ...]:
        """Return how the noise of all margins enters a cell of one: the same for each of its cells.

        What a cell takes of a cell elsewhere depends on which of the keys that both have are the same in both.
        """
        return _law(self, place)

    def parts(self, place: int) -> tuple[Part, ...]:
        """Return what ``law`` returns, computed anew."""
        own = self.margins[place].axes
        found: dict[tuple[float, int], int] = {}
        for other, margin in enumerate(self.margins):
            shared = tuple(axis for axis in own if axis in margin.axes)
            apart = self.cells(set(margin.axes) - set(shared))
            for same in product((True, False), repeat=len(shared)):
                alike = dict(zip(shared, same, strict=True))
                times = math.prod(1 if equal else self.sizes[axis] - 1 for axis, equal in alike.items()) * apart
                coefficient = self._coefficient(place, other, alike)
                if times:
                    found[coefficient, other] = found.get((coefficient, other), 0) + times
        return tuple(Part(coefficient, times, other) for (coefficient, other), times in found.items() if coefficient)

    def _coefficient(self, place: int, other: int, alike: dict[int, bool]) -> float:
        total = 1.0 if place == other and all(alike.values()) else 0.0
        for effect in _subsets(tuple(alike)):
            weights = self._weights(effect)
            if len(weights) < 2:
                continue
            kernel = math.prod(alike[axis] - 1 / self.sizes[axis] for axis in effect)
            spread = self.cells(set(self.margins[place].axes) - set(effect))
            total += (weights[other] - (place == other)) * kernel / spread
        return total

    @property
    def nested(self) -> tuple[int, ...] | None:
        """The places of the margins from the coarsest on if the keys of each are among those of the next, else None."""
        order = sorted(range(len(self.margins)), key=lambda place: len(self.margins[place].axes))
        pairs = pairwise(order)
        chained = all(set(self.margins[a].axes) <= set(self.margins[b].axes) for a, b in pairs)
        return tuple(order) if chained else None

    def whole(self, tables: Sequence[Floats]) -> list[Floats] | None:
        """Return consistent tables as whole numbers that add up, each less than one off; None if they are not nested.

        A cell is rounded to the nearest, those that it is made of down, and up those with the largest rest: as many as
        it takes to add up to it (Hamilton's method). Their rests add up to what they are too low by, so that it takes
        none to all of them.
        """
        order = self.nested
        if order is None:
            return None
        made = [np.round(np.asarray(table, dtype=np.float64).reshape(-1)) for table in tables]
        for above, below in pairwise(order):
            values = np.asarray(tables[below], dtype=np.float64).reshape(-1)
            floors, rests = np.floor(values), values - np.floor(values)
            parents = self._parents(above, below)
            for parent, target in enumerate(made[above].tolist()):
                children = np.flatnonzero(parents == parent)
                missing = min(max(int(target - floors[children].sum()), 0), len(children))
                floors[children[np.argsort(-rests[children], kind="stable")[:missing]]] += 1
            made[below] = floors
        return made

    def _parents(self, above: int, below: int) -> Floats:
        """Return the number of the coarse cell that each fine cell belongs to."""
        coarse, fine = self.margins[above].axes, self.margins[below].axes
        numbers = np.arange(self.cells(coarse), dtype=np.float64).reshape([self.sizes[axis] for axis in coarse])
        shape = [self.sizes[axis] if axis in coarse else 1 for axis in fine]
        return np.broadcast_to(numbers.reshape(shape), [self.sizes[axis] for axis in fine]).reshape(-1)


@lru_cache(maxsize=1024)
def _law(design: Design, place: int) -> tuple[Part, ...]:
    """Return a law; one plan is looked at several times, and asked again."""
    return design.parts(place)


def _subsets(axes: Axes) -> Iterable[Axes]:
    return chain.from_iterable(combinations(axes, size) for size in range(len(axes) + 1))


def _effects(margins: Sequence[Margin]) -> tuple[Axes, ...]:
    return tuple(dict.fromkeys(effect for margin in margins for effect in _subsets(margin.axes)))


def width(parts: Sequence[tuple[float, int, Noise]], confidence: float) -> float:
    """Return the half-width of a sum of independent noises: coefficient, how many of them, and the law of each.

    Many of one law are taken as a Gaussian one, which moves what is held by less than a thousandth part (their excess
    kurtosis is 3/MANY at most); with a high confidence they are not, and the half-width errs on the wide side.
    """
    terms: list[tuple[float, Noise]] = []
    for coefficient, times, noise in parts:
        if times < MANY or confidence > _SURE:
            terms += [(coefficient, noise)] * times
        else:
            terms.append((coefficient, Noise("gaussian", math.sqrt(times * variance(noise)))))
    return half_width(terms, confidence)


_CORNERS, _LOOKED = 65, 9
"""Corners of a profile, and at how many of them, evenly apart, the half-width is looked for."""


@lru_cache(maxsize=256)
def profile(
    parts: tuple[tuple[float, float, int, Noise], ...], confidence: float, lower: float, upper: float
) -> Profile:
    """Return a line above the half-width of sums N - t D of independent noises, for all t in [lower, upper].

    Takes:
        parts: how much of it is in N and in D, how many of them, and the law of each.

    The deviation of N - t D is convex in t, so that chords lie above it; the half-width in deviations hardly hangs on
    t (at 95 % it is between 1.9 and 2.2 whatever the parts), and the greater of two neighbours stands between them:
    measured, that is by less than half a percent too low, and by a percent too high.
    """
    at = np.unique(np.linspace(lower, upper, _CORNERS))
    a, b = (np.array([[part[place]] for part in parts], dtype=np.float64) for place in (0, 1))
    spread = np.array([[times * variance(noise)] for _, _, times, noise in parts], dtype=np.float64)
    deviation = np.sqrt((spread * (a - b * at) ** 2).sum(axis=0))
    looked = np.unique(np.linspace(0, len(at) - 1, _LOOKED).astype(np.int64))
    factors = np.array(
        [
            width([(above - t * below, times, noise) for above, below, times, noise in parts], confidence)
            / (size or 1.0)
            for t, size in zip(at[looked].tolist(), deviation[looked].tolist(), strict=True)
        ]
    )
    place = np.searchsorted(looked, np.arange(len(at)), side="left")
    before = np.searchsorted(looked, np.arange(len(at)), side="right") - 1
    return Profile(at, deviation * np.maximum(factors[place], factors[before]))
