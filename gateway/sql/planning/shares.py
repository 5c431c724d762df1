"""Share one price among the releases of a request, and choose for all of them together.

Why the shares may simply be added: the releases are composed one after the other, so that their epsilons, their rhos
and their deltas add up (``mechanisms.loss``); no share is used twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

from gateway.policy.model import Dataset
from gateway.sql.algebra import Release
from gateway.sql.planning.choose import Bounds, Price, choose
from gateway.sql.planning.errors import log_error
from gateway.sql.planning.plan import PlannedRelease
from mechanisms.accounting import rho_of_epsilon


def share(releases: Sequence[Release], dataset: Dataset, cost: Price, bounds: Bounds) -> tuple[PlannedRelease, ...]:
    """Return every release planned at its share of the price, with the mechanism that errs least over all.

    Shares are those of the epsilons that privacy clauses state, else equal.
    """
    count, weights = len(releases), _weights(releases)

    def planned(priced: Callable[[Fraction], Price]) -> tuple[PlannedRelease, ...]:
        return tuple(
            choose(release, dataset, priced(weight), _bounds(release, bounds))
            for weight, release in zip(weights, releases, strict=True)
        )

    if count == 1:
        return planned(lambda _: cost)
    # Which releases have thresholds is a matter of their keys alone: asked once, so that only those share the delta.
    hidden = sum(found.threshold is not None for found in planned(lambda weight: _laplace(cost, weight, 1)))
    ways = []
    if cost.mechanism != "gaussian":
        ways.append(planned(lambda weight: _laplace(cost, weight, hidden)))
    # Half of what a release with a threshold has of the delta is the threshold's: of one unit nothing would be left.
    halved = cost.delta // hidden // 2 if hidden else cost.delta
    if cost.mechanism == "gaussian" or (cost.mechanism == "auto" and cost.gaussian and halved > 0):
        ways.append(planned(lambda weight: _gaussian(cost, weight, hidden)))
    return min(ways, key=lambda way: sum(map(_log_error, way)))


def _weights(releases: Sequence[Release]) -> tuple[Fraction, ...]:
    stated = [0 if release.terms is None else release.terms.epsilon or 0 for release in releases]
    total = sum(stated)
    return tuple(Fraction(part, total) if total else Fraction(1, len(stated)) for part in stated)


def _bounds(release: Release, bounds: Bounds) -> Bounds:
    """Return the bounds of one release: its privacy clause may say how many groups a unit reaches."""
    groups = None if release.terms is None else release.terms.groups
    return bounds if groups is None else replace(bounds, max_groups_contributed=groups)


def _laplace(cost: Price, weight: Fraction, hidden: int) -> Price:
    epsilon = None if cost.epsilon is None else math.floor(cost.epsilon * weight)
    rho = None if cost.rho is None else math.floor(cost.rho * weight)
    return replace(cost, epsilon=epsilon, rho=rho, delta=cost.delta // max(hidden, 1), mechanism="laplace")


def _gaussian(cost: Price, weight: Fraction, hidden: int) -> Price:
    """Return a share of the rho whose conversion, at what thresholds leave of the delta, is the epsilon asked for.

    Rho adds up, and is converted once for the request: n releases err by the root of n, not by n.
    """
    if cost.delta == 0 or cost.rho is not None:
        # Without a delta what is selected alone may still be released, at its share of the epsilon.
        return replace(_laplace(cost, weight, hidden), mechanism="gaussian")
    # A release with Gaussian noise gives half of its delta to its threshold (``choose``).
    thresholds = sum(cost.delta // hidden // 2 for _ in range(hidden))
    rho = math.floor(rho_of_epsilon(cost.epsilon or 0, cost.delta - thresholds) * weight)
    return replace(cost, epsilon=None, rho=rho, delta=cost.delta // max(hidden, 1), mechanism="gaussian")


def _log_error(planned: PlannedRelease) -> float:
    """Return how much a release errs: the sum of the logarithms of what is expected of its columns."""
    total = sum(log_error(estimator, planned.noises) for _, estimator in planned.estimators)
    if planned.threshold is not None:
        total += math.log(planned.threshold.at)
    return total
