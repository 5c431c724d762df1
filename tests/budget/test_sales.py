"""Stored answers: who pays for one, who finds it, and what is left when it is deleted; on both databases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select, update

from budget import balance, grants, inner, journal, ledger, payloads, records, schema, suspensions, triggers
from budget.chain import PLACE, Head, follow
from budget.errors import BudgetExhausted, GaussianRefused, GrantPaused, NotForSale, Suspended
from budget.grants import Grant
from budget.group import do_all
from budget.ledger import ChargeRequest, Receipt
from budget.records import Charge
from budget.verify import verify
from mechanisms.loss import Loss
from tests.budget.ledgers import ALIVE, DEAD, DELTA, EPSILON, answer, append, gaussian, grant_all, pure, request

LOSS = pure(EPSILON // 10)


def answered(engine: Engine, analyst: str = "ann", loss: Loss = LOSS) -> Charge:
    """A fresh charge with a stored answer."""
    with engine.begin() as conn:
        made = ledger.charge(conn, request(loss, analyst)).record.charge
        inner.keep(conn, made.id, 0, b"first")
        ledger.conclude(conn, answer(made.id, analyst=analyst))
    return made


def buying(source: Charge, analyst: str = "bob", **fields: Any) -> ChargeRequest:
    return request(source.loss, analyst, source=source.id, **fields)


def buy(engine: Engine, source: Charge, analyst: str = "bob") -> Receipt:
    with engine.begin() as conn:
        return ledger.charge(conn, buying(source, analyst))


def spent(engine: Engine) -> dict[str, int]:
    with engine.begin() as conn:
        assert verify(conn).ok
        return {each.scope: each.spent_epsilon for _, each in balance.all_of(conn, "health") if each.spent_epsilon}


def test_each_scope_pays_for_a_stored_answer_once(engine: Engine) -> None:
    grant_all(engine, analysts=("ann", "bob", "eve", "dan"))
    with engine.begin() as conn:
        grants.set_project(conn, "health", "study", Grant(EPSILON), actor="root")
        for analyst in ("bob", "eve"):
            grants.join(conn, "health", "study", analyst, actor="root")
    source, price = answered(engine), LOSS.epsilon
    first = buy(engine, source)
    assert first.record.charge.scopes == ("analyst:bob", "project:study")
    assert first.record.outcome is not None
    assert (first.record.outcome.status, first.record.outcome.payload) == ("answered", b"rows")
    assert spent(engine) == dict.fromkeys(("analyst:ann", "analyst:bob", "project:study", "cap"), price)
    assert buy(engine, source, "eve").record.charge.scopes == ("analyst:eve",)  # the project has paid
    assert buy(engine, source, "dan").record.charge.scopes == ("analyst:dan",)
    for analyst in ("ann", "bob", "eve", "dan"):
        again = buy(engine, source, analyst)
        assert again.replayed
        assert again.record.charge.analyst == analyst
    assert spent(engine) == dict.fromkeys(
        ("analyst:ann", "analyst:bob", "analyst:eve", "analyst:dan", "project:study", "cap"), price
    )
    with engine.begin() as conn:
        found = records.get(conn, first.record.charge.id)
        assert found == first.record
        assert found.charge.source == source.id
        for analyst in ("ann", "bob"):
            assert len(records.held(conn, "health", analyst, ["same"])) == 1
        assert [each.charge.id for each in records.sold(conn, "health", "same")] == [source.id]


def test_those_who_buy_at_the_same_moment_pay_as_if_one_came_first(engine: Engine) -> None:
    """One group: an analyst twice, and a second member of a project that the first one's purchase has paid for."""
    grant_all(engine, analysts=("ann", "bob", "eve"))
    with engine.begin() as conn:
        grants.set_project(conn, "health", "study", Grant(EPSILON), actor="root")
        for analyst in ("bob", "eve"):
            grants.join(conn, "health", "study", analyst, actor="root")
    source = answered(engine)
    with engine.begin() as conn:
        one, two, three = do_all(conn, [buying(source), buying(source), buying(source, "eve")])
    assert isinstance(one, Receipt)
    assert isinstance(two, Receipt)
    assert isinstance(three, Receipt)
    assert two.replayed
    assert two.record.charge.id == one.record.charge.id
    assert one.record.charge.scopes == ("analyst:bob", "project:study")
    assert three.record.charge.scopes == ("analyst:eve",)
    assert spent(engine)["project:study"] == LOSS.epsilon


