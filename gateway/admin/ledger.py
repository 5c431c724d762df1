"""Reading and checking the ledger and the list of acts."""

from __future__ import annotations

from sqlalchemy import Engine

from budget import entries, verify
from gateway.store import acts
from gateway.store.engine import reader


def list_entries(control: Engine, dataset: str, *, after: int = 0, limit: int = 1000) -> list[entries.Entry]:
    """Return up to ``limit`` facts of a dataset that follow the one numbered ``after``, in the order of their chain."""
    with reader(control).connect() as conn:
        return entries.entries(conn, dataset, after=after, limit=limit)


def verify_ledger(control: Engine, dataset: str | None = None) -> verify.Report:
    """Fold the whole ledger anew, check its hashes, sums and triggers, and name the first row that is wrong."""
    with reader(control).connect() as conn:
        return verify.verify(conn, dataset)


def list_acts(control: Engine, limit: int = 100) -> list[acts.Act]:
    """Return what admins did, newest first."""
    with reader(control).connect() as conn:
        return acts.listed(conn, limit)
