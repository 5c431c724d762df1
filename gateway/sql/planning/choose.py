"""Choose, from public facts alone, how a release is bounded, laid out, noised and priced so that its error is least.

Candidates are compared by the product of the expected errors of their aggregates; the planner reads no data and no
engine statistics, so that its choice shows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, NoReturn

from gateway.policy.model import Dataset, Dialect
from gateway.sql.algebra import Release, Scalar
from gateway.sql.inference.domains import conditions, never_null
from gateway.sql.inference.facts import MOST_ROWS, Facts, facts, tables_read
from gateway.sql.inference.known import known
from gateway.sql.planning import clips
from gateway.sql.planning.apart import apart
from gateway.sql.planning.counted import PART, countable, counted
from gateway.sql.planning.errors import log_error
from gateway.sql.planning.groups import Given, Joint, Key, count
from gateway.sql.planning.keys import keyed, meaning, supplied
from gateway.sql.planning.layout import Layout, Vector
from gateway.sql.planning.parts import About, Part, Priced, Quantiles, joined, parts, plain
from gateway.sql.planning.plan import (
    Block,
    Bounding,
    Chooser,
    Clip,
    MeasuredValue,
    PlannedRelease,
    Threshold,
)
from gateway.sql.planning.quantum import in_units, quantum
from gateway.sql.planning.shared import shared
from gateway.sql.planning.split import GRAIN, weights
from gateway.sql.planning.twosided import crossed, two_sided
from gateway.sql.planning.wanted import SPREAD, Wanted
from gateway.sql.refusals import refuse
from mechanisms.accounting import pure_of_rho, rho_of_epsilon
from mechanisms.loss import FREE, Loss
from mechanisms.noise import Mechanism, Noise, ScaleError, calibrate, norm, price
from mechanisms.thresholds import MOST_DELTA, beyond, threshold

PRIVATE_GROUPS = 10
"""Groups that one owner may reach where neither request nor policy says otherwise."""

BEFOREHAND = 20
"""A pre-threshold leaves out groups of up to one part in so many of the threshold, which rises by as much."""

MOST_BITS = 90
"""A measure's bound times M stays below 2^90, so that sums over 2^37 rows fit 127 bits."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a release may cost: an epsilon, or a rho; and which mechanisms are open.

    ``gaussian`` says whether the scopes that pay admit Gaussian charges without closing a pure route unasked.
    """

    epsilon: int | None
    rho: int | None
    delta: int
    mechanism: Literal["auto", "laplace", "gaussian"]
    gaussian: bool


@dataclass(frozen=True, slots=True)
class Bounds:
    """What requests and settings bound.

    Groups that one owner may reach, public groups of a release, width of integer domains, groups that are shown of a
    release, releases in all, rows that are read of public tables, how an owner is held to its part, up to how many
    declared rows that is done by the declaration unasked, whether who is held to less is counted, and the groups of
    earlier answers that private keys are held to.
    """

    max_groups_contributed: int | None
    public_groups: int
    integer_domain: int
    released_groups: int = 100_000
    releases: int = 16
    public_rows: int = 100_000
    bounding: clips.Wish = "auto"
    declared_rows: int = 1_000
    clipped_count: bool = False
    given: tuple[Given, ...] = ()


def choose(release: Release, dataset: Dataset, cost: Price, bounds: Bounds) -> PlannedRelease:
    """Return the planned release of least expected error, its SQL still empty, or refuse."""
    found = facts(release.source, dataset)
    stated = bounds.max_groups_contributed or dataset.max_groups_contributed
    holding = conditions(release.source)
    limits = (bounds.public_groups, bounds.integer_domain)
    keys, joint = keyed(release.keys, found.columns, holding, dataset, *limits)
    keys = tuple(replace(key, meaning=meaning(key.scalar, found.columns, release.source)) for key in keys)
    keys, joint = supplied(keys, joint, bounds.given)
    others = tuple((f"w{place}", scalar) for place, scalar in enumerate(release.within))
    dropping, _ = keyed(others, found.columns, holding, dataset, *limits)
    dropping = tuple(replace(key, meaning=meaning(key.scalar, found.columns, release.source)) for key in dropping)
    dropping, _ = supplied(dropping, (), bounds.given)
    within = tuple(key for key in dropping if key.values is not None and not key.complete)
    alone = apart(release, keys, found)
    if release.folded or alone:
        # One row in each group: an owner has no more rows than groups, of which folds are those that it may reach.
        held = stated if release.folded else None
        reached = (found.rows, held, count(keys, joint, bounds.public_groups))
        found = replace(found, rows=min((most for most in reached if most is not None), default=None))
    about = About(keys, within, found, holding, dataset, stated, *limits, joint)
    beside = parts(release, about)
    values, wanted, bounding = _wanted(plain(release), keys, joint, found, holding, dataset, bounds, alone=alone)
    private = any(key.values is None for key in keys)
    if private and cost.delta == 0:
        refuse("delta-missing")
    if not release.aggregates and not private:
        refuse("no-aggregate", hint="Ask for COUNT, SUM or AVG of each group.")
    if bounding.by == "r2t":
        cost = _racing(wanted, beside or keys, cost)
    where = _Where(private, wanted.reach, about.groups or PRIVATE_GROUPS, dataset.dialect, found.rows, bounding.by)
    if bounds.clipped_count and countable(bounding) and wanted.aggregates:
        bounding, where = replace(bounding, counted=True), replace(where, counted=True)
    candidates = _candidates(wanted, cost, beside, where)
    best = min(candidates, key=lambda candidate: candidate.score)
    planned = PlannedRelease(
        release=release,
        keys=keys,
        values=values,
        bounding=bounding,
        blocks=best.blocks,
        threshold=best.threshold,
        estimators=best.layout.estimators,
        sql="",
        tables=tables_read(release.source, dataset),
        loss=sum((block.loss for block in best.drawn), FREE if best.clip is None else best.clip.loss)
        + _threshold_loss(best.threshold),
        reason=_reason(best, candidates, bounding),
        clip=best.clip,
        clipped=best.clipped,
        within=within,
        joint=joint,
    )
    return joined(planned, best.parts)


@dataclass(frozen=True, slots=True)
class _Candidate:
    layout: Layout
    mechanism: Mechanism
    blocks: tuple[Block, ...]
    threshold: Threshold | None
    parts: tuple[Priced, ...]
    score: float
    clip: Clip | None
    clipped: Block | None

    @property
    def drawn(self) -> tuple[Block, ...]:
        """All vectors that are drawn, but those of parts."""
        return self.blocks if self.clipped is None else (*self.blocks, self.clipped)


@dataclass(frozen=True, slots=True)
class _Where:
    """What ways to release have in common: whether keys are private, groups of an owner, groups in all, rows of one.

    ``widest`` is the widest bound to look at where it is chosen privately.
    """

    private: bool
    reach: int
    groups: int
    dialect: Dialect
    rows: int | None
    by: Chooser | None = None
    widest: int | None = None
    counted: bool = False


def _values(release: Release, found: Facts) -> tuple[MeasuredValue, ...]:
    """Return the values that aggregates are over, each once, with its quantum where it is summed."""
    measured = {
        argument for _, a in release.aggregates if a.kind in ("sum", "average", *SPREAD) for argument in a.arguments
    }
    arguments = dict.fromkeys(argument for _, a in release.aggregates for argument in a.arguments)
    values = []
    for index, argument in enumerate(arguments):
        about, exact, whole = known(argument, found.columns), None, None
        if argument in measured:
            assert about.bounds is not None  # lowering refuses to sum what has none
            made = in_units(argument, about, found.columns)
            exact, whole = made or (quantum(about.kind, about.scale, *about.bounds), None)
        values.append(MeasuredValue(f"v{index}", argument, exact, whole))
    return tuple(values)


def _wanted(
    release: Release,
    keys: tuple[Key, ...],
    joint: tuple[Joint, ...],
    found: Facts,
    holding: tuple[Scalar, ...],
    dataset: Dataset,
    bounds: Bounds,
    *,
    alone: bool,
) -> tuple[tuple[MeasuredValue, ...], Wanted, Bounding]:
    one_row, rows = found.one_row, found.rows
    private = any(key.values is None for key in keys)
    public = count(keys, joint, bounds.public_groups)
    if not private and public is None:
        refuse("groups-too-many", hint=f"At most {bounds.public_groups} groups; group by fewer columns.")
    stated = bounds.max_groups_contributed or dataset.max_groups_contributed
    most = min(stated or (PRIVATE_GROUPS if private else public or 1), rows or MOST_ROWS, MOST_ROWS)
    reach = 1 if one_row else most if private else min(most, public or 1)
    counts_rows = any(aggregate.kind != "count_owners" for _, aggregate in release.aggregates)
    by = clips.wanted(found, bounds.bounding, bounds.declared_rows) if counts_rows and not one_row else None
    chosen = by is not None
    held = None if chosen else found.held
    values = _values(release, found)
    scalars = {value.name: value.scalar for value in values}
    wanted = Wanted(
        aggregates=release.aggregates,
        values={value.scalar: value.name for value in values},
        quanta={value.name: value.quantum for value in values if value.quantum is not None},
        present=lambda name: never_null(scalars[name], known(scalars[name], found.columns), holding),
        rows=1 if chosen or rows is None else held or rows,
        weighted=not one_row,  # of a copy too: in other units the noise would be another, and no stored answer stand
        one_row=one_row,
        reach=reach,
        threshold=private,
        chosen=chosen,
        apart=alone and not chosen and not one_row,
    )
    if one_row:
        return values, wanted, Bounding("one_row", None, None)
    capped = wanted.separate_owners and (private or reach < (public or 1))
    if wanted.chosen:
        return values, wanted, Bounding("chosen", None, reach if capped else None, by=by)
    if not wanted.separate_owners:
        return values, wanted, Bounding("weights", held or rows, None, held is not None)
    bounded = (held or rows) if counts_rows else None
    return values, wanted, Bounding("owners", bounded, reach if capped else None, held is not None)


def _candidates(wanted: Wanted, cost: Price, beside: tuple[Part, ...], where: _Where) -> list[_Candidate]:
    """Return every way to release that the price and the mechanism asked for allow."""
    ways: list[tuple[tuple[Layout, ...], Mechanism]] = []
    if not two_sided(wanted).vectors and all(isinstance(part, Quantiles) for part in beside):
        cost = replace(cost, mechanism="laplace")  # where all is selected, there is no noise to choose
    if cost.mechanism != "gaussian":
        ways += [(layouts, "laplace") for layouts in _layouts(wanted, where.dialect)]
    least = 2 if where.private else 1  # a threshold has half of it
    if cost.mechanism == "gaussian" or (cost.mechanism == "auto" and cost.gaussian and cost.delta >= least):
        if cost.delta < least:
            hint = "Gaussian noise needs a delta, and the policy's per_query.delta is 0 or next to it."
            refuse("mechanism-unavailable", hint=hint)
        ways.append(((shared(wanted),), "gaussian"))
    found: list[_Candidate] = []
    for layouts, mechanism in ways:
        for layout, widest in product(layouts, clips.WIDEST if wanted.chosen else (None,)):
            try:
                found.append(
                    _priced(layout, mechanism, cost, beside, replace(where, widest=_least(widest, where.rows)))
                )
                break
            except ScaleError:
                continue
    if not found:
        _no_scale()
    return found


def _least(widest: int | None, rows: int | None) -> int | None:
    return widest if widest is None or rows is None else min(widest, rows)


def _layouts(wanted: Wanted, dialect: Dialect) -> list[tuple[Layout, ...]]:
    """Return the layouts for Laplace noise; of each, a finer one first where there is any, which may cost too much.

    SQLite's 64 bits hold no products. Where a bound is chosen, a finer layout would leave fewer bounds to choose from.
    """
    if wanted.chosen or dialect == "sqlite":
        return [(two_sided(wanted),), (shared(wanted),)]
    found = [(two_sided(wanted, fine=True), two_sided(wanted)), (shared(wanted),)]
    found += [(two_sided(wanted, most, fine=True),) for most in (2, 3) if crossed(wanted, (), most)]
    return found


def _no_scale() -> NoReturn:
    refuse("scale-too-large", hint="Pay more, or ask an administrator for narrower bounds.")


def _priced(layout: Layout, mechanism: Mechanism, cost: Price, beside: tuple[Part, ...], where: _Where) -> _Candidate:
    delta = min(cost.delta, MOST_DELTA) if where.private else 0
    if mechanism == "laplace":
        total = cost.epsilon if cost.epsilon is not None else pure_of_rho(cost.rho or 0)
    else:
        delta //= 2
        conversion = cost.delta - delta
        total = cost.rho if cost.rho is not None else rho_of_epsilon(cost.epsilon or 0, conversion)
    clipped = counted(mechanism, total) if where.counted else None
    total -= total // PART if where.counted else 0
    searched = None
    if where.widest is not None and where.by is not None:
        groups = where.reach if where.private else where.groups
        looked_at = clips.candidates(layout, where.dialect, where.widest, mechanism, groups, where.by)
        worth, row = where.groups * len(layout.vectors), layout.vectors[0].l1
        searched = clips.searched(looked_at, mechanism, total, where.by, worth, row)
        total = searched.left
        layout = replace(layout, vectors=tuple(clips.bounded(each, searched.candidates) for each in layout.vectors))
    parts = weights(layout, mechanism, threshold=where.private)
    whole = sum(parts) + GRAIN * sum(part.weight for part in beside)
    shares = [total * part // whole for part in parts]
    share = total * GRAIN // whole
    if shares:
        shares[-1] = total - sum(shares[:-1]) - share * sum(part.weight for part in beside)
    priced = tuple(part.priced(share, "epsilon" if mechanism == "laplace" else "rho") for part in beside)
    clip = None if searched is None else _clip(searched, layout, mechanism, shares)
    owned = [None] * len(shares) if clip is None else clip.noises
    blocks = tuple(
        _block(vector, mechanism, part)
        if own is None or searched is None
        else clips.block(vector, own, mechanism, part, searched)
        for vector, part, own in zip(layout.vectors, shares, owned, strict=True)
    )
    noises = {m.name: block.noise for block in blocks for m in block.measures if isinstance(block.noise, Noise)}
    score = math.fsum(log_error(estimator, noises) for _, estimator in layout.estimators)
    score += math.fsum(part.score for part in priced)
    score += 0.0 if clip is None else clips.log_bias(clip, blocks, where.groups) * len(layout.estimators)
    if not where.private:
        return _Candidate(layout, mechanism, blocks, None, priced, score, clip, clipped)
    assert layout.owners is not None
    name, step = layout.owners
    base = threshold(noises[name], where.reach, delta)
    # What is counted over all groups is read beside each of them: it would go with the last group that is left out.
    # SQLite's exact sums leave as texts, which no condition compares as numbers.
    beside_groups = clip is not None or clipped is not None or where.dialect == "sqlite"
    least = 1 if beside_groups else _pre_threshold(beyond(base, step, 1), step)
    at = beyond(base, step, least)
    # A group below the threshold is lost whatever else is known of it, so that the threshold counts as an error.
    hidden = Threshold(name, at, delta, least)
    return _Candidate(layout, mechanism, blocks, hidden, priced, score + math.log(at / step), clip, clipped)


def _pre_threshold(at: int, step: int) -> int:
    """Return the pre-threshold for a threshold, in a measure to which each unit adds ``step``.

    Groups of one unit are left out in any case, since data with countless groups have those above all; beyond that one
    part in ``BEFOREHAND`` of the threshold, by which it rises.
    """
    return max(1, at // step // BEFOREHAND) * step + 1


def _clip(searched: clips.Searched, layout: Layout, mechanism: Mechanism, shares: list[int]) -> Clip:
    found = searched.candidates
    noises = (
        clips.noises(vector, mechanism, part, found, searched.search)
        for vector, part in zip(layout.vectors, shares, strict=True)
    )
    return Clip(found.norm, found.first, found.steps, found.unit, searched.search, searched.loss, tuple(noises))


def _block(vector: Vector, mechanism: Mechanism, share: int) -> Block:
    if max(measure.l1 for measure in vector.measures).bit_length() > MOST_BITS:
        raise ScaleError("bounds out of range")
    sensitivity = vector.l1 if mechanism == "laplace" else norm(vector.l2_squared)
    noise = calibrate(mechanism, sensitivity, share)
    loss = price(noise, vector.l1, norm(vector.l2_squared), vector.linf)
    return Block(vector.measures, vector.l1, vector.l2_squared, vector.linf, noise, loss)


def _threshold_loss(found: Threshold | None) -> Loss:
    return FREE if found is None else Loss(0, 0, found.delta)


def _reason(best: _Candidate, candidates: list[_Candidate], bounding: Bounding) -> str:
    how = {
        "one_row": "the database enforces one row a unit, so that nothing is clipped",
        "chosen": f"how much a unit counts for is chosen privately{_by(bounding)}, and weighted down to"
        + (f"; it reaches at most {bounding.groups} groups" if bounding.groups is not None else ""),
        "weights": f"the rows of a unit count for at most {bounding.rows} rows in all"
        + (", since the prepared copy holds no more" if bounding.held else ""),
        "owners": "a unit's rows are summed by group"
        + (f", count for at most {bounding.rows} rows in all" if bounding.rows is not None else "")
        + (f", and reach at most {bounding.groups} groups" if bounding.groups is not None else ""),
    }[bounding.how]
    among = f"least expected error among {len(candidates)} ways" if len(candidates) > 1 else "the only way open"
    return f"{best.mechanism} noise on {best.layout.name} measures ({among}{_split(best)}); {how}."


def _by(bounding: Bounding) -> str:
    return {"exponential": " by its expected error", "r2t": " by R2T"}.get(bounding.by or "", "")


def _racing(wanted: Wanted, beside: Sequence[object], cost: Price) -> Price:
    """Return the price of a race, or refuse one of what may be negative, or of more than a single number.

    Why a sum is never negative: the bounded SQL holds each value at or above its lower bound, which is not below zero.
    """
    aggregates = [aggregate for _, aggregate in wanted.aggregates]
    one = len(aggregates) == 1 and not beside and not wanted.separate_owners
    kinds = {aggregate.kind for aggregate in aggregates}
    low = any(quantum.lower < 0 for quantum in wanted.quanta.values())
    if not one or not kinds <= {"count_rows", "count", "sum"} or low or cost.mechanism == "gaussian":
        hint = "R2T is for one COUNT, or one SUM of what is never negative, without groups. Ask for above_threshold."
        refuse("bounding-unavailable", hint=hint)
    return replace(cost, mechanism="laplace")


def _split(best: _Candidate) -> str:
    """Say how the price is split among vectors, where there are several."""
    losses = [block.loss.epsilon or block.loss.rho for block in best.blocks]
    if len(losses) < 2:
        return ""
    parts = " : ".join(f"{100 * loss / sum(losses):.0f}" for loss in losses)
    return f", the price split {parts} among vectors so that the product of the errors is least"
