"""Quantiles by the exponential mechanism over public buckets: penalties, their sensitivity, and how far a draw may lie.

The penalty of a bucket is how many rows its ranks lie from the rank that is asked for, in whole numbers:
``max(0, d * below - T, T - d * through)`` with ``below`` the rows of all buckets before it, ``through`` those with its
own, n all rows, and ``T = p * n + offset`` the rank, d-fold, but never beyond the middle of the rows: of few, the least
would be above the greatest. A bucket that holds the quantile has penalty zero.

It is the score -|(1 - q) #{< c} - q #{>= c}| of Smith (2011) wherever buckets are empty, and does not count the rows of
the bucket itself as an error, which many equal values would make a large one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from mechanisms.noise import Selection


@dataclass(frozen=True, slots=True)
class Rank:
    """The rank ``(numerator * n + offset) / denominator`` among n, or n / 2 if that lies between it and its own end.

    ``offset`` is in the units of n, times denominator, and leads toward the middle. Counts may be in parts of a row, as
    those of weighted rows are.
    """

    numerator: int
    denominator: int
    offset: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.numerator <= self.denominator or self.denominator < 1:
            raise ValueError("rank out of range")
        inward = self.denominator - 2 * self.numerator
        if self.offset and (self.denominator % 2 or self.offset * inward < 0):
            raise ValueError("an offset leads toward the middle of an even denominator")

    def sensitivity(self, weight: int) -> int:
        """Return the most that any penalty changes if counts in all buckets together change by ``weight``.

        Why this is sound: counts that grow by w_b in bucket b change d * below - p * n by sum over b of
        w_b * (d - p) or -w_b * p, so by at most weight * max(p, d - p), and T - d * through alike; the maximum of
        numbers that change by no more than that changes by no more than that either. Where the middle is asked for in
        place of the rank, T grows by between p and d / 2 for each unit of n, so that d / 2 takes the place of one of p
        and d - p, and is no more than the other.
        """
        return weight * max(self.numerator, self.denominator - self.numerator)

    def target(self, total: int) -> int:
        """Return the rank among so many, times denominator."""
        found = self.numerator * total + self.offset
        if not self.offset:
            return found
        middle = self.denominator * total // 2
        return min(found, middle) if self.offset > 0 else max(found, middle)

    def penalties(self, counts: Mapping[int, int], size: int) -> list[int]:
        """Return the penalty of each of ``size`` buckets, given the counts of those that are not empty."""
        target = self.target(sum(counts.values()))
        found: list[int] = []
        below = 0
        for bucket in sorted(counts):
            found += [abs(self.denominator * below - target)] * (bucket - len(found))
            through = below + counts[bucket]
            found.append(max(0, self.denominator * below - target, target - self.denominator * through))
            below = through
        return found + [abs(self.denominator * below - target)] * (size - len(found))


def excess(selection: Selection, size: int, beyond: float) -> float:
    """Return what the penalty of a draw from ``size`` buckets exceeds with probability ``beyond`` at most.

    Why this holds: a bucket of penalty zero always exists, so that a penalty of x or more has probability at most
    size * exp(-x / scale) (McSherry and Talwar 2007, lemma 7).
    """
    return selection.scale * math.log(size / beyond)


def extreme(selection: Selection, size: int, *, highest: bool, unit: int) -> Rank:
    """Return the rank that stands for the lowest or the highest value: far enough inside to be told from the empty end.

    Its distance is ``scale * ln(size)`` in penalties, at which all empty buckets beyond the extreme together weigh no
    more than one bucket that is right, and at least half a row of ``unit``; ``selection`` is that of denominator 2.
    """
    offset = max(math.ceil(selection.scale * math.log(size)), unit)
    return Rank(2, 2, -offset) if highest else Rank(0, 2, offset)


def rank_of(fraction: Fraction) -> Rank:
    """Return the rank of a quantile."""
    return Rank(fraction.numerator, fraction.denominator)
