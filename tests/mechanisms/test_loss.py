"""Amounts: what people write becomes exact integers, rounded once, and nothing hostile costs time."""

from __future__ import annotations

import time
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechanisms.loss import (
    DELTA_UNIT,
    EPSILON_UNIT,
    FREE,
    LIMIT,
    MAX_EPSILON,
    RHO_UNIT,
    Amount,
    AmountError,
    Loss,
    Rounding,
    delta_units,
    epsilon_units,
    plain,
    rho_units,
)


@pytest.mark.parametrize(
    ("value", "down", "up"),
    [
        ("0.1", 10**8, 10**8),
        (0.1, 10**8, 10**8),
        (3, 3 * 10**9, 3 * 10**9),
        (Fraction(1, 3), 333333333, 333333334),
        (Decimal("1e-10"), 0, 1),
        ("1e-9", 1, 1),
        (5e-324, 0, 1),
        ("+2.5", 25 * 10**8, 25 * 10**8),
        (-0.0, 0, 0),
        ("0e99", 0, 0),
        ("1e6", MAX_EPSILON, MAX_EPSILON),
        (Decimal("1e-999999999"), 0, 1),
        (Decimal("0.1" + "0" * 50 + "1"), 10**8, 10**8 + 1),
        (Decimal("1" + "0" * 70 + "e-70"), 10**9, 10**9),
    ],
)
def test_an_epsilon_is_rounded_as_told(value: Amount, down: int, up: int) -> None:
    assert epsilon_units(value, "down") == down
    assert epsilon_units(value, "up") == up


@given(st.fractions(min_value=0, max_value=10**6), st.sampled_from(["up", "down"]))
def test_rounding_is_off_by_less_than_a_unit_and_to_its_side(value: Fraction, rounding: Rounding) -> None:
    off = epsilon_units(value, rounding) - value * EPSILON_UNIT
    assert 0 <= off < 1 if rounding == "up" else -1 < off <= 0


@given(st.decimals(min_value=0, max_value=10**6, allow_nan=False, allow_infinity=False))
def test_a_decimal_and_its_text_are_its_fraction(value: Decimal) -> None:
    roundings: tuple[Rounding, ...] = ("up", "down")
    for rounding in roundings:
        assert rho_units(value, rounding) == rho_units(Fraction(value), rounding)
        if len(str(value)) <= 64 and abs(value.adjusted()) < 9999:
            assert rho_units(str(value), rounding) == rho_units(Fraction(value), rounding)


HOSTILE: list[Amount] = [
    "nan", "NaN", "inf", "-inf", "Infinity", "sNaN", "", " 1", "1 ", "1_000", "0x10", "１", "1,5", "one", "--1", "1e",
    ".", "1e99999", "1e999999999", "1e-999999999", "9" * 1_000_000, "0." + "0" * 1_000_000 + "1",
    float("nan"), float("inf"), float("-inf"), 1e300, -1, -1e-300, "-1e-30",
    Fraction(-1, 10**40), Decimal("-1e-999999999"),
    Decimal("nan"), Decimal("snan"), Decimal("inf"), Decimal("1e999999999"), 10**400, 10**1_000_000, LIMIT, True, False,
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(HOSTILE)))  # their texts would be a million digits long
def test_what_is_no_amount_is_refused_at_once(index: int) -> None:
    roundings: tuple[Rounding, ...] = ("up", "down")
    for convert in (epsilon_units, rho_units, delta_units):
        for rounding in roundings:
            started = time.process_time()
            with pytest.raises(AmountError):
                convert(HOSTILE[index], rounding)
            assert time.process_time() - started < 0.2


def test_another_type_is_refused() -> None:
    with pytest.raises(AmountError):
        epsilon_units(None, "up")  # type: ignore[arg-type]


def test_each_amount_has_its_range() -> None:
    with pytest.raises(AmountError):
        epsilon_units("1000000.000000001", "up")
    with pytest.raises(AmountError):
        delta_units("1.000000000000000001", "up")
    with pytest.raises(AmountError):
        rho_units("9223372.036854775808", "up")
    assert delta_units(1, "up") == DELTA_UNIT
    assert rho_units("9223372.036854775807", "up") == LIMIT


@given(st.integers(-LIMIT, LIMIT), st.sampled_from([EPSILON_UNIT, RHO_UNIT, DELTA_UNIT]))
def test_plain_says_an_amount_exactly(units: int, unit: int) -> None:
    text = plain(units, unit)
    assert Fraction(text) * unit == units
    assert not ("." in text and text.endswith(("0", ".")))


def test_plain_reads_as_people_write() -> None:
    assert plain(500_000_000, EPSILON_UNIT) == "0.5"
    assert plain(0, EPSILON_UNIT) == "0"
    assert plain(20 * EPSILON_UNIT, EPSILON_UNIT) == "20"
    assert plain(1, DELTA_UNIT) == "0.000000000000000001"


def test_losses_add_and_a_gaussian_takes_the_pure_bound_away() -> None:
    assert Loss(1, 2, 3) + Loss(10, 20, 30) == Loss(11, 22, 33)
    assert Loss(1, 2) + Loss(None, 5) == Loss(None, 7)
    assert Loss(4, 5, 6) + FREE == Loss(4, 5, 6)


@pytest.mark.parametrize("amounts", [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (LIMIT + 1, 0, 0), (None, LIMIT + 1, 0)])
def test_a_loss_out_of_range_does_not_exist(amounts: tuple[int | None, int, int]) -> None:
    with pytest.raises(AmountError):
        Loss(*amounts)


def test_a_sum_out_of_range_does_not_exist() -> None:
    with pytest.raises(AmountError):
        Loss(LIMIT, 0) + Loss(1, 0)
