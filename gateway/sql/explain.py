"""Explain a plan as the wire shows it: a function of the text, the policy and the price, never of data."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from fractions import Fraction
from importlib.metadata import version
from typing import Any

from gateway import wire
from gateway.policy.model import Value
from gateway.sql.above.feed import MOST_ROWS
from gateway.sql.algebra import feeds
from gateway.sql.planning import clips
from gateway.sql.planning.clips import column
from gateway.sql.planning.clips import columns as columns_of
from gateway.sql.planning.counted import COLUMN
from gateway.sql.planning.derived import form, is_derived, noises, terms
from gateway.sql.planning.errors import expected_error, note
from gateway.sql.planning.margins import families, means
from gateway.sql.planning.plan import Block, Linear, Mean, Moments, Picked, Plan, PlannedRelease
from gateway.sql.tables import OutputColumn
from gateway.sql.writing.post import post
from gateway.sql.writing.rows import parameter
from mechanisms.intervals import half_width
from mechanisms.least_error import LeastError
from mechanisms.loss import DELTA_UNIT, EPSILON_UNIT, RHO_UNIT
from mechanisms.noise import Noise, norm
from mechanisms.race import Race

OPENDP = version("opendp")


def explain(plan: Plan) -> wire.Plan:
    """Return the plan in the words of the HTTP interface."""
    return wire.Plan(
        id=plan.fingerprint,
        dialect=plan.dialect,
        releases=[_release(statement) for statement in plan.statements],
        columns=[_column(column, plan) for column in plan.query.columns],
        post=post(plan.query),
        notes=list(plan.notes),
    )


def _search_items(plan: Plan) -> list[wire.CostItem]:
    """Return what choosing the bounds of a plan's releases costs."""
    return [
        wire.CostItem(
            release=index,
            measures=["clip"],
            mechanism=clips.mechanism(statement.clip.search),
            scale=clips.scale(statement.clip.search),
            epsilon=None if statement.clip.loss.epsilon is None else statement.clip.loss.epsilon / EPSILON_UNIT,
            rho=statement.clip.loss.rho / RHO_UNIT,
            delta=0.0,
        )
        for index, statement in enumerate(plan.statements)
        if statement.clip is not None and not isinstance(statement.clip.search, Race)
    ]


def cost(plan: Plan) -> wire.Cost:
    """Return what running the plan costs, in all and vector by vector."""
    return wire.Cost(
        epsilon=plan.price / EPSILON_UNIT,
        rho=plan.loss.rho / RHO_UNIT,
        delta=(plan.loss.delta + plan.conversion_delta) / DELTA_UNIT,
        pure=plan.loss.epsilon is not None and plan.loss.delta == 0,
        items=_search_items(plan)
        + [
            wire.CostItem(
                release=index,
                measures=[measure.name for measure in block.measures],
                mechanism=block.noise.mechanism,
                scale=block.noise.scale,
                epsilon=None if block.loss.epsilon is None else block.loss.epsilon / EPSILON_UNIT,
                rho=block.loss.rho / RHO_UNIT,
                delta=0.0,
            )
            for index, statement in enumerate(plan.statements)
            for block in statement.drawn
        ],
    )


def nothing(paid: wire.Cost) -> wire.Cost:
    """Return the cost of an answer that was paid for before."""
    return wire.Cost(epsilon=0.0, rho=0.0, delta=0.0, pure=paid.pure, items=[])


def columns(plan: Plan) -> list[wire.Column]:
    """Return the columns of the answer."""
    return [wire.Column(name=column.name, type=column.type, role=column.role) for column in plan.query.columns]


def json_value(value: Value) -> wire.JsonValue:
    """Return a canonical value as JSON has it: dates as ISO text, fractions as numbers."""
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, date):
        return value.isoformat()
    return value


def _parameters(planned: PlannedRelease) -> dict[str, Any]:
    """Return the values that are released first, by the names that stand for them in the SQL, with their intervals.

    Of a table it is its columns, and how many rows of it are used at most.
    """
    found: dict[str, Any] = {}
    for fed in feeds(planned.release.source):
        intervals = [None if c.bounds is None else [float(bound) for bound in c.bounds] for c in fed.columns]
        if fed.single:
            found |= {f"{parameter(fed)}_{place}": interval for place, interval in enumerate(intervals)}
        else:
            found[parameter(fed)] = {"rows": MOST_ROWS, "columns": intervals}
    if planned.clip is not None:
        found["clip"] = {
            "of": planned.clip.norm,
            "candidates": [float(bound * planned.clip.unit) for bound in planned.clip.bounds],
            "level": planned.clip.search.level,
        }
    return found


