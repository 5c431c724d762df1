"""Conversions against known figures, OpenDP and independent evaluations; the admission rule against a plain model."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import opendp.prelude as dp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mechanisms.accounting import (
    UNBOUNDED,
    Allowance,
    Spent,
    admits,
    epsilon_of_rho,
    pure_of_rho,
    remaining,
    rho_of_epsilon,
    rho_of_laplace,
    rho_of_pure,
    spent_epsilon,
)
from mechanisms.loss import DELTA_UNIT, EPSILON_UNIT, LIMIT, MAX_EPSILON, RHO_UNIT, Loss, Mechanism
from mechanisms.noise import ScaleError, calibrate, price

dp.enable_features("contrib")

epsilons = st.one_of(st.integers(1, 20 * EPSILON_UNIT), st.integers(1, MAX_EPSILON))
rhos = st.one_of(st.integers(1, 5 * RHO_UNIT), st.integers(1, LIMIT))
deltas = st.one_of(
    st.integers(1, DELTA_UNIT - 1),
    st.sampled_from([10**k for k in range(18)]),
    st.sampled_from([DELTA_UNIT - 10**k for k in range(18)]),
)


class TestConversion:
    @pytest.mark.parametrize(("epsilon", "rho"), [(1, 0.022937), (3, 0.175749), (10, 1.478441)])
    def test_the_published_figures(self, epsilon: int, rho: float) -> None:
        found = rho_of_epsilon(epsilon * EPSILON_UNIT, 5 * 10**11)
        assert math.floor(found / RHO_UNIT * 1e6) / 1e6 == rho

    @settings(max_examples=20, deadline=None)
    @given(rho=st.floats(1e-5, 50), exponent=st.floats(-15, -2))
    def test_it_is_what_opendp_converts_to(self, rho: float, exponent: float) -> None:
        delta = round(10.0**exponent * DELTA_UNIT)
        gaussian = dp.m.make_gaussian(
            dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64"), scale=1 / math.sqrt(2 * rho)
        )
        converted = dp.c.make_fix_delta(dp.c.make_zCDP_to_approxDP(gaussian), delta / DELTA_UNIT)
        theirs = converted.map(1.0)[0]  # type: ignore[no-untyped-call]
        loss = gaussian.map(1.0)  # type: ignore[no-untyped-call]
        # Theirs works in floats rounded up; ours rounds rho up to a whole unit.
        ours = epsilon_of_rho(math.ceil(loss * RHO_UNIT), delta)
        assert ours / EPSILON_UNIT == pytest.approx(theirs, rel=1e-6, abs=2e-9)

    @given(rho=st.integers(1, 10 * RHO_UNIT), delta=st.integers(1, DELTA_UNIT // 10))
    def test_no_order_on_a_fine_grid_does_better(self, rho: int, delta: int) -> None:
        x = np.exp(np.linspace(-8, 12, 4001))
        bounds = (1 + x) * rho / RHO_UNIT - (np.log1p(x) + math.log(delta / DELTA_UNIT)) / x - np.log1p(1 / x)
        best = max(0.0, float(bounds.min()))
        assert epsilon_of_rho(rho, delta) / EPSILON_UNIT <= best * (1 + 1e-9) + 2e-9

    @given(rhos, deltas)
    def test_there_and_back_never_gains(self, rho: int, delta: int) -> None:
        epsilon = epsilon_of_rho(rho, delta)
        assert rho_of_epsilon(epsilon, delta) >= rho * (1 - 1e-12) - 1
        fits = rho_of_epsilon(epsilon, delta)
        assert epsilon_of_rho(fits, delta) <= epsilon

    @given(epsilons, st.integers(1, DELTA_UNIT // 2))
    def test_the_rho_of_an_epsilon_is_the_largest(self, epsilon: int, delta: int) -> None:
        rho = rho_of_epsilon(epsilon, delta)
        assert epsilon_of_rho(rho, delta) <= epsilon
        if rho < LIMIT:
            assert epsilon_of_rho(rho + max(1, rho // 10**15), delta) > epsilon

    @given(rhos, rhos, deltas)
    def test_it_grows_with_rho(self, one: int, other: int, delta: int) -> None:
        low, high = sorted((one, other))
        assert epsilon_of_rho(low, delta) <= epsilon_of_rho(high, delta)

    def test_the_ends(self) -> None:
        assert epsilon_of_rho(0, 0) == 0
        assert epsilon_of_rho(1, 0) == UNBOUNDED
        assert epsilon_of_rho(LIMIT, DELTA_UNIT) == 0
        assert rho_of_epsilon(MAX_EPSILON, 0) == 0
        for arguments in ((-1, 5), (5, -1), (5, DELTA_UNIT + 1)):
            with pytest.raises(ValueError, match="out of range"):
                epsilon_of_rho(*arguments)
            with pytest.raises(ValueError, match="out of range"):
                rho_of_epsilon(*arguments)


Floats: TypeAlias = NDArray[np.float64]


def renyi(p: Floats, q: Floats, order: float) -> float:
    """The divergence of two laws given by their logarithms, up to normalisation."""
    p, q = p - np.logaddexp.reduce(p), q - np.logaddexp.reduce(q)
    return float(np.logaddexp.reduce(order * p + (1 - order) * q) / (order - 1))


class TestPure:
    def test_the_published_figures(self) -> None:
        assert rho_of_pure(3 * EPSILON_UNIT) / RHO_UNIT == pytest.approx(2.72, abs=0.005)
        assert 10 * rho_of_pure(EPSILON_UNIT // 10) / RHO_UNIT == pytest.approx(0.050, abs=0.0005)
        assert rho_of_pure(EPSILON_UNIT) / RHO_UNIT == pytest.approx(0.462, abs=0.0005)

    @given(st.floats(1e-3, 30), st.floats(1e-4, 1e3))
    def test_randomised_response_stays_under_it_at_every_order(self, epsilon: float, above: float) -> None:
        order = 1 + above
        answers = np.array([0.0, -epsilon])
        divergence = renyi(answers, answers[::-1], order)
        rho = rho_of_pure(math.ceil(epsilon * EPSILON_UNIT)) / RHO_UNIT
        assert divergence <= order * rho + 1e-9 / above

    def test_at_order_one_it_is_met(self) -> None:
        divergence = renyi(np.array([0.0, -2.0]), np.array([-2.0, 0.0]), 1 + 1e-6)
        assert divergence == pytest.approx(rho_of_pure(2 * EPSILON_UNIT) / RHO_UNIT, rel=1e-5)

    @settings(deadline=None)
    @given(st.lists(st.integers(0, 6), min_size=1, max_size=4).filter(any), st.floats(0.5, 20), st.floats(1.0001, 60))
    def test_a_laplace_vector_stays_under_its_bound(self, shifts: list[int], scale: float, order: float) -> None:
        grid = np.arange(-900, 901)
        total = 0.0
        for shift in shifts:
            total += renyi(-np.abs(grid) / scale, -np.abs(grid - shift) / scale, order)
        l1, linf = sum(shifts), max(shifts)
        rho = rho_of_laplace(math.ceil(l1 / scale * EPSILON_UNIT), l1, linf) / RHO_UNIT
        assert total <= order * rho + 1e-7

    @given(epsilons)
    def test_it_is_rounded_up_and_below_both_simple_bounds(self, epsilon: int) -> None:
        rho, eps = rho_of_pure(epsilon), epsilon / EPSILON_UNIT
        exact = eps * math.tanh(eps / 2)
        assert rho / RHO_UNIT >= exact * (1 - 1e-14)
        assert rho <= exact * (1 + 1e-14) * RHO_UNIT + 1
        assert rho <= epsilon * 1000

    def test_small_ones_are_never_free(self) -> None:
        assert rho_of_pure(1) == 1
        assert rho_of_laplace(1, 10**30, 1) == 1
        assert rho_of_pure(0) == rho_of_laplace(5, 0, 0) == rho_of_laplace(5, 5, 0) == 0

    def test_a_coordinate_cannot_change_more_than_the_whole(self) -> None:
        assert rho_of_laplace(EPSILON_UNIT, 3, 10**9) == rho_of_pure(EPSILON_UNIT)
        assert rho_of_laplace(EPSILON_UNIT, 10, 1) < rho_of_pure(EPSILON_UNIT) / 9
        with pytest.raises(ValueError, match="negative"):
            rho_of_laplace(-1, 1, 1)

    @given(rhos)
    def test_pure_of_rho_is_the_largest(self, rho: int) -> None:
        epsilon = pure_of_rho(rho)
        assert rho_of_pure(epsilon) <= rho < rho_of_pure(epsilon + 1)

    def test_pure_of_rho_at_its_ends(self) -> None:
        assert pure_of_rho(0) == 0
        with pytest.raises(ValueError, match="negative"):
            pure_of_rho(-1)


allowances = st.builds(
    Allowance,
    st.integers(0, 20 * EPSILON_UNIT),
    st.one_of(st.just(0), st.just(1), st.integers(2, 10**14)),
)
spents = st.builds(
    Spent, st.integers(0, 25 * EPSILON_UNIT), st.booleans(), st.integers(0, 2 * RHO_UNIT), st.integers(0, 10**14)
)


class TestAdmission:
    @staticmethod
    def admitted(epsilon: str, each: int, gaussian: bool = False) -> int:
        allowance, spent, count = Allowance(int(epsilon) * EPSILON_UNIT, 10**12), Spent(), 0
        loss = Loss(None if gaussian else each, rho_of_pure(each))
        while admits(allowance, spent, loss):
            spent, count = spent + loss, count + 1
        return count

    def test_what_composition_buys(self) -> None:
        assert self.admitted("3", EPSILON_UNIT // 100) == pytest.approx(3500, rel=0.01)
        assert self.admitted("3", EPSILON_UNIT // 10) == pytest.approx(35, abs=1)
        assert self.admitted("3", EPSILON_UNIT) == 3
        assert self.admitted("3", EPSILON_UNIT, gaussian=True) == 0

    def test_delta_is_split_once_and_nothing_of_it_is_lost(self) -> None:
        for delta in (0, 1, 2, 3, 10**12, 10**12 + 1):
            allowance = Allowance(EPSILON_UNIT, delta)
            assert allowance.conversion_delta + allowance.release_delta == delta
            assert allowance.conversion_delta <= allowance.release_delta
        assert Allowance(3 * EPSILON_UNIT, 10**12).rho == rho_of_epsilon(3 * EPSILON_UNIT, 5 * 10**11)

    def test_without_delta_only_pure_losses_fit(self) -> None:
        allowance = Allowance(EPSILON_UNIT, 0)
        assert allowance.rho == 0
        assert admits(allowance, Spent(), Loss(EPSILON_UNIT, rho_of_pure(EPSILON_UNIT)))
        assert not admits(allowance, Spent(), Loss(EPSILON_UNIT + 1, 1))
        assert not admits(allowance, Spent(), Loss(None, 1))
        assert not admits(allowance, Spent(), Loss(1, 1, 1))
        assert remaining(allowance, Spent(), "gaussian", 10**9) == 0

    def test_one_gaussian_closes_the_pure_route(self) -> None:
        allowance = Allowance(3 * EPSILON_UNIT, 10**12)
        spent = Spent() + Loss(None, 1)
        assert admits(allowance, Spent(), Loss(3 * EPSILON_UNIT, rho_of_pure(3 * EPSILON_UNIT)))
        assert not admits(allowance, spent, Loss(3 * EPSILON_UNIT, rho_of_pure(3 * EPSILON_UNIT)))
        assert admits(allowance, spent, Loss(EPSILON_UNIT // 10, rho_of_pure(EPSILON_UNIT // 10)))

    def test_sums_beyond_the_ledgers_integers_are_refused(self) -> None:
        allowance = Allowance(MAX_EPSILON, 10**17)
        assert admits(allowance, Spent(LIMIT - 1, False, 0, 0), Loss(1, 1))
        assert not admits(allowance, Spent(LIMIT, False, 0, 0), Loss(1, 1))

    @given(allowances, spents, st.integers(0, 5 * EPSILON_UNIT), st.integers(0, RHO_UNIT), st.integers(0, 10**14))
    def test_the_rule_as_it_is_written(
        self, allowance: Allowance, spent: Spent, epsilon: int, rho: int, delta: int
    ) -> None:
        for loss in (Loss(epsilon, rho, delta), Loss(None, rho, delta)):
            half = allowance.delta / 2
            pure = not spent.gaussian and loss.epsilon is not None and spent.epsilon + epsilon <= allowance.epsilon
            concentrated = epsilon_of_rho(spent.rho + rho, allowance.delta // 2) <= allowance.epsilon
            within = spent.delta + delta <= math.ceil(half)
            assert admits(allowance, spent, loss) == (within and (pure or concentrated))

    @given(allowances, spents, st.sampled_from(["laplace", "gaussian"]), st.sampled_from([0, 1, 10**9, 10**12]))
    def test_what_remains_is_a_price_that_is_admitted_and_no_more_is(
        self, allowance: Allowance, spent: Spent, mechanism: Mechanism, delta: int
    ) -> None:
        spent = Spent(spent.epsilon, spent.gaussian, spent.rho, min(spent.delta, allowance.release_delta))

        def loss(epsilon: int) -> Loss:
            if mechanism == "laplace":
                return Loss(epsilon, rho_of_pure(epsilon))
            return Loss(None, rho_of_epsilon(epsilon, delta))

        left = remaining(allowance, spent, mechanism, delta)
        if left > 0:
            assert admits(allowance, spent, loss(left))
        if mechanism == "laplace" or (delta > 0 and rho_of_epsilon(left + 1, delta) > 0):
            assert not admits(allowance, spent, loss(left + 1))

    @settings(max_examples=20, deadline=None)
    @given(allowances, spents, st.sampled_from(["laplace", "gaussian"]), st.integers(1, 10**6))
    def test_noise_calibrated_at_what_remains_is_admitted(
        self, allowance: Allowance, spent: Spent, mechanism: Mechanism, sensitivity: int
    ) -> None:
        spent = Spent(spent.epsilon, spent.gaussian, spent.rho, min(spent.delta, allowance.release_delta))
        left = remaining(allowance, spent, mechanism, 10**9)
        budget = left if mechanism == "laplace" else rho_of_epsilon(left, 10**9)
        try:
            noise = calibrate(mechanism, sensitivity, budget)
        except ScaleError:
            assert budget == 0
            return
        assert admits(allowance, spent, price(noise, sensitivity, sensitivity, sensitivity))

    @given(allowances, spents)
    def test_spent_is_the_lesser_reading(self, allowance: Allowance, spent: Spent) -> None:
        shown = spent_epsilon(allowance, spent)
        converted = epsilon_of_rho(spent.rho, allowance.conversion_delta)
        assert shown == (converted if spent.gaussian else min(spent.epsilon, converted))

    @given(allowances, st.lists(st.tuples(st.booleans(), st.integers(1, EPSILON_UNIT)), max_size=30))
    def test_what_was_admitted_never_reads_as_more_than_the_allowance(
        self, allowance: Allowance, asked: list[tuple[bool, int]]
    ) -> None:
        spent = Spent()
        for gaussian, epsilon in asked:
            loss = Loss(None, rho_of_epsilon(epsilon, 10**9)) if gaussian else Loss(epsilon, rho_of_pure(epsilon))
            if admits(allowance, spent, loss):
                spent += loss
            assert spent_epsilon(allowance, spent) <= allowance.epsilon

    def test_a_gaussian_past_without_delta_has_no_epsilon(self) -> None:
        assert spent_epsilon(Allowance(EPSILON_UNIT, 0), Spent(5, True, 7, 0)) == UNBOUNDED

    @pytest.mark.parametrize(("epsilon", "delta"), [(-1, 0), (MAX_EPSILON + 1, 0), (1, -1), (1, DELTA_UNIT)])
    def test_an_allowance_out_of_range_does_not_exist(self, epsilon: int, delta: int) -> None:
        with pytest.raises(ValueError, match="out of range"):
            Allowance(epsilon, delta)
