"""The disk full, the database gone between charge and outcome: a clear error, and the ledger unharmed."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from budget import balance, ledger, records
from budget.verify import verify
from gateway.store import migrate
from gateway.store.committer import Committer
from gateway.store.engine import control_engine
from tests.budget.ledgers import EPSILON, grant_all, request


def sound(engine: Engine, spent: int) -> None:
    with engine.begin() as conn:
        assert verify(conn).ok
        assert balance.of(conn, "health", "ann").own.spent_epsilon == spent


def test_a_full_disk(sqlite_url: str) -> None:
    engine = control_engine(sqlite_url, create=True)
    migrate.upgrade(engine)
    grant_all(engine)
    charge = request(EPSILON)
    with engine.begin() as conn:
        ledger.charge(conn, charge)
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
    with engine.connect() as conn:
        conn.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OperationalError, match="full"):
            ledger.settle(conn, charge.id, "answered", b"x" * 100_000)
        conn.rollback()
        conn.exec_driver_sql("PRAGMA max_page_count = 1000000")
    sound(engine, EPSILON)
    with engine.begin() as conn:
        assert ledger.settle(conn, charge.id, "answered", b"x" * 100_000).won
    sound(engine, EPSILON)
    engine.dispose()


def test_the_database_gone_between_charge_and_outcome(postgres_url: str) -> None:
    engine = control_engine(postgres_url)
    migrate.upgrade(engine)
    grant_all(engine)
    charge = request(EPSILON, idempotency_key="k")
    with engine.begin() as conn:
        ledger.charge(conn, charge)
    other = control_engine(postgres_url)
    with engine.connect() as conn, other.begin() as admin:
        ledger.settle(conn, charge.id, "answered", b"lost")
        mine = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        admin.execute(text(mine + " AND datname = current_database()"))
        with pytest.raises(DBAPIError):
            conn.commit()
    other.dispose()
    sound(engine, EPSILON)  # spent, and without an outcome
    with engine.begin() as conn:
        assert records.get(conn, charge.id).outcome is None
        assert ledger.charge(conn, request(EPSILON, idempotency_key="k")).replayed
        assert ledger.settle(conn, charge.id, "answered", b"kept").won
    sound(engine, EPSILON)
    engine.dispose()


def test_a_file_taken_away_is_an_error_and_never_an_empty_ledger(sqlite_url: str) -> None:
    engine = control_engine(sqlite_url, create=True)
    migrate.upgrade(engine)
    grant_all(engine)
    engine.dispose()
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    path.rename(path.with_suffix(".away"))
    with pytest.raises(OperationalError):
        Committer(engine).charge(request(EPSILON))
    assert not path.exists()
    path.with_suffix(".away").rename(path)
    sound(engine, 0)
    engine.dispose()
