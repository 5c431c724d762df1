"""What the database itself refuses to do to facts, and to what no fact may say."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from budget import grants, inner, ledger, schema, suspensions, triggers
from budget.book import opened
from budget.errors import Altered, Contended, UnknownCharge
from budget.grants import Grant
from budget.verify import verify
from gateway.store import migrate
from gateway.store.engine import control_engine
from tests.budget.ledgers import DEAD, EPSILON, OTHER, grant_all, request

TABLES = [table.name for table in schema.FACTS.values()]


@pytest.fixture
def full(engine: Engine) -> Engine:
    """A ledger with at least one fact of each kind."""
    grant_all(engine, analysts=("ann", "bob", "eve"))
    with engine.begin() as conn:
        first = ledger.charge(conn, request(process=DEAD, idempotency_key="k")).record.charge.id
        ledger.claim_retry(conn, first, process=OTHER, is_dead=lambda _: True)
        inner.keep(conn, first, 0, b"first")
        ledger.settle(conn, first, "failed", b"failure")
        suspensions.suspend(conn, "health", "ann", actor="gateway", charge=first)
        grants.set_project(conn, "health", "study", Grant(EPSILON, window="daily", timezone="UTC"), actor="root")
        grants.join(conn, "health", "study", "ann", actor="root")
        with opened(conn, "health") as book:
            at = book.standing("project:study").span
            assert at is not None
            book.now = at[1]
            book.renew(book.standing("project:study"))
            signed = {"signed_seq": 1, "signed_at": 1, "signed_hash": b"h" * 32}
            book.post("acknowledgement", signed | {"actor": "root", "reason": "restored"})
        answer = ledger.charge(conn, request(EPSILON // 10, "eve")).record.charge
        ledger.settle(conn, answer.id, "answered", b"rows")
        ledger.charge(conn, request(answer.loss, "bob", source=answer.id))
        for table in TABLES:
            assert conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() > 0
    return engine


def refused(engine: Engine, statement: str) -> None:
    with engine.connect() as conn, conn.begin() as transaction:
        with pytest.raises(DBAPIError, match=triggers.MESSAGE):
            conn.execute(text(statement))
        transaction.rollback()


@pytest.mark.parametrize("table", TABLES)
def test_facts_are_neither_changed_nor_deleted(full: Engine, table: str) -> None:
    refused(full, f"UPDATE {table} SET at = at")
    refused(full, f"DELETE FROM {table}")
    if full.dialect.name == "postgresql":
        refused(full, f"TRUNCATE {table} CASCADE")
        refused(full, f"INSERT INTO {table} SELECT * FROM {table} ON CONFLICT (dataset, seq) DO UPDATE SET at = 0")
        with full.connect() as conn, conn.begin() as transaction:
            conn.execute(text("SET LOCAL session_replication_role = replica"))
            with pytest.raises(DBAPIError, match=triggers.MESSAGE):
                conn.execute(text(f"DELETE FROM {table}"))
            transaction.rollback()
    else:
        refused(full, f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")
        refused(full, f"REPLACE INTO {table} SELECT * FROM {table}")
        refused(full, f"UPDATE OR REPLACE {table} SET at = at")
        refused(full, f"INSERT INTO {table} SELECT * FROM {table} WHERE true ON CONFLICT DO UPDATE SET at = 0")


def test_what_was_drawn_to_feed_other_releases_is_kept_once(full: Engine) -> None:
    with full.begin() as conn:
        charge = ledger.charge(conn, request(EPSILON // 10, "eve")).record.charge.id
        inner.keep(conn, charge, 0, b"first")
    refused(full, "UPDATE ledger_inner SET place = 1")
    refused(full, "UPDATE ledger_payload SET payload = payload")
    for table in ("ledger_inner", "ledger_payload"):
        if full.dialect.name == "sqlite":
            refused(full, f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")
        else:
            refused(full, f"TRUNCATE {table} CASCADE")
    for place, known in ((0, True), (1, False)):
        with full.connect() as conn, conn.begin() as transaction:
            with pytest.raises((DBAPIError, UnknownCharge)):
                inner.keep(conn, charge if known else "0" * 32, place, b"second")
            transaction.rollback()
    with full.begin() as conn:
        assert inner.of(conn, charge) == {0: b"first"}
        ledger.settle(conn, charge, "failed", b"")
    with pytest.raises(Contended), full.begin() as conn:
        inner.keep(conn, charge, 1, b"late")
    with full.begin() as conn:
        assert verify(conn).ok


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger_inner SET payload = :other",
        "DELETE FROM ledger_inner",
        "INSERT INTO ledger_inner (charge, place, payload) SELECT charge, 1, payload FROM ledger_inner",
    ],
)
def test_what_was_drawn_is_gone_on_from_as_it_was_drawn_or_not_at_all(engine: Engine, change: str) -> None:
    """Changed, taken away (so that it would be drawn again), or made up while its process was dead."""
    grant_all(engine)
    with engine.begin() as conn:
        charge = ledger.charge(conn, request(process=DEAD)).record.charge.id
        inner.keep(conn, charge, 0, b"first")
        assert verify(conn).ok
        triggers.drop(conn, ["ledger_inner"], deletable=True)
        conn.execute(text(change), {"other": b"other"} if ":other" in change else {})
        triggers.create(conn, {"ledger_inner": [("charge", "place")]}, deletable=True)
        with pytest.raises(Altered):
            inner.of(conn, charge)
        report = verify(conn)
        assert report.missing_triggers == ()
        [found] = report.datasets
        assert found.fault is not None
        assert (found.fault.kind, found.fault.problem) == ("inner", "it is not what was drawn")
        assert found.fault.row.startswith(charge)


@pytest.mark.parametrize("key", ["id", "place", "idempotency_key"])
def test_no_key_of_a_charge_can_be_replaced_by(sqlite_url: str, key: str) -> None:
    """On SQLite a REPLACE removes whatever row stands in the way under any unique key, DELETE triggers unasked."""
    engine = control_engine(sqlite_url, create=True)
    migrate.upgrade(engine)
    grant_all(engine)
    with engine.begin() as conn:
        ledger.charge(conn, request(idempotency_key="k"))
        conn.exec_driver_sql("PRAGMA recursive_triggers = OFF")
        row = dict(conn.execute(select(schema.charge)).mappings().one())
        fresh = {"id": "0" * 32, "seq": row["seq"] + 1, "idempotency_key": "other"}
        match key:
            case "id":
                del fresh["id"]
            case "place":
                del fresh["seq"]
            case _:
                del fresh["idempotency_key"]
        with pytest.raises(IntegrityError, match=triggers.MESSAGE):
            conn.execute(insert(schema.charge).prefix_with("OR REPLACE").values(row | fresh))
    engine.dispose()


def test_every_unique_key_is_guarded() -> None:
    """What the migration guards is what the tables hold unique."""
    assert triggers.keys(schema.charge) == [
        ("dataset", "analyst", "idempotency_key", "key_use"),
        ("dataset", "seq"),
        ("id",),
        ("id", "dataset"),
    ]
    for table in schema.FACTS.values():
        assert ("dataset", "seq") in triggers.keys(table)


BAD = [
    ("grant", "epsilon", -1),
    ("grant", "epsilon", 10**15 + 1),
    ("grant", "delta", 10**18),
    ("grant", "scope", ""),
    ("grant", "seq", 0),
    ("grant", "hash", b"short"),
    ("charge", "epsilon", -1),
    ("charge", "rho", -1),
    ("charge", "delta", 10**18 + 1),
    ("charge", "request_hash", b""),
    ("charge", "key_use", 0),
    ("charge", "process", "short"),
    ("charge", "idempotency_key", ""),
    ("outcome", "status", "maybe"),
    ("outcome", "digest", b"short"),
    ("purchase", "charge", "0" * 32),
    ("purchase", "source", "0" * 32),
    ("draw", "charge", "0" * 32),
    ("draw", "place", -1),
    ("draw", "digest", b"short"),
    ("outcome", "charge", "0" * 32),
    ("outcome", "dataset", "another"),
    ("attempt", "charge", "0" * 32),
    ("suspension", "action", "forget"),
]
BAD_ON_SQLITE = [
    ("grant", "epsilon", "abc"),
    ("grant", "epsilon", 2.5),
    ("grant", "gaussian", 2),
    ("charge", "rho", 0.5),
    ("charge", "rho", "many"),
    ("charge", "epsilon", 1.5),
    ("charge", "request_hash", "t" * 32),
    ("outcome", "digest", "t" * 32),
    ("suspension", "at", "now"),
]


def test_what_no_fact_may_say(full: Engine) -> None:
    for kind, column, value in BAD:
        table = schema.FACTS[kind]
        with full.connect() as conn, conn.begin() as transaction:
            row = dict(conn.execute(select(table).order_by(table.c.seq)).mappings().first() or {})
            row["seq"] += 100
            if kind == "charge":
                row |= {"id": "e" * 32, "idempotency_key": "fresh"}
            if kind in ("outcome", "attempt", "purchase", "draw"):
                row["charge"] = ledger.charge(conn, request(analyst="bob")).record.charge.id
            wrong = insert(table).values(row | {column: value})
            with pytest.raises(DBAPIError), conn.begin_nested():
                conn.execute(wrong)
            conn.execute(insert(table).values(row))  # nothing else was wrong
            transaction.rollback()


@pytest.mark.parametrize(("kind", "column", "value"), BAD_ON_SQLITE)
def test_what_sqlite_would_keep_in_an_integer(sqlite_url: str, kind: str, column: str, value: Any) -> None:
    engine = control_engine(sqlite_url, create=True)
    migrate.upgrade(engine)
    rows = {
        "grant": "('d', 1, 1, zeroblob(32), 'cap', 1, 1, 1, 0, NULL, NULL, NULL, NULL, NULL, NULL, 'root', NULL)",
        "charge": "('d', 1, 1, zeroblob(32), :id, 'ann', '[]', 1, 1, 1, 1, zeroblob(32), 'k', 1, 'p', 1, 1, '{}', :id,"
        " NULL)",
        "outcome": "('d', 1, 1, zeroblob(32), :id, 'answered', zeroblob(32), NULL)",
        "suspension": "('d', 1, 1, zeroblob(32), 'ann', 'suspend', NULL, 'root', NULL)",
    }
    with engine.begin() as conn:
        conn.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        table = schema.FACTS[kind]
        conn.execute(text(f"CREATE TEMP TABLE good AS SELECT * FROM {table.name}"))
        names = [name.name for name in table.columns]
        conn.execute(text(f"INSERT INTO good VALUES {rows[kind]}"), {"id": "a" * 32})
        conn.execute(text(f"CREATE TEMP TABLE bad AS SELECT {', '.join(n for n in names if n != column)} FROM good"))
        conn.execute(text(f"ALTER TABLE bad ADD COLUMN {column}"))
        conn.execute(text(f"UPDATE bad SET {column} = :value"), {"value": value})
        with pytest.raises(IntegrityError, match="CHECK constraint failed"):
            conn.execute(text(f"INSERT INTO {table.name} SELECT {', '.join(names)} FROM bad"))
        if kind != "outcome":
            conn.execute(text(f"INSERT INTO {table.name} SELECT * FROM good"))  # nothing else was wrong
        conn.rollback()
    engine.dispose()


def test_a_guard_that_is_gone_or_changed_is_noticed(full: Engine) -> None:
    with full.begin() as conn:
        assert triggers.missing(conn) == []
    with full.begin() as conn:
        if full.dialect.name == "sqlite":
            conn.execute(text("DROP TRIGGER ledger_charge_no_update"))
            conn.execute(text("DROP TRIGGER ledger_grant_no_delete"))
            conn.execute(
                text("CREATE TRIGGER ledger_grant_no_delete BEFORE DELETE ON ledger_grant BEGIN SELECT 1; END")
            )
            expected = {"ledger_charge_no_update", "ledger_grant_no_delete"}
        else:
            conn.execute(text("DROP TRIGGER ledger_charge_no_change ON ledger_charge"))
            conn.execute(text("ALTER TABLE ledger_grant DISABLE TRIGGER ledger_grant_no_change"))
            conn.execute(text("ALTER TABLE ledger_outcome ENABLE TRIGGER ledger_outcome_no_change"))
            expected = {"ledger_charge_no_change", "ledger_grant_no_change", "ledger_outcome_no_change"}
        assert set(triggers.missing(conn)) == expected


def test_a_hollow_function_is_noticed(postgres_url: str) -> None:
    engine = control_engine(postgres_url)
    migrate.upgrade(engine)
    with engine.begin() as conn:
        conn.execute(
            text(
                "CREATE OR REPLACE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql"
                " AS 'BEGIN RETURN OLD; END'"
            )
        )
        assert len(triggers.missing(conn)) == 2 * len((*triggers.GUARDED, *triggers.KEPT))
    engine.dispose()


def test_derived_rows_hold_no_impossible_balance(full: Engine) -> None:
    for column, value in (("spent_rho", -1), ("spent_gaussian", -1), ("epsilon", -EPSILON), ("delta", 10**18)):
        with full.connect() as conn, conn.begin() as transaction:
            with pytest.raises(IntegrityError):
                conn.execute(update(schema.scope).values({column: value}))
            transaction.rollback()
