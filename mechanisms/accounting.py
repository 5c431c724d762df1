"""Conversions between pure epsilon, zCDP rho and (epsilon, delta), and the rule that admits a charge.

Everything enters and leaves as exact integers (epsilon in 1e-9, rho in 1e-12, delta in 1e-18). Each conversion is
rounded to the side that never understates a loss. Inside, 60 decimal digits are carried; ``ln`` and ``exp`` of
``decimal`` are correctly rounded, magnitudes stay below 1e20 and no step loses more than 20 digits, so every value is
right to 1e-35 at least. ``_SLACK`` (1e-25 of one unit) is added on the safe side before the one rounding, which covers
that error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache

from mechanisms.loss import DELTA_UNIT, EPSILON_UNIT, LIMIT, MAX_EPSILON, RHO_UNIT, Loss, Mechanism

UNBOUNDED = LIMIT
"""The epsilon that stands for none: a positive rho has no finite epsilon at delta 0."""

_PRECISE = Context(prec=60)
_SLACK = Decimal("1e-25")
_HALVINGS = 60  # of a range below 2: to a float's precision
_FLAT = 200  # 1 - tanh(100) < 1e-86: past this the bound 1 is as good


def _up(value: Decimal) -> int:
    return int((value + _SLACK).to_integral_value(rounding=ROUND_CEILING))


def _down(value: Decimal) -> int:
    return int((value - _SLACK).to_integral_value(rounding=ROUND_FLOOR))


@lru_cache(maxsize=4096)
def rho_of_laplace(epsilon: int, l1: int | Fraction, linf: int | Fraction) -> int:
    """Return the rho of a vector of Laplace noises that is epsilon-DP at L1 sensitivity ``l1``, rounded up.

    ``linf`` bounds the change of one coordinate. rho = eps * tanh(eps * linf / (2 * l1)).

    Why this is sound: with scale b, coordinate i that changes by x_i is (x_i/b)-DP, hence of rho (x_i/b) tanh(x_i/(2b))
    by ``rho_of_pure``. Coordinates are drawn independently, so their rhos add; each tanh is at most tanh(linf/(2b)),
    and the x_i/b add up to at most l1/b <= eps. The bound grows with eps, so an eps rounded up stays a bound. Both
    |x_i| <= l1 and |x_i| <= linf hold, so the smaller may stand for linf.
    """
    if epsilon < 0 or l1 < 0 or linf < 0:
        raise ValueError("negative loss or sensitivity")
    if epsilon == 0 or l1 == 0 or linf == 0:
        return 0
    share = min(Fraction(linf) / Fraction(l1), Fraction(1))
    with localcontext(_PRECISE):
        eps = Decimal(epsilon) / EPSILON_UNIT
        x = eps * share.numerator / share.denominator
        if x > _FLAT:
            tanh = Decimal(1)
        else:
            decay = (-x).exp()
            tanh = (1 - decay) / (1 + decay)
        return min(_up(eps * tanh * RHO_UNIT), epsilon * (RHO_UNIT // EPSILON_UNIT))


def rho_of_pure(epsilon: int) -> int:
    """Return the rho that every epsilon-DP mechanism satisfies, eps * tanh(eps/2), rounded up.

    Why this is sound: of all epsilon-DP pairs randomised response has the greatest Renyi divergence of every order
    (Kairouz, Oh and Viswanath 2015: every other pair is a post-processing of it). Its divergence of order a, divided by
    a, falls as a grows, so it is greatest at a = 1, where it is the Kullback-Leibler divergence eps * tanh(eps/2).
    """
    return rho_of_laplace(epsilon, 1, 1)


@lru_cache(maxsize=1024)
def pure_of_rho(rho: int) -> int:
    """Return the largest pure epsilon whose ``rho_of_pure`` is at most rho: what Laplace noise may cost at a price in
    rho.
    """
    if rho < 0:
        raise ValueError("negative loss")
    # eps >= rho and eps - eps*tanh(eps/2) = 2*eps/(e^eps + 1) < 0.56 bracket the answer, which bisection then finds:
    # in floats first, whose answer only says where the exact one, a Decimal's exponential a step, looks first.
    low, high = rho // (RHO_UNIT // EPSILON_UNIT), rho // (RHO_UNIT // EPSILON_UNIT) + EPSILON_UNIT
    least, most, target = low / EPSILON_UNIT, high / EPSILON_UNIT, rho / RHO_UNIT
    for _ in range(_HALVINGS):
        at = (least + most) / 2
        least, most = (at, most) if at * math.tanh(at / 2) <= target else (least, at)
    first = int(least * EPSILON_UNIT)
    looks = [first + 2, first - 1]
    while high - low > 1:
        middle = looks.pop() if looks else (low + high) // 2
        if low < middle < high:
            low, high = (middle, high) if rho_of_pure(middle) <= rho else (low, middle)
    return low


def _log_inverse(delta: int) -> float:
    """Return ln(1/delta) for 0 < delta < 1, precise at both ends."""
    return -math.log(delta / DELTA_UNIT) if 2 * delta < DELTA_UNIT else -math.log1p((delta - DELTA_UNIT) / DELTA_UNIT)


def _bisect(log_inverse_delta: float, beyond: Callable[[float], bool]) -> float:
    """Return the x = order - 1 from which on ``beyond`` holds, to a float's precision, searched on a logarithmic
    scale.
    """
    low, high = -60.0, log_inverse_delta + 1.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if beyond(math.exp(middle)) else (middle, high)
    return math.exp((low + high) / 2)


def _conversion(order: Decimal, delta: Decimal) -> Decimal:
    return -(order * delta).ln() / (order - 1) + (1 - 1 / order).ln()


@lru_cache(maxsize=4096)
def epsilon_of_rho(rho: int, delta: int) -> int:
    """Return the epsilon at which rho-zCDP is (epsilon, delta)-DP, rounded up; ``UNBOUNDED`` at delta 0 with rho above
    0.

    The least over orders a > 1 of a*rho + ln(1/(a*delta))/(a-1) + ln(1-1/a) (Canonne, Kamath and Steinke 2020,
    corollary 13). Its derivative is rho - ln(1/(a*delta))/(a-1)^2, so there is one minimum.

    Why this is sound whatever the search does: the bound holds at *every* order. Floating point only chooses the order;
    at that very order the bound is evaluated once, to 60 digits, and rounded up.
    """
    if rho < 0 or not 0 <= delta <= DELTA_UNIT:
        raise ValueError("loss out of range")
    if rho == 0 or delta == DELTA_UNIT:
        return 0
    if delta == 0:
        return UNBOUNDED
    weight, log_inverse = rho / RHO_UNIT, _log_inverse(delta)

    def rising(x: float) -> bool:
        return weight * x * x >= log_inverse - math.log1p(x)

    x = _bisect(log_inverse, rising)
    with localcontext(_PRECISE):
        order = 1 + Decimal(x)
        value = order * rho / RHO_UNIT + _conversion(order, Decimal(delta) / DELTA_UNIT)
        return min(max(0, _up(value * EPSILON_UNIT)), UNBOUNDED)


@lru_cache(maxsize=4096)
def rho_of_epsilon(epsilon: int, delta: int) -> int:
    """Return the largest rho whose ``epsilon_of_rho`` at delta is at most epsilon, rounded down; 0 at delta 0.

    Why this is sound: at any order the bound of ``epsilon_of_rho`` is linear in rho, and solved for rho it is a rho
    that fits. The search only chooses the order. The last lines check against ``epsilon_of_rho`` itself, so that the
    two can never disagree by a unit.
    """
    if epsilon < 0 or not 0 <= delta < DELTA_UNIT:
        raise ValueError("loss out of range")
    if delta == 0:
        return 0
    target, log_inverse = epsilon / EPSILON_UNIT, _log_inverse(delta)

    def falling(x: float) -> bool:
        left = log_inverse - math.log1p(x)
        # -log1p(1/x) is ln(1 - 1/order), written so that it does not cancel.
        return left / x - math.log1p(1 / x) + (1 + x) * left / (x * x) <= target

    x = _bisect(log_inverse, falling)
    with localcontext(_PRECISE):
        order = 1 + Decimal(x)
        value = (Decimal(epsilon) / EPSILON_UNIT - _conversion(order, Decimal(delta) / DELTA_UNIT)) / order
        rho = min(max(0, _down(value * RHO_UNIT)), LIMIT)
    while rho and epsilon_of_rho(rho, delta) > epsilon:
        rho -= 1
    return rho


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a scope may spend: an (epsilon, delta) whose delta is split once, half for conversion, half for
    thresholds.
    """

    epsilon: int
    delta: int

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= MAX_EPSILON or not 0 <= self.delta < DELTA_UNIT:
            raise ValueError("allowance out of range")

    @property
    def conversion_delta(self) -> int:
        """The half of delta that pays for converting rho to epsilon."""
        return self.delta // 2

    @property
    def release_delta(self) -> int:
        """The half of delta that thresholds may use up."""
        return self.delta - self.delta // 2

    @property
    def rho(self) -> int:
        """The rho whose conversion at ``conversion_delta`` is epsilon, rounded down: R. 0 without delta: pure only."""
        return rho_of_epsilon(self.epsilon, self.conversion_delta)


