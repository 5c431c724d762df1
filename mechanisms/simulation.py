"""What noise does to anything that is computed from noisy values: the computation repeated at points of the known law.

The points are no randomness that anything rests on. They stand for an integral over laws that the plan states, around
values that were released, so that whatever is computed of them is post-processing; and they are a fixed function of
what was released (SHAKE-256 of it), so that the same answer has the same intervals each time that it is asked for.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from mechanisms.noise import Noise
from mechanisms.tails import SMALL, Floats, survivals

LEAST, MOST = 400, 2_000
"""How often a computation is repeated, at least and at most."""

_TAIL = 8  # repetitions that must lie beyond each end of an interval
_BIAS = 0.1  # how far from the middle of what is repeated the released value may lie, as a part of it


def repetitions(confidence: float, cells: int, most_cells: int) -> int:
    """Return how often to repeat a computation over so many values, 0 where that would be too seldom.

    Takes:
        confidence: of the intervals; the more, the further out the ends lie.
        cells: noisy values that one computation reads.
        most_cells: values in all.
    """
    needed = max(LEAST, math.ceil(2 * _TAIL / (1 - confidence)))
    affordable = min(MOST, most_cells // max(cells, 1))
    return 2 * (affordable // 2) if needed <= affordable else 0


@dataclass(frozen=True, slots=True)
class Points:
    """Points of the laws of noises; ``seed`` is what was released."""

    seed: bytes

    def drawn(self, noise: Noise, label: str, rows: int, times: int) -> Floats:
        """Return ``rows`` times ``times`` points of one noise, as whole numbers; the second half mirrors the first.

        Mirrored points leave the law as it is, which is symmetric, and make the mean of what is linear exact. Points
        of different labels are independent.
        """
        half = rows * (times // 2)
        raw = hashlib.shake_256(self.seed + label.encode()).digest(16 * half)
        words = np.frombuffer(raw, dtype="<u8").reshape(2, half)
        first, second = ((words >> np.uint64(11)).astype(np.float64) + 1) * 2.0**-53
        sign = np.where(words[0] & np.uint64(1), 1.0, -1.0)
        if noise.mechanism == "laplace":
            # P[|Z| >= m] = 2 a^m / (1 + a) with a = exp(-1/scale): the largest m whose tail is not below the point.
            factor = 2 / (1 + math.exp(-1 / noise.scale))
            found = sign * np.floor(noise.scale * np.log(factor / first))
        elif noise.scale < SMALL:
            reach = math.ceil(9 * noise.scale) + 2
            tails = 2 * survivals(noise, np.arange(1, reach, dtype=np.float64))  # P[|Z| >= m], falling
            found = sign * np.searchsorted(-tails, -first, side="right")
        else:
            # Box and Muller 1958; rounded, which differs from the discrete law by less than 1/(12 scale^2) of it.
            found = np.round(noise.scale * np.sqrt(-2 * np.log(first)) * np.cos(2 * math.pi * second))
        found = found.reshape(rows, times // 2)
        return np.concatenate([found, -found], axis=1)


def around(released: float, repeated: Floats, confidence: float) -> tuple[float, float] | None:
    """Return an interval around a value computed from noisy ones, given what repeated noise makes of it.

    Takes:
        released: what was computed from the values that were released.
        repeated: the same of these values with independent noise of the same laws added once more.
        confidence: above 0 and below 1.

    Its ends are quantiles of what is repeated, which is exact for every increasing function of a symmetric noise. Where
    what was released lies off the middle of that, the computation leans, as a greatest value or a deviation does, and
    what was released leans too: by as much again where the noise is small beside what the values differ by, and by
    1 + sqrt(2) times as much where they differ by noise alone (repeated noise widens it by sqrt(2), and of either the
    lean is in proportion to the width). The interval then holds both corrections. None where the computation may be no
    number.
    """
    finite = np.sort(repeated[np.isfinite(repeated)])
    if not math.isfinite(released) or len(finite) < 0.99 * len(repeated) or len(finite) < LEAST * 0.99:
        return None
    tail = (1 - confidence) / 2
    low, middle, high = (_quantile(finite, part) for part in (tail, 0.5, 1 - tail))
    below, upto = (float(np.searchsorted(finite, released, side)) / len(finite) for side in ("left", "right"))
    if below <= 0.5 + _BIAS and upto >= 0.5 - _BIAS:
        return low, high
    lean = middle - released
    leans = sorted((lean, (1 + math.sqrt(2)) * lean))
    return min(low, released - leans[1] - (high - middle)), max(high, released - leans[0] + (middle - low))


def _quantile(ordered: Floats, part: float) -> float:
    """Return the value at rank (n + 1) * part, which so many of fresh ones lie below on average."""
    rank = min(max((len(ordered) + 1) * part - 1, 0.0), len(ordered) - 1.0)
    at = math.floor(rank)
    low, high = float(ordered[at]), float(ordered[min(at + 1, len(ordered) - 1)])
    return low + (high - low) * (rank - at)
