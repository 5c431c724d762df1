"""The tighter figure beside the optimal composition, written out by hand, and beside the ledger's own conversion."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechanisms.accounting import epsilon_of_rho, rho_of_pure
from mechanisms.loss import DELTA_UNIT, EPSILON_UNIT
from mechanisms.pld import AccountingMissing, composed_epsilon

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
    assert delta_of(found * (1 + 1e-6), charges) <= DELTA / DELTA_UNIT <= delta_of(found * (1 - 1e-6), charges)
    assert found < epsilon_of_rho(count * rho_of_pure(epsilon), DELTA) / EPSILON_UNIT


@settings(max_examples=15, deadline=None)
@given(st.dictionaries(st.integers(1, 20).map(lambda n: n * EPSILON_UNIT // 20), st.integers(1, 8), max_size=5))
def test_mixed_charges_compose_to_no_less_than_the_optimum(counts: dict[int, int]) -> None:
    found = composed_epsilon(counts, 0, DELTA)
    charges = [epsilon / EPSILON_UNIT for epsilon, count in counts.items() for _ in range(count)]
    assert delta_of(found + 1e-6, charges) <= DELTA / DELTA_UNIT
    assert found <= sum(charges) + 1e-9


def test_many_different_charges_are_rounded_up() -> None:
    counts = {EPSILON_UNIT // 100 + 137 * each: 3 for each in range(500)}
    found = composed_epsilon(counts, 0, DELTA)
    least = composed_epsilon({EPSILON_UNIT // 100: 1500}, 0, DELTA)
    most = epsilon_of_rho(sum(count * rho_of_pure(each) for each, count in counts.items()), DELTA) / EPSILON_UNIT
    assert least < found < most


def test_gaussian_charges_compose_as_one() -> None:
    """At rho the continuous Gaussian's own delta (Balle and Wang 2018, theorem 8)."""
    rho = 10**11
    found = composed_epsilon({}, rho, DELTA)
    shift = math.sqrt(2 * rho / 1e12)

    def tail(x: float) -> float:
        return math.erfc(x / math.sqrt(2)) / 2

    delta = tail(found / shift - shift / 2) - math.exp(found) * tail(found / shift + shift / 2)
    assert delta == pytest.approx(DELTA / DELTA_UNIT, rel=1e-3)
    mixed = composed_epsilon({EPSILON_UNIT // 100: 100}, rho, DELTA)
    assert found < mixed < epsilon_of_rho(rho + 100 * rho_of_pure(EPSILON_UNIT // 100), DELTA) / EPSILON_UNIT


def test_without_delta_only_sums_count() -> None:
    assert composed_epsilon({EPSILON_UNIT: 3, 0: 5}, 0, 0) == 3
    assert composed_epsilon({}, 0, 0) == composed_epsilon({}, 0, DELTA) == composed_epsilon({0: 9}, 0, DELTA) == 0
    assert composed_epsilon({}, 1, 0) == math.inf


def test_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting.pld", None)
    with pytest.raises(AccountingMissing, match="accounting"):
        composed_epsilon({EPSILON_UNIT: 1}, 0, DELTA)
