"""A ledger process killed at any instant: what it said stands, nothing is doubled, and the ledger is in order."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from budget import balance
from budget.verify import verify
from mechanisms.loss import MAX_EPSILON
from tests.budget.ledgers import grant_all

SCRIPT = str(Path(__file__).parent / "charger.py")


def crash(engine: Engine, url: str, kills: int) -> None:
    """Kill so many processes, three at a time, each some while after its first charge."""
    grant_all(engine, epsilon=MAX_EPSILON, cap=MAX_EPSILON)
    choose = random.Random(kills)  # noqa: S311 - the order of a test, not noise
    charged: dict[str, str] = {}
    settled: set[str] = set()
    for first in range(0, kills, 3):
        children = [
            subprocess.Popen([sys.executable, SCRIPT, url, f"{n:x}"], stdout=subprocess.PIPE, text=True)
            for n in range(first, min(first + 3, kills))
        ]
        for child in children:
            assert child.stdout is not None
            said = child.stdout.readline()
            time.sleep(choose.uniform(0, 0.05))
            child.send_signal(signal.SIGKILL)
            rest, _ = child.communicate(timeout=60)
            assert child.returncode == -signal.SIGKILL
            for line in (said + rest).splitlines():
                what, charge, *key = line.split(" ")
                if what == "charged" and key:
                    charged[charge] = key[0]
                elif what == "settled" and len(charge) == 32:
                    settled.add(charge)
    assert len(charged) >= kills
    stands(engine, charged, settled)


def stands(engine: Engine, charged: dict[str, str], settled: set[str]) -> None:
    with engine.begin() as conn:
        report = verify(conn)
        assert report.ok, report
        rows = conn.execute(
            text(
                "SELECT c.id, c.idempotency_key, o.payload FROM ledger_charge c"
                " LEFT JOIN ledger_outcome o ON o.charge = c.id"
            )
        ).all()
        held = {row.id: row.idempotency_key for row in rows}
        assert charged.items() <= held.items()
        assert len(set(held.values())) == len(held) == len(rows)  # one charge for each key
        answered = {row.id for row in rows if row.payload is not None and bytes(row.payload).decode() == row.id}
        assert settled <= answered
        assert balance.of(conn, "health", "ann").own.spent_epsilon == len(held)


def test_processes_are_killed(engine: Engine, url: str) -> None:
    crash(engine, url, 10)


@pytest.mark.audit
def test_many_processes_are_killed(engine: Engine, url: str) -> None:
    crash(engine, url, 300)