@dataclass(frozen=True, slots=True)
class Spent:
    """Running sums of the charges of a scope; ``epsilon`` sums the pure ones, ``gaussian`` says that others are among
    them.
    """

    epsilon: int = 0
    gaussian: bool = False
    rho: int = 0
    delta: int = 0

    def __add__(self, loss: Loss) -> Spent:
        return Spent(
            self.epsilon + (loss.epsilon or 0),
            self.gaussian or loss.epsilon is None,
            self.rho + loss.rho,
            self.delta + loss.delta,
        )


def admits(allowance: Allowance, spent: Spent, loss: Loss) -> bool:
    """Return whether one more loss fits: deltas within D_rel, and pure epsilons within E or rhos within R.

    Why this is sound: if in the end the epsilons sum to at most E with no Gaussian among them, the loss is at most E
    surely. Otherwise the last charge, and so every one before it, fitted the rho filter, which holds for adaptively
    chosen rho (Whitehouse, Ramdas, Rogers and Wu 2022), and the conversion bounds the excess over E by D_conv.
    Thresholds add at most D_rel. Both halves together are D. Sums beyond what the ledger's integers hold are refused.
    """
    total = spent + loss
    if max(total.epsilon, total.rho, total.delta) > LIMIT or total.delta > allowance.release_delta:
        return False
    return (not total.gaussian and total.epsilon <= allowance.epsilon) or total.rho <= allowance.rho


