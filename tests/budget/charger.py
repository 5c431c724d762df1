"""A ledger process to be killed: charges and settles until it dies, and says what it was given.

Each line is said after the commit that it tells of; what was said must stand for ever.
"""

from __future__ import annotations

import sys
from hashlib import sha256

from budget import ledger
from gateway.store.committer import Committer
from gateway.store.engine import control_engine
from mechanisms.accounting import rho_of_pure
from mechanisms.loss import Loss


def run(url: str, seed: str) -> None:
    """Charge one unit after another under keys that this process alone uses."""
    engine = control_engine(url)
    committer = Committer(engine)
    process = seed.rjust(32, "0")
    turn = 0
    while True:
        turn += 1
        request = ledger.ChargeRequest(
            dataset="health",
            analyst="ann",
            loss=Loss(1, rho_of_pure(1)),
            price=1,
            request_hash=sha256(b"same").digest(),
            plan_fingerprint="plan",
            policy_version=1,
            data_version=1,
            mechanism="{}",
            process=process,
            idempotency_key=f"{seed}-{turn}",
        )
        charge = committer.charge(request).record.charge.id
        sys.stdout.write(f"charged {charge} {seed}-{turn}\n")
        sys.stdout.flush()
        committer.settle(ledger.OutcomeRequest("health", "ann", charge, "answered", charge.encode()))
        sys.stdout.write(f"settled {charge}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2])
