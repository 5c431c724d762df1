"""What each scope was granted and has spent, read from the derived rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, and_, bindparam, literal, or_, select, update

from budget import chain, schema
from budget.admission import fits
from budget.errors import Contended, NoGrant
from budget.scopes import CAP, of_analyst, of_project, paying
from budget.standing import Standing, columns, from_row
from mechanisms.loss import LIMIT, Loss, Mechanism

UNLIMITED = LIMIT
"""The number of queries that stands for no end: what costs nothing can be asked for ever."""


_scope, _member = schema.scope, schema.member

# Made once, as every charge needs them: see ``chain.py``.
_PAID_BY: Final = (
    select(_scope, _member.c.analyst.label("member"), _member.c.project)
    .select_from(
        _scope.outerjoin(
            _member,
            and_(
                _member.c.dataset == _scope.c.dataset,
                _scope.c.scope == literal(of_project("")) + _member.c.project,
                _member.c.analyst.in_(bindparam("analysts", expanding=True)),
            ),
        )
    )
    .where(
        _scope.c.dataset == bindparam("dataset"),
        or_(_scope.c.scope.in_(bindparam("scopes", expanding=True)), _member.c.analyst.is_not(None)),
    )
)
_READ: Final = select(_scope).where(
    _scope.c.dataset == bindparam("dataset"), _scope.c.scope.in_(bindparam("scopes", expanding=True))
)
_WRITE: Final = (
    update(_scope)
    .where(
        _scope.c.dataset == bindparam("of"),
        _scope.c.scope == bindparam("held"),
        _scope.c.seq == bindparam("before"),
    )
    .values({column.name: bindparam(column.name) for column in _scope.columns if column.name != "dataset"})
)


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
        """What the analyst's own scope has spent in its window, as people read it: min(Σε, the conversion of Σρ)."""
        return self.own.spent_as_read

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


def of(conn: Connection, dataset: str, analyst: str) -> Balance:
    """Return an analyst's balance on a dataset now; ``NoGrant`` where the analyst has no grant or the dataset no cap.

    A window that has begun shows as begun, though its renewal becomes a fact only with the next charge.
    """
    held = paid_by(conn, dataset, [analyst])
    at = chain.time(conn, dataset)
    scopes = paying(analyst, held.projects.get(analyst, ()))
    return Balance(dataset, analyst, tuple(held.standing(scope).as_of(at) for scope in scopes))


@dataclass(frozen=True, slots=True)
class Held:
    """Standings by scope, and the projects of each analyst."""

    standings: dict[str, Standing]
    projects: dict[str, list[str]]

    def standing(self, scope: str) -> Standing:
        """Return a scope's standing; ``NoGrant`` if it has none."""
        if scope not in self.standings:
            raise NoGrant(scope)
        return self.standings[scope]


def paid_by(conn: Connection, dataset: str, analysts: Sequence[str]) -> Held:
    """Return, in one statement, every scope that charges of these analysts fall under."""
    named = {"dataset": dataset, "analysts": list(analysts), "scopes": [CAP, *map(of_analyst, analysts)]}
    rows = conn.execute(_PAID_BY, named)
    held = Held({}, {})
    for row in rows:
        held.standings[row.scope] = from_row(row)
        if row.member is not None:
            held.projects.setdefault(row.member, []).append(row.project)
    return held


def read(conn: Connection, dataset: str, scopes: Sequence[str]) -> tuple[Standing, ...]:
    """Return the standings of those scopes in the order given; ``NoGrant`` names the first that has no row."""
    rows = conn.execute(_READ, {"dataset": dataset, "scopes": list(scopes)}).all()
    held = Held({row.scope: from_row(row) for row in rows}, {})
    return tuple(held.standing(scope) for scope in scopes)


def all_of(conn: Connection, dataset: str | None = None, analyst: str | None = None) -> list[tuple[str, Standing]]:
    """Return (dataset, standing now) of every scope, narrowed to a dataset or to one analyst's own scopes."""
    query = select(schema.scope).order_by(schema.scope.c.dataset, schema.scope.c.scope)
    if dataset is not None:
        query = query.where(schema.scope.c.dataset == dataset)
    if analyst is not None:
        query = query.where(schema.scope.c.scope == of_analyst(analyst))
    times: dict[str, int] = {}
    found = []
    for row in conn.execute(query).all():
        if row.dataset not in times:
            times[row.dataset] = chain.time(conn, row.dataset)
        found.append((row.dataset, from_row(row).as_of(times[row.dataset])))
    return found


def write(conn: Connection, dataset: str, changes: Sequence[tuple[Standing, Standing]]) -> None:
    """Replace derived rows, each given before and after; ``Contended`` if one is no longer what was read."""
    if not changes:
        return
    rows = [columns(after) | {"of": dataset, "held": old.scope, "before": old.seq} for old, after in changes]
    if conn.execute(_WRITE, rows).rowcount != len(rows):
        raise Contended("a balance moved on")


def how_many(balance: Balance, loss: Loss) -> int:
    """Return how many more queries like this one every scope would admit in its window; ``UNLIMITED`` if it is free.

    Thresholds and both routes of the filter count as they will when each is charged.
    """
    if loss == Loss(0, 0, 0):
        return UNLIMITED
    return min(_how_many(standing, loss) for standing in balance.standings)


def _how_many(standing: Standing, loss: Loss) -> int:
    """Return the greatest n such that n more losses fit; whatever fits n times fits every fewer times."""
    low, high = 0, 1
    while fits(standing, loss, high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(standing, loss, middle) else (low, middle)
    return low
