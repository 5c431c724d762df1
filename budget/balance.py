"""What each scope was granted and has spent, read from the derived rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Row, Select, and_, bindparam, literal, literal_column, or_, select, true

from budget import chain, schema
from budget.admission import fits
from budget.chain import Head
from budget.errors import NoGrant
from budget.scopes import CAP, of_analyst, of_project, paying
from budget.standing import Standing, from_row
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


def _locked(dialect: str) -> Select[Any]:
    """Return the statement that locks a chain and reads head, time and balances; the clock is read after the lock."""
    head, seen, paid = schema.head, schema.head.alias("seen"), _PAID_BY.subquery("paid")
    named = (head.c.seq.label("held_seq"), head.c.at.label("held_at"), head.c.hash.label("held_hash"))
    mine = select(*named).where(head.c.dataset == bindparam("dataset")).with_for_update()
    held = mine.cte("held").prefix_with("MATERIALIZED", dialect="postgresql")
    clock = literal_column(chain.TIME[dialect], BigInteger).label("now")
    return select(held, clock, seen.c.seq.label("seen_seq"), paid).select_from(
        held.join(seen, seen.c.dataset == bindparam("dataset")).outerjoin(paid, true())
    )


_LOCKED: Final[Mapping[str, Select[Any]]] = {dialect: _locked(dialect) for dialect in ("sqlite", "postgresql")}


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
    return _held(conn.execute(_PAID_BY, named))


def locked(conn: Connection, dataset: str, analysts: Sequence[str]) -> tuple[Head, int, Held] | None:
    """Lock a dataset's chain until the transaction ends, and return its head, the database's time then, and what
    ``paid_by`` returns; None where the dataset has no facts.

    On SQLite the transaction itself is the lock (it must have begun IMMEDIATE: gateway/store/engine.py); the
    conditions under which head and balances are written catch one that did not.

    Why one statement may lock and read: on PostgreSQL it reads from a snapshot that is older than a lock for which it
    waited. But whoever writes anything about the dataset moves its head; so if the head as locked is the head of the
    snapshot, nothing lies between the two. Otherwise everything is read again, under the lock.
    """
    named = {"dataset": dataset, "analysts": list(analysts), "scopes": [CAP, *map(of_analyst, analysts)]}
    statement = _LOCKED[conn.dialect.name]
    rows = conn.execute(statement, named).all()
    if rows and rows[0].seen_seq != rows[0].held_seq:
        rows = conn.execute(statement, named).all()
    if not rows:
        return None
    first = rows[0]
    head = Head(dataset, first.held_seq, first.held_at, bytes(first.held_hash))
    return head, int(first.now), _held(row for row in rows if row.scope is not None)


def _held(rows: Iterable[Row[Any]]) -> Held:
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


def how_many(balance: Balance, loss: Loss, price: int = 0) -> int:
    """Return how many more queries like this one every scope would admit in its window; ``UNLIMITED`` if it is free.

    Thresholds and both routes of the filter count as they will when each is charged, ``price`` (the epsilon that each
    states) against the highest price of one query. None while the analyst is suspended.
    """
    if loss == Loss(0, 0, 0):
        return UNLIMITED
    return 0 if balance.suspended else min(_how_many(standing, loss, price) for standing in balance.standings)


def _how_many(standing: Standing, loss: Loss, price: int) -> int:
    """Return the greatest n such that n more losses fit; whatever fits n times fits every fewer times."""
    supposed = _supposed(standing, loss)
    if fits(standing, loss, supposed, price) and not fits(standing, loss, supposed + 1, price):
        return supposed
    low, high = 0, 1
    while fits(standing, loss, high, price):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(standing, loss, middle, price) else (low, middle)
    return low


def _supposed(standing: Standing, loss: Loss) -> int:
    """Return how often a loss goes into what its sums leave: the greatest n, unless another rule stops earlier."""
    allowance, spent = standing.allowance, standing.spent
    by_rho = (allowance.rho - spent.rho) // loss.rho if loss.rho else UNLIMITED
    by_epsilon = (allowance.epsilon - spent.epsilon) // loss.epsilon if loss.epsilon and not spent.gaussian else 0
    by_delta = (allowance.release_delta - spent.delta) // loss.delta if loss.delta else UNLIMITED
    return max(0, min(max(by_rho, by_epsilon), by_delta))
