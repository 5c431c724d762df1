"""Intervals: exact coverage by enumeration, never below the confidence and hardly above it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mechanisms.combine import Terms, _continuous, _enumerated, _grid, grid_of, tail
from mechanisms.intervals import (
    MAX_CONFIDENCE,
    Ends,
    Estimate,
    Interval,
    _canonical,
    _profile,
    half_width,
    interval,
    ratio_intervals,
)
from mechanisms.noise import Noise, draw
from mechanisms.tails import SMALL, quantile, survival, survivals
from tests.mechanisms.laws import convolved, enumerated, within


def laplace(scale: float) -> Noise:
    return Noise("laplace", scale)


def gaussian(scale: float) -> Noise:
    return Noise("gaussian", scale)


PLAIN = st.floats(-20, 20).map(lambda value: round(value, 6))
"""Numbers near one; products of the least of doubles are below what halving can tell apart."""

MECHANISMS = st.sampled_from(["laplace", "gaussian"])
CONFIDENCES = [0.5, 0.8, 0.95, 0.99, 0.9999]


class TestTail:
    @pytest.mark.parametrize(
        "noise",
        [laplace(0.05), laplace(1.0), laplace(37.3), laplace(300.0), gaussian(0.1), gaussian(1.0), gaussian(63.9)],
    )
    def test_it_is_the_enumerated_one(self, noise: Noise) -> None:
        values, weights = enumerated(noise)
        for m in (*range(-5, 6), *(round(noise.scale * k) for k in (-4, -1, 1, 2, 4, 6))):
            exact = float(weights[values >= m].sum())
            assert survival(noise, m) == pytest.approx(exact, rel=1e-9, abs=1e-18)
            assert survivals(noise, np.array([float(m)]))[0] == pytest.approx(exact, rel=1e-9, abs=1e-18)

    @pytest.mark.parametrize("scale", [SMALL, 64.5, 100.0, 1234.5])
    def test_a_large_gaussian_is_bounded_closely_everywhere(self, scale: float) -> None:
        values, weights = enumerated(gaussian(scale))
        exact = np.cumsum(weights[::-1])[::-1]
        positive = (values >= 1) & (values <= 9 * scale)
        bound = survivals(gaussian(scale), values[positive])
        assert np.all(bound >= exact[positive] * (1 - 1e-9))
        # 9 scales out the midpoint rule is off by (9/scale)^2/24.
        assert np.all(bound <= exact[positive] * (1 + 4 / scale**2 + 1e-9))

    @pytest.mark.parametrize("noise", [laplace(SMALL), laplace(500.0), gaussian(SMALL), gaussian(500.0)])
    def test_discrete_and_continuous_noise_can_be_drawn_within_half_a_unit(self, noise: Noise) -> None:
        """What the closed forms' slack rests on: their distribution functions are never further apart than that."""
        values, weights = enumerated(noise)
        law = stats.laplace(scale=noise.scale) if noise.mechanism == "laplace" else stats.norm(scale=noise.scale)
        above = np.cumsum(weights[::-1])[::-1]
        checked = (values >= 1) & (above > 1e-14)
        assert np.all(law.sf(values[checked] - 0.51) >= above[checked])
        assert np.all(law.sf(values[checked] - 1 + 0.51) <= above[checked] * (1 + 1e-9))

    @pytest.mark.parametrize("noise", [laplace(0.3), laplace(9.0), laplace(1e6), gaussian(2.0), gaussian(1e5)])
    @pytest.mark.parametrize("target", [0.6, 0.4, 0.025, 1e-6, 1e-20])
    def test_a_quantile_is_the_least(self, noise: Noise, target: float) -> None:
        m = quantile(noise, target)
        assert survival(noise, m) <= target
        assert m == 0 or survival(noise, m - 1) > target

    @settings(deadline=None)
    @given(st.floats(0.2, 30), st.floats(0.2, 30), st.floats(0.01, 10), MECHANISMS, MECHANISMS, st.floats(0.1, 10))
    def test_a_pair_is_the_convolved_one(
        self, one: float, other: float, coefficient: float, first: str, second: str, spread: float
    ) -> None:
        terms = [
            (1.0, laplace(one) if first == "laplace" else gaussian(one)),
            (coefficient, laplace(other) if second == "laplace" else gaussian(other)),
        ]
        x = spread * math.hypot(one, coefficient * other)
        values, weights = convolved(terms, 30)
        exact = float(weights[np.abs(values) >= x * (1 - 1e-12)].sum())
        looser = float(weights[np.abs(values) >= x * (1 - 1e-9)].sum())
        bound = _enumerated(_canonical(terms), x)
        assert exact * (1 - 1e-9) - 1e-12 <= bound <= looser * (1 + 1e-9) + 1e-12

    @pytest.mark.parametrize("ratio", [1.0, 1 + 1e-15, 1 + 1e-13, 1 + 1e-9, 1.001, 3.0, 1e6])
    def test_two_continuous_laplace_do_not_cancel(self, ratio: float) -> None:
        terms = _canonical([(1.0, laplace(1e6)), (ratio, laplace(1e6))])
        small, large = sorted((1e6, ratio * 1e6))
        for x in (1e3, 1e6, 3e6, 2e7):
            # By quadrature over the smaller noise.
            y = (np.arange(-400_000, 400_000) + 0.5) * small * 1e-4
            density = np.exp(-np.abs(y) / small) / (2 * small) * small * 1e-4
            other = stats.laplace(scale=large)
            exact = float((density * (other.sf(x - y) + other.cdf(-x - y))).sum())
            assert _continuous(terms, x) == pytest.approx(exact, rel=1e-6)

    @pytest.mark.parametrize(
        "terms",
        [
            [(1.0, laplace(64.0)), (1.0, laplace(64.0))],
            [(1.0, laplace(70.0)), (0.31, laplace(200.0))],
            [(1.0, gaussian(64.0)), (1.7, gaussian(90.0))],
        ],
    )
    def test_the_ways_agree(self, terms: list[tuple[float, Noise]]) -> None:
        canonical = _canonical(terms)
        sd = math.sqrt(sum((c * n.scale) ** 2 * (2 if n.mechanism == "laplace" else 1) for c, n in terms))
        slack, grid = sum(c for c, _ in terms), _grid(canonical)
        for x in (0.2 * sd, sd, 2 * sd, 4 * sd):
            exact = _enumerated(canonical, x)
            # Within half a unit of each noise there and half a unit back.
            assert exact <= tail(canonical, x) <= _enumerated(canonical, x - 1.03 * slack)
            assert exact <= grid.tail(x) <= _enumerated(canonical, x - 2 * grid.slack - 2 * grid.step) + 1e-10


