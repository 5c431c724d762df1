"""The offline report: what each scope has spent in all, accounted anew from the charges as they were recorded.

Two questions that the ledger's own sums do not answer. What would tighter accounting say (``mechanisms/pld.py``)? And
does what ran, as each charge recorded it, cost at most what was charged? Neither changes what is admitted.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, select

from budget import schema
from budget.balance import all_of
from budget.records import scopes_from
from mechanisms.accounting import rho_of_laplace, rho_of_pure
from mechanisms.loss import EPSILON_UNIT, FREE, Loss, epsilon_units, rho_units
from mechanisms.pld import composed_epsilon, continuous_epsilon


@dataclass(frozen=True, slots=True)
class Account:
    """One scope's whole life: the ledger's figures, and the tighter one; epsilons as floats, for reading.

    ``spent`` is the ledger's own figure, min(Σε, the conversion of Σρ), and ``tighter`` a smaller one that the same
    charges have at the same delta as surely. ``continuous`` is what other accountants would say, who take Gaussian
    noise for continuous: no bound; None where there is no such noise. ``understated`` counts charges whose record says
    more than they cost (none, unless the ledger was written by something else), ``unread`` those whose record this
    program cannot read.
    """

    dataset: str
    scope: str
    charges: int
    spent: float
    tighter: float
    delta: int
    continuous: float | None
    understated: int
    unread: int


@dataclass(slots=True)
class _Sums:
    pure: Counter[int] = field(default_factory=Counter)
    gaussian_rho: int = 0
    gaussians: int = 0
    delta: int = 0
    understated: int = 0
    unread: int = 0


def report(conn: Connection, dataset: str | None = None) -> list[Account]:
    """Account every scope anew; ``AccountingMissing`` without the extra ``discreet[accounting]``.

    What was taken back is left out: nothing of it was released.
    """
    found = []
    sums: dict[str, dict[str, _Sums]] = {}
    for name, standing in all_of(conn, dataset):
        if name not in sums:
            sums[name] = _summed(conn, name)
        mine = sums[name].get(standing.scope, _Sums())
        conversion = standing.allowance.conversion_delta
        tighter = composed_epsilon(mine.pure, mine.gaussian_rho, conversion)
        continuous = None
        if mine.gaussian_rho and conversion:
            figure = continuous_epsilon(mine.pure, mine.gaussian_rho, conversion)
            continuous = figure if math.isfinite(figure) else None
        spent = standing.life_as_read / EPSILON_UNIT
        charges = mine.pure.total() + mine.gaussians
        found.append(
            Account(
                dataset=name,
                scope=standing.scope,
                charges=charges,
                spent=spent,
                tighter=min(spent, tighter),
                delta=conversion + mine.delta,
                continuous=continuous,
                understated=mine.understated,
                unread=mine.unread,
            )
        )
    return found


def _summed(conn: Connection, dataset: str) -> dict[str, _Sums]:
    charge, outcome = schema.charge.c, schema.outcome.c
    query = (
        select(charge.scopes, charge.epsilon, charge.rho, charge.delta, charge.mechanism)
        .select_from(schema.charge.outerjoin(schema.outcome, outcome.charge == charge.id))
        .where(charge.dataset == dataset, outcome.status.is_(None) | (outcome.status != "void"))
    )
    found: dict[str, _Sums] = {}
    for scopes, epsilon, rho, delta, mechanism in conn.execute(query):
        ran = recorded(mechanism)
        for scope in _scopes(scopes):
            sums = found.setdefault(scope, _Sums())
            if epsilon is None:
                sums.gaussians += 1
                sums.gaussian_rho += rho
            else:
                sums.pure[epsilon] += 1
            sums.delta += delta
            sums.unread += ran is None
            sums.understated += ran is not None and not ran.within(epsilon, rho, delta)
    return found


@dataclass(frozen=True, slots=True)
class Ran:
    """The least that what ran costs, by its record, block by block in the ledger's units; ``epsilon`` is None where
    Gaussian noise is among it, ``delta`` is that of its thresholds.
    """

    epsilon: int | None
    rho: int
    delta: int

    def within(self, epsilon: int | None, rho: int, delta: int) -> bool:
        """Return whether it cost at most so much."""
        if self.delta > delta or self.rho > rho:
            return False
        return epsilon is None or (self.epsilon is not None and self.epsilon <= epsilon)


_RELEASE: Final = {"threshold_delta", "groups", "blocks"}


@lru_cache(maxsize=4096)
def recorded(mechanism: str) -> Ran | None:
    """Read a charge's record; None where it names something that this program does not know."""
    whole = FREE
    try:
        for release in json.loads(mechanism)["releases"]:
            if not release.keys() <= _RELEASE:
                return None
            whole += Loss(0, 0, int(release["threshold_delta"]))
            for block in release["blocks"]:
                whole += _of_block(block)
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return Ran(whole.epsilon, whole.rho, whole.delta)


def _of_block(block: Mapping[str, Any]) -> Loss:
    """Return what one block's noise costs, from its scale and sensitivities alone; ``KeyError`` if it is not known."""
    scale = Fraction(float.fromhex(block["scale"]))
    match block["mechanism"]:
        case "laplace":
            epsilon = epsilon_units(Fraction(block["l1"]) / scale, "up")
            return Loss(epsilon, rho_of_laplace(epsilon, block["l1"], block["linf"]))
        case "gaussian":
            return Loss(None, rho_units(Fraction(block["l2_squared"]) / (2 * scale * scale), "up"))
        case "exponential":
            exact = Fraction(2 * block["sensitivity"]) / scale
            epsilon = epsilon_units(exact, "up")
            return Loss(epsilon, min(rho_of_pure(epsilon), rho_units(exact * exact / 8, "up")))
        case "above_threshold":
            epsilon = 2 * epsilon_units(1 / scale, "up")
            return Loss(epsilon, rho_of_pure(epsilon))
        case _:
            raise KeyError(block["mechanism"])


_scopes = lru_cache(maxsize=65_536)(scopes_from)
