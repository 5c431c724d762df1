"""Concurrent charges of one process: committed together, each judged for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from budget import balance, group, ledger
from budget.errors import BudgetExhausted, CommitUnknown, KeyReused, LedgerError, NoGrant
from budget.verify import verify
from gateway.store import committer, migrate
from gateway.store.committer import Committer
from gateway.store.engine import control_engine
from tests.budget.ledgers import DEAD, EPSILON, grant_all, request


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A migrated control database, on each database in turn."""
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'control.sqlite'}" if sqlite else str(request.getfixturevalue("postgres_url"))
    engine = control_engine(url, create=True)
    migrate.upgrade(engine)
    yield engine
    engine.dispose()


def spent(engine: Engine, analyst: str = "ann") -> int:
    with engine.begin() as conn:
        assert verify(conn).ok, verify(conn)
        return balance.of(conn, "health", analyst).own.spent_epsilon


def test_many_threads_share_commits_and_spend_what_fits(engine: Engine) -> None:
    grant_all(engine, epsilon=300, cap=500, analysts=("ann", "bob"))
    shared = Committer(engine)
    commits: list[Connection] = []
    event.listen(engine, "commit", commits.append)

    def ask(n: int) -> int:
        try:
            return shared.charge(request(5, ("ann", "bob")[n % 2])).record.charge.price
        except BudgetExhausted as refusal:
            return 0 if refusal.remaining < 5 else 10**9

    with ThreadPoolExecutor(8) as pool:
        paid = list(pool.map(ask, range(160)))
    assert sum(paid) == 500
    assert spent(engine) + spent(engine, "bob") == 500
    assert len(commits) < 160


def test_each_of_a_group_is_judged_for_itself(engine: Engine) -> None:
    grant_all(engine, epsilon=3 * EPSILON, cap=4 * EPSILON, analysts=("ann", "bob"))
    asked = [
        request(2 * EPSILON, idempotency_key="k"),
        request(2 * EPSILON, idempotency_key="k"),
        request(2 * EPSILON, idempotency_key="k", body="other"),
        request(2 * EPSILON),
        request(EPSILON, "eve"),
        request(EPSILON, dataset="nowhere"),
        request(2 * EPSILON, "bob"),
        request(EPSILON, "bob"),
    ]
    with engine.begin() as conn:
        found = group.charge_all(conn, asked)
    first, again, reused, over, nobody, nowhere, fits, capped = found
    assert isinstance(first, ledger.Receipt)
    assert not first.replayed
    assert isinstance(again, ledger.Receipt)
    assert (again.replayed, again.record) == (True, first.record)
    assert isinstance(reused, KeyReused)
    assert isinstance(over, BudgetExhausted)
    assert over.scope == "analyst:ann"
    assert isinstance(nobody, NoGrant)
    assert isinstance(nowhere, NoGrant)
    assert isinstance(fits, ledger.Receipt)
    assert isinstance(capped, BudgetExhausted)
    assert capped.scope == "cap"
    assert (spent(engine), spent(engine, "bob")) == (2 * EPSILON, 2 * EPSILON)


def test_what_the_database_refuses_hurts_nobody_else(engine: Engine) -> None:
    grant_all(engine)
    taken = request(EPSILON)
    with engine.begin() as conn:
        ledger.charge(conn, taken)
        good, bad, better = group.charge_all(conn, [request(1), request(1, id=taken.id), request(1)])
    assert isinstance(good, ledger.Receipt)
    assert isinstance(better, ledger.Receipt)
    assert isinstance(bad, IntegrityError)
    assert spent(engine) == EPSILON + 2


def test_refusals_and_receipts_wait_for_the_commit(engine: Engine) -> None:
    """Whoever is told anything is told it after the charges of the group are durable."""
    grant_all(engine)
    shared, told, may_commit, committing = Committer(engine), [], Event(), Event()

    @event.listens_for(engine, "commit")
    def wait(_: Connection) -> None:
        committing.set()
        assert may_commit.wait(20)

    def ask(price: int) -> None:
        try:
            told.append(shared.charge(request(price)).record.charge.price)
        except BudgetExhausted:
            told.append(-1)

    threads = [Thread(target=ask, args=(price,)) for price in (EPSILON, 4 * EPSILON)]
    for thread in threads:
        thread.start()
        assert committing.wait(20)
    assert told == []
    may_commit.set()
    for thread in threads:
        thread.join(20)
    assert sorted(told) == [-1, EPSILON]


class _Broken(Exception):
    """What a driver raises when the connection goes away."""


def breaking(engine: Engine, monkeypatch: pytest.MonkeyPatch, *, before: bool) -> Callable[[], int]:
    """Make the next COMMIT fail before or after it takes effect."""
    from sqlalchemy.engine import RootTransaction

    commit, count = RootTransaction.commit, [0]

    def broken(transaction: RootTransaction) -> None:
        count[0] += 1
        if count[0] > 1:
            return commit(transaction)
        (transaction.rollback if before else lambda: commit(transaction))()
        raise OperationalError("COMMIT", {}, _Broken("the connection went away"))

    monkeypatch.setattr(RootTransaction, "commit", broken)
    return lambda: count[0]


@pytest.mark.parametrize("before", [True, False])
def test_a_commit_of_unknown_result_is_read_back(engine: Engine, monkeypatch: pytest.MonkeyPatch, before: bool) -> None:
    grant_all(engine)
    shared = Committer(engine)
    breaking(engine, monkeypatch, before=before)
    if before:
        with pytest.raises(DBAPIError):
            shared.charge(request())
    else:
        assert not shared.charge(request()).replayed
    assert spent(engine) == (0 if before else EPSILON)
    assert shared.charge(request(1)).record.charge.price == 1


def test_what_cannot_be_read_back_is_unknown(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    grant_all(engine)
    shared = Committer(engine)
    breaking(engine, monkeypatch, before=False)

    def gone(*_: Any) -> bool:
        raise OperationalError("SELECT", {}, _Broken("the database is gone"))

    monkeypatch.setattr(committer, "_stands", gone)
    asked = request(idempotency_key="k")
    with pytest.raises(CommitUnknown) as unknown:
        shared.charge(asked)
    assert isinstance(unknown.value, LedgerError)
    # The same key finds the charge that stands.
    assert shared.charge(request(idempotency_key="k", process=DEAD)).record.charge.id == asked.id


def test_a_group_that_fails_as_a_whole_charges_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    grant_all(engine)
    shared = Committer(engine)

    def fail(*_: Any) -> list[group.Verdict]:
        raise OperationalError("SELECT", {}, _Broken("locked"))

    monkeypatch.setattr(committer, "charge_all", fail)
    with pytest.raises(OperationalError):
        shared.charge(request())
    monkeypatch.undo()
    assert spent(engine) == 0
