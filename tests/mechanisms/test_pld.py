"""The tighter figure beside the optimal composition, written out by hand, and beside the ledger's own conversion."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechanisms.accounting import epsilon_of_rho, rho_of_pure
from mechanisms.loss import DELTA_UNIT, EPSILON_UNIT
from mechanisms.pld import AccountingMissing, _response, composed_epsilon, continuous_epsilon

DELTA = DELTA_UNIT // 2_000_000


def delta_of(epsilon: float, charges: list[float]) -> float:
    """The delta at epsilon of randomised responses, over all their outcomes: losses are sums of plus or minus each."""
    outcomes = {0.0: 1.0}
    for each in charges:
        likely = 1 / (1 + math.exp(-each))
        after: dict[float, float] = {}
        for loss, weight in outcomes.items():
            for more, chance in ((each, likely), (-each, 1 - likely)):
                key = round(loss + more, 9)
                after[key] = after.get(key, 0.0) + weight * chance
        outcomes = after
    return sum(weight * -math.expm1(epsilon - loss) for loss, weight in outcomes.items() if loss > epsilon)


@pytest.mark.parametrize(
    ("epsilon", "count"), [(EPSILON_UNIT // 100, 300), (EPSILON_UNIT // 10, 35), (333_333_333, 9), (7_000_001, 400)]
)
def test_equal_charges_compose_to_the_optimum(epsilon: int, count: int) -> None:
    found = composed_epsilon({epsilon: count}, 0, DELTA)
    charges = [epsilon / EPSILON_UNIT] * count
    assert delta_of(found, charges) <= DELTA / DELTA_UNIT <= delta_of(found * (1 - 1e-5), charges)
    assert found < epsilon_of_rho(count * rho_of_pure(epsilon), DELTA) / EPSILON_UNIT


@settings(max_examples=8, deadline=None)
@given(st.dictionaries(st.integers(1, 20).map(lambda n: n * EPSILON_UNIT // 20), st.integers(1, 8), max_size=5))
def test_mixed_charges_compose_to_no_less_than_the_optimum(counts: dict[int, int]) -> None:
    found = composed_epsilon(counts, 0, DELTA)
    charges = [epsilon / EPSILON_UNIT for epsilon, count in counts.items() for _ in range(count)]
    assert delta_of(found, charges) <= DELTA / DELTA_UNIT
    assert found <= sum(charges) + 1e-9


@pytest.mark.parametrize("delta", [10**12, 10**9, 10**7, 10**6, 10**4, 10])
def test_never_too_low_at_small_deltas(delta: int) -> None:
    """Where transforms in floating point would say anything, divergences are asked."""
    found = composed_epsilon({EPSILON_UNIT // 100: 300}, 0, delta)
    assert delta_of(found, [0.01] * 300) <= delta / DELTA_UNIT


def test_many_different_charges_are_rounded_up() -> None:
    counts = {EPSILON_UNIT // 100 + 137 * each: 3 for each in range(500)} | {2 * EPSILON_UNIT: 1}
    found = composed_epsilon(counts, 0, DELTA)
    least = composed_epsilon({EPSILON_UNIT // 100: 1500, 2 * EPSILON_UNIT: 1}, 0, DELTA)
    most = epsilon_of_rho(sum(count * rho_of_pure(each) for each, count in counts.items()), DELTA) / EPSILON_UNIT
    assert least < found < most


def of_outcomes(outcomes: list[tuple[float, float]], times: int) -> dict[int, float]:
    """How likely each privacy loss is, in 1e-4 rounded down, after so many draws from these (p, q)."""
    one: dict[int, float] = {}
    for p, q in outcomes:
        step = math.floor(math.log(p / q) * 1e4)
        one[step] = one.get(step, 0.0) + p
    whole = {0: 1.0}
    for _ in range(times):
        after: dict[int, float] = {}
        for loss, weight in whole.items():
            for more, chance in one.items():
                after[loss + more] = after.get(loss + more, 0.0) + weight * chance
        whole = after
    return whole


def both(*parts: dict[int, float]) -> dict[int, float]:
    whole = {0: 1.0}
    for part in parts:
        after: dict[int, float] = {}
        for loss, weight in whole.items():
            for more, chance in part.items():
                after[loss + more] = after.get(loss + more, 0.0) + weight * chance
        whole = after
    return whole


def lost(losses: dict[int, float], epsilon: float) -> float:
    return sum(weight * -math.expm1(epsilon - loss / 1e4) for loss, weight in losses.items() if loss / 1e4 > epsilon)


def laplace(scale: float) -> list[tuple[float, float]]:
    """Discrete Laplace noise around 0, and around 1."""
    reach = range(-int(40 * scale), int(40 * scale))
    p = {x: math.exp(-abs(x) / scale) for x in range(reach.start - 1, reach.stop)}
    return [(p[x] / sum(p.values()), p[x - 1] / sum(p.values())) for x in reach]


def normal(scale: float) -> list[tuple[float, float]]:
    """Discrete Gaussian noise around 0, and around 1."""
    reach = range(-int(9 * scale), int(9 * scale))
    p = {x: math.exp(-x * x / (2 * scale * scale)) for x in range(reach.start - 1, reach.stop)}
    return [(p[x] / sum(p.values()), p[x - 1] / sum(p.values())) for x in reach]


def exponential(epsilon: float) -> list[tuple[float, float]]:
    """Five penalties, and the same after one unit's change: some rise by one, some fall."""
    before, after = [0, 1, 2, 3, 4], [1, 2, 1, 2, 3]
    p, q = ([math.exp(-epsilon * each / 2) for each in penalties] for penalties in (before, after))
    return [(one / sum(p), other / sum(q)) for one, other in zip(p, q, strict=True)]


