"""What each scope was granted and has spent, read from the derived rows.

Exact integers throughout: epsilon in 1e-9, rho in 1e-12, delta in 1e-18.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, select, update

from budget import schema
from budget.errors import Contended, NoGrant
from budget.scopes import of_analyst, paying
from mechanisms.accounting import Allowance, Spent, remaining, spent_epsilon
from mechanisms.loss import Loss, Mechanism


@dataclass(frozen=True, slots=True)
class Standing:
    """One scope: what is allowed, whether Gaussian charges are, and what is spent.

    ``gaussians`` counts the Gaussian charges (a void one is taken back); ``seq`` is the fact that last changed it.
    """

    scope: str
    seq: int
    allowance: Allowance
    gaussian: bool
    spent_epsilon: int
    gaussians: int
    spent_rho: int
    spent_delta: int
    suspended: bool = False

    @property
    def spent(self) -> Spent:
        """The running sums as the accountant takes them."""
        return Spent(self.spent_epsilon, self.gaussians > 0, self.spent_rho, self.spent_delta)

    def adding(self, loss: Loss, seq: int, sign: Literal[1, -1] = 1) -> Standing:
        """Return the standing after the fact ``seq`` charged this loss, or took it back with a sign of -1."""
        return Standing(
            self.scope,
            seq,
            self.allowance,
            self.gaussian,
            self.spent_epsilon + sign * (loss.epsilon or 0),
            self.gaussians + sign * (loss.epsilon is None),
            self.spent_rho + sign * loss.rho,
            self.spent_delta + sign * loss.delta,
            self.suspended,
        )

    def remaining(self, mechanism: Mechanism, conversion_delta: int = 0) -> int:
        """Return the largest epsilon that one more charge may have (a Gaussian one: stated at ``conversion_delta``)."""
        if mechanism == "gaussian" and not self.gaussian:
            return 0
        return remaining(self.allowance, self.spent, mechanism, conversion_delta)

    @property
    def remaining_delta(self) -> int:
        """The delta left for thresholds: half of the grant's, since the other half is kept for the conversion."""
        return max(0, self.allowance.release_delta - self.spent_delta)


@dataclass(frozen=True, slots=True)
class Balance:
    """An analyst's standing on a dataset: every scope that a charge would fall under, in the order of locking."""

    dataset: str
    analyst: str
    standings: tuple[Standing, ...]

    @property
    def own(self) -> Standing:
        """The analyst's own scope."""
        return next(standing for standing in self.standings if standing.scope == of_analyst(self.analyst))

    @property
    def suspended(self) -> bool:
        """Whether an engine failure stands against the analyst here."""
        return self.own.suspended

    @property
    def spent_epsilon(self) -> int:
        """What the analyst's own scope has spent, as people read it: min(Σε, the conversion of Σρ)."""
        return spent_epsilon(self.own.allowance, self.own.spent)

    def remaining(self, mechanism: Mechanism, conversion_delta: int = 0) -> int:
        """Return the largest epsilon that one more charge may have in every scope."""
        return min(standing.remaining(mechanism, conversion_delta) for standing in self.standings)

    @property
    def remaining_delta(self) -> int:
        """The delta left for thresholds in every scope."""
        return min(standing.remaining_delta for standing in self.standings)

    @property
    def gaussian(self) -> bool:
        """Whether every scope admits Gaussian charges."""
        return all(standing.gaussian for standing in self.standings)

    @property
    def gaussian_used(self) -> bool:
        """Whether no scope would see its first Gaussian charge (its pure route is closed already)."""
        return all(standing.gaussians > 0 for standing in self.standings)


def standing(row: Row[Any]) -> Standing:
    """Read one derived row."""
    return Standing(
        row.scope,
        row.seq,
        Allowance(row.epsilon, row.delta),
        row.gaussian,
        row.spent_epsilon,
        row.spent_gaussian,
        row.spent_rho,
        row.spent_delta,
        row.suspended,
    )


def read(conn: Connection, dataset: str, scopes: Sequence[str]) -> tuple[Standing, ...]:
    """Return the standings of those scopes in the order given; ``NoGrant`` names the first that has no row."""
    rows = conn.execute(
        select(schema.scope).where(schema.scope.c.dataset == dataset, schema.scope.c.scope.in_(scopes))
    ).all()
    found = {row.scope: standing(row) for row in rows}
    for scope in scopes:
        if scope not in found:
            raise NoGrant(scope)
    return tuple(found[scope] for scope in scopes)


def of(conn: Connection, dataset: str, analyst: str) -> Balance:
    """Return an analyst's balance on a dataset; ``NoGrant`` where the analyst has no grant or the dataset no cap."""
    return Balance(dataset, analyst, read(conn, dataset, paying(analyst)))


def all_of(conn: Connection, dataset: str | None = None, analyst: str | None = None) -> list[tuple[str, Standing]]:
    """Return (dataset, standing) of every scope, narrowed to a dataset or to one analyst's own scopes."""
    query = select(schema.scope).order_by(schema.scope.c.dataset, schema.scope.c.scope)
    if dataset is not None:
        query = query.where(schema.scope.c.dataset == dataset)
    if analyst is not None:
        query = query.where(schema.scope.c.scope == of_analyst(analyst))
    return [(row.dataset, standing(row)) for row in conn.execute(query)]


def write(conn: Connection, dataset: str, before: Standing, after: Standing) -> None:
    """Replace a derived row by its next state; ``Contended`` if it is no longer what was read."""
    changed = conn.execute(
        update(schema.scope)
        .where(
            schema.scope.c.dataset == dataset, schema.scope.c.scope == before.scope, schema.scope.c.seq == before.seq
        )
        .values(**columns(after))
    )
    if changed.rowcount != 1:
        raise Contended("the balance moved on")


def columns(state: Standing) -> dict[str, Any]:
    """Return a standing as the columns of its derived row."""
    return {
        "scope": state.scope,
        "seq": state.seq,
        "epsilon": state.allowance.epsilon,
        "delta": state.allowance.delta,
        "gaussian": state.gaussian,
        "spent_epsilon": state.spent_epsilon,
        "spent_gaussian": state.gaussians,
        "spent_rho": state.spent_rho,
        "spent_delta": state.spent_delta,
        "suspended": state.suspended,
    }
