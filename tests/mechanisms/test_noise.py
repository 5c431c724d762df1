"""Noise: priced by OpenDP's own map, of the smallest scale that fits, of the law that the price assumes."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import opendp.prelude as dp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mechanisms import noise as module
from mechanisms.accounting import rho_of_laplace
from mechanisms.loss import EPSILON_UNIT, RHO_UNIT, AmountError, Loss, Mechanism
from mechanisms.noise import MAX_SCALE, CanaryError, Noise, ScaleError, calibrate, canary, draw, norm, price, warm_up
from mechanisms.tails import survivals

dp.enable_features("contrib")

FALSE_ALARM = 1e-10
BOTH = pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])


def mapped(noise: Noise, sensitivity: float) -> Fraction:
    """OpenDP's map, built here anew."""
    domain = dp.vector_domain(dp.atom_domain(T="i64"))
    if noise.mechanism == "laplace":
        measurement = dp.m.make_laplace(domain, dp.l1_distance(T="f64"), scale=noise.scale)
    else:
        measurement = dp.m.make_gaussian(domain, dp.l2_distance(T="f64"), scale=noise.scale)
    return Fraction(measurement.map(sensitivity))  # type: ignore[no-untyped-call]


def not_below(value: Fraction | int) -> float:
    nearest = float(value)
    return nearest if Fraction(nearest) >= value else math.nextafter(nearest, math.inf)


