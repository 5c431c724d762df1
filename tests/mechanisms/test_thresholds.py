"""Thresholds: the delta that they really cost, enumerated, is within the claim, and one less would exceed it."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechanisms.loss import DELTA_UNIT, Mechanism
from mechanisms.noise import MAX_SCALE, Noise
from mechanisms.thresholds import beyond, threshold
from tests.mechanisms.laws import Floats, enumerated


def log_tail(noise: Noise, least: int) -> float:
    """ln P[Z >= least], summed term by term in logarithms, far enough out for any delta."""
    reach = max(least, 0) + math.ceil(60 * noise.scale) + 10
    values = np.arange(-reach, reach + 1, dtype=np.float64)
    exponents = np.abs(values) / noise.scale if noise.mechanism == "laplace" else (values / noise.scale) ** 2 / 2
    return float(np.logaddexp.reduce(-exponents[values >= least]) - np.logaddexp.reduce(-exponents))


def leaked(noise: Noise, cut: int, groups: int) -> float:
    """The probability that any of the groups that one owner is alone in is published."""
    each = math.exp(log_tail(noise, cut - 1))
    return -math.expm1(groups * math.log1p(-each)) if each < 1 else 1.0


@settings(deadline=None)
@given(
    st.sampled_from(["laplace", "gaussian"]),
    st.one_of(st.floats(0.05, 3), st.floats(3, 60)),
    st.integers(1, 200),
    st.one_of(st.integers(1, 10**6), st.integers(1, DELTA_UNIT // 10)),
)
def test_it_is_the_least_that_keeps_delta(mechanism: Mechanism, scale: float, groups: int, delta: int) -> None:
    noise = Noise(mechanism, scale)
    cut = threshold(noise, groups, delta)
    assert leaked(noise, cut, groups) <= delta / DELTA_UNIT * (1 + 1e-9)
    assert leaked(noise, cut - 1, groups) > delta / DELTA_UNIT * (1 - 1e-8)


@pytest.mark.parametrize("scale", [64.0, 100.0, 1000.5])
@pytest.mark.parametrize("delta", [10**17, 10**12, 10**6, 1])
def test_a_large_gaussian_is_least_up_to_a_unit(scale: float, delta: int) -> None:
    noise = Noise("gaussian", scale)
    cut = threshold(noise, 7, delta)
    assert leaked(noise, cut, 7) <= delta / DELTA_UNIT * (1 + 1e-9)
    assert leaked(noise, cut - 2, 7) > delta / DELTA_UNIT


def test_whole_outputs_are_indistinguishable_but_for_delta() -> None:
    """The definition itself: every set of outputs of a group with one owner or none, enumerated for both neighbours."""
    noise = Noise("laplace", 2.0)
    delta = 10**13
    cut = threshold(noise, 1, delta)
    values, weights = enumerated(noise)
    published = values + 1 >= cut  # one owner: an exact 1
    shown = float(weights[published].sum())
    # With the owner against without: whatever is published was impossible, hiding was certain. And the other way round.
    assert shown + max(0.0, (1 - shown) - math.exp(0.5)) <= delta / DELTA_UNIT
    assert max(0.0, 1 - math.exp(0.5) * (1 - shown)) <= delta / DELTA_UNIT
    assert float(weights[values + 2 >= cut].sum()) > delta / DELTA_UNIT


def test_a_group_that_others_are_in_is_covered_by_the_price_of_the_noise() -> None:
    noise = Noise("laplace", 2.0)
    cut = threshold(noise, 1, 10**13)
    values, weights = enumerated(noise)
    for others in (1, 5, cut):
        for fewer, more in ((others, others + 1), (others + 1, others)):
            hidden = [float(weights[values + count < cut].sum()) for count in (fewer, more)]
            assert hidden[0] <= hidden[1] * math.exp(1 / 2.0) * (1 + 1e-12)


def published(noise: Noise, counts: tuple[int, ...], cut: int) -> Floats:
    """The law of everything that is seen of groups: each hidden, or shown with its noisy count; nobody is no group."""
    values, weights = enumerated(noise, 30)
    law = np.ones(1)
    for count in counts:
        outcome = np.zeros(len(values) + 1)
        if count == 0:
            outcome[0] = 1.0
        else:
            # a shown count takes the place of its value, so that both neighbours' outcomes meet
            shown = values + count >= cut
            outcome[0] = weights[~shown].sum()
            places = (values[shown] + count - values[0]).astype(int) + 1
            within = places < len(outcome)
            outcome[places[within]] = weights[shown][within]
        law = np.multiply.outer(law, outcome).ravel()
    return law


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
@pytest.mark.parametrize("others", [(0, 0), (0, 1), (1, 1), (0, 4), (3, 40)])
def test_an_owner_of_two_groups_is_hidden_but_for_epsilon_and_delta(
    mechanism: Mechanism, others: tuple[int, int]
) -> None:
    """Both neighbours' whole outputs enumerated: what the threshold adds to the loss of the noise alone is delta."""
    noise = Noise(mechanism, 3.0)
    epsilon, delta = 2 / 3, DELTA_UNIT // 100
    cut = threshold(noise, 2, delta)
    more = (others[0] + 1, others[1] + 1)
    worlds = [published(noise, counts, cut) for counts in (more, others)]
    bare = [published(noise, counts, -(10**9)) for counts in ((101, 101), (100, 100))]

    def excess(pair: list[Floats]) -> float:
        return float(np.maximum(pair[0] - math.exp(epsilon) * pair[1], 0).sum())

    for found, alone in ((worlds, bare), (worlds[::-1], bare[::-1])):
        assert excess(found) <= excess(alone) + delta / DELTA_UNIT + 1e-9
    if others == (0, 0):
        # One unit lower and the owner who is alone in both would be seen too often, so that this can fail.
        lower = published(noise, more, cut - 1)
        assert excess([lower, worlds[1]]) > delta / DELTA_UNIT


