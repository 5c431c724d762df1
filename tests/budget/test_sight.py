"""Charges in one statement: admitted by what stands, whatever moved since it was seen, or judged under the lock."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DataError, OperationalError

from budget import balance, grants, ledger, records, sight, suspensions
from budget.errors import BudgetExhausted, CommitUnknown, GrantPaused, KeyReused, LedgerError, Suspended
from budget.grants import Grant
from budget.ledger import ChargeRequest, Receipt
from budget.sight import Sight
from budget.standing import Totals
from budget.verify import verify
from gateway.store import migrate
from gateway.store.committer import Committer
from gateway.store.engine import control_engine
from tests.budget.ledgers import ALIVE, EPSILON, answer, grant_all, request


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    engine = control_engine(postgres_url)
    migrate.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def statements(engine: Engine) -> list[str]:
    """Every statement that is executed, in order."""
    found: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    return found


def at_once(statements: list[str]) -> bool:
    """Whether the last charge was one statement; what was noted is forgotten."""
    one = len(statements) == 1 and "now AS MATERIALIZED" in statements[0]
    statements.clear()
    return one


def seeing(engine: Engine, statements: list[str], **fields: Any) -> Committer:
    """A committer that has the dataset in sight: it wrote the last two facts."""
    shared = Committer(engine)
    for _ in range(2):
        shared.charge(request(1, **fields))
    statements.clear()
    return shared


def sound(engine: Engine, spent: int, analyst: str = "ann") -> None:
    with engine.begin() as conn:
        report = verify(conn)
        assert report.ok, report
        assert balance.of(conn, "health", analyst).own.spent_epsilon == spent


def test_a_charge_is_one_statement_and_the_same_as_any(engine: Engine, statements: list[str]) -> None:
    grant_all(engine, epsilon=4 * EPSILON, analysts=("ann", "bob"))
    with engine.begin() as conn:
        grants.set_project(conn, "health", "study", Grant(3 * EPSILON, expires=2 * 10**15), actor="root")
        grants.join(conn, "health", "study", "ann", actor="root")
    shared = seeing(engine, statements)
    asked = request(EPSILON, idempotency_key="k")
    receipt = shared.charge(asked)
    assert at_once(statements)
    assert not receipt.replayed
    with engine.begin() as conn:
        assert receipt.record.charge == records.get(conn, asked.id).charge
        assert [each.spent_epsilon for each in receipt.balance.standings] == [EPSILON + 2] * 3
        assert receipt.balance.standings == tuple(
            each.as_of(receipt.record.charge.at) for each in balance.of(conn, "health", "ann").standings
        )
    sound(engine, EPSILON + 2)
    statements.clear()
    assert shared.settle(answer(asked.id)).won
    statements.clear()
    shared.charge(request(1))  # what this process settled itself is in sight as well
    assert at_once(statements)
    shared.charge(request(1, "bob"))  # nobody has looked at bob yet
    assert not at_once(statements)
    for analyst in ("bob", "ann"):
        shared.charge(request(1, analyst))
        assert at_once(statements)
    sound(engine, EPSILON + 4)
    sound(engine, 2, "bob")


def lower(conn: Connection) -> None:
    grants.set_grant(conn, "health", "ann", Grant(EPSILON), actor="root")


def lower_cap(conn: Connection) -> None:
    grants.set_cap(conn, "health", Grant(EPSILON), actor="root")


def pause(conn: Connection) -> None:
    grants.suspend(conn, "health", "cap", actor="root")


def fail(conn: Connection) -> None:
    suspensions.suspend(conn, "health", "ann", actor="gateway")


def join(conn: Connection) -> None:
    grants.set_project(conn, "health", "study", Grant(EPSILON), actor="root")
    grants.join(conn, "health", "study", "ann", actor="root")


def spend(conn: Connection) -> None:
    ledger.charge(conn, request(2 * EPSILON))


@pytest.mark.parametrize(
    ("act", "due"),
    [
        (lower, BudgetExhausted),
        (lower_cap, BudgetExhausted),
        (pause, GrantPaused),
        (fail, Suspended),
        (join, BudgetExhausted),
        (spend, BudgetExhausted),
    ],
)
def test_what_moved_meanwhile_counts(
    engine: Engine, statements: list[str], act: Callable[[Connection], None], due: type[LedgerError]
) -> None:
    grant_all(engine)
    shared = seeing(engine, statements)
    with engine.begin() as conn:
        act(conn)
    with pytest.raises(due):
        shared.charge(request(2 * EPSILON))
    with engine.begin() as conn:
        assert verify(conn).ok


def test_what_does_not_fit_is_refused_by_what_stands(engine: Engine, statements: list[str]) -> None:
    """A refusal is never by sight: what was seen may be older than a grant that was raised."""
    grant_all(engine)
    shared = seeing(engine, statements)
    with pytest.raises(BudgetExhausted):
        shared.charge(request(4 * EPSILON))
    with engine.begin() as conn:
        grants.set_grant(conn, "health", "ann", Grant(5 * EPSILON), actor="root")
    assert not shared.charge(request(4 * EPSILON)).replayed
    sound(engine, 4 * EPSILON + 2)


@pytest.mark.parametrize("ended", ["window", "grant"])
def test_the_time_is_the_statement_s(engine: Engine, statements: list[str], ended: str) -> None:
    """What was in force when it was seen, and is over when it is charged: nothing is written."""
    grant_all(engine, window="daily", timezone="UTC")
    seen, conn = in_sight(engine, seeing(engine, statements))
    own = seen.standings["analyst:ann"]
    assert own.span is not None
    if ended == "window":
        over = replace(own, span=(own.span[0], seen.head.at + 1))
    else:
        over = replace(own, grant=replace(own.grant, expires=seen.head.at + 1))
    with conn:
        assert replace(seen, standings={**seen.standings, own.scope: over}).charge(conn, request(1)) is None
        assert at_once(statements), "it was tried"
        assert seen.charge(conn, request(1)) is not None
    sound(engine, 3)


def in_sight(engine: Engine, shared: Committer) -> tuple[Sight, Connection]:
    """What a committer sees, and a connection that commits each statement."""
    assert shared._swift is not None
    seen = shared._swift.sights.of("health")
    assert seen is not None
    return seen, shared._swift.engine.connect()


def test_a_key_that_is_taken_is_the_charge_that_took_it(engine: Engine, statements: list[str]) -> None:
    grant_all(engine)
    shared = seeing(engine, statements)
    first = shared.charge(request(1, idempotency_key="k"))
    assert at_once(statements)
    again = shared.charge(request(1, idempotency_key="k"))
    assert (again.replayed, again.record) == (True, first.record)
    shared.charge(request(1))
    with pytest.raises(KeyReused):
        shared.charge(request(1, idempotency_key="k", body="other"))
    with engine.begin() as conn:
        ledger.void(conn, first.record.charge.id, process=ALIVE, reason="nothing ran")
    for _ in range(2):
        shared.charge(request(1))
    third = shared.charge(request(1, idempotency_key="k"))
    assert (third.replayed, third.record.charge.key_use) == (False, 2)
    sound(engine, 6)


def test_a_balance_that_is_not_what_was_seen_undoes_the_statement(engine: Engine, statements: list[str]) -> None:
    """The head has moved in the statement by then: it ends by an error, and all of it is undone."""
    grant_all(engine)
    seen, by_itself = in_sight(engine, seeing(engine, statements))
    with engine.begin() as conn:
        conn.execute(text("UPDATE ledger_scope SET seq = seq - 1 WHERE scope = 'cap'"))
    with by_itself, pytest.raises(DataError):
        seen.charge(by_itself, request(1))
    with engine.begin() as conn:
        conn.execute(text("UPDATE ledger_scope SET seq = seq + 1 WHERE scope = 'cap'"))
    sound(engine, 2)


class _Broken(Exception):
    """What a driver raises when the connection goes away."""


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("gone", [True, False])
def test_a_statement_of_unknown_result_is_read_back(
    engine: Engine, statements: list[str], monkeypatch: pytest.MonkeyPatch, after: bool, gone: bool
) -> None:
    grant_all(engine)
    shared = seeing(engine, statements)
    charge = Sight.charge

    def broken(seen: Sight, conn: Connection, asked: ChargeRequest) -> object:
        if after:
            charge(seen, conn, asked)
        if gone:
            monkeypatch.setattr(records, "find", lost)
        raise OperationalError("WITH", {}, _Broken("the connection went away"))

    def lost(*_: Any) -> None:
        raise OperationalError("SELECT", {}, _Broken("the database is gone"))

    monkeypatch.setattr(sight.Sight, "charge", broken)
    asked = request(EPSILON)
    if gone:
        with pytest.raises(CommitUnknown):
            shared.charge(asked)
    else:
        receipt = shared.charge(asked)
        assert (receipt.replayed, receipt.record.charge.id) == (False, asked.id)
        assert receipt.balance.own.spent_epsilon == EPSILON + 2
    monkeypatch.undo()
    sound(engine, 2 + (0 if gone and not after else EPSILON))
    assert not shared.charge(request(1)).replayed


Shown = tuple[bool, tuple[str, ...], list[Totals]]


def shown(receipt: Receipt) -> Shown:
    return receipt.replayed, receipt.record.charge.scopes, [each.totals for each in receipt.balance.standings]


def tried(engine: Engine, asked: ChargeRequest) -> type[LedgerError] | Shown:
    """What a charge under the lock would be told, taken back again."""
    with engine.connect() as conn, conn.begin() as transaction:
        try:
            receipt = ledger.charge(conn, asked)
        except LedgerError as refusal:
            return type(refusal)
        transaction.rollback()
        return shown(receipt)


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_happens_between_it_is_what_the_lock_would_have_said(engine: Engine, seed: int) -> None:
    """Two gateways and an admin, at random: each charge is told the same as one under the lock at that moment."""
    choose = random.Random(seed)  # noqa: S311 - the order of a test, not noise
    grant_all(engine, epsilon=40, cap=90, analysts=("ann", "bob"), delta=10**9)
    with engine.begin() as conn:
        grants.set_project(conn, "health", "study", Grant(30), actor="root")
    gateways = [Committer(engine), Committer(engine)]
    open_charges: list[str] = []
    told: set[object] = set()

    def act(conn: Connection) -> None:
        match choose.randrange(6):
            case 0:
                grants.set_grant(conn, "health", "ann", Grant(choose.randrange(60)), actor="root")
            case 1:
                choose.choice((grants.join, grants.leave))(conn, "health", "study", "ann", actor="root")
            case 2:
                choose.choice((grants.suspend, grants.resume))(conn, "health", "cap", actor="root")
            case 3:
                choose.choice((suspensions.suspend, suspensions.clear))(conn, "health", "bob", actor="root")
            case 4:
                grants.set_cap(conn, "health", Grant(choose.randrange(60, 200), 10**9, gaussian=True), actor="root")
            case _ if open_charges:
                ledger.void(conn, open_charges.pop(), process=ALIVE, reason="nothing ran")

    for _ in range(150):
        if choose.random() < 0.25:
            with engine.connect() as conn, conn.begin() as transaction:
                try:
                    act(conn)
                except LedgerError:
                    transaction.rollback()
            continue
        key = choose.choice((None, None, "k1", "k2"))
        asked = request(choose.randrange(1, 4), choose.choice(("ann", "ann", "bob")), idempotency_key=key)
        expected = tried(engine, asked)
        told.add(expected if isinstance(expected, type) else expected[0])
        gateway = gateways[0] if choose.random() < 0.8 else gateways[1]
        if isinstance(expected, type):
            with pytest.raises(expected):
                gateway.charge(asked)
            continue
        receipt = gateway.charge(asked)
        assert shown(receipt) == expected
        if not receipt.replayed:
            open_charges.append(receipt.record.charge.id)
    assert {True, False, BudgetExhausted} <= told
    with engine.begin() as conn:
        report = verify(conn)
        assert report.ok, report


def test_a_grant_that_was_made_since_is_judged_under_the_lock(engine: Engine, statements: list[str]) -> None:
    """Who published without a grant of their own was seen without one: what they are granted later was not seen."""
    grant_all(engine)
    shared = seeing(engine, statements, analyst="root", publication="how many there are")
    with engine.begin() as conn:
        grants.set_grant(conn, "health", "root", Grant(EPSILON), actor="root")
    asked = request(EPSILON, analyst="root")
    assert not shared.charge(asked).replayed
    with pytest.raises(BudgetExhausted):
        shared.charge(request(1, analyst="root"))
    sound(engine, EPSILON, "root")