class TestHalfWidth:
    @pytest.mark.parametrize("confidence", CONFIDENCES)
    @pytest.mark.parametrize(
        "noise", [laplace(0.4), laplace(1.0), laplace(90.5), gaussian(0.5), gaussian(7.0), gaussian(200.0)]
    )
    def test_one_noise_is_exact(self, noise: Noise, confidence: float) -> None:
        width = half_width([(-2.5, noise)], confidence)
        assert within([(-2.5, noise)], width) >= confidence - 1e-12
        assert width == 0 or within([(-2.5, noise)], width - 2.5) < confidence

    def test_it_is_the_textbook_figure_at_large_scales(self) -> None:
        assert half_width([(1.0, laplace(1e9))], 0.95) == pytest.approx(1e9 * math.log(20), rel=1e-8)
        assert half_width([(3.0, gaussian(1e9))], 0.95) == pytest.approx(3e9 * 1.959963985, rel=1e-8)
        assert half_width([(3.0, gaussian(1e6)), (4.0, gaussian(1e6))], 0.95) == pytest.approx(5e6 * 1.959964, rel=1e-5)

    @pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
    @pytest.mark.parametrize(
        "terms",
        [
            [(1.0, laplace(1.0)), (1.0, laplace(1.0))],
            [(1.0, laplace(3.0)), (-2.0, laplace(3.0))],
            [(0.37, laplace(20.0)), (1.0, laplace(5.0))],
            [(1.0, laplace(64.0)), (1.0, laplace(64.0))],
            [(1.0, laplace(70.0)), (0.01, laplace(75.0))],
            [(1.0, gaussian(4.0)), (0.7, gaussian(9.0))],
            [(1.0, gaussian(80.0)), (1.0, gaussian(80.0))],
            [(1.0, laplace(6.0)), (2.0, gaussian(11.0))],
            [(1.0, laplace(1.5)), (1.0, laplace(1.5)), (1.0, laplace(1.5))],
            [(0.3, laplace(3.0)), (0.77, gaussian(5.0)), (1.0, laplace(2.0))],
        ],
    )
    def test_combinations_cover_and_hardly_more(self, terms: list[tuple[float, Noise]], confidence: float) -> None:
        width = half_width(terms, confidence)
        reach = 14  # beyond it lies 1e-6 of a Laplace
        assert within(terms, width, reach) >= confidence - 3e-6
        values, weights = convolved(terms, reach)
        order = np.argsort(np.abs(values))
        least = np.abs(values)[order][np.searchsorted(np.cumsum(weights[order]), confidence)]
        assert width <= least * 1.012 + 1e-9

    def test_many_equal_parts_approach_a_gaussian(self) -> None:
        terms = [(1.0, laplace(1e6))] * 400
        exact = 20 * math.sqrt(2) * 1e6 * 1.95996
        assert half_width(terms, 0.95) == pytest.approx(exact, rel=0.1)
        assert half_width(terms, 0.95) >= exact * 0.995

    @given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0.5, 1e5), MECHANISMS), max_size=3), st.floats(0.5, 0.99))
    @settings(deadline=None, max_examples=20)
    def test_it_scales_with_its_unit_and_grows_with_confidence(
        self, parts: list[tuple[float, float, str]], confidence: float
    ) -> None:
        terms = [(c, laplace(s) if m == "laplace" else gaussian(s)) for c, s, m in parts]
        width = half_width(terms, confidence)
        assert half_width([(8 * c, noise) for c, noise in terms], confidence) == pytest.approx(8 * width, rel=1e-9)
        assert half_width(terms, 0.995) >= width
        assert half_width([*terms[::-1], (0.0, laplace(3.0))], confidence) == width

    def test_no_noise_needs_no_width(self) -> None:
        assert half_width([], 0.95) == 0.0
        assert half_width([(0.0, laplace(5.0))], 0.95) == 0.0

    @pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, 1.5, math.nan, (1 + MAX_CONFIDENCE) / 2])
    def test_a_confidence_out_of_range_is_refused(self, confidence: float) -> None:
        with pytest.raises(ValueError, match="confidence"):
            half_width([(1.0, laplace(1.0))], confidence)

    def test_a_coefficient_must_be_finite(self) -> None:
        for coefficient in (math.nan, math.inf):
            with pytest.raises(ValueError, match="finite"):
                half_width([(coefficient, laplace(1.0))], 0.95)

    def test_coefficients_of_very_different_size_are_no_trouble(self) -> None:
        alone = half_width([(1.0, laplace(3.0))], 0.95)
        for tiny in (1e-300, 5e-324, 1e-30):
            assert half_width([(1.0, laplace(3.0)), (tiny, laplace(3.0))], 0.95) == pytest.approx(alone, abs=1.0)
            both = half_width([(1.0, laplace(1e9)), (tiny, laplace(1e9))], 0.95)
            assert both == pytest.approx(1e9 * math.log(20), rel=1e-6)

    @pytest.mark.parametrize("unit", [1e-290, 1e-30, 1e30, 1e250])
    def test_any_unit_will_do(self, unit: float) -> None:
        for terms in (
            [(1.0, gaussian(70.0)), (2.0, gaussian(64.0))],
            [(1.0, laplace(70.0)), (2.0, laplace(64.0))],
            [(1.0, gaussian(5.0)), (2.0, laplace(1e5)), (2.0, laplace(1e4))],
        ):
            width = half_width([(unit * coefficient, noise) for coefficient, noise in terms], 0.95)
            assert width / unit == pytest.approx(half_width(terms, 0.95), rel=1e-6)

    def test_an_interval_adds_up_the_coefficients_of_one_noise(self) -> None:
        noises = {"a": laplace(5.0), "b": gaussian(7.0)}
        low, high = interval(Estimate(10.0, (("a", 1.0), ("b", 2.0), ("a", -1.0))), noises, 0.95)
        width = half_width([(2.0, noises["b"])], 0.95)
        assert (low, high) == (10.0 - width, 10.0 + width)