def test_what_really_runs_loses_no_more_than_is_said() -> None:
    """Laplace counts, medians and Gaussian counts, as they are drawn: exact losses rounded down, not our bounds."""
    pure = both(of_outcomes(laplace(10), 20), of_outcomes(exponential(0.3), 6))
    counts = {EPSILON_UNIT // 10: 20, 3 * EPSILON_UNIT // 10: 6}
    without = composed_epsilon(counts, 0, DELTA)
    assert lost(pure, without) <= DELTA / DELTA_UNIT
    assert (
        lost(of_outcomes(laplace(10), 20), 0.95 * composed_epsilon({EPSILON_UNIT // 10: 20}, 0, DELTA))
        > DELTA / DELTA_UNIT
    )
    gaussian = of_outcomes(normal(5.0), 4)
    rho = 4 * 10**12 // 50
    alone = composed_epsilon({}, rho, DELTA)
    assert lost(gaussian, alone) <= DELTA / DELTA_UNIT < lost(gaussian, 0.8 * alone)
    together = composed_epsilon({EPSILON_UNIT // 10: 20}, rho, DELTA)
    mixed = both(of_outcomes(laplace(10), 20), gaussian)
    assert lost(mixed, together) <= DELTA / DELTA_UNIT < lost(mixed, 0.8 * together)


@settings(max_examples=10, deadline=None)
@given(
    st.dictionaries(st.integers(1, 20).map(lambda n: n * EPSILON_UNIT // 20), st.integers(1, 30), max_size=4),
    st.integers(1, 10**12),
    st.sampled_from([10**6, 10**9, DELTA, 10**15]),
)
def test_losses_with_gaussian_noise_are_no_more_than_the_ledger_says(
    counts: dict[int, int], rho: int, delta: int
) -> None:
    found = composed_epsilon(counts, rho, delta)
    whole = rho + sum(count * rho_of_pure(epsilon) for epsilon, count in counts.items())
    assert composed_epsilon({}, rho, delta) <= found
    assert composed_epsilon(counts, 0, delta) <= found + 1e-9
    assert found <= epsilon_of_rho(whole, delta) / EPSILON_UNIT * (1 + 1e-6)


def test_divergences_are_those_of_another_accountant() -> None:
    """Google's Renyi accountant knows Gaussian noise; of randomised response the divergence is summed here."""
    from dp_accounting import GaussianDpEvent
    from dp_accounting.rdp import RdpAccountant

    orders = [1 + math.exp(each / 50) for each in range(-100, 400)]
    rho = 10**11
    accountant = RdpAccountant(orders).compose(GaussianDpEvent(math.sqrt(1e12 / (2 * rho))))
    theirs = float(accountant.get_epsilon(DELTA / DELTA_UNIT))
    assert composed_epsilon({}, rho, DELTA) == pytest.approx(theirs, rel=1e-3)
    for epsilon in (1e-9, 1e-3, 0.1, 2.0, 30.0):
        for order in (1.001, 1.5, 2.0, 17.0):
            p, q = 1 / (1 + math.exp(-epsilon)), 1 / (1 + math.exp(epsilon))
            direct = math.log(p**order * q ** (1 - order) + q**order * p ** (1 - order)) / (order - 1)
            assert _response(epsilon, order, order - 1) == pytest.approx(direct, rel=1e-6, abs=1e-12)


def test_continuous_gaussian_noise_as_others_account_it() -> None:
    """At rho the continuous Gaussian's own delta (Balle and Wang 2018, theorem 8)."""
    rho = 10**11
    found = continuous_epsilon({}, rho, DELTA)
    shift = math.sqrt(2 * rho / 1e12)

    def tail(x: float) -> float:
        return math.erfc(x / math.sqrt(2)) / 2

    delta = tail(found / shift - shift / 2) - math.exp(found) * tail(found / shift + shift / 2)
    assert delta == pytest.approx(DELTA / DELTA_UNIT, rel=1e-3)
    assert found < continuous_epsilon({EPSILON_UNIT // 100: 100}, rho, DELTA)
    assert found < composed_epsilon({}, rho, DELTA)


def test_losses_beyond_all_use_are_their_sum() -> None:
    assert composed_epsilon({10**13: 2}, 0, DELTA) == pytest.approx(20_000)
    assert 19_999 < composed_epsilon({10**13: 2}, 1, DELTA) < 20_001
    assert continuous_epsilon({10**13: 2}, 1, DELTA) == math.inf


def test_without_delta_only_sums_count() -> None:
    assert composed_epsilon({EPSILON_UNIT: 3, 0: 5}, 0, 0) == 3
    assert composed_epsilon({}, 0, 0) == composed_epsilon({}, 0, DELTA) == composed_epsilon({0: 9}, 0, DELTA) == 0
    assert composed_epsilon({}, 1, 0) == math.inf


def test_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting.pld", None)
    with pytest.raises(AccountingMissing, match="accounting"):
        composed_epsilon({EPSILON_UNIT: 1}, 0, DELTA)
