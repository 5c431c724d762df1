"""The privacy loss of what was released, in exact integers, and the only place where it is rounded.

Losses are rounded up and grants are rounded down, once, here. Units: epsilon in 1e-9, rho in 1e-12, delta in 1e-18; all
three fit a signed 64-bit integer with room for sums up to ``LIMIT``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
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

Mechanism: TypeAlias = Literal["laplace", "gaussian"]
"""The additive noise of a measurement: discrete Laplace (pure epsilon) or discrete Gaussian (rho)."""

_MAX_TEXT = 64
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_MAX_ADJUSTED = 30  # no amount reaches 1e30; refused before any arithmetic on it


class AmountError(ValueError):
    """An epsilon, rho or delta that is no finite number within range."""


def _decimal(value: str | float | Decimal) -> Decimal:
    if isinstance(value, Decimal):
        return value
    text = repr(value) if isinstance(value, float) else value
    if len(text) > _MAX_TEXT or not _NUMBER.fullmatch(text):
        # Also inf and nan; long texts are refused unread, so that a million digits cost nothing.
        raise AmountError("not a number")
    return Decimal(text)


def _whole(number: Decimal, unit: int, rounding: Rounding) -> int:
    """Return ``number * unit`` as an integer, rounded as told.

    Two roundings in one direction are one: 64 digits hold every integer below 1e49, so rounding to 64 digits first and
    to an integer second gives the ceiling (or floor) of the exact product. Nothing is expanded to a fraction, so that
    1e-999999999 costs no more than 0.1.
    """
    if not number.is_finite():
        raise AmountError("not a finite number")
    if number.is_zero():
        return 0
    if number.is_signed() or number.adjusted() > _MAX_ADJUSTED:
        raise AmountError("out of range")
    if number.adjusted() < -_MAX_ADJUSTED:
        return 1 if rounding == "up" else 0
    direction = ROUND_CEILING if rounding == "up" else ROUND_FLOOR
    scaled = Context(prec=64, rounding=direction).multiply(number, Decimal(unit))
    return int(scaled.to_integral_value(rounding=direction))


def _units(value: Amount, unit: int, rounding: Rounding) -> int:
    if isinstance(value, bool):
        raise AmountError("not a number")
    if isinstance(value, int):
        # Compared before multiplying, so that an enormous integer costs nothing.
        whole = value * unit if 0 <= value <= LIMIT else -1
    elif isinstance(value, Fraction):
        scaled = value * unit
        whole = (
            -(-scaled.numerator // scaled.denominator) if rounding == "up" else scaled.numerator // scaled.denominator
        )
        whole = -1 if value < 0 else whole
    elif isinstance(value, str | float | Decimal):
        whole = _whole(_decimal(value), unit, rounding)
    else:
        raise AmountError("not a number")
    if not 0 <= whole <= LIMIT:
        raise AmountError("out of range")
    return whole


def epsilon_units(value: Amount, rounding: Rounding) -> int:
    """Return an epsilon in units of 1e-9, rounded as told; ``AmountError`` if it is negative, not finite or above
    1e6.
    """
    units = _units(value, EPSILON_UNIT, rounding)
    if units > MAX_EPSILON:
        raise AmountError("out of range")
    return units


def rho_units(value: Amount, rounding: Rounding) -> int:
    """Return a rho in units of 1e-12, rounded as told; ``AmountError`` if it is negative, not finite or out of
    range.
    """
    return _units(value, RHO_UNIT, rounding)


def delta_units(value: Amount, rounding: Rounding) -> int:
    """Return a delta in units of 1e-18, rounded as told; ``AmountError`` unless it lies in [0, 1]."""
    units = _units(value, DELTA_UNIT, rounding)
    if units > DELTA_UNIT:
        raise AmountError("out of range")
    return units


def plain(units: int, unit: int) -> str:
    """Return an amount as the shortest decimal that says it exactly: ``plain(500_000_000, EPSILON_UNIT)`` is ``'0.5'``.

    ``unit`` is a power of ten; any integer is said in full, whatever the precision of the decimal context.
    """
    places = len(str(unit)) - 1
    sign = "-" if units < 0 else ""
    whole, part = divmod(abs(units), unit)
    tail = f"{part:0{places}d}".rstrip("0")
    return f"{sign}{whole}.{tail}" if tail else f"{sign}{whole}"


@dataclass(frozen=True, slots=True)
class Loss:
    """What releasing something costs: a pure epsilon where there is one, a zCDP rho, and the delta of its thresholds.

    ``epsilon`` is None where no pure bound exists (Gaussian noise). The statement is: the release is (epsilon,
    delta)-DP where epsilon is known, and delta-approximate rho-zCDP always (Bun and Steinke 2016, definition 8.1).

    Why addition is sound: sequential adaptive composition adds pure epsilons, rhos and deltas alike.
    """

    epsilon: int | None
    rho: int
    delta: int = 0

    def __post_init__(self) -> None:
        for amount in (0 if self.epsilon is None else self.epsilon, self.rho, self.delta):
            if not 0 <= amount <= LIMIT:
                raise AmountError("out of range")

    def __add__(self, other: Loss) -> Loss:
        pure = None if self.epsilon is None or other.epsilon is None else self.epsilon + other.epsilon
        return Loss(pure, self.rho + other.rho, self.delta + other.delta)


FREE = Loss(0, 0, 0)
"""What post-processing, public tables and answers given again cost."""
