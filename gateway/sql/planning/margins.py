"""Which counts and sums of a request are known to add up, so that least squares make them consistent.

``SELECT sex, COUNT(*) FROM person GROUP BY ROLLUP (sex)``  →  the total is the sum of the groups

What is known to add up: one aggregate over the same rows by different public keys, each owner held to the same part
whichever way rows are grouped, and read off the same integers of each row. The rows are the same where one charge drew
them, where the releases have one relation below them and drop the same rows for a key outside its public values: the
grouping sets of one SELECT all drop what one of them drops (``algebra.Release``); of separate queries, only keys of
which no row can have any other value say nothing (``domains.complete``). Where a threshold hides groups, where units
are held to a number of groups, where each group is summed before it is weighted and where a bound is chosen for some
groups alone, nothing adds up to the unit, and nothing is touched.

A mean is a ratio of two such sums: both add up, and it is what they say of it then.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from gateway.sql.algebra import feeds
from gateway.sql.planning.errors import Terms, first_order
from gateway.sql.planning.groups import Key
from gateway.sql.planning.plan import Linear, Mean, PlannedRelease
from gateway.sql.tables import nodes
from mechanisms.consistency import Design, Margin, profile, width
from mechanisms.intervals import Profile
from mechanisms.noise import Noise
from mechanisms.tails import variance

MOST_CELLS = 400
"""Cells of all tables that are made consistent together: of more, each gains next to nothing, and the finest table of
all is left out."""

MOST_PARTS = 300
"""Noises of different coefficients, over all tables, whose laws are put together."""

_COUNTS = ("count_rows", "count", "count_owners")


@dataclass(frozen=True, slots=True)
class Family:
    """Estimates that add up: the place of each one's release, its name, and how its keys are numbered in ``design``.

    ``step`` is what all of them are rounded to, None for none.
    """

    members: tuple[tuple[int, str], ...]
    orders: tuple[tuple[int, ...], ...]
    design: Design
    step: Fraction | None

    def width(self, member: int, planned: Sequence[PlannedRelease], confidence: float) -> float:
        """Return the half-width of every cell of a member, of the noise of all members as it enters there.

        Of a mean that is times the size of the group, and where the middle of its bounds is (``first_order``).
        """
        parts: list[tuple[float, int, Noise]] = []
        for part in self.design.law(member):
            place, name = self.members[part.margin]
            found = planned[place]
            parts += [
                (part.coefficient * float(weight), part.times, found.noises[measure])
                for measure, weight in _weights(found, name).items()
            ]
        return width(parts, confidence)

    def profile(self, member: int, planned: Sequence[PlannedRelease], confidence: float) -> Profile:
        """Return how far the noise may move ``spread - t * count`` in every cell of a member, which are means."""
        parts: list[tuple[float, float, int, Noise]] = []
        for part in self.design.law(member):
            place, name = self.members[part.margin]
            found = planned[place]
            mean = mean_of(found, name)
            spread, count = dict(mean.spread), dict(mean.count)
            parts += [
                (
                    part.coefficient * float(spread.get(measure, 0)),
                    part.coefficient * float(count.get(measure, 0)),
                    part.times,
                    found.noises[measure],
                )
                for measure in dict.fromkeys((*spread, *count))
            ]
        place, name = self.members[member]
        mean = mean_of(planned[place], name)
        return profile(tuple(parts), confidence, float(mean.lower - mean.centre), float(mean.upper - mean.centre))


def families(planned: Sequence[PlannedRelease]) -> tuple[Family, ...]:
    """Return the counts and sums of a request that add up, each in one family at most."""
    return _families(planned, Linear)


def means(planned: Sequence[PlannedRelease]) -> tuple[Family, ...]:
    """Return the means of a request of which both parts add up, each in one family at most."""
    return _families(planned, Mean)


def _families(planned: Sequence[PlannedRelease], of: type[Linear | Mean]) -> tuple[Family, ...]:
    if len(planned) < 2:
        return ()  # the groups of one release add up to nothing else that is told
    # What others were computed from stays as it was when they were.
    fed = {node for each in planned for found in feeds(each.release.source) for node in nodes(found.table)}
    found: dict[Hashable, list[tuple[int, str]]] = {}
    for place, each in enumerate(planned):
        if each.release in fed or not _whole(each):
            continue
        for name, estimator in each.estimators:
            read = _read(each, name) if isinstance(estimator, of) else None
            if read is not None:
                found.setdefault((_rows(each), read), []).append((place, name))
    made = (_family(planned, members) for members in found.values())
    return tuple(family for family in made if family is not None)


def _whole(planned: PlannedRelease) -> bool:
    """Whether sums over a release's groups are sums over its rows."""
    weighted = planned.bounding.how == "weights" and planned.bounding.groups is None
    scalars = [key.scalar for key in planned.keys]
    return (
        planned.public
        and planned.threshold is None
        and planned.clip is None
        and not planned.release.folded
        and (weighted or planned.bounding.how == "one_row")
        and len(set(scalars)) == len(scalars)
        and not planned.joint  # rows whose keys do not stand together are in no group, and may be in a total
    )


