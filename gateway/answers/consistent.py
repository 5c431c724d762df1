"""Counts and sums that are known to add up, made to add up: estimates of several releases put right by each other.

A mean is read off the sums that it is a ratio of, once these add up.

Everything here is computed from noisy tables, so that it loses nothing of the promise; each number comes closer to the
truth by it (``mechanisms.consistency``), and its interval is that of all the noise that then is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gateway.answers.estimated import Estimated, bounded, integers, stepped
from gateway.answers.estimates import Released
from gateway.answers.exact import Whole, quotients, whole
from gateway.answers.moments import weighted
from gateway.sql.planning.errors import Terms
from gateway.sql.planning.margins import Family, families, mean_of, means
from gateway.sql.planning.plan import Linear, Mean, PlannedRelease
from mechanisms.intervals import ratios_within
from mechanisms.tails import Floats


def consistent(planned: Sequence[PlannedRelease], found: Sequence[Released], confidence: float) -> list[Released]:
    """Return released tables with the estimates that are known to add up made consistent; the others are as they were.

    Numbers of whole things stay whole. Where the keys of each table are among those of the next, as ROLLUP has them,
    they are rounded so that they add up still; else each is rounded to the nearest.
    """
    estimates = [dict(each.estimates) for each in found]
    for family in families(planned):
        if not is_whole(family, found):
            continue
        values = add_up(family, [_unrounded(found[place], name) for place, name in family.members])
        shown = _rounded(family, values)
        for member, (place, name) in enumerate(family.members):
            width = family.width(member, planned, confidence)
            centres = values[member].reshape(-1)
            estimates[place][name] = Estimated(shown[member], centres - width, centres + width, None)
    for family in means(planned):
        if not is_whole(family, found):
            continue
        read = [(found[place], mean_of(planned[place], name)) for place, name in family.members]
        spreads = add_up(family, [_sums(released, mean.spread) for released, mean in read])
        counts = add_up(family, [_sums(released, mean.count) for released, mean in read])
        for member, (place, name) in enumerate(family.members):
            estimates[place][name] = _means(family, member, planned, spreads[member], counts[member], confidence)
    return [replace(each, estimates=made) for each, made in zip(found, estimates, strict=True)]


def _means(
    family: Family,
    member: int,
    planned: Sequence[PlannedRelease],
    spreads: Floats,
    counts: Floats,
    confidence: float,
) -> Estimated:
    """Return means and their intervals, by Fieller's method with the noise that then is in both parts."""
    place, name = family.members[member]
    mean = mean_of(planned[place], name)
    profile = family.profile(member, planned, confidence)
    ends = ratios_within(spreads.reshape(-1), counts.reshape(-1), profile)
    values = ratio(mean, spreads, counts).reshape(-1)
    return bounded(mean, values, ends, sparse=bool(np.any(counts < 1)))


def ratio(mean: Mean, spreads: Floats, counts: Floats) -> Floats:
    """Return means within their bounds; where there is less than a row, the middle of the bounds."""
    found = float(mean.centre) + spreads / np.where(counts < 1, 1.0, counts)
    found = np.where(counts < 1, float(mean.centre), found)
    return np.asarray(np.clip(found, float(mean.lower), float(mean.upper)), dtype=np.float64)


def is_whole(family: Family, found: Sequence[Released]) -> bool:
    """Whether every cell of a family is there: a table may be cut to the most groups that are shown."""
    return all(
        len(found[place].table.keys) == family.design.cells(order)
        for (place, _), order in zip(family.members, family.orders, strict=True)
    )


def add_up(family: Family, tables: Sequence[Floats]) -> list[Floats]:
    """Return consistent estimates: a row for each group, in the order of its release, and a column for each world."""
    turned = [_turned(family, table, order, back=False) for table, order in zip(tables, family.orders, strict=True)]
    made = family.design.adjusted(turned)
    return [_turned(family, table, order, back=True) for table, order in zip(made, family.orders, strict=True)]


def _turned(family: Family, table: Floats, order: tuple[int, ...], *, back: bool) -> Floats:
    """Return a table with its keys in the order of their numbers instead of that of its release, or ``back``."""
    places = tuple(int(place) for place in np.argsort(order))
    if back:
        shape = [family.design.sizes[axis] for axis in sorted(order)]
        places = tuple(int(place) for place in np.argsort(places))
    else:
        shape = [family.design.sizes[axis] for axis in order]
    cube = table.reshape(*shape, table.shape[-1])
    return cube.transpose(*places, len(order)).reshape(table.shape)


def _unrounded(found: Released, name: str) -> Floats:
    estimator = dict(found.planned.estimators)[name]
    assert isinstance(estimator, Linear)
    return _sums(found, estimator.terms)


def _sums(found: Released, terms: Terms) -> Floats:
    return quotients(*weighted(terms, integers(found.planned, found.table))).reshape(-1, 1)


def _rounded(family: Family, values: Sequence[Floats]) -> list[Whole | Floats]:
    """Return estimates on the grid of what they count or sum up, so that nested tables still add up."""
    step = family.step
    if step is None:
        return [table.reshape(-1) for table in values]
    turned = [
        _turned(family, table / float(step), order, back=False)
        for table, order in zip(values, family.orders, strict=True)
    ]
    steps = family.design.whole(turned)
    if steps is None:
        steps = [np.round(table.reshape(-1)) for table in turned]
    back = [
        _turned(family, table.reshape(-1, 1), order, back=True).reshape(-1)
        for table, order in zip(steps, family.orders, strict=True)
    ]
    return [
        stepped(whole([int(each) * step.numerator for each in table.tolist()]), step.denominator, step)
        for table in back
    ]
