"""A charge that waited for the dataset's lock is judged by what stands then, not by what it saw before it waited."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread

import pytest
from sqlalchemy import Connection, Engine, text

from budget import balance, grants, ledger, payloads
from budget.errors import BudgetExhausted, LedgerError, NotForSale
from budget.grants import Grant
from budget.ledger import ChargeRequest
from budget.verify import verify
from gateway.store import migrate
from gateway.store.engine import control_engine
from tests.budget.ledgers import EPSILON, answer, grant_all, request


@pytest.fixture
def engine(postgres_url: str) -> Engine:
    engine = control_engine(postgres_url)
    migrate.upgrade(engine)
    return engine


def charged_behind(engine: Engine, act: Callable[[Connection], object], asked: ChargeRequest) -> object:
    """Act, and let another connection charge before the commit: it waits, and its snapshot is older than the act."""
    found: list[object] = []

    def charge() -> None:
        try:
            with engine.begin() as conn:
                found.append(ledger.charge(conn, asked))
        except LedgerError as refusal:
            found.append(refusal)

    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with engine.begin() as conn:
        act(conn)
        thread = Thread(target=charge)
        thread.start()
        until = time.monotonic() + 20
        while not conn.execute(text(waiting)).scalar_one():
            # Its statistics are of one moment for a whole transaction, unless told to forget them.
            conn.execute(text("SELECT pg_stat_clear_snapshot()"))
            assert time.monotonic() < until
            time.sleep(0.01)
    thread.join(20)
    with engine.begin() as conn:
        assert verify(conn).ok
    engine.dispose()
    return found[0]


def test_a_charge_that_came_between_counts(engine: Engine) -> None:
    grant_all(engine, epsilon=3 * EPSILON)
    found = charged_behind(engine, lambda conn: ledger.charge(conn, request(2 * EPSILON)), request(2 * EPSILON))
    assert isinstance(found, BudgetExhausted)
    assert found.remaining == EPSILON


def test_a_project_that_was_joined_meanwhile_pays_too(engine: Engine) -> None:
    """A new row, which no lock on old rows would show."""
    grant_all(engine, epsilon=3 * EPSILON)

    def join(conn: Connection) -> None:
        grants.set_project(conn, "health", "study", Grant(EPSILON), actor="root")
        grants.join(conn, "health", "study", "ann", actor="root")

    found = charged_behind(engine, join, request(EPSILON))
    assert isinstance(found, ledger.Receipt)
    assert "project:study" in found.record.charge.scopes
    with engine.begin() as conn:
        assert [each.spent_epsilon for each in balance.of(conn, "health", "ann").standings] == [EPSILON] * 3
    engine.dispose()


def test_a_grant_lowered_meanwhile_is_the_one_that_counts(engine: Engine) -> None:
    grant_all(engine, epsilon=3 * EPSILON)

    def lower(conn: Connection) -> None:
        grants.set_grant(conn, "health", "ann", Grant(EPSILON // 2), actor="root")

    assert isinstance(charged_behind(engine, lower, request(EPSILON)), BudgetExhausted)


def test_an_answer_deleted_meanwhile_is_not_paid_for(engine: Engine) -> None:
    grant_all(engine, analysts=("ann", "bob"))
    with engine.begin() as conn:
        source = ledger.charge(conn, request(EPSILON)).record.charge
        ledger.conclude(conn, answer(source.id))
    asked = request(EPSILON, "bob", source=source.id)
    found = charged_behind(engine, lambda conn: payloads.remove(conn, [source.id]), asked)
    assert isinstance(found, NotForSale)
    with engine.begin() as conn:
        assert balance.of(conn, "health", "bob").own.spent_epsilon == 0
    engine.dispose()
