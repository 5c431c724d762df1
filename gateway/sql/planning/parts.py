"""Plan what needs a statement of its own beside a release's sums: quantiles and counts of different values.

``SELECT sex, COUNT(*), MEDIAN(age), COUNT(DISTINCT city) FROM person GROUP BY sex``
→  rows by ``sex``; rows by ``sex`` and bucket of ``age``; different pairs of ``sex`` and ``city``: three statements

Why quantiles are sound: their exact integers are a count of rows by group and bucket, an owner's whole vector of which,
over all groups and buckets, is held to M rows; penalties are computed from it, and a bucket is drawn for each group
that is public or has passed the threshold. Several quantiles of a column are drawn from one histogram, each at a price
of its own; their prices add up.

Why counts of different values are sound: from each owner at most K pairs of group and value are kept, chosen by that
owner's rows alone, and a group's count is of the different values that anybody keeps. Taking an owner away takes away
the pairs that nobody else keeps, at most K, and changes no pair that others keep; so all groups' counts together change
by at most K, whichever way K is spread.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, TypeAlias

from gateway.policy.model import Dataset
from gateway.sql.algebra import Aggregate, Call, Ref, Release, Scalar
from gateway.sql.inference.domains import domain
from gateway.sql.inference.facts import Facts, tables_read
from gateway.sql.inference.known import known
from gateway.sql.planning.grid import Grid, grid
from gateway.sql.planning.groups import Joint, Key, count
from gateway.sql.planning.plan import (
    Block,
    Bounding,
    Cell,
    Distinct,
    Estimator,
    Histogram,
    Linear,
    Measure,
    MeasuredValue,
    Picked,
    PlannedRelease,
)
from gateway.sql.refusals import refuse
from mechanisms.intervals import half_width
from mechanisms.loss import FREE
from mechanisms.noise import calibrate, calibrate_selection, norm, price, price_selection
from mechanisms.quantiles import Rank, excess, extreme, rank_of

FINE = 2**12
"""Units of a count whose rows may be weighted."""

MOST_BUCKETS = 2**14
LEAST_BUCKETS = 2**10
ALL_BUCKETS = 2**19
"""Buckets of one group, at most and at least; those of all groups and quantiles that a release aims at."""

MOST_DRAWN = 2**23
"""Buckets that are drawn from at the very most, which takes some ten seconds; beyond, a question is refused."""

HIDDEN_GROUPS = 2**8
"""How many groups with private keys the buckets are sized for: how many pass the threshold is not known before."""

MOST_VALUES = 10
"""Values that one owner adds to a count of different ones, where neither request nor policy says otherwise."""

In: TypeAlias = Literal["epsilon", "rho"]
"""What a share of the price is in: epsilon in 1e-9, or rho in 1e-12."""

Named: TypeAlias = tuple[str, Aggregate]


@dataclass(frozen=True, slots=True)
class Priced:
    """A part with its noise: its plan, estimators by aggregate over its own names, and the logarithm of its error."""

    planned: PlannedRelease
    estimators: tuple[tuple[str, Estimator], ...]
    score: float


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Quantiles of one value, still without a price; ``weight`` is how many shares of it they take."""

    bare: PlannedRelease
    grid: Grid
    fractions: tuple[Fraction, ...]
    aggregates: tuple[Named, ...]

    @property
    def weight(self) -> int:
        """One share for each quantile."""
        return len(self.fractions)

    def priced(self, share: int, unit: In) -> Priced:
        """Return the part with a selection for each quantile, or raise ``ScaleError``."""
        fine = FINE if self.bare.bounding.rows is not None else 1
        bound = fine * (self.bare.bounding.rows or 1)
        count = Measure("m0", "rows", Cell(None, "always", offset=fine), Fraction(1, fine), bound, bound * bound, bound)
        size = self.grid.size
        blocks, ranks = [], []
        picked: dict[Fraction, Picked] = {}
        for number, fraction in enumerate(self.fractions):
            # The two extremes change by two of their own units, like the median.
            rank = rank_of(fraction) if 0 < fraction < 1 else Rank(0, 2)
            selection = calibrate_selection(rank.sensitivity(bound), unit, share)
            if not 0 < fraction < 1:
                rank = extreme(selection, size, highest=fraction == 1, unit=fine)
            loss = price_selection(selection, rank.sensitivity(bound))
            blocks.append(Block((count,), bound, bound * bound, bound, selection, loss))
            ranks.append(rank)
            inside = abs(rank.offset) / (rank.denominator * fine)
            rows = excess(selection, size, 0.05) / (rank.denominator * fine) + inside
            picked[fraction] = Picked(f"b{number}", self.grid, False, rows)
        estimators = tuple(
            (name, replace(picked[_fraction(aggregate)], whole=aggregate.result == "integer"))
            for name, aggregate in self.aggregates
        )
        histogram = Histogram(bucket_label(self.bare.keys), self.grid, tuple(ranks))
        loss = sum((block.loss for block in blocks), FREE)
        planned = replace(self.bare, blocks=tuple(blocks), loss=loss, histogram=histogram)
        return Priced(planned, estimators, sum(math.log(block.noise.scale) for block in blocks))