def _blocks(planned: PlannedRelease) -> list[wire.PlanBlock]:
    """Return the vectors that are drawn; where a clip is chosen those of every candidate, of which one is drawn."""
    clip = planned.clip
    ways = [("", planned.blocks)]
    found = []
    if clip is not None:
        ways = [(str(place), planned.at(place).blocks) for place in range(len(clip.steps))]
    if clip is not None and not isinstance(clip.search, Race):
        found.append(
            wire.PlanBlock(
                l1=len(clip.steps),
                l2=_root(len(clip.steps)),
                mechanism=clips.mechanism(clip.search),
                scale=clips.scale(clip.search),
                measures=[f"c{place}" for place in range(len(clip.steps))],
            )
        )
    for place, blocks in ways:
        for number, block in enumerate(blocks):
            scaled = clip is not None and clip.noises[number] is not None
            if clip is not None and not scaled and place != "0":
                continue
            found.append(
                wire.PlanBlock(
                    l1=block.l1,
                    l2=_root(block.l2_squared),
                    mechanism=block.noise.mechanism,
                    scale=block.noise.scale,
                    measures=[column(m.name, int(place)) if scaled else m.name for m in block.measures],
                )
            )
    if planned.clipped is not None:
        noise = planned.clipped.noise
        name = (
            COLUMN if clip is None else "clipped"
        )  # of a bound that is chosen, one of the counts above the candidates
        found.append(wire.PlanBlock(l1=1, l2=1.0, mechanism=noise.mechanism, scale=noise.scale, measures=[name]))
    return found


def _measures(planned: PlannedRelease, blocks: Sequence[wire.PlanBlock]) -> list[wire.PlanMeasure]:
    """Return every integer of a statement; its error is known where its block's noise is added to it."""
    errors = {name: block for block in blocks if block.mechanism in ("laplace", "gaussian") for name in block.measures}
    noises = {name: Noise(block.mechanism, block.scale) for name, block in errors.items()}  # type: ignore[arg-type]
    return [
        wire.PlanMeasure(
            name=measure.name,
            kind=measure.kind,
            unit=float(measure.unit),
            l1=measure.l1,
            l2=_root(measure.l2_squared),
            linf=measure.linf,
            expected_error=None
            if measure.name not in noises
            else half_width([(float(measure.unit), noises[measure.name])], 0.95),
        )
        for measure in columns_of(planned)
    ]


def _release(planned: PlannedRelease) -> wire.PlanRelease:
    blocks = _blocks(planned)
    return wire.PlanRelease(
        sql=planned.sent,
        parameters=_parameters(planned),
        keys=[
            wire.PlanKey(
                name=key.label,
                domain="private" if key.values is None else "public",
                values=None if key.values is None else [json_value(value) for value in key.values],
            )
            for key in planned.keys
        ]
        + ([] if planned.histogram is None else [wire.PlanKey(name=planned.histogram.label, domain="public")]),
        blocks=blocks,
        measures=_measures(planned, blocks),
        threshold=_threshold(planned),
        delta=0.0 if planned.threshold is None else planned.threshold.delta / DELTA_UNIT,
        reason=planned.reason,
    )


def _threshold(planned: PlannedRelease) -> float | None:
    """Return the threshold as a number of units, whatever the integers of its measure."""
    if planned.threshold is None:
        return None
    measure = next(found for found in planned.measures if found.name == planned.threshold.measure)
    return float(planned.threshold.at * measure.unit)


def _root(squared: int) -> float:
    return float(norm(squared))


def _column(column: OutputColumn, plan: Plan) -> wire.PlanColumn:
    if column.role == "derived":
        return _derived(column, plan)
    if column.role != "noisy":
        return wire.PlanColumn(name=column.name, role=column.role, expected_error=None)
    errors = []
    adding = (*families(plan.releases), *means(plan.releases))
    summed = {one: (family, at) for family in adding for at, one in enumerate(family.members)}
    told: str | None = None
    ratios: list[tuple[float, Mean | Moments]] = []
    for place, name in column.sources:
        release = plan.releases[place]
        estimator = dict(release.estimators)[name]
        if isinstance(estimator, Picked):
            rank = f"with 95 % at most {estimator.rows:.3g} rows of the group lie between its bucket and the exact rank"
            return wire.PlanColumn(name=column.name, role="noisy", expected_error=None, note=rank)
        if release.clip is not None:
            return _chosen(column, release, estimator)
        if (place, name) in summed:
            family, at = summed[place, name]
            error = family.width(at, plan.releases, 0.95)
            told = "made to add up by least squares with what else is asked of the same rows"
        else:
            error = expected_error(estimator, release.noises)
        if isinstance(estimator, Linear):
            errors.append(error)
        else:
            ratios.append((error, estimator))
    if ratios:
        error, ratio = max(ratios, key=lambda found: found[0])
        return wire.PlanColumn(name=column.name, role="noisy", expected_error=None, note=note(ratio, error))
    return wire.PlanColumn(name=column.name, role="noisy", expected_error=max(errors, default=None), note=told)


