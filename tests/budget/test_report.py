"""The offline report: every scope's charges accounted anew, and compared with what ran."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine

from budget import grants, ledger
from budget.grants import Grant
from budget.report import Account, recorded, report
from mechanisms.loss import Loss
from mechanisms.noise import Noise, price
from tests.budget.ledgers import ALIVE, DELTA, EPSILON, gaussian, grant_all, pure, request


def block(noise: Noise, l1: int = 1, l2_squared: int = 1) -> dict[str, Any]:
    return {"mechanism": noise.mechanism, "scale": noise.scale.hex(), "l1": l1, "l2_squared": l2_squared, "linf": 1}


def record(*blocks: dict[str, Any], delta: int = 0) -> str:
    said = {"releases": [{"blocks": list(blocks), "threshold_delta": delta}]}
    return json.dumps(said, sort_keys=True, separators=(",", ":"))


def accounts(engine: Engine) -> dict[str, Account]:
    with engine.begin() as conn:
        return {each.scope: each for each in report(conn, "health")}


def test_each_scope_is_accounted_for_itself(engine: Engine) -> None:
    grant_all(engine, epsilon=3 * EPSILON, cap=5 * EPSILON, analysts=("ann", "bob"), delta=DELTA, gaussian=True)
    with engine.begin() as conn:
        for _ in range(60):
            ledger.charge(conn, request(pure(EPSILON // 100, 5)))
        ledger.charge(conn, request(gaussian(EPSILON // 10), "bob"))
        ledger.charge(conn, request(EPSILON // 5, publication="the yearly table"))
        taken_back = ledger.charge(conn, request(EPSILON // 10, "bob")).record.charge
        ledger.void(conn, taken_back.id, process=ALIVE, reason="not reached")
    found = accounts(engine)
    ann, bob, cap = found["analyst:ann"], found["analyst:bob"], found["cap"]
    assert (ann.charges, bob.charges, cap.charges) == (60, 1, 62)
    assert ann.delta == DELTA // 2 + 300
    assert (ann.proven, bob.proven, cap.proven) == (True, False, False)
    assert 0.2 < ann.tighter < ann.spent < 0.6
    assert bob.tighter < bob.spent
    assert ann.tighter < cap.tighter < cap.spent
    assert {each.unread for each in found.values()} == {60, 1, 62}  # these records say nothing


def test_a_scope_without_charges_and_one_without_delta(engine: Engine) -> None:
    grant_all(engine)
    with engine.begin() as conn:
        grants.set_grant(conn, "health", "eve", Grant(EPSILON), actor="root")
        ledger.charge(conn, request(EPSILON // 2))
    found = accounts(engine)
    assert (found["analyst:eve"].charges, found["analyst:eve"].tighter) == (0, 0)
    assert found["analyst:ann"].tighter == found["analyst:ann"].spent == 0.5


@pytest.mark.parametrize("understated", [False, True])
def test_what_ran_is_compared_with_what_was_charged(engine: Engine, understated: bool) -> None:
    grant_all(engine, epsilon=50 * EPSILON, cap=50 * EPSILON, delta=DELTA, gaussian=True)
    laplace, normal = Noise("laplace", 3.7), Noise("gaussian", 41.3)
    pure_loss = price(laplace, l1=5, l2=5, linf=5)
    rho_loss = price(normal, l1=4, l2=4, linf=4)
    l1, l2_squared, delta = (6, 17, 8) if understated else (5, 16, 7)
    with engine.begin() as conn:
        for said in (
            request(pure_loss, mechanism=record(block(laplace, l1=l1))),
            request(rho_loss, mechanism=record(block(normal, l2_squared=l2_squared))),
            request(pure(EPSILON, 7), mechanism=record(delta=delta)),
        ):
            ledger.charge(conn, said)
    mine = accounts(engine)["analyst:ann"]
    assert (mine.charges, mine.unread) == (3, 0)
    assert mine.understated == (3 if understated else 0)


def test_gaussian_noise_under_a_pure_price_is_understated() -> None:
    ran = recorded(record(block(Noise("gaussian", 10.0))))
    assert ran is not None
    assert not ran.within(EPSILON, 10**12, 0)
    assert ran.within(None, 10**12, 0)


@pytest.mark.parametrize(
    "said",
    ["{}", "[]", "no json", '{"releases":[{"threshold_delta":0}]}', record({"mechanism": "oracle", "scale": "0x1p+0"})],
)
def test_a_record_that_is_not_known_is_unread(said: str) -> None:
    assert recorded(said) is None


def test_free_releases_cost_nothing() -> None:
    ran = recorded(record())
    assert ran is not None
    assert ran.within(*_figures(Loss(0, 0, 0)))


def _figures(loss: Loss) -> tuple[int | None, int, int]:
    return loss.epsilon, loss.rho, loss.delta