@dataclass(frozen=True, slots=True)
class DistinctValues:
    """A count of different values, still without a price."""

    bare: PlannedRelease
    distinct: Distinct
    aggregate: str

    @property
    def weight(self) -> int:
        """One share of the price."""
        return 1

    def priced(self, share: int, unit: In) -> Priced:
        """Return the part with its noise, or raise ``ScaleError``."""
        most = self.distinct.most
        measure = Measure("m0", "distinct", None, Fraction(1), most, most * most, most)
        noise = calibrate("laplace" if unit == "epsilon" else "gaussian", norm(most * most), share)
        loss = price(noise, most, norm(most * most), most)
        planned = replace(
            self.bare,
            blocks=(Block((measure,), most, most * most, most, noise, loss),),
            loss=loss,
            distinct=self.distinct,
        )
        counted = Linear(((measure.name, Fraction(1)),), Fraction(1))
        return Priced(planned, ((self.aggregate, counted),), math.log(max(half_width([(1.0, noise)], 0.95), 1.0)))


Part: TypeAlias = Quantiles | DistinctValues


@dataclass(frozen=True, slots=True)
class About:
    """What is known of the release that parts belong to; ``stated`` bounds groups, where request or policy say so."""

    keys: tuple[Key, ...]
    within: tuple[Key, ...]
    found: Facts
    holding: tuple[Scalar, ...]
    dataset: Dataset
    stated: int | None
    public_groups: int
    integer_domain: int
    joint: tuple[Joint, ...] = ()

    @property
    def groups(self) -> int | None:
        """How many groups there are, None where keys are private."""
        return count(self.keys, self.joint, self.public_groups)


def plain(release: Release) -> Release:
    """Return the release without the aggregates that need a statement of their own."""
    kept = tuple(
        (name, found) for name, found in release.aggregates if found.kind not in ("quantile", "count_distinct")
    )
    return replace(release, aggregates=kept)


def parts(release: Release, about: About) -> tuple[Part, ...]:
    """Return the parts of a release, one for each value with quantiles and one for each count of different values."""
    quantiles: dict[Scalar, list[Named]] = {}
    for name, aggregate in release.aggregates:
        if aggregate.kind == "quantile" and aggregate.argument is not None:
            quantiles.setdefault(aggregate.argument, []).append((name, aggregate))
    draws = sum(len(_fractions(named)) for named in quantiles.values())
    found: list[Part] = [_quantiles(release, value, named, draws, about) for value, named in quantiles.items()]
    found += [_distinct(release, named, about) for named in release.aggregates if named[1].kind == "count_distinct"]
    return tuple(found)


def joined(planned: PlannedRelease, priced: Sequence[Priced]) -> PlannedRelease:
    """Return a planned release with its parts: their estimators in the order of the query, their losses added."""
    named: dict[str, Estimator] = dict(planned.estimators)
    for number, part in enumerate(priced, 1):
        named |= {name: _within(estimator, number) for name, estimator in part.estimators}
    return replace(
        planned,
        parts=tuple(part.planned for part in priced),
        estimators=tuple((name, named[name]) for name, _ in planned.release.aggregates),
        loss=sum((part.planned.loss for part in priced), planned.loss),
    )


def _within(estimator: Estimator, number: int) -> Estimator:
    """Return a part's estimator over the names that its integers have in the whole."""
    if isinstance(estimator, Linear):
        return Linear(tuple((f"{number}.{name}", weight) for name, weight in estimator.terms), estimator.step)
    assert isinstance(estimator, Picked)
    return replace(estimator, bucket=f"{number}.{estimator.bucket}")