def test_the_continuous_formula_of_the_literature_would_exceed_delta() -> None:
    noise = Noise("laplace", 1 / 3)
    delta = round(math.exp(-15) / 2 * DELTA_UNIT) + 1  # the continuous tail at 5 units above one
    continuous = 1 + math.ceil(noise.scale * math.log(1 / (2 * delta / DELTA_UNIT)))
    assert leaked(noise, continuous, 1) > 1.8 * delta / DELTA_UNIT
    assert threshold(noise, 1, delta) == continuous + 1


def test_the_laplace_formula_holds_at_scales_that_cannot_be_enumerated() -> None:
    for scale in (1e6, 2.0**40, MAX_SCALE):
        for groups, delta in ((1, 10**12), (1000, 1)):
            cut = threshold(Noise("laplace", scale), groups, delta)
            per_group = -math.expm1(math.log1p(-delta / DELTA_UNIT) / groups)
            assert cut == pytest.approx(scale * math.log(1 / (2 * per_group)), rel=1e-5)


def test_more_groups_or_less_delta_raise_it() -> None:
    for mechanism in ("laplace", "gaussian"):
        noise = Noise("laplace" if mechanism == "laplace" else "gaussian", 5.0)
        cuts = [threshold(noise, groups, 10**9) for groups in (1, 10, 1000, 10**6)]
        assert cuts == sorted(set(cuts))
        cuts = [threshold(noise, 3, delta) for delta in (10**17, 10**12, 10**6, 1)]
        assert cuts == sorted(set(cuts))


def test_one_owner_alone_is_never_above_a_threshold_of_one() -> None:
    assert threshold(Noise("laplace", 1e-6), 1, 1) == 2
    assert threshold(Noise("gaussian", 0.01), 1, 1) == 2


def test_k_groups_share_delta_as_independent_misses_do() -> None:
    noise, delta = Noise("laplace", 1.0), Fraction(1, 10)
    cut = threshold(noise, 10, DELTA_UNIT // 10)
    assert leaked(noise, cut, 10) <= delta < leaked(noise, cut - 1, 10)


@pytest.mark.parametrize(("groups", "delta"), [(0, 1), (-1, 1), (1, 0), (1, -1), (1, DELTA_UNIT), (1, DELTA_UNIT // 2)])
def test_what_has_no_threshold_is_refused(groups: int, delta: int) -> None:
    with pytest.raises(ValueError, match=r"group|delta"):
        threshold(Noise("laplace", 1.0), groups, delta)


@settings(deadline=None)
@given(
    st.sampled_from(["laplace", "gaussian"]),
    st.floats(0.2, 40),
    st.integers(1, 50),
    st.integers(1, DELTA_UNIT // 10),
    st.integers(1, 5000),
    st.integers(1, 5000),
)
def test_a_pre_threshold_costs_no_delta(
    mechanism: Mechanism, scale: float, groups: int, delta: int, part: int, least: int
) -> None:
    """A group that falls below the pre-threshold as an owner leaves is published within delta; T is the least so."""
    noise = Noise(mechanism, scale)
    cut = beyond(threshold(noise, groups, delta), part, least)
    largest = least - 1 + part  # in one world; at most least - 1 in the other, which does not look at it
    assert leaked(noise, cut - largest + 1, groups) <= delta / DELTA_UNIT * (1 + 1e-9)
    assert leaked(noise, cut - largest, groups) > delta / DELTA_UNIT * (1 - 1e-8)


def test_without_a_pre_threshold_one_owner_alone_has_to_be_hidden() -> None:
    assert beyond(40, 1, 1) == 40
    assert beyond(40, 1024, 1) == 39 + 1024


@pytest.mark.parametrize(("part", "least"), [(0, 1), (1, 0)])
def test_what_is_no_pre_threshold(part: int, least: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        beyond(40, part, least)