def spent_epsilon(allowance: Allowance, spent: Spent) -> int:
    """Return "spent" as people read it: the lesser of the summed epsilons and the converted rho, rounded up.

    ``UNBOUNDED`` where neither says anything (Gaussian charges under an allowance that has lost its delta since).
    """
    converted = epsilon_of_rho(spent.rho, allowance.conversion_delta)
    return converted if spent.gaussian else min(spent.epsilon, converted)


def remaining(allowance: Allowance, spent: Spent, mechanism: Mechanism, delta: int = 0) -> int:
    """Return the largest price that ``admits`` would still take for a request of one mechanism without thresholds.

    Takes:
        allowance: what the scope may spend.
        spent: what it has spent.
        mechanism: Laplace is priced in pure epsilon, Gaussian by ``rho_of_epsilon`` at the per-query delta.
        delta: that per-query delta; without it nothing remains for Gaussian noise.

    Why the figure is a price that would be admitted: a Laplace request at price e costs at most e and, joint or not, at
    most ``rho_of_pure(e)``; a Gaussian one costs at most ``rho_of_epsilon(e, delta)``.
    """
    left = max(0, allowance.rho - spent.rho)
    if mechanism == "laplace":
        pure = 0 if spent.gaussian else max(0, allowance.epsilon - spent.epsilon)
        return min(max(pure, pure_of_rho(left)), MAX_EPSILON)
    if delta == 0 or left == 0:
        return 0
    # The largest epsilon below that of one more unit of rho: up to there the price in rho, rounded down, is the same.
    epsilon = epsilon_of_rho(min(left + 1, LIMIT), delta) - 1
    while epsilon > 0 and rho_of_epsilon(epsilon, delta) > left:
        epsilon -= 1
    return min(max(0, epsilon), MAX_EPSILON)
