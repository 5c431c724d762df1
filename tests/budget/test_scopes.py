"""Projects, windows, expiry, suspended grants, the highest price of a query, public loss; on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from budget import balance, grants, ledger, records, suspensions
from budget.balance import UNLIMITED, how_many
from budget.entries import entries
from budget.errors import BudgetExhausted, GrantExpired, GrantPaused, KeyReused, NoChange, NoGrant
from budget.grants import Grant
from budget.verify import verify
from mechanisms.loss import Loss
from tests.budget.clock import Clock, instant
from tests.budget.ledgers import ALIVE, DELTA, EPSILON, gaussian, grant_all, pure, request


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock("2026-03-28T12:00")
    clock.stand_in(monkeypatch)
    return clock


def charge(engine: Engine, asked: ledger.ChargeRequest) -> ledger.Receipt:
    with engine.begin() as conn:
        return ledger.charge(conn, asked)


def set_grant(engine: Engine, epsilon: int, scope: str = "analyst:ann", **terms: Any) -> None:
    with engine.begin() as conn:
        grants.set_scope(conn, "health", scope, Grant(epsilon, **terms), actor="root")


def standing(engine: Engine, scope: str = "analyst:ann") -> Any:
    with engine.begin() as conn:
        assert verify(conn).ok, verify(conn)
        return next(each for _, each in balance.all_of(conn, "health") if each.scope == scope)


def refused(engine: Engine, error: type[Exception], asked: ledger.ChargeRequest | None = None) -> Any:
    with pytest.raises(error) as raised:
        charge(engine, asked or request())
    return raised.value


BERLIN = {"window": "daily", "timezone": "Europe/Berlin"}


def test_a_grant_renews_at_midnight_in_its_time_zone(engine: Engine, clock: Clock) -> None:
    grant_all(engine, cap=5 * EPSILON)
    set_grant(engine, EPSILON, **BERLIN)
    charge(engine, request())
    clock.set("2026-03-28T22:59:59.999999")
    refused(engine, BudgetExhausted)
    clock.set("2026-03-28T23:00")
    assert standing(engine).remaining("laplace") == EPSILON  # shown as begun before anybody charges
    charge(engine, request())
    refused(engine, BudgetExhausted)
    clock.set("2026-03-29T22:00")  # the day had 23 hours
    receipt = charge(engine, request())
    assert receipt.balance.own.windows == 3
    assert receipt.balance.own.life_as_read == 3 * EPSILON
    assert receipt.balance.own.span == (instant("2026-03-29T22:00"), instant("2026-03-30T22:00"))
    clock.set("2026-05-01T00:00")  # weeks in which nobody asked begin nothing
    assert charge(engine, request()).balance.own.windows == 4
    held = standing(engine)
    assert (held.spent_epsilon, held.life.epsilon) == (EPSILON, 4 * EPSILON)
    assert standing(engine, "cap").spent_epsilon == 4 * EPSILON  # for life
    with engine.begin() as conn:
        kinds = [entry.kind for entry in entries(conn, "health")]
    assert kinds.count("renewal") == 3


def test_a_refusal_begins_no_window(engine: Engine, clock: Clock) -> None:
    grant_all(engine, cap=EPSILON)
    set_grant(engine, EPSILON, **BERLIN)
    charge(engine, request())
    clock.set("2026-03-30T12:00")
    assert refused(engine, BudgetExhausted).scope == "cap"
    with engine.begin() as conn:
        assert all(entry.kind != "renewal" for entry in entries(conn, "health"))


def test_a_clock_set_back_renews_nothing_and_gives_nothing_back(engine: Engine, clock: Clock) -> None:
    grant_all(engine)
    set_grant(engine, EPSILON, **BERLIN)
    clock.set("2026-03-29T12:00")
    charge(engine, request())
    clock.set("2026-03-28T12:00")
    refused(engine, BudgetExhausted)
    assert standing(engine).remaining("laplace") == 0
    clock.set("2026-03-29T23:00")
    charge(engine, request())
    clock.set("2026-03-28T12:00")
    refused(engine, BudgetExhausted)


def test_a_charge_stays_in_the_window_of_its_commit(engine: Engine, clock: Clock) -> None:
    grant_all(engine)
    set_grant(engine, EPSILON, **BERLIN)
    late = charge(engine, request()).record.charge.id
    clock.set("2026-03-29T12:00")
    charge(engine, request())
    with engine.begin() as conn:
        ledger.void(conn, late, process=ALIVE, reason="no statement")
    held = standing(engine)
    assert (held.spent_epsilon, held.life.epsilon) == (EPSILON, EPSILON)
    refused(engine, BudgetExhausted)
    assert standing(engine, "cap").spent_epsilon == EPSILON


def test_a_gaussian_charge_closes_the_pure_route_until_the_window_renews(engine: Engine, clock: Clock) -> None:
    grant_all(engine, delta=DELTA, gaussian=True, cap=20 * EPSILON)
    set_grant(engine, EPSILON, delta=DELTA, gaussian=True, **BERLIN)
    charge(engine, request(gaussian(EPSILON // 4)))
    refused(engine, BudgetExhausted, request(EPSILON * 3 // 4))
    clock.set("2026-03-29T12:00")
    charge(engine, request(EPSILON))


def test_changing_the_window_gives_nothing_back_at_once(engine: Engine, clock: Clock) -> None:
    grant_all(engine, epsilon=EPSILON, cap=9 * EPSILON)
    charge(engine, request())
    set_grant(engine, EPSILON, **BERLIN)
    refused(engine, BudgetExhausted)  # for life until now: it counts until midnight
    clock.set("2026-03-29T12:00")
    charge(engine, request())
    set_grant(engine, EPSILON, window="monthly", timezone="UTC")
    refused(engine, BudgetExhausted)
    clock.set("2026-04-01T00:00")
    charge(engine, request())
    set_grant(engine, 3 * EPSILON)  # for life: looks back over all of it
    refused(engine, BudgetExhausted)
    set_grant(engine, 4 * EPSILON)
    assert charge(engine, request()).balance.own.spent_epsilon == 4 * EPSILON
    assert standing(engine).windows == 3


def test_a_grant_set_after_the_boundary_begins_the_window_first(engine: Engine, clock: Clock) -> None:
    grant_all(engine)
    set_grant(engine, EPSILON, **BERLIN)
    charge(engine, request())
    clock.set("2026-03-29T12:00")
    set_grant(engine, EPSILON // 2, **BERLIN)
    charge(engine, request(EPSILON // 2))
    refused(engine, BudgetExhausted, request(1))
    assert standing(engine).windows == 2


def test_a_grant_expires(engine: Engine, clock: Clock) -> None:
    grant_all(engine)
    set_grant(engine, 3 * EPSILON, expires=instant("2026-03-28T13:00"))
    clock.set("2026-03-28T12:59:59")
    charge(engine, request())
    clock.set("2026-03-28T13:00")
    assert refused(engine, GrantExpired).scope == "analyst:ann"
    held = standing(engine)
    assert held.expired
    assert held.remaining("laplace") == held.remaining_delta == 0
    set_grant(engine, 3 * EPSILON, expires=instant("2026-03-28T14:00"))
    charge(engine, request())
    set_grant(engine, 9 * EPSILON, "cap", expires=instant("2026-03-28T12:00"))
    assert refused(engine, GrantExpired).scope == "cap"


def test_a_suspended_grant_admits_nothing_until_it_is_resumed(engine: Engine) -> None:
    grant_all(engine)
    asked = request(idempotency_key="k")
    charge(engine, asked)
    for scope in ("analyst:ann", "cap"):
        with engine.begin() as conn:
            grants.suspend(conn, "health", scope, actor="root", reason="an inquiry")
            with pytest.raises(NoChange):
                grants.suspend(conn, "health", scope, actor="root")
        assert refused(engine, GrantPaused, request(0)).scope == scope
        assert charge(engine, asked).replayed  # what was answered stays so
        set_grant(engine, 9 * EPSILON, scope)
        refused(engine, GrantPaused)
        assert standing(engine, scope).remaining("laplace") == 0
        with engine.begin() as conn:
            grants.resume(conn, "health", scope, actor="root", reason="closed")
            with pytest.raises(NoChange):
                grants.resume(conn, "health", scope, actor="root")
        charge(engine, request())
    with engine.begin() as conn:
        with pytest.raises(NoGrant):
            grants.suspend(conn, "health", "analyst:nobody", actor="root")
        said = [entry.says for entry in entries(conn, "health") if entry.says.get("reason") == "an inquiry"]
    assert [each["paused"] for each in said] == [True, True]


def test_the_highest_price_of_a_query(engine: Engine) -> None:
    grant_all(engine, delta=DELTA, gaussian=True)
    set_grant(engine, 3 * EPSILON, delta=DELTA, gaussian=True, max_epsilon=EPSILON // 2)
    charge(engine, request(EPSILON // 2))
    refusal = refused(engine, BudgetExhausted, request(EPSILON // 2 + 1))
    assert (refusal.scope, refusal.required, refusal.remaining) == ("analyst:ann", EPSILON // 2 + 1, EPSILON // 2)
    refused(engine, BudgetExhausted, request(EPSILON, price=1))  # the loss itself counts, whatever price is stated
    refused(engine, BudgetExhausted, request(gaussian(EPSILON // 4), price=EPSILON))
    charge(engine, request(gaussian(EPSILON // 4), price=EPSILON // 4))
    standing(engine)


def test_a_project_pays_with_its_members(engine: Engine) -> None:
    grant_all(engine, epsilon=3 * EPSILON, cap=9 * EPSILON, analysts=("ann", "bob", "eve"))
    with engine.begin() as conn:
        with pytest.raises(NoGrant):
            grants.join(conn, "health", "study", "ann", actor="root")
        grants.set_project(conn, "health", "study", Grant(4 * EPSILON), actor="root")
        for analyst in ("ann", "bob"):
            grants.join(conn, "health", "study", analyst, actor="root", reason="hired")
        with pytest.raises(NoChange):
            grants.join(conn, "health", "study", "ann", actor="root")
        with pytest.raises(NoChange):
            grants.leave(conn, "health", "study", "eve", actor="root")
    first = charge(engine, request(3 * EPSILON))
    assert first.record.charge.scopes == ("analyst:ann", "cap", "project:study")
    with engine.begin() as conn:
        assert records.find(conn, first.record.charge.id) == first.record
    refusal = refused(engine, BudgetExhausted, request(2 * EPSILON, "bob"))
    assert (refusal.scope, refusal.remaining) == ("project:study", EPSILON)
    assert charge(engine, request(EPSILON, "eve")).record.charge.scopes == ("analyst:eve", "cap")
    with engine.begin() as conn:
        assert balance.of(conn, "health", "bob").remaining("laplace") == EPSILON
        grants.leave(conn, "health", "study", "bob", actor="root")
        assert balance.of(conn, "health", "bob").remaining("laplace") == 3 * EPSILON
        ledger.void(conn, first.record.charge.id, process=ALIVE, reason="no statement")
    charge(engine, request(2 * EPSILON, "bob"))
    assert standing(engine, "project:study").spent_epsilon == 0


def test_of_several_projects_each_must_admit(engine: Engine) -> None:
    grant_all(engine, epsilon=3 * EPSILON, cap=9 * EPSILON)
    with engine.begin() as conn:
        for project, epsilon in (("one", 2 * EPSILON), ("two", EPSILON)):
            grants.set_project(conn, "health", project, Grant(epsilon), actor="root")
            grants.join(conn, "health", project, "ann", actor="root")
        grants.suspend(conn, "health", "project:one", actor="root")
    assert refused(engine, GrantPaused).scope == "project:one"
    with engine.begin() as conn:
        grants.resume(conn, "health", "project:one", actor="root")
    charge(engine, request(EPSILON))
    assert refused(engine, BudgetExhausted, request(1)).scope == "project:two"
    assert len(balance_of(engine).standings) == 4
    # On another dataset the projects are others.
    with engine.begin() as conn:
        grants.set_cap(conn, "other", Grant(EPSILON), actor="root")
        grants.set_grant(conn, "other", "ann", Grant(EPSILON), actor="root")
        assert len(balance.of(conn, "other", "ann").standings) == 2


def balance_of(engine: Engine, analyst: str = "ann") -> balance.Balance:
    with engine.begin() as conn:
        return balance.of(conn, "health", analyst)


def test_public_loss_is_charged_to_the_cap_alone_and_listed(engine: Engine) -> None:
    grant_all(engine)
    bought = request(2 * EPSILON, "root", publication="the size of the cohort")
    receipt = charge(engine, bought)
    assert receipt.record.charge.scopes == ("cap",)
    void = charge(engine, request(EPSILON, "root", publication="never run")).record.charge.id
    charge(engine, request(EPSILON))
    with engine.begin() as conn:
        ledger.void(conn, void, process=ALIVE, reason="no statement")
        settlement = ledger.settle(conn, bought.id, "answered", b"rows")
        assert not settlement.withheld
        (listed,) = records.published(conn, "health")
        assert (listed.charge.publication, listed.charge.loss) == ("the size of the cohort", pure(2 * EPSILON))
        assert records.published(conn, "other") == []
    assert standing(engine, "cap").spent_epsilon == 3 * EPSILON
    assert refused(engine, BudgetExhausted, request(3 * EPSILON, "root", publication="too much")).scope == "cap"
    with pytest.raises(ValueError, match="publication"):
        request(publication="")


def test_a_key_makes_no_private_answer_public(engine: Engine) -> None:
    """Nor the other way round: the loss of what is published is listed, whatever was asked under the key before."""
    grant_all(engine)
    charge(engine, request(1, idempotency_key="k1"))
    refused(engine, KeyReused, request(1, idempotency_key="k1", publication="a table"))
    charge(engine, request(1, idempotency_key="k2", publication="a table"))
    refused(engine, KeyReused, request(1, idempotency_key="k2"))
    refused(engine, KeyReused, request(1, idempotency_key="k2", publication="another"))
    assert standing(engine, "cap").spent_epsilon == 2


def test_how_many_more_queries_like_this_one(engine: Engine) -> None:
    grant_all(engine, epsilon=3 * EPSILON, cap=20 * EPSILON, delta=DELTA, gaussian=True)
    for loss in (pure(EPSILON), pure(EPSILON // 20), pure(EPSILON // 10, DELTA // 7), gaussian(EPSILON // 4)):
        told = how_many(balance_of(engine), loss)
        with engine.connect() as conn, conn.begin() as transaction:
            for _ in range(told):
                ledger.charge(conn, request(loss))
            assert how_many(balance.of(conn, "health", "ann"), loss) == 0
            with pytest.raises(BudgetExhausted):
                ledger.charge(conn, request(loss))
            transaction.rollback()
    assert how_many(balance_of(engine), Loss(0, 0, 0)) == UNLIMITED
    assert how_many(balance_of(engine), Loss(0, 0, DELTA)) == 0
    set_grant(engine, 3 * EPSILON, delta=DELTA)
    assert how_many(balance_of(engine), gaussian(EPSILON // 4)) == 0
    set_grant(engine, 3 * EPSILON, max_epsilon=EPSILON // 2)
    assert how_many(balance_of(engine), pure(EPSILON)) == 0
    assert how_many(balance_of(engine), pure(EPSILON // 2)) == 6
    assert how_many(balance_of(engine), pure(EPSILON // 2), price=EPSILON) == 0
    with engine.begin() as conn:
        suspensions.suspend(conn, "health", "ann", actor="gateway")
    assert how_many(balance_of(engine), pure(EPSILON // 2)) == 0


@pytest.mark.parametrize(
    "bad",
    [
        {"epsilon": -1},
        {"epsilon": 0.5},
        {"epsilon": float("nan")},
        {"epsilon": 10**15 + 1},
        {"delta": 10**18},
        {"max_epsilon": -1},
        {"expires": -1},
        {"expires": 10**18},
        {"window": "daily"},
        {"timezone": "UTC"},
        {"window": "hourly", "timezone": "UTC"},
        {"window": "daily", "timezone": "Nowhere"},
        {"gaussian": 1},
    ],
)
def test_a_bad_grant_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"range|gaussian|window|time zone"):
        Grant(**({"epsilon": 1} | bad))


@pytest.mark.parametrize("scope", ["", "project:", "analyst:", "team:x", "Cap", "project: x"])
def test_a_grant_for_nobody_is_refused(engine: Engine, scope: str) -> None:
    with pytest.raises(ValueError, match=r"scope|name"):
        set_grant(engine, 1, scope)
    with engine.begin() as conn:
        assert entries(conn, "health") == []
