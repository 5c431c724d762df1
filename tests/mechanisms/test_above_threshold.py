"""AboveThreshold: its loss by enumeration, its law against what is drawn, its price against OpenDP's map."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from mechanisms import above_threshold
from mechanisms.above_threshold import AboveThreshold, calibrate_search, first_low, price_search
from mechanisms.accounting import rho_of_pure
from mechanisms.loss import EPSILON_UNIT
from mechanisms.noise import Noise, ScaleError, price

FAR = 80
"""Noise beyond it is left out: with scale 2, e^-40 of it."""


def law(counts: Sequence[int], level: int, scale: float, own: float | None = None) -> list[float]:
    """The probability of each place, by enumeration; ``own`` is the scale of the counts' noise where it differs."""
    own = scale if own is None else own
    shifts = np.arange(-FAR, FAR + 1)
    weights = np.exp(-np.abs(shifts) / scale)
    weights /= weights.sum()
    each = np.exp(-np.abs(shifts) / own)
    each /= each.sum()
    found, going = [], weights.copy()
    for count in counts[:-1]:
        # P[count + Z <= level + shift], for every shift of the level
        low = np.array([each[count + shifts <= level + shift].sum() for shift in shifts])
        found.append(float((going * low).sum()))
        going = going * (1 - low)
    return [*found, float(going.sum())]


def worst(scale: float, own: float | None = None) -> float:
    """The largest loss of any output between counts and the same with one more unit."""
    losses = []
    for counts in ((6, 3, 0, 0), (9, 9, 2, 1), (20, 1, 0, 0), (0, 0, 20, 20), (0, 0, 0, 0, 20, 20)):
        for more in product((0, 1), repeat=len(counts)):
            here = law(counts, 8, scale, own)
            there = law([count + one for count, one in zip(counts, more, strict=True)], 8, scale, own)
            losses += [abs(math.log(a / b)) for a, b in zip(here, there, strict=True) if min(a, b) > 1e-12]
    return max(losses)


def test_the_loss_is_two_over_the_scale() -> None:
    # nearly all of it is lost where low counts are passed over and a high one is told
    assert 0.8 < worst(2.0) <= 1 + 1e-9


def test_the_enumeration_finds_less_noise() -> None:
    assert worst(2.0, own=0.7) > 1.2


def test_what_is_drawn_has_that_law() -> None:
    search = AboveThreshold(Noise("laplace", 2.0), 4)
    counts = (9, 7, 6, 0)
    times = 4_000
    seen = Counter(first_low(search, counts) for _ in range(times))
    for place, expected in enumerate(law(counts, search.level, 2.0)):
        deviation = math.sqrt(expected * (1 - expected) / times)
        assert abs(seen[place] / times - expected) < 7 * deviation + 1e-9


def test_the_price_is_twice_the_map_and_never_above_the_budget() -> None:
    for budget in (EPSILON_UNIT, EPSILON_UNIT // 3, 12_345, 7 * EPSILON_UNIT + 1):
        search = calibrate_search(40, budget)
        loss = price_search(search)
        assert loss.epsilon == 2 * (price(search.noise, 1, 1, 1).epsilon or 0)
        assert budget - 2 <= (loss.epsilon or 0) <= budget
        assert loss.rho == rho_of_pure(loss.epsilon or 0)
        assert search.level == math.ceil(search.noise.scale * math.log(80))


def test_the_last_candidate_stands_for_all_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(above_threshold, "draw", lambda _noise, count: [0] * count)
    search = AboveThreshold(Noise("laplace", 2.0), 3)
    assert first_low(search, (100, 100, 100)) == 2
    assert first_low(search, (100, search.level + 1, search.level)) == 2
    assert first_low(search, (100, search.level, 0)) == 1
    assert first_low(search, (0, 0, 0)) == 0


def test_what_is_no_search() -> None:
    with pytest.raises(ScaleError):
        AboveThreshold(Noise("gaussian", 2.0), 3)
    with pytest.raises(ScaleError):
        AboveThreshold(Noise("laplace", 2.0), 0)
    with pytest.raises(ScaleError):
        calibrate_search(3, 1)
    with pytest.raises(ValueError, match="each candidate"):
        first_low(AboveThreshold(Noise("laplace", 2.0), 3), (1, 2))