def mean_of(a: float, b: float, lower: float, upper: float) -> tuple[Estimate, Estimate]:
    """The two-sided mean: (upper*a + lower*b) / (a + b), both cells in both parts."""
    return (
        Estimate(upper * a + lower * b, (("a", upper), ("b", lower))),
        Estimate(a + b, (("a", 1.0), ("b", 1.0))),
    )


def least_tail(terms: Terms, x: float) -> float:
    """A reference for two noises that never exceeds the true tail by what a grid's rounding adds to its bound."""
    grid = grid_of(terms) if len(terms) == 2 and min(noise.scale for _, noise in terms) >= SMALL else None
    # A rounded sum beyond x + slack means a sum beyond x; the grid reads its own tail a slack and a step lower.
    return tail(terms, x) if grid is None else grid.tail(x + 2 * grid.slack + grid.step)


def ratio_interval(
    numerator: Estimate, denominator: Estimate, noises: Mapping[str, Noise], confidence: float, lo: float, hi: float
) -> Interval:
    """One of ``ratio_intervals``."""
    values = [numerator.value], [denominator.value]
    return pairs(ratio_intervals(*values, numerator.terms, denominator.terms, noises, confidence, lo, hi))[0]


def pairs(ends: Ends) -> list[Interval]:
    """Intervals, one after the other."""
    return [(low, high) for low, high in zip(*(end.tolist() for end in ends), strict=True)]