def _fraction(aggregate: Aggregate) -> Fraction:
    assert aggregate.fraction is not None
    return aggregate.fraction


def _fractions(named: Iterable[Named]) -> tuple[Fraction, ...]:
    return tuple(dict.fromkeys(_fraction(aggregate) for _, aggregate in named))


def _bare(release: Release, named: Iterable[Named], about: About, bounding: Bounding, reason: str) -> PlannedRelease:
    return PlannedRelease(
        release=replace(release, aggregates=tuple(named)),
        keys=about.keys,
        values=(),
        bounding=bounding,
        blocks=(),
        threshold=None,
        estimators=(),
        sql="",
        tables=tables_read(release.source, about.dataset),
        loss=FREE,
        reason=reason,
        within=about.within,
        joint=about.joint,
    )


def _quantiles(release: Release, value: Scalar, named: list[Named], draws: int, about: About) -> Quantiles:
    rows = about.found.rows
    if rows is None:
        one = "Ask about one number of each unit (SELECT AVG(x) AS x FROM … GROUP BY its key, in a subquery)"
        refuse("rows-unbounded", hint=f"{one}, or ask an administrator to declare max_rows_per_unit.")
    known_value = known(value, about.found.columns)
    assert known_value.bounds is not None  # lowering refuses a quantile of what has none
    draws *= about.groups or HIDDEN_GROUPS
    most = min(max(ALL_BUCKETS // draws, LEAST_BUCKETS), MOST_BUCKETS)
    buckets = grid(known_value.kind, known_value.scale, known_value.bounds, most)
    if buckets.size * draws > MOST_DRAWN:
        refuse("groups-too-many", hint="Ask for fewer quantiles at once, or group by fewer columns.")
    one_row = about.found.one_row
    held = about.found.held
    rows = held or rows
    bounding = Bounding("one_row", None, None) if one_row else Bounding("weights", rows, None, held is not None)
    reason = (
        f"one of {buckets.size} buckets is drawn for each group and quantile by the exponential mechanism; "
        + ("the database enforces one row a unit" if one_row else f"a unit's rows count for at most {rows} rows in all")
        + "."
    )
    bare = replace(
        _bare(release, named, about, bounding, reason),
        values=(MeasuredValue("v0", value, buckets.quantum),),
    )
    return Quantiles(bare, buckets, _fractions(named), tuple(named))


def bucket_label(keys: Iterable[Key]) -> str:
    """Return a name for the column of buckets that no group key has."""
    taken = {key.label.lower() for key in keys}
    return next(name for name in ("bucket", *(f"bucket_{n}" for n in range(len(taken) + 1))) if name not in taken)


def _distinct(release: Release, named: Named, about: About) -> DistinctValues:
    name, aggregate = named
    value = aggregate.argument
    assert value is not None
    found = known(value, about.found.columns)
    public = domain(value, found, about.holding, about.integer_domain)
    key = Key("d", "d", value, found.kind, public)
    most = about.stated or min(about.found.rows or MOST_VALUES, MOST_VALUES)
    if _owner(value, about.found):
        # An owner is one value: as many pairs as groups that it may reach.
        most = min(about.stated or about.groups or MOST_VALUES, about.groups or MOST_VALUES)
    if public is not None and about.groups is not None:
        most = min(most, max(len([each for each in public if each is not None]) * about.groups, 1))
    most = min(most, about.found.rows or most)
    one_row = about.found.one_row
    most = 1 if one_row else most
    bounding = Bounding("one_row" if one_row else "owners", None, None)
    reason = (
        "the database enforces one row a unit, which adds one value"
        if one_row
        else f"a unit adds at most {most} values over all groups, kept by a keyed hash of unit, group and value"
    )
    return DistinctValues(_bare(release, [named], about, bounding, f"{reason}."), Distinct(key, most), name)


def _owner(value: Scalar, found: Facts) -> bool:
    """Whether a value is the owner's own key, or that where a condition holds and else NULL."""
    match value:
        case Ref(name):
            return found.columns[name].owner
        case Call("case", (_, Ref(name), _)):
            return found.columns[name].owner
    return False