class TestCalibration:
    @settings(deadline=None)
    @given(
        st.sampled_from(["laplace", "gaussian"]),
        st.one_of(st.integers(1, 1000), st.integers(1, 2**62), st.builds(norm, st.integers(1, 10**6))),
        st.integers(10**4, 10**13),
    )
    def test_it_is_the_smallest_scale_that_fits(
        self, mechanism: Mechanism, sensitivity: int | Fraction, budget: int
    ) -> None:
        target = Fraction(budget, EPSILON_UNIT if mechanism == "laplace" else RHO_UNIT)
        ideal = sensitivity / target if mechanism == "laplace" else math.sqrt(Fraction(sensitivity) ** 2 / 2 / target)
        if ideal > MAX_SCALE * 0.999999:
            with pytest.raises(ScaleError):
                calibrate(mechanism, sensitivity, max(1, budget // 4))
            return
        noise = calibrate(mechanism, sensitivity, budget)
        assert noise.scale == pytest.approx(float(ideal), rel=1e-12)
        assert mapped(noise, not_below(sensitivity)) <= target
        finer = Noise(mechanism, math.nextafter(noise.scale, 0))
        assert mapped(finer, not_below(sensitivity)) > target

    def test_one_third_is_not_exceeded(self) -> None:
        noise = calibrate("laplace", 1, EPSILON_UNIT // 3)
        assert price(noise, 1, 1, 1).epsilon == EPSILON_UNIT // 3

    @BOTH
    def test_it_steps_a_few_times_at_most(self, mechanism: Mechanism, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[float] = []
        original = module._mapped

        def counted(noise: Noise, sensitivity: int | Fraction) -> Fraction:
            calls.append(noise.scale)
            return original(noise, sensitivity)

        monkeypatch.setattr(module, "_mapped", counted)
        for sensitivity, budget in ((7, 10**9 + 7), (2**53 + 1, 10**12 + 1), (123_456_789, 333_333_333)):
            calls.clear()
            calibrate.__wrapped__(mechanism, sensitivity, budget)
            assert 2 <= len(calls) <= 12

    @BOTH
    @pytest.mark.parametrize(
        ("sensitivity", "budget"),
        [(0, 1), (-1, 1), (1, 0), (1, -1), (2**63, 10**9), (10**15, 10**3), (10**400, 10**9), (10**200, 1)],
    )
    def test_what_cannot_be_calibrated_is_a_typed_refusal(
        self, mechanism: Mechanism, sensitivity: int, budget: int
    ) -> None:
        with pytest.raises(ScaleError):
            calibrate(mechanism, sensitivity, budget)

    @pytest.mark.parametrize("scale", [0.0, -0.0, -1.0, math.nan, math.inf, -math.inf, MAX_SCALE * 1.0001, 9e18])
    @BOTH
    def test_a_scale_that_would_not_protect_does_not_exist(self, mechanism: Mechanism, scale: float) -> None:
        with pytest.raises(ScaleError):
            Noise(mechanism, scale)

    def test_an_unknown_mechanism_does_not_exist(self) -> None:
        with pytest.raises(ScaleError):
            Noise("uniform", 1.0)  # type: ignore[arg-type]

    def test_bigint_bounds_and_a_tiny_epsilon_are_refused_before_anything_is_spent(self) -> None:
        with pytest.raises(ScaleError):
            calibrate("laplace", 2**63 - 1, EPSILON_UNIT)
        assert calibrate("laplace", 2**55, EPSILON_UNIT).scale == pytest.approx(2.0**55)
        assert calibrate("laplace", 1, EPSILON_UNIT // 10**6).scale == pytest.approx(1e6)


class TestPrice:
    @settings(deadline=None)
    @given(st.floats(1e-3, 1e12), st.integers(1, 1000), st.integers(1, 2**70))
    def test_laplace_is_its_map_and_the_rho_of_it(self, scale: float, share: int, l1: int) -> None:
        noise, linf = Noise("laplace", scale), max(1, l1 // share)
        exact = mapped(noise, not_below(l1)) * EPSILON_UNIT
        try:
            loss = price(noise, l1, l1, linf)
        except AmountError:
            assert exact > 10**15
            return
        assert loss.epsilon is not None
        assert 0 <= loss.epsilon - exact < 1
        assert loss.epsilon >= Fraction(l1) / Fraction(scale) * EPSILON_UNIT
        assert loss == Loss(loss.epsilon, rho_of_laplace(loss.epsilon, l1, linf), 0)

    @settings(deadline=None)
    @given(st.floats(1e-2, 1e12), st.integers(1, 2**70))
    def test_gaussian_is_its_map_and_has_no_epsilon(self, scale: float, l2: int) -> None:
        noise = Noise("gaussian", scale)
        exact = mapped(noise, not_below(l2)) * RHO_UNIT
        try:
            loss = price(noise, 10 * l2, l2, l2)
        except AmountError:
            assert exact > 2**63 - 1
            return
        assert loss.epsilon is None
        assert 0 <= loss.rho - exact < 1
        assert loss.rho >= (Fraction(l2) / Fraction(scale)) ** 2 / 2 * RHO_UNIT

    def test_a_sensitivity_beyond_floats_is_rounded_up(self) -> None:
        assert module._float_up(2**53 + 1) == 2**53 + 2
        assert module._float_up(2**53 + 3) == 2**53 + 4
        assert module._float_up(Fraction(1, 3)) > Fraction(1, 3)
        assert module._float_up(5) == 5.0

    def test_nothing_at_stake_costs_nothing(self) -> None:
        assert price(Noise("laplace", 3.0), 0, 0, 0) == Loss(0, 0)
        assert price(Noise("gaussian", 3.0), 0, 0, 0) == Loss(None, 0)

    @BOTH
    def test_a_loss_beyond_any_budget_is_an_error(self, mechanism: Mechanism) -> None:
        for sensitivity in (10**30, 10**308, 10**400):
            with pytest.raises((AmountError, ScaleError)):
                price(Noise(mechanism, 1.0), sensitivity, sensitivity, sensitivity)
        with pytest.raises(ScaleError):
            price(Noise(mechanism, 1.0), -1, -1, -1)

    @given(st.integers(0, 2**200))
    def test_a_norm_is_a_root_rounded_up(self, squared: int) -> None:
        root = norm(squared)
        assert root * root >= squared
        assert max(Fraction(0), root - Fraction(1, 2**32)) ** 2 < squared or squared == 0

    def test_a_norm_of_a_square_is_exact(self) -> None:
        assert norm(9) == 3
        assert norm(0) == 0
        with pytest.raises(ValueError, match="negative"):
            norm(-1)


def expected(noise: Noise, edges: list[int]) -> np.ndarray:
    """Probabilities of the cells (..., e0), [e0, e1), ..., [en, ...)."""
    above = survivals(noise, np.array(edges, dtype=np.float64))
    return -np.diff(np.concatenate(([1.0], above, [0.0])))


def chi_square(noise: Noise, edges: list[int], values: list[int]) -> float:
    """The probability of a worse fit than that of the values."""
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return float(stats.chisquare(counts, expected(noise, edges) * len(values)).pvalue)


class TestLaw:
    """What is drawn has the law that is priced. A sound source fails any one of these less than once in 1e10 runs."""

    @BOTH
    @pytest.mark.parametrize("scale", [0.7, 3.0, 1000.0, 2.0**40])
    def test_it_fits(self, mechanism: Mechanism, scale: float) -> None:
        noise = Noise(mechanism, scale)
        edges = sorted({round(scale * quantile) for quantile in np.linspace(-2.5, 2.5, 25)})
        values = draw(noise, 20_000)
        assert len(values) == 20_000
        assert all(type(value) is int for value in values[:5])
        assert chi_square(noise, edges, values) > FALSE_ALARM

    @BOTH
    def test_the_test_would_see_a_wrong_scale(self, mechanism: Mechanism) -> None:
        edges = list(range(-6, 8))
        values = draw(Noise(mechanism, 3.0), 20_000)
        assert chi_square(Noise(mechanism, 3.3), edges, values) < FALSE_ALARM

    @BOTH
    def test_values_of_a_vector_are_independent(self, mechanism: Mechanism) -> None:
        values = np.array(draw(Noise(mechanism, 50.0), 20_000), dtype=np.float64)
        for lag in (1, 2, 7):
            assert stats.spearmanr(values[:-lag], values[lag:]).pvalue > FALSE_ALARM

    @pytest.mark.audit
    @BOTH
    @pytest.mark.parametrize("scale", [0.3, 1.0, 17.5, 1e6, 2.0**56])
    def test_it_fits_closely(self, mechanism: Mechanism, scale: float) -> None:
        noise = Noise(mechanism, scale)
        edges = sorted({round(scale * quantile) for quantile in np.linspace(-6, 6, 121)})
        weights = expected(noise, edges) * 500_000
        while weights.min() < 10:
            index = int(weights.argmin())
            edges.pop(min(index, len(edges) - 1))
            weights = expected(noise, edges) * 500_000
        assert chi_square(noise, edges, draw(noise, 500_000)) > FALSE_ALARM

    @BOTH
    def test_the_largest_scale_stays_within_64_bits(self, mechanism: Mechanism) -> None:
        values = draw(Noise(mechanism, MAX_SCALE), 2000)
        assert max(map(abs, values)) < 2**63 - 1
        assert np.median(np.abs(np.array(values, dtype=np.float64))) == pytest.approx(0.68 * MAX_SCALE, rel=0.2)

    def test_none_and_less_than_none(self) -> None:
        assert draw(Noise("laplace", 1.0), 0) == []
        with pytest.raises(ValueError, match="negative"):
            draw(Noise("laplace", 1.0), -1)

    @BOTH
    def test_a_vector_is_one_call(self, mechanism: Mechanism, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes: list[int] = []
        original = module._vector

        def counted(measurement: object, count: int) -> list[int]:
            sizes.append(count)
            return original(measurement, count)  # type: ignore[arg-type]

        monkeypatch.setattr(module, "_vector", counted)
        draw(Noise(mechanism, 5.0), 300)
        assert sizes == [300]

    def test_saturated_values_are_drawn_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        top, bottom = 2**63 - 1, -(2**63)
        script: Iterator[list[int]] = iter([[1, top, 2, bottom], [bottom, 7], [-9]])

        def scripted(measurement: object, count: int) -> list[int]:
            values = next(script)
            assert len(values) == count
            return values

        monkeypatch.setattr(module, "_vector", scripted)
        assert draw(Noise("laplace", 4.0), 4) == [1, -9, 2, 7]

    def test_opendp_does_saturate_which_is_why_scales_are_capped(self) -> None:
        huge = dp.m.make_laplace(dp.vector_domain(dp.atom_domain(T="i64")), dp.l1_distance(T="f64"), scale=9e18)
        ends = [value for value in huge([0] * 400) if value in (2**63 - 1, -(2**63))]
        assert len(ends) > 50  # 144 expected


class TestStart:
    def test_an_honest_source_passes(self) -> None:
        warm_up()
        canary()

    @pytest.mark.parametrize("value", [0, 1, 1000])
    def test_a_stuck_source_is_found(self, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_vector", lambda _measurement, count: [value] * count)
        with pytest.raises(CanaryError, match="does not vary"):
            canary()

    def test_a_source_that_repeats_itself_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stored = draw(Noise("laplace", 1000.0), 64)
        monkeypatch.setattr(module, "_vector", lambda _measurement, count: list(stored[:count]))
        with pytest.raises(CanaryError, match="does not vary"):
            canary()

    def test_a_source_of_too_little_noise_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        small = Noise("laplace", 2.0)
        monkeypatch.setattr(module, "draw", lambda _noise, count: draw(small, count))
        with pytest.raises(CanaryError, match="does not vary"):
            canary()

    def test_a_wrong_price_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "price", lambda *_arguments: Loss(1, 1))
        with pytest.raises(CanaryError, match="price"):
            canary()

    def test_importing_does_not_load_opendp(self) -> None:
        code = "import sys, mechanisms.noise, mechanisms.intervals; print('opendp' in sys.modules)"
        shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert shown.stdout.strip() == "False"