def _rows(planned: PlannedRelease) -> Hashable:
    """Return which rows a release counts, and how much each of them counts for.

    What was drawn for different charges is of different moments, and of a unit with too many rows a prepared copy holds
    some where the data hold all, each of which counts for less: there sums over the same rows are not known to be.
    """
    dropping = (key for key in (*planned.keys, *planned.within) if not key.complete)
    return planned.release.source, planned.bounding, planned.charge, frozenset(map(_axis, dropping))


def _axis(key: Key) -> Hashable:
    return key.scalar, key.values


def _weights(planned: PlannedRelease, name: str) -> Mapping[str, Fraction]:
    found = dict(planned.estimators)[name]
    assert isinstance(found, Linear | Mean)
    return first_order(found).weights


def mean_of(planned: PlannedRelease, name: str) -> Mean:
    """Return the estimate of that name, which is a mean."""
    found = dict(planned.estimators)[name]
    assert isinstance(found, Mean)
    return found


def _read(planned: PlannedRelease, name: str) -> Hashable | None:
    """Return what an estimate sums up of each row, None where that is not known, or is no sum over rows.

    Counts of whole rows are exact in every layout; anything else is compared integer by integer, since the integers of
    two layouts are rounded apart from each other.
    """
    aggregate, estimator = dict(planned.release.aggregates)[name], dict(planned.estimators)[name]
    if isinstance(estimator, Mean):
        spread, count = _cells(planned, estimator.spread), _cells(planned, estimator.count)
        ends = estimator.centre, estimator.lower, estimator.upper
        return None if spread is None or count is None else (aggregate, ends, spread, count)
    assert isinstance(estimator, Linear)
    if not _own(planned, estimator.terms):
        return None
    if planned.bounding.how == "one_row" and aggregate.kind in _COUNTS:
        return aggregate, estimator.step
    terms = _cells(planned, estimator.terms)
    return None if terms is None else (aggregate, estimator.step, terms)


def _own(planned: PlannedRelease, terms: Terms) -> bool:
    """Whether all measures are of this very statement, and none rolled up from noise that others share."""
    measures = {measure.name for measure in planned.measures}
    return all(measure in measures and "/" not in measure for measure, _ in terms)


def _cells(planned: PlannedRelease, terms: Terms) -> Hashable | None:
    measures = {measure.name: measure for measure in planned.measures}
    if not _own(planned, terms) or any(measures[measure].cell is None for measure, _ in terms):
        return None
    found = [(weight, measures[measure]) for measure, weight in terms]
    return tuple((weight, measure.kind, measure.unit, measure.cell) for weight, measure in found)


def _family(planned: Sequence[PlannedRelease], members: Sequence[tuple[int, str]]) -> Family | None:
    """Return a family of these estimates, the finest left out where they are too many; None if nothing is left."""
    axes: dict[Hashable, int] = {}
    sizes: list[int] = []
    numbered = []
    for member in members:
        keys = planned[member[0]].keys
        for key in keys:
            if _axis(key) not in axes:
                axes[_axis(key)] = len(sizes)
                sizes.append(len(key.values or ()))
        numbered.append((member, tuple(axes[_axis(key)] for key in keys)))
    chosen: list[tuple[tuple[int, str], tuple[int, ...]]] = []
    design: Design | None = None
    for one in sorted(numbered, key=lambda found: Design(tuple(sizes), ()).cells(found[1])):
        if any(set(one[1]) == set(order) for _, order in chosen):
            continue  # both may have been drawn as one table, which is then asked for twice
        more = [*chosen, one]
        wider = Design(tuple(sizes), tuple(_margin(planned[place], name, order) for (place, name), order in more))
        cells = sum(wider.cells(order) for _, order in more)
        if cells > MOST_CELLS or _parts(wider) > MOST_PARTS or 0 in wider.sizes or wider.margins[-1].variance <= 0:
            break
        chosen, design = more, wider
    if design is None or len(chosen) < 2:
        return None
    place, name = chosen[0][0]
    step = getattr(dict(planned[place].estimators)[name], "step", None)
    return Family(tuple(member for member, _ in chosen), tuple(order for _, order in chosen), design, step)


def _margin(planned: PlannedRelease, name: str, order: tuple[int, ...]) -> Margin:
    weights = _weights(planned, name)
    spread = sum(float(weight) ** 2 * variance(planned.noises[measure]) for measure, weight in weights.items())
    return Margin(tuple(sorted(order)), spread)


def _parts(design: Design) -> int:
    """Return how many coefficients all laws of a design may have."""
    axes = [set(margin.axes) for margin in design.margins]
    return sum(2 ** len(mine & other) for mine in axes for other in axes)
