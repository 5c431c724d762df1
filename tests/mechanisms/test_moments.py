"""Statistics of noisy moments: intervals grow with the confidence, shrink with the noise, and hold what they must."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mechanisms.intervals import MAX_CONFIDENCE
from mechanisms.moments import Estimates, Noisy, correlation, count_range, covariance, slope
from mechanisms.noise import Noise

NAMES = ("n", "a", "b", "ab", "aa", "bb")
STATISTICS = (covariance, slope, correlation)
Statistic = Callable[[Noisy, float], Estimates]


def noisy(scale: float, groups: int = 1) -> Noisy:
    """Exact moments of 5,000 points of slope 1/2, as if the noise had been zero; each moment has a noise of its own."""
    random = np.random.default_rng(3)  # fixed examples, not noise
    a = random.uniform(-1, 1, 5_000)
    b = np.clip(a / 2 + random.uniform(-0.3, 0.3, 5_000), -1, 1)
    sums = (5_000.0, a.sum(), b.sum(), (a * b).sum(), (a * a).sum(), (b * b).sum())
    values = {name: np.full(groups, float(value)) for name, value in zip(NAMES, sums, strict=True)}
    law = Noise("laplace", scale * 2**20)
    return Noisy(values, {name: ((name, 2.0**-20),) for name in NAMES}, dict.fromkeys(NAMES, law))


def ends(statistic: Statistic, moments: Noisy, confidence: float) -> tuple[float, float]:
    found = statistic(moments, confidence)
    return float(found.low[0]), float(found.high[0])


@pytest.mark.parametrize("statistic", STATISTICS)
def test_more_confidence_or_noise_makes_wider_intervals(statistic: Statistic) -> None:
    values = statistic(noisy(1), 0.95).value[0]
    before = (values, values)
    for confidence in (0.5, 0.8, 0.95, 0.999, MAX_CONFIDENCE):
        low, high = ends(statistic, noisy(1), confidence)
        assert low < before[0]
        assert before[1] < high
        before = low, high
    narrow, wide = (ends(statistic, noisy(scale), 0.95) for scale in (0.5, 4))
    assert wide[0] < narrow[0] < values < narrow[1] < wide[1]


@pytest.mark.parametrize("statistic", STATISTICS)
def test_nothing_is_known_where_noise_covers_the_count(statistic: Statistic) -> None:
    low, high = ends(statistic, noisy(5_000), 0.95)
    assert (low, high) == ((-np.inf, np.inf) if statistic is slope else (-1, 1))


@pytest.mark.parametrize("statistic", STATISTICS)
def test_many_groups_on_one_lattice_have_no_narrower_intervals_than_one_alone(statistic: Statistic) -> None:
    many = noisy(1, 300)
    shifts = np.linspace(0, 800, 300)
    many = Noisy({**many.values, "a": many.values["a"] + shifts}, many.terms, many.noises)
    found = statistic(many, 0.95)
    for place in (0, 150, 299):
        alone = Noisy(
            {name: values[place : place + 1] for name, values in many.values.items()}, many.terms, many.noises
        )
        single = statistic(alone, 0.95)
        assert found.value[place] == single.value[0]
        assert found.high[place] - found.low[place] >= (single.high[0] - single.low[0]) * 0.99


@pytest.mark.parametrize("confidence", [0.0, 1.0, 1 - 1e-9])
def test_a_confidence_that_no_interval_has_is_refused(confidence: float) -> None:
    for statistic in (*STATISTICS, count_range):
        with pytest.raises(ValueError, match="confidence"):
            statistic(noisy(1), confidence)


def test_a_variance_is_the_covariance_of_a_variable_with_itself() -> None:
    moments = noisy(1)
    found = covariance(moments.variance(), 0.95)
    n, a, aa = (moments.values[name][0] for name in ("n", "a", "aa"))
    assert found.value[0] == pytest.approx(aa / n - (a / n) ** 2)
    assert covariance(moments.variance("b"), 0.95).value[0] < found.value[0]
