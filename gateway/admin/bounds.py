"""Bounds that an admin buys: estimated privately, charged to the cap as public loss, and noted in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway import wire
from gateway.admin import histograms, publication
from gateway.admin.histograms import Bound
from gateway.errors import RequestInvalid
from gateway.policy.model import Dataset
from gateway.service import Service
from gateway.sql.planning.plan import Plan
from mechanisms.loss import EPSILON_UNIT


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated bounds, what they cost, and the number of units without which no end of a bound is placed.

    ``query_id`` is None, and ``bounds`` are empty, where only the price was asked for.
    """

    query_id: str | None
    epsilon: float
    least_units: int
    bounds: tuple[Bound, ...]
    bought: str


def estimate_bounds(
    service: Service,
    dataset: str,
    names: Sequence[str],
    epsilon: float,
    *,
    actor: str,
    key: str,
    dry_run: bool = False,
) -> Estimate:
    """Buy bounds of columns (``table.column``), and of the rows an owner of their tables, for ``epsilon`` in all.

    Raises ``RequestInvalid`` for what has no bounds to find, and what any question raises.
    """

    def asked(found: Dataset) -> wire.QueryRequest:
        text = histograms.question(histograms.parts(found, names))
        return wire.QueryRequest(sql=text, dataset=found.name, epsilon=epsilon, mechanism="laplace", dialect="duckdb")

    found, plan, _ = publication.planned(service, dataset, asked)
    parts = histograms.parts(found, names)
    if histograms.rows(parts) > service.settings.released_groups:
        raise RequestInvalid("request-invalid", "The setting released_groups admits fewer groups; name fewer columns.")
    bought = histograms.told(parts)
    least = histograms.threshold(parts, _scale(plan))
    if dry_run:
        return Estimate(None, plan.price / EPSILON_UNIT, least, (), bought)
    paid = publication.publish(service, dataset, actor, asked, bought, key)
    parts = histograms.parts(paid.dataset, names)
    least = histograms.threshold(parts, _scale(paid.plan))
    return Estimate(
        paid.query_id, paid.plan.price / EPSILON_UNIT, least, histograms.read(parts, paid.rows, least), bought
    )


def _scale(plan: Plan) -> float:
    return max(block.noise.scale for release in plan.releases for block in release.blocks)
