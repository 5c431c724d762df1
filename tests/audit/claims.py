"""What a plan claims to lose, against what samples prove."""

from __future__ import annotations

import math

from mechanisms.loss import DELTA_UNIT, EPSILON_UNIT, RHO_UNIT
from tests.audit import certify
from tests.audit.cases import Case
from tests.audit.certify import Certified, Criterion, Projections
from tests.audit.outputs import Neighbours


def epsilon(pair: Neighbours) -> float:
    """What is charged where the loss is pure, else the price that its rho was converted from."""
    pure = pair.plan.loss.epsilon
    return (pair.plan.price if pure is None else pure) / EPSILON_UNIT


def claimed_distance(pair: Neighbours) -> float:
    """What the price in rho allows of the distance between two worlds.

    Cuts through discrete noise of deviation s lie by a factor of up to 1 + 0.55/(12 s^2) (enumerated, s >= 1) further
    apart than those through continuous noise.
    """
    least = min(block.noise.scale for block in pair.planned.blocks)
    return math.sqrt(2 * pair.plan.loss.rho / RHO_UNIT) * (1 + 1 / (12 * least**2))


def breaches(pair: Neighbours, worlds: tuple[Projections, Projections]) -> list[str]:
    """Return every way in which the samples prove more loss than is claimed."""
    loss, price = pair.plan.loss, epsilon(pair)
    delta = (loss.delta + pair.plan.conversion_delta) / DELTA_UNIT
    claims: list[tuple[str, Criterion, float]] = [
        ("epsilon", certify.epsilon(delta), price),
        ("delta", certify.delta(price), delta),
    ]
    if loss.epsilon is None and pair.planned.threshold is None:
        claims.append(("distance", certify.distance, claimed_distance(pair)))
    found = [(name, certify.certify(*worlds, criterion), claim) for name, criterion, claim in claims]
    return [f"{name} is at least {proven}, {claim} is claimed" for name, proven, claim in found if proven.loss > claim]


def sharpness(case: Case, pair: Neighbours, worlds: tuple[Projections, Projections]) -> tuple[Certified, float]:
    """Return what is proven of the loss that a case is about, and its claim."""
    price = epsilon(pair)
    match case.sharp:
        case "epsilon":
            return certify.certify(*worlds, certify.epsilon(pair.plan.loss.delta / DELTA_UNIT)), price
        case "delta":
            return certify.certify(*worlds, certify.delta(price)), pair.plan.loss.delta / DELTA_UNIT
        case "distance":
            return certify.certify(*worlds, certify.distance), claimed_distance(pair)
