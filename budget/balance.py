"""What each scope was granted and has spent, read from the derived rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, TextClause, bindparam, select, text

from budget import chain, schema
from budget.admission import fits
from budget.chain import Head
from budget.errors import NoGrant
from budget.scopes import CAP, of_analyst, of_project, paying
from budget.standing import Standing, from_values
from mechanisms.loss import LIMIT, Loss, Mechanism

UNLIMITED = LIMIT
"""The number of queries that stands for no end: what costs nothing can be asked for ever."""


_HELD: Final = tuple(column.name for column in schema.scope.columns if column.name != "dataset")

_READ: Final = select(schema.scope).where(
    schema.scope.c.dataset == bindparam("dataset"), schema.scope.c.scope.in_(bindparam("scopes", expanding=True))
)


@dataclass(frozen=True, slots=True)
class _Words:
    """How a database says what the statements below need: JSON arrays, and the members of a list that is given."""

    array: str
    gather: str
    members: str
    first: str


_WORDS: Final[Mapping[str, _Words]] = {
    "sqlite": _Words("json_array", "json_group_array", "SELECT value FROM json_each(:{name})", "held AS"),
    "postgresql": _Words(
        "json_build_array", "json_agg", "SELECT unnest(CAST(:{name} AS text[]))", "held AS MATERIALIZED"
    ),
}


def _paid(words: _Words) -> str:
    """Return what reads the scopes that charges of analysts fall under, and who of them is in which project."""
    analysts, scopes = (words.members.format(name=name) for name in ("analysts", "scopes"))
    mine = f"FROM ledger_member m WHERE m.dataset = :dataset AND m.analyst IN ({analysts})"
    projects = f"SELECT '{of_project('')}' || m.project {mine}"
    values = ", ".join(f"s.{name}" for name in _HELD)
    return (
        f"(SELECT CAST({words.gather}({words.array}({values})) AS text) FROM ledger_scope s"  # noqa: S608 - our own
        f" WHERE s.dataset = :dataset AND s.scope IN ({scopes} UNION ALL {projects})) AS scopes,"
        f" (SELECT CAST({words.gather}({words.array}(m.analyst, m.project)) AS text) {mine}) AS members"
    )


def _locked(dialect: str) -> TextClause:
    """Return the statement that locks a chain and reads head, time and balances; the clock is read after the lock."""
    words, lock = _WORDS[dialect], " FOR UPDATE" if dialect == "postgresql" else ""
    return text(
        f"WITH {words.first} (SELECT seq, at, hash FROM ledger_head WHERE dataset = :dataset{lock})"  # noqa: S608
        f" SELECT held.seq, held.at, held.hash, {chain.TIME[dialect]} AS now, seen.seq AS seen, {_paid(words)}"
        " FROM held JOIN ledger_head seen ON seen.dataset = :dataset"
    )


def _paid_by(dialect: str) -> TextClause:
    """Return the statement that reads balances, and the time that the next fact would have (``chain.time``)."""
    last = "(SELECT at FROM ledger_head WHERE dataset = :dataset)"
    return text(f"SELECT {chain.TIME[dialect]} AS now, {last} AS last, {_paid(_WORDS[dialect])}")


# Made once, as every charge needs them, and each a single row of few columns: what SQLAlchemy and the driver do for
# every column of every row costs more than the reading.
_PAID_BY: Final = {dialect: _paid_by(dialect) for dialect in _WORDS}
_LOCKED: Final = {dialect: _locked(dialect) for dialect in _WORDS}


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
    held, at = _read_now(conn, dataset, [analyst])
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
    return _read_now(conn, dataset, analysts)[0]


def _read_now(conn: Connection, dataset: str, analysts: Sequence[str]) -> tuple[Held, int]:
    dialect = conn.dialect.name
    row = conn.execute(_PAID_BY[dialect], _asked(dialect, dataset, analysts)).one()
    return _held(row.scopes, row.members), max(int(row.now), int(row.last or 0))


def locked(conn: Connection, dataset: str, analysts: Sequence[str]) -> tuple[Head, int, Held] | None:
    """Lock a dataset's chain until the transaction ends, and return its head, the database's time then, and what
    ``paid_by`` returns; None where the dataset has no facts.

    On SQLite the transaction itself is the lock (it must have begun IMMEDIATE: gateway/store/engine.py); the
    conditions under which head and balances are written catch one that did not.

    Why one statement may lock and read: on PostgreSQL it reads from a snapshot that is older than a lock for which it
    waited. But whoever writes anything about the dataset moves its head; so if the head as locked is the head of the
    snapshot, nothing lies between the two. Otherwise everything is read again, under the lock.
    """
    dialect = conn.dialect.name
    statement, asked = _LOCKED[dialect], _asked(dialect, dataset, analysts)
    row = conn.execute(statement, asked).one_or_none()
    if row is not None and row.seen != row.seq:
        row = conn.execute(statement, asked).one_or_none()
    if row is None:
        return None
    head = Head(dataset, row.seq, row.at, bytes(row.hash))
    return head, int(row.now), _held(row.scopes, row.members)


def _asked(dialect: str, dataset: str, analysts: Sequence[str]) -> dict[str, Any]:
    lists = {"analysts": list(analysts), "scopes": [CAP, *map(of_analyst, analysts)]}
    if dialect == "sqlite":  # it has no lists
        return {"dataset": dataset, **{name: json.dumps(each) for name, each in lists.items()}}
    return {"dataset": dataset, **lists}


def _held(scopes: str | None, members: str | None) -> Held:
    """Read JSON as a database wrote it: integers are exact in it, whatever their size."""
    standings = [from_values(values) for values in json.loads(scopes or "[]")]
    projects: dict[str, list[str]] = {}
    for analyst, project in json.loads(members or "[]"):
        projects.setdefault(analyst, []).append(project)
    return Held({standing.scope: standing for standing in standings}, projects)


def read(conn: Connection, dataset: str, scopes: Sequence[str]) -> tuple[Standing, ...]:
    """Return the standings of those scopes in the order given; ``NoGrant`` names the first that has no row."""
    rows = conn.execute(_READ, {"dataset": dataset, "scopes": list(scopes)}).all()
    held = Held({row.scope: from_values(row[1:]) for row in rows}, {})
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
        found.append((row.dataset, from_values(row[1:]).as_of(times[row.dataset])))
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
