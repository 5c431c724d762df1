"""What the ledger's tests charge with."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Engine

from budget import chain, grants, journal
from budget.chain import Head
from budget.grants import Grant
from budget.ledger import ChargeRequest, OutcomeRequest
from mechanisms.accounting import rho_of_epsilon, rho_of_pure
from mechanisms.loss import Loss

EPSILON = 10**9
DELTA = 10**12  # one millionth
ALIVE = "a" * 32
DEAD = "d" * 32
OTHER = "b" * 32


def pure(epsilon: int, delta: int = 0) -> Loss:
    """The loss of Laplace noise."""
    return Loss(epsilon, rho_of_pure(epsilon), delta)


def gaussian(epsilon: int, conversion_delta: int = 10**9) -> Loss:
    """The loss of Gaussian noise priced at an epsilon."""
    return Loss(None, rho_of_epsilon(epsilon, conversion_delta))


def request(loss: Loss | int = EPSILON, analyst: str = "ann", **fields: Any) -> ChargeRequest:
    """A request for a charge; an integer is a pure epsilon."""
    if isinstance(loss, int):
        loss = pure(loss)
    body = fields.pop("body", "SELECT 1")
    given: dict[str, Any] = {
        "dataset": "health",
        "analyst": analyst,
        "loss": loss,
        "price": loss.epsilon or EPSILON,
        "request_hash": sha256(body.encode()).digest(),
        "plan_fingerprint": "plan",
        "policy_version": 1,
        "data_version": 1,
        "mechanism": '{"mechanism":"laplace"}',
        "process": ALIVE,
    }
    return ChargeRequest(**(given | fields))


def answer(charge: str, payload: bytes = b"rows", analyst: str = "ann", mark: str = "same") -> OutcomeRequest:
    """An answer, found again by one mark."""
    return OutcomeRequest("health", analyst, charge, "answered", payload, (mark,))


def append(conn: Connection, head: Head, kind: str, values: Mapping[str, Any]) -> Head:
    """Append a fact to a locked chain by itself, whatever it does to balances, and return the new head."""
    after, row = chain.follow(head, kind, values, chain.now(conn))
    journal.write(conn, head, after, [(kind, row)])
    return after


def grant_all(
    engine: Engine,
    epsilon: int = 3 * EPSILON,
    cap: int = 5 * EPSILON,
    analysts: tuple[str, ...] = ("ann",),
    **fields: Any,
) -> None:
    """Give the dataset a cap and each analyst a grant."""
    with engine.begin() as conn:
        grants.set_cap(conn, "health", Grant(cap, **fields), actor="root")
        for analyst in analysts:
            grants.set_grant(conn, "health", analyst, Grant(epsilon, **fields), actor="root", reason="a study")
