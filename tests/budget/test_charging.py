"""Grants, charges, outcomes, refunds, retries and suspensions, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Connection, Engine

from budget import balance, grants, ledger, records, suspensions
from budget.entries import entries
from budget.errors import (
    BudgetExhausted,
    GaussianRefused,
    KeyReused,
    NoGrant,
    NotRefundable,
    NotSuspended,
    Suspended,
    UnknownCharge,
)
from budget.grants import Grant
from budget.verify import verify
from mechanisms.loss import Loss
from tests.budget.ledgers import ALIVE, DEAD, DELTA, EPSILON, OTHER, answer, gaussian, grant_all, pure, request


def dead(process: str) -> bool:
    return process == DEAD


def charge(engine: Engine, asked: ledger.ChargeRequest) -> ledger.Receipt:
    with engine.begin() as conn:
        return ledger.charge(conn, asked)


def remaining(engine: Engine, analyst: str = "ann") -> int:
    with engine.begin() as conn:
        return balance.of(conn, "health", analyst).remaining("laplace")


def sound(conn: Connection) -> bool:
    report = verify(conn)
    return report.ok and len(report.datasets) == 1


def test_a_charge_is_paid_by_the_analyst_and_by_the_cap(engine: Engine) -> None:
    grant_all(engine, analysts=("ann", "bob"))
    receipt = charge(engine, request(2 * EPSILON))
    assert not receipt.replayed
    assert receipt.record.outcome is None
    assert receipt.record.charge.scopes == ("analyst:ann", "cap")
    assert receipt.balance.remaining("laplace") == EPSILON
    with engine.begin() as conn:
        assert balance.of(conn, "health", "ann") == receipt.balance
        assert records.find(conn, receipt.record.charge.id) == receipt.record
        assert balance.of(conn, "health", "bob").own.spent_epsilon == 0
        assert balance.of(conn, "health", "bob").remaining("laplace") == 3 * EPSILON
        assert sound(conn)
    charge(engine, request(2 * EPSILON, "bob"))
    assert remaining(engine) == EPSILON
    charge(engine, request(EPSILON, "bob"))
    assert remaining(engine) == 0  # by the cap: ann's own grant has one left


def test_the_last_unit_is_admitted_and_not_one_more(engine: Engine) -> None:
    grant_all(engine, epsilon=3, cap=5)
    charge(engine, request(2))
    with pytest.raises(BudgetExhausted) as refused:
        charge(engine, request(2))
    assert (refused.value.scope, refused.value.required, refused.value.remaining) == ("analyst:ann", 2, 1)
    charge(engine, request(1))
    with pytest.raises(BudgetExhausted):
        charge(engine, request(1))
    with engine.begin() as conn:
        assert [entry.kind for entry in entries(conn, "health")] == ["grant", "grant", "charge", "charge"]
        assert sound(conn)


def test_no_grant_no_cap_no_dataset(engine: Engine) -> None:
    with pytest.raises(NoGrant):
        charge(engine, request())
    with engine.begin() as conn:
        grants.set_grant(conn, "health", "ann", Grant(EPSILON), actor="root")
    with pytest.raises(NoGrant) as refused:
        charge(engine, request())
    assert refused.value.scope == "cap"
    with engine.begin() as conn:
        grants.set_cap(conn, "health", Grant(EPSILON), actor="root")
    with pytest.raises(NoGrant) as refused:
        charge(engine, request(analyst="eve"))
    assert refused.value.scope == "analyst:eve"
    with pytest.raises(NoGrant):
        charge(engine, request(dataset="other"))


def test_a_new_grant_never_resets_what_is_spent(engine: Engine) -> None:
    grant_all(engine)
    charge(engine, request(2 * EPSILON))
    grant_all(engine, epsilon=EPSILON)
    assert remaining(engine) == 0
    grant_all(engine, epsilon=4 * EPSILON)
    assert remaining(engine) == 2 * EPSILON
    with engine.begin() as conn:
        assert balance.of(conn, "health", "ann").spent_epsilon == 2 * EPSILON
        assert len([entry for entry in entries(conn, "health") if entry.kind == "grant"]) == 6
        assert sound(conn)


def test_gaussian_charges_need_to_be_admitted_in_every_scope(engine: Engine) -> None:
    grant_all(engine, delta=DELTA)
    with pytest.raises(GaussianRefused):
        charge(engine, request(gaussian(EPSILON)))
    with engine.begin() as conn:
        grants.set_grant(conn, "health", "ann", Grant(3 * EPSILON, DELTA, gaussian=True), actor="root")
    with pytest.raises(GaussianRefused) as refused:
        charge(engine, request(gaussian(EPSILON)))
    assert refused.value.scope == "cap"
    grant_all(engine, delta=DELTA, gaussian=True)
    receipt = charge(engine, request(gaussian(EPSILON)))
    assert receipt.balance.gaussian
    assert receipt.balance.gaussian_used
    assert receipt.record.charge.loss.epsilon is None
    # The pure route is closed: what is left is what the zCDP filter leaves.
    assert remaining(engine) < 2 * EPSILON
    with pytest.raises(BudgetExhausted) as exhausted:
        charge(engine, request(gaussian(5 * EPSILON), conversion_delta=10**9))
    assert 0 < exhausted.value.remaining < 5 * EPSILON
    charge(engine, request(gaussian(exhausted.value.remaining)))
    with engine.begin() as conn:
        assert sound(conn)


def test_many_small_charges_outlive_the_pure_sum_by_zcdp(engine: Engine) -> None:
    grant_all(engine, epsilon=EPSILON, cap=20 * EPSILON, delta=DELTA)
    with engine.begin() as conn:
        for _ in range(20):  # here the pure sum is the better of the two
            ledger.charge(conn, request(EPSILON // 20))
        with pytest.raises(BudgetExhausted):
            ledger.charge(conn, request(EPSILON // 20))
        assert sound(conn)

    grant_all(engine, epsilon=3 * EPSILON, cap=40 * EPSILON, delta=DELTA)
    with engine.begin() as conn:
        own = balance.of(conn, "health", "ann").own
        while own.spent_rho + pure(EPSILON // 20).rho <= own.allowance.rho:
            own = ledger.charge(conn, request(EPSILON // 20)).balance.own
        assert own.spent_epsilon > own.allowance.epsilon
        with pytest.raises(BudgetExhausted):
            ledger.charge(conn, request(EPSILON // 20))
        assert sound(conn)


def test_thresholds_share_half_of_delta(engine: Engine) -> None:
    grant_all(engine, delta=DELTA)
    charge(engine, request(pure(EPSILON, DELTA // 2)))
    with pytest.raises(BudgetExhausted) as refused:
        charge(engine, request(pure(EPSILON, 1)))
    assert (refused.value.delta_required, refused.value.delta_remaining) == (1, 0)
    charge(engine, request(pure(EPSILON)))


def test_the_same_key_is_the_same_charge(engine: Engine) -> None:
    grant_all(engine, analysts=("ann", "bob"))
    first = charge(engine, request(idempotency_key="k"))
    again = charge(engine, request(idempotency_key="k"))
    assert again.replayed
    assert again.record == first.record
    with pytest.raises(KeyReused):
        charge(engine, request(idempotency_key="k", body="SELECT 2"))
    with engine.begin() as conn:
        ledger.settle(conn, first.record.charge.id, "answered", b"rows")
    stored = charge(engine, request(idempotency_key="k")).record.outcome
    assert stored is not None
    assert (stored.status, stored.payload) == ("answered", b"rows")
    assert remaining(engine) == 2 * EPSILON
    # The key is ann's on this dataset: bob's own is another, and none is never the same.
    assert not charge(engine, request(analyst="bob", idempotency_key="k")).replayed
    assert not charge(engine, request()).replayed
    assert not charge(engine, request()).replayed
    with engine.begin() as conn:
        assert sound(conn)


def test_the_first_outcome_stands(engine: Engine) -> None:
    grant_all(engine)
    charge_id = charge(engine, request()).record.charge.id
    with engine.begin() as conn:
        won = ledger.settle(conn, charge_id, "answered", b"one")
        lost = ledger.settle(conn, charge_id, "failed", b"two")
    assert won.won
    assert not lost.won
    assert lost.outcome == won.outcome
    assert remaining(engine) == 2 * EPSILON
    with engine.begin() as conn:
        with pytest.raises(UnknownCharge):
            ledger.settle(conn, "0" * 32, "answered", b"")
        with pytest.raises(NotRefundable):
            ledger.void(conn, charge_id, process=ALIVE, reason="too late")
        assert sound(conn)


def test_a_void_charge_is_refunded_and_frees_its_key(engine: Engine) -> None:
    grant_all(engine, delta=DELTA, gaussian=True)
    first = charge(engine, request(gaussian(EPSILON), idempotency_key="k")).record.charge
    with engine.begin() as conn:
        with pytest.raises(NotRefundable):
            ledger.void(conn, first.id, process=OTHER, reason="not its own")
        ledger.void(conn, first.id, process=ALIVE, reason="the engine could not be reached")
        refunded = balance.of(conn, "health", "ann")
        assert refunded.remaining("laplace") == 3 * EPSILON
        assert not refunded.gaussian_used
        with pytest.raises(NotRefundable):
            ledger.void(conn, first.id, process=ALIVE, reason="twice")
        assert not ledger.settle(conn, first.id, "answered", b"rows").won
    with pytest.raises(KeyReused):
        charge(engine, request(gaussian(EPSILON), idempotency_key="k", body="another"))
    second = charge(engine, request(gaussian(EPSILON), idempotency_key="k"))
    assert not second.replayed
    assert second.record.charge.key_use == 2
    with engine.begin() as conn:
        found = records.find_key(conn, "health", "ann", "k")
        assert found == second.record
        assert sound(conn)


def test_what_another_process_answered_is_not_taken_back(engine: Engine) -> None:
    """One charge, two processes: the one that made it means to refund, the other was given it by its key."""
    grant_all(engine)
    made = charge(engine, request(idempotency_key="k")).record.charge.id
    given = charge(engine, request(idempotency_key="k", process=OTHER))
    assert (given.record.charge.id, given.replayed) == (made, True)
    with engine.begin() as conn:
        ledger.settle(conn, made, "answered", b"theirs")
    with engine.begin() as conn, pytest.raises(NotRefundable):
        ledger.void(conn, made, process=ALIVE, reason="too late")
    assert remaining(engine) == 2 * EPSILON


def test_a_charge_is_taken_over_once_and_only_from_the_dead(engine: Engine) -> None:
    grant_all(engine)
    living = charge(engine, request()).record.charge.id
    orphan = charge(engine, request(process=DEAD)).record.charge.id
    with engine.begin() as conn:
        assert ledger.claim_retry(conn, living, process=OTHER, is_dead=dead).turn == "running"
        claim = ledger.claim_retry(conn, orphan, process=OTHER, is_dead=dead)
        assert (claim.turn, claim.record.retaken_by) == ("taken", OTHER)
        assert ledger.claim_retry(conn, orphan, process=ALIVE, is_dead=dead).turn == "running"
        assert ledger.claim_retry(conn, orphan, process=ALIVE, is_dead=lambda _: True).turn == "lost"
        with pytest.raises(NotRefundable):
            ledger.void(conn, orphan, process=DEAD, reason="the first cannot know what the second did")
        ledger.settle(conn, orphan, "failed", b"failure")
        settled = ledger.claim_retry(conn, orphan, process=ALIVE, is_dead=dead)
        assert settled.turn == "settled"
        assert settled.record.outcome is not None
        assert sound(conn)
    assert remaining(engine) == EPSILON


def test_a_suspension_withholds_everything_but_the_failure_itself(engine: Engine) -> None:
    grant_all(engine, analysts=("ann", "bob"))
    answered = charge(engine, request(idempotency_key="answered")).record.charge.id
    failed = charge(engine, request(idempotency_key="failed")).record.charge.id
    with engine.begin() as conn:
        assert not ledger.conclude(conn, answer(answered)).withheld
        assert records.held(conn, "health", "ann", ["same"])
        ledger.settle(conn, failed, "failed", b"failure")
        suspensions.suspend(conn, "health", "ann", actor="gateway", reason="engine failure", charge=failed)
    for key in ("answered", None):
        with pytest.raises(Suspended):
            charge(engine, request(0, idempotency_key=key))
    replayed = charge(engine, request(idempotency_key="failed"))
    assert replayed.record.outcome is not None
    assert replayed.record.outcome.payload == b"failure"
    assert replayed.balance.suspended
    with engine.begin() as conn:
        with pytest.raises(Suspended):
            records.held(conn, "health", "ann", ["same"])
        assert ledger.settle(conn, answered, "answered", b"other").withheld
        assert not balance.of(conn, "health", "bob").suspended
        assert sound(conn)
        suspensions.clear(conn, "health", "ann", actor="root", reason="an outage")
        with pytest.raises(NotSuspended):
            suspensions.clear(conn, "health", "ann", actor="root")
        with pytest.raises(NoGrant):
            suspensions.suspend(conn, "health", "nobody", actor="root")
        assert sound(conn)
    for key in ("answered", "failed"):
        assert charge(engine, request(idempotency_key=key)).replayed
    charge(engine, request())


def test_a_grant_does_not_lift_a_suspension(engine: Engine) -> None:
    grant_all(engine)
    with engine.begin() as conn:
        suspensions.suspend(conn, "health", "ann", actor="gateway")
    grant_all(engine, epsilon=9 * EPSILON)
    with pytest.raises(Suspended):
        charge(engine, request())


def test_the_latest_answer_to_the_same_question(engine: Engine) -> None:
    grant_all(engine, analysts=("ann", "bob"))
    ids = [charge(engine, request(EPSILON // 10)).record.charge.id for _ in range(3)]
    with engine.begin() as conn:
        ledger.conclude(conn, answer(ids[0], b"first"))
        ledger.conclude(conn, answer(ids[1], b"second"))
        ledger.conclude(conn, replace(answer(ids[2], b""), status="failed"))
        found = records.held(conn, "health", "ann", ["same"])
        assert [each.charge.id for each in found] == [ids[1], ids[0]]
        assert [each.outcome and each.outcome.payload for each in found] == [b"second", b"first"]
        assert records.held(conn, "health", "ann", ["same"], since=found[0].charge.at + 1) == []
        for analyst, mark in (("bob", "same"), ("ann", "other")):
            assert records.held(conn, "health", analyst, [mark]) == []
        with pytest.raises(NoGrant):
            records.held(conn, "other", "ann", ["same"])
        listed = records.of_analyst_on(conn, "ann", "health", limit=2)
        assert [record.charge.id for record in listed] == ids[:0:-1]


def test_nothing_stands_when_the_transaction_rolls_back(engine: Engine) -> None:
    grant_all(engine)
    asked = request()
    with engine.connect() as conn, conn.begin() as transaction:
        ledger.charge(conn, asked)
        transaction.rollback()
    assert remaining(engine) == 3 * EPSILON
    with engine.begin() as conn:
        assert records.find(conn, asked.id) is None
        assert sound(conn)


def test_a_free_request_needs_a_grant_all_the_same(engine: Engine) -> None:
    grant_all(engine, epsilon=0, cap=0)
    receipt = charge(engine, request(0))
    assert receipt.balance.remaining("laplace") == 0
    with pytest.raises(BudgetExhausted):
        charge(engine, request(1))


@pytest.mark.parametrize(
    "bad",
    [
        {"dataset": ""},
        {"dataset": "x" * 201},
        {"analyst": " ann"},
        {"analyst": "ann\n"},
        {"analyst": "a\x00"},
        {"idempotency_key": ""},
        {"idempotency_key": "a b"},
        {"idempotency_key": "k" * 201},
        {"request_hash": b"short"},
        {"price": -1},
        {"price": 10**15 + 1},
        {"loss": Loss(10**15 + 1, 0)},
        {"loss": Loss(0, 0, 10**18 + 1)},
        {"policy_version": -1},
        {"mechanism": '{"b": 1}'},
        {"mechanism": "NaN"},
        {"mechanism": "{"},
        {"process": "../../etc/passwd"},
        {"id": "x"},
    ],
)
def test_a_malformed_charge_is_refused_before_the_database(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        replace(request(), **bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad", [(-1, 0, False), (10**15 + 1, 0, False), (1, -1, False), (1, 10**18, False), (1.0, 0, False), (1, 0, 1)]
)
def test_a_malformed_grant_is_refused(bad: tuple[int, int, bool]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Grant(*bad)
