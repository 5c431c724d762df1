"""One process of the storm: charges at random until told how often, and prints what it was given."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import TypeVar

from sqlalchemy import Connection, Engine

from budget import balance, ledger, records
from budget.errors import BudgetExhausted, NotRefundable
from gateway.store.engine import control_engine
from mechanisms.accounting import rho_of_pure
from mechanisms.loss import Loss

Done = TypeVar("Done")


def acted(engine: Engine, act: Callable[[Connection], Done]) -> Done:
    """Act in a transaction: nobody among sixteen is passed over for longer than a transaction waits."""
    with engine.begin() as conn:
        return act(conn)


def run(url: str, seed: int, rounds: int) -> None:
    """Charge 1 to 9 units for one of three analysts; settle, refund or replay some; print the ids that stand."""
    choose = random.Random(seed)  # noqa: S311 - the order of a test, not noise
    engine = control_engine(url)
    process = f"{seed:032x}"
    mine = process.encode()
    standing: dict[str, tuple[str, int]] = {}
    refused = 0
    for turn in range(rounds):
        analyst, epsilon = choose.choice(("ann", "bob", "eve")), choose.randint(1, 9)
        request = ledger.ChargeRequest(
            dataset="health",
            analyst=analyst,
            loss=Loss(epsilon, rho_of_pure(epsilon)),
            price=epsilon,
            request_hash=sha256(b"same").digest(),
            plan_fingerprint="plan",
            policy_version=1,
            data_version=1,
            mechanism="{}",
            process=process,
            # Every fifth turn all processes use one key: one of them charges, the others are given that charge.
            idempotency_key=f"shared-{turn}-{analyst}" if turn % 5 == 0 else None,
        )
        try:
            receipt = acted(engine, partial(ledger.charge, request=request))
        except BudgetExhausted as refusal:
            refused += 1
            with engine.begin() as conn:  # spending only grows here, refunds aside: the refusal was right
                if refusal.remaining >= epsilon:
                    raise AssertionError("refused what fits") from None
                balance.of(conn, "health", analyst)
            continue
        charge = receipt.record.charge
        if not receipt.replayed and choose.random() < 0.1:
            take_back = partial(ledger.void, charge_id=charge.id, process=process, reason="storm")
            try:
                acted(engine, take_back)
            except NotRefundable:
                # Right only if another process, given this charge by its key, answered it first; and so it stands.
                with engine.begin() as conn:
                    outcome = records.get(conn, charge.id).outcome
                others = outcome is not None and outcome.status == "answered" and outcome.payload != mine
                if charge.idempotency_key is None or not others:
                    raise AssertionError("refused to take back what nobody else answered") from None
                standing[charge.id] = (analyst, charge.price)
            continue
        settle = partial(ledger.settle, charge_id=charge.id, status="answered", payload=mine)
        settlement = acted(engine, settle)
        if settlement.outcome.status == "answered":  # another process may have taken back the charge that was shared
            standing[charge.id] = (analyst, charge.price)
    engine.dispose()
    print(json.dumps({"standing": standing, "refused": refused}))  # noqa: T201


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