def _derived(column: OutputColumn, plan: Plan) -> wire.PlanColumn:
    """Say what error to expect of what is computed: of weighted sums a number, of ratios by what they divide by."""
    found = form(plan.query, plan.releases, column) if is_derived(plan.query, column) else None
    if found is None:
        note = "computed from the noisy columns"
        return wire.PlanColumn(name=column.name, role="derived", expected_error=None, note=note)
    laws = noises(plan.releases)
    above, below = (
        half_width([(float(weight), laws[name]) for name, weight in terms(part, plan.releases)], 0.95)
        for part in (found.above, found.below)
    )
    if not found.divided:
        return wire.PlanColumn(name=column.name, role="derived", expected_error=above)
    told = f"within about ({above:.6g} + {below:.6g} times its size) / what it is divided by"
    if above == 0:
        told = f"within about {below:.6g} times its size / what it is divided by"
    return wire.PlanColumn(name=column.name, role="derived", expected_error=None, note=told)


def _chosen(column: OutputColumn, release: PlannedRelease, estimator: Linear | Mean | Moments) -> wire.PlanColumn:
    """Say what error to expect of a column whose bound is chosen first: it grows with the bound."""
    assert release.clip is not None
    ends = [expected_error(estimator, release.at(place).noises) for place in (0, len(release.clip.steps) - 1)]
    of = "" if isinstance(estimator, Linear) else ", over the rows of the group"
    if ends[0] == ends[1]:
        return wire.PlanColumn(name=column.name, role="noisy", expected_error=ends[0])
    if isinstance(release.clip.search, Race):
        told = (
            f"below the exact one by about {release.clip.search.level} times the bound that is told, as a rule by less"
        )
        return wire.PlanColumn(name=column.name, role="noisy", expected_error=None, note=told)
    least = float(release.clip.first * release.clip.unit)
    told = f"within {ends[0] / least:.6g} times the bound that is chosen{of}"
    return wire.PlanColumn(name=column.name, role="noisy", expected_error=None, note=told)


def _searched(planned: PlannedRelease) -> list[dict[str, object]]:
    """Return the search for a bound, where there was one: blocks are then those of the largest candidate."""
    if planned.clip is None or isinstance(planned.clip.search, Race):
        return []
    search = planned.clip.search
    hangs_on = {"sensitivity": search.sensitivity} if isinstance(search, LeastError) else {}
    return [
        {
            "mechanism": clips.mechanism(search),
            "scale": clips.scale(search).hex(),
            "candidates": search.candidates,
            "level": search.level,
            **hangs_on,
        }
    ]


def record(plan: Plan, labels: dict[str, str]) -> dict[str, object]:
    """Return what the ledger keeps of what ran, so that it can be accounted anew by tighter means later."""
    return {
        "labels": labels,
        "opendp": OPENDP,
        "releases": [
            {
                "threshold_delta": 0 if planned.threshold is None else planned.threshold.delta,
                "groups": planned.bounding.groups,
                "blocks": _searched(planned)
                + [
                    {
                        "mechanism": block.noise.mechanism,
                        "scale": block.noise.scale.hex(),
                        "l1": block.l1,
                        "l2_squared": block.l2_squared,
                        "linf": block.linf,
                        "measures": [measure.kind for measure in block.measures],
                        **_selected(planned, place),
                    }
                    for place, block in enumerate(_all_drawn(planned))
                ],
            }
            for planned in plan.statements
        ],
    }


def _all_drawn(planned: PlannedRelease) -> tuple[Block, ...]:
    """Return all vectors that are drawn: of a race those of every bound."""
    if planned.clip is None or not isinstance(planned.clip.search, Race):
        return planned.drawn
    raced = (block for place in range(len(planned.clip.steps)) for block in planned.at(place).blocks)
    return (*raced, *planned.drawn[len(planned.blocks) :])


def _selected(planned: PlannedRelease, place: int) -> dict[str, int]:
    """Return what a selection's price hangs on: the most that one unit changes any penalty."""
    if planned.histogram is None:
        return {}
    return {"sensitivity": planned.histogram.ranks[place].sensitivity(planned.blocks[place].l1)}
