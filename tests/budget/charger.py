"""A ledger process to be killed: charges and settles until it dies, and says what it was given.

Each line is said after the commit that it tells of; what was said must stand for ever.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from sqlalchemy.exc import DBAPIError

from budget import ledger
from budget.errors import CommitUnknown
from gateway.store.committer import Committer
from gateway.store.engine import control_engine
from mechanisms.accounting import rho_of_pure
from mechanisms.loss import Loss
from tests.budget.processes import say


def run(writes: Any, url: str, seed: str, process: str) -> None:
    """Charge one unit after another under keys that this process alone uses.

    A database that is gone ends it: what it was not told may or may not stand, and its keys find out.
    """
    engine = control_engine(url)
    committer = Committer(engine)
    turn = 0
    while True:
        turn += 1
        key = f"{seed}-{turn}"
        say(writes, f"asking {key}")
        try:
            charge = committer.charge(asked(key, process)).record.charge.id
            say(writes, f"charged {charge} {key}")
            settled = committer.settle(ledger.OutcomeRequest("health", "ann", charge, "answered", charge.encode()))
        except (DBAPIError, CommitUnknown):
            return
        if settled.won:
            say(writes, f"settled {charge}")


def asked(key: str, process: str) -> ledger.ChargeRequest:
    """Return what is asked under a key."""
    return ledger.ChargeRequest(
        dataset="health",
        analyst="ann",
        loss=Loss(1, rho_of_pure(1)),
        price=1,
        request_hash=sha256(key.encode()).digest(),
        plan_fingerprint="plan",
        policy_version=1,
        data_version=1,
        mechanism="{}",
        process=process,
        idempotency_key=key,
    )
