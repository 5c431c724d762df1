"""Concurrent charges of one process: committed together, each judged for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from budget import balance, group, ledger, records
from budget.errors import BudgetExhausted, CommitUnknown, KeyReused, LedgerError, NoGrant, UnknownCharge
from budget.ledger import OutcomeRequest
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
        found = group.do_all(conn, asked)
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
        good, bad, better = group.do_all(conn, [request(1), request(1, id=taken.id), request(1)])
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


def outcome(charge: str, payload: bytes = b"rows", **fields: Any) -> OutcomeRequest:
    given: dict[str, Any] = {"dataset": "health", "analyst": "ann", "status": "answered"}
    return OutcomeRequest(charge=charge, payload=payload, **(given | fields))


def test_outcomes_are_committed_together_with_charges(engine: Engine) -> None:
    grant_all(engine, epsilon=100 * EPSILON, cap=100 * EPSILON)
    shared = Committer(engine)
    commits: list[Connection] = []
    event.listen(engine, "commit", commits.append)

    def ask(n: int) -> bool:
        charge = shared.charge(request(1, idempotency_key=f"k{n}")).record.charge
        return shared.settle(outcome(charge.id, charge.id.encode())).won

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(80)))
    assert len(commits) < 160
    assert spent(engine) == 80
    with engine.begin() as conn:
        facts = records.of_analyst_on(conn, "ann")
        assert len(facts) == 80
        assert all(each.outcome is not None and each.outcome.payload == each.charge.id.encode() for each in facts)


def test_a_group_settles_each_charge_once(engine: Engine) -> None:
    """In one transaction: a key that is taken, two outcomes of one charge, a stranger's charge."""
    grant_all(engine, analysts=("ann", "bob"))
    with engine.begin() as conn:
        first = ledger.charge(conn, request(1, idempotency_key="k")).record.charge
        second = ledger.charge(conn, request(2)).record.charge
    with engine.begin() as conn:
        won, lost, other, again, stranger, nobody = group.do_all(
            conn,
            [
                outcome(first.id, b"one"),
                outcome(first.id, b"two"),
                outcome(second.id, status="failed", payload=b""),
                request(1, idempotency_key="k"),
                outcome(second.id, analyst="bob"),
                outcome("f" * 32),
            ],
        )
    assert isinstance(won, ledger.Settlement)
    assert isinstance(lost, ledger.Settlement)
    assert isinstance(other, ledger.Settlement)
    assert (won.won, lost.won, other.won) == (True, False, True)
    assert lost.outcome == won.outcome
    assert isinstance(again, ledger.Receipt)
    assert (again.replayed, again.record.charge.id) == (True, first.id)
    assert isinstance(stranger, UnknownCharge)
    assert isinstance(nobody, UnknownCharge)
    assert spent(engine) == 3


@pytest.mark.parametrize("before", [True, False])
def test_an_outcome_whose_commit_is_unknown_is_read_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    grant_all(engine)
    shared = Committer(engine)
    charge = shared.charge(request()).record.charge.id
    breaking(engine, monkeypatch, before=before)
    if before:
        with pytest.raises(DBAPIError):
            shared.settle(outcome(charge, b"lost"))
        assert shared.settle(outcome(charge, b"drawn again")).won
    else:
        assert shared.settle(outcome(charge, b"kept")).won
        assert shared.settle(outcome(charge, b"drawn again")).outcome.payload == b"kept"


def test_another_s_outcome_is_not_taken_for_one_s_own(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit failed, and before it was read back somebody else settled the charge."""
    grant_all(engine)
    shared = Committer(engine)
    charge = shared.charge(request()).record.charge.id
    breaking(engine, monkeypatch, before=True)
    stands = committer._stands

    def late(conn: Connection, act: group.Act, verdict: group.Verdict) -> bool:
        ledger.settle(conn, charge, "answered", b"another's")
        return stands(conn, act, verdict)

    monkeypatch.setattr(committer, "_stands", late)
    with pytest.raises(DBAPIError):
        shared.settle(outcome(charge, b"mine"))
    with engine.begin() as conn:
        found = records.get(conn, charge).outcome
        assert found is not None
        assert found.payload == b"another's"


class _Interrupt(BaseException):
    """What a signal raises in the thread that it meets."""


def test_an_interrupted_leader_leaves_the_lead_to_others(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    grant_all(engine)
    shared, entered, go = Committer(engine), Event(), Event()
    done: list[object] = []

    def interrupted(*_: Any) -> list[group.Verdict]:
        entered.set()
        assert go.wait(20)
        raise _Interrupt

    def ask(price: int) -> None:
        try:
            done.append(shared.charge(request(price)).record.charge.price)
        except BaseException as error:
            done.append(type(error))

    monkeypatch.setattr(committer, "_committed", interrupted)
    threads = [Thread(target=ask, args=(price,)) for price in (1, 2, 3)]
    threads[0].start()
    assert entered.wait(20)
    for thread in threads[1:]:
        thread.start()
    while len(shared._queue) < 2:
        pass
    monkeypatch.undo()
    go.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert set(done) == {_Interrupt, 2, 3}
    assert spent(engine) == 5


def test_one_who_is_interrupted_while_waiting_is_not_waited_for(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Called to lead at the very moment of the interruption, and not called at all: the next one leads."""
    grant_all(engine)
    shared = Committer(engine)
    for leads in (True, False):
        shared._led = True
        broken = partial(committer._Waiting, called=_Broke(shared, leads=leads))
        monkeypatch.setattr(committer, "_Waiting", broken)
        with pytest.raises(_Interrupt):
            shared.charge(request(1))
        monkeypatch.undo()
        assert not shared._queue
        assert shared._led != leads
    shared._led = False
    assert shared.charge(request(2)).record.charge.price == 2
    assert spent(engine) == 2


class _Broke(Event):
    """An event whose waiting is interrupted, perhaps just after the waiter was called to lead."""

    def __init__(self, shared: Committer, *, leads: bool) -> None:
        super().__init__()
        self.shared, self.leads = shared, leads

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is None
        if self.leads:
            with self.shared._lock:
                self.shared._hand_over()
        raise _Interrupt


def test_a_group_that_fails_as_a_whole_charges_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    grant_all(engine)
    shared = Committer(engine)

    def fail(*_: Any) -> list[group.Verdict]:
        raise OperationalError("SELECT", {}, _Broken("locked"))

    monkeypatch.setattr(committer, "do_all", fail)
    with pytest.raises(OperationalError):
        shared.charge(request())
    monkeypatch.undo()
    assert spent(engine) == 0
