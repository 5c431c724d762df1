"""What cannot be negative, held at zero: for who asks for it, since it makes small numbers too high on average.

It is computed from noisy tables alone. An interval that is held at zero holds the exact value as often as before, which
is not negative either; a number that is held is biased, and numbers that added up no longer do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gateway.answers.estimated import Estimated
from gateway.answers.estimates import Released
from gateway.sql.algebra import Aggregate
from gateway.sql.planning.plan import PlannedRelease

WARNING = (
    "Counts, and sums of what is never negative, are held at 0 or above, as was asked: on average they are too high"
    " where there is little, and need not add up."
)

_COUNTS = ("count_rows", "count", "count_owners", "count_distinct")


def names(planned: PlannedRelease) -> frozenset[str]:
    """Return the estimates of a release that cannot be negative: counts, and sums of values bounded from below by 0."""
    return frozenset(name for name, found in planned.release.aggregates if _bounded(found, planned))


def _bounded(aggregate: Aggregate, planned: PlannedRelease) -> bool:
    if aggregate.kind in _COUNTS:
        return True
    quanta = [value.quantum for value in planned.values if value.scalar == aggregate.argument]
    return aggregate.kind == "sum" and any(found is not None and found.lower >= 0 for found in quanta)


def held(found: Sequence[Released]) -> list[Released]:
    """Return released tables with what cannot be negative held at zero, and the ends of its intervals."""
    made = []
    for each in found:
        bounded = names(each.planned)
        estimates = {name: _held(value) if name in bounded else value for name, value in each.estimates.items()}
        made.append(replace(each, estimates=estimates))
    return made


def _held(found: Estimated) -> Estimated:
    values, low, high = (np.maximum(each, 0) for each in (found.values, found.low, found.high))
    return Estimated(values, low, high, found.sparse)
