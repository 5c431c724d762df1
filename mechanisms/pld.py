"""The tighter figures, offline: a finished list of losses composed as a whole, by two means that both are bounds.

It is never what admits a charge: a filter must hold for losses chosen adaptively, and these figures are of a finished
list.

**Distributions.** Pure losses are composed as privacy loss distributions by Google's ``dp-accounting``. Why that is an
upper bound whatever the mechanism was (Laplace noise, a quantile by the exponential mechanism, a threshold's counts):
every eps-DP pair of distributions is a post-processing of randomised response at eps (Kairouz, Oh and Viswanath 2015),
so that randomised responses compose to no less; this composition is the optimal one for what is known of them. Losses
are rounded up to a grid ("pessimistic").

**Renyi divergences.** Where Gaussian noise is among the losses its divergence of order a is at most a * rho (that is
zCDP), a pure loss's at most that of randomised response, and both add up at each order; the least conversion over
orders (Canonne, Kamath and Steinke 2020, proposition 12) is a bound, since it is one at every order. It is never above
the ledger's own conversion, which takes a pure loss for its rho.

What is no bound is kept apart (``continuous_epsilon``): Gaussian noise as the privacy loss distribution of the
continuous Gaussian. Ours is discrete and satisfies the same zCDP, but no proof is known that it is dominated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from mechanisms.loss import DELTA_UNIT, EPSILON_UNIT, RHO_UNIT

UNBOUNDED_FIGURE: Final = math.inf

_CELLS: Final = 500_000
"""About as many steps as a composed distribution has: finer grids are tighter and slower."""

_TRANSFORM_ERROR: Final = 1e-11
"""What a composed distribution may be off by, as a delta: its Fourier transforms were found to be off by 5e-15. No
distribution is asked for a delta that is not much larger.
"""

_GREATEST: Final = 500
"""The library's exponentials of losses far above overflow; such figures say nothing anyway."""

_SLACK: Final = 1e-12

_ORDERS: Final = (-10.0, 25.0)
"""Logarithms of the least and the greatest order that is tried, less one."""

_STEPS: Final = 300

_KINDS: Final = 64
"""Different epsilons that distributions are composed of; with more of them some are raised to a greater one."""

_KINDS_OF_DIVERGENCE: Final = 2000
"""The same for divergences, which are quick to add up."""


class AccountingMissing(RuntimeError):
    """``dp-accounting`` is not installed: it is the extra ``discreet[accounting]``."""


def composed_epsilon(pure: Mapping[int, int], rho: int, delta: int) -> float:
    """Return an epsilon at delta (1e-18) that a finished list of losses surely has.

    Takes:
        pure: how many charges there were of each pure epsilon (1e-9).
        rho: the sum of rhos (1e-12) of the charges that have none, 0 if there were none.
        delta: what converting may cost; thresholds' deltas add to it.

    ``AccountingMissing`` without the extra ``discreet[accounting]``.
    """
    _library()
    counts = _rounded(pure, _KINDS_OF_DIVERGENCE)
    total = _total(counts)
    if delta == 0 or not (counts or rho):
        return UNBOUNDED_FIGURE if rho else total
    found = _renyi(counts, rho, delta)
    if rho:
        return found
    if delta / DELTA_UNIT >= 10 * _TRANSFORM_ERROR:
        found = min(found, _distributed(_rounded(counts, _KINDS), 0, delta / DELTA_UNIT - _TRANSFORM_ERROR))
    return min(found, total)


def continuous_epsilon(pure: Mapping[int, int], rho: int, delta: int) -> float:
    """Return the epsilon that these losses would have if the charges of ``rho`` were continuous Gaussian noise.

    For comparison with other accountants alone: it is no bound for what is drawn here. Arguments as
    ``composed_epsilon`` takes them; delta above 0.
    """
    _library()
    return _distributed(_rounded(pure, _KINDS), rho, delta / DELTA_UNIT)


def _library() -> tuple[Any, Any]:
    try:
        from dp_accounting.pld import privacy_loss_distribution as pld
        from dp_accounting.pld.common import DifferentialPrivacyParameters
    except ImportError:
        raise AccountingMissing("the offline report needs the extra `discreet[accounting]`") from None
    return pld, DifferentialPrivacyParameters


