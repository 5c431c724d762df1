"""The tighter figure, offline: many losses composed as privacy loss distributions by Google's ``dp-accounting``.

It is never what admits a charge: a filter must hold for losses chosen adaptively, and this figure is of a finished
list.

Why the figure is an upper bound for pure losses: every eps-DP pair of distributions is a post-processing of randomised
response at eps (Kairouz, Oh and Viswanath 2015), so that randomised responses compose to no less; this composition is
the optimal one for what is known of them. Losses are rounded up to a grid ("pessimistic"). For Gaussian noise the
figure is that of the continuous Gaussian of the same rho; ours is discrete and satisfies the same zCDP (Canonne, Kamath
and Steinke 2020), but no proof is known that its distribution is dominated: a figure with such losses is no bound, and
is to be told so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from mechanisms.loss import DELTA_UNIT, EPSILON_UNIT, RHO_UNIT

UNBOUNDED_FIGURE: Final = math.inf

_CELLS: Final = 500_000
"""About as many steps as a composed distribution has: finer grids are tighter and slower."""

_KINDS: Final = 64
"""Different epsilons that are composed as they are; with more of them each is rounded up to one of these."""


class AccountingMissing(RuntimeError):
    """``dp-accounting`` is not installed: it is the extra ``discreet[accounting]``."""


def composed_epsilon(pure: Mapping[int, int], rho: int, delta: int) -> float:
    """Return the epsilon at delta (1e-18) of a finished list of losses.

    Takes:
        pure: how many charges there were of each pure epsilon (1e-9).
        rho: the sum of rhos (1e-12) of the Gaussian charges, 0 if there were none.
        delta: what converting may cost; thresholds' deltas add to it.
    """
    try:
        from dp_accounting.pld import privacy_loss_distribution as pld
        from dp_accounting.pld.common import DifferentialPrivacyParameters
    except ImportError:
        raise AccountingMissing("the offline report needs the extra `discreet[accounting]`") from None
    counts = _rounded({epsilon: count for epsilon, count in pure.items() if epsilon and count})
    total = sum(epsilon * count for epsilon, count in counts.items())
    if delta == 0:
        return UNBOUNDED_FIGURE if rho else total / EPSILON_UNIT
    if not counts and not rho:
        return 0.0
    step = _step(counts, total, rho)
    parts: list[Any] = [
        pld.from_privacy_parameters(
            DifferentialPrivacyParameters(epsilon / EPSILON_UNIT, 0), value_discretization_interval=step
        ).self_compose(count)
        for epsilon, count in sorted(counts.items())
    ]
    if rho:
        deviation = math.sqrt(RHO_UNIT / (2 * rho))
        parts.append(pld.from_gaussian_mechanism(deviation, value_discretization_interval=step))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.compose(part)
    found = float(whole.get_epsilon_for_delta(delta / DELTA_UNIT))
    return min(found, total / EPSILON_UNIT) if not rho else found


def _rounded(counts: dict[int, int]) -> dict[int, int]:
    """Return the same losses, rounded up to few different ones if there are many."""
    if len(counts) <= _KINDS:
        return counts
    steps = max(1, -(-max(counts) // _KINDS))
    found: dict[int, int] = {}
    for epsilon, count in counts.items():
        up = -(-epsilon // steps) * steps
        found[up] = found.get(up, 0) + count
    return found


def _step(counts: Mapping[int, int], total: int, rho: int) -> float:
    """Return the grid's step: a part of the epsilons' common divisor where there is one, so that none is rounded."""
    spread = (total / EPSILON_UNIT if counts else 0.0) + 20 * math.sqrt(rho / RHO_UNIT)
    finest = max(spread / _CELLS, 1e-12)
    divisor = math.gcd(*counts) / EPSILON_UNIT if counts else 0.0
    if divisor > finest:
        return divisor / math.floor(divisor / finest)
    return finest
