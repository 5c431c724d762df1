"""Points of the laws of noise, and intervals around what is computed from them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mechanisms.intervals import half_width
from mechanisms.noise import Noise
from mechanisms.simulation import LEAST, MOST, Points, around, repetitions
from mechanisms.tails import survival

NOISES = [Noise("laplace", 0.4), Noise("laplace", 7.5), Noise("gaussian", 0.7), Noise("gaussian", 9.0)]
LARGE = [Noise("laplace", 3e6), Noise("gaussian", 64.0), Noise("gaussian", 3e6)]


@pytest.mark.parametrize("noise", NOISES + LARGE, ids=str)
def test_points_follow_the_law(noise: Noise) -> None:
    found = Points(b"seed").drawn(noise, "m0", 100, 2_000).ravel()
    assert np.array_equal(found, np.round(found))
    for part in (0.02, 0.3, 1.0, 2.0, 4.0):
        at = max(1, math.ceil(part * noise.scale))
        expected = survival(noise, at)
        # Half of the points mirror the others: a tail's count varies as that of half as many, twice each.
        close = 5 * math.sqrt(2 * expected / len(found)) + 1e-6
        assert abs(np.mean(found >= at) - expected) < close
        assert abs(np.mean(found <= -at) - expected) < close


def test_points_hang_on_what_was_released_and_on_their_label_alone() -> None:
    noise = Noise("gaussian", 100.0)
    first, again = (Points(b"one").drawn(noise, "m0", 3, 500) for _ in range(2))
    assert np.array_equal(first, again)
    assert np.array_equal(first[:, 250:], -first[:, :250])
    for other in (Points(b"two").drawn(noise, "m0", 3, 500), Points(b"one").drawn(noise, "m1", 3, 500)):
        assert abs(np.corrcoef(first[0, :250], other[0, :250])[0, 1]) < 0.3
    assert abs(np.corrcoef(first[0, :250], first[1, :250])[0, 1]) < 0.3


@pytest.mark.parametrize("noise", [Noise("laplace", 200.0), Noise("gaussian", 200.0)], ids=str)
def test_an_interval_of_an_increasing_function_is_that_of_its_noise(noise: Noise) -> None:
    drawn = Points(b"x").drawn(noise, "m", 1, MOST)[0]
    width = half_width([(1.0, noise)], 0.95)
    plain = around(10_000.0, 10_000 + drawn, 0.95)
    assert plain is not None
    assert plain == pytest.approx((10_000 - width, 10_000 + width), abs=width / 6)
    rooted = around(100.0, np.sqrt(10_000 + drawn), 0.95)
    assert rooted == pytest.approx((math.sqrt(plain[0]), math.sqrt(plain[1])))


def test_an_interval_of_what_leans_holds_what_it_leans_away_from() -> None:
    # The greatest of twenty groups that are all 1,000: what is released lies above, and what is repeated further.
    noise = Noise("gaussian", 50.0)
    held = 0
    for run in range(200):
        groups = 1_000 + Points(b"truth").drawn(noise, str(run), 20, 2)[:, :1]
        again = groups + Points(b"again").drawn(noise, str(run), 20, LEAST)
        found = around(float(groups.max()), again.max(axis=0), 0.95)
        assert found is not None
        held += found[0] <= 1_000 <= found[1]
    assert held >= 170


def test_what_may_be_no_number_has_no_interval() -> None:
    again = np.linspace(0.0, 1.0, LEAST)
    assert around(0.5, again, 0.95) is not None
    assert around(math.nan, again, 0.95) is None
    assert around(0.5, np.where(again < 0.02, np.inf, again), 0.95) is None
    assert around(0.5, again[:50], 0.95) is None


def test_a_constant_has_no_width() -> None:
    assert around(3.0, np.full(LEAST, 3.0), 0.95) == (3.0, 3.0)


def test_repetitions_are_enough_for_the_confidence_or_none() -> None:
    assert repetitions(0.95, 10, 400_000) == MOST
    assert repetitions(0.95, 500, 400_000) == 800
    assert repetitions(0.95, 100_000, 400_000) == 0
    assert repetitions(0.99, 10, 400_000) == MOST
    assert repetitions(0.999, 10, 400_000) == 0