def _distributed(counts: Mapping[int, int], rho: int, delta: float) -> float:
    pld, parameters = _library()
    if max(*counts, 0, 0) > _GREATEST * EPSILON_UNIT or rho > _GREATEST * RHO_UNIT:
        return UNBOUNDED_FIGURE
    step = _step(counts, _total(counts), rho)
    parts: list[Any] = [
        pld.from_privacy_parameters(
            parameters(epsilon / EPSILON_UNIT, 0), value_discretization_interval=step
        ).self_compose(count)
        for epsilon, count in sorted(counts.items())
    ]
    if rho:
        deviation = math.sqrt(RHO_UNIT / (2 * rho))
        parts.append(pld.from_gaussian_mechanism(deviation, value_discretization_interval=step))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.compose(part)
    return float(whole.get_epsilon_for_delta(delta))


def _renyi(counts: Mapping[int, int], rho: int, delta: int) -> float:
    """Return the least bound over orders; floating point is answered for by a part in 1e12 more."""
    zero, log_delta = rho / RHO_UNIT, math.log(delta / DELTA_UNIT)
    epsilons = [(epsilon / EPSILON_UNIT, count) for epsilon, count in counts.items()]

    def bound(log_beyond: float) -> float:
        beyond = math.exp(log_beyond)  # order - 1
        order = 1 + beyond
        divergence = order * zero + sum(count * _response(epsilon, order, beyond) for epsilon, count in epsilons)
        conversion = -(math.log(order) + log_delta) / beyond - math.log1p(1 / beyond)
        return max(0.0, divergence + conversion + _SLACK * (divergence + abs(conversion)))

    low, high = _ORDERS
    best = min((low + (high - low) * n / _STEPS for n in range(_STEPS + 1)), key=bound)
    return min(bound(best + (high - low) * n / (_STEPS * _STEPS)) for n in range(-_STEPS, _STEPS + 1))


def _response(epsilon: float, order: float, beyond: float) -> float:
    """Return the Renyi divergence of randomised response at epsilon: ln(cosh((a - 1/2) eps) / cosh(eps / 2)) / (a - 1),
    for p^a (1-p)^(1-a) + (1-p)^a p^(1-a) with p = e^eps / (1 + e^eps).
    """
    first = _log_cosh((order - 0.5) * epsilon)
    return (first - _log_cosh(epsilon / 2) + _SLACK / 10 * first) / beyond


def _log_cosh(x: float) -> float:
    return math.log1p(2 * math.sinh(x / 2) ** 2) if x < 1 else x + math.log1p(math.exp(-2 * x)) - math.log(2)


def _total(counts: Mapping[int, int]) -> float:
    return sum(epsilon * count for epsilon, count in counts.items()) / EPSILON_UNIT


def _rounded(counts: Mapping[int, int], most: int) -> dict[int, int]:
    """Return the same losses, in so many kinds at most: like is raised to the greatest of its like."""
    kinds = {epsilon: count for epsilon, count in counts.items() if epsilon and count}
    if len(kinds) <= most:
        return kinds
    least = min(kinds)
    width = math.log(max(kinds) / least) / (most - 1)
    greatest: dict[int, int] = {}
    for epsilon in kinds:
        like = math.floor(math.log(epsilon / least) / width)
        greatest[like] = max(epsilon, greatest.get(like, 0))
    found: dict[int, int] = {}
    for epsilon, count in kinds.items():
        up = greatest[math.floor(math.log(epsilon / least) / width)]
        found[up] = found.get(up, 0) + count
    return found


def _step(counts: Mapping[int, int], total: float, rho: int) -> float:
    """Return the grid's step: a part of the epsilons' common divisor where there is one, so that none is rounded."""
    spread = total + 20 * math.sqrt(rho / RHO_UNIT)
    finest = max(spread / _CELLS, 1e-12)
    divisor = math.gcd(*counts) / EPSILON_UNIT if counts else 0.0
    if divisor > finest:
        return divisor / math.floor(divisor / finest)
    return finest
