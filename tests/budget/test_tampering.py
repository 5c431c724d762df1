"""Whoever changes the ledger behind the gateway's back is found by `verify`, and the first wrong row is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Table, delete, func, insert, select, text, update
from sqlalchemy.sql.dml import UpdateBase

from budget import balance, chain, entries, grants, inner, journal, ledger, records, schema, suspensions, triggers
from budget.book import opened
from budget.errors import Contended
from budget.grants import Grant
from budget.standing import terms
from budget.verify import Report, verify
from mechanisms.loss import Loss
from tests.budget.ledgers import DEAD, DELTA, EPSILON, OTHER, append, gaussian, grant_all, request


@pytest.fixture
def full(engine: Engine) -> Engine:
    """A ledger of 14 facts: grants 1-3, charges 4-8, outcomes 9-11, an attempt 12, a suspension 13, a grant
    14, a project's 15, its member 16, its renewal 17, an acknowledgement 18.
    """
    grant_all(engine, delta=DELTA, gaussian=True, analysts=("ann", "bob"))
    with engine.begin() as conn:
        losses: tuple[Loss | int, ...] = (
            EPSILON // 10,
            EPSILON // 5,
            gaussian(EPSILON // 4),
            EPSILON // 10,
            EPSILON // 2,
        )
        ids = [
            ledger.charge(conn, request(loss, idempotency_key=f"k{n}", process=DEAD)).record.charge.id
            for n, loss in enumerate(losses)
        ]
        ledger.settle(conn, ids[0], "answered", b"rows")
        ledger.settle(conn, ids[1], "failed", b"failure")
        ledger.void(conn, ids[2], process=DEAD, reason="no statement")
        ledger.claim_retry(conn, ids[3], process=OTHER, is_dead=lambda _: True)
        suspensions.suspend(conn, "health", "ann", actor="gateway", charge=ids[1])
        grants.set_grant(conn, "health", "ann", Grant(EPSILON), actor="root")
        grants.set_cap(conn, "other", Grant(EPSILON), actor="root")
        grants.set_project(conn, "health", "study", Grant(EPSILON, window="daily", timezone="UTC"), actor="root")
        grants.join(conn, "health", "study", "bob", actor="root")
        with opened(conn, "health") as book:
            span = book.standing("project:study").span
            assert span is not None
            book.now = span[1]
            book.renew(book.standing("project:study"))
            signed = {"signed_seq": 1, "signed_at": 1, "signed_hash": b"h" * 32}
            book.post("acknowledgement", signed | {"actor": "root", "reason": "restored"})
        report = verify(conn)
    assert report.ok
    assert [(each.dataset, each.facts) for each in report.datasets] == [("health", 18), ("other", 1)]
    return engine


def tamper(engine: Engine, act: Callable[[Connection], Any] | UpdateBase) -> Report:
    """Act with guards and foreign keys off, put the guards back, verify, and undo it all."""
    names = {table.name: triggers.keys(table) for table in schema.FACTS.values()}
    sqlite = engine.dialect.name == "sqlite"
    with engine.connect() as conn:
        if sqlite:
            conn.exec_driver_sql("ROLLBACK")
            conn.exec_driver_sql("PRAGMA foreign_keys = OFF")
            conn.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
            conn.exec_driver_sql("BEGIN IMMEDIATE")
        triggers.drop(conn, list(names))
        if not sqlite:
            conn.execute(text("SET LOCAL session_replication_role = replica"))
        if isinstance(act, UpdateBase):
            conn.execute(act)
        else:
            act(conn)
        triggers.create(conn, names)
        report = verify(conn)
        conn.rollback()
        conn.invalidate()  # its settings go with it
    assert report.missing_triggers == ()
    return report


def verified(engine: Engine) -> Report:
    with engine.begin() as conn:
        return verify(conn)


def first(report: Report, dataset: str = "health") -> tuple[str, str]:
    assert not report.ok
    fault = next(each.fault for each in report.datasets if each.dataset == dataset)
    assert fault is not None
    assert all(each.fault is None for each in report.datasets if each.dataset != dataset)
    return fault.kind, fault.row


def where(kind: str, seq: int) -> Any:
    table = schema.FACTS[kind]
    return (table.c.dataset == "health") & (table.c.seq == seq)


CHANGES: list[tuple[str, int, dict[str, Any]]] = [
    ("grant", 1, {"epsilon": 9 * EPSILON}),
    ("grant", 2, {"delta": 0}),
    ("grant", 2, {"gaussian": False}),
    ("grant", 3, {"scope": "analyst:eve"}),
    ("grant", 3, {"actor": "nobody"}),
    ("grant", 2, {"reason": None}),
    ("grant", 14, {"at": 1}),
    ("charge", 4, {"epsilon": 0}),
    ("charge", 4, {"rho": 0}),
    ("charge", 5, {"analyst": "bob"}),
    ("charge", 5, {"scopes": '["cap"]'}),
    ("charge", 6, {"epsilon": 1}),
    ("charge", 7, {"idempotency_key": None}),
    ("charge", 7, {"request_hash": b"r" * 32}),
    ("charge", 8, {"mechanism": "{}"}),
    ("charge", 8, {"hash": b"h" * 32}),
    ("charge", 8, {"at": 10**17}),
    ("outcome", 9, {"digest": b"d" * 32}),
    ("outcome", 10, {"status": "answered"}),
    ("outcome", 11, {"status": "failed"}),
    ("attempt", 12, {"process": "c" * 32}),
    ("suspension", 13, {"action": "clear"}),
    ("suspension", 13, {"charge": None}),
    ("grant", 14, {"paused": True}),
    ("grant", 14, {"max_epsilon": 1}),
    ("grant", 15, {"expires": 1}),
    ("grant", 15, {"renews": "weekly"}),
    ("grant", 15, {"timezone": "Europe/Berlin"}),
    ("grant", 15, {"window_end": 10**17}),
    ("charge", 4, {"publication": "a table"}),
    ("membership", 16, {"analyst": "ann"}),
    ("membership", 16, {"action": "leave"}),
    ("renewal", 17, {"window_end": 10**17}),
    ("renewal", 17, {"scope": "cap"}),
    ("acknowledgement", 18, {"reason": "nothing"}),
    ("acknowledgement", 18, {"signed_hash": b"g" * 32}),
]


def test_a_changed_fact(full: Engine) -> None:
    for kind, seq, values in CHANGES:
        change = update(schema.FACTS[kind]).where(where(kind, seq)).values(values)
        report = tamper(full, change)
        assert first(report) == (kind, str(seq)), values


def test_a_deleted_fact(full: Engine) -> None:
    for kind, seq in (
        ("grant", 2),
        ("charge", 4),
        ("charge", 8),
        ("outcome", 10),
        ("attempt", 12),
        ("suspension", 13),
        ("membership", 16),
        ("renewal", 17),
    ):
        removal = delete(schema.FACTS[kind]).where(where(kind, seq))
        report = tamper(full, removal)
        assert first(report)[1] == str(seq + 1), (kind, seq)


def test_the_tail_cut(full: Engine) -> None:
    report = tamper(full, delete(schema.acknowledgement).where(where("acknowledgement", 18)))
    assert first(report) == ("head", "18")


def test_the_tail_cut_with_its_head(full: Engine) -> None:
    """The head alone cannot show it; the balances that the facts no longer add up to do."""

    def act(conn: Connection) -> None:
        for kind, seq in (("acknowledgement", 18), ("renewal", 17), ("membership", 16), ("grant", 15), ("grant", 14)):
            conn.execute(delete(schema.FACTS[kind]).where(where(kind, seq)))
        last = conn.execute(select(schema.suspension).where(where("suspension", 13))).one()
        conn.execute(
            update(schema.head)
            .where(schema.head.c.dataset == "health")
            .values(seq=13, at=last.at, hash=bytes(last.hash))
        )

    assert first(tamper(full, act)) == ("balance", "analyst:ann")


def test_an_inserted_fact(full: Engine) -> None:
    def act(conn: Connection) -> None:
        row = dict(conn.execute(select(schema.grant).where(where("grant", 14))).mappings().one())
        conn.execute(insert(schema.grant).values(row | {"seq": 19, "epsilon": 10**15}))

    assert first(tamper(full, act)) == ("head", "19")


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_fact_beyond_all_numbers(full: Engine) -> None:
    def act(conn: Connection) -> None:
        columns = ", ".join(column.name for column in schema.grant.columns if column.name != "seq")
        statement = f"INSERT INTO ledger_grant (seq, {columns}) SELECT 'abc', {columns} FROM ledger_grant WHERE seq = 2"
        conn.execute(text(statement))

    assert first(tamper(full, act)) == ("head", "19")


def test_an_inserted_fact_in_the_middle(full: Engine) -> None:
    def act(conn: Connection) -> None:
        row = dict(conn.execute(select(schema.grant).where(where("grant", 2))).mappings().one())
        conn.execute(insert(schema.grant).values(row | {"seq": 5}))

    assert first(tamper(full, act))[1] == "5"


def test_a_fact_chained_as_it_should_that_could_not_have_been_admitted(full: Engine) -> None:
    """A forger who knows how to hash still cannot charge what no grant covers, or settle twice."""

    def act(conn: Connection) -> None:
        head = chain.lock(conn, "health")
        assert head is not None
        row = dict(conn.execute(select(schema.charge).where(where("charge", 8))).mappings().one())
        forged = {name: row[name] for name in row if name not in ("dataset", "seq", "at", "hash")}
        forged |= {"id": "f" * 32, "idempotency_key": None, "analyst": "bob", "epsilon": 4 * EPSILON, "rho": 10**18}
        append(conn, head, "charge", forged | {"scopes": '["analyst:bob","cap"]'})

    assert first(tamper(full, act)) == ("charge", "19")


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_forged_charge_of_less_than_nothing(full: Engine) -> None:
    """It would make room for others."""

    def act(conn: Connection) -> None:
        head = chain.lock(conn, "health")
        assert head is not None
        row = dict(conn.execute(select(schema.charge).where(where("charge", 8))).mappings().one())
        said = {name: row[name] for name in row if name not in ("dataset", "seq", "at", "hash")}
        said |= {"id": "f" * 32, "idempotency_key": None, "analyst": "bob", "epsilon": -EPSILON // 4, "rho": 0}
        append(conn, head, "charge", said | {"scopes": '["analyst:bob","cap","project:study"]'})

    assert first(tamper(full, act)) == ("charge", "19")


def test_two_facts_exchanged(full: Engine) -> None:
    def act(conn: Connection) -> None:
        for before, after in ((4, 99), (5, 4), (99, 5)):
            conn.execute(update(schema.charge).where(where("charge", before)).values(seq=after))

    assert first(tamper(full, act)) == ("charge", "4")


def test_a_fact_replaced_by_another_dataset_s(full: Engine) -> None:
    def act(conn: Connection) -> None:
        conn.execute(delete(schema.grant).where(where("grant", 1)))
        conn.execute(update(schema.grant).where(schema.grant.c.dataset == "other").values(dataset="health"))
        conn.execute(delete(schema.head).where(schema.head.c.dataset == "other"))
        conn.execute(delete(schema.scope).where(schema.scope.c.dataset == "other"))

    assert first(tamper(full, act)) == ("grant", "1")


def test_an_edited_balance(full: Engine) -> None:
    ann = (schema.scope.c.dataset == "health") & (schema.scope.c.scope == "analyst:ann")
    for values in (
        {"spent_epsilon": 0},
        {"spent_rho": 1},
        {"spent_gaussian": 1},
        {"spent_delta": 1},
        {"epsilon": 10**15},
        {"delta": 1},
        {"gaussian": True},
        {"suspended": False},
        {"paused": True},
        {"opened": 1},
        {"windows": 2},
        {"life_epsilon": 0},
        {"expires": 1},
        {"seq": 1},
    ):
        report = tamper(full, update(schema.scope).where(ann).values(values))
        assert first(report) == ("balance", "analyst:ann"), values


def test_a_balance_that_no_integer_is(full: Engine) -> None:
    if full.dialect.name == "postgresql":
        values: dict[str, Any] = {"spent_rho": 2**63 - 1}
    else:
        values = {"spent_rho": "many"}
    report = tamper(full, lambda conn: conn.execute(text("UPDATE ledger_scope SET spent_rho = :spent_rho"), values))
    assert not report.ok


WEIRD: list[Any] = ["abc", "99", 2.5, -1, b"\0", 2**62]
TABLES = (*schema.FACTS.values(), schema.head, schema.scope, schema.member)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table.name))
@pytest.mark.audit
def test_whatever_stands_in_whatever_column(full: Engine, table: Table) -> None:
    """SQLite's file holds any value in any column once its rules are off: each is found, and none is an error."""
    missed = []
    with full.begin() as conn:  # an answer and who buys it, so that no table is empty
        grants.set_grant(conn, "health", "eve", Grant(EPSILON), actor="root")
        made = ledger.charge(conn, request(EPSILON // 10, "eve")).record.charge.id
        ledger.settle(conn, made, "answered", b"rows")
        ledger.charge(conn, request(EPSILON // 10, "bob", source=made))
        inner.keep(conn, ledger.charge(conn, request(EPSILON // 10, "eve")).record.charge.id, 0, b"first")
        grants.set_grant(conn, "health", "zoe", Grant(EPSILON), actor="root")

    def act(conn: Connection) -> None:
        chosen = conn.execute(select(func.max(table.c.seq)).where(table.c.dataset == "health")).scalar_one()
        assert chosen is not None
        for column in table.columns:
            for value in WEIRD:
                # Past SQLAlchemy's types, which would not write them.
                change = f"UPDATE {table.name} SET {column.name} = :value WHERE dataset = 'health' AND seq = :seq"
                with conn.begin_nested() as undo:
                    conn.execute(text(change), {"value": value, "seq": chosen})
                    if verify(conn, "health").datasets[0].fault is None:
                        missed.append((column.name, value))
                    undo.rollback()

    tamper(full, act)
    assert missed == []


def test_a_balance_removed_or_made_up(full: Engine) -> None:
    with full.begin() as conn:
        row = dict(conn.execute(select(schema.scope).where(schema.scope.c.scope == "analyst:bob")).mappings().one())
        conn.execute(delete(schema.scope).where(schema.scope.c.scope == "analyst:bob"))
        assert first(verify(conn)) == ("balance", "analyst:bob")
        conn.execute(insert(schema.scope).values(row))
        assert verify(conn).ok
        conn.execute(insert(schema.scope).values(row | {"scope": "analyst:eve"}))
        assert first(verify(conn)) == ("balance", "analyst:eve")


def test_an_edited_head(full: Engine) -> None:
    health = schema.head.c.dataset == "health"
    edits: list[dict[str, Any]] = [{"seq": 17}, {"seq": 19}, {"hash": b"h" * 32}, {"at": 10**17}]
    for values in edits:
        report = tamper(full, update(schema.head).where(health).values(values))
        assert first(report)[0] == "head", values


def test_a_ledger_of_several_pages(full: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "_PAGE", 2)
    assert [each.facts for each in verified(full).datasets] == [18, 1]
    report = tamper(full, delete(schema.charge).where(where("charge", 7)))
    assert first(report) == ("charge", "8")


def test_a_member_removed_or_made_up(full: Engine) -> None:
    with full.begin() as conn:
        row = dict(conn.execute(select(schema.member)).mappings().one())
        conn.execute(insert(schema.member).values(row | {"analyst": "ann"}))
        assert first(verify(conn)) == ("member", "study/ann")
        conn.execute(delete(schema.member))
        assert first(verify(conn)) == ("member", "study/bob")


def forged(kind: str, fact: dict[str, Any]) -> Callable[[Connection], None]:
    def act(conn: Connection) -> None:
        head = chain.lock(conn, "health")
        assert head is not None
        append(conn, head, kind, fact)

    return act


def test_what_is_chained_as_it_should_but_could_not_follow(full: Engine) -> None:
    why = {"actor": "root", "reason": None}
    never = {"window_start": 0, "window_end": 2 * 10**15}
    for kind, fact in (
        ("renewal", {"scope": "cap", **never}),  # it has no window
        ("renewal", {"scope": "project:study", **never}),  # the last has not ended
        ("membership", {"project": "study", "analyst": "bob", "action": "join", **why}),
        ("membership", {"project": "study", "analyst": "ann", "action": "leave", **why}),
        ("membership", {"project": "other", "analyst": "ann", "action": "join", **why}),
        ("grant", {"scope": "team:x", **terms(Grant(1), None, paused=False), **why}),
        ("grant", {"scope": "cap", **terms(Grant(1, window="daily", timezone="UTC"), (0, 1), paused=False), **why}),
    ):
        assert first(tamper(full, forged(kind, fact))) == (kind, "19"), fact


def test_a_head_removed(full: Engine) -> None:
    with full.begin() as conn:
        conn.execute(delete(schema.head).where(schema.head.c.dataset == "health"))
        assert first(verify(conn, "health")) == ("head", "health")


def test_a_trigger_dropped(full: Engine) -> None:
    names = [table.name for table in schema.FACTS.values()]
    with full.begin() as conn:
        triggers.drop(conn, names)
        report = verify(conn)
    assert not report.ok
    assert all(each.fault is None for each in report.datasets)
    assert len(report.missing_triggers) == len(names) * (3 if full.dialect.name == "sqlite" else 2)


def test_a_balance_that_moved_between_reading_and_writing_is_not_written(full: Engine) -> None:
    with full.connect() as conn, conn.begin() as transaction:
        own, *_ = balance.of(conn, "health", "bob").standings
        ledger.charge(conn, request(analyst="bob"))
        head = chain.lock(conn, "health")
        assert head is not None
        fact = {"charge": records.of_analyst_on(conn, "bob")[0].charge.id, "process": OTHER}
        after, row = chain.follow(head, "attempt", fact, head.at)
        paused = replace(own, paused=True)  # told apart from mere sums, which PostgreSQL writes by another statement
        for changed in ((own, own), (own, paused)):
            with pytest.raises(Contended), conn.begin_nested():
                journal.write(conn, head, after, [("attempt", row)], changed=[changed])
        transaction.rollback()


def test_a_chain_that_moved_between_reading_and_appending_is_not_written(full: Engine) -> None:
    with full.connect() as conn, conn.begin() as transaction:
        head = chain.lock(conn, "health")
        assert head is not None
        fact = {"scope": "cap", **terms(Grant(1), None, paused=False), "actor": "root", "reason": None}
        after = append(conn, head, "grant", fact)
        assert append(conn, after, "grant", fact).seq == 20
        stale = chain.Head(after.dataset, 98, after.at, after.hash)
        with pytest.raises(Contended):
            append(conn, stale, "grant", fact)
        transaction.rollback()
