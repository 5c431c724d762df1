"""The privacy loss of what was released, in exact integers, and the only place where it is rounded.

Losses are rounded up and grants are rounded down, once, here. Units: epsilon in 1e-9, rho in 1e-12, delta in 1e-18; all
three fit a signed 64-bit integer with room for sums up to ``LIMIT``.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from fractions import Fraction
from typing import Literal, TypeAlias

EPSILON_UNIT = 10**9
RHO_UNIT = 10**12
DELTA_UNIT = 10**18
LIMIT = 2**63 - 1
MAX_EPSILON = 10**6 * EPSILON_UNIT

Amount: TypeAlias = str | int | float | Decimal | Fraction
"""A figure as a person writes it: a float stands for the decimal that it prints as (0.1 is one tenth)."""

Rounding: TypeAlias = Literal["up", "down"]


class AmountError(ValueError):
    """An epsilon, rho or delta that is no finite number within range."""


def _units(value: Amount, unit: int, rounding: Rounding) -> int:
    if isinstance(value, Fraction):
        scaled = value * unit
        whole = -((-scaled.numerator) // scaled.denominator) if rounding == "up" else scaled.numerator // scaled.denominator
    else:
        try:
            number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        except InvalidOperation:
            raise AmountError("not a number") from None
        if not number.is_finite():
            raise AmountError("not a finite number")
        if number.adjusted() > 30:
            raise AmountError("out of range")
        exact = Fraction(number) * unit
        return _units(exact / unit, unit, rounding)
    if not 0 <= whole <= LIMIT:
        raise AmountError("out of range")
    return whole


def epsilon_units(value: Amount, rounding: Rounding) -> int:
    """Return an epsilon in units of 1e-9, rounded as told; ``AmountError`` if it is negative, not finite or above 1e6."""
    units = _units(value, EPSILON_UNIT, rounding)
    if units > MAX_EPSILON:
        raise AmountError("out of range")
    return units


def rho_units(value: Amount, rounding: Rounding) -> int:
    """Return a rho in units of 1e-12, rounded as told; ``AmountError`` if it is negative, not finite or out of range."""
    return _units(value, RHO_UNIT, rounding)


def delta_units(value: Amount, rounding: Rounding) -> int:
    """Return a delta in units of 1e-18, rounded as told; ``AmountError`` unless it lies in [0, 1]."""
    units = _units(value, DELTA_UNIT, rounding)
    if units > DELTA_UNIT:
        raise AmountError("out of range")
    return units


def plain(units: int, unit: int) -> str:
    """Return an amount as the shortest decimal that says it exactly: ``plain(500_000_000, EPSILON_UNIT)`` is ``'0.5'``."""
    text = f"{Decimal(units) / Decimal(unit):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True, slots=True)
class Loss:
    """What releasing something costs: a pure epsilon where there is one, a zCDP rho, and the delta of its thresholds.

    ``epsilon`` is None where no pure bound exists (Gaussian noise). The statement is: the release is (epsilon, delta)-DP
    where epsilon is known, and delta-approximate rho-zCDP always (Bun and Steinke 2016, definition 8.1).

    Why addition is sound: sequential adaptive composition adds pure epsilons, rhos and deltas alike.
    """

    epsilon: int | None
    rho: int
    delta: int = 0

    def __post_init__(self) -> None:
        for amount in (self.epsilon or 0, self.rho, self.delta):
            if not 0 <= amount <= LIMIT:
                raise AmountError("out of range")

    def __add__(self, other: Loss) -> Loss:
        pure = None if self.epsilon is None or other.epsilon is None else self.epsilon + other.epsilon
        return Loss(pure, self.rho + other.rho, self.delta + other.delta)


FREE = Loss(0, 0, 0)
"""What post-processing, public tables and answers given again cost."""