def test_a_purchase_is_admitted_like_a_charge_by_those_who_pay(engine: Engine) -> None:
    grant_all(engine, delta=DELTA, gaussian=True, analysts=("ann", "bob"))
    with engine.begin() as conn:
        grants.set_grant(conn, "health", "bob", Grant(EPSILON // 20), actor="root")
        grants.set_cap(conn, "health", Grant(EPSILON // 10, DELTA, gaussian=True), actor="root")
    source = answered(engine)
    with pytest.raises(BudgetExhausted):
        buy(engine, source)
    with engine.begin() as conn:
        grants.set_grant(conn, "health", "bob", Grant(EPSILON // 10), actor="root")
        grants.suspend(conn, "health", "cap", actor="root")
    with pytest.raises(GrantPaused):  # nobody receives anything while the cap is suspended, though it does not pay
        buy(engine, source)
    with engine.begin() as conn:
        grants.resume(conn, "health", "cap", actor="root")
    with pytest.raises(BudgetExhausted), engine.begin() as conn:  # of the cap nothing is left for a fresh one
        ledger.charge(conn, request(LOSS, "bob"))
    assert not buy(engine, source).replayed
    with engine.begin() as conn:
        grants.set_cap(conn, "health", Grant(3 * EPSILON, DELTA, gaussian=True), actor="root")
    noisy = answered(engine, loss=gaussian(EPSILON // 10))
    with pytest.raises(GaussianRefused):
        buy(engine, noisy)
    with engine.begin() as conn:  # what is offered at another price than its own hurts nobody beside it
        wrong, right = do_all(conn, [replace(buying(source, "bob"), loss=pure(1)), request(pure(1))])
    assert isinstance(wrong, NotForSale)
    assert isinstance(right, Receipt)


def test_what_is_never_sold(engine: Engine) -> None:
    grant_all(engine, analysts=("ann", "bob"))
    with engine.begin() as conn:
        running = ledger.charge(conn, request(LOSS)).record.charge
        failed = ledger.charge(conn, request(LOSS)).record.charge
        void = ledger.charge(conn, request(LOSS)).record.charge
        public = ledger.charge(conn, request(LOSS, publication="a table")).record.charge
        ledger.settle(conn, failed.id, "failed", b"")
        ledger.void(conn, void.id, process=ALIVE, reason="nothing ran")
        ledger.settle(conn, public.id, "answered", b"rows")
    source = answered(engine)
    purchase = buy(engine, source).record.charge
    gone = answered(engine)
    with engine.begin() as conn:
        assert payloads.remove(conn, [gone.id]) == 1
    for charge in (running, failed, void, public, purchase, gone):
        with pytest.raises(NotForSale):
            buy(engine, charge, "ann")
    spare = answered(engine)
    with engine.begin() as conn:
        suspensions.suspend(conn, "health", "ann", actor="gateway", charge=failed.id)
        assert records.sold(conn, "health", "same") == []
    with pytest.raises(NotForSale):
        buy(engine, spare)
    with engine.begin() as conn:
        suspensions.clear(conn, "health", "ann", actor="root")
        suspensions.suspend(conn, "health", "bob", actor="gateway")
        assert {each.charge.id for each in records.sold(conn, "health", "same")} == {source.id, spare.id}
    with pytest.raises(Suspended):
        buy(engine, spare)


def test_a_purchase_under_a_key_is_replayed(engine: Engine) -> None:
    grant_all(engine, analysts=("ann", "bob"))
    source = answered(engine)
    with engine.begin() as conn:
        first = ledger.charge(conn, buying(source, idempotency_key="k"))
    with engine.begin() as conn:
        again = ledger.charge(conn, buying(source, idempotency_key="k"))
        turn = ledger.claim_retry(conn, first.record.charge.id, process=ALIVE, is_dead=lambda _: True).turn
    assert (first.replayed, again.replayed, turn) == (False, True, "settled")
    assert again.record == first.record


def test_deleting_an_answer_leaves_the_ledger_whole(engine: Engine) -> None:
    grant_all(engine, analysts=("ann", "bob"))
    source, other = answered(engine), answered(engine)
    bought = buy(engine, source).record.charge
    with engine.begin() as conn:
        running = ledger.charge(conn, request(LOSS)).record.charge
        inner.keep(conn, running.id, 0, b"first")
    before = spent(engine)
    with engine.begin() as conn:
        assert payloads.kept(conn, "health") == [source.id, other.id]
        assert payloads.kept(conn, "health", before=other.at + 1, below_version=2) == [source.id, other.id]
        assert payloads.kept(conn, "health", before=source.at) == payloads.kept(conn, "health", below_version=1) == []
        assert payloads.remove(conn, [source.id, running.id]) == 1
        assert source.id not in conn.execute(select(schema.inner.c.charge)).scalars().all()
        assert inner.of(conn, running.id) == {0: b"first"}  # or its noise could be drawn twice
        for charge in (source, bought):
            outcome = records.get(conn, charge.id).outcome
            assert outcome is not None
            assert (outcome.status, outcome.payload) == ("answered", None)
        assert records.held(conn, "health", "bob", ["same"]) == []
        assert [each.charge.id for each in records.held(conn, "health", "ann", ["same"])] == [other.id]
        assert payloads.remove(conn, [source.id]) == 0
    assert spent(engine) == before


def ledger_charge(engine: Engine) -> str:
    with engine.begin() as conn:
        return ledger_charge_of(conn)


def ledger_charge_of(conn: Connection) -> str:
    return ledger.charge(conn, request(LOSS, process=DEAD)).record.charge.id


def ledger_head(conn: Connection) -> Head:
    row = conn.execute(select(schema.head).where(schema.head.c.dataset == "health")).one()
    return Head(row.dataset, row.seq, row.at, bytes(row.hash))


def bought_by_bob(conn: Connection, source: Charge, bought: str, paid: tuple[str, ...]) -> Head:
    """Write a purchase and its charge past the rules, their hashes in order."""
    row = dict(conn.execute(select(schema.charge).where(schema.charge.c.id == source.id)).mappings().one())
    said = {name: value for name, value in row.items() if name not in PLACE}
    fresh = {"id": bought, "analyst": "bob", "scopes": records.scopes_text(paid)}
    begun = ledger_head(conn)
    head, purchase = follow(begun, "purchase", {"charge": bought, "source": source.id}, source.at)
    after, charge = follow(head, "charge", said | fresh, source.at)
    journal.write(conn, begun, after, [("purchase", purchase), ("charge", charge)])
    return after


def test_an_answer_that_was_changed_is_shown_to_nobody_and_named(engine: Engine) -> None:
    grant_all(engine)
    source = answered(engine)
    with engine.begin() as conn:
        triggers.drop(conn, ["ledger_payload"], deletable=True)
        conn.execute(update(schema.payload).values(payload=b"other"))
        triggers.create(conn, {"ledger_payload": [("charge",)]}, deletable=True)
        report = verify(conn)
        assert report.missing_triggers == ()
        [found] = report.datasets
        assert found.fault is not None
        assert (found.fault.kind, found.fault.row) == ("payload", source.id)
        assert records.held(conn, "health", "ann", ["same"]) == []
        outcome = records.get(conn, source.id).outcome
        assert outcome is not None
        assert outcome.payload is None


@pytest.mark.parametrize(
    ("paid", "problem"),
    [
        (("analyst:bob", "cap"), "other scopes"),  # the cap has paid
        (("analyst:bob",), None),
        (("cap",), "other scopes"),
    ],
)
def test_a_purchase_that_others_paid_for_is_found(engine: Engine, paid: tuple[str, ...], problem: str | None) -> None:
    """Written past the rules, its hashes in order: verify folds it again and says what could not have been."""
    grant_all(engine, analysts=("ann", "bob"))
    source = answered(engine)
    with engine.begin() as conn:
        bought = "f" * 32
        bought_by_bob(conn, source, bought, paid)
        [found] = verify(conn, "health").datasets
    assert found.fault is not None
    if problem is None:
        assert found.fault.kind == "balance"  # nobody's balance was raised
    else:
        assert problem in found.fault.problem


def test_a_purchase_without_its_charge_or_of_nothing_is_found(engine: Engine) -> None:
    grant_all(engine, analysts=("ann", "bob"))
    source = answered(engine)
    running = ledger_charge(engine)
    for wrong, problem in (
        ({"charge": running, "source": source.id}, "without its charge"),
        ({"charge": running, "source": running}, "not for sale"),
    ):
        with engine.connect() as conn, conn.begin() as transaction:
            after = append(conn, ledger_head(conn), "purchase", wrong)
            append(conn, after, "outcome", {"charge": running, "status": "failed", "digest": payloads.EMPTY})
            [found] = verify(conn, "health").datasets
            assert found.fault is not None
            assert problem in found.fault.problem
            transaction.rollback()


def test_a_purchase_left_as_the_last_fact_is_found(engine: Engine) -> None:
    grant_all(engine, analysts=("ann", "bob"))
    source = answered(engine)
    with engine.begin() as conn:
        running = ledger_charge_of(conn)
        after = append(conn, ledger_head(conn), "purchase", {"charge": running, "source": source.id})
        [found] = verify(conn, "health").datasets
    assert found.fault is not None
    assert (found.fault.kind, found.fault.row) == ("purchase", str(after.seq))
    assert "without its charge" in found.fault.problem


@pytest.mark.parametrize("act", ["suspended", "paused"])
def test_a_purchase_that_nobody_could_make_is_found(engine: Engine, act: str) -> None:
    """Of an analyst who was suspended, and under a cap that was: though the cap has paid."""
    grant_all(engine, analysts=("ann", "bob"))
    source = answered(engine)
    with engine.begin() as conn:
        if act == "suspended":
            suspensions.suspend(conn, "health", "ann", actor="gateway")
        else:
            grants.suspend(conn, "health", "cap", actor="root")
        bought_by_bob(conn, source, "f" * 32, ("analyst:bob",))
        [found] = verify(conn, "health").datasets
    assert found.fault is not None
    assert found.fault.kind == ("purchase" if act == "suspended" else "charge")


def test_a_purchase_that_ends_otherwise_is_found(engine: Engine) -> None:
    grant_all(engine, analysts=("ann", "bob"))
    source = answered(engine)
    with engine.begin() as conn:
        bought = "f" * 32
        after = bought_by_bob(conn, source, bought, ("analyst:bob",))
        sums = {"spent_epsilon": LOSS.epsilon, "spent_rho": LOSS.rho, "seq": after.seq}
        bob = schema.scope.c.scope == "analyst:bob"
        conn.execute(
            update(schema.scope).where(bob).values(sums | {"life_epsilon": LOSS.epsilon, "life_rho": LOSS.rho})
        )
        append(conn, after, "outcome", {"charge": bought, "status": "answered", "digest": b"d" * 32})
        [found] = verify(conn, "health").datasets
    assert found.fault is not None
    assert found.fault.kind == "purchase"
