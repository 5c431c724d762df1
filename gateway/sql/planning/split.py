"""Split one price among the vectors of a release so that the product of the expected errors is least.

Why any split is sound: vectors are released one after the other, so that their losses add up to the price at most
(``mechanisms.loss``); how much each gets is decided from the layout alone.

With Laplace noise a vector's deviation is its L1 over its share, with Gaussian noise its L2 over the root of it. Then
the sum of the logarithms of the errors is least where each vector's share is in proportion to how much of the
estimates' variances comes from it, all estimates added up: the derivative by the logarithm of a share is just that. An
estimate that reads one vector alone counts one for it; a threshold counts as one more estimate of the owners' vector.
"""

from __future__ import annotations

from gateway.sql.planning.errors import first_order
from gateway.sql.planning.layout import Layout
from gateway.sql.planning.plan import Picked
from mechanisms.loss import Mechanism

GRAIN = 1_000
"""What one estimate weighs: shares are in whole numbers of its parts."""

_LEAST = 0.05  # a vector's part of the price at least, however little is read off it
_STEPS = 30


def weights(layout: Layout, mechanism: Mechanism, *, threshold: bool) -> list[int]:
    """Return what share of the price each vector of a layout gets, in proportion; one estimate alone is ``GRAIN``."""
    if not layout.vectors:
        return []
    place = {measure.name: at for at, vector in enumerate(layout.vectors) for measure in vector.measures}
    variances = _variances(layout, mechanism, place)
    hidden = place[layout.owners[0]] if threshold and layout.owners is not None else None
    if not variances and hidden is None:
        return [GRAIN] * len(layout.vectors)
    shares = [1.0 / len(layout.vectors)] * len(layout.vectors)
    power = 2 if mechanism == "laplace" else 1
    for _ in range(_STEPS):
        parts = [float(at == hidden) for at in range(len(shares))]
        for variance in variances:
            each = [found / share**power for found, share in zip(variance, shares, strict=True)]
            total = sum(each)
            parts = [part + found / total for part, found in zip(parts, each, strict=True)]
        least = sum(parts) * _LEAST
        parts = [max(part, least) for part in parts]
        shares = [part / sum(parts) for part in parts]
    every = len(variances) + (hidden is not None)
    return [max(round(share * every * GRAIN), 1) for share in shares]


def _variances(layout: Layout, mechanism: Mechanism, place: dict[str, int]) -> list[list[float]]:
    """Return the variance that each vector gives to each estimate at the whole price, but for a common factor."""
    found = []
    for _, estimator in layout.estimators:
        if isinstance(estimator, Picked):  # a selection of its own, which no vector serves
            continue
        first = first_order(estimator, aside=True)
        read = [0.0] * len(layout.vectors)
        # The largest weight is the common factor: squares of what bounds may make of weights are no doubles.
        most = max((abs(weight) for weight in first.weights.values()), default=0) or 1
        for name, weight in first.weights.items():
            vector = layout.vectors[place[name]]
            size = float(vector.l1) ** 2 if mechanism == "laplace" else float(vector.l2_squared)
            read[place[name]] += float(weight / most) ** 2 * size
        if sum(read) > 0:
            found.append(read)
    return found
