"""The public grid of a quantile: consecutive buckets of a value's exact integers, fine near zero, coarser far from it.

``[0, 1000]`` in at most 64 buckets  →  0, 1, …, 31, then steps of 2 from 32, of 4 from 64, … of 32 from 512

Why it is not even: bounds are often far wider than the data, and an even grid would hold all of it in one bucket. Here
a bucket is narrower than a fixed part of its distance from zero (or from the bound that is nearest to zero), so that a
column that spans many orders of magnitude keeps as many digits in each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from gateway.sql.algebra import Kind
from gateway.sql.planning.quantum import EXACT, FINEST, LARGEST, WIDEST, Quantum, magnitude, quantum
from mechanisms.noise import ScaleError


@dataclass(frozen=True, slots=True)
class Stretch:
    """``count`` buckets of ``step`` integers each, from ``first`` on; the first of them has number ``number``.

    The last may be cut short by the stretch that follows.
    """

    first: int
    step: int
    count: int
    number: int


@dataclass(frozen=True, slots=True)
class Grid:
    """Buckets that cover all integers of ``quantum`` once, in order, as stretches of equal buckets."""

    quantum: Quantum
    stretches: tuple[Stretch, ...]

    @property
    def size(self) -> int:
        """The number of buckets."""
        last = self.stretches[-1]
        return last.number + last.count

    @property
    def whole(self) -> bool:
        """Whether each bucket is one whole number."""
        return self.quantum.how == "integer" and all(stretch.step == 1 for stretch in self.stretches)

    def value(self, bucket: int) -> Fraction:
        """Return the value that stands for a bucket: the middle of its integers, within the bounds."""
        limit = self.quantum.upper
        for stretch in reversed(self.stretches):
            if stretch.number <= bucket:
                break
            limit = stretch.first - 1
        first = stretch.first + (bucket - stretch.number) * stretch.step
        last = min(first + stretch.step - 1, limit)
        return Fraction(first + last, 2) * self.quantum.step

    def written(self, column: str, divided: Callable[[str, int], str]) -> str:
        """Return the SQL of a value's bucket; ``column`` is its integer, ``divided`` writes a quotient rounded down.

        Why it is total: the integer lies between the quantum's ends, and the last stretch takes all that is left.
        """
        cases = [
            f"WHEN {column} < ({after.first}) THEN {_numbered(column, here, divided)}"
            for here, after in zip(self.stretches, self.stretches[1:], strict=False)
        ]
        last = _numbered(column, self.stretches[-1], divided)
        return f"CASE {' '.join(cases)} ELSE {last} END" if cases else last


def _numbered(column: str, stretch: Stretch, divided: Callable[[str, int], str]) -> str:
    offset = f"({column} - ({stretch.first}))"
    offset = offset if stretch.step == 1 else divided(offset, stretch.step)
    return f"{offset} + {stretch.number}"


def grid(kind: Kind, scale: int | None, bounds: tuple[Fraction, Fraction], size: int) -> Grid:
    """Return the grid of at most ``size`` buckets over the values of that kind between two bounds.

    Raises ``ScaleError`` where the bounds are beyond what exact integers hold.
    """
    fine = quantum(kind, scale, *bounds)
    if fine.how == "float":
        fine = _finer(fine, bounds)
    bits = max(size.bit_length() - 1, 1)
    if fine.upper - fine.lower < size:
        return Grid(fine, (Stretch(fine.lower, 1, fine.upper - fine.lower + 1, 0),))
    while True:
        found = Grid(fine, _stretches(fine.lower, fine.upper, bits))
        if found.size <= size or bits == 0:
            return found
        bits -= 1


def _finer(found: Quantum, bounds: tuple[Fraction, Fraction]) -> Quantum:
    """Return a float's quantum with more integers; both steps are powers of two and round by the same arithmetic."""
    most = LARGEST if found.kind == "float" else WIDEST
    step = Fraction(2) ** max(magnitude(min(max(map(abs, bounds)), most)) - FINEST, -900)
    lower, upper = (min(max(end, -WIDEST), WIDEST) for end in bounds) if found.kind != "float" else bounds
    ends = [math.floor((float(end) + float(step) / 2) / float(step)) for end in (lower, upper)]
    if max(map(abs, ends)) > 2 * EXACT:
        raise ScaleError("bounds out of range")
    return Quantum("float", found.kind, 0, step, ends[0], ends[1])


def _stretches(lower: int, upper: int, bits: int) -> tuple[Stretch, ...]:
    """Return stretches of 2^bits buckets an octave on both sides of the anchor, clipped to the bounds."""
    anchor = min(max(0, lower), upper)
    above = _octaves(upper - anchor, bits)
    below = _octaves(anchor - lower - 1, bits) if lower < anchor else []
    # The mirror image: distance d below the anchor is the integer anchor - 1 - d.
    pieces = [(max(anchor - 1 - last, lower), anchor - 1 - first, step) for first, last, step in reversed(below)]
    pieces += [(anchor + first, min(anchor + last, upper), step) for first, last, step in above]
    found: list[Stretch] = []
    number = 0
    for first, last, step in pieces:
        count = -(-(last - first + 1) // step)
        found.append(Stretch(first, step, count, number))
        number += count
    return tuple(found)


def _octaves(most: int, bits: int) -> list[tuple[int, int, int]]:
    """Return first and last distance and step of each piece of the distances 0 to ``most``."""
    pieces = [(0, min(2 ** (bits + 1) - 1, most), 1)]
    octave = bits + 1
    while 2**octave <= most:
        pieces.append((2**octave, min(2 ** (octave + 1) - 1, most), 2 ** (octave - bits)))
        octave += 1
    return pieces
