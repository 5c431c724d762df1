"""Four processes charge one dataset at once: never one unit over, none lost, none doubled."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from budget import balance, grants
from budget.grants import Grant
from budget.verify import verify
from tests.budget.ledgers import grant_all

PROCESSES = 4
ROUNDS = 80
GRANT = 300
CAP = 700


def test_storm(engine: Engine, url: str) -> None:
    storm(engine, url, PROCESSES, ROUNDS, GRANT, CAP)


@pytest.mark.audit
def test_a_storm_of_sixteen_processes(engine: Engine, url: str) -> None:
    storm(engine, url, 16, 250, 3750, 8750)


def storm(engine: Engine, url: str, processes: int, rounds: int, grant: int, cap: int) -> None:
    """Let processes charge at once under three analysts, a project of two of them, and the cap."""
    grant_all(engine, epsilon=grant, cap=cap, analysts=("ann", "bob", "eve"))
    shared = 2 * grant * 9 // 10
    with engine.begin() as conn:
        grants.set_project(conn, "health", "pair", Grant(shared), actor="root")
        for analyst in ("ann", "bob"):
            grants.join(conn, "health", "pair", analyst, actor="root")
    script = str(Path(__file__).parent / "storm.py")
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "error", script, url, str(seed), str(rounds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(processes)
    ]
    standing: dict[str, tuple[str, int]] = {}
    refused = 0
    for child in children:
        out, err = child.communicate(timeout=600)
        assert child.returncode == 0, err
        told = json.loads(out)
        refused += told["refused"]
        for charge, (analyst, epsilon) in told["standing"].items():
            assert standing.setdefault(charge, (analyst, epsilon)) == (analyst, epsilon)
    assert refused > 0  # the grants nearly fit: some did not

    with engine.begin() as conn:
        report = verify(conn)
        assert report.ok, report
        stored = conn.execute(
            text(
                "SELECT c.id, c.analyst, c.epsilon, o.status FROM ledger_charge c"
                " LEFT JOIN ledger_outcome o ON o.charge = c.id"
            )
        ).all()
        answered = {row.id: (row.analyst, row.epsilon) for row in stored if row.status == "answered"}
        assert answered == standing  # none lost, none made up
        assert all(row.status in ("answered", "void") for row in stored)
        assert any(row.status == "void" for row in stored)
        for analyst in ("ann", "bob", "eve"):
            spent = sum(epsilon for who, epsilon in standing.values() if who == analyst)
            assert balance.of(conn, "health", analyst).own.spent_epsilon == spent <= grant
        total = sum(epsilon for _, epsilon in standing.values())
        assert balance.of(conn, "health", "ann").standings[1].spent_epsilon == total <= cap
        pair = sum(epsilon for who, epsilon in standing.values() if who in ("ann", "bob"))
        assert balance.of(conn, "health", "ann").standings[2].spent_epsilon == pair <= shared
        assert total > 0.9 * cap  # and nearly all that could be admitted was (late refunds aside)
        keys = conn.execute(
            text(
                "SELECT idempotency_key FROM ledger_charge c LEFT JOIN ledger_outcome o ON o.charge = c.id"
                " WHERE idempotency_key IS NOT NULL AND status <> 'void' GROUP BY analyst, idempotency_key"
                " HAVING count(*) > 1"
            )
        ).all()
        assert keys == []
