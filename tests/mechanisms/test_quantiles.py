"""Quantiles by the exponential mechanism: penalties, sensitivity, the law of the draws, its price and its error."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import opendp.prelude as dp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sql.planning.grid import grid
from mechanisms.accounting import rho_of_pure
from mechanisms.loss import EPSILON_UNIT, MAX_EPSILON, RHO_UNIT, AmountError
from mechanisms.noise import (
    MAX_SCORE,
    ScaleError,
    Selection,
    calibrate_selection,
    price_selection,
    select,
)
from mechanisms.quantiles import Rank, excess, extreme, rank_of

dp.enable_features("contrib")

RANKS = st.sampled_from(
    [rank_of(Fraction(1, 2)), rank_of(Fraction(19, 20)), Rank(0, 2, 7), Rank(2, 2, -7), rank_of(Fraction(1, 3))]
)
SIZE = 6
COUNTS = st.dictionaries(st.integers(0, SIZE - 1), st.integers(0, 20))


def law(penalties: list[int], scale: float) -> list[float]:
    """The exponential mechanism's probabilities, enumerated."""
    weights = [math.exp(-penalty / scale) for penalty in penalties]
    return [weight / sum(weights) for weight in weights]


@given(rank=RANKS, counts=COUNTS)
def test_penalties_are_the_distance_of_a_buckets_ranks(rank: Rank, counts: dict[int, int]) -> None:
    rows = sum(counts.values())
    target = rank.numerator * rows + rank.offset
    if rank.offset:
        target = sorted((rank.numerator * rows, target, rank.denominator * rows // 2))[1]
    found = rank.penalties(counts, SIZE)
    for bucket in range(SIZE):
        below = sum(count for at, count in counts.items() if at < bucket)
        ranks = range(rank.denominator * below, rank.denominator * (below + counts.get(bucket, 0)) + 1)
        assert found[bucket] == min(abs(target - at) for at in ranks)


@given(rank=RANKS, counts=COUNTS, part=COUNTS)
def test_no_penalty_changes_by_more_than_the_sensitivity(
    rank: Rank, counts: dict[int, int], part: dict[int, int]
) -> None:
    """One owner's part, over several buckets, however large."""
    both = {at: counts.get(at, 0) + part.get(at, 0) for at in counts.keys() | part.keys()}
    changes = np.array(rank.penalties(both, SIZE)) - np.array(rank.penalties(counts, SIZE))
    assert np.abs(changes).max() <= rank.sensitivity(sum(part.values()))


@pytest.mark.parametrize("rank", [Rank(1, 2), Rank(19, 20), Rank(1, 20), Rank(0, 2, 9), Rank(2, 2, -9)], ids=str)
def test_the_sensitivity_is_reached(rank: Rank) -> None:
    found = set()
    for at in range(SIZE):
        many = dict.fromkeys(range(SIZE), 40)
        more = {**many, at: 41}
        found |= set(np.abs(np.array(rank.penalties(more, SIZE)) - np.array(rank.penalties(many, SIZE))))
    assert max(found) == rank.sensitivity(1)


@pytest.mark.parametrize("scale", [0.5, *(pytest.param(each, marks=pytest.mark.audit) for each in (3.0, 40.0))])
def test_draws_follow_the_exponential_mechanism(scale: float) -> None:
    penalties = [7, 0, 2, 5, 5, 31]
    times = 20_000
    seen = Counter(select(Selection(scale), penalties) for _ in range(times))
    for bucket, probability in enumerate(law(penalties, scale)):
        deviation = math.sqrt(times * probability * (1 - probability))
        assert abs(seen[bucket] - times * probability) <= 6.5 * deviation + 1, bucket


def test_penalties_beyond_64_bits_are_cut() -> None:
    assert select(Selection(1.0), [2**80, MAX_SCORE - 100, 2**63]) == 1


@pytest.mark.parametrize("sensitivity", [1, 7, 4096 * 40 * 19])
@pytest.mark.parametrize("epsilon", [1, 10**6, EPSILON_UNIT // 3, EPSILON_UNIT, 50 * EPSILON_UNIT, MAX_EPSILON])
def test_a_selection_costs_what_it_was_calibrated_to(sensitivity: int, epsilon: int) -> None:
    try:
        selection = calibrate_selection(sensitivity, "epsilon", epsilon)
    except ScaleError:
        assert 2 * sensitivity * EPSILON_UNIT / epsilon > 2.0**56 / 2
        return
    loss = price_selection(selection, sensitivity)
    assert loss.epsilon is not None
    assert epsilon - 1 <= loss.epsilon <= epsilon
    exact = min(Fraction(loss.epsilon, EPSILON_UNIT) ** 2 / 8 * RHO_UNIT, Fraction(rho_of_pure(loss.epsilon)))
    assert exact - loss.epsilon / 10**6 - 1 <= loss.rho <= exact * (1 + Fraction(1, 10**6)) + 1


@pytest.mark.parametrize("sensitivity", [1, 7, 4096 * 40 * 19])
@pytest.mark.parametrize("scale", [0.5, 3.0, 2.0**20, 2.0**40])
def test_a_selection_is_priced_by_opendps_own_maps(sensitivity: int, scale: float) -> None:
    """The maps built here anew, of both measures."""
    mapped = {}
    for name, measure in (("epsilon", dp.max_divergence()), ("rho", dp.zero_concentrated_divergence())):
        domain, metric = dp.vector_domain(dp.atom_domain(T="i64")), dp.linf_distance(T="i64")
        made = dp.m.make_noisy_max(domain, metric, measure, scale=scale, negate=True)
        mapped[name] = Fraction(made.map(sensitivity))  # type: ignore[no-untyped-call]
    if mapped["epsilon"] * EPSILON_UNIT > MAX_EPSILON:
        with pytest.raises(AmountError):
            price_selection(Selection(scale), sensitivity)
        return
    loss = price_selection(Selection(scale), sensitivity)
    assert loss.epsilon is not None
    assert 0 <= loss.epsilon - mapped["epsilon"] * EPSILON_UNIT < 1
    assert loss.rho - mapped["rho"] * RHO_UNIT < 1
    assert loss.rho >= min(mapped["rho"] * RHO_UNIT, Fraction(rho_of_pure(loss.epsilon)))


@pytest.mark.parametrize("rho", [10**4, 10**9, RHO_UNIT])
def test_a_selection_priced_in_rho(rho: int) -> None:
    loss = price_selection(calibrate_selection(12, "rho", rho), 12)
    assert rho * (1 - 1e-9) - 1 <= loss.rho <= rho


@pytest.mark.parametrize("rank", [Rank(1, 2), Rank(9, 10), Rank(0, 2, 3)], ids=str)
def test_the_price_bounds_the_enumerated_loss(rank: Rank) -> None:
    """Worst cases over small histograms: the pure loss, and the Renyi divergence of several orders."""
    selection = calibrate_selection(rank.sensitivity(1), "epsilon", EPSILON_UNIT)
    loss = price_selection(selection, rank.sensitivity(1))
    worst = 0.0
    for first in range(12):
        for second in range(12):
            counts = {1: first, 3: second}
            before = law(rank.penalties(counts, SIZE), selection.scale)
            for at in range(SIZE):
                after = law(rank.penalties({**counts, at: counts.get(at, 0) + 1}, SIZE), selection.scale)
                worst = max(worst, *(abs(math.log(a / b)) for a, b in zip(after, before, strict=True)))
                for order in (1.5, 2.0, 8.0):
                    for p, q in ((before, after), (after, before)):
                        total = sum(a**order * b ** (1 - order) for a, b in zip(p, q, strict=True))
                        assert math.log(total) / (order - 1) <= order * loss.rho / RHO_UNIT + 1e-12
    assert loss.epsilon is not None
    assert loss.epsilon / EPSILON_UNIT / 3 < worst <= loss.epsilon / EPSILON_UNIT


def test_several_groups_cost_what_one_does() -> None:
    """An owner's rows spread over two groups: both draws together lose no more than all rows in one."""
    rank = Rank(1, 2)
    selection = calibrate_selection(rank.sensitivity(4), "epsilon", EPSILON_UNIT)
    counts = {0: 5, 2: 5}
    total = 0.0
    for part in ({0: 1}, {2: 3}):
        more = {at: counts.get(at, 0) + part.get(at, 0) for at in (0, 1, 2)}
        pair = (law(rank.penalties(found, SIZE), selection.scale) for found in (counts, more))
        total += max(abs(math.log(a / b)) for a, b in zip(*pair, strict=True))
    assert total <= 1


@given(counts=COUNTS, beyond=st.sampled_from((0.5, 0.05, 1e-3)))
def test_the_error_is_bounded_as_said(counts: dict[int, int], beyond: float) -> None:
    rank = Rank(1, 2)
    selection = Selection(3.5)
    penalties = rank.penalties(counts, SIZE)
    far = sum(
        probability
        for penalty, probability in zip(penalties, law(penalties, selection.scale), strict=True)
        if penalty > excess(selection, SIZE, beyond)
    )
    assert far <= beyond


@pytest.mark.parametrize("highest", [False, True])
def test_extremes_lie_near_the_end_and_not_beyond(highest: bool) -> None:
    selection = calibrate_selection(2, "epsilon", EPSILON_UNIT)
    rank = extreme(selection, 10_000, highest=highest, unit=1)
    counts = dict.fromkeys(range(4500, 5500), 1)
    drawn = [select(selection, rank.penalties(counts, 10_000)) for _ in range(50)]
    inside = [5_499 - bucket if highest else bucket - 4_500 for bucket in drawn]
    assert abs(float(np.median(inside)) - 18) < 6
    assert sum(found < 0 for found in inside) <= 10


@given(counts=COUNTS, offset=st.integers(1, 200))
def test_the_least_is_never_asked_for_above_the_greatest(counts: dict[int, int], offset: int) -> None:
    rows = sum(counts.values())
    low, high = Rank(0, 2, offset).target(rows), Rank(2, 2, -offset).target(rows)
    assert 0 <= low <= rank_of(Fraction(1, 2)).target(rows) <= high <= 2 * rows


@pytest.mark.parametrize("asked", [(0, 2, -1), (2, 2, 1), (1, 3, 1)])
def test_an_offset_leads_toward_the_middle(asked: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="offset"):
        Rank(*asked)


def test_extremes_without_noise_are_the_extremes() -> None:
    selection = Selection(1e-9)
    counts = {3: 2, 4: 100, 5: 1}
    assert select(selection, extreme(selection, 9, highest=False, unit=1).penalties(counts, 9)) == 3
    assert select(selection, extreme(selection, 9, highest=True, unit=1).penalties(counts, 9)) == 5


@pytest.mark.parametrize("column", ["lognormal", "pareto"])
def test_the_median_of_a_skewed_column_is_off_by_two_ranks_at_most(column: str) -> None:
    """A thousand rows at epsilon 1 between bounds that are far too wide; the mean over many runs."""
    generator = np.random.default_rng(7)
    buckets = grid("float", None, (Fraction(0), Fraction(10) ** 7), 2**14)
    values = np.array([float(buckets.value(bucket)) for bucket in range(buckets.size)])
    rank = Rank(1, 2)
    selection = calibrate_selection(rank.sensitivity(1), "epsilon", EPSILON_UNIT)
    errors = []
    for _ in range(60):
        rows = np.exp(10 + generator.standard_normal(1000))
        if column == "pareto":
            rows = 100 * (1 + generator.pareto(1.2, 1000))
        rows.sort()
        nearest = np.clip(np.searchsorted(values, np.clip(rows, 0, 10**7)), 0, buckets.size - 1)
        drawn = values[select(selection, rank.penalties(Counter(nearest.tolist()), buckets.size))]
        errors.append(abs(float(np.searchsorted(rows, drawn)) - 500))
    assert np.mean(errors) < 2
