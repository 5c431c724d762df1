"""Intervals of second moments to first order: they hold as often as said, and say nothing where the noise is large."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pytest

from mechanisms import firstorder, moments
from mechanisms.firstorder import Reach
from mechanisms.moments import Noisy
from mechanisms.noise import Noise, draw
from mechanisms.tails import Floats

NAMES = ("n", "a", "b", "ab", "aa", "bb")
TIMES = 4_000
FIXED = np.random.default_rng(3)  # an example, not noise
A = FIXED.uniform(-0.9, 0.7, 4_000)
B = np.clip(0.4 * A + 0.2 + FIXED.normal(0, 0.25, A.size), -1, 1)
LEVEL = 1.5


@cache
def noisy(noise: Noise, size: int) -> Noisy:
    """Moments of the first points, many times over; each has two noises in it, and shares one with the next."""
    a, b = A[:size], B[:size]
    sums = dict(zip(NAMES, (float(size), a.sum(), b.sum(), (a * b).sum(), (a * a).sum(), (b * b).sum()), strict=True))
    drawn = {name: np.array(draw(noise, TIMES), dtype=np.float64) for name in NAMES}
    terms = {name: ((name, 0.8), (other, -0.6)) for name, other in zip(NAMES, (*NAMES[1:], NAMES[0]), strict=True)}
    values = {name: exact + sum(weight * drawn[key] for key, weight in terms[name]) for name, exact in sums.items()}
    return Noisy(values, terms, dict.fromkeys(NAMES, noise))


def exact(name: str, size: int) -> float:
    a, b = A[:size], B[:size]
    steep = np.cov(a, b, bias=True)[0, 1] / a.var()
    found: Mapping[str, Callable[[], Floats]] = {
        "covariance": lambda: np.cov(a, b, bias=True)[0, 1],
        "slope": lambda: steep,
        "intercept": lambda: b.mean() + steep * (LEVEL - a.mean()),
        "correlation": lambda: np.corrcoef(a, b)[0, 1],
    }
    return float(found[name]())


def reach(name: str, found: Noisy, confidence: float) -> Reach:
    if name == "intercept":
        return firstorder.intercept(found, confidence, LEVEL)
    reached: Reach = getattr(firstorder, name)(found, confidence)
    return reached


def holds(found: Reach, value: float) -> float:
    """How often the value lies where it is said to."""
    return float(((found.low <= value) & (value <= found.high))[found.sure].mean())


STATISTICS = ("covariance", "slope", "intercept", "correlation")


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("noise", [Noise("laplace", 9.0), Noise("gaussian", 12.0)], ids=["laplace", "gaussian"])
@pytest.mark.parametrize("name", STATISTICS)
def test_they_hold_as_often_as_said(name: str, noise: Noise, confidence: float) -> None:
    found = reach(name, noisy(noise, 4_000), confidence)
    assert found.sure.mean() > 0.99
    off = 6 * np.sqrt(confidence * (1 - confidence) / TIMES)
    assert confidence - off <= holds(found, exact(name, 4_000)) <= confidence + 0.02 + off


@pytest.mark.parametrize("noise", [Noise("laplace", 9.0), Noise("gaussian", 12.0)], ids=["laplace", "gaussian"])
@pytest.mark.parametrize("name", ["slope", "intercept", "correlation"])
def test_they_hold_where_the_noise_is_no_small_part_of_a_variance(name: str, noise: Noise) -> None:
    size = 400
    found = reach(name, noisy(noise, size), 0.95)
    assert found.sure.mean() > 0.9
    off = 6 * np.sqrt(0.05 * 0.95 / TIMES)
    assert 0.95 - off <= holds(found, exact(name, size)) <= 0.965 + off
    if name == "correlation":
        assert np.median(found.high - found.low) < 1  # moments that allow for the worst say nothing here


@pytest.mark.parametrize("tied", [-1.0, 1.0])
def test_a_correlation_far_from_zero_is_seen_though_a_variance_is_not(tied: float) -> None:
    # A covariance as great as this is no noise; of the variances the noise leaves open whether there are any.
    values = {"n": 1_000.0, "a": 0.0, "b": 0.0, "ab": tied * 100.0, "aa": 150.0, "bb": 10.0}
    law = Noise("gaussian", 20.0)
    found = firstorder.correlation(
        Noisy(
            {name: np.array([value]) for name, value in values.items()},
            {name: ((name, 1.0),) for name in NAMES},
            dict.fromkeys(NAMES, law),
        ),
        0.95,
    )
    assert found.sure[0]
    ends = sorted((tied * found.low[0], tied * found.high[0]))
    assert 0.5 < ends[0] < 1
    assert ends[1] == 1


@pytest.mark.parametrize("name", STATISTICS)
def test_nothing_is_said_where_the_noise_is_large(name: str) -> None:
    for size in (0, 1, 30):
        assert not reach(name, noisy(Noise("laplace", 30.0), size), 0.95).sure.mean() > 0.01


def test_where_nothing_is_said_the_interval_stands() -> None:
    found = noisy(Noise("laplace", 9.0), 400)
    rigorous = moments.covariance(found, 0.95)
    reached = firstorder.covariance(found, 0.95)
    narrowed = reached.narrowed(rigorous)
    assert np.all(narrowed.low >= rigorous.low)
    assert np.all(narrowed.high <= rigorous.high)
    unsure = Reach(reached.low, reached.high, np.zeros_like(reached.sure)).narrowed(rigorous)
    assert np.array_equal(unsure.low, rigorous.low)
    assert np.array_equal(unsure.high, rigorous.high)
