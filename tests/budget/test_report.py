"""The offline report: every scope's charges accounted anew, and compared with what ran."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final, Literal

import pytest
from sqlalchemy import Engine

from budget import grants, ledger
from budget.chain import canonical_json
from budget.grants import Grant
from budget.report import Account, recorded, report
from gateway.errors import SqlRefused
from gateway.sql import explain
from mechanisms.loss import FREE, Loss
from mechanisms.noise import Noise, Selection, calibrate_selection, price, price_selection
from tests.budget.ledgers import ALIVE, DELTA, EPSILON, gaussian, grant_all, pure, request
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import plan, written
from tests.oracles.worlds import LOOSE_PEOPLE
from tests.sql.golden import every
from tests.sql.shop import SHOP


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
    assert 0.2 < ann.tighter < ann.spent < 0.6
    assert bob.tighter <= bob.spent
    assert ann.tighter < cap.tighter < cap.spent
    assert ann.continuous is None
    assert bob.continuous is not None
    assert cap.continuous is not None
    assert (bob.continuous < bob.tighter, cap.continuous < cap.tighter) == (True, True)
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


def of_selection(selection: Selection, sensitivity: int) -> dict[str, Any]:
    said = {"mechanism": selection.mechanism, "scale": selection.scale.hex(), "l1": 5, "l2_squared": 25, "linf": 5}
    return said | {"sensitivity": sensitivity}


@pytest.mark.parametrize("epsilon", [EPSILON // 10, 7 * EPSILON // 3, 12 * EPSILON])
def test_a_selection_costs_its_epsilon_and_its_rho(epsilon: int) -> None:
    selection = calibrate_selection(10, "epsilon", epsilon)
    loss = price_selection(selection, 10)
    ran = recorded(record(of_selection(selection, 10), of_selection(selection, 10)))
    assert ran is not None
    assert ran.within(2 * epsilon, 2 * loss.rho, 0)
    assert not ran.within(2 * epsilon * 999 // 1000, 2 * loss.rho, 0)
    assert not ran.within(2 * epsilon, 2 * loss.rho * 999 // 1000, 0)
    worse = recorded(record(of_selection(selection, 11)))
    assert worse is not None
    assert not worse.within(epsilon, 10**15, 0)


LOOSE: Final = duckdb_dataset(LOOSE_PEOPLE)
QUESTIONS: Final = [block for block in every(("accepted.sql",)) if "refused" not in dict(block.options)]


@pytest.mark.parametrize("noise", ["laplace", "gaussian"])
def test_every_plan_records_what_it_costs(noise: Literal["laplace", "gaussian"]) -> None:
    """What the fixtures' questions cost, read back from their records: nothing less, and nothing more."""
    selections = thresholds = free = 0
    for each in QUESTIONS:
        dataset = duckdb_dataset(SHOP)
        if "delta" in dict(each.options):
            dataset = replace(dataset, per_query=replace(dataset.per_query, delta=int(dict(each.options)["delta"])))
        try:
            found = plan(written(each.question, noise), dataset, dict(each.options).get("dialect", "duckdb"))
        except SqlRefused:
            continue  # no Gaussian noise without a delta
        ran = recorded(canonical_json(explain.record(found, {})))
        assert ran is not None, each.title
        assert ran.within(*_figures(found.loss)), each.title
        # OpenDP's maps are a few units in the last place above the quotients that they compute.
        assert (ran.epsilon is None) == (found.loss.epsilon is None), each.title
        assert not ran.epsilon or ran.epsilon >= (found.loss.epsilon or 0) * (1 - 1e-8) - 9, each.title
        assert ran.rho >= found.loss.rho * (1 - 1e-8) - 9, each.title
        assert ran.delta == found.loss.delta, each.title
        selections += any(statement.histogram is not None for statement in found.statements)
        thresholds += ran.delta > 0
        free += found.loss == FREE
    assert min(selections, thresholds, free) > 0


@pytest.mark.parametrize(
    "said",
    [
        "{}",
        "[]",
        "no json",
        '{"releases":[{"threshold_delta":0}]}',
        '{"releases":[{"blocks":[],"search":{},"threshold_delta":0}]}',
        record({"mechanism": "oracle", "scale": "0x1p+0"}),
        record({"mechanism": "exponential", "scale": "0x1p+0", "l1": 1}),
    ],
)
def test_a_record_that_is_not_known_is_unread(said: str) -> None:
    assert recorded(said) is None


def test_free_releases_cost_nothing() -> None:
    ran = recorded(record())
    assert ran is not None
    assert ran.within(*_figures(Loss(0, 0, 0)))


def _figures(loss: Loss) -> tuple[int | None, int, int]:
    return loss.epsilon, loss.rho, loss.delta


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
def test_a_bound_that_was_chosen_is_accounted(mechanism: Literal["laplace", "gaussian"]) -> None:
    found = plan(
        written("SELECT sex, COUNT(*) FROM person JOIN visit USING (person_id) GROUP BY sex", mechanism), LOOSE
    )
    said = canonical_json(explain.record(found, {}))
    ran = recorded(said)
    assert ran is not None
    assert ran.within(found.loss.epsilon, found.loss.rho, found.loss.delta)
    assert ran.rho > found.loss.rho * 0.999
    [search, *_] = json.loads(said)["releases"][0]["blocks"]
    less = recorded(json.dumps({"releases": [{"threshold_delta": 0, "blocks": [search]}]}))
    assert less is not None
    assert found.releases[0].clip is not None
    assert (less.epsilon, less.rho) == (found.releases[0].clip.loss.epsilon, found.releases[0].clip.loss.rho)