def by_halving(
    numerator: Estimate, denominator: Estimate, noises: Mapping[str, Noise], confidence: float, lo: float, hi: float
) -> Interval | None:
    """The same by the definition, one ratio at a time: the set is left where its tail falls to what is allowed.

    None stands for the empty set.
    """
    above, below = dict(numerator.terms), dict(denominator.terms)

    def inside(t: float) -> bool:
        terms = _canonical([(above.get(k, 0.0) - t * below.get(k, 0.0), noise) for k, noise in noises.items()])
        return tail(terms, abs(numerator.value - t * denominator.value)) > 1 - confidence

    def edge(start: float, end: float) -> float:
        for _ in range(48):
            middle = (start + end) / 2
            start, end = (middle, end) if inside(middle) else (start, middle)
        return end

    start = numerator.value / denominator.value if denominator.value else math.inf
    if not lo <= start <= hi:
        start = lo if inside(lo) else hi
        if not inside(start):
            return None
    return lo if inside(lo) else edge(start, lo), hi if inside(hi) else edge(start, hi)


class TestRatio:
    @pytest.mark.parametrize("noise", [laplace(1.0), gaussian(1.3)])
    @pytest.mark.parametrize(("a", "b"), [(30, 20), (3, 1), (0, 5)])
    def test_coverage_is_exact_over_every_draw(self, noise: Noise, a: int, b: int) -> None:
        """Every pair of draws with its probability: the share whose interval holds the true mean."""
        confidence, lower, upper = 0.9, 10.0, 20.0
        truth = (upper * a + lower * b) / (a + b)
        values, weights = enumerated(noise, 10)
        kept = weights > 2e-4
        values, weights = values[kept], weights[kept]
        covered = seen = 0.0
        noises = {"a": noise, "b": noise}
        for da, wa in zip(values, weights, strict=True):
            for db, wb in zip(values, weights, strict=True):
                if wa * wb < 2e-5:
                    continue
                low, high = ratio_interval(*mean_of(a + da, b + db, lower, upper), noises, confidence, lower, upper)
                assert lower <= low <= high <= upper
                seen += wa * wb
                covered += wa * wb * (low <= truth <= high)
        assert covered + (1 - seen) >= confidence
        assert seen > 0.99

    @pytest.mark.parametrize("noise", [laplace(2.0**20), gaussian(2.0**20)])
    def test_coverage_with_real_draws_is_close_to_the_confidence(self, noise: Noise) -> None:
        lower, upper, unit = 0.0, 100.0, 2.0**20
        a, b = 12 * unit, 18 * unit
        first, second = draw(noise, 1500), draw(noise, 1500)
        covered = 0
        for da, db in zip(first, second, strict=True):
            low, high = ratio_interval(
                *mean_of(a + da, b + db, lower, upper), {"a": noise, "b": noise}, 0.95, lower, upper
            )
            covered += low <= 40.0 <= high
        # 1,500 draws at .95: outside seven standard deviations less than once in 1e11 runs.
        assert covered / 1500 == pytest.approx(0.95, abs=0.04)

    def test_it_is_narrow_where_data_is_plenty(self) -> None:
        noise = laplace(2.0**20)
        unit = 2.0**20
        low, high = ratio_interval(*mean_of(600 * unit, 400 * unit, 0, 100), {"a": noise, "b": noise}, 0.95, 0.0, 100.0)
        # Near the ratio t the noise is ((u-t) a + (l-t) b) / n: coefficients .04 and .06 of Laplace 1.
        width = half_width([(0.04, laplace(1e6)), (0.06, laplace(1e6))], 0.95) / 1e6
        assert (60 - low, high - 60) == pytest.approx((width, width), rel=0.02)

    def test_nothing_known_is_the_whole_range(self) -> None:
        noise = laplace(1e6)
        for a, b in ((0.0, 0.0), (10.0, -10.0), (-5.0, -5.0), (100.0, 3.0)):
            assert ratio_interval(*mean_of(a, b, 1.0, 9.0), {"a": noise, "b": noise}, 0.95, 1.0, 9.0) == (1.0, 9.0)

    def test_values_that_no_ratio_explains_leave_the_whole_range(self) -> None:
        noises = {"n": laplace(1.0), "d": laplace(1.0)}
        impossible = Estimate(1e6, (("n", 1.0),)), Estimate(10.0, (("d", 1.0),))
        assert ratio_interval(*impossible, noises, 0.95, 0.0, 5.0) == (0.0, 5.0)

    def test_without_noise_it_is_the_ratio(self) -> None:
        low, high = ratio_interval(Estimate(6.0, ()), Estimate(4.0, ()), {}, 0.95, 0.0, 10.0)
        assert (low, high) == pytest.approx((1.5, 1.5))
        assert ratio_interval(Estimate(0.0, ()), Estimate(0.0, ()), {}, 0.95, 0.0, 10.0) == (0.0, 10.0)

    def test_sharing_a_noise_matters(self) -> None:
        noise = gaussian(1e4)
        shared = ratio_interval(*mean_of(5e5, 5e5, 10, 11), {"a": noise, "b": noise}, 0.95, 10.0, 11.0)
        apart = ratio_interval(
            Estimate(10.5e6, (("n", 11.0), ("m", 10.0))),
            Estimate(1e6, (("a", 1.0), ("b", 1.0))),
            dict.fromkeys("nmab", noise),
            0.95,
            10.0,
            11.0,
        )
        assert shared[1] - shared[0] < (apart[1] - apart[0]) / 15

    @settings(deadline=None, max_examples=30)
    @given(
        st.floats(-1e4, 1e6), st.floats(-1e4, 1e6), st.floats(64, 1e5), st.floats(64, 1e5), MECHANISMS,
        st.floats(-100, 100), st.floats(0, 100), st.floats(0, 1),
    )  # fmt: skip
    def test_it_is_the_hull_of_what_noise_explains(
        self, a: float, b: float, one: float, other: float, mechanism: str, lower: float, span: float, place: float
    ) -> None:
        make = laplace if mechanism == "laplace" else gaussian
        noises, upper = {"a": make(one), "b": make(other)}, lower + span
        numerator, denominator = mean_of(a, b, lower, upper)
        low, high = ratio_interval(numerator, denominator, noises, 0.95, lower, upper)
        assert lower <= low <= high <= upper
        t = lower + place * span
        left = numerator.value - t * denominator.value
        explained = abs(left) <= half_width([(upper - t, noises["a"]), (lower - t, noises["b"])], 0.95) * (1 - 1e-9)
        if explained:
            assert low <= t <= high

    @settings(deadline=None, max_examples=25)
    @given(
        st.lists(st.tuples(PLAIN, st.floats(-3, 300)), min_size=1, max_size=5),
        st.lists(
            st.tuples(PLAIN, st.sampled_from([0.0, 1.0]), st.sampled_from([1.3, 9.0, 64.0, 3e3, 1e6])),
            min_size=1,
            max_size=2,
        ),
        MECHANISMS, st.booleans(), st.sampled_from([0.6, 0.95, 0.999]),
    )  # fmt: skip
    def test_many_at_once_are_what_halving_finds(
        self,
        groups: list[tuple[float, float]],
        parts: list[tuple[float, float, float]],
        mechanism: str,
        mixed: bool,
        confidence: float,
    ) -> None:
        noises = {
            str(index): laplace(scale) if (mechanism == "laplace") != (mixed and index == 1) else gaussian(scale)
            for index, (_, _, scale) in enumerate(parts)
        }
        above = tuple((str(index), a) for index, (a, _, _) in enumerate(parts))
        below = tuple((str(index), b) for index, (_, b, _) in enumerate(parts))
        unit = max(scale for _, _, scale in parts)
        counts = [float(round(size * unit)) for _, size in groups]
        sums = [mean * count for (mean, _), count in zip(groups, counts, strict=True)]
        found = pairs(ratio_intervals(sums, counts, above, below, noises, confidence, -10.0, 10.0))
        for n, d, (low, high) in zip(sums, counts, found, strict=True):
            exact = by_halving(Estimate(n, above), Estimate(d, below), noises, confidence, -10.0, 10.0)
            if exact is None:
                # A wider half-width may find values where the exact one finds none; any interval holds an empty set.
                assert -10.0 <= low <= high <= 10.0
                continue
            least, most = exact
            # Never narrower, but for the grids of Laplace with Gaussian, which differ from one t to the next.
            slack = 1e-9 * 20 + (2e-3 * (most - least) if mixed and len(parts) == 2 else 0.0)
            assert low <= least + slack
            assert high >= most - slack

    @pytest.mark.parametrize(
        ("laws", "close"),
        [
            ((laplace(2.0**20), laplace(2.0**20)), 2e-4),
            ((laplace(64.0), laplace(90.0)), 2e-4),
            ((laplace(20.0), laplace(20.0)), 0.015),
            ((laplace(2.0), laplace(2.0)), 0.03),
            ((gaussian(1e4), gaussian(300.0)), 2e-4),
            ((gaussian(5.0), gaussian(6.0)), 0.015),
            ((laplace(1e3), gaussian(800.0)), 0.01),
            ((laplace(1e3), laplace(1e3), laplace(700.0)), 0.01),
            ((laplace(4.0), laplace(4.0), laplace(4.0)), 0.03),
            ((gaussian(4.0), laplace(5.0), gaussian(70.0)), 0.06),
        ],
    )
    @pytest.mark.audit
    def test_and_hardly_wider(self, laws: tuple[Noise, ...], close: float) -> None:
        noises = {str(index): noise for index, noise in enumerate(laws)}
        above = tuple(zip(noises, (10.0, -10.0, 3.0), strict=False))
        below = tuple((key, 1.0) for key in noises)
        count = 400 * max(noise.scale for noise in laws)
        means = [-9.7, -3.1, 4.4]
        sums = [mean * count for mean in means]
        found = pairs(ratio_intervals(sums, [count] * 3, above, below, noises, 0.95, -10.0, 10.0))
        for n, (low, high) in zip(sums, found, strict=True):
            exact = by_halving(Estimate(n, above), Estimate(count, below), noises, 0.95, -10.0, 10.0)
            assert exact is not None
            least, most = exact
            assert (high - low) <= (most - least) * (1 + close)

    @settings(deadline=None, max_examples=15)
    @given(
        st.lists(
            st.tuples(st.floats(-20, 20), st.floats(-2, 2), st.sampled_from([0.3, 2.0, 11.0, 70.0, 1e5]), MECHANISMS),
            min_size=2,
            max_size=2,
        ),
        st.lists(st.floats(0, 1), min_size=4, max_size=4),
    )
    def test_its_line_is_nowhere_below_the_half_width(
        self, drawn: list[tuple[float, float, float, str]], places: list[float]
    ) -> None:
        """Between the corners too, on the lattice too: the tail just beyond the line is what is allowed at most."""
        parts = tuple((a, b, laplace(s) if mechanism == "laplace" else gaussian(s)) for a, b, s, mechanism in drawn)
        profile = _profile(parts, 0.05, -10.0, 10.0)
        for place in places:
            t = -10 + 20 * place
            terms = _canonical([(a - t * b, noise) for a, b, noise in parts])
            width = float(np.interp(t, profile.at, profile.width))
            assert not terms or least_tail(terms, width * (1 + 1e-9) + 1e-290) <= 0.05 * (1 + 1e-9) + 1e-9

    @pytest.mark.parametrize("scale", [0.5, 1.3, 2.0, 4.0])
    def test_a_lattice_leaves_no_gap_between_corners(self, scale: float) -> None:
        """Chords alone fail here: between corners the half-width of a lattice jumps above them."""
        noise = laplace(scale)
        profile = _profile(((10.0, 1.0, noise), (-10.0, 1.0, noise)), 0.05, -10.0, 10.0)
        at = np.linspace(-9.99, 9.99, 1501)
        for t, width in zip(at, np.interp(at, profile.at, profile.width), strict=True):
            terms = _canonical([(10.0 - t, noise), (-10.0 - t, noise)])
            assert _enumerated(terms, width * (1 + 1e-9)) <= 0.05

    def test_a_line_of_one_corner_and_of_many_kinks(self) -> None:
        noises = {str(index): laplace(1e3) for index in range(3)}
        above = tuple((key, 2.0) for key in noises)
        below = tuple((key, 1.0) for key in noises)
        # All noise vanishes at t = 2: nothing but the exact ratio is left there.
        found = pairs(ratio_intervals([2e5, 2e5], [1e5, 1.1e5], above, below, noises, 0.95, 0.0, 10.0))
        assert found[0][0] <= 2.0 <= found[0][1]
        assert found[0][1] - found[0][0] < 1e-3
        assert pairs(ratio_intervals([7.0], [2.0], above, below, noises, 0.95, 3.0, 3.0)) == [(3.0, 3.0)]
        assert pairs(ratio_intervals([], [], above, below, noises, 0.95, 0.0, 1.0)) == []

    @pytest.mark.parametrize(
        "laws",
        [
            (laplace(2.0**20), laplace(2.0**20)),
            (laplace(63.0), laplace(63.0)),
            (gaussian(1e3), gaussian(1e5)),
            (laplace(30.0), gaussian(1e3)),
            (laplace(4.0), gaussian(5.0), gaussian(500.0)),
        ],
    )
    def test_ten_thousand_at_once(self, laws: tuple[Noise, ...]) -> None:
        noises = {str(index): noise for index, noise in enumerate(laws)}
        above = tuple(zip(noises, (3.0, -4.0, 3.0), strict=False))
        below = tuple((key, 1.0) for key in noises)
        counts = [1e3 * n for n in range(10_000)]
        found = pairs(ratio_intervals([2 * count for count in counts], counts, above, below, noises, 0.95, -4.0, 3.0))
        assert all(low <= 2.0 <= high for low, high in found)

    @pytest.mark.parametrize("values", [([1.0], []), ([math.nan], [1.0]), ([1.0], [math.inf])])
    def test_values_must_be_finite_pairs(self, values: tuple[list[float], list[float]]) -> None:
        with pytest.raises(ValueError, match="finite"):
            ratio_intervals(*values, (), (), {}, 0.95, 0.0, 1.0)

    @pytest.mark.parametrize(("lower", "upper"), [(2.0, 1.0), (math.nan, 1.0), (0.0, math.inf)])
    def test_bounds_must_be_an_interval(self, lower: float, upper: float) -> None:
        with pytest.raises(ValueError, match="interval"):
            ratio_interval(Estimate(1.0, ()), Estimate(1.0, ()), {}, 0.95, lower, upper)
